"""What does not parse: what stands there, what was expected, and the slip that it probably is."""

from __future__ import annotations

import re
from typing import Any, cast

import lark

from ..diagnostics import Diagnostic, Edit, Label, Span

_NOT_CODE = re.compile(r'"[^"\n]*"|#[^\n]*')


def blanked(text: str) -> str:
    """The text with spaces for comments and quoted texts, every place as before."""
    return _NOT_CODE.sub(lambda found: " " * len(found[0]), text)


_SHOWN = {
    "LBRACE": "`{`", "RBRACE": "`}`", "LPAR": "`(`", "RPAR": "`)`", "LSQB": "`[`", "RSQB": "`]`",
    "COMMA": "`,`", "EQUAL": "`=`", "COLON": "`:`", "SEMICOLON": "`;`", "QMARK": "`?`",
    "NAME": "a name", "NUMBER": "a number", "INT": "a number", "STRING": "a text in quotes",
    "__ANON_0": "`->`", "__ANON_1": "`..`", "$END": "the end of the file", "DOT": "`.`",
    "AT": "`@`", "LESSTHAN": "`<`",
}  # fmt: skip
_OPERATORS = {"PLUS", "MINUS", "STAR", "SLASH", "DOUBLE_SLASH", "PERCENT", "POWER", "RELATION"}
_CLOSERS = {"(": "RPAR", "[": "RSQB", "{": "RBRACE"}
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_WORDS = (
    "fuse", "use", "space", "cell", "dim", "let", "share", "input", "output", "for", "in",
    "return", "require", "of", "some", "repeats", "genotype", "with", "levels",
)  # fmt: skip


def _expected(names: set[str]) -> str:
    """What may stand here, the closing of what is open before all else."""
    closing = [name for name in ("COMMA", *_CLOSERS.values()) if name in names]
    if len(closing) > 1 or "RPAR" in names or "RSQB" in names:
        names = set(closing)
    shown: list[str] = []
    for name in sorted(names):
        text = _SHOWN.get(name, f"`{name.lower()}`")
        if name in _OPERATORS:
            text = "an operator"
        if text not in shown:
            shown.append(text)
    if not shown or len(shown) > 6:
        return ""
    return f"expected {', '.join(shown[:-1]) + ' or ' if len(shown) > 1 else ''}{shown[-1]}"


class _Text:
    """A text with its places as spans."""

    def __init__(self, text: str, file: str) -> None:
        self.code = blanked(text)
        self.file = file

    def span(self, start: int, length: int = 1) -> Span:
        """The stretch on one line from this character on."""
        line = self.code.count("\n", 0, start) + 1
        column = start - self.code.rfind("\n", 0, start)
        return Span(self.file, line, column, line, column + length)

    def open_at(self, place: int) -> int | None:
        """The innermost bracket that is open at this character."""
        stack: list[int] = []
        for at in range(place):
            if self.code[at] in "([{":
                stack.append(at)
            elif self.code[at] in ")]}" and stack:
                stack.pop()
        return stack[-1] if stack else None

    def end_before(self, place: int) -> int:
        """The end of the last code before this character."""
        return len(self.code[:place].rstrip())


def syntax_error(error: lark.UnexpectedInput, text: str, file: str) -> Diagnostic:
    """The diagnostic (E101, E105) of what lark met."""
    source = _Text(text, file)
    if isinstance(error, lark.UnexpectedCharacters):
        return _unknown_character(error, text, source)
    token = cast("lark.Token | None", getattr(error, "token", None))
    given: Any = getattr(error, "accepts", None) or getattr(error, "expected", None)
    expected: set[str] = set(given or ())
    if token is None or token.type == "$END":
        return _too_early(source, expected)
    place = token.start_pos or 0
    span = source.span(place, len(token))
    opened = source.open_at(place)
    before = source.end_before(place)
    causes: tuple[Label, ...] = ()
    edit = None
    help = "see `fusegraph explain E101` for the shape of each statement"
    if opened is not None and _CLOSERS[source.code[opened]] in expected:
        bracket = source.code[opened]
        if bracket != "{":
            causes = (Label(source.span(opened), "still open"),)
            help = f"write `,` between, or close it with `{_CLOSING[bracket]}`"
            if "\n" in source.code[before:place]:
                help = f"close it with `{_CLOSING[bracket]}`"
                edit = Edit(source.span(before, 0), _CLOSING[bracket])
    word = re.search(r"(\w+)\s*$", source.code[:place])
    line = source.code[source.code.rfind("\n", 0, place) + 1 : place]
    if place == 0:
        help = "the first line of every file is `fuse 1`"
        edit = Edit(source.span(0, 0), "fuse 1\n\n")
    elif str(token) == "=" and "NAME" in expected and word and word[1] in _WORDS:
        help = f"`{word[1]}` is a word of the language and cannot be a name; choose another"
    elif re.search(r"\?\w+(\s+\w+)?\s+of\s+[^{\s][^{]*$", line) and str(token) == ",":
        help = "candidates stand in braces: `?name of {a, b}`"
    elif str(token) == "." and source.code[:place].endswith(".."):
        help = "a range has two dots: `1..4`"
    elif str(token) in (")", "]", "}") and opened is None:
        help = "remove it: nothing is open here"
        edit = Edit(span, "")
    return Diagnostic(
        code="E101",
        message=f"`{token}` was not expected here",
        span=span,
        label=_expected(expected),
        causes=causes,
        help=help,
        edit=edit,
    )


def _unknown_character(error: lark.UnexpectedCharacters, text: str, source: _Text) -> Diagnostic:
    place = min(cast("int", error.pos_in_stream), len(text) - 1)
    span = source.span(place)
    character = text[place]
    if character == '"':
        return Diagnostic(
            code="E105",
            message="this text has no closing quote",
            span=span,
            label="opened here",
            help='close it with `"` on the same line',
        )
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    return Diagnostic(
        code="E101",
        message=f"`{shown}` has no meaning here",
        span=span,
        label="not part of the language",
        help="names are of the letters a-z, A-Z, digits and `_`"
        if character.isalpha()
        else "remove it",
    )


def _too_early(source: _Text, expected: set[str]) -> Diagnostic:
    end = source.end_before(len(source.code))
    opened = source.open_at(end)
    causes: tuple[Label, ...] = ()
    help = "write what is missing"
    edit = None
    if opened is not None:
        closing = _CLOSING[source.code[opened]]
        causes = (Label(source.span(opened), "opened here"),)
        help = f"close it with `{closing}`"
        if _CLOSERS[source.code[opened]] in expected:
            edit = Edit(source.span(end, 0), f"\n{closing}" if closing == "}" else closing)
    return Diagnostic(
        code="E101",
        message="the file ends too early",
        span=source.span(end),
        label=_expected(expected) or "what is open is not closed",
        causes=causes,
        help=help,
        edit=edit,
    )
