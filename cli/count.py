"""`fusegraph count`: how many genotypes a space has."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import AsJson, FuseFile, Settings, pairs
from .output import grouped, print_error, print_json, print_table, say


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
    many to try one by one, the number is an upper bound, and that is said.

    \b
    Example:
      fusegraph count space.fuse --set W=16 --decisions

    \b
    With --json: `genotypes` (a number), `exact` (false for an upper bound), `name`, `digest`, and
    `decisions`, each with `key`, `kind`, `labels` and `settings`.
    """
    from ..compiler.count import count as count_genotypes
    from ..pipeline.sources import open_source

    space = open_source(file, pairs(settings)).graph
    counted = count_genotypes(space)
    if as_json:
        print_json(
            {
                "genotypes": counted.genotypes,
                "exact": not counted.bound,
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
    if counted.bound:
        print_error("an upper bound: `require` rules out some that are too many to try")
    say(grouped(counted.genotypes))
    if decisions:
        rows = [
            [d.key, d.keyword, grouped(d.count()), ", ".join(d.labels)]
            for d in space.decisions.values()
        ]
        print_table(["decision", "kind", "settings", "candidates"], rows, right=[2])
