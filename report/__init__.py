"""Drawings of graphs and the page that tells what a run found."""
