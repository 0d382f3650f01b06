"""Diagnostics: every wrong input becomes data that says where, what, why and what to do."""

from .explain import codes, explain
from .model import Diagnostic, Edit, FusegraphError, Label, Span
from .render import begins_as_fuse, render

__all__ = [
    "Diagnostic",
    "Edit",
    "FusegraphError",
    "Label",
    "Span",
    "begins_as_fuse",
    "codes",
    "explain",
    "render",
]
