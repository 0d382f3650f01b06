"""Whether a batch of named tensors is what a network was declared for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ...ir.diagnostics import Diagnostic, FusegraphError
from ...ir.dims import Expr, Symbol
from ...ir.graph import Graph
from ...ir.node import Node
from ...ir.settling import bind
from .lowering import TORCH_DTYPES


def check_batch(graph: Graph, batch: Mapping[str, Tensor]) -> None:
    """Raise FusegraphError E711 where an input is missing, E712 where one does not fit.

    Whole numbers must have their own dtype; numbers with a fraction may have any such dtype, as
    networks also run in half and in double precision.
    """
    check_inputs(graph.name, graph.inputs, batch)


def check_inputs(place: str, inputs: Sequence[Node], batch: Mapping[str, Tensor]) -> None:
    """`check_batch` of these inputs; `place` is where to look for the fault."""
    missing = [node["name"] for node in inputs if node["name"] not in batch]
    if missing:
        raise FusegraphError(
            Diagnostic(
                code="E711",
                message=f"the batch has no `{missing[0]}`"
                + (f", nor {len(missing) - 1} more inputs" if len(missing) > 1 else ""),
                place=place,
                notes=(
                    f"needed: {', '.join([node['name'] for node in inputs])}",
                    f"given: {', '.join(map(str, batch)) or 'nothing'}",
                ),
                help="give every input of the network under its own name",
            )
        )
    sizes: dict[str, int] = {}
    for node in inputs:
        tensor = batch[node["name"]]
        if not _fits(tensor, node.type.shape, sizes) or not _dtype_fits(tensor, node.type.dtype):
            dtype = str(tensor.dtype).removeprefix("torch.")
            known = [f"{name} = {size}" for name, size in sizes.items()]
            raise FusegraphError(
                Diagnostic(
                    code="E712",
                    message=f"`{node['name']}` is {dtype}{list(tensor.shape)}, and the network "
                    f"takes {node.type.text}",
                    place=place,
                    notes=(f"from the inputs before it: {', '.join(known)}",) if known else (),
                    help="bring the tensor to this shape and dtype",
                )
            )


def _dtype_fits(tensor: Tensor, dtype: str) -> bool:
    if dtype.startswith("f"):
        return tensor.dtype.is_floating_point
    return str(tensor.dtype) == TORCH_DTYPES[dtype]


def _fits(tensor: Tensor, shape: tuple[int | Expr, ...], sizes: dict[str, int]) -> bool:
    """Whether the tensor has this shape; symbols that it tells are added to `sizes`."""
    if tensor.ndim != len(shape):
        return False
    for size, have in zip(shape, tensor.shape, strict=True):
        if isinstance(size, Expr):
            if len(size.terms) == 1 and size.terms[0][1] == 1 and len(size.terms[0][0]) == 1:
                atom = size.terms[0][0][0]
                if isinstance(atom, Symbol):
                    sizes.setdefault(atom.name, have)
            want = bind(size, sizes)
            if not isinstance(want, Expr) and want != have:
                return False
        elif size != have:
            return False
    return True
