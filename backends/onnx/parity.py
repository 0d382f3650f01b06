"""Two implementations of one network, compared on random inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ...ir.cells import expand
from ...ir.dims import Dim, Expr, symbols_in, text_of
from ...ir.graph import Graph
from ...ir.settling import bind
from .builder import NUMPY, Array
from .problems import problem

Reference = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""Outputs by name from inputs by name."""

USUAL_SIZE = 16
"""What a named size is bound to where nothing is said: even, and divided by many a stride."""


def difference(reference: Array, found: Array) -> float:
    """max|a - b| / max(1, max|a|) with `a` the reference, in double precision.

    The largest deviation, relative to the largest value of the output where that is above 1, and
    absolute where it is below: so neither an output of small logits nor one element near zero
    makes rounding look like an error. Equal infinities differ by 0; infinite where one array
    holds a NaN, or where the shapes differ.
    """
    if reference.shape != found.shape:
        return float("inf")
    if reference.size == 0:
        return 0.0
    a, b = reference.astype(np.float64), found.astype(np.float64)
    if np.isnan(a).any() or np.isnan(b).any():
        return float("inf")
    same = a == b
    gaps = np.abs(np.where(same, 0.0, a) - np.where(same, 0.0, b))
    largest = np.abs(np.where(np.isfinite(a), a, 0.0)).max()
    return float(gaps.max() / max(1.0, largest))


def sizes_for(graph: Graph, batch: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """A number for each named size: `batch` for those of axis 0, else as `sizes` says, else 16."""
    found: dict[str, int] = {}
    for node in graph.inputs:
        for name in sorted({n for size in node.type.shape for n in symbols_in(size)}):
            found.setdefault(name, sizes.get(name, USUAL_SIZE))
    for node in graph.inputs:
        found.update(dict.fromkeys(symbols_in(node.type.shape[0]), batch))
    return found


def random_inputs(graph: Graph, sizes: Mapping[str, int], seed: int) -> dict[str, Array]:
    """Standard normal numbers for every input; whole ones within the tables they look up."""
    rng = np.random.default_rng(seed)
    rows = _rows(graph)
    found: dict[str, Array] = {}
    for node in graph.inputs:
        shape = tuple([_settled(size, sizes) for size in node.type.shape])
        name, dtype = node["name"], node.type.dtype
        if dtype in ("i64", "i32", "bool"):
            high = 2 if dtype == "bool" else rows.get(name, 2)
            drawn: Array = rng.integers(0, high, shape)
        else:
            drawn = rng.standard_normal(shape)
        found[name] = drawn.astype(NUMPY[dtype])
    return found


def _rows(graph: Graph) -> dict[str, int]:
    """The least number of rows of the tables that each input is looked up in."""
    found: dict[str, int] = {}
    for node in expand(graph).order:
        if node.op.name == "embedding" and node.inputs[0].op.name == "input":
            name = node.inputs[0]["name"]
            found[name] = min(node["rows"], found.get(name, node["rows"]))
    return found


def _settled(size: Dim, sizes: Mapping[str, int]) -> int:
    value = bind(size, sizes)
    if isinstance(value, Expr) or value != int(value) or value < 1:
        raise problem(
            "E725",
            f"an axis of size `{text_of(size)}` would be {text_of(value)} at {dict(sizes)}",
            help="give a number for each named size that fits the network",
        )
    return int(value)
