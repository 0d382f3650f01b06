"""Random small graphs built node by node, and an oracle that tells which of them are one.

A recipe is what a graph is built from, as plain data: it can be changed in one place, its keys
renamed, its nodes listed in another order. All values are f32[N, 4].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import networkx as nx
from hypothesis import strategies as st

from fusegraph.ir.cells import expand
from fusegraph.ir.decisions import Decision, KOf, OneOf, OpenNumber, SomeOf
from fusegraph.ir.dims import pick, symbol
from fusegraph.ir.graph import Graph, graph
from fusegraph.ir.node import Node, build, choice, input_node, maybe
from fusegraph.ir.ops import PRIMITIVES
from fusegraph.ir.types import tensor

ARITY = {"relu": 1, "tanh": 1, "scale": 1, "linear": 1, "sub": 2, "sum": 2, "mul": 2, "maximum": 3}
WEIGHTED = "linear"


@dataclass(frozen=True)
class Step:
    """An op on earlier values (the inputs come first), with the name of its weights."""

    op: str
    of: tuple[int, ...]
    key: str = ""
    by: float = 2.0
    bias: bool = True


@dataclass(frozen=True)
class Recipe:
    """Inputs by name, steps, and which values are the outputs."""

    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]


def made(recipe: Recipe, batch: str = "N", keys: Mapping[str, str] | None = None) -> Graph:
    """The graph of a recipe, its batch and its keys under other names where given."""
    type = tensor("f32", (symbol(batch), 4))
    inputs = [input_node(name, type) for name in recipe.inputs]
    values = list(inputs)
    for step in recipe.steps:
        attrs: dict[str, Any] = {}
        if step.op == "scale":
            attrs = {"by": step.by}
        elif step.op == WEIGHTED:
            attrs = {"out": 4, "bias": step.bias}
        key = (keys or {}).get(step.key, step.key) if step.op == WEIGHTED else ""
        values.append(build(PRIMITIVES[step.op], [values[i] for i in step.of], attrs, key))
    outputs = [(f"out{place}", values[i]) for place, i in enumerate(recipe.outputs)]
    reached = [node for node in inputs if node in graph_inputs(outputs)]
    return graph("recipe", reached, outputs)


def graph_inputs(outputs: Sequence[tuple[str, Node]]) -> set[Node]:
    """The inputs that these outputs reach."""
    found: set[Node] = set()
    seen: set[Node] = set()
    stack = [node for _, node in outputs]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack += node.inputs
            if node.op.name == "input":
                found.add(node)
    return found


@st.composite
def recipes(draw: st.DrawFn, most_steps: int = 9) -> Recipe:
    """A recipe with few kinds of ops and keys, so that much of it looks alike."""
    inputs = ("x", "y")[: draw(st.integers(1, 2))]
    steps: list[Step] = []
    for place in range(draw(st.integers(2, most_steps))):
        op = draw(st.sampled_from(list(ARITY)))
        below = st.integers(0, len(inputs) + place - 1)
        of = tuple([draw(below) for _ in range(ARITY[op])])
        key = f"w{draw(st.integers(0, 3))}" if op == WEIGHTED else ""
        steps.append(Step(op, of, key))
    total = len(inputs) + len(steps)
    return Recipe(inputs, tuple(steps), (total - 1, *draw(st.sets(st.integers(0, total - 1)))))


# ── the same and others ──────────────────────────────────────────────────────────────────────────


def disguised(recipe: Recipe, rng: Random) -> Recipe:
    """The same graph: its steps in another order, commutative inputs shuffled, keys renamed."""
    count = len(recipe.inputs)
    names = sorted({step.key for step in recipe.steps if step.key})
    new = dict(zip(names, rng.sample(names, len(names)), strict=True))
    place = {i: i for i in range(count)}
    steps: list[Step] = []
    left = list(range(len(recipe.steps)))
    while left:
        ready = [i for i in left if all(j in place for j in recipe.steps[i].of)]
        chosen = ready[rng.randrange(len(ready))]
        left.remove(chosen)
        step = recipe.steps[chosen]
        of = [place[j] for j in step.of]
        if PRIMITIVES[step.op].commutative:
            rng.shuffle(of)
        place[count + chosen] = count + len(steps)
        steps.append(replace(step, of=tuple(of), key=new.get(step.key, "")))
    return Recipe(recipe.inputs, tuple(steps), tuple([place[i] for i in recipe.outputs]))


def changed(recipe: Recipe, rng: Random) -> Recipe:
    """One thing changed: an op, an input, an attribute, a tie, or an output."""
    at = rng.randrange(len(recipe.steps))
    step = recipe.steps[at]
    if rng.random() < 0.15:
        total = len(recipe.inputs) + len(recipe.steps)
        return replace(recipe, outputs=(rng.randrange(total), *recipe.outputs[1:]))
    options: list[Step] = []
    others = [op for op, arity in ARITY.items() if arity == len(step.of) and op != step.op]
    if others:
        op = others[rng.randrange(len(others))]
        options.append(replace(step, op=op, key="w9" if op == WEIGHTED else ""))
    place = rng.randrange(len(step.of))
    of = list(step.of)
    of[place] = rng.randrange(len(recipe.inputs) + at)
    options.append(replace(step, of=tuple(of)))
    if step.op == WEIGHTED:
        options.append(replace(step, bias=not step.bias))
        options.append(replace(step, key=f"w{rng.randrange(5)}"))
    if step.op == "scale":
        options.append(replace(step, by=3.0))
    steps = list(recipe.steps)
    steps[at] = options[rng.randrange(len(options))]
    return replace(recipe, steps=tuple(steps))


# ── the oracle ───────────────────────────────────────────────────────────────────────────────────


def isomorphic(first: Graph, second: Graph) -> bool:
    """Whether two networks are one but for names: by search over all correspondences."""
    return bool(
        nx.is_isomorphic(
            _as_networkx(first),
            _as_networkx(second),
            node_match=lambda a, b: a["what"] == b["what"],
            edge_match=lambda a, b: a["how"] == b["how"],
        )
    )


def _as_networkx(network: Graph) -> Any:
    """Values, weights and outputs as nodes; an edge says as which inputs a value is taken."""
    found: Any = nx.DiGraph()
    flat = expand(network)
    for node in flat.order:
        what = (
            (node.op.name, node["name"]) if node.op.name == "input" else (node.op.name, node.attrs)
        )
        found.add_node(node, what=what)
        how: dict[Node, list[int]] = {}
        for place, i in enumerate(node.inputs):
            how.setdefault(i, []).append(0 if node.op.commutative else place)
        for i, places in how.items():
            found.add_edge(i, node, how=tuple(places))
        if node.key:
            found.add_node(node.key, what="weights")
            found.add_edge(node.key, node, how="weights")
    for name, node in flat.outputs:
        found.add_node(("output", name), what=("output", name))
        found.add_edge(node, ("output", name), how="output")
    return found


def paired(vertices: int, edges: Sequence[tuple[int, int]], order: Sequence[int]) -> Graph:
    """Any undirected graph as a network: sum over its edges of products of layers of one input.

    Nothing but the pattern of the products tells the layers apart. `order` numbers the vertices.
    """
    x = input_node("x", tensor("f32", (symbol("N"), 4)))
    layers = [build(PRIMITIVES["linear"], [x], {"out": 4}, f"w{order[v]}") for v in range(vertices)]
    products = [build(PRIMITIVES["mul"], [layers[a], layers[b]]) for a, b in edges]
    return graph("paired", [x], [("out", build(PRIMITIVES["sum"], products))])


def star(order: Sequence[int]) -> Graph:
    """A sum of as many branches that differ in their weights alone, which `order` numbers."""
    x = input_node("x", tensor("f32", (symbol("N"), 4)))
    layers = [build(PRIMITIVES["linear"], [x], {"out": 4}, f"w{i}") for i in order]
    branches = [build(PRIMITIVES["relu"], [layer]) for layer in layers]
    return graph("star", [x], [("out", build(PRIMITIVES["sum"], branches))])


# ── open graphs ──────────────────────────────────────────────────────────────────────────────────

DECISIONS: tuple[Decision, ...] = (
    OneOf("d0", ("a", "b")),
    OneOf("d1", ("a", "b", "c")),
    KOf("d2", ("a", "b", "c"), 2),
    KOf("d3", ("a", "b"), 2, repeats=True),
    SomeOf("d4", ("a", "b")),
    SomeOf("d5", ("a", "b", "c")),
    OpenNumber("d6", ("0.1", "0.2", "0.3")),
)


@st.composite
def open_graphs(draw: st.DrawFn, most_sites: int = 7) -> Graph:
    """A graph of few decisions, each at several sites, on whose settings hangs what is reached."""
    x = input_node("x", tensor("f32", (symbol("N"), 4)))
    values = [x, build(PRIMITIVES["relu"], [x])]
    offered = draw(st.lists(st.sampled_from(DECISIONS), min_size=1, max_size=4, unique=True))
    for _ in range(draw(st.integers(1, most_sites))):
        decision = draw(st.sampled_from(offered))
        recent = st.sampled_from(list(reversed(values)))
        values.append(_site(decision, [draw(recent) for _ in decision.labels], draw))
    outputs = [("out", values[-1])]
    if draw(st.booleans()):
        outputs.append(("other", draw(st.sampled_from(values))))
    return graph("open", [x], outputs)


def _site(decision: Decision, candidates: Sequence[Node], draw: st.DrawFn) -> Node:
    """What the decision takes of the candidates, as the language would build it."""
    if isinstance(decision, SomeOf):
        parts = [maybe(decision, i, node) for i, node in enumerate(candidates)]
        return build(PRIMITIVES["sum"], parts)
    if isinstance(decision, OpenNumber):
        slope = pick(decision, 0, [float(label) for label in decision.labels])
        return build(PRIMITIVES["leaky_relu"], candidates[:1], {"slope": slope})
    slots = list(range(decision.slots))
    if draw(st.booleans()):
        slots = [draw(st.sampled_from(slots))]
    taken = [choice(decision, slot, candidates) for slot in slots]
    return taken[0] if len(taken) == 1 else build(PRIMITIVES["sub"], taken)
