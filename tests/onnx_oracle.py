"""What each primitive computes, by torch's own functions: a reference that shares no code with
the backends. Also: random weights and inputs for a graph, and small helpers to build one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as f

from fusegraph.backends.names import weight_name
from fusegraph.ir.dims import Expr, Static, symbol
from fusegraph.ir.graph import Graph, graph
from fusegraph.ir.node import Node, build, input_node
from fusegraph.ir.ops import INPUT, op_named
from fusegraph.ir.settling import bind
from fusegraph.ir.types import tensor

Weights = dict[str, np.ndarray]
Sizes = Mapping[str, int]


def shape_of(text: str) -> tuple[Any, ...]:
    """`N 4 T` as a shape; `2*T+1` as an expression of one name is written `2T+1`."""
    return tuple([int(s) if s.isdigit() else symbol(s) for s in text.split()])


def given(name: str, shape: str | tuple[Any, ...], dtype: str = "f32") -> Node:
    return input_node(name, tensor(dtype, shape_of(shape) if isinstance(shape, str) else shape))


def op(name: str, *inputs: Node, key: str = "", **attrs: Any) -> Node:
    return build(op_named(name), inputs, attrs, key)


def network(output: Node | Mapping[str, Node], name: str = "net") -> Graph:
    outputs = {"out": output} if isinstance(output, Node) else output
    draft = Graph(name, (), tuple(outputs.items()))
    return graph(name, [n for n in draft.order if n.op is INPUT], list(outputs.items()))


def random_weights(g: Graph, seed: int = 0) -> Weights:
    rng = np.random.default_rng(seed)
    found: Weights = {}
    for node in g.order:
        for w in node.weights:
            shape = tuple([int(s) for s in w.shape])  # pyright: ignore[reportArgumentType]
            array = rng.normal(size=shape).astype(np.float32) * 0.5
            array = np.abs(array) + 0.5 if w.name == "running_var" else array
            found[weight_name(node.key, w.name)] = np.asarray(array, np.float32)
    return found


def random_inputs(g: Graph, sizes: Sizes, seed: int = 0, high: int = 5) -> Weights:
    rng = np.random.default_rng(seed)
    found: Weights = {}
    for node in g.inputs:
        shape = tuple([number(size, sizes) for size in node.type.shape])
        dtype = {"f32": np.float32, "f64": np.float64, "i64": np.int64}[node.type.dtype]
        drawn = rng.integers(0, high, shape) if dtype is np.int64 else rng.normal(size=shape)
        found[node["name"]] = drawn.astype(dtype)
    return found


def number(value: Static, sizes: Sizes) -> Any:
    settled = bind(value, sizes)
    assert not isinstance(settled, Expr), settled
    return settled


def evaluate(g: Graph, weights: Weights, inputs: Weights, sizes: Sizes) -> dict[str, Tensor]:
    """The outputs of a flat network, node by node."""
    done: dict[Node, Tensor] = {}
    for node in g.order:
        if node.op is INPUT:
            done[node] = torch.from_numpy(inputs[node["name"]])
            continue
        attrs = {name: _settled(v, sizes) for name, v in node.attributes.items()}
        own = {
            w.name: torch.from_numpy(np.asarray(weights[weight_name(node.key, w.name)]))
            for w in node.weights
        }
        done[node] = ORACLE[node.op.name]([done[i] for i in node.inputs], attrs, own)
    return {name: done[node] for name, node in g.outputs}


def _settled(value: Any, sizes: Sizes) -> Any:
    if isinstance(value, tuple):
        return tuple([_settled(v, sizes) for v in value])
    return number(value, sizes) if isinstance(value, Expr) else value


# ── the table ────────────────────────────────────────────────────────────────────────────────────

X = Sequence[Tensor]
A = Mapping[str, Any]
W = Mapping[str, Tensor]


def _linear(x: X, a: A, w: W) -> Tensor:
    moved = x[0].movedim(a["axis"], -1)
    own = {name: weight.to(moved.dtype) for name, weight in w.items()}
    return f.linear(moved, own["weight"], own.get("bias")).movedim(-1, a["axis"])


def _flat_pads(pad: tuple[tuple[int, int], ...]) -> list[int]:
    return [side for pair in reversed(pad) for side in pair]


def _conv(x: X, a: A, w: W) -> Tensor:
    padded = f.pad(x[0], _flat_pads(a["pad"]))
    function = (f.conv1d, f.conv2d, f.conv3d)[len(a["kernel"]) - 1]
    return function(padded, w["weight"], w.get("bias"), a["stride"], 0, a["dilation"], a["groups"])


def _pool(functions: Sequence[Callable[..., Tensor]], fill: float) -> Callable[[X, A, W], Tensor]:
    def pool(x: X, a: A, w: W) -> Tensor:
        padded = f.pad(x[0], _flat_pads(a["pad"]), value=fill)
        return functions[len(a["kernel"]) - 1](padded, a["kernel"], a["stride"])

    return pool


def _adaptive(functions: Sequence[Callable[..., Tensor]]) -> Callable[[X, A, W], Tensor]:
    return lambda x, a, w: functions[len(a["size"]) - 1](x[0], a["size"])


def _batch_norm(x: X, a: A, w: W) -> Tensor:
    return f.batch_norm(
        x[0], w["running_mean"], w["running_var"], w["weight"], w["bias"], eps=a["eps"]
    )


def _slice(x: X, a: A, w: W) -> Tensor:
    picked = torch.arange(a["start"], a["stop"], a["step"])
    return x[0].index_select(a["axis"], picked)


def _expand(x: X, a: A, w: W) -> Tensor:
    return x[0].repeat_interleave(a["size"], a["axis"])


def _reduce(function: Callable[..., Tensor]) -> Callable[[X, A, W], Tensor]:
    return lambda x, a, w: function(x[0], a["axis"], a["keep"])


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[X, A, W], Tensor]:
    def fold(x: X, a: A, w: W) -> Tensor:
        result = x[0]
        for other in x[1:]:
            result = function(result, other)
        return result

    return fold


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[[X, A, W], Tensor]:
    return lambda x, a, w: function(x[0])


def _stacked_linear(x: X, a: A, w: W) -> Tensor:
    layers = {"out": a["out"], "axis": a["axis"] - 1, "bias": a["bias"]}
    rows = [
        _linear([row], layers, {name: weight[place] for name, weight in w.items()})
        for place, row in enumerate(x[0])
    ]
    return sum(x[1:], torch.stack(rows))


def _linear_bank(x: X, a: A, w: W) -> Tensor:
    used = dict.fromkeys(range(len(x)), 0)
    layers: list[Tensor] = []
    for start in range(0, len(a["reads"]), a["per"]):
        parts: list[Tensor] = []
        for read in a["reads"][start : start + a["per"]]:
            block = w[f"weight.{read}"][used[read] : used[read] + a["out"]]
            used[read] += a["out"]
            parts.append(torch.tensordot(block, x[read].movedim(a["axis"], 0), dims=1))
        bias = w["bias"][start // a["per"]] if a["bias"] else torch.zeros(a["out"])
        layers.append(sum(parts) + bias.reshape(-1, *[1] * (x[0].ndim - 1)))
    return torch.stack(layers)


ORACLE: Mapping[str, Callable[[X, A, W], Tensor]] = {
    "linear": _linear,
    "conv": _conv,
    "matmul": lambda x, a, w: torch.matmul(x[0], x[1]),
    "mix": lambda x, a, w: torch.tensordot(
        x[0][list(a["index"])], torch.stack(list(x[1:])), dims=1
    ),
    "affine": lambda x, a, w: torch.nn.functional.linear(*x),
    "stack": lambda x, a, w: torch.stack(list(x)),
    "gather": lambda x, a, w: torch.cat(list(x))[list(a["index"])],
    "stacked_linear": _stacked_linear,
    "stacked_layer_norm": lambda x, a, w: torch.stack(
        [
            f.layer_norm(row, row.shape[a["axis"] - 1 :], scale, offset, a["eps"])
            for row, scale, offset in zip(x[0], w["weight"], w["bias"], strict=True)
        ]
    ),
    "linear_bank": _linear_bank,
    "embedding": lambda x, a, w: f.embedding(x[0], w["weight"]),
    "parameter": lambda x, a, w: w["weight"],
    "zeros": lambda x, a, w: torch.zeros(a["shape"]),
    "relu": _unary(torch.relu),
    "sigmoid": _unary(torch.sigmoid),
    "tanh": _unary(torch.tanh),
    "leaky_relu": lambda x, a, w: f.leaky_relu(x[0], a["slope"]),
    "gelu": _unary(f.gelu),
    "silu": _unary(f.silu),
    "softplus": _unary(f.softplus),
    "exp": _unary(torch.exp),
    "log": _unary(torch.log),
    "sqrt": _unary(torch.sqrt),
    "abs": _unary(torch.abs),
    "scale": lambda x, a, w: x[0] * float(a["by"]),
    "shift": lambda x, a, w: x[0] + float(a["by"]),
    "dropout": lambda x, a, w: x[0],
    "drop_path": lambda x, a, w: x[0],
    "sum": _fold(torch.add),
    "mul": _fold(torch.mul),
    "maximum": _fold(torch.maximum),
    "sub": _fold(torch.sub),
    "div": _fold(torch.div),
    "concat": lambda x, a, w: torch.cat(list(x), a["axis"]),
    "reshape": lambda x, a, w: x[0].reshape(a["shape"]),
    "flatten": lambda x, a, w: x[0].flatten(a["axis"]),
    "transpose": lambda x, a, w: x[0].permute(a["axes"]),
    "slice": _slice,
    "pad": lambda x, a, w: f.pad(x[0], _flat_pads(a["pad"])),
    "expand": _expand,
    "batch_norm": _batch_norm,
    "layer_norm": lambda x, a, w: f.layer_norm(
        x[0], x[0].shape[a["axis"] :], w["weight"], w["bias"], a["eps"]
    ),
    "group_norm": lambda x, a, w: f.group_norm(x[0], a["groups"], w["weight"], w["bias"], a["eps"]),
    "softmax": lambda x, a, w: torch.softmax(x[0], a["axis"]),
    "log_softmax": lambda x, a, w: torch.log_softmax(x[0], a["axis"]),
    "max_pool": _pool((f.max_pool1d, f.max_pool2d, f.max_pool3d), -torch.inf),
    "avg_pool": _pool((f.avg_pool1d, f.avg_pool2d, f.avg_pool3d), 0.0),
    "adaptive_max_pool": _adaptive(
        (
            f.adaptive_max_pool1d,
            f.adaptive_max_pool2d,
            f.adaptive_max_pool3d,
        )
    ),
    "adaptive_avg_pool": _adaptive(
        (
            f.adaptive_avg_pool1d,
            f.adaptive_avg_pool2d,
            f.adaptive_avg_pool3d,
        )
    ),
    "mean": _reduce(torch.mean),
    "amax": _reduce(torch.amax),
    "total": _reduce(torch.sum),
}
