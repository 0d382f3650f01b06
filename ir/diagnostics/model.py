"""What a diagnostic is: frozen data; rendering comes last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of a text file. Lines and columns count from 1; the end column is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Label:
    """A further place that has to do with the error, and what is to be seen there."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Edit:
    """The one change that would mend the file: replace `span` by `text`."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One error: its code, one line of message, its place, its causes, and what to do.

    `span` is the place in a `.fuse` or task file; where an error has no line (an array, a
    checkpoint), `place` names the file and the part of it instead.
    """

    code: str
    message: str
    span: Span | None = None
    label: str = ""
    causes: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str = ""
    edit: Edit | None = None
    place: str = ""

    @property
    def where(self) -> str:
        """`file:line:column`, or the named place, or nothing."""
        if self.span is None:
            return self.place
        return f"{self.span.file}:{self.span.line}:{self.span.column}"

    def as_json(self) -> dict[str, object]:
        """The stable keys that `--json` prints."""
        result: dict[str, object] = {
            "code": self.code,
            "message": self.message,
            "where": self.where,
            "label": self.label,
            "causes": [
                {"where": f"{c.span.file}:{c.span.line}:{c.span.column}", "text": c.text}
                for c in self.causes
            ],
            "notes": list(self.notes),
            "help": self.help,
        }
        if self.edit is not None:
            span = self.edit.span
            result["edit"] = {
                "file": span.file,
                "line": span.line,
                "column": span.column,
                "end_line": span.end_line,
                "end_column": span.end_column,
                "text": self.edit.text,
            }
        return result


def _order(diagnostic: Diagnostic) -> tuple[str, int, int, str, str]:
    span = diagnostic.span
    if span is None:
        return (diagnostic.place, 0, 0, diagnostic.code, diagnostic.message)
    return (span.file, span.line, span.column, diagnostic.code, diagnostic.message)


class FusegraphError(Exception):
    """Everything that is wrong with an input, sorted by place. The command line exits with 1."""

    def __init__(self, diagnostics: Iterable[Diagnostic] | Diagnostic) -> None:
        found = [diagnostics] if isinstance(diagnostics, Diagnostic) else list(diagnostics)
        self.diagnostics: tuple[Diagnostic, ...] = tuple(sorted(dict.fromkeys(found), key=_order))
        super().__init__(
            "\n".join(
                f"{d.where + ': ' if d.where else ''}error[{d.code}]: {d.message}"
                + (f" (help: {d.help})" if d.help else "")
                for d in self.diagnostics
            )
        )

    def __reduce__(self) -> tuple[type[FusegraphError], tuple[tuple[Diagnostic, ...]]]:
        return (FusegraphError, (self.diagnostics,))
