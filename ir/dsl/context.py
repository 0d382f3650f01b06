"""The state of one elaboration: errors found, spans of nodes, keys claimed, limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..decisions import Decision
from ..diagnostics import Diagnostic, Edit, FusegraphError, Label, Span
from ..graph import Requirement
from ..node import Node
from ..support.names import nearest
from . import syntax as s

if TYPE_CHECKING:
    from ..levels import LevelGraph
    from .levels import OpenLevels

MOST_STATEMENTS = 50_000
"""Statements that are carried out, those in loops and cells each time."""
DEEPEST_CELLS = 32
"""Composites within composites."""
MOST_ERRORS = 30


class Problem(Exception):
    """An error in one statement; the statements after it are still looked at."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class Silent(Exception):
    """A statement that uses what an earlier error has spoilt."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a decision offers: its label, its value, and the part of the source that names it."""

    label: str
    value: Any
    span: Span


@dataclass(slots=True)
class Elaboration:
    """What is gathered while a space is elaborated."""

    overrides: dict[str, Any] = field(default_factory=dict[str, Any])
    diagnostics: list[Diagnostic] = field(default_factory=list[Diagnostic])
    spans: dict[Node, Span] = field(default_factory=dict[Node, Span])
    decisions: dict[str, Decision] = field(default_factory=dict[str, Decision])
    decision_spans: dict[str, Span] = field(default_factory=dict[str, Span])
    candidates: dict[str, tuple[Candidate, ...]] = field(
        default_factory=dict[str, tuple["Candidate", ...]]
    )
    call_trees: dict[Node, s.Call] = field(default_factory=dict[Node, s.Call])
    claims: set[str] = field(default_factory=set[str])
    inputs: list[Node] = field(default_factory=list[Node])
    outputs: dict[str, Node] = field(default_factory=dict[str, Node])
    output_spans: dict[str, Span] = field(default_factory=dict[str, Span])
    requires: list[Requirement] = field(default_factory=list[Requirement])
    constants: dict[str, Any] = field(default_factory=dict[str, Any])
    calls: list[tuple[s.CellTree, Span]] = field(default_factory=list[tuple[s.CellTree, Span]])
    statements: int = 0
    shared: int = 0
    shape: LevelGraph | None = None
    levels: OpenLevels | None = None

    def report(self, diagnostic: Diagnostic) -> None:
        """Keep the error and go on, but not for ever."""
        self.diagnostics.append(diagnostic)
        if len(self.diagnostics) >= MOST_ERRORS:
            raise FusegraphError(self.diagnostics)

    def count_statement(self, span: Span) -> None:
        """One more statement or turn of a loop. Raises FusegraphError (E501) at the limit."""
        self.statements += 1
        if self.statements > MOST_STATEMENTS:
            raise FusegraphError(
                [
                    *self.diagnostics,
                    Diagnostic(
                        code="E501",
                        message=f"this file unrolls to more than {MOST_STATEMENTS} statements",
                        span=span,
                        label="the limit was met here",
                        help="check the bounds of the loops around",
                    ),
                ]
            )

    def claim(self, key: str) -> str:
        """The key, or with `_2`, `_3` … where it is taken."""
        free, number = key, 1
        while free in self.claims:
            number += 1
            free = f"{key}_{number}"
        self.claims.add(free)
        return free

    def note_span(self, node: Node, span: Span) -> None:
        """Where the node is made; the first place counts."""
        self.spans.setdefault(node, span)

    def call_causes(self) -> tuple[Label, ...]:
        """Where the composites are called in whose bodies we are."""
        inner = reversed(self.calls[-3:])
        return tuple([Label(span, f"in this `{cell.name.id}`") for cell, span in inner])


def problem(code: str, message: str, tree: s.Tree | Span, label: str = "", **more: Any) -> Problem:
    """The error `code` at a place of the file."""
    span = tree if isinstance(tree, Span) else tree.span
    return Problem(Diagnostic(code=code, message=message, span=span, label=label, **more))


def unknown(code: str, message: str, name: s.Name, known: Iterable[str], help: str) -> Problem:
    """An unknown name, with the nearest known one as a suggestion."""
    close = nearest(name.id, known)
    return problem(
        code,
        message,
        name,
        f"did you mean `{close}`?" if close else "not defined",
        help=f"write `{close}`" if close else help,
        edit=Edit(name.span, close) if close else None,
    )
