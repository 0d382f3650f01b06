"""Diagnostics as text: the span with its line, the causes at theirs, notes, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from .model import Diagnostic, Span

_LONGEST_FILE = 4_000_000


_OURS = (".fuse", ".graph", ".toml")
"""The endings of the files that this project reads."""


def begins_as_fuse(text: str) -> bool:
    """Whether the first line that is neither empty nor a comment is a `fuse` line."""
    for line in text.removeprefix("\ufeff").splitlines():
        code = line.strip()
        if code and not code.startswith("#"):
            return code.startswith("fuse")
    return True


def _lines_of(file: str, sources: Mapping[str, str]) -> list[str]:
    if file in sources:
        return sources[file].split("\n")
    try:
        path = Path(file)
        if file.startswith("std/"):
            # The standard library, which lies beside this package.
            path = Path(__file__).parent.parent / file
        if not path.is_file() or path.stat().st_size > _LONGEST_FILE:
            return []
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        # A path may have come from a stranger's file: no foreign text is ever quoted.
        return text.split("\n") if path.suffix in _OURS or begins_as_fuse(text) else []
    except (OSError, ValueError):
        return []


_WIDEST = 160
_BEFORE = 40


def _marker(span: Span, line: str, sign: str, cut: int) -> str:
    """The sign under the span, of a line whose first `cut` characters are not shown."""
    start = max(0, span.column - 1 - cut)
    end = span.end_column - 1 if span.end_line == span.line else len(line)
    end = min(end - cut, _WIDEST)
    return " " * min(start, _WIDEST) + sign * max(1, end - start)


def _cut(line: str, span: Span) -> int:
    """How much of a long line is left out before the span."""
    return max(0, span.column - _BEFORE) if len(line) > _WIDEST else 0


def _shown(line: str, cut: int) -> str:
    text = "".join(c if c.isprintable() else " " for c in line[cut : cut + _WIDEST])
    if cut:
        text = f"…{text[1:]}"
    return f"{text}…" if cut + _WIDEST < len(line) else text


def _snippet(diagnostic: Diagnostic, lines: Callable[[str], list[str]], digits: int) -> list[str]:
    """The marked lines in the order of the file, the primary one marked with carets."""
    assert diagnostic.span is not None
    primary = diagnostic.span
    places = [(cause.span, "-", cause.text) for cause in diagnostic.causes]
    places.append((primary, "^", diagnostic.label))
    places.sort(key=lambda place: (place[0].file != primary.file, place[0]))
    gutter = " " * digits
    out: list[str] = []
    file, last, line, cut = primary.file, None, "", 0
    for span, sign, text in places:
        if span.file != file:
            out.append(f"{gutter}::: {span.file}:{span.line}:{span.column}")
            out.append(f"{gutter} |")
            file, last = span.file, None
        elif last is not None and span.line > last + 1:
            out.append("...")
        if span.line != last:
            source = lines(span.file)
            line = source[span.line - 1] if span.line <= len(source) else ""
            line = line.rstrip("\r")
            cut = _cut(line, span)
            out.append(f"{span.line:>{digits}} | {_shown(line, cut)}".rstrip())
        out.append(f"{gutter} | {_marker(span, line, sign, cut)} {text}".rstrip())
        last = span.line
    return out


def render(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str] | None = None) -> str:
    """The diagnostics as a person reads them. `sources` holds texts that are not on disk."""
    cache: dict[str, list[str]] = {}

    def lines(file: str) -> list[str]:
        if file not in cache:
            cache[file] = _lines_of(file, sources or {})
        return cache[file]

    blocks: list[str] = []
    for diagnostic in diagnostics:
        out = [f"error[{diagnostic.code}]: {diagnostic.message}"]
        digits = 2
        if diagnostic.span is not None:
            spans = [diagnostic.span, *(cause.span for cause in diagnostic.causes)]
            digits = max(2, len(str(max(span.line for span in spans))))
            out.append(f"{' ' * digits}--> {diagnostic.where}")
            out.append(f"{' ' * digits} |")
            out += _snippet(diagnostic, lines, digits)
        elif diagnostic.place:
            out.append(f"{' ' * digits}--> {diagnostic.place}")
        if diagnostic.notes or diagnostic.help:
            if diagnostic.span is not None:
                out.append(f"{' ' * digits} |")
            out += [f"{' ' * digits} = note: {note}" for note in diagnostic.notes]
        if diagnostic.help:
            out.append(f"help: {diagnostic.help}")
        blocks.append("\n".join(out))
    return "\n\n".join(blocks) + ("\n" if blocks else "")
