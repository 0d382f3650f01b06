"""How fast the core is: mutate and digest, load, big graphs. `python benchmarks/bench_ir.py`.

Medians of several runs on one thread. Baselines run beside: a bare tuple of integers for a
mutation (what a hard-coded search would do), and doubling sizes for linearity.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from fusegraph.compiler.cost import cost
from fusegraph.compiler.count import count
from fusegraph.compiler.explore import mutate, sample
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.dsl import load, loads

MFAS = Path(__file__).parent.parent / "examples" / "mfas"


def seconds(work: Callable[[], object], runs: int = 5, times: int = 1) -> float:
    """The median time of one call, over `runs` runs of `times` calls each."""
    taken: list[float] = []
    for _ in range(runs):
        start = time.perf_counter()
        for _ in range(times):
            work()
        taken.append((time.perf_counter() - start) / times)
    return statistics.median(taken)


def exploring() -> None:
    """One decision changed + specialised + digested, on the 19-node networks of MFAS on NTU."""
    space = load(MFAS / "ntu.fuse").graph
    rng = Random(0)
    genotype = sample(space, rng)
    nodes = len(specialise(space, genotype).order)

    def mutated() -> None:
        nonlocal genotype
        genotype = mutate(space, genotype, rng)

    def networked() -> None:
        mutated()
        _ = specialise(space, genotype).digest

    bare = tuple(0 for _ in range(12))

    def tuple_mutated() -> None:
        nonlocal bare
        place = rng.randrange(12)
        bare = (*bare[:place], rng.randrange(4), *bare[place + 1 :])

    baseline = seconds(tuple_mutated, times=2000)
    print(f"NTU space, networks of {nodes} nodes")
    for name, work in (
        ("bare tuple of integers, mutated (baseline)", tuple_mutated),
        ("sample + digest of the genotype", lambda: sample(space, rng).digest),
        ("mutate", mutated),
        ("mutate + specialise + digest of the network", networked),
    ):
        each = seconds(work, times=2000)
        print(f"  {name:48} {each * 1e6:8.1f} us {1 / each:10,.0f} /s {each / baseline:7.1f} x")


def loading() -> None:
    """Parse + elaborate + check of a space, once imported; and an exact count."""
    path = MFAS / "ntu.fuse"
    print("NTU space")
    print(f"  load (parse + elaborate + check)   {seconds(lambda: load(path)) * 1e3:8.2f} ms")
    space = load(path).graph
    print(f"  count                              {seconds(lambda: count(space)) * 1e3:8.2f} ms")


def deep(layers: int) -> str:
    return f"""fuse 1
space deep {{
  dim N
  input x: f32[N, 16]
  h[0] = x
  for i in 1..{layers} {{ h[i] = relu(linear(h[i - 1], out=16)) }}
  output y = h[{layers}]
}}
"""


def growing() -> None:
    """Chains of up to 20,000 nodes: what a node costs must not grow with the graph."""
    from fusegraph.backends.torch import lower

    print("chains: microseconds a node")
    print(f"  {'nodes':>8} {'load':>8} {'digest':>8} {'cost':>8} {'to torch':>9}")
    for layers in (625, 1250, 2500, 5000, 10000):
        text = deep(layers)
        start = time.perf_counter()
        graph = loads(text).graph
        loaded = time.perf_counter()
        _ = graph.digest
        digested = time.perf_counter()
        cost(graph)
        costed = time.perf_counter()
        lower(graph)
        lowered = time.perf_counter()
        nodes = len(graph.order)
        steps = (loaded - start, digested - loaded, costed - digested, lowered - costed)
        print(f"  {nodes:8,} " + " ".join(f"{step / nodes * 1e6:8.1f}" for step in steps))


if __name__ == "__main__":
    exploring()
    loading()
    growing()
