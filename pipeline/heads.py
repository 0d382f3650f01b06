"""The heads of a network: for each data set of its task the output that it trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..backends.torch import Network, lower
from ..tasks.joint import JointData, inputs_for, joint_of, part_for
from ..tasks.sources import TaskData
from ..training import heads
from ..training.batches import BatchSource
from ..training.heads import Forward
from ..training.loop import choose_device, judge
from ..training.metrics import score_function
from ..training.settings import TrainSettings

VALID_OF = "valid of "
"""What the figures of a trial call the validation scores of several data sets, with the outputs."""


@dataclass(frozen=True, slots=True)
class DataHead:
    """A data set, the output of a network that it trains, and the inputs which that needs."""

    output: str
    data: TaskData
    inputs: tuple[str, ...]
    forward: Forward

    def source(self, split: str, settings: TrainSettings, batch: int | None = None) -> BatchSource:
        """The batches of a split, of the settings' size or of another."""
        device = choose_device(settings.device)
        return self.data.source(split, self.inputs, batch=batch or settings.batch, device=device)

    def positive_weight(self, settings: TrainSettings) -> Tensor | None:
        """As the settings have it, see `TaskData.positive_weight`."""
        return self.data.positive_weight() if settings.balance else None

    def trains(self, source: BatchSource, settings: TrainSettings) -> heads.Head:
        """The head as `loop.fit` takes it."""
        valid, weight = self.source("valid", settings), self.positive_weight(settings)
        return heads.Head(source, valid, self.forward, self.data.kind, weight, self.output)

    def judge(self, module: Network, settings: TrainSettings) -> tuple[float, float]:
        """The loss of the module on the validation split, and its score by the settings' metric."""
        return judge(
            module,
            self.source("valid", settings),
            settings,
            kind=self.data.kind,
            forward=self.forward,
            positive_weight=self.positive_weight(settings),
            output=self.output,
        )


def heads_of(module: Network, data: TaskData) -> tuple[DataHead, ...]:
    """The heads of a network, that of the main data set first.

    Of several each runs what its output needs and no more; where there is one data set, the whole
    network runs.
    """
    if not isinstance(data, JointData):
        [output] = joint_of(data)
        return (DataHead(output, data, tuple(module.parameter_names), forward_of(module)),)
    return tuple(
        [
            DataHead(output, own, tuple(inputs_for(module.graph, output)), _part(module, output))
            for output, own in joint_of(data).items()
        ]
    )


def forward_of(module: Network) -> Forward:
    """How `fit` calls the network: inputs by position; the output `logits`, or the only one."""
    names = list(module.parameter_names)
    single = len(module.graph.outputs) == 1

    def forward(network: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        found: Any = network(*[inputs[name] for name in names])
        return found if single else found["logits"]

    return forward


def _part(module: Network, output: str) -> Forward:
    """How what one output needs is called, on the weights of the whole network."""
    with torch.device("meta"):  # its own weights are never used
        part = lower(part_for(module.graph, output))
    names = list(part.parameter_names)
    # Not of the `state_dict`: a buffer that is not persistent is missing there, and stays on meta.
    own = [name for name, _ in (*part.named_parameters(), *part.named_buffers())]

    def forward(network: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        part.train(network.training)
        tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        return functional_call(
            part, {name: tensors[name] for name in own}, tuple([inputs[name] for name in names])
        )

    return forward


def valid_of_each(module: Network, data: TaskData, settings: TrainSettings) -> dict[str, float]:
    """The validation scores of the data sets where there are several, as figures of a trial.

    Raises FusegraphError E706, E708 as `fit` does.
    """
    if not isinstance(data, JointData):
        return {}
    return valid_figures({h.output: h.judge(module, settings)[1] for h in heads_of(module, data)})


def valid_figures(scores: Mapping[str, float]) -> dict[str, float]:
    """The validation scores of a network by output, as figures of a trial; of one output none,
    since its score is the trial's.
    """
    several = len(scores) > 1
    return {f"{VALID_OF}{output}": score for output, score in scores.items() if several}


def expect_to_be_scored(data: TaskData, settings: TrainSettings) -> None:
    """Raises FusegraphError E706 where the settings' metric has no meaning for a data set."""
    if settings.metric == "loss":
        return
    for own in joint_of(data).values():
        score_function(settings.metric, own.kind, top_k=settings.top_k)
