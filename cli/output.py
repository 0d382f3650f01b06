"""How commands print: tables, JSON and numbers, for a terminal and for a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..ir.dims import Static


def on_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty()


def say(text: str = "") -> None:
    """A line to stdout."""
    _allow_long_numbers()
    print(text)


def print_error(text: str) -> None:
    """Lines to stderr."""
    print(text, file=sys.stderr)


def print_json(data: Mapping[str, Any]) -> None:
    """The one object that `--json` promises."""
    _allow_long_numbers()
    print(json.dumps(data, indent=2, ensure_ascii=False))


def _allow_long_numbers() -> None:
    # Large spaces have more than the 4,300 digits that Python prints by default.
    sys.set_int_max_str_digits(0)


def grouped(value: object) -> str:
    """`5,308,416` on a terminal, `5308416` elsewhere; what is no whole number as it is."""
    _allow_long_numbers()
    return f"{value:,}" if isinstance(value, int) and on_terminal() else str(value)


def rounded(value: int) -> str:
    """`about 2.84e53` for a number with more digits than anybody reads, else all of them."""
    from ..report.text import rounded

    _allow_long_numbers()
    return rounded(value)


def plain(value: Static) -> int | float | str:
    """A static number for JSON: a number where no symbol is left, else its expression."""
    from ..ir.dims import Expr, text_of

    if isinstance(value, Expr):
        return text_of(value)
    return float(value) if isinstance(value, Fraction) else value


def plural(number: int, one: str, many: str = "") -> str:
    """`1 node`, `41 nodes`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()
) -> None:
    """A table: ruled and fitted to a terminal; elsewhere columns of spaces, no line broken."""
    if on_terminal():
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for number, column in enumerate(columns):
            table.add_column(column, justify="right" if number in right else "left")
        for row in rows:
            table.add_row(*[Text(cell) for cell in row])
        Console().print(table)
        return
    lines = [list(columns), *[list(row) for row in rows]]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    for line in lines:
        cells = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def print_markdown(text: str) -> None:
    """A page: laid out on a terminal, as it is elsewhere."""
    if not on_terminal():
        print(text.rstrip("\n"))
        return
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    console.print(Markdown(text), width=min(console.width, 100))
