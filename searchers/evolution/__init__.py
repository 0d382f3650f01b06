"""Steady-state evolution by tournaments, guided by learned connections (AssembleNet)."""
