"""The promise P5: what moves about in a space gives its genotypes, and all of them."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import prod
from random import Random
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from fusegraph.compiler.count import count
from fusegraph.compiler.explore import cross, enumerate_genotypes, mutate, sample
from fusegraph.compiler.requirements import satisfied
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.cells import expand
from fusegraph.ir.decisions import Setting
from fusegraph.ir.dims import Expr, decisions_in
from fusegraph.ir.dsl import Program
from fusegraph.ir.dsl.flat import parse_graph, print_graph
from fusegraph.ir.genotype import Genotype
from fusegraph.ir.graph import Graph
from fusegraph.ir.node import Node
from fusegraph.ir.reach import walk
from generators import programs, some
from recipes import open_graphs

SEEDS = st.integers(0, 2**20)
MOST_TRIED = 3_000
"""Joint settings that the slow oracle tries one by one."""


def _open_in(node: Node) -> dict[str, Any]:
    """Decisions on the attributes of a node."""
    found: dict[str, Any] = {}
    pending: list[Any] = list(node.attrs)
    while pending:
        value = pending.pop()
        if isinstance(value, tuple):
            pending += value
        elif isinstance(value, Expr):
            found.update(decisions_in(value))
    return found


def _reached(space: Graph, chosen: dict[str, Setting]) -> frozenset[tuple[str, Setting]]:
    """What these settings reach, by walking the expanded graph node by node: slow and plain."""
    keys: set[str] = set()
    for requirement in space.requires:
        for side in (requirement.left, requirement.right):
            keys |= decisions_in(side).keys()
    seen: set[Node] = set()
    stack = list(expand(space).roots)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        below = list(node.inputs)
        if node.op.name == "choice":
            keys.add(node.decision.key)
            below = [node.inputs[chosen[node.decision.key][node["slot"]]]]
        elif node.op.name == "maybe":
            keys.add(node.decision.key)
            below = below if node["index"] in chosen[node.decision.key] else []
        else:
            keys |= _open_in(node).keys()
        stack += below
    return frozenset((key, chosen[key]) for key in keys)


def _all_genotypes(space: Graph) -> set[frozenset[tuple[str, Setting]]]:
    """Every genotype, by trying every joint setting of all decisions."""
    keys = list(space.decisions)
    choices = [list(space.decisions[key].settings()) for key in keys]
    found = {_reached(space, dict(zip(keys, joint, strict=True))) for joint in product(*choices)}
    return {items for items in found if satisfied(space, dict(items))}


def _valid(space: Graph, genotype: Genotype) -> None:
    chosen = genotype.settings
    for key, setting in genotype.items:
        assert space.decisions[key].admits(setting)
    assert walk(space, lambda d: chosen[d.key]) == chosen
    assert satisfied(space, chosen)
    assert specialise(space, genotype).settled


@some(100)
@given(programs(), SEEDS)
def test_mutations_and_crossovers_of_genotypes_are_genotypes(program: Program, seed: int) -> None:
    space, rng = program.graph, Random(seed)
    parents = [sample(space, rng), sample(space, rng)]
    for _ in range(6):
        child = cross(space, parents[0], parents[1], rng)
        mutant = mutate(space, child, rng)
        for genotype in (child, mutant):
            _valid(space, genotype)
        parents = [parents[1], mutant]


@some(100)
@given(programs(most_decisions=4), SEEDS)
def test_a_small_space_is_counted_enumerated_sampled_and_mutated_alike(
    program: Program, seed: int
) -> None:
    space = program.graph
    assume(prod([d.count() for d in space.decisions.values()]) <= MOST_TRIED)
    expected = _all_genotypes(space)
    listed = list(enumerate_genotypes(space))
    assert {frozenset(genotype.items) for genotype in listed} == expected
    assert len(listed) == len(expected)
    found = count(space)
    assert (found.genotypes, found.bound) == (len(expected), False)
    rng = Random(seed)
    for _ in range(20):
        assert frozenset(sample(space, rng).items) in expected
    if not space.requires:
        assert sum(_probability(space, genotype) for genotype in listed) == 1
        _check_closure(space, expected, listed[0], rng)


def _probability(space: Graph, genotype: Genotype) -> Fraction:
    """How often it is drawn: each reached decision uniformly, whatever the others are."""
    return Fraction(1, prod([space.decisions[key].count() for key, _ in genotype.items]))


def _check_closure(
    space: Graph, expected: set[frozenset[tuple[str, Setting]]], start: Genotype, rng: Random
) -> None:
    """From any genotype, mutations lead to every other one."""
    if not 1 < len(expected) <= 40:
        return
    seen = {frozenset(start.items)}
    frontier = [start]
    for _ in range(400 * len(expected)):
        if len(seen) == len(expected):
            break
        mutant = mutate(space, frontier[rng.randrange(len(frontier))], rng)
        items = frozenset(mutant.items)
        if items not in seen:
            seen.add(items)
            frontier.append(mutant)
    assert seen == expected


@some(200)
@given(open_graphs())
def test_decisions_at_several_sites_are_counted_as_by_trying_all(space: Graph) -> None:
    assume(prod([d.count() for d in space.decisions.values()]) <= MOST_TRIED)
    expected = _all_genotypes(space)
    listed = list(enumerate_genotypes(space))
    assert {frozenset(genotype.items) for genotype in listed} == expected
    assert count(space).genotypes == len(listed) == len(expected)
    assert sum(_probability(space, genotype) for genotype in listed) == 1
    for genotype in listed[:20]:
        assert specialise(space, genotype).settled
        assert parse_graph(print_graph(specialise(space, genotype))) is specialise(space, genotype)
    assert parse_graph(print_graph(space)) is space
