"""A step of an elastic supernet: `python benchmarks/bench_elastic.py [--threads 1 2]`.

A step is what training does with one batch: forward, loss, backward, AdamW. Four sides take turns
on one batch:

alone      the largest network of the space, lowered by itself, by torch's fused AdamW
largest    the same network in the supernet: `ElasticNetworks` and `SlicedOptimiser`
fresh      a random network in the supernet, which it has not had before
known      the same one once more, now that it is planned

First, in float64 and in evaluation mode, losses and gradients of `alone` and `largest` are
compared on the same weights. Printed are medians in ms, of this process's own CPU time with one
thread and of the clock with several, and the medians over the rounds of each side's time over that
of `alone`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fusegraph.backends.torch import Network
from fusegraph.backends.torch.elastic import ElasticNetworks, Settings
from fusegraph.compiler.explore import complete, sample
from fusegraph.ir.decisions import Decision, Setting
from fusegraph.ir.dsl import load
from fusegraph.ir.graph import Graph
from fusegraph.training.settings import TrainSettings
from fusegraph.training.slices import SlicedOptimiser

FOLDER = Path(__file__).parent.parent / "examples" / "elastic"
WARM_UP = 2
ALIKE = 1e-12
TRAIN = TrainSettings(optimiser="adamw", learning_rate=1e-3, weight_decay=5e-2)


@dataclass(frozen=True)
class Case:
    """A space with its constants, the output that the batch trains, and the batch."""

    name: str
    file: str
    output: str
    batch: int
    rounds: int
    constants: Mapping[str, str] = field(default_factory=dict[str, str])


CASES = (
    Case("still digits", "digits.fuse", "digits", 32, 30, {"limit": "1000000"}),
    Case("moving digits", "digits.fuse", "logits", 32, 30, {"limit": "1000000"}),
    Case("T at 32 x 32", "tiny.fuse", "logits", 32, 10, {"side": "32", "classes": "10"}),
    Case("T at 224 x 224", "tiny.fuse", "logits", 2, 3),
)


def last(decision: Decision) -> Setting:
    """The largest candidate: they stand in ascending order."""
    return (len(decision.labels) - 1,)


Loss = Callable[[Tensor], Tensor]


class Sides:
    """The supernet, the largest network by itself from the same weights, and a batch for both."""

    def __init__(self, space: Graph, case: Case) -> None:
        self.space = space
        self.output = case.output
        self.supernet = ElasticNetworks(space, 0).train()
        self.largest: Settings = complete(space, {}, last).settings
        self.alone: Network = self.supernet.extracted(self.largest, [case.output]).train()
        self.sliced = SlicedOptimiser(self.supernet, TRAIN)
        self.adamw = torch.optim.AdamW(
            self.alone.parameters(),
            lr=TRAIN.learning_rate,
            weight_decay=TRAIN.weight_decay,
            fused=True,
        )
        generator = torch.Generator().manual_seed(0)
        self.batch: dict[str, Tensor] = {}
        for node in self.alone.graph.inputs:
            shape = [size if isinstance(size, int) else case.batch for size in node.type.shape]
            self.batch[node["name"]] = torch.randn(shape, generator=generator)
        classes = self.alone.graph.roots[0].type.shape[1]
        assert isinstance(classes, int)
        self.labels = torch.randint(classes, (case.batch,), generator=generator)

    def loss_alone(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of the largest network by itself."""
        logits = self.alone.run(batch)
        assert isinstance(logits, Tensor)
        return F.cross_entropy(logits, self.labels)

    def loss_in_supernet(self, settings: Settings, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of a network of the supernet."""
        [found] = self.supernet.run([settings], batch, [self.output])
        return F.cross_entropy(found[self.output], self.labels)

    def step_alone(self) -> None:
        """One step of the largest network by itself."""
        self.adamw.zero_grad()
        self.loss_alone(self.batch).backward()
        self.adamw.step()

    def step_in_supernet(self, settings: Settings) -> None:
        """One step of a network of the supernet."""
        self.sliced.zero_grad()
        self.loss_in_supernet(settings, self.batch).backward()
        self.sliced.step(settings, TRAIN.learning_rate, [self.output])


def check(space: Graph, case: Case) -> float:
    """The greatest difference between the losses, and between gradients over the largest of their
    tensor (over 1e-3 where that is next to nothing).
    """
    sides = Sides(space, case)
    alone, supernet = sides.alone.double().eval(), sides.supernet.double().eval()
    batch = {name: value.double() for name, value in sides.batch.items()}
    wanted, found = sides.loss_alone(batch), sides.loss_in_supernet(sides.largest, batch)
    wanted.backward()
    found.backward()
    apart = [float((wanted - found).detach().abs())]
    # Extracted again, the supernet's gradients have the names of the network by itself.
    own = {name: parameter.grad for name, parameter in alone.named_parameters()}
    for parameter in supernet.parameters():
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    for name, value in supernet.state_of(sides.largest, [case.output]).items():
        gradient = own.get(name)
        if gradient is not None:
            scale = max(1e-3, float(gradient.abs().max()))
            apart.append(float((gradient - value).detach().abs().max()) / scale)
    return max(apart)


def compare(space: Graph, case: Case, threads: int) -> None:
    """All sides on one space, as a line."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    torch.set_num_threads(threads)
    sides, rng = Sides(space, case), Random(0)

    def timed(step: Callable[[], None]) -> float:
        start = clock()
        step()
        return clock() - start

    times: list[list[float]] = []
    for place in range(WARM_UP + case.rounds):
        drawn = sample(space, rng).settings
        row = [
            timed(sides.step_alone),
            timed(lambda: sides.step_in_supernet(sides.largest)),
            *[timed(lambda drawn=drawn: sides.step_in_supernet(drawn)) for _ in range(2)],
        ]
        if place >= WARM_UP:
            times.append(row)
    medians = [1e3 * statistics.median(column) for column in zip(*times, strict=True)]
    ratios = [statistics.median([row[side] / row[0] for row in times]) for side in (1, 2, 3)]
    print(
        f"{case.name:16}{case.batch:6}{threads:8}"
        + "".join([f"{value:10.1f}" for value in medians])
        + "".join([f"{ratio:10.2f}" for ratio in ratios]),
        flush=True,
    )


def main() -> None:
    """Each space with each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    names = [case.name for case in CASES]
    parser.add_argument("--cases", nargs="+", choices=names, default=names)
    asked = parser.parse_args()
    print("a training step, ms; times that of the largest network alone")
    print(
        f"{'':16}{'batch':>6}{'threads':>8}{'alone':>10}{'largest':>10}{'fresh':>10}{'known':>10}"
        f"{'x largest':>10}{'x fresh':>10}{'x known':>10}"
    )
    for case in CASES:
        if case.name not in asked.cases:
            continue
        space = load(FOLDER / case.file, case.constants).graph
        apart = check(space, case)
        if apart > ALIKE:
            raise SystemExit(f"{case.name}: the sides differ by {apart:.0e}")
        for threads in asked.threads:
            compare(space, case, threads)


if __name__ == "__main__":
    main()
