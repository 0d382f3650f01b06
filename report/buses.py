"""Buses: candidates that several choices share, with one line from each and one to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .scene import Box, Link, State


def with_buses(boxes: list[Box], links: list[Link]) -> list[Link]:
    """Links to candidates that several choices share, led through one bus for each such set."""
    wanted: dict[tuple[int, int], dict[int, Link]] = {}
    for link in links:
        if link.candidate and boxes[link.target].kind == "choice":
            wanted.setdefault((link.source, link.port), {})[link.target] = link
    sets: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for source, targets in wanted.items():
        sets.setdefault(tuple(sorted(targets)), []).append(source)
    replaced: set[tuple[int, int, int]] = set()
    added: list[Link] = []
    for targets, sources in sets.items():
        n, m = len(sources), len(targets)
        if n < 2 or m < 2:
            continue
        bus = len(boxes)
        everyone = [wanted[source] for source in sources]
        labels_of = [[c for link in each.values() for c in link.candidates] for each in everyone]
        names = ", ".join(dict.fromkeys(label for labels in labels_of for label in labels))
        boxes.append(
            Box(
                "bus",
                (),
                tooltip=f"one of {names}",
                state=_joint([link.state for each in everyone for link in each.values()]),
            )
        )
        for (source, port), each in zip(sources, everyone, strict=True):
            labels = dict.fromkeys(link.label for link in each.values() if link.label)
            state = _joint([link.state for link in each.values()])
            first = next(iter(each.values()))
            added.append(replace(first, target=bus, label=", ".join(labels), state=state))
            replaced.update((source, port, target) for target in targets)
        for target in targets:
            state = _joint([each[target].state for each in everyone])
            added.append(Link(bus, target, True, tooltip=f"candidates: {names}", state=state))
    kept = [link for link in links if (link.source, link.port, link.target) not in replaced]
    return kept + added


def _joint(states: Sequence[State]) -> State:
    """The state of what carries several: taken where one is, faded where all are."""
    if "taken" in states:
        return "taken"
    return "faded" if states and all(state == "faded" for state in states) else "plain"
