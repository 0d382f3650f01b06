"""Small helpers that know nothing of graphs, for every package."""
