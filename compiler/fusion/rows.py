"""Rows: tensors [N, C, *S] become matrices [N*S, C], a row for each sample and position.

Precondition: a network without composites. Postcondition: the same function; linear maps and batch
norms along axis 1, and what lies between them, read and give rows. Layer norms over axis 1 and on,
and linear maps of flattened tensors, own their weights in the order of rows: the packing says how.

Cases, cited in the code:
W1  A linear map along axis 1 and a batch norm act on each row alike: they ask for rows.
W2  What acts on elements, concatenates or slices axis 1, or mixes, stays in rows.
W3  An axis of size 1 that is expanded, and adaptive pooling to a multiple of a short axis, repeat
    each row.
W4  A layer norm over all axes but the first one has its weights permuted.
W5  A linear map of a flattened tensor has its weights permuted.
W6  Swapping the last two of three axes is a change of form, and none of elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.dims import Dim, Static
from ...ir.graph import Graph, graph
from ...ir.node import Node, build
from ...ir.ops import INPUT, PRIMITIVES
from ...ir.ops.products import product
from ..simplify import simplify
from .ops import REPEAT, made
from .packing import Packing, Piece
from .stages import named, owners, spans, whole, with_inputs

ELEMENTWISE = frozenset(
    (
        *("relu", "sigmoid", "tanh", "leaky_relu", "gelu", "silu", "softplus", "exp", "log"),
        *("sqrt", "abs", "scale", "shift"),
    )
)
"""Ops of one input that act on each element alike, and draw nothing."""

_TOGETHER = frozenset(("sum", "mul", "maximum", "sub", "div"))


def rows(network: Graph) -> tuple[Graph, Packing]:
    """The network in rows, and where its permuted weights lie."""
    once = {key for key, nodes in owners(network).items() if len(nodes) == 1}
    maker = _Maker(once)
    for node in network.order:
        maker.take(node)
    outputs = [(name, maker.plain(root)) for name, root in network.outputs]
    done = simplify(graph(network.name, network.inputs, outputs))
    kept = owners(done)
    pieces = {n: p for n, (key, p) in maker.pieces.items() if key in kept}
    return done, Packing(pieces)


class _Forms:
    """A node as it was, as rows, and flattened with the channels last; None: not made yet.

    `asks`: that rows are its own form.
    """

    __slots__ = ("asks", "flat", "plain", "rows")

    def __init__(
        self,
        plain: Node | None = None,
        rows: Node | None = None,
        flat: Node | None = None,
        asks: bool = False,
    ) -> None:
        self.plain = plain
        self.rows = rows
        self.flat = flat
        self.asks = asks


class _Maker:
    def __init__(self, once: set[str]) -> None:
        self.once = once
        self.forms: dict[Node, _Forms] = {}
        self.pieces: dict[str, tuple[str, tuple[Piece, ...]]] = {}

    # ── forms ──

    def plain(self, node: Node) -> Node:
        forms = self.forms[node]
        if forms.plain is None:
            if forms.rows is None:  # flattened: [N, C*S] from [N, S*C]
                assert forms.flat is not None
                forms.plain = with_inputs(node, (self.plain(node.inputs[0]),))
            else:
                rank = node.type.rank
                axes = (0, rank - 1, *range(1, rank - 1))
                forms.plain = _transposed(self.last(node), axes)
        return forms.plain

    def rows(self, node: Node) -> Node:
        forms = self.forms[node]
        if forms.rows is None:
            plain = self.plain(node)
            rank = node.type.rank
            moved = _transposed(plain, (0, *range(2, rank), 1))
            forms.rows = _reshaped(moved, _rows_of(node.type.shape))
        return forms.rows

    def last(self, node: Node) -> Node:
        """The node as [N, *S, C]."""
        n, c, *s = node.type.shape
        return _reshaped(self.rows(node), (n, *s, c))

    def asks(self, node: Node) -> bool:
        return self.forms[node].asks

    # ── rules ──

    def take(self, node: Node) -> None:
        forms = None
        if node.op is not INPUT and node.type.dtype == "f32" and node.inputs:
            forms = self._rowed(node) if node.type.rank >= 3 else self._flat(node)
        if forms is None:
            forms = _Forms(with_inputs(node, tuple([self.plain(i) for i in node.inputs])))
        self.forms[node] = forms

    def _again(self, node: Node, inputs: Sequence[Node], **attrs: Any) -> Node:
        return build(node.op, inputs, {**node.attributes, **attrs}, node.key)

    def _rowed(self, node: Node) -> _Forms | None:
        """The node in rows, where that is possible and wanted."""
        x = node.inputs[0]
        name = node.op.name
        if (name == "linear" and node["axis"] == 1) or name == "batch_norm":  # W1
            attrs = {"axis": 1} if name == "linear" else {}
            return _Forms(rows=self._again(node, [self.rows(x)], **attrs), asks=True)
        if x.type.rank < 2:
            return self._mixed(node) if name == "mix" else None
        match name:
            case "dropout" if self.asks(x):
                return _Forms(rows=self._again(node, [self.rows(x)]), asks=True)  # W2
            case _ if name in ELEMENTWISE and self.asks(x):
                return _Forms(rows=self._again(node, [self.rows(x)]), asks=True)  # W2
            case _ if name in _TOGETHER and self._all_in_rows(node, node.inputs):
                rows = [self.rows(i) for i in node.inputs]
                return _Forms(rows=self._again(node, rows), asks=True)  # W2
            case "concat" | "slice" if node["axis"] == 1 and any(map(self.asks, node.inputs)):
                rows = [self.rows(i) for i in node.inputs]
                return _Forms(rows=self._again(node, rows), asks=True)  # W2
            case "layer_norm" if node["axis"] == 1 and self.asks(x) and node.key in self.once:
                return self._layer_norm(node)
            case "transpose" if node["axes"] == (0, 2, 1):  # W6
                if self.asks(x):
                    return _Forms(plain=self.last(x))
                n, c, length = node.type.shape
                plain = self.plain(x)
                again = with_inputs(node, (plain,))
                return _Forms(again, _reshaped(plain, (n * length, c)), asks=True)
            case _:
                return self._repeated(node)

    def _all_in_rows(self, node: Node, operands: Sequence[Node]) -> bool:
        return all(i.type is node.type for i in operands) and any(map(self.asks, operands))

    def _mixed(self, node: Node) -> _Forms | None:
        gates, *tensors = node.inputs
        if not self._all_in_rows(node, tensors):
            return None
        rows = [self.plain(gates), *[self.rows(i) for i in tensors]]
        return _Forms(rows=self._again(node, rows), asks=True)  # W2

    def _repeated(self, node: Node) -> _Forms | None:
        """W3. Both forms: as it was, and as rows that are repeated."""
        x, *others = node.inputs
        if others:
            return None
        plain = with_inputs(node, (self.plain(x),))
        match node.op.name:
            case "expand" if node["axis"] >= 2 and x.type.rank >= 2:
                after = product(node.type.shape[node["axis"] + 1 :])
                if after == 1 and isinstance(node["size"], int):
                    return _Forms(plain, _repeat(self.rows(x), node["size"]))
            case "adaptive_max_pool" | "adaptive_avg_pool":
                if node.type is x.type:
                    return self.forms[x]
                old, new = x.type.shape[-1], node.type.shape[-1]
                known = node.type.rank == 3 and isinstance(old, int) and isinstance(new, int)
                if known and new % old == 0:
                    return _Forms(plain, _repeat(self.rows(x), new // old))
            case "reshape" if x.type.rank == 2 and node.type.shape[:2] == x.type.shape:
                return _Forms(plain, self.plain(x))
            case "flatten" if node["axis"] == 2 and self.asks(x):
                return _Forms(rows=self.rows(x), asks=True)
            case _:
                pass
        return None

    def _layer_norm(self, node: Node) -> _Forms:
        """W4."""
        x = node.inputs[0]
        normed = self._again(node, [self.last(x)])
        rank = x.type.rank
        axes = (*range(1, rank - 1), 0)
        for weight in node.weights:
            self._moved(node.key, weight.name, weight.name, weight.shape, (), axes)
        return _Forms(rows=_reshaped(normed, _rows_of(node.type.shape)), asks=True)

    def _flat(self, node: Node) -> _Forms | None:
        """W5: what was flattened, until it is mapped."""
        x = node.inputs[0]
        name = node.op.name
        if name == "flatten" and node["axis"] == 1 and self.asks(x):
            n, c, *s = x.type.shape
            return _Forms(flat=_reshaped(self.last(x), (n, product((*s, c)))))
        if x not in self.forms or self.forms[x].flat is None:
            return None
        flat = self.forms[x].flat
        assert flat is not None
        if name in ELEMENTWISE:
            return _Forms(flat=self._again(node, [flat]))
        if name == "linear" and node["axis"] == 1 and node.key in self.once:
            return _Forms(self._linear(node, flat))
        return None

    def _linear(self, node: Node, flat: Node) -> Node:
        source = node.inputs[0]
        while source.op.name != "flatten":
            source = source.inputs[0]
        _, c, *s = source.inputs[0].type.shape
        out = node["out"]
        shape = (out, *s, c)
        axes = (0, *range(2, 2 + len(s)), 1)
        self._moved(node.key, "weight", "weight", (out, c, *s), (out, c, *s), axes)
        weight = build(PRIMITIVES["parameter"], [], {"shape": shape}, node.key)
        operands = [flat, _reshaped(weight, (out, product(shape[1:])))]
        if node["bias"]:
            key = f"{node.key}.bias"
            operands.append(build(PRIMITIVES["parameter"], [], {"shape": (out,)}, key))
            self._moved(key, "weight", "bias", (out,), (), (), node.key)
        return build(PRIMITIVES["affine"], operands)

    def _moved(
        self,
        key: str,
        name: str,
        old: str,
        shape: Sequence[Dim],
        reshape: Sequence[Dim],
        axes: tuple[int, ...],
        source: str = "",
    ) -> None:
        new = [shape[axis] for axis in axes] if axes else list(shape)
        piece = Piece(
            named(source or key, old),
            spans(new),
            shape=tuple([whole(size) for size in reshape]),
            axes=axes,
        )
        self.pieces[named(key, name)] = (key, (piece,))


def _rows_of(shape: Sequence[Dim]) -> tuple[Any, Any]:
    n, c, *s = shape
    return (product((n, *s)), c)


def _repeat(x: Node, times: Static) -> Node:
    return x if times == 1 else made(REPEAT, [x], times)


def _reshaped(x: Node, shape: Sequence[Static]) -> Node:
    if x.op.name == "reshape":
        x = x.inputs[0]
    if x.type.shape == tuple(shape):
        return x
    return build(PRIMITIVES["reshape"], [x], {"shape": tuple(shape)})


def _transposed(x: Node, axes: tuple[int, ...]) -> Node:
    if x.op.name == "transpose":
        axes = tuple([x["axes"][axis] for axis in axes])
        x = x.inputs[0]
    return x if axes == tuple(range(x.type.rank)) else build(
        PRIMITIVES["transpose"], [x], {"axes": axes}
    )  # fmt: skip
