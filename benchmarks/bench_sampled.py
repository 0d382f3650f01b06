"""K = 13 sampled networks of a space: `python benchmarks/bench_sampled.py [--threads 1 2]`.

A step is the forward and backward pass of K random genotypes on one batch, as PARSEC takes it; the
genotypes are others in each step. Three sides take turns on the same weights:

in turn     one lowered network after the other, all lowered and kept beforehand
lowering    the same, with what `lower` costs for the networks of the step, none of which was seen
sampled     `SampledNetworks`, merging and planning included, and the losses of all at once

Specialising is no part of any side. First, in float64, losses and gradients of all weights are
compared. Printed are medians in ms, of this process's own CPU time with one thread and of the clock
with several, the medians over the steps of the time of `in turn` and of `lowering` over that of
`sampled`, and how many ops are left of those of all networks.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn

from fusegraph.backends.torch import Network, lower
from fusegraph.backends.torch.sampled import SampledNetworks
from fusegraph.compiler.explore import sample
from fusegraph.compiler.pipeline import network
from fusegraph.ir.dsl import load
from fusegraph.ir.graph import Graph
from fusegraph.training.losses import multi_label, single_label

EXAMPLES = Path(__file__).parent.parent / "examples"
K = 13  # samples a step in Auto-TSNet's supplement
WARM_UP = 2
ALIKE = 1e-12


@dataclass(frozen=True)
class Case:
    """A space with its constants, and the batch: that of the papers, small for videos."""

    file: str
    batch: int
    constants: Mapping[str, str] = field(default_factory=dict[str, str])
    multilabel: bool = False
    video: bool = False


POOLED = {"taps": "2"}
CASES = (
    Case("mfas/ntu.fuse", 64),
    Case("mfas/av_mnist.fuse", 64),
    Case("bm_nas/ntu.fuse", 96, POOLED),
    Case("bm_nas/ego_gesture.fuse", 72, POOLED),
    Case("bm_nas/mm_imdb.fuse", 96, POOLED, multilabel=True),
    Case("two_stream/space.fuse", 2, {"side": "64", "sparse_frames": "2"}, video=True),
)


Clock = Callable[[], float]


class Step:
    """What is drawn for one step: K networks, and each of them lowered, on the shared weights.

    `twin` is asked which weights a network has, so that `shared` sees it in the step first.
    """

    def __init__(
        self, shared: SampledNetworks, twin: SampledNetworks, rng: Random, clock: Clock
    ) -> None:
        space = shared.space
        self.networks = [network(space, sample(space, rng)) for _ in range(K)]
        start = clock()
        self.lowered = [lower(each) for each in self.networks]
        self.lowering = clock() - start
        names = {id(value): name for name, value in twin.state_dict(keep_vars=True).items()}
        own = shared.state_dict(keep_vars=True)
        for module, graph in zip(self.lowered, self.networks, strict=True):
            for name, value in twin.state_of(graph).items():
                take(module, name, own[names[id(value)]])
        count = [len(twin.planner.plan([each]).steps) for each in self.networks]
        self.left = len(twin.planner.plan(self.networks).steps) / sum(count)


def take(module: Network, name: str, value: Tensor) -> None:
    """Let the lowered network own this very tensor."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    if isinstance(value, nn.Parameter):
        setattr(owner, leaf, value)
    else:
        owner.register_buffer(leaf, value)


Loss = Callable[[Tensor], Tensor]


def in_turn(modules: Sequence[Network], batch: Mapping[str, Tensor], loss: Loss) -> float:
    """One network after the other; the sum of the losses."""
    total = 0.0
    for module in modules:
        logits = module.run(batch)
        assert isinstance(logits, Tensor)
        one = loss(logits)
        one.backward()
        total += float(one.detach())
    return total


def sampled(
    shared: SampledNetworks, networks: Sequence[Graph], batch: Mapping[str, Tensor], loss: Loss
) -> float:
    """All networks as one program; the sum of the losses."""
    sets = shared.stacked(networks, batch)
    total = torch.cat([loss(outputs["logits"]) for _, outputs in sets]).sum()
    total.backward()
    return float(total.detach())


def draw(space: Graph, case: Case) -> tuple[dict[str, Tensor], Loss]:
    """A batch, and the loss of logits for its labels, or of the logits of each network."""
    generator = torch.Generator().manual_seed(0)
    batch: dict[str, Tensor] = {}
    for node in space.inputs:
        shape = [size if isinstance(size, int) else case.batch for size in node.type.shape]
        batch[node["name"]] = torch.randn(shape, generator=generator)
    classes = space.roots[0].type.shape[1]
    assert isinstance(classes, int)
    if case.multilabel:
        labels = (torch.rand(case.batch, classes, generator=generator) < 0.1).float()
        loss = multi_label()
    else:
        labels = torch.randint(classes, (case.batch,), generator=generator)
        loss = single_label()
    return batch, lambda logits: loss(logits, labels)


def gradients(shared: SampledNetworks) -> dict[str, Tensor]:
    """The gradients that there are by name; they are gone from the weights."""
    found = {n: p.grad for n, p in shared.named_parameters() if p.grad is not None}
    shared.zero_grad(set_to_none=True)
    return found


def check(space: Graph, case: Case) -> float:
    """The greatest difference between losses, and between gradients over the largest of their
    tensor (over 1e-3 where that is next to nothing), in float64, in training, without dropout.
    """
    batch, loss = draw(space, case)
    doubles = {name: value.double() for name, value in batch.items()}
    shared, twin = SampledNetworks(space, 0).double().train(), SampledNetworks(space, 0)
    step = Step(shared, twin, Random(1), time.perf_counter)
    forward = nn.Dropout.forward
    nn.Dropout.forward = lambda self, input: input
    try:
        apart = in_turn(step.lowered, doubles, loss)
        wanted = gradients(shared)
        apart -= sampled(shared, step.networks, doubles, loss)
        found = gradients(shared)
    finally:
        nn.Dropout.forward = forward
    if wanted.keys() != found.keys():
        raise SystemExit(f"{case.file}: other weights have gradients")
    scales = {name: max(1e-3, float(g.abs().max())) for name, g in wanted.items()}
    return max(
        abs(apart), *[float((found[n] - g).abs().max()) / scales[n] for n, g in wanted.items()]
    )


def compare(space: Graph, case: Case, threads: int, steps: int) -> None:
    """All sides on one space, as a line."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    torch.set_num_threads(threads)
    batch, loss = draw(space, case)
    shared, twin = SampledNetworks(space, 0).train(), SampledNetworks(space, 0)
    rng = Random(0)
    times: list[tuple[float, float, float]] = []
    left: list[float] = []
    for place in range(WARM_UP + steps):
        step = Step(shared, twin, rng, clock)
        shared.zero_grad(set_to_none=True)
        start = clock()
        in_turn(step.lowered, batch, loss)
        alone = clock() - start
        shared.zero_grad(set_to_none=True)
        start = clock()
        sampled(shared, step.networks, batch, loss)
        together = clock() - start
        if place >= WARM_UP:
            times.append((alone, alone + step.lowering, together))
            left.append(step.left)
    medians = [1e3 * statistics.median(column) for column in zip(*times, strict=True)]
    ratios = [statistics.median([row[side] / row[2] for row in times]) for side in (0, 1)]
    print(
        f"{case.file:24}{threads:8}"
        + "".join([f"{value:10.1f}" for value in medians])
        + "".join([f"{ratio:10.2f}" for ratio in ratios])
        + f"{100 * statistics.mean(left):9.0f} %",
        flush=True,
    )


def main() -> None:
    """Each space with each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=15)
    names = [case.file for case in CASES]
    parser.add_argument("--spaces", nargs="+", choices=names, default=names)
    asked = parser.parse_args()
    print(f"K = {K}, forward and backward, ms, median of {asked.steps} steps")
    print(
        f"{'':24}{'threads':>8}{'in turn':>10}{'lowering':>10}{'sampled':>10}{'x in turn':>10}"
        f"{'x lower.':>10}{'ops left':>11}"
    )
    for case in CASES:
        if case.file not in asked.spaces:
            continue
        space = load(EXAMPLES / case.file, case.constants).graph
        apart = check(space, case)
        if apart > ALIKE:
            raise SystemExit(f"{case.file}: the sides differ by {apart:.0e}")
        for threads in asked.threads:
            compare(space, case, threads, 3 if case.video else asked.steps)


if __name__ == "__main__":
    main()
