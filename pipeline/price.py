"""What a candidate's score loses for what its network costs, and the latencies that this takes."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..backends.latency import Latency, LatencyMeter, sizes_of
from ..compiler.measures import counted, latency, lending, lent_meter
from ..compiler.requirements import is_measured
from ..ir.graph import Graph
from ..searchers.protocol import PLAIN_SCORE
from ..tasks.schema import LatencySection, PriceSection, SearchSection
from .events import LatencyMeasured, OnRunEvent, ignore

COSTS = ("parameters", "macs", "activation_bytes", "latency")
"""The figures of a trial that say what its network costs; the last where it is measured."""

LEAST_SHARE = 1e-3
"""Of the target: what costs less counts as this, so that a product with nothing is no infinity."""


def priced(score: float, measure: float, price: PriceSection) -> float:
    """The score of a network that measures so much, with its price."""
    share = measure / price.target
    if price.form == "linear":
        return score - price.weight * max(0.0, share - 1.0)
    return score * max(share, LEAST_SHARE) ** -price.weight


def figures(network: Graph) -> dict[str, float]:
    """What a network costs: parameters, and of one sample multiply-adds and bytes of activations.

    And its `latency` in milliseconds a batch, where a meter is lent.
    """
    found = counted(network)
    told = {name: float(found[name]) for name in COSTS if name in found}
    return told if lent_meter() is None else {**told, "latency": latency(network)}


def measure_of(network: Graph, name: str) -> float:
    """One measure of a network. Raises FusegraphError E508 for a latency without a meter."""
    return latency(network) if name == "latency" else float(counted(network)[name])


@contextmanager
def measuring(
    section: SearchSection, space: Graph, file: Path, tell: OnRunEvent = ignore
) -> Generator[None]:
    """Within it latencies are measured, where the search or its space asks for them at all.

    What was measured is kept in the file, and a run that is resumed takes it from there. Raises
    FusegraphError E637 where a named size of the space has no number, E638 where the file is
    another machine's.
    """
    priced_so = section.price is not None and section.price.measure == "latency"
    required = any(is_measured(requirement) for requirement in space.requires)
    if section.latency is None and not priced_so and not required:
        yield
        return
    timing = (section.latency or LatencySection()).timing
    sizes_of(space, timing)

    def told(digest: str, found: Latency) -> None:
        tell(LatencyMeasured(digest, found.median, found.lower, found.upper))

    with lending(LatencyMeter(timing, file, told)):
        yield


def plain_score(score: float, metrics: Mapping[str, float]) -> float:
    """The score of a trial before its price."""
    return metrics.get(PLAIN_SCORE, score)


def target_of(identity: Mapping[str, Any], network: Graph) -> dict[str, Any] | None:
    """The range that a searcher of this identity aims at, and what the network that it searched
    comes to; None for a searcher without one.
    """
    options: Any = identity.get("options", {})
    if not (target := options.get("target")):
        return None
    measure, (least, most) = options["measure"], target
    found = measure_of(network, measure)
    return {"measure": measure, "least": least, "most": most, "found": found}


def missed_target(results: Mapping[str, Any]) -> str:
    """A line for a network outside its search's target; empty within it, or without one."""
    target: Any = results.get("target")
    if not target or target["least"] <= target["found"] <= target["most"]:
        return ""
    least, most, found = (f"{target[name] / 1e6:,.4g}" for name in ("least", "most", "found"))
    return (
        f"outside the target of {least} to {most} million {target['measure']}: the network that "
        f"was searched has {found} million"
    )


def settings_of_costs(section: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How a recorded `[search]` priced and timed its networks, for people."""
    told: list[tuple[str, str]] = []
    if price := section.get("price"):
        weight, share = f"{price['weight']:g}", f"{price['measure']} / {price['target']:g}"
        linear = price["form"] == "linear"
        left = f"- {weight} * max(0, {share} - 1)" if linear else f"* ({share}) ** -{weight}"
        told.append(("price", f"score {left}"))
    if timing := section.get("latency"):
        told.append(("latency", LatencySection(**timing).timing.text))
    return told
