"""The weights that all networks of a space share: by key, and by shape where that is open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ...ir.decisions import Decision, Setting
from ...ir.diagnostics import Diagnostic, FusegraphError
from ...ir.dims import Dim, Expr, Static, decisions_in
from ...ir.graph import Graph
from ...ir.node import Node, everything, formal, intern
from ...ir.settling import assignments, settle
from ...ir.types import tensor
from ..names import path_of
from .lowering import Held, Make, Site, SizeNames
from .program import Module, tree_of
from .table import LOWERINGS

Shapes = tuple[tuple[str, tuple[Dim, ...]], ...]
"""The weights of a module by name, buffers too."""

Path = tuple[str, ...]


def shapes_of(node: Node) -> Shapes:
    """What the node asks of the module at its key."""
    return tuple([(weight.name, weight.shape) for weight in node.weights])


class Shared(NamedTuple):
    """One set of weights: where its module is, and how it was made."""

    path: Path
    make: Make


@dataclass(frozen=True)
class SharedWeights:
    """The modules of a space, and the one for each key with these shapes."""

    modules: tuple[Module, ...]
    made: Mapping[tuple[str, Shapes], Shared]


def shared_weights(space: Graph) -> SharedWeights:
    """Every set of weights that a network of the space may have.

    A key whose shapes are the same in all networks has its module where `lower` has it. Where open
    numbers change them there is one module for each shape: `h.1.linear:16x656.weight`. Raises
    FusegraphError E505 where the shapes of one key are too many to list, E714 as `lower` does.
    """
    makes: dict[str, dict[Shapes, Make]] = {}
    for node in everything(space.roots):
        if node.op.weights is None:
            continue
        known = makes.setdefault(node.key, {})
        for settled in _settled(node):
            shapes = shapes_of(settled)
            make = _make(settled)
            # As in a network: which module is made must not depend on the order of the nodes.
            known[shapes] = min(known.get(shapes, make), make, key=lambda m: (m.head, repr(m)))
    by_path: dict[Path, tuple[str, Make]] = {}
    made: dict[tuple[str, Shapes], Shared] = {}
    for key, known in makes.items():
        *above, last = path_of(key)
        for shapes, make in known.items():
            path = (*above, last if len(known) == 1 else f"{last}:{_label(shapes, known)}")
            by_path[path] = (key, make)
            made[key, shapes] = Shared(path, make)
    return SharedWeights(tree_of(by_path), made)


def _label(shapes: Shapes, among: Mapping[Shapes, object]) -> str:
    """The first shape, and all where several begin so; no key of a space has such signs."""
    texts = ["x".join(map(str, shape)) for _, shape in shapes]
    alone = sum([other[0] == shapes[0] for other in among]) == 1
    return texts[0] if alone else "-".join(texts)


def _make(node: Node) -> Make:
    lowered = LOWERINGS[node.op.name](
        Site(node, ["x"] * len(node.inputs), "self", SizeNames({}, "x"))
    )
    assert isinstance(lowered, Held), "what owns weights has a module"
    return lowered.make


def _settled(node: Node) -> Iterator[Node]:
    """The node under one setting for each of its shapes."""
    if all(i.settled for i in node.inputs) and not node.kernel.is_open:
        yield node
        return
    sizes = [size for _, shape in shapes_of(node) for size in shape]
    joint = assignments(sizes)
    if joint is None:
        raise FusegraphError(
            Diagnostic(
                code="E505",
                message=f"the weights of a `{node.op.name}` have too many shapes to list them all",
                place=node.key,
                notes=(f"its input is {node.inputs[0].type.pretty}",) if node.inputs else (),
                help="bring the open sizes to a known one first",
            )
        )
    found: dict[str, Decision] = {}
    for value in _open_values(node):
        found.update(decisions_in(value))
    others: dict[str, Setting] = {key: next(iter(d.settings())) for key, d in found.items()}
    seen: set[tuple[Static, ...]] = set()
    for settings in joint:
        shape = tuple([settle(size, settings) for size in sizes])
        if shape not in seen:
            seen.add(shape)
            yield _under(node, {**others, **settings})


def _open_values(node: Node) -> Iterator[Expr]:
    pending: list[object] = [*node.attrs, *[i.type.shape for i in node.inputs]]
    while pending:
        value = pending.pop()
        if isinstance(value, tuple):
            pending += value
        elif isinstance(value, Expr) and value.open:
            yield value


def _under(node: Node, settings: Mapping[str, Setting]) -> Node:
    """The node under these settings, of operands that stand for its own."""

    def settled(value: object) -> object:
        if isinstance(value, tuple):
            return tuple([settled(v) for v in value])
        return settle(value, settings) if isinstance(value, Expr) else value

    types = [tensor(i.type.dtype, settled(i.type.shape)) for i in node.inputs]  # pyright: ignore[reportArgumentType]
    attrs = tuple(
        [
            attr.accept(settled(value)) if isinstance(value, (Expr, tuple)) else value
            for attr, value in zip(node.op.attrs, node.attrs, strict=True)
        ]
    )
    operands = tuple([formal(f"x{place}", type) for place, type in enumerate(types)])
    return intern(node.op, operands, attrs, node.key)
