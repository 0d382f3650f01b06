"""Passes from graph to graph: specialise, expand, simplify, and what a network costs."""
