"""The surrogate of MFAS: scoring one by one, in a batch, and with prefixes shared; and refitting.

Run `python benchmarks/bench_surrogate.py`. The baseline, the plain network of `torch.nn` that the
authors' release builds, runs in the same process on the same candidates: NTU's, M = N = 4, P = 3,
L = 4 (MFAS, section 4). All results are checked against one another before anything is timed.
Times are medians; on a busy machine look at the ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import product
from random import Random

import torch

from fusegraph.searchers.mfas.surrogate import RecurrentSurrogate
from fusegraph.searchers.progression import Configuration

TRIPLETS = list(product(range(1, 5), range(1, 5), range(1, 4)))
LEVELS, K = 4, 15


class PlainSurrogate(torch.nn.Module):
    """The release's network with the same weights."""

    def __init__(self, surrogate: RecurrentSurrogate, dtype: torch.dtype) -> None:
        super().__init__()
        self.embed = torch.nn.Linear(3, 100)
        self.lstm = torch.nn.LSTM(100, 100)
        self.value = torch.nn.Linear(100, 1)
        self.to(dtype)
        self.load_state_dict(surrogate.named_weights())

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """(batch, length, 3) -> (batch)"""
        states, _ = self.lstm(torch.sigmoid(self.embed(levels.transpose(0, 1))))
        return torch.sigmoid(self.value(states[-1]))[:, 0]


def median_ms(work: Callable[[], object], repeats: int) -> float:
    work()
    times: list[float] = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


def history(rng: Random) -> dict[Configuration, float]:
    """All that a whole NTU search has trained: 48 singles, then 3 times K of each length."""
    scores: dict[Configuration, float] = {(level,): rng.random() for level in TRIPLETS}
    prefixes = list(scores)
    for _ in range(LEVELS - 1):
        drawn: list[Configuration] = []
        for _ in range(3):
            drawn = [(*rng.choice(prefixes), rng.choice(TRIPLETS)) for _ in range(K)]
            scores |= {configuration: rng.random() for configuration in drawn}
        prefixes = drawn
    return scores


def scoring(surrogate: RecurrentSurrogate, rng: Random, repeats: int) -> None:
    prefixes = list({tuple(rng.choices(TRIPLETS, k=LEVELS - 1)) for _ in range(K)})
    candidates = [(*prefix, level) for prefix in prefixes for level in TRIPLETS]
    plain = PlainSurrogate(surrogate, torch.float32)
    rows = torch.tensor(candidates, dtype=torch.float32)

    def one_by_one() -> torch.Tensor:
        return torch.stack([plain(row[None])[0] for row in rows])

    def batched() -> torch.Tensor:
        return plain(rows)

    def shared() -> torch.Tensor:
        return surrogate.score_unfolded(prefixes, TRIPLETS).flatten()

    with torch.inference_mode():
        for other in (batched(), shared().float()):
            torch.testing.assert_close(other, one_by_one(), rtol=0, atol=1e-6)
        slow = median_ms(one_by_one, max(1, repeats // 4))
        print(f"score the {len(candidates)} candidates of a round (K = {K}, L = {LEVELS})")
        _line("one by one (torch.nn, float32)", slow, slow, len(candidates))
        _line("one batch (torch.nn, float32)", median_ms(batched, repeats), slow, len(candidates))
        _line("prefixes shared (ours, float64)", median_ms(shared, repeats), slow, len(candidates))


def whole_space(surrogate: RecurrentSurrogate, rng: Random) -> None:
    started = time.perf_counter()
    scores = surrogate.score_all([TRIPLETS] * LEVELS)
    seconds = time.perf_counter() - started
    picked = [rng.randrange(len(scores)) for _ in range(300)]
    configurations = [
        tuple(TRIPLETS[index // 48**level % 48] for level in reversed(range(LEVELS)))
        for index in picked
    ]
    plain = PlainSurrogate(surrogate, torch.float64)
    with torch.inference_mode():
        expected = plain(torch.tensor(configurations, dtype=torch.float64))
    worst = float((scores[picked].double() - expected).abs().max())
    print(f"\nscore the whole NTU space: {len(scores):,} networks in {seconds:.2f} s")
    print(
        f"  {seconds / len(scores) * 1e6:.2f} us each; {len(picked)} of them differ by {worst:.0e}"
    )


def refitting(seed: int, rng: Random, repeats: int) -> None:
    scores = history(rng)
    print(f"\nrefit on {len(scores)} samples, 50 epochs, a step for each of {LEVELS} lengths")

    def plain_fit(dtype: torch.dtype) -> Callable[[], object]:
        plain = PlainSurrogate(RecurrentSurrogate(3, seed), dtype)
        optimiser = torch.optim.Adam(plain.parameters(), lr=1e-3)
        batches = [
            (
                torch.tensor([c for c in scores if len(c) == length], dtype=dtype),
                torch.tensor([s for c, s in scores.items() if len(c) == length], dtype=dtype),
            )
            for length in range(1, LEVELS + 1)
        ]

        def work() -> None:
            for _ in range(50):
                for inputs, target in batches:
                    optimiser.zero_grad()
                    torch.nn.functional.mse_loss(plain(inputs), target).backward()
                    optimiser.step()

        return work

    surrogate = RecurrentSurrogate(3, seed)
    double = median_ms(plain_fit(torch.float64), repeats)
    _line("autograd, float64", double, double)
    _line("autograd, float32", median_ms(plain_fit(torch.float32), repeats), double)
    _line("prefixes shared, float64", median_ms(lambda: surrogate.fit(scores), repeats), double)


def _line(name: str, milliseconds: float, baseline: float, count: int = 0) -> None:
    each = f"{milliseconds * 1e3 / count:9.2f} us each" if count else ""
    print(f"  {name:34} {milliseconds:9.2f} ms {each}  {baseline / milliseconds:7.1f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description="The surrogate of MFAS")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    parser.add_argument("--repeats", type=int, default=9, help="runs of which the median is taken")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rng = Random(options.seed)
    surrogate = RecurrentSurrogate(3, options.seed)
    surrogate.fit(history(rng))
    print(f"torch {torch.__version__}, {options.threads} thread(s)\n")
    scoring(surrogate, rng, options.repeats)
    whole_space(surrogate, rng)
    refitting(options.seed, rng, options.repeats)


if __name__ == "__main__":
    main()
