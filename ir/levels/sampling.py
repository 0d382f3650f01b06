"""The initial graphs of AssembleNet (Ryoo et al. 2020, sections 3.2 and 4.1).

Two or four stems, two nodes on each level in between, one on the last; 1 to 5 random splits of
these blocks; decisions of nodes at random; each possible edge with probability 1/2; graphs that are
shallow are discarded. The paper does not say, and this is done:

* the source of stems, their first decision that is no number, goes through its candidates in turn,
  in random order, so that two stems of two sources have one each;
* a node that is left without an edge in or out gets a random one;
* "depth < 4" with four levels of blocks: no path goes through all of them. So here a graph is
  discarded where its longest path is shorter than the longest that its levels allow;
* where that was drawn a hundred times, edges are added along one such path;
* where a width cannot be halved as often, there are as many nodes as can be.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random

from ..decisions import OpenNumber
from .attributes import Settings
from .decision import Level, Levels
from .drafts import Draft, mended
from .graph import LevelGraph

EDGE_PROBABILITY = 0.5
STEMS = (2, 4)
MOST_SPLITS = 5
_TRIES = 100


def initial(levels: Levels, rng: Random) -> LevelGraph:
    """A graph of the initial population, in its one order."""
    longest = _longest_path(levels)
    for _ in range(_TRIES):
        draft = _nodes(levels, rng)
        edges = [e for e in draft.possible(levels) if rng.random() < EDGE_PROBABILITY]
        mended(levels, draft, edges, rng)
        graph = draft.finished("drawn").graph
        if graph.depth >= len(longest):
            return graph
    draft = _nodes(levels, rng)
    edges = [e for e in draft.possible(levels) if rng.random() < EDGE_PROBABILITY]
    path = [_one_of([i for i, n in enumerate(draft.level) if n == v], rng) for v in longest]
    mended(levels, draft, [*edges, *pairwise(path)], rng)
    return draft.finished("drawn").graph


def _one_of(places: list[int], rng: Random) -> int:
    return places[rng.randrange(len(places))]


def _longest_path(levels: Levels) -> list[int]:
    """The levels on a path through as many as there can be."""
    paths: dict[int, list[int]] = {}
    for level in levels.levels:
        below: list[int] = max([paths[i] for i in level.takes] or [[]], key=len)
        paths[level.number] = [*below, level.number]
    return max(paths.values(), key=len)


def _nodes(levels: Levels, rng: Random) -> Draft:
    draft = Draft()
    last = levels.levels[-1]
    for level in levels.levels:
        if level is last:
            halvings = 0
        elif level.takes:
            halvings = 1
        else:
            halvings = STEMS[rng.randrange(len(STEMS))].bit_length() - 1
        width = level.shares[min(halvings, len(level.shares) - 1)]
        for settings in _settings(level, level.width // width, rng):
            draft.add(level.number, width, settings, ())
    for _ in range(rng.randint(1, MOST_SPLITS)):
        able = [
            place
            for place, number in enumerate(draft.level)
            if levels.level(number).takes and draft.width[place] != levels.level(number).shares[-1]
        ]
        if able:
            place = able[rng.randrange(len(able))]
            draft.split(place)
            half = draft.add(draft.level[place], draft.width[place], (), ())
            draft.settings[half] = levels.level(draft.level[place]).attributes.sample(rng)
    return draft


def _settings(level: Level, count: int, rng: Random) -> list[Settings]:
    """The decisions of `count` nodes: the sources of stems take their candidates in turn."""
    attributes = level.attributes
    sources = [d for d in attributes.decisions if not isinstance(d, OpenNumber)]
    if level.takes or not sources:
        return [attributes.sample(rng) for _ in range(count)]
    first = sources[0]
    turns = list(first.settings())
    rng.shuffle(turns)
    return [attributes.completed({first.key: turns[i % len(turns)]}, rng) for i in range(count)]
