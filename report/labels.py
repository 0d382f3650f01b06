"""What a box says of its op: the name and the attributes that differ from the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..ir.decisions import Decision, KOf, Setting, SomeOf
from ..ir.dims import Expr, decisions_in, text_of
from ..ir.node import Node
from ..ir.ops import CELL, FORMAL, INPUT, Misfit
from ..ir.settling import pretty, settle
from ..ir.types import Type
from .text import clean

_MOST_ATTRIBUTES = 3
_BARE = frozenset({"out", "kernel", "size", "shape", "by", "p", "rows", "axes"})
"""Attributes whose value speaks for itself beside the name of the op."""


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of a line of text in one style: `name`, `plain`, `open` or `dot`."""

    text: str
    style: str


Settings = Mapping[str, Setting]


def number(value: Any, taken: Settings) -> str:
    """A static number for people: open ones show what they may be, settled ones what they are."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, (int, float, Fraction, Expr)):
        return pretty(settle(value, taken))
    return str(value)


def _value(value: Any, taken: Settings) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        parts = [_value(v, taken) for v in value]
        if len(parts) > 1 and len(set(parts)) == 1 and _pairs(value):
            return parts[0]
        return "×".join(parts)
    return number(value, taken)


def _pairs(value: tuple[Any, ...]) -> bool:
    """Whether it is a pad, or one of its pairs: `1` says `((1, 1), (1, 1))`."""
    return len(value) == 2 and not isinstance(value[0], tuple)


def _is_open(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(map(_is_open, value))
    return isinstance(value, Expr) and bool(decisions_in(value))


def _differs(node: Node, name: str, default: Any) -> bool:
    """Whether the attribute is not what the op would have taken by itself."""
    given = node.attributes
    if given[name] == default:
        return False
    attr = next(a for a in node.op.attrs if a.name == name)
    try:
        completed = node.op.complete(
            [i.type for i in node.inputs], {**given, name: attr.accept(default)}
        )
    except Misfit:
        return True
    return completed.get(name) != given[name]


def op_runs(node: Node, taken: Settings) -> list[Run]:
    """The name of a primitive or composite and its telling attributes: `linear 60`."""
    if node.op is CELL:
        return [Run(clean(node["name"]), "name")]
    runs = [Run(node.op.name, "name")]
    shown = 0
    for attr in node.op.attrs:
        value = node[attr.name]
        if value is None or (not attr.required and not _differs(node, attr.name, attr.default)):
            continue
        if shown == _MOST_ATTRIBUTES:
            runs.append(Run(" …", "plain"))
            break
        shown += 1
        text = clean(_value(value, taken))
        if value is False:
            runs.append(Run(f" no {attr.name}", "plain"))
            continue
        if attr.name not in _BARE:
            runs.append(Run(f" {attr.name}", "plain"))
        runs.append(Run(f" {text}", "open" if _is_open(value) else "plain"))
    return runs


def text_of_runs(runs: list[Run]) -> str:
    """The runs as plain text."""
    return "".join(run.text for run in runs)


def type_text(type: Type, taken: Settings) -> str:
    """A type for people, `f32[N, 64|128]`, under the settings of decisions."""
    return f"{type.dtype}[{', '.join(number(size, taken) for size in type.shape)}]"


def tooltip(node: Node, taken: Settings) -> str:
    """All there is to know of a node: its key, its op with every attribute, its type."""
    if node.op is INPUT or node.op is FORMAL:
        return clean(f"{node['name']}: {type_text(node.type, taken)}")
    if node.op is CELL:
        bound = ", ".join(f"{name}={_value(value, taken)}" for name, value in node["bound"])
        head = f"{node['name']}({bound})"
    else:
        values = [
            f"{name}={text_of(value) if isinstance(value, Expr) else _value(value, taken)}"
            for name, value in node.attributes.items()
            if value is not None
        ]
        head = f"{node.op.name}({', '.join(values)})"
    place = f"{node.key}: " if node.key else ""
    return clean(f"{place}{head} → {type_text(node.type, taken)}")


def short_name(decision: Decision) -> str:
    """The name that the file gives a decision: `act` of the key `h[1].act`."""
    return clean(decision.key.rsplit(".", 1)[-1])


def kind_text(decision: Decision) -> str:
    """How much of what a decision takes: `one of 4`, `2 of 8`, `some of 3`."""
    among = len(decision.labels)
    if isinstance(decision, KOf):
        return f"{decision.take} of {among}{', repeats' if decision.repeats else ''}"
    if isinstance(decision, SomeOf):
        return f"some of {among}"
    return f"one of {among}"
