"""Groups of nodes into stacks: builds the fused graph and its packing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...ir.node import Node, build, intern
from ...ir.ops import PRIMITIVES, Weight
from ...ir.ops.stacking import bank_blocks
from .grouping import Groups
from .packing import Piece, Span
from .splitting import BankLayer, Part
from .stacking import Lie, Site, laid_out, plain, stacked, turned

Naming = Callable[[str, str], str]
"""What a backend calls the weight of a key: `backends/names.py`'s `weight_name`."""

_BROADCASTING = frozenset(("sum", "mul", "maximum", "sub", "div"))


class Builder:
    """Builds new nodes for old ones, group by group; a node is then a row of a stack, or plain.

    `source` names the old weight of a key, `naming` the new one. `columns` are those of
    `splitting.Split`.
    """

    def __init__(
        self, source: Naming, naming: Naming, columns: Mapping[str, tuple[Part, ...]]
    ) -> None:
        self.pieces: dict[str, tuple[Piece, ...]] = {}
        self._source = source
        self._naming = naming
        self._columns = columns
        self._plain: dict[Node, Node] = {}
        self._rows: dict[Node, tuple[Node, int]] = {}
        self._placed: dict[Node, tuple[int, int]] = {}
        self._stacks = 0

    def keep(self, node: Node) -> None:
        """The node is the same in the new graph: it depends on nothing that is built."""
        self._plain[node] = node

    def group(self, nodes: Sequence[Node]) -> None:
        """The nodes, which have one form, as one stack; one alone stays as it is."""
        operands = [self._operands(node) for node in nodes]
        number = self._numbered(nodes)
        first = nodes[0]
        if len(nodes) > 1:
            x = [self._operand(first, column) for column in zip(*operands, strict=True)]
            key = f"{first.op.name}_{number}"
            made = stacked(Site(first, len(nodes), tuple(x), key))
            if made is not None:
                for row, node in enumerate(nodes):
                    self._rows[node] = (made.node, row)
                if made.keyed is not None:
                    self._pack(made.keyed, nodes, made.lies)
                return
        for node, given in zip(nodes, operands, strict=True):
            inputs = tuple([self.one(i) for i in given])
            self._plain[node] = intern(node.op, inputs, node.attrs, node.key)
            for weight in node.weights:
                at = _whole(weight)
                found = self._parts(node, weight)
                pieces = [Piece(p.source, p.at or at, p.take) for p in found]
                self.pieces[self._naming(node.key, weight.name)] = tuple(pieces)

    def bank(self, layers: Sequence[BankLayer]) -> None:
        """The layers as one bank, whose rows are they."""
        first = layers[0].node
        out: int = first["out"]
        inputs = list(dict.fromkeys([part for layer in layers for part, _ in layer.reads]))
        reads = [(layer, part, span) for layer in layers for part, span in layer.reads]
        indices = tuple([inputs.index(part) for _, part, _ in reads])
        attrs = {
            "out": out,
            "reads": indices,
            "per": len(layers[0].reads),
            "bias": first["bias"],
            "axis": first["axis"],
        }
        number = self._numbered([layer.node for layer in layers])
        key = f"bank_{number}"
        node = build(PRIMITIVES["linear_bank"], [self.one(part) for part in inputs], attrs, key)
        axis: int = first["axis"]
        rows = node
        if node.type.rank > 3:  # [J, out, ...] with the axes of the members in their order
            axes = (
                0,
                *[1 if at == axis else at + 2 - (at > axis) for at in range(first.type.rank)],
            )
            rows = build(PRIMITIVES["transpose"], [node], {"axes": axes})
        elif axis == 0:
            rows = turned(node)
        for row, layer in enumerate(layers):
            self._rows[layer.node] = (rows, row)
        for place, blocks in enumerate(bank_blocks(len(inputs), indices)):
            pieces: list[Piece] = []
            for block, read in enumerate(blocks):
                layer, _, span = reads[read]
                at = ((block * out, (block + 1) * out), (0, span[1] - span[0]))
                pieces.append(Piece(self._source(layer.source, "weight"), at, ((0, out), span)))
            self.pieces[self._naming(key, f"weight.{place}")] = tuple(pieces)
        if first["bias"]:
            self.pieces[self._naming(key, "bias")] = tuple(
                [
                    Piece(self._source(layer.source, "bias"), ((j, j + 1), (0, out)), (), (1, out))
                    for j, layer in enumerate(layers)
                ]
            )

    # ── operands ─────────────────────────────────────────────────────────────────────────────

    def one(self, node: Node) -> Node:
        """The new node of an old one; of a row of a stack, a slice."""
        found = self._plain.get(node)
        if found is None:
            stack, row = self._rows[node]
            cut = plain(_rows_of(stack, row, row + 1))
            found = build(PRIMITIVES["reshape"], [cut], {"shape": node.type.shape})
            self._plain[node] = found
        return found

    def several(self, nodes: Sequence[Node]) -> Node:
        """The new nodes of old ones as one stack, in this order."""
        stacks: dict[Node, list[int]] = {}
        loose: list[Node] = []
        for node in nodes:
            if node in self._rows:
                stack, row = self._rows[node]
                stacks.setdefault(stack, []).append(row)
            else:
                loose.append(self.one(node))
        parts: list[Node] = []
        starts: dict[Node | None, int] = {}
        offset = 0
        for stack, rows in stacks.items():
            low, high = min(rows), max(rows) + 1
            parts.append(_rows_of(stack, low, high))
            starts[stack] = offset - low
            offset += high - low
        if loose:
            starts[None] = offset
            parts.append(laid_out(build(PRIMITIVES["stack"], loose)))
            offset += len(loose)
        index: list[int] = []
        seen = 0
        for node in nodes:
            if node in self._rows:
                stack, row = self._rows[node]
                index.append(starts[stack] + row)
            else:
                index.append(starts[None] + seen)
                seen += 1
        if len(parts) == 1 and index == list(range(offset)):
            return parts[0]
        return build(PRIMITIVES["gather"], parts, {"index": tuple(index)})

    def _operand(self, first: Node, column: Sequence[Node]) -> Node:
        if len(set(column)) == 1 and first.op.name in _BROADCASTING:
            shape = (1, *column[0].type.shape)
            return laid_out(build(PRIMITIVES["reshape"], [self.one(column[0])], {"shape": shape}))
        return self.several(column)

    def _operands(self, node: Node) -> tuple[Node, ...]:
        """The inputs, those of a commutative op in an order that is the same in a whole group."""
        if not node.op.commutative:
            return node.inputs
        return tuple(
            sorted(node.inputs, key=lambda i: (i.type.text, *self._placed.get(i, (-1, 0))))
        )

    def _numbered(self, nodes: Sequence[Node]) -> int:
        number, self._stacks = self._stacks, self._stacks + 1
        self._placed.update({node: (number, at) for at, node in enumerate(nodes)})
        return number

    # ── weights ──────────────────────────────────────────────────────────────────────────────

    def _parts(self, node: Node, weight: Weight) -> list[Piece]:
        """Of what old weights a weight of an old node is made; no `at` where it is the whole."""
        columns = self._columns.get(node.key)
        if columns is None or weight.name != "weight":
            return [Piece(self._source(node.key, weight.name), ())]
        rows = _whole(weight)[0]
        return [
            Piece(self._source(part.key, weight.name), (rows, part.at), (rows, part.take))
            for part in columns
        ]

    def _pack(self, keyed: Node, nodes: Sequence[Node], lies: Mapping[str, Lie]) -> None:
        for weight in nodes[0].weights:
            whole = _whole(weight)
            pieces: list[Piece] = []
            for row, node in enumerate(nodes):
                for part in self._parts(node, weight):
                    at = part.at or whole
                    match lies[weight.name]:
                        case "rows":
                            shape = (1, *[stop - start for start, stop in at])
                            there = ((row, row + 1), *at)
                            pieces.append(Piece(part.source, there, part.take, shape))
                        case "blocks":
                            size = whole[0][1]
                            start, stop = at[0]
                            there = ((row * size + start, row * size + stop), *at[1:])
                            pieces.append(Piece(part.source, there, part.take))
                        case "same":
                            pieces.append(Piece(part.source, at, part.take))
            self.pieces[self._naming(keyed.key, weight.name)] = tuple(pieces)


def _rows_of(stack: Node, start: int, stop: int) -> Node:
    """Rows of a stack; itself where it is all of them."""
    if (start, stop) == (0, stack.type.shape[0]):
        return stack
    attrs = {"axis": 0, "start": start, "stop": stop}
    return build(PRIMITIVES["slice"], [stack], attrs)


def _whole(weight: Weight) -> tuple[Span, ...]:
    """All of a weight. Raises ValueError where a size is known at run time only."""
    if not all(isinstance(size, int) for size in weight.shape):
        raise ValueError(f"the weight {weight.name} has a size that is known only at run time")
    return tuple([(0, size) for size in weight.shape])  # pyright: ignore[reportReturnType]


def stack_groups(builder: Builder, groups: Groups, banks: Sequence[Sequence[BankLayer]]) -> None:
    """Build all groups in order: the first are those of the banks, in their order."""
    layers = {layer.node: layer for bank in banks for layer in bank}
    for place, group in enumerate(groups):
        if place < len(banks):
            builder.bank([layers[node] for node in group])
        else:
            builder.group(group)
