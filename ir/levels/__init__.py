"""`levels`: open levelled graphs, whose nodes, widths, edges and attributes are decided."""

from __future__ import annotations

from .decision import Level, Levels
from .graph import Edge, LevelGraph, LevelNode

__all__ = ["Edge", "Level", "LevelGraph", "LevelNode", "Levels"]
