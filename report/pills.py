"""Choices as they are drawn: a pill for each decision, or a box with its candidates as chips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..ir.decisions import Decision
from ..ir.node import Node
from ..ir.ops import CELL, CHOICE, MAYBE

_MOST_CHIPS = 24

Users = Mapping[Node, Sequence[Node | None]]
"""Who uses each node; None stands for an output."""


@dataclass(frozen=True, slots=True, eq=False)
class Pill:
    """The nodes of one decision that are drawn as one box, and its candidates."""

    decision: Decision
    nodes: tuple[Node, ...]
    candidates: tuple[Node, ...]
    indices: tuple[int, ...]


def find_pills(order: Sequence[Node], users: Users) -> list[Pill]:
    """The choices of a region: the k values of one decision together, as are optional inputs."""
    groups: dict[tuple[object, ...], list[Node]] = {}
    for node in order:
        if node.op is CHOICE:
            groups.setdefault((node.decision, node.inputs), []).append(node)
        elif node.op is MAYBE:
            groups.setdefault((node.decision, frozenset(users[node])), []).append(node)
    pills: list[Pill] = []
    for nodes in groups.values():
        first = nodes[0]
        if first.op is CHOICE:
            nodes.sort(key=lambda node: node["slot"])
            candidates, indices = first.inputs, tuple(range(len(first.inputs)))
        else:
            nodes.sort(key=lambda node: node["index"])
            candidates = tuple([node.inputs[0] for node in nodes])
            indices = tuple([node["index"] for node in nodes])
        pills.append(Pill(first.decision, tuple(nodes), candidates, indices))
    return pills


def fold(
    pills: Sequence[Pill], users: Users, opened: Callable[[Node], bool]
) -> tuple[dict[Pill, tuple[Node, ...]], dict[Node, Pill]]:
    """The pills whose candidates are small functions of common inputs, which are returned.

    The second result are the nodes that are then drawn as chips of their pill.
    """
    folded: dict[Pill, tuple[Node, ...]] = {}
    chips: dict[Node, Pill] = {}
    for pill in pills:
        found = _small_functions(pill, users, opened, chips)
        if found is not None:
            folded[pill], chain = found
            chips.update(dict.fromkeys(chain, pill))
    # Constants that something other than chips uses too keep a box of their own.
    inside = {node for pill in folded for node in pill.nodes} | set(chips)
    for node in [node for node in chips if not node.inputs]:
        if not inside.issuperset(users[node]):
            del chips[node]
    return folded, chips


def _small_functions(
    pill: Pill, users: Users, opened: Callable[[Node], bool], taken: Mapping[Node, Pill]
) -> tuple[tuple[Node, ...], list[Node]] | None:
    """The common inputs of the candidates, and the nodes between; None where it is not so."""
    if not 1 < len(pill.candidates) <= _MOST_CHIPS:
        return None

    def foldable(node: Node, only: set[Node]) -> bool:
        if node.op.structural and (node.op is not CELL or opened(node)):
            return False
        if not node.inputs and not node.key:
            return True  # a constant, the same object in every choice that offers it
        return node not in taken and only.issuperset(users[node])

    chains: list[list[Node]] = []
    bases: list[frozenset[Node]] = []
    for candidate in pill.candidates:
        chain: list[Node] = []
        node = candidate
        while foldable(node, {chain[-1]} if chain else set(pill.nodes)):
            chain.append(node)
            if len(set(node.inputs)) != 1:
                break
            node = node.inputs[0]
        chains.append(chain)
        bases.append(frozenset(chain[-1].inputs) if chain else frozenset([candidate]))
    common = max(bases, key=len)
    ends = [c[-1] for c, base in zip(chains, bases, strict=True) if c and base == common]
    if not ends or any(not base <= common for base in bases):
        return None
    # `?depth of {h[1], h[2]}` chooses between layers: hiding the second in a chip would mislead.
    if not all(chains) and any(node.key for chain in chains for node in chain):
        return None
    return tuple(dict.fromkeys(ends[0].inputs)), [node for chain in chains for node in chain]
