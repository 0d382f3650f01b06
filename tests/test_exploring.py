"""Moving about in spaces whose `require` leaves little room."""

from __future__ import annotations

from random import Random

from fusegraph.compiler.explore import complete, cross, enumerate_genotypes, mutate, sample
from fusegraph.ir.dsl import loads
from fusegraph.ir.genotype import Genotype
from fusegraph.ir.graph import Graph


def _space(body: str) -> Graph:
    return loads(f"fuse 1\nspace s {{\n  dim N\n  input x: f32[N, 4]\n{body}\n}}").graph


EQUAL = _space("""
  let a = ?a of {1, 2, 3}
  let b = ?b of {1, 2, 3}
  require a == b
  output y = linear(linear(x, out=a), out=b)""")

ALONE = _space("""
  let a = ?a of {1, 2, 3}
  require a == 2
  output y = linear(x, out=a)""")


def _widths(genotypes: list[Genotype]) -> set[tuple[int, ...]]:
    return {tuple([index for _, (index,) in genotype.items]) for genotype in genotypes}


def test_where_no_single_change_is_allowed_several_are_made_at_once() -> None:
    rng = Random(0)
    start = next(enumerate_genotypes(EQUAL))
    assert _widths([start]) == {(0, 0)}
    assert _widths([mutate(EQUAL, start, rng) for _ in range(20)]) == {(1, 1), (2, 2)}


def test_a_genotype_without_another_one_mutates_to_itself() -> None:
    genotype = sample(ALONE, Random(0))
    assert mutate(ALONE, genotype, Random(0)) == genotype
    settled = _space("  output y = relu(x)")
    only = sample(settled, Random(0))
    assert only.items == ()
    assert mutate(settled, only, Random(0)) == only


def test_a_child_satisfies_what_both_parents_do() -> None:
    rng = Random(0)
    first, _, second = enumerate_genotypes(EQUAL)
    children = [cross(EQUAL, first, second, rng) for _ in range(40)]
    assert _widths(children) == {(0, 0), (2, 2)}


def test_without_a_child_that_satisfies_a_parent_comes_back() -> None:
    # Forty widths that must all be equal: a mixture of two parents hardly ever is.
    widths = "".join([f"  let w{i} = ?w{i} of {{2, 3}}\n" for i in range(40)])
    equal = "".join([f"  require w{i} == w0\n" for i in range(1, 40)])
    space = _space(f"{widths}{equal}  output y = linear(x, out=w0)")
    first, second = (
        Genotype.of(space.digest, dict.fromkeys(space.decisions, s)) for s in [(0,), (1,)]
    )
    assert cross(space, first, second, Random(0)) in (first, second)
    assert mutate(space, first, Random(0)) == first


def test_complete_leaves_out_what_is_not_reached_and_fills_in_what_is() -> None:
    space = _space("""
  a = ?act of {relu, tanh}(x)
  b = linear(x, out=?w of {2, 3})
  output y = linear(?from of {a, b}, out=2)""")
    given = {"y.from": (1,), "a.act": (1,)}
    found = complete(space, given, lambda decision: next(decision.settings()))
    assert found.settings == {"y.from": (1,), "b.w": (0,)}
