"""What the lowering of every op writes to: steps, constants, weights, and unique names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from ...ir.dims import Expr, Static, text_of
from ...ir.node import Node
from ...ir.types import Type
from ..names import weight_name
from .problems import problem

Array = npt.NDArray[Any]

ELEMENT = {
    "f32": TensorProto.FLOAT,
    "f64": TensorProto.DOUBLE,
    "f16": TensorProto.FLOAT16,
    "i64": TensorProto.INT64,
    "i32": TensorProto.INT32,
    "bool": TensorProto.BOOL,
}
"""The language's dtypes as ONNX counts them."""

NUMPY: Mapping[str, npt.DTypeLike] = {
    "f32": np.float32,
    "f64": np.float64,
    "f16": np.float16,
    "i64": np.int64,
    "i32": np.int32,
    "bool": np.bool_,
}
"""The language's dtypes as NumPy names them."""


@dataclass(slots=True)
class Step:
    """One ONNX node to be: its values are named for good when the model is put together."""

    op: str
    name: str
    inputs: tuple[str, ...]
    output: str
    attrs: dict[str, Any]


class Builder:
    """Collects the steps of one model. A lowering asks it for values by name, and emits steps.

    `taken` are the names of the graph's inputs and outputs, which nothing else may have.
    """

    def __init__(self, weights: Mapping[str, Array], taken: set[str]) -> None:
        self.steps: list[Step] = []
        self.initialisers: dict[str, TensorProto] = {}
        self.values: dict[Node, str] = {}
        self.sizes: dict[Expr, tuple[str, int]] = {}
        self.computed: dict[Static, tuple[str, bool]] = {}
        self.used: set[str] = set()
        self._weights = weights
        self._taken = set(taken) | set(weights)
        self._serial: dict[str, int] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._renamed: dict[str, str] = {}
        self._scopes: dict[str, int] = {}
        self._scope = ""

    # ── names ────────────────────────────────────────────────────────────────────────────────

    def unique(self, name: str) -> str:
        """`name`, or the first of `name/2`, `name/3` … that nothing has."""
        found = name
        while found in self._taken:
            self._serial[name] = self._serial.get(name, 1) + 1
            found = f"{name}/{self._serial[name]}"
        self._taken.add(found)
        return found

    def enter(self, node: Node) -> None:
        """The steps that follow lower `node` and bear its key, or its op where it has none."""
        name = node.key or node.op.name
        self._scopes[name] = count = self._scopes.get(name, 0) + 1
        self._scope = name if count == 1 else f"{name}/{count}"

    def leave(self, value: str) -> None:
        """The node is lowered to `value`: the last step, where it made it, is called like it."""
        last = self.steps[-1] if self.steps else None
        if last is not None and last.output == value and value not in self._renamed:
            last.name = self._scope
            self.rename(value, self.unique(self._scope))

    def rename(self, value: str, name: str) -> None:
        """In the model the value is called `name`."""
        self._renamed[value] = name

    # ── values ───────────────────────────────────────────────────────────────────────────────

    def emit(self, op: str, *inputs: str, **attrs: Any) -> str:
        """The value of one ONNX operator on values; attributes that are None are left out."""
        name = self.unique(f"{self._scope}/{op}")
        kept = {key: value for key, value in attrs.items() if value is not None}
        self.steps.append(Step(op, name, inputs, name, kept))
        return name

    def constant(self, value: Any, dtype: npt.DTypeLike) -> str:
        """A small constant; equal ones are stored once. A number stays without axes."""
        # Not ascontiguousarray: it would give a number an axis.
        array = np.asarray(value, dtype=dtype)
        identity = (array.dtype.str, array.shape, array.tobytes())
        found = self._constants.get(identity)
        if found is None:
            found = self._constants[identity] = self.unique(f"constant/{len(self._constants)}")
            self.initialisers[found] = numpy_helper.from_array(array, found)
        return found

    def ints(self, *values: int) -> str:
        """A constant vector of whole numbers, as axes and shapes are given."""
        return self.constant(values, np.int64)

    def weight(self, node: Node, name: str) -> str:
        """The initialiser of a weight of `node`, called as in the `state_dict`.

        Raises FusegraphError E722 where it is missing or of another shape.
        """
        full = weight_name(node.key, name)
        if full in self.initialisers:
            return full
        declared = next(w for w in node.weights if w.name == name)
        shape = tuple([fixed(size, node, f"the size of `{name}`") for size in declared.shape])
        found = self._weights.get(full)
        if found is None:
            raise problem(
                "E722",
                f"there is no weight `{full}`, expected with shape {list(shape)}",
                node.key,
                help="export the weights of this very network: its whole `state_dict`",
            )
        if found.shape != shape:
            raise problem(
                "E722",
                f"the weight `{full}` has shape {list(found.shape)}, expected {list(shape)}",
                node.key,
                help="export the weights of this very network, not of another genotype",
            )
        dtype = NUMPY[node.type.dtype]
        self.initialisers[full] = numpy_helper.from_array(found.astype(dtype, copy=False), full)
        self.used.add(full)
        return full

    # ── the model ────────────────────────────────────────────────────────────────────────────

    def nodes(self) -> list[NodeProto]:
        """The steps as ONNX nodes, all values under their last names."""
        names = self._renamed
        return [
            helper.make_node(
                step.op,
                [names.get(i, i) for i in step.inputs],
                [names.get(step.output, step.output)],
                name=step.name,
                **step.attrs,
            )
            for step in self.steps
        ]


def fixed(value: Static, node: Node, what: str) -> int:
    """A number that ONNX wants to know beforehand. Raises FusegraphError E721 where it is named."""
    if isinstance(value, Expr):
        raise problem(
            "E721",
            f"{what} of `{node.op.name}` is `{text_of(value)}`, and ONNX needs a number there",
            node.key,
            help="give it as a constant: sizes that are known only at run time can be axes of "
            "inputs, not windows or weights",
        )
    return int(value)


def fixed_number(value: Static, node: Node, what: str) -> float:
    """As `fixed`, for a number that need not be whole."""
    return float(value) if not isinstance(value, Expr) else fixed(value, node, what)


def fixed_all(node: Node, attr: str) -> list[int]:
    """An attribute with one number per spatial axis. Raises FusegraphError E721."""
    return [fixed(value, node, f"`{attr}`") for value in node[attr]]


def fixed_pads(node: Node) -> list[int]:
    """The `pad` attribute in ONNX's order: all before, then all after. Raises E721 likewise."""
    return [fixed(pair[side], node, "`pad`") for side in (0, 1) for pair in node["pad"]]


def value_info(name: str, type: Type) -> ValueInfoProto:
    """The declaration of an input or output; named sizes stay named."""
    sizes = [size if isinstance(size, int) else text_of(size) for size in type.shape]
    return helper.make_tensor_value_info(name, ELEMENT[type.dtype], sizes)
