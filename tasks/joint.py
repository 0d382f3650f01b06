"""Several data sets that train one network: each its own output, and the layers that they share.

The main data set is that of `[data]`, and trains the output `logits`; those of `[joint.NAME]` train
the output NAME. Splits, labels and standardisation are each data set's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ir.graph import Graph, graph
from ..training.batches import BatchSource
from ..training.losses import Kind
from .sources import TaskData

MAIN = "logits"
"""The output that the main data set trains; of a space with one output that one, whatever its
name."""


@dataclass(frozen=True, slots=True)
class JointData:
    """The main data set, and with it, by the outputs that they train, the others.

    For who knows of one data set only, it is the main one.
    """

    main: TaskData
    others: Mapping[str, TaskData]

    @property
    def kind(self) -> Kind:
        """The main one's."""
        return self.main.kind

    @property
    def class_names(self) -> tuple[str, ...]:
        """The main one's."""
        return self.main.class_names

    def source(
        self, split: str, inputs: Iterable[str], *, batch: int, device: torch.device
    ) -> BatchSource:
        """The main one's batches."""
        return self.main.source(split, inputs, batch=batch, device=device)

    def positive_weight(self) -> Tensor | None:
        """The main one's."""
        return self.main.positive_weight()


def joint_of(data: TaskData) -> Mapping[str, TaskData]:
    """Every data set by the output that it trains, the main one first, under the name `logits`."""
    if isinstance(data, JointData):
        return {MAIN: data.main, **data.others}
    return {MAIN: data}


def part_for(whole: Graph, output: str) -> Graph:
    """The graph with this output and no other, and with the inputs that it reaches: what a data set
    trains. A graph with one output is answered as it is, whatever that is called.
    """
    if len(whole.outputs) == 1:
        return whole
    return graph(whole.name, whole.inputs, [(output, dict(whole.outputs)[output])])


def inputs_for(whole: Graph, output: str) -> list[str]:
    """The names of the inputs that an output reaches: those that its data set is asked for."""
    return [node["name"] for node in part_for(whole, output).inputs]
