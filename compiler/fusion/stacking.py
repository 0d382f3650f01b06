"""How nodes of one form become one node on stacks: a rule for each op.

A rule gets the stacked operands and gives the stacked result, and says how the weights of the
nodes lie in those of the stack. A stack has a row for each of the G nodes along a new first axis.
Members of two axes, [N, C], are kept turned: [G, C, N], so that a product of all weights that read
one input writes whole rows, and a gather copies whole rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

from ...ir.node import Node, build
from ...ir.ops import PRIMITIVES

Lie = Literal["rows", "blocks", "same"]
"""`rows`: weight g is row g of a new first axis; `blocks`: the weights stand one behind the other
along their first axis; `same`: they are equal by nature, and lie in one place."""


@dataclass(frozen=True, slots=True)
class Stacked:
    """A node that computes a whole group; `keyed` is the node in it that owns the weights."""

    node: Node
    keyed: Node | None = None
    lies: Mapping[str, Lie] = field(default_factory=dict[str, Lie])


@dataclass(frozen=True, slots=True)
class Site:
    """A group to be stacked: one of its nodes, how many they are, their operands, its key."""

    node: Node
    count: int
    x: tuple[Node, ...]
    key: str

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes that all nodes of the group have."""
        return self.node.attributes


Rule = Callable[[Site], Stacked]


def stacked(site: Site) -> Stacked | None:
    """The group as one node, or None where the op has no rule."""
    rule = RULES.get(site.node.op.name)
    return None if rule is None else rule(site)


MOST_PLACES = 128
"""Places of a map, over all its axes but the first two, up to which it is stacked with others."""


def stackable(node: Node) -> bool:
    """Whether there is a rule for nodes like this one, and stacking them pays.

    Maps of many places are not stacked: a convolution of each network by itself is as fast as one
    in groups, and the copies that bring its inputs together are not free.
    """
    sizes = node.type.shape[2:] if node.type.rank > 3 else ()
    places = prod([size if isinstance(size, int) else MOST_PLACES + 1 for size in sizes])
    return node.op.name in RULES and places <= MOST_PLACES


def _op(name: str, inputs: Sequence[Node], attrs: Mapping[str, Any], key: str = "") -> Node:
    return build(PRIMITIVES[name], inputs, attrs, key)


# ── layout ───────────────────────────────────────────────────────────────────────────────────────


def turned(x: Node) -> Node:
    """The last two axes swapped; swapped back where they have just been swapped."""
    if x.op is PRIMITIVES["transpose"] and x["axes"] == (0, 2, 1) and x.type.rank == 3:
        return x.inputs[0]
    return _op("transpose", [x], {"axes": (0, 2, 1)})


def laid_out(x: Node) -> Node:
    """A stack [G, ...] as stacks are kept: of members with two axes it is [G, C, N]."""
    return turned(x) if x.type.rank == 3 else x


def plain(x: Node) -> Node:
    """What `laid_out` undid: [G, ...] with the members' axes in their own order."""
    return turned(x) if x.type.rank == 3 else x


def _axis(site: Site, axis: int) -> int:
    """Where an axis of the members lies in the stack of the first operand."""
    return 2 - axis if site.x[0].type.rank == 3 else axis + 1


# ── rules ────────────────────────────────────────────────────────────────────────────────────────


def _elementwise(site: Site) -> Stacked:
    return Stacked(_op(site.node.op.name, site.x, site.attrs))


def _dropout(site: Site) -> Stacked:
    """Every element is drawn by itself, so each row has a mask of its own."""
    return Stacked(_op("dropout", site.x, site.attrs, site.key))


def _along_axis(site: Site) -> Stacked:
    axis = _axis(site, site.attrs["axis"])
    return Stacked(_op(site.node.op.name, site.x, {**site.attrs, "axis": axis}))


def _reduction(site: Site) -> Stacked:
    axes = tuple([axis + 1 for axis in site.attrs["axis"]])
    y = _op(site.node.op.name, [plain(site.x[0])], {**site.attrs, "axis": axes})
    return Stacked(laid_out(y))


def _flatten(site: Site) -> Stacked:
    y = _op("flatten", [plain(site.x[0])], {"axis": site.attrs["axis"] + 1})
    return Stacked(laid_out(y))


def _reshape(site: Site) -> Stacked:
    y = _op("reshape", [plain(site.x[0])], {"shape": (site.count, *site.attrs["shape"])})
    return Stacked(laid_out(y))


def _transpose(site: Site) -> Stacked:
    axes = (0, *[axis + 1 for axis in site.attrs["axes"]])
    return Stacked(laid_out(_op("transpose", [plain(site.x[0])], {"axes": axes})))


def _matmul(site: Site) -> Stacked:
    return Stacked(laid_out(_op("matmul", [plain(x) for x in site.x], {})))


def _pad(site: Site) -> Stacked:
    return Stacked(_op("pad", site.x, {"pad": ((0, 0), *site.attrs["pad"])}))


def _linear(site: Site) -> Stacked:
    attrs = {**site.attrs, "axis": _axis(site, site.attrs["axis"])}
    node = _op("stacked_linear", site.x, attrs, site.key)
    return Stacked(node, node, {"weight": "rows", "bias": "rows"})


def _layer_norm(site: Site) -> Stacked:
    attrs = {**site.attrs, "axis": site.attrs["axis"] + 1}
    node = _op("stacked_layer_norm", [plain(site.x[0])], attrs, site.key)
    return Stacked(laid_out(node), node, {"weight": "rows", "bias": "rows"})


def _parameter(site: Site) -> Stacked:
    attrs = {**site.attrs, "shape": (site.count, *site.attrs["shape"])}
    node = _op("parameter", [], attrs, site.key)
    return Stacked(laid_out(node), node, {"weight": "rows"})


def _per_channel(site: Site, attrs: Mapping[str, Any], lies: Mapping[str, Lie]) -> Stacked:
    """Ops that treat channels, or groups of them, apart: [G, N, C, ...] is [N, G * C, ...]."""
    x = plain(site.x[0])
    batch, channels, *sizes = x.type.shape[1:]
    wide = _op("transpose", [x], {"axes": (1, 0, *range(2, x.type.rank))})
    wide = _op("reshape", [wide], {"shape": (batch, site.count * channels, *sizes)})
    node = _op(site.node.op.name, [wide], attrs, site.key)
    batch, channels, *sizes = site.node.type.shape
    y = _op("reshape", [node], {"shape": (batch, site.count, channels, *sizes)})
    y = _op("transpose", [y], {"axes": (1, 0, *range(2, y.type.rank))})
    return Stacked(laid_out(y), node, lies)


def _batch_norm(site: Site) -> Stacked:
    lies: dict[str, Lie] = {w.name: "blocks" if w.shape else "same" for w in site.node.weights}
    if site.node.type.rank > 2:
        return _per_channel(site, site.attrs, lies)
    # [G, C, N] is one sample of G * C channels with N places: the same statistics, and no copy.
    count, channels, batch = site.x[0].type.shape
    one = _op("reshape", site.x, {"shape": (1, count * channels, batch)})
    node = _op("batch_norm", [one], site.attrs, site.key)
    return Stacked(_op("reshape", [node], {"shape": site.x[0].type.shape}), node, lies)


def _group_norm(site: Site) -> Stacked:
    attrs = {**site.attrs, "groups": site.attrs["groups"] * site.count}
    return _per_channel(site, attrs, {"weight": "blocks", "bias": "blocks"})


def _conv(site: Site) -> Stacked:
    given = site.attrs
    attrs = {**given, "groups": given["groups"] * site.count, "out": given["out"] * site.count}
    return _per_channel(site, attrs, {"weight": "blocks", "bias": "blocks"})


def _per_sample(site: Site) -> Stacked:
    """Pooling treats samples apart: [G, N, ...] is a batch of G * N."""
    x = site.x[0]
    count, batch, *sizes = x.type.shape
    flat = _op("reshape", [x], {"shape": (count * batch, *sizes)})
    y = _op(site.node.op.name, [flat], site.attrs)
    return Stacked(_op("reshape", [y], {"shape": (count, batch, *y.type.shape[1:])}))


_ELEMENTWISE = (
    *("relu", "sigmoid", "tanh", "leaky_relu", "gelu", "silu", "softplus", "exp", "log", "sqrt"),
    *("abs", "scale", "shift", "sum", "mul", "maximum", "sub", "div"),
)
_ALONG_AXIS = ("softmax", "log_softmax", "concat", "slice", "expand")
_POOLING = ("max_pool", "avg_pool", "adaptive_max_pool", "adaptive_avg_pool")

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_ALONG_AXIS, _along_axis),
    **dict.fromkeys(("mean", "amax", "total"), _reduction),
    **dict.fromkeys(_POOLING, _per_sample),
    "dropout": _dropout,
    "flatten": _flatten,
    "matmul": _matmul,
    "reshape": _reshape,
    "transpose": _transpose,
    "pad": _pad,
    "linear": _linear,
    "layer_norm": _layer_norm,
    "parameter": _parameter,
    "batch_norm": _batch_norm,
    "group_norm": _group_norm,
    "conv": _conv,
}
"""By the name of the op. Ops that are not listed (drop_path, embedding, mix, affine, what is
stacked already) are computed one by one."""
