"""Horizontal fusion: sibling layers as one, for relaxed supernets and for networks side by side."""
