"""Sites: the places of a space where decisions matter, and the walk that says which are reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from .decisions import Decision, Setting

WHOLE = -1
"""The slot of a site that takes the branches of all candidates in the setting."""
ALWAYS = -2
"""The slot of a site that takes its one branch whatever the setting."""


def mask_of(places: Iterable[int]) -> int:
    """The set of these places as a number, a bit for each: small, and quickly told from others."""
    mask = 0
    for place in places:
        mask |= 1 << place
    return mask


@dataclass(frozen=True, slots=True)
class Site:
    """A place in the graph where a decision matters.

    `branches` has for each candidate the sites that it needs. The setting's candidate at `slot`
    is taken, or where `slot` is WHOLE every candidate of the setting. A site without a decision
    only needs others: its one branch, as one where `slot` is ALWAYS.
    """

    decision: Decision | None
    slot: int
    branches: tuple[tuple[int, ...], ...]

    def taken(self, setting: Setting) -> Iterable[int]:
        """The sites that this setting needs."""
        if self.slot == WHOLE:
            return [site for index in setting for site in self.branches[index]]
        return self.branches[0] if self.slot == ALWAYS else self.branches[setting[self.slot]]


@dataclass(frozen=True, eq=False, slots=True)
class Skeleton:
    """The sites of a space, needed ones before those that need them; where a walk starts; and the
    places of decisions in the order of the space.
    """

    sites: tuple[Site, ...]
    roots: tuple[int, ...]
    order: Mapping[str, int]

    def walk(self, choose: Callable[[Decision], Setting]) -> dict[str, Setting]:
        """The settings of the decisions that are reached when each takes what `choose` says.

        `choose` is asked once for each reached decision. The result is in the order of the space.
        """
        sites = self.sites
        settings: dict[str, Setting] = {}
        seen = bytearray(len(sites))
        stack = list(self.roots)
        while stack:
            place = stack.pop()
            if seen[place]:
                continue
            seen[place] = 1
            site = sites[place]
            decision = site.decision
            if decision is None:
                stack += site.branches[0]
                continue
            setting = settings.get(decision.key)
            if setting is None:
                setting = settings[decision.key] = choose(decision)
            stack += site.taken(setting)
        order = self.order
        return {key: settings[key] for key in sorted(settings, key=order.__getitem__)}

    def enumerate(self) -> Iterator[dict[str, Setting]]:
        """Every joint setting of decisions that are reached together once, in a fixed order."""
        path: list[tuple[Decision, Iterator[Setting], Setting]] = []
        while True:
            depth = 0

            def choose(decision: Decision) -> Setting:
                nonlocal depth
                if depth == len(path):
                    settings = decision.settings()
                    path.append((decision, settings, next(settings)))
                depth += 1
                return path[depth - 1][2]

            yield self.walk(choose)
            while path:
                decision, rest, _ = path.pop()
                following = next(rest, None)
                if following is not None:
                    path.append((decision, rest, following))
                    break
            if not path:
                return
