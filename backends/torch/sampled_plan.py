"""K networks of one space as one list of steps, in which what they share stands once.

Nodes are interned and keys name weights, so what is computed alike in several networks is the same
node: merging is taking each node once. The steps of one run are kept for the next, which shares
with it what does not depend on decisions, and often more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from ...ir.diagnostics import Diagnostic, FusegraphError
from ...ir.graph import Graph
from ...ir.node import Kernel, Node, everything, intern
from ...ir.ops import CELL, INPUT
from .lowering import Held, Site, SizeNames
from .program import require_settled
from .sampled_calls import Call, Calls
from .sampled_columns import Recogniser
from .sampled_steps import Column, Step
from .sampled_weights import SharedWeights, shapes_of
from .steps import unfold
from .table import LOWERINGS

MOST_NODES = 50_000
"""Nodes whose expansion is remembered; beyond it all are forgotten."""

Outputs = tuple[tuple[str, Step], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """K networks: every step once, each after its inputs; the inputs that they read; what each
    network gives; and the batch norms of each, in the order of the networks.
    """

    steps: Sequence[Step]
    inputs: Sequence[Node]
    outputs: Sequence[Outputs]
    norms: Sequence[Step]


class Planner(ABC):
    """Makes plans for networks of one space.

    `apart`: whether equal nodes of different networks may be different steps.
    """

    apart = False

    def __init__(self, space: Graph) -> None:
        self._space = space
        self._flat: dict[Node, Node] = {}
        self._last: dict[Node, Step] = {}
        self.has_norms = any(node.op.name == "batch_norm" for node in everything(space.roots))
        self.calls = Calls()

    @abstractmethod
    def bound(self, node: Node, network: Graph) -> tuple[Call, nn.Module]:
        """The function of a node of this network, and what holds its weights.

        Raises FusegraphError E717 for a network of another space.
        """

    def serves(self, step: Step, network: Graph, found: Mapping[Node, Step]) -> bool:
        """Whether a step of another network is right for this one, whose steps are `found`."""
        return True

    def column(self, node: Node, inputs: tuple[Step, ...]) -> Column | None:
        """See `Step.column`."""
        return None

    def plan(self, networks: Sequence[Graph]) -> Plan:
        """The plan of these networks, in their order.

        Raises FusegraphError E710 for a space, E717 for a network of another space.
        """
        if len(self._flat) > MOST_NODES:
            self._flat.clear()
        outputs: list[Outputs] = []
        read: set[Node] = set()
        steps: dict[Node, Step] = {}
        norms: list[Step] = []
        order: dict[Step, None] = {}
        for network in networks:
            require_settled(network)
            roots = [root if root.flat else _flattened(root, self._flat) for root in network.roots]
            alone = dict[Node, Step]() if self.has_norms or self.apart else steps
            self._collect(network, roots, alone, steps)
            if alone is not steps:
                norms += _in_order([step for step in alone.values() if step.norm], network)
                order.update(dict.fromkeys(alone.values()))
                steps.update(alone)
            names = [name for name, _ in network.outputs]
            outputs.append(tuple(zip(names, [alone[root] for root in roots], strict=True)))
            read.update(network.inputs)
        inputs = [node for node in self._space.inputs if node in read]
        if len(inputs) < len(read):
            name = next(node["name"] for node in read if node not in inputs)
            raise foreign(self._space, f"reads an input `{name}` that the space has not")
        self._last = steps
        return Plan(list(order or steps.values()), inputs, outputs, norms)

    def _collect(
        self,
        network: Graph,
        roots: Sequence[Node],
        found: dict[Node, Step],
        before: Mapping[Node, Step],
    ) -> None:
        """Add the steps of what these nodes reach, each after its inputs.

        `before` has those of other networks.
        """
        last = self._last
        stack = list(reversed(roots))
        while stack:
            node = stack.pop()
            if node in found:
                continue
            waiting = [i for i in node.inputs if i not in found]
            if waiting:
                stack.append(node)
                stack += waiting
                continue
            step = before.get(node) or last.get(node)
            if step is None or not self.serves(step, network, found):
                step = self._made(node, tuple([found[i] for i in node.inputs]), network)
            found[node] = step

    def _made(self, node: Node, inputs: tuple[Step, ...], network: Graph) -> Step:
        if node.op is INPUT:
            return Step(node, (), None, None, None)
        if node.op.weights is None:
            return Step(node, inputs, self.calls.of(node, True), None, self.column(node, inputs))
        return Step(node, inputs, *self.bound(node, network), self.column(node, inputs))


class SampledPlanner(Planner):
    """Of networks whose weights are shared by key and shape: modules at the paths of `weights`."""

    def __init__(
        self, space: Graph, weights: SharedWeights, modules: Mapping[str, nn.Module]
    ) -> None:
        super().__init__(space)
        self._weights = weights
        self._modules = modules
        self._columns = Recogniser()
        self._bound: dict[tuple[Kernel, str], tuple[Call, nn.Module]] = {}

    def column(self, node: Node, inputs: tuple[Step, ...]) -> Column | None:
        """See `Step.column`."""
        return self._columns(node, inputs)

    def bound(self, node: Node, network: Graph) -> tuple[Call, nn.Module]:
        """See `Planner.bound`."""
        bound = self._bound.get((node.kernel, node.key))
        if bound is None:
            bound = self._bound[node.kernel, node.key] = self._found(node)
        return bound

    def _found(self, node: Node) -> tuple[Call, nn.Module]:
        """The function of a node and the module of its weights."""
        identity = (node.key, shapes_of(node))
        made = self._weights.made.get(identity)
        if made is None:
            shapes = ", ".join([f"{name}{list(shape)}" for name, shape in identity[1]])
            raise foreign(self._space, f"has {shapes} for the key `{node.key}`")
        operands = ["x"] * len(node.inputs)
        lowered = LOWERINGS[node.op.name](Site(node, operands, "me", SizeNames({}, "like")))
        own = isinstance(lowered, Held) and lowered.make == made.make
        return self.calls.of(node, own), self._modules[".".join(made.path)]


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


def _in_order(norms: list[Step], network: Graph) -> list[Step]:
    """The batch norms in the order in which the network by itself computes them.

    It matters where several share their statistics.
    """
    if len({step.node.key for step in norms}) < len(norms):
        places = {node: place for place, node in enumerate(unfold(network).order)}
        norms.sort(key=lambda step: places[step.node])
    return norms


def foreign(space: Graph, what: str) -> FusegraphError:
    """E717: a network that the space has not."""
    return FusegraphError(
        Diagnostic(
            code="E717",
            message=f"a network that {what} is not of the space `{space.name}`",
            place=space.name,
            help="give networks that were specialised from this very space",
        )
    )
