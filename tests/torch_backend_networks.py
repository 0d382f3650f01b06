"""Networks that the tests of the torch backend lower, built node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from fusegraph.ir.dims import Dim, Static, symbol
from fusegraph.ir.graph import Graph, graph
from fusegraph.ir.node import Node, build, cell, formal, input_node
from fusegraph.ir.ops import PRIMITIVES
from fusegraph.ir.settling import bind
from fusegraph.ir.types import Type, tensor

N: Any = symbol("N")
T: Any = symbol("T")
SIZES = {"N": 3, "T": 6}


def f32(*shape: Dim) -> Type:
    return tensor("f32", shape)


def op(name: str, *inputs: Node, key: str = "", **attrs: Any) -> Node:
    return build(PRIMITIVES[name], inputs, attrs, key)


def net(outputs: Node | Mapping[str, Node], name: str = "net") -> Graph:
    """The graph of these outputs, its inputs in the order of their names."""
    named = {"out": outputs} if isinstance(outputs, Node) else dict(outputs)
    stack, inputs = list(named.values()), set[Node]()
    seen = set(stack)
    while stack:
        node = stack.pop()
        if node.op.name == "input":
            inputs.add(node)
        fresh = [i for i in node.inputs if i not in seen]
        seen.update(fresh)
        stack += fresh
    return graph(name, sorted(inputs, key=lambda n: n["name"]), list(named.items()))


def shape_of(type: Type, sizes: Mapping[str, Static] = SIZES) -> tuple[int, ...]:
    """The shape with its symbols replaced by numbers."""
    return tuple([int(str(bind(size, sizes))) for size in type.shape])


def batch_for(
    network: Graph, seed: int = 0, double: bool = False, sizes: Mapping[str, Static] = SIZES
) -> dict[str, torch.Tensor]:
    """Random tensors for the inputs; whole numbers are 0 to 4."""
    rng = np.random.default_rng(seed)
    batch: dict[str, torch.Tensor] = {}
    for node in network.inputs:
        shape = shape_of(node.type, sizes)
        if node.type.dtype in ("i64", "i32"):
            drawn = torch.from_numpy(rng.integers(0, 5, shape))
            batch[node["name"]] = drawn.to(torch.int64 if node.type.dtype == "i64" else torch.int32)
        else:
            drawn = torch.from_numpy(rng.standard_normal(shape))
            batch[node["name"]] = drawn if double else drawn.float()
    return batch


def mfas(
    taps: Sequence[tuple[int, int, str]] = (
        (2, 2, "relu"),
        (1, 0, "sigmoid"),
        (3, 2, "relu"),
        (3, 1, "leaky_relu"),
    ),
    width: int = 256,
    classes: int = 60,
) -> Graph:
    """MFAS on NTU: the published network [(3,3,1) (2,1,2) (4,3,1) (4,2,2)], counted from 0 here."""
    xs = [input_node(f"skeleton[{i + 1}]", f32(N, d)) for i, d in enumerate((128, 256, 1024, 512))]
    ys = [input_node(f"video[{i + 1}]", f32(N, d)) for i, d in enumerate((512, 1024, 2048, 2048))]
    h: list[Node] = []
    for level, (x, y, act) in enumerate(taps):
        joined = op("concat", xs[x], ys[y], *h[-1:])
        h.append(op(act, op("linear", joined, out=width, key=f"h[{level + 1}].linear")))
    return net({"logits": op("linear", h[-1], out=classes, key="logits")}, "mfas_ntu")


def attention(x: Node, y: Node, key: str = "") -> Node:
    """BM-NAS eq. 6 as a composite that owns nothing."""
    a, b = formal("x", x.type), formal("y", y.type)
    scores = op("scale", op("matmul", op("transpose", a), b), by=float(x.type.shape[1]) ** -0.5)  # pyright: ignore[reportArgumentType]
    weights = op("softmax", scores, axis=-1)
    body = op("transpose", op("matmul", weights, op("transpose", b)))
    return cell("attention", [a, b], body, [x, y], (), key)


def linear_glu(x: Node, y: Node, key: str) -> Node:
    """BM-NAS eq. 7 as a composite."""
    a, b = formal("x", x.type), formal("y", y.type)
    width = x.type.shape[1]
    value = op("linear", a, out=width, axis=1, key=f"{key}.linear")
    gate = op("sigmoid", op("linear", b, out=width, axis=1, key=f"{key}.linear_2"))
    return cell("linear_glu", [a, b], op("mul", value, gate), [x, y], (), key)


def fusion(x: Node, y: Node, key: str) -> Node:
    """A cell with two composites in it, and a norm over what they make."""
    a, b = formal("x", x.type), formal("y", y.type)
    first = attention(a, b)
    second = linear_glu(first, b, f"{key}.s[2]")
    body = op("layer_norm", op("sum", second, a), key=f"{key}.layer_norm")
    return cell("fusion", [a, b], body, [x, y], (), key)


def bm_nas(width: int = 16, length: int = 8) -> Graph:
    """Two cells over convolutional features, with batch norm and dropout on the way in."""
    clip = input_node("video[1]", f32(N, 12, 4, 9, 7))
    pose = input_node("skeleton[1]", f32(N, 6, 5))
    video = op("conv", clip, out=width, kernel=(3, 1, 1), pad=((2, 0), 0, 0), key="video[1].conv")
    video = op("relu", op("batch_norm", video, key="video[1].batch_norm"))
    video = op("reshape", op("adaptive_max_pool", video, size=(2, 2, 2)), shape=(N, width, length))
    skeleton = op("linear", pose, out=width, axis=1, key="skeleton[1].linear")
    skeleton = op("adaptive_avg_pool", skeleton, size=length)
    skeleton = op("dropout", skeleton, p=0.1, key="skeleton[1].dropout")
    first = fusion(video, skeleton, "c[1]")
    second = fusion(skeleton, first, "c[2]")
    flat = op("flatten", op("relu", op("concat", first, second)))
    return net({"logits": op("linear", flat, out=5, key="logits.linear")}, "bm_nas_tiny")


def chain(length: int) -> Graph:
    """A network as deep as it has nodes."""
    x = input_node("x", f32(N, 4))
    for level in range(length // 2):
        x = op("relu", op("linear", x, out=4, key=f"h[{level}].linear"))
    return net(x, "chain")
