"""MFAS: progressive search with a recurrent surrogate (Pérez-Rúa et al. 2019)."""
