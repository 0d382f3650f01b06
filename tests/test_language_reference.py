"""The tables of docs/language.md are those of the registry and of the standard library.

`python tests/test_language_reference.py` writes them again.
"""

import re
from pathlib import Path

from fusegraph.ir.diagnostics import codes
from fusegraph.ir.dsl import parse
from fusegraph.ir.dsl.context import DEEPEST_CELLS, MOST_ERRORS, MOST_STATEMENTS
from fusegraph.ir.dsl.deciding import MOST_CANDIDATES
from fusegraph.ir.dsl.parse import DEEPEST, LONGEST_FILE
from fusegraph.ir.dsl.syntax import CellTree, unparse
from fusegraph.ir.ops import PRIMITIVES
from fusegraph.ir.types import DTYPES
from repository import ROOT

PAGE = ROOT / "docs" / "language.md"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def ops_table() -> str:
    lines = [f"| `{op.signature}` | {cell(op.doc)} |" for op in PRIMITIVES.values()]
    return "\n".join(["| op | meaning |", "|---|---|", *lines])


def head_of(tree: CellTree) -> str:
    """The first line of a cell without sizes: `align(x; channels, length)`."""
    operands = [f"{o.name.id}{'[*]' if o.variadic else ''}" for o in tree.operands]
    attributes = [
        a.name.id + (f"={unparse(a.default)}" if a.default is not None else "")
        for a in tree.attributes
    ]
    tail = f"; {', '.join(attributes)}" if attributes else ""
    return f"{tree.name.id}({', '.join(operands)}{tail})"


def comment_above(text: str, line: int) -> str:
    """The first sentence of the comment that ends on the line before."""
    lines = text.split("\n")[: line - 1]
    found: list[str] = []
    while lines and lines[-1].startswith("#"):
        found.insert(0, lines.pop().removeprefix("#").strip())
    # A full stop ends a sentence where a capital follows, so that "et al. 2017" does not.
    return re.split(r"(?<=\.)\s+(?=[A-Z])", " ".join(found))[0]


def std_table() -> str:
    lines = ["| from | composite | meaning |", "|---|---|---|"]
    for path in sorted((ROOT / "ir" / "std").glob("*.fuse")):
        text = path.read_text(encoding="utf-8")
        for item in parse(text).items:
            if isinstance(item, CellTree):
                meaning = comment_above(text, item.span.line)
                lines.append(f"| `std/{path.stem}` | `{head_of(item)}` | {cell(meaning)} |")
    return "\n".join(lines)


def between(text: str, name: str) -> str:
    found = re.search(rf"<!-- {name}: .*-->\n(.*?)\n?<!-- end of {name} -->", text, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_table_of_ops_is_that_of_the_registry() -> None:
    assert between(PAGE.read_text(encoding="utf-8"), "ops") == ops_table()


def test_the_table_of_composites_is_that_of_the_standard_library() -> None:
    assert between(PAGE.read_text(encoding="utf-8"), "std") == std_table()


def test_every_composite_of_the_standard_library_says_what_it_is() -> None:
    rows = std_table().splitlines()[2:]
    assert rows
    assert all(not row.endswith("|  |") for row in rows)


def test_the_limits_are_those_of_the_code() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    for said in (
        f"at most {LONGEST_FILE:,} characters",
        f"nest {DEEPEST} deep, cells {DEEPEST_CELLS};",
        f"unroll to {MOST_STATEMENTS:,} statements",
        f"a decision has {MOST_CANDIDATES:,} candidates",
        f"up to {MOST_ERRORS};",
        f"dtypes are {', '.join(DTYPES)} |",
    ):
        assert said in text, said


def test_the_codes_that_the_reference_speaks_of_are_there() -> None:
    assert set(re.findall(r"E\d\d\d", PAGE.read_text(encoding="utf-8"))) <= codes().keys()


def test_the_reference_is_short() -> None:
    text = PAGE.read_text(encoding="utf-8")
    written = text.replace(between(text, "ops"), "").replace(between(text, "std"), "")
    assert len(written.splitlines()) < 250


def rewrite(path: Path = PAGE) -> None:
    """Write the tables again."""
    text = path.read_text(encoding="utf-8")
    for name, table in (("ops", ops_table()), ("std", std_table())):
        text = re.sub(
            rf"(<!-- {name}: .*?-->\n).*?(<!-- end of {name} -->)",
            lambda found, table=table: f"{found[1]}{table}\n{found[2]}",
            text,
            flags=re.DOTALL,
        )
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    rewrite()
