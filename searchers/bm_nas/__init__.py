"""BM-NAS (Yin et al. 2022), and by another policy DARTS: gradients through a supernet."""
