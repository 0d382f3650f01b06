"""Linear maps, convolution, matmul, and learned or constant tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import helper

from ...ir.node import Node
from .builder import ELEMENT, Builder, fixed, fixed_all, fixed_pads
from .elementwise import Lowering
from .sizes import vector


def _linear(b: Builder, node: Node, x: Sequence[str]) -> str:
    """Gemm for rows, a 1x1 convolution for channels, a product from the left for any other axis
    before the last, and else the axis is moved to the end and back.

    The weight stays as it was trained; what reshapes it is folded when a session starts. For
    channels the convolution is 10-15 % faster in onnxruntime than the product, on one thread.
    """
    axis, rank = node["axis"], node.type.rank
    weight = b.weight(node, "weight")
    bias = [b.weight(node, "bias")] if node["bias"] else []
    if rank == 2 and axis == 1:
        return b.emit("Gemm", x[0], weight, *bias, transB=1)
    if axis == 1 and rank <= 5 and node.type.dtype != "f64":  # onnxruntime has no f64 convolution
        kernel = b.emit("Unsqueeze", weight, b.ints(*range(2, rank)))
        return b.emit("Conv", x[0], kernel, *bias, kernel_shape=[1] * (rank - 2))
    if axis == rank - 2:
        product = b.emit("MatMul", weight, x[0])
        column = [b.emit("Unsqueeze", bias[0], b.ints(1))] if bias else []
        return b.emit("Add", product, *column) if column else product
    order = [*[a for a in range(rank) if a != axis], axis]
    moved = x[0] if axis == rank - 1 else b.emit("Transpose", x[0], perm=order)
    product = b.emit("MatMul", moved, b.emit("Transpose", weight, perm=[1, 0]))
    result = b.emit("Add", product, *bias) if bias else product
    if axis == rank - 1:
        return result
    return b.emit("Transpose", result, perm=[order.index(a) for a in range(rank)])


def _conv(b: Builder, node: Node, x: Sequence[str]) -> str:
    weights = [b.weight(node, "weight"), *([b.weight(node, "bias")] if node["bias"] else [])]
    return b.emit(
        "Conv",
        x[0],
        *weights,
        kernel_shape=fixed_all(node, "kernel"),
        strides=fixed_all(node, "stride"),
        dilations=fixed_all(node, "dilation"),
        pads=fixed_pads(node),
        group=fixed(node["groups"], node, "`groups`"),
    )


def _matmul(b: Builder, node: Node, x: Sequence[str]) -> str:
    return b.emit("MatMul", x[0], x[1])


def _embedding(b: Builder, node: Node, x: Sequence[str]) -> str:
    return b.emit("Gather", b.weight(node, "weight"), x[0], axis=0)


def _parameter(b: Builder, node: Node, x: Sequence[str]) -> str:
    return b.weight(node, "weight")


def _zeros(b: Builder, node: Node, x: Sequence[str]) -> str:
    zero = helper.make_tensor("value", ELEMENT[node.type.dtype], [1], [0.0])
    return b.emit("ConstantOfShape", vector(b, node["shape"], node), value=zero)


LOWERINGS: Mapping[str, Lowering] = {
    "linear": _linear,
    "conv": _conv,
    "matmul": _matmul,
    "embedding": _embedding,
    "parameter": _parameter,
    "zeros": _zeros,
}
