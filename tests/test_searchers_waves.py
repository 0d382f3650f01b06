"""Waves of a round: as early as possible, and with the weights of one after the other."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fusegraph.ir.genotype import Genotype
from fusegraph.searchers.protocol import Proposal, SharedLayer
from fusegraph.searchers.sharing import WeightBank, shared_modules
from fusegraph.searchers.waves import at_most, earliest_waves

rounds = st.lists(st.sets(st.integers(0, 5), max_size=4), max_size=12)
"""The modules of each proposal of a round."""

layers = st.lists(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), max_size=3, unique_by=lambda x: x[0]),
    max_size=10,
)
"""The (level, width) of each shared layer of each proposal of a round."""


def longest_chain(modules: list[set[int]], last: int) -> int:
    """How many proposals, each of which shares something with the next one, come before `last`."""
    earlier = [n for n in range(last) if modules[n] & modules[last]]
    return max((1 + longest_chain(modules, n) for n in earlier), default=0)


@given(rounds)
def test_each_proposal_is_in_one_wave_and_waves_keep_their_order(modules: list[set[int]]) -> None:
    waves = earliest_waves(modules)
    assert sorted(number for wave in waves for number in wave) == list(range(len(modules)))
    for wave in waves:
        assert wave
        assert all(a < b for a, b in pairwise(wave))


@given(rounds)
def test_waves_are_as_early_as_possible_and_not_earlier(modules: list[set[int]]) -> None:
    for place, wave in enumerate(earliest_waves(modules)):
        for number in wave:
            assert place == longest_chain(modules, number)


@given(rounds)
def test_without_shared_modules_a_round_is_one_wave(modules: list[set[int]]) -> None:
    assert len(earliest_waves([() for _ in modules])) == min(1, len(modules))


@given(rounds, st.integers(1, 5))
def test_large_waves_are_cut_and_nothing_changes_places(modules: list[set[int]], size: int) -> None:
    waves = earliest_waves(modules)
    cut = at_most(size, waves)
    assert [n for wave in cut for n in wave] == [n for wave in waves for n in wave]
    assert all(0 < len(wave) <= size for wave in cut)
    if all(len(wave) <= size for wave in waves):
        assert cut == waves


@given(layers, st.integers(1, 4), st.lists(st.integers(0, 9), max_size=4))
def test_candidates_inherit_what_they_inherit_one_after_the_other(
    widths: list[list[tuple[int, int]]], size: int, failing: list[int]
) -> None:
    proposals = [
        Proposal(n, 0, Genotype.of("space", {}), n, tuple(SharedLayer(f"h[{i}]") for i, _ in own))
        for n, own in enumerate(widths)
    ]
    shapes = [{f"h.{i}.linear.weight": (2, width) for i, width in own} for own in widths]
    modules = [
        shared_modules(own, proposal.shares)
        for own, proposal in zip(shapes, proposals, strict=True)
    ]
    one_by_one = at_most(1, [range(len(proposals))])
    in_waves = at_most(size, earliest_waves(modules))
    assert _trained(proposals, shapes, failing, in_waves) == _trained(
        proposals, shapes, failing, one_by_one
    )


def _trained(
    proposals: list[Proposal],
    shapes: list[dict[str, tuple[int, int]]],
    failing: list[int],
    waves: list[list[int]],
) -> tuple[dict[int, dict[str, list[float]]], dict[str, list[float]]]:
    """What each candidate inherits, and what stands in the bank at the end."""
    bank = WeightBank()
    inherited: dict[int, dict[str, list[float]]] = {}
    for wave in waves:
        views = {number: bank.view(proposals[number]) for number in wave}
        for number in wave:
            found = views[number].matching(shapes[number])
            inherited[number] = {name: array.flatten().tolist() for name, array in found.items()}
            if number in failing:
                continue
            weights: dict[str, NDArray[np.float32]] = {
                name: np.full(shape, number, np.float32) for name, shape in shapes[number].items()
            }
            bank.record(proposals[number], weights)
    left: dict[str, list[float]] = {}
    for proposal in proposals:
        for width in (1, 2, 3):
            asked = {f"{layer.path}.linear.weight": (2, width) for layer in proposal.shares}
            for name, array in bank.view(proposal).matching(asked).items():
                left[f"{name} {width}"] = array.flatten().tolist()
    return inherited, left
