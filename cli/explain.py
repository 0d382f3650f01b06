"""`fusegraph explain`: what a code, an op or a task file's key means."""

from __future__ import annotations

from difflib import get_close_matches
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
    """Explain an error, an op, or the keys of a task file.

    `ops` lists the ops, `codes` the errors, and `task` shows every key of a task file.

    \b
    Example:
      fusegraph explain E401
      fusegraph explain linear

    \b
    With --json: `topic` and `text`; for `ops` and `codes` a list `entries` of `name` and `title`.
    """
    if topic in ("ops", "codes"):
        entries = _ops() if topic == "ops" else _codes()
        if as_json:
            print_json({"topic": topic, "entries": [{"name": n, "title": t} for n, t in entries]})
        else:
            print_table([topic[:-1], ""], [list(entry) for entry in entries])
        return
    text = _page(topic)
    if as_json:
        print_json({"topic": topic, "text": text})
    elif topic in ("task",) or topic.upper().startswith("E"):
        print_markdown(text)
    else:
        say(text)


def _codes() -> list[tuple[str, str]]:
    from ..ir.diagnostics import codes

    return list(codes().items())


def _ops() -> list[tuple[str, str]]:
    from ..ir.ops import PRIMITIVES

    return [(op.signature, op.doc.strip().splitlines()[0]) for op in PRIMITIVES.values()]


def _page(topic: str) -> str:
    from ..ir.diagnostics import codes
    from ..ir.diagnostics import explain as page
    from ..ir.ops import PRIMITIVES

    if topic == "task":
        from ..tasks.key_table import key_table

        return "# Task files\n\n" + key_table()
    if topic in PRIMITIVES:
        return _op(PRIMITIVES[topic])
    code = topic.upper()
    text = page(code)
    if text is not None:
        return text
    names = get_close_matches(topic, ["ops", "codes", "task", *PRIMITIVES], n=1)
    # Letters that look like digits are the usual slip.
    digits = "E" + code[1:].replace("O", "0").replace("I", "1")
    near = names or get_close_matches(digits, codes(), n=1, cutoff=0.5)
    advice = f"did you mean {near[0]}?" if near else "`explain ops` and `explain codes` list them"
    raise typer.BadParameter(f"there is no page {topic!r}; {advice}", param_hint="'TOPIC'")


def _op(op: Any) -> str:
    lines = [op.signature, "", op.doc.strip()]
    if op.attrs:
        lines += ["", "attributes:"]
        lines += [f"  {attr.name}: {attr.doc}" for attr in op.attrs]
    return "\n".join(lines)
