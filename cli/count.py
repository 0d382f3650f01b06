"""`fusegraph count`: how many genotypes a space has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson, FuseFile, Settings, pairs
from .output import grouped, print_error, print_json, print_table, rounded, say

if TYPE_CHECKING:
    from ..ir.decisions import Decision


def count(
    file: FuseFile,
    settings: Settings = None,
    decisions: Annotated[
        bool, typer.Option("--decisions", help="List the decisions with their candidates.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Count the genotypes of a space, exactly.

    Decisions that nothing reaches do not multiply. Where `require` rules some out and there are too
    many to try one by one, or asks for a latency, or levelled graphs are too many to be told apart,
    the number is an upper bound, and that is said.

    \b
    Example:
      fusegraph count space.fuse --set W=16 --decisions

    \b
    With --json: `genotypes` (a number), `exact` (false for an upper bound), `least` (how many there
    are at the least), `name`, `digest`, and `decisions`, each with `key`, `kind`, `labels` and
    `settings`.
    """
    from ..compiler.count import count as count_genotypes
    from ..compiler.requirements import is_measured
    from ..pipeline.sources import open_source

    space = open_source(file, pairs(settings)).graph
    counted = count_genotypes(space)
    if as_json:
        print_json(
            {
                "genotypes": counted.genotypes,
                "exact": not counted.bound,
                "least": counted.least if counted.bound else counted.genotypes,
                "name": space.name,
                "digest": space.digest,
                "decisions": [
                    {
                        "key": decision.key,
                        "kind": decision.keyword,
                        "labels": list(decision.labels),
                        "settings": decision.count(),
                    }
                    for decision in space.decisions.values()
                ],
            }
        )
        return
    if counted.bound and counted.least:
        print_error(
            f"between {rounded(counted.least)} and {rounded(counted.genotypes)}: the levelled "
            "graphs are too many to tell which differ in numbering alone; this is the upper bound"
        )
    elif counted.bound and any(map(is_measured, space.requires)):
        print_error(
            "an upper bound: `latency` is asked only of networks that are run, and none is run here"
        )
    elif counted.bound:
        print_error("an upper bound: `require` rules out some that are too many to try")
    elif not rounded(counted.genotypes)[0].isdigit():
        print_error(rounded(counted.genotypes))
    say(grouped(counted.genotypes))
    if decisions:
        rows = [row for decision in space.decisions.values() for row in _rows(decision)]
        print_table(["decision", "kind", "settings", "candidates"], rows, right=[2])


def _rows(decision: Decision) -> Iterator[list[str]]:
    """A row, and for `levels` one more for each level and for each decision of its nodes."""
    from ..ir.levels import Levels

    if not isinstance(decision, Levels):
        yield [decision.key, decision.keyword, grouped(decision.count()), _listed(decision)]
        return
    least, most = decision.bounds()
    number = rounded(most) if least == most else f"{rounded(least)} .. {rounded(most)}"
    yield [decision.key, decision.keyword, number, f"{decision.slots} levels"]
    for level in decision.levels:
        key = f"{decision.key}[{level.number}]"
        shares = ", ".join(map(str, level.shares))
        yield [key, "level", "", f"width {level.width} in shares of {shares}"]
        if level.takes:
            taken = ", ".join([f"{decision.key}[{number}][*]" for number in level.takes])
            yield [f"{key}[…].{level.edges}", "some of", "", taken]
        for own in level.attributes.decisions:
            yield [f"{key}[…].{own.key}", own.keyword, grouped(own.count()), _listed(own)]


def _listed(decision: Decision) -> str:
    return ", ".join(decision.labels)
