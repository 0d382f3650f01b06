"""Python expressions and how they are laid out: in one line where they fit, else as ruff would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

WIDTH = 100
_STEP = "    "


@dataclass(slots=True)
class Call:
    """`head(args)`."""

    head: str
    args: Sequence[Expr]

    def __str__(self) -> str:
        return f"{self.head}({', '.join(map(str, self.args))})"


@dataclass(slots=True)
class Items:
    """A tuple, or with other brackets a dict: `(a, b)`, `{"x": a}`."""

    items: Sequence[Expr]
    brackets: str = "()"

    def __str__(self) -> str:
        comma = "," if len(self.items) == 1 and self.brackets == "()" else ""
        return f"{self.brackets[0]}{', '.join(map(str, self.items))}{comma}{self.brackets[1]}"


@dataclass(slots=True)
class Infix:
    """`a + b + c`."""

    operator: str
    parts: Sequence[Expr]

    def __str__(self) -> str:
        return f" {self.operator} ".join(map(str, self.parts))


Expr: TypeAlias = "str | Call | Items | Infix"


def statement(prefix: str, value: Expr, indent: str, suffix: str = "") -> list[str]:
    """The lines of `prefix value suffix`, for example `h = ` and a call."""
    flat = f"{indent}{prefix}{value}{suffix}"
    if len(flat) <= WIDTH or isinstance(value, str):
        return [flat]
    deeper = indent + _STEP
    if isinstance(value, Infix):
        inner = f"{deeper}{value}"
        parts = [
            line
            for place, part in enumerate(value.parts)
            for line in statement(f"{value.operator} " if place else "", part, deeper)
        ]
        lines = [inner] if len(inner) <= WIDTH else parts
        return [f"{indent}{prefix}(", *lines, f"{indent}){suffix}"]
    if isinstance(value, Call):
        head, items, close = f"{value.head}(", value.args, ")"
        whole = f"{deeper}{value}"
        room = len(indent + prefix) < WIDTH
        if room and len(indent + prefix + head) > WIDTH >= len(whole):
            return [f"{indent}{prefix}(", whole, f"{indent}){suffix}"]
        inner = f"{deeper}{', '.join(map(str, items))}"
        if len(inner) <= WIDTH:
            return [f"{indent}{prefix}{head}", inner, f"{indent}{close}{suffix}"]
        if len(items) == 1 and isinstance(items[0], Items):
            return [
                f"{indent}{prefix}{head}",
                *statement("", items[0], deeper),
                f"{indent}{close}{suffix}",
            ]
    else:
        head, items, close = value.brackets[0], value.items, value.brackets[1]
    lines = [line for item in items for line in statement("", item, deeper, ",")]
    return [f"{indent}{prefix}{head}", *lines, f"{indent}{close}{suffix}"]


def text_literal(text: str) -> str:
    """A text as Python writes it, in double quotes where that needs no more escapes."""
    plain = ascii(text)
    if plain[0] == "'" and '"' not in plain:
        return f'"{plain[1:-1]}"'
    return plain
