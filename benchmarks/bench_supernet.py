"""A search step of BM-NAS's supernet: `python benchmarks/bench_supernet.py [--threads 1 2]`.

The full step is a weight step on a training batch, an architecture step on a validation batch, and
the evaluation of a validation batch, on cached features. The baseline (`straightforward_bm_nas.py`)
and all other sides take turns in one run, step by step, so that load falls on each alike. Printed
are medians in ms, and the best full step (load only adds); the median over the rounds of the
baseline's time over that side's; the distance from the floor; and the peak memory that building and
stepping add, each side in a process of its own (Linux).

The floor is the work that is left after exact rewrites, over the machine's best rate of matrix
products (`machine.py`): see `floor`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from machine import gemm_rate
from straightforward_bm_nas import (
    CONFIGURATIONS,
    Batch,
    Configuration,
    StraightforwardSteps,
    random_batch,
)
from supernet_sides import SupernetSteps, check
from torch import Tensor

WARM_UP = 3
MEBIBYTE = 2**20


class Steps(Protocol):
    """A supernet with its two optimisers, ready to be searched."""

    def weight_step(self, batch: Batch) -> Tensor:
        """One update of the weights on a training batch; the loss."""
        ...

    def architecture_step(self, batch: Batch) -> Tensor:
        """One update of the architecture's parameters on a validation batch; the loss."""
        ...

    def evaluate(self, batch: Batch) -> Tensor:
        """Logits f32[B, classes] of a validation batch, in evaluation mode."""
        ...


Make = Callable[[Configuration, str], Steps]
"""Builds the steps of a configuration on a device."""


def baseline(configuration: Configuration, device: str) -> Steps:
    """A module for each candidate, one by one."""
    return StraightforwardSteps(configuration, device=device)


def ours(configuration: Configuration, device: str) -> Steps:
    """The example space, relaxed and fused."""
    return SupernetSteps(configuration, device, compiled=False)


def compiled(configuration: Configuration, device: str) -> Steps:
    """The same with torch.compile on top."""
    return SupernetSteps(configuration, device, compiled=True)


SIDES: dict[str, Make] = {"baseline": baseline, "fused": ours}
"""What takes turns; the first is what the others are compared with."""

COMPILED_SIDES: dict[str, Make] = {"compiled": compiled}
"""What `--compile` adds."""


@dataclass(frozen=True)
class Work:
    """FLOPs of the three parts of a full step."""

    weights: float
    architecture: float
    evaluation: float

    def total(self) -> float:
        """FLOPs of the full step."""
        return self.weights + self.architecture + self.evaluation


def floor(configuration: Configuration) -> Work:
    """The FLOPs of matrix products that exact rewrites leave (a multiply-add counts two).

    1. A 1x1 convolution comes before any repetition: a vector is multiplied once, a map of fewer
       than L positions at its own.
    2. f(u, u) folds the two halves of its weight: LinearGLU is C -> 2C and ConcatFC C -> C; and so
       does an output that joins one step twice.
    3. The weight step differentiates by all weights, but not by features; the architecture step by
       no weights, and not through the aligns.
    """
    c = configuration
    rows = c.batch * c.length
    aligns = sum(2 * c.batch * max(tap.positions, 1) * tap.channels * c.channels for tap in c.taps)
    step = 2 * rows * c.channels * 3 * c.channels
    joined = len(set(c.joined())) if c.multiplier > 1 else 0
    output = 2 * rows * joined * c.channels * c.channels
    classifier = 2 * c.batch * c.cells * c.channels * c.length * c.classes
    dense = c.cells * (c.steps * step + output) + classifier
    # scores and weighted sum; two operands each, neither of them a weight
    attention = c.cells * c.steps * 2 * (2 * rows * c.length * c.channels)
    return Work(
        weights=2 * aligns + 3 * (dense + attention),
        architecture=aligns + 2 * dense + 3 * attention,
        evaluation=aligns + dense + attention,
    )


def timed(run: Callable[[], Tensor], device: str) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def full_step(steps: Steps, train: Batch, valid: Batch, device: str) -> list[float]:
    """Milliseconds of the weight step, architecture step and evaluation."""
    return [
        timed(lambda: steps.weight_step(train), device),
        timed(lambda: steps.architecture_step(valid), device),
        timed(lambda: steps.evaluate(valid), device),
    ]


def in_turns(
    sides: Mapping[str, Steps], train: Batch, valid: Batch, rounds: int, device: str
) -> dict[str, list[list[float]]]:
    """The times of each side's parts, round by round, one side after the other in every round."""
    for steps in sides.values():
        for _ in range(WARM_UP):
            full_step(steps, train, valid, device)
    times: dict[str, list[list[float]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, steps in sides.items():
            times[name].append(full_step(steps, train, valid, device))
    return times


def peak_memory(make: Make, configuration: Configuration, device: str) -> float:
    """MiB that building the side and taking steps add to this process's peak, or the GPU's."""
    batches = [random_batch(configuration, seed, device) for seed in (0, 1)]
    before = resident_memory("VmRSS")
    steps = make(configuration, device)
    for _ in range(WARM_UP):
        full_step(steps, batches[0], batches[1], device)
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / MEBIBYTE
    return resident_memory("VmHWM") - before


def resident_memory(field: str) -> float:
    """MiB resident now (`VmRSS`) or at most until now (`VmHWM`), as Linux counts them.

    Not by `getrusage`: a new process begins there with the peak of the one that started it.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def peak_in_its_own_process(side: str, configuration: str, threads: int, device: str) -> float:
    """`peak_memory` of a side, in a fresh process."""
    call = (sys.executable, __file__, "--peak-of", side, "--configurations", configuration)
    settings = ("--threads", str(threads), "--device", device)
    printed = subprocess.run([*call, *settings], check=True, capture_output=True, text=True).stdout
    return float(printed)


def compare(
    configuration: Configuration, makes: Mapping[str, Make], threads: int, options: Options
) -> None:
    """All sides on one configuration, as a table."""
    torch.set_num_threads(threads)
    device = options.device
    train, valid = (random_batch(configuration, seed, device) for seed in (0, 1))
    sides = {name: make(configuration, device) for name, make in makes.items()}
    rate = gemm_rate(threads, device)
    work = floor(configuration).total()
    least = 1e3 * work / rate
    times = in_turns(sides, train, valid, options.rounds, device)
    reference = [sum(parts) for parts in times["baseline"]]
    print(
        f"\n{configuration.name}, {threads} thread(s): floor {least:.1f} ms "
        f"({work / 1e9:.2f} GFLOP at {rate / 1e9:.0f} GFLOP/s)\n"
        f"{'':12}{'weights':>9}{'arch.':>9}{'eval.':>9}{'full':>9}{'(best)':>9}{'x faster':>10}"
        f"{'x floor':>9}{'peak MiB':>10}"
    )
    for name, found in times.items():
        totals = [sum(parts) for parts in found]
        parts = [statistics.median(column) for column in zip(*found, strict=True)]
        total = statistics.median(totals)
        ratio = statistics.median(a / b for a, b in zip(reference, totals, strict=True))
        peak = peak_in_its_own_process(name, configuration.name, threads, device)
        print(
            f"{name:12}" + "".join(f"{part:9.1f}" for part in parts) + f"{total:9.1f}"
            f"{min(totals):9.1f}{ratio:10.2f}{total / least:9.2f}{peak:10.0f}"
        )


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    threads: tuple[int, ...]
    rounds: int
    configurations: tuple[Configuration, ...]
    compiled: bool
    device: str
    peak_of: str | None


def options() -> Options:
    """The command line, read."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [configuration.name for configuration in CONFIGURATIONS]
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--configurations", nargs="+", choices=names, default=names)
    parser.add_argument("--compile", action="store_true", help="with torch.compile as well")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    read = parser.parse_args()
    return Options(
        tuple(read.threads),
        read.rounds,
        tuple(c for c in CONFIGURATIONS if c.name in read.configurations),
        read.compile,
        read.device,
        read.peak_of,
    )


def main() -> None:
    """Each configuration with each number of threads; or one side's peak memory alone."""
    asked = options()
    if asked.peak_of is not None:
        torch.set_num_threads(asked.threads[0])
        make = {**SIDES, **COMPILED_SIDES}[asked.peak_of]
        print(peak_memory(make, asked.configurations[0], asked.device))
        return
    makes = {**SIDES, **(COMPILED_SIDES if asked.compiled else {})}
    print(f"ms, median of {asked.rounds} rounds in which the sides take turns; full = all three")
    for configuration in asked.configurations:
        apart = check(configuration, random_batch(configuration, 2))
        print(f"\n{configuration.name}: loss and gradients of both sides agree to {apart:.0e}")
        if apart > 1e-9:
            raise SystemExit("the sides do not compute the same")
        for threads in asked.threads:
            compare(configuration, makes, threads, asked)


if __name__ == "__main__":
    main()
