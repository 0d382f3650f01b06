"""Random spaces for the tests of pictures: every value is f32[N, 16], so that all fits together."""

from __future__ import annotations

from hypothesis import strategies as st

from fusegraph.ir.decisions import KOf, OneOf, SomeOf
from fusegraph.ir.dims import symbol
from fusegraph.ir.graph import Graph, graph
from fusegraph.ir.node import Node, build, cell, choice, formal, input_node, maybe
from fusegraph.ir.ops import op_named
from fusegraph.ir.types import tensor

WIDE = tensor("f32", (symbol("N"), 16))
KINDS = ("relu", "linear", "join", "sum", "one", "acts", "several", "subset", "cell")


def grown(kinds: list[str], picks: list[int], name: str = "random") -> Graph:
    """A space grown from four inputs, one value of each kind after another."""
    inputs = [input_node(f"{family}[{i}]", WIDE) for family in ("image", "audio") for i in (1, 2)]
    values: list[Node] = list(inputs)

    def some(step: int, count: int) -> list[Node]:
        start = picks[step % len(picks)]
        return [values[(start + offset * 7) % len(values)] for offset in range(count)]

    for step, kind in enumerate(kinds):
        values.append(_value(kind, f"v[{step}]", some(step, 3)))
    return graph(name, inputs, [("out", build(op_named("sum"), values[-3:]))])


def _value(kind: str, key: str, below: list[Node]) -> Node:
    first, second, _ = below
    labels = tuple(f"w[{at}]" for at in range(len(below)))
    if kind == "relu":
        return build(op_named("relu"), [first])
    if kind == "linear":
        return build(op_named("linear"), [first], {"out": 16}, f"{key}.linear")
    if kind == "join":
        both = build(op_named("concat"), below)
        return build(op_named("linear"), [both], {"out": 16}, f"{key}.linear")
    if kind == "sum":
        return build(op_named("sum"), below)
    if kind == "one":
        return choice(OneOf(f"{key}.pick", labels), 0, below)
    if kind == "acts":
        names = ("relu", "sigmoid", "tanh")
        acts = [build(op_named(name), [first]) for name in names]
        return choice(OneOf(f"{key}.act", names), 0, acts)
    if kind == "several":
        decision = KOf(f"{key}.inputs", labels, 2)
        return build(op_named("mul"), [choice(decision, slot, below) for slot in (0, 1)])
    if kind == "subset":
        decision = SomeOf(f"{key}.from", labels)
        return build(op_named("sum"), [maybe(decision, at, node) for at, node in enumerate(below)])
    x, y = formal("x", WIDE), formal("y", WIDE)
    inner = choice(OneOf(f"{key}.side", ("x", "y")), 0, [x, y])
    body = build(op_named("sum"), [build(op_named("linear"), [inner], {"out": 16}, key), y])
    return cell("mix", [x, y], body, [first, second], (), key)


def spaces(most: int = 24) -> st.SearchStrategy[Graph]:
    """Random spaces of up to `most` steps."""
    return st.builds(
        grown,
        st.lists(st.sampled_from(KINDS), min_size=1, max_size=most),
        st.lists(st.integers(0, 1000), min_size=1, max_size=most),
    )
