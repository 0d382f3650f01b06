"""`fusegraph explain`: what a code, an op, a composite, levels or a task file's key means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from .options import AsJson
from .output import print_json, print_markdown, print_table, say


def explain(
    topic: Annotated[
        str,
        typer.Argument(metavar="TOPIC", help="A code (E302), an op (linear), or a list of those."),
    ],
    as_json: AsJson = False,
) -> None:
    """Explain an error, an op, the keys of a task file, or a searcher's options.

    `ops` lists the ops, `std` the composites of the standard library, `std/assemblenet` those of
    one file of it, `codes` the errors. `task` shows every key of a task file, the name of a
    searcher (`mfas`, `random`, `evolution`, `bm_nas`, `parsec`, `perturbation`,
    `constrained_evolution`) every option of it, `levels` how open levelled graphs are written.

    \b
    Example:
      fusegraph explain E401
      fusegraph explain linear

    \b
    With --json: `topic` and `text`; for the lists `entries`, each with `name` and `title`.
    """
    entries = _entries(topic)
    if entries:
        if as_json:
            print_json({"topic": topic, "entries": [{"name": n, "title": t} for n, t in entries]})
        else:
            print_table([topic, ""], [list(entry) for entry in entries])
        return
    text = _page(topic)
    if as_json:
        print_json({"topic": topic, "text": text})
    elif text.startswith("# "):
        print_markdown(text)
    else:
        say(text)


def _entries(topic: str) -> list[tuple[str, str]]:
    """What a list holds, or a file of the standard library; nothing for all else."""
    if topic in LISTS:
        return LISTS[topic]()
    if topic.startswith("std/"):
        return [entry for entry in _std() if entry[0].startswith(f"{topic}: ")]
    return []


def _codes() -> list[tuple[str, str]]:
    from ..ir.diagnostics import codes

    return list(codes().items())


def _ops() -> list[tuple[str, str]]:
    from ..ir.ops import PRIMITIVES

    return [(op.signature, op.doc.strip().splitlines()[0]) for op in PRIMITIVES.values()]


def _std() -> list[tuple[str, str]]:
    return [
        (f"{file}: {name}", text.splitlines()[0].lstrip("# "))
        for name, found in _composites().items()
        for file, text in found
    ]


LISTS: Mapping[str, Callable[[], list[tuple[str, str]]]] = {
    "ops": _ops,
    "std": _std,
    "codes": _codes,
}
"""What lists there are, each of names and titles."""


def _composites() -> dict[str, list[tuple[str, str]]]:
    """The cells of the standard library: for each name its files and its text, comments above."""
    from importlib.resources import files

    from ..ir.dsl import parse
    from ..ir.dsl.syntax import CellTree

    found: dict[str, list[tuple[str, str]]] = {}
    library = files("fusegraph.ir").joinpath("std")
    names = sorted(file.name for file in library.iterdir() if file.name.endswith(".fuse"))
    for name in names:
        text = library.joinpath(name).read_text(encoding="utf-8")
        lines = text.splitlines()
        for item in parse(text, name).items:
            if isinstance(item, CellTree):
                first = item.span.line - 1
                while first > 0 and lines[first - 1].startswith("#"):
                    first -= 1
                shown = "\n".join(lines[first : item.span.end_line])
                file = f"std/{name.removesuffix('.fuse')}"
                found.setdefault(item.name.id, []).append((file, shown))
    return found


def _page(topic: str) -> str:
    from importlib.resources import files

    from ..ir.diagnostics import codes
    from ..ir.diagnostics import explain as page
    from ..ir.ops import PRIMITIVES
    from ..ir.support.names import nearest
    from ..searchers.option_pages import OPTIONS, option_page

    if topic == "task":
        from ..tasks.key_table import key_table

        return "# Task files\n\n" + key_table()
    if topic == "levels":
        text = files("fusegraph").joinpath("docs", "levels.md").read_text(encoding="utf-8")
        return re.sub(r"<!--.*?-->\n", "", text)
    if topic in OPTIONS:
        return option_page(topic)
    if topic in PRIMITIVES:
        return _op(PRIMITIVES[topic])
    cells = _composites()
    if topic in cells:
        return "\n\n".join(f'use "{file}": {topic}\n\n{text}' for file, text in cells[topic])
    code = topic.upper()
    text = page(code)
    if text is not None:
        return text
    libraries = {file for found in cells.values() for file, _ in found}
    near = nearest(topic, [*LISTS, "task", "levels", *OPTIONS, *PRIMITIVES, *cells, *libraries])
    # Letters that look like digits are the usual slip.
    digits = "E" + code[1:].replace("O", "0").replace("I", "1")
    near = near or nearest(digits, codes(), likeness=0.5)
    advice = f"did you mean {near}?" if near else "`explain ops`, `std` and `codes` list them"
    raise typer.BadParameter(f"there is no page {topic!r}; {advice}", param_hint="'TOPIC'")


def _op(op: Any) -> str:
    lines = [op.signature, "", op.doc.strip()]
    if op.attrs:
        lines += ["", "attributes:"]
        lines += [f"  {attr.name}: {attr.doc}" for attr in op.attrs]
    return "\n".join(lines)
