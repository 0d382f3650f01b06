"""A round of MFAS candidates on cached features: `python benchmarks/bench_mfas.py`.

K = 15 candidates of four layers, one epoch of 10,000 + 2,000 samples, batch 64, W = 16, one thread:
the setting in which the public implementation's loop was measured (CPU seconds: 1.92 AV-MNIST-like,
7.94 NTU-like). Four ways, in the same run, each with all that it takes from genotypes to scores:

plain      the public loop's manner: every tap gathered for every batch, Adam and its schedule
           stepped one weight at a time, the accuracy read back after every batch
tuned      one after the other, as fast as a loop gets: needed taps only, permuted beforehand, fused
           Adam, nothing read back before the end
fit        one after the other by `training/loop.py`
together   all as one program, by `training/side_by_side.py`

First, in float64, the weights that the tuned loop and the program end with are compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn

from fusegraph.backends.torch import Network, lower
from fusegraph.compiler.explore import complete
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.dsl import load
from fusegraph.ir.graph import Graph
from fusegraph.pipeline.heads import forward_of
from fusegraph.training.loop import fit
from fusegraph.training.schedules import learning_rate
from fusegraph.training.settings import TrainSettings
from fusegraph.training.side_by_side import Trainee, fit_side_by_side
from fusegraph.training.steps import epoch_seed
from fusegraph.training.tensors import TensorBatches, tensor_batches

MFAS = Path(__file__).parent.parent / "examples" / "mfas"
K, TRAIN, VALID, BATCH = 15, 10_000, 2_000, 64
SETTINGS = TrainSettings(epochs=1, batch=BATCH, device="cpu")


class Samples:
    """All taps of each sample, as the public loop loads them."""

    def __init__(self, taps: Mapping[str, Tensor], labels: Tensor) -> None:
        self.taps = list(taps.values())
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, index: Tensor) -> tuple[list[Tensor], Tensor]:
        """A batch: every tap is gathered, whether or not the candidate reads it."""
        return [tap[index] for tap in self.taps], self.labels[index]


def plain_loop(module: nn.Module, places: list[int], train: Samples, valid: Samples) -> None:
    """One candidate, one epoch, without care."""
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3, weight_decay=1e-4, foreach=False)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, 157, 2, 1e-6)
    loss_of = nn.CrossEntropyLoss()
    for split, learns in ((train, True), (valid, False)):
        module.train(learns)
        right = total = 0.0
        order = torch.randperm(len(split)) if learns else torch.arange(len(split))
        for rows in order.split(BATCH):
            taps, labels = split.rows(rows)
            with torch.set_grad_enabled(learns):
                logits = module(*[taps[place] for place in places])
                loss = loss_of(logits, labels)
            if learns:
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            total += loss.item()
            right += (logits.argmax(1) == labels).sum().item()


def tuned_loop(module: Network, train: TensorBatches, valid: TensorBatches) -> float:
    """One candidate, one epoch, with care; its accuracy."""
    names = list(module.parameter_names)
    order = torch.randperm(train.samples, generator=torch.Generator().manual_seed(epoch_seed(0, 1)))
    taps = [train.inputs[name].index_select(0, order).split(BATCH) for name in names]
    labels = train.labels.index_select(0, order).split(BATCH)
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
    (group,) = optimiser.param_groups
    total = torch.zeros(())
    for index, (answers, *inputs) in enumerate(zip(labels, *taps, strict=True)):
        group["lr"] = learning_rate(SETTINGS, 0, index, len(labels))
        loss = nn.functional.cross_entropy(module(*inputs), answers)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.detach()
    right = torch.zeros((), dtype=torch.int64)
    with torch.no_grad():
        for batch in valid.epoch(None):
            logits = module(*[batch.inputs[name] for name in names])
            right += (logits.argmax(1) == batch.labels).sum()
    return right.item() / valid.samples


def our_loop(module: Network, train: TensorBatches, valid: TensorBatches) -> None:
    """One candidate, one epoch, as a search trains it."""
    needed = list(module.parameter_names)

    def only(source: TensorBatches) -> TensorBatches:
        return TensorBatches({n: source.inputs[n] for n in needed}, source.labels, BATCH)

    fit(module, only(train), only(valid), SETTINGS, forward=forward_of(module))


def together(networks: list[Graph], train: TensorBatches, valid: TensorBatches) -> None:
    """All candidates, one epoch."""
    found = fit_side_by_side([Trainee(n, None, 0) for n in networks], train, valid, SETTINGS)
    assert all(each.failure is None for each in found)


def largest_difference(
    networks: list[Graph], train: TensorBatches, valid: TensorBatches
) -> tuple[float, int]:
    """Between the weights after training in float64, and how many scores differ."""

    def double(source: TensorBatches) -> TensorBatches:
        inputs = {name: value[:2_000].double() for name, value in source.inputs.items()}
        return TensorBatches(inputs, source.labels[:2_000], BATCH)

    starts = [lower(network, seed=0).double().state_dict() for network in networks]
    trainees = [Trainee(n, s, 0) for n, s in zip(networks, starts, strict=True)]
    found = fit_side_by_side(trainees, double(train), double(valid), SETTINGS)
    worst, other = 0.0, 0
    for network, trained in zip(networks, found, strict=True):
        module = lower(network, seed=0).double()
        score = tuned_loop(module, double(train), double(valid))
        other += trained.result is None or trained.result.best_score != score
        for name, value in module.state_dict().items():
            worst = max(worst, (trained.weights[name] - value).abs().max().item())
    return worst, other


def measure(name: str, file: str, published: float, rounds: int = 5) -> None:
    """The round in all ways, on features drawn at random."""
    space = load(MFAS / file, {"shallowest": "4"}).graph
    classes = space.roots[0].type.shape[-1]
    assert isinstance(classes, int)
    generator = torch.Generator().manual_seed(0)

    def features(samples: int) -> tuple[dict[str, Tensor], Tensor]:
        taps = {
            node["name"]: torch.randn(samples, node["type"].shape[1], generator=generator)
            for node in space.inputs
        }
        return taps, torch.randint(classes, (samples,), generator=generator)

    train, valid = features(TRAIN), features(VALID)
    rng = Random(0)
    networks = [
        specialise(space, complete(space, {}, lambda decision: decision.sample(rng)))
        for _ in range(K)
    ]
    order = [node["name"] for node in space.inputs]
    ours_train = tensor_batches(train[0], train[1], batch=BATCH)
    ours_valid = tensor_batches(valid[0], valid[1], batch=BATCH)
    worst, other = largest_difference(networks, ours_train, ours_valid)

    def plain() -> None:
        for network in networks:
            module = lower(network, seed=0)
            places = [order.index(needed) for needed in module.parameter_names]
            plain_loop(module, places, Samples(*train), Samples(*valid))

    def tuned() -> None:
        for network in networks:
            tuned_loop(lower(network, seed=0), ours_train, ours_valid)

    def by_fit() -> None:
        for network in networks:
            our_loop(lower(network, seed=0), ours_train, ours_valid)

    ways: dict[str, Callable[[], None]] = {
        "plain": plain,
        "tuned": tuned,
        "fit": by_fit,
        "together": lambda: together(networks, ours_train, ours_valid),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            start = time.process_time()
            run()
            seconds[way].append(time.process_time() - start)
    median = {way: statistics.median(times) for way, times in seconds.items()}
    one = median["together"]
    print(name)
    print(f"  weights differ by {worst:.1e} at most in float64, {other} of {K} scores differ")
    for way, value in median.items():
        ratio = "" if way == "together" else f"   {value / one:5.1f} x together"
        print(f"  {way:9} {value:7.3f} s{ratio}")
    print(f"  (the public loop on another machine: {published:.2f} s)")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"K = {K}, {TRAIN} + {VALID} samples, batch {BATCH}, one epoch; CPU seconds, median of 5")
    measure("AV-MNIST-like", "av_mnist.fuse", 1.92)
    measure("NTU-like", "ntu.fuse", 7.94)
