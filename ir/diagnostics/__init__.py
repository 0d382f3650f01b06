"""Diagnostics: every wrong input becomes data that says where, what, why and what to do."""

from .model import Diagnostic, Edit, FusegraphError, Label, Span
from .explain import codes, explain
from .render import render

__all__ = [
    "Diagnostic",
    "Edit",
    "FusegraphError",
    "Label",
    "Span",
    "codes",
    "explain",
    "render",
]
