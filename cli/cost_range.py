"""What the genotypes of a space cost: the least, the mean, the greatest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from .output import grouped, plural, print_json, print_table, say
from .progress import Counting

if TYPE_CHECKING:
    from ..backends.latency import Timing
    from ..ir.genotype import Genotype
    from ..ir.graph import Graph

MOST = 1_000
"""Genotypes that are all looked at."""
DRAWN = 50
"""Of more genotypes, that many are drawn."""
MOST_TIMED = 20
"""Genotypes where each is run."""
MEASURES = {
    "parameters": "parameters",
    "macs": "multiply-adds",
    "flops": "FLOPs",
    "activation_bytes": "activation bytes",
    "latency": "latency, ms",
}


def range_of_costs(
    space: Graph, sizes: Mapping[str, int], timing: Timing | None, *, as_json: bool
) -> None:
    """Print what genotypes of the space cost, and with a timing how long they take."""
    from ..backends.latency import LatencyMeter, Timing
    from ..compiler.cost import cost
    from ..compiler.measures import lending
    from ..compiler.pipeline import network
    from ..ir.dims import symbols_in
    from ..ir.settling import bind

    meter = LatencyMeter(timing or Timing(sizes=sizes))
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    with lending(meter), Counting("costing") as told:
        genotypes, whole = _looked_at(space, timed=timing is not None)
        for genotype in genotypes:
            graph = network(space, genotype)
            total = cost(graph)
            for name in ("parameters", "macs", "flops", "activation_bytes"):
                value = bind(getattr(total, name), sizes)
                if left := sorted(symbols_in(value)):
                    raise typer.BadParameter(
                        f"costs depend on {left[0]}, which needs a number to compare them",
                        param_hint="'--size'",
                    )
                found[name].append(value)  # pyright: ignore[reportArgumentType]
            if timing is not None:
                found["latency"].append(meter.latency(graph))
            told.advance(len(genotypes))
    columns = {name: values for name, values in found.items() if values}
    if as_json:
        print_json(
            {
                "least": {name: min(values) for name, values in columns.items()},
                "mean": {name: sum(values) / len(values) for name, values in columns.items()},
                "greatest": {name: max(values) for name, values in columns.items()},
                "genotypes": len(genotypes),
                "all": whole,
                "sizes": dict(sizes),
                "name": space.name,
                "digest": space.digest,
            }
        )
        return
    rows = [
        [MEASURES[name], *map(_shown, (min(values), sum(values) / len(values), max(values)))]
        for name, values in columns.items()
    ]
    print_table(["", "least", "mean", "greatest"], rows, right=[1, 2, 3])
    many = plural(len(genotypes), "genotype")
    of = f"all {many}" if whole else f"{many} drawn at random"
    say(f"of {of} of {space.name}" + (f", {timing.text}" if timing is not None else ""))


def _looked_at(space: Graph, *, timed: bool) -> tuple[Sequence[Genotype], bool]:
    """Genotypes of the space, and whether they are all of them. Raises FusegraphError E503."""
    from ..compiler.count import count
    from ..compiler.explore import enumerate_genotypes, sample
    from ..ir.diagnostics import FusegraphError
    from ..ir.levels.listing import ListingTooLong
    from ..searchers.randomness import generator

    try:
        few = count(space).genotypes <= (MOST_TIMED if timed else MOST)
        if few and (found := list(enumerate_genotypes(space))):
            return found, True
    except (FusegraphError, ListingTooLong):
        pass  # it is too entangled to be counted, or has too many numberings to be listed
    drawn = range(MOST_TIMED if timed else DRAWN)
    return [sample(space, generator(0, "cost", index)) for index in drawn], False


def _shown(value: float) -> str:
    if value == int(value):
        return grouped(int(value))
    return f"{value:.3g}" if value < 1000 else grouped(round(value))
