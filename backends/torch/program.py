"""A network as a program: the modules that hold its weights, and the lines of its `forward`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir.diagnostics import Diagnostic, FusegraphError
from ...ir.dims import Expr as Open
from ...ir.dims import symbols_in
from ...ir.graph import Graph
from ...ir.node import Node
from ..names import path_of
from .layout import Expr, Items, statement, text_literal
from .lowering import Held, Lowering, Make, Site, SizeNames, path_expression
from .names import Namer
from .paragraphs import Paragraph, paragraphs
from .sizes import reading_of
from .splits import shared_out, split_line
from .steps import Unfolded, unfold
from .table import LOWERINGS

INDENT = " " * 8


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the tree: its path, the key it belongs to, and how it is made.

    `make` is None for a plain scope, which holds other modules and nothing else.
    """

    path: tuple[str, ...]
    key: str
    make: Make | None


@dataclass(frozen=True, slots=True)
class Program:
    """`parameters` are the names of the inputs in `forward`, in the order of the graph.

    `modules` has each module after the one that holds it; `body` are lines, indented by 8.
    """

    parameters: tuple[str, ...]
    modules: tuple[Module, ...]
    body: tuple[str, ...]
    single: bool

    @property
    def signature(self) -> list[str]:
        """The first line of `forward`, or lines where it is long."""
        result = "Tensor" if self.single else "dict[str, Tensor]"
        arguments = ["self", *[f"{name}: Tensor" for name in self.parameters]]
        flat = f"    def forward({', '.join(arguments)}) -> {result}:"
        if len(flat) <= 100:
            return [flat]
        inner = INDENT + ", ".join(arguments)
        lines = [inner] if len(inner) <= 100 else [f"{INDENT}{a}," for a in arguments]
        return ["    def forward(", *lines, f"    ) -> {result}:"]


def require_settled(network: Graph) -> None:
    """Raise FusegraphError E710 where decisions are open: only a network can be lowered."""
    open_sides = any(
        isinstance(side, Open) and side.open for r in network.requires for side in (r.left, r.right)
    )
    if all(node.settled for node in network.roots) and not open_sides:
        return
    names = list(network.decisions)
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise FusegraphError(
        Diagnostic(
            code="E710",
            message=f"`{network.name}` is a space, not a network: {len(names)} "
            f"decision{'s are' if len(names) != 1 else ' is'} open",
            place=network.name,
            notes=(f"open: {shown}",),
            help="specialise the space with a genotype first",
        )
    )


def program(network: Graph, lowerings: Mapping[str, Lowering] = LOWERINGS) -> Program:
    """The program of a network. Raises FusegraphError E710, E713, E714, E715, E716."""
    require_settled(network)
    code = unfold(network)
    splits = shared_out(code)
    namer = Namer()
    parameters = tuple([namer.parameter(node["name"]) for node in network.inputs])
    inputs = list(zip(network.inputs, parameters, strict=True))
    open_sizes = {d for node in network.inputs for d in node.type.shape if isinstance(d, Open)}
    symbols = sorted({symbol for size in open_sizes for symbol in symbols_in(size)})
    size_names = {symbol: namer.variable(symbol) for symbol in symbols}
    parts, names = paragraphs(code, namer)
    names.update(inputs)
    owners = {path_of(node.key) for node in code.order if node.key and node.op.keyed}
    sizes = SizeNames(size_names, _floats(code, inputs, owners))
    values, makes = _lowered(code, names, owners, sizes, lowerings)
    body = _text(parts, values, names, code.outputs, splits)
    reads = [
        f"{INDENT}{name} = {reading_of(symbol, inputs)}" for symbol, name in sizes.read.items()
    ]
    if reads and body:
        reads.append("")
    return Program(parameters, _tree(makes), (*reads, *body), single=len(network.outputs) == 1)


def modules_of(network: Graph) -> tuple[Module, ...]:
    """The modules of `program(network)` without its text. Raises FusegraphError as that does,
    but for E715.
    """
    require_settled(network)
    code = unfold(network)
    names = dict.fromkeys([*network.inputs, *code.order], "x")
    owners = {path_of(node.key) for node in code.order if node.key and node.op.keyed}
    _, makes = _lowered(code, names, owners, SizeNames({}, "x"), LOWERINGS)
    return _tree(makes)


def _floats(
    code: Unfolded, inputs: Sequence[tuple[Node, str]], owners: set[tuple[str, ...]]
) -> str:
    """A float32 tensor whose dtype and device a tensor of zeros takes; empty where none is."""
    for node, name in inputs:
        if node.type.dtype == "f32":
            return name
    for node in code.order:
        if node.op.weights is not None:
            return f"{path_expression(path_of(node.key), owners)}.weight"
    return ""


def _lowered(
    code: Unfolded,
    names: dict[Node, str],
    owners: set[tuple[str, ...]],
    sizes: SizeNames,
    lowerings: Mapping[str, Lowering],
) -> tuple[dict[Node, Expr], dict[str, Make]]:
    """The expression of each node, and the module at each key."""
    values: dict[Node, Expr] = {}
    held: dict[str, list[tuple[Node, Held]]] = {}
    for node in code.order:
        keyed = bool(node.key) and node.op.keyed
        if node.op.weights is not None and not node.key:
            raise FusegraphError(
                Diagnostic(
                    code="E716",
                    message=f"a `{node.op.name}` owns weights, and has no key to hold them",
                    place=repr(node),
                    help="build it with a key, for example the name of its result",
                )
            )
        me = path_expression(path_of(node.key), owners) if keyed else ""
        lowered = lowerings[node.op.name](Site(node, [names[i] for i in node.inputs], me, sizes))
        if isinstance(lowered, Held):
            values[node] = lowered.call
            held.setdefault(node.key, []).append((node, lowered))
        else:
            values[node] = lowered
    makes: dict[str, Make] = {}
    for key, users in held.items():
        makes[key] = users[0][1].make
        if len(users) > 1:
            _tie(key, users, makes, values)
    return values, makes


def _tie(
    key: str, users: list[tuple[Node, Held]], makes: dict[str, Make], values: dict[Node, Expr]
) -> None:
    """One module for several nodes of one key; those that are made otherwise borrow its weights."""
    expect_alike(key, [node for node, _ in users])
    # Which module is made must not depend on the order of the nodes, as its start would then too.
    make = makes[key] = min([h.make for _, h in users], key=lambda m: (m.head, repr(m)))
    for node, lowered in users:
        if lowered.make != make and lowered.borrow is not None:
            values[node] = lowered.borrow()


def _owned(node: Node) -> str:
    weights = [f"{w.name}{list(w.shape)}" for w in node.weights]
    return f"`{node.op.name}` with {', '.join(weights) or 'no weights'}"


def expect_alike(key: str, nodes: Sequence[Node], *, shapes: bool = True) -> None:
    """Raise FusegraphError E713 unless these nodes can share one module.

    Without `shapes`, unless one module may hold weights of which each has a part.
    """

    def owned(node: Node) -> set[tuple[str, object, bool]]:
        return {(w.name, w.shape if shapes else len(w.shape), w.buffer) for w in node.weights}

    first = owned(nodes[0])
    for node in nodes[1:]:
        weights = owned(node)
        same_draw = bool(weights) or (node.op is nodes[0].op and node.attrs == nodes[0].attrs)
        if weights != first or not same_draw:
            raise FusegraphError(
                Diagnostic(
                    code="E713",
                    message=f"two ops of the key `{key}` cannot share one module",
                    place=key,
                    notes=(f"one is {_owned(nodes[0])}", f"another is {_owned(node)}"),
                    help="the same key means tied weights: give them the same sizes, or two keys",
                )
            )


def _tree(makes: dict[str, Make]) -> tuple[Module, ...]:
    return tree_of({path_of(key): (key, make) for key, make in makes.items()})


def tree_of(by_path: Mapping[tuple[str, ...], tuple[str, Make]]) -> tuple[Module, ...]:
    """Every module of the tree, scopes too, each after its parent, else in the order of use.

    `by_path` has the key of each module and how it is made.
    """
    found: dict[tuple[str, ...], Module] = {}
    for path in by_path:
        for depth in range(1, len(path) + 1):
            part = path[:depth]
            if part not in found:
                key, make = by_path.get(part, ("", None))
                found[part] = Module(part, key, make)
    return tuple(found.values())


def _text(
    parts: list[Paragraph],
    values: dict[Node, Expr],
    names: dict[Node, str],
    outputs: list[tuple[str, Node]],
    splits: dict[Node, list[Node]],
) -> list[str]:
    lines: list[str] = []
    behind = {node for nodes in splits.values() for node in nodes[1:]}
    for paragraph in parts:
        if lines:
            lines.append("")
        title = paragraph.title
        if title:
            lines.append(f"{INDENT}# {title}"[:100])
        for node in paragraph.nodes:
            if node in splits:
                lines += split_line(splits[node], names, INDENT)
            elif node not in behind:
                lines += statement(f"{names[node]} = ", values[node], INDENT)
        lines += _deleted(paragraph.dead)
    if len(outputs) == 1:
        return [*lines, f"{INDENT}return {names[outputs[0][1]]}"]
    items = Items([f"{text_literal(name)}: {names[node]}" for name, node in outputs], "{}")
    return [*lines, *statement("return ", items, INDENT)]


def _deleted(names: list[str]) -> list[str]:
    """`del` of what no later line reads, so that its memory is free at once."""
    lines: list[str] = []
    for name in names:
        if lines and len(lines[-1]) + len(name) < 98:
            lines[-1] += f", {name}"
        else:
            lines.append(f"{INDENT}del {name}")
    return lines
