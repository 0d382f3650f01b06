"""K networks of one space as one list of steps, in which what they share stands once.

Nodes are interned and keys name weights, so what is computed alike in several networks is the same
node: merging is taking each node once. What follows from a node alone is remembered by the node, as
the next K networks share most of theirs with these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

from torch import nn

from ...ir.diagnostics import Diagnostic, FusegraphError
from ...ir.graph import Graph
from ...ir.node import Node, intern, topological
from ...ir.ops import CELL, INPUT
from .lowering import Held, Site, SizeNames
from .program import require_settled
from .sampled_calls import Call, Calls
from .sampled_weights import SharedWeights, shapes_of
from .steps import unfold
from .table import LOWERINGS

MOST_STEPS = 200_000
"""Steps that are remembered; beyond it all are forgotten."""


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """An op on the results of other steps. `module` holds its weights; inputs have no `call`."""

    node: Node
    inputs: tuple[Step, ...]
    call: Call | None
    module: nn.Module | None
    norm: bool


class Listing(NamedTuple):
    """One network: its steps, each after its inputs; the batch norms of these; its results."""

    steps: tuple[Step, ...]
    norms: tuple[Step, ...]
    outputs: tuple[tuple[str, Step], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """K networks: every step once, the inputs that they read, and each network by itself."""

    steps: tuple[Step, ...]
    inputs: tuple[Node, ...]
    listings: tuple[Listing, ...]


class Planner:
    """Makes plans for networks of one space, whose modules stand at the paths of `weights`."""

    def __init__(
        self, space: Graph, weights: SharedWeights, modules: Mapping[str, nn.Module]
    ) -> None:
        self._space = space
        self._weights = weights
        self._modules = modules
        self._calls = Calls()
        self._flat: dict[Node, Node] = {}
        self._steps: dict[Node, Step] = {}
        self._listings: WeakKeyDictionary[Graph, Listing] = WeakKeyDictionary()

    def plan(self, networks: Sequence[Graph]) -> Plan:
        """The plan of these networks, in their order.

        Raises FusegraphError E710 for a space, E717 for a network of another space.
        """
        if len(self._steps) > MOST_STEPS:
            self._flat.clear()
            self._steps.clear()
            self._listings.clear()
        listings = tuple([self._listing(network) for network in networks])
        steps: dict[Step, None] = {}
        for listing in listings:
            steps.update(dict.fromkeys(listing.steps))
        read = {node for network in networks for node in network.inputs}
        inputs = tuple([node for node in self._space.inputs if node in read])
        if len(inputs) < len(read):
            name = next(node["name"] for node in read if node not in inputs)
            raise _foreign(self._space, f"reads an input `{name}` that the space has not")
        return Plan(tuple(steps), inputs, listings)

    def _listing(self, network: Graph) -> Listing:
        found = self._listings.get(network)
        if found is None:
            require_settled(network)
            done = self._flat
            outputs = [(name, _flattened(root, done)) for name, root in network.outputs]
            steps = tuple([self._step(n) for n in topological([node for _, node in outputs])])
            ends = tuple([(name, self._steps[node]) for name, node in outputs])
            norms = _in_order([step for step in steps if step.norm], network)
            found = self._listings[network] = Listing(steps, norms, ends)
        return found

    def _step(self, node: Node) -> Step:
        """The step of a node without composites whose inputs have theirs."""
        found = self._steps.get(node)
        if found is None:
            found = self._steps[node] = self._made(node)
        return found

    def _made(self, node: Node) -> Step:
        inputs = tuple([self._steps[i] for i in node.inputs])
        if node.op is INPUT:
            return Step(node, (), None, None, False)
        if node.op.weights is None:
            return Step(node, inputs, self._calls.of(node, own=True), None, False)
        identity = (node.key, shapes_of(node))
        made = self._weights.made.get(identity)
        if made is None:
            shapes = ", ".join([f"{name}{list(shape)}" for name, shape in identity[1]])
            raise _foreign(self._space, f"has {shapes} for the key `{node.key}`")
        lowered = LOWERINGS[node.op.name](
            Site(node, ["x"] * len(inputs), "me", SizeNames({}, "like"))
        )
        own = isinstance(lowered, Held) and lowered.make == made.make
        module = self._modules[".".join(made.path)]
        return Step(node, inputs, self._calls.of(node, own), module, node.op.name == "batch_norm")


def _flattened(root: Node, done: dict[Node, Node]) -> Node:
    """The node without composites; `done` remembers those that are."""
    stack = [root]
    while stack:
        node = stack[-1]
        if node in done:
            stack.pop()
            continue
        waiting = [i for i in node.inputs if i not in done]
        if waiting:
            stack += waiting
            continue
        stack.pop()
        inputs = tuple([done[i] for i in node.inputs])
        if node.op is CELL:
            operands = dict(zip(node["formals"], inputs, strict=True))
            done[node] = _flattened(node["body"], operands)
        else:
            same = inputs == node.inputs
            done[node] = node if same else intern(node.op, inputs, node.attrs, node.key)
    return done[root]


def _in_order(norms: list[Step], network: Graph) -> tuple[Step, ...]:
    """The batch norms in the order in which the network by itself computes them.

    It matters where several share their statistics.
    """
    if len({step.node.key for step in norms}) < len(norms):
        places = {node: place for place, node in enumerate(unfold(network).order)}
        norms.sort(key=lambda step: places[step.node])
    return tuple(norms)


def _foreign(space: Graph, what: str) -> FusegraphError:
    return FusegraphError(
        Diagnostic(
            code="E717",
            message=f"a network that {what} is not of the space `{space.name}`",
            place=space.name,
            help="give networks that were specialised from this very space",
        )
    )
