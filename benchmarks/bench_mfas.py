"""A round of MFAS candidates on cached features: `python benchmarks/bench_mfas.py`.

K = 15 candidates of four layers, one epoch of 10,000 + 2,000 samples, batch 64, W = 16, one thread:
the setting in which the public implementation's loop was measured (CPU seconds: 1.92 AV-MNIST-like,
7.94 NTU-like). The baseline, in the same run, is that loop's manner: every tap gathered for every
batch, Adam and its schedule stepped one weight at a time, the accuracy read back after every batch.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn

from fusegraph.backends.torch import Network, lower
from fusegraph.compiler.explore import complete
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.dsl import load
from fusegraph.pipeline.evaluate import forward_of
from fusegraph.training.loop import fit
from fusegraph.training.settings import TrainSettings
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


def our_loop(module: Network, train: TensorBatches, valid: TensorBatches) -> None:
    """One candidate, one epoch, as a search trains it."""
    needed = list(module.parameter_names)

    def only(source: TensorBatches) -> TensorBatches:
        return TensorBatches({n: source.inputs[n] for n in needed}, source.labels, BATCH)

    fit(module, only(train), only(valid), SETTINGS, forward=forward_of(module))


def measure(name: str, file: str, published: float, rounds: int = 3) -> None:
    """The round both ways, on features drawn at random."""
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
    slow: list[float] = []
    fast: list[float] = []
    for _ in range(rounds):
        start = time.process_time()
        for network in networks:
            module = lower(network, seed=0)
            places = [order.index(needed) for needed in module.parameter_names]
            plain_loop(module, places, Samples(*train), Samples(*valid))
        middle = time.process_time()
        ours_train = tensor_batches(train[0], train[1], batch=BATCH)
        ours_valid = tensor_batches(valid[0], valid[1], batch=BATCH)
        for network in networks:
            our_loop(lower(network, seed=0), ours_train, ours_valid)
        slow.append(middle - start)
        fast.append(time.process_time() - middle)
    plain, ours = statistics.median(slow), statistics.median(fast)
    print(
        f"{name:16} plain loop {plain:6.2f} s   ours {ours:6.2f} s   {plain / ours:4.1f} x   "
        f"(published loop, another machine: {published:.2f} s)"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"K = {K}, {TRAIN} + {VALID} samples, batch {BATCH}, one epoch; CPU seconds, median of 3")
    measure("AV-MNIST-like", "av_mnist.fuse", 1.92)
    measure("NTU-like", "ntu.fuse", 7.94)
