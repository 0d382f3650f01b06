"""A step of a program of sampled networks: an op on the results of other steps."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from ...ir.node import Node
from .sampled_calls import Call

Key = tuple[int, int, tuple[int, ...], bool, int]
"""Level, width, widths of earlier results that are read, has a bias, how many inputs are read."""


class Column(NamedTuple):
    """A small linear layer, of which many are computed at once; or an activation of one.

    A layer reads its `parts` side by side, of these `sizes`: inputs of the network and columns. The
    one part of an activation, called `name`, is its layer, whose `key` it has.
    """

    key: Key
    parts: tuple[Step, ...]
    sizes: tuple[int, ...]
    name: str = ""
    slope: float = 0.0


class Step:
    """What follows from a node alone. An input has no `call`; `module` holds the weights.

    `norm` marks batch norms, `column` what may be computed along with others like it.
    """

    __slots__ = ("call", "column", "inputs", "module", "node", "norm")

    def __init__(
        self,
        node: Node,
        inputs: tuple[Step, ...],
        call: Call | None,
        module: nn.Module | None,
        column: Column | None,
    ) -> None:
        self.node = node
        self.inputs = inputs
        self.call = call
        self.module = module
        self.norm = node.op.name == "batch_norm"
        self.column = column
