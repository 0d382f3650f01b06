"""Specialising: exactly what a genotype reaches is there, and what it lacks is told."""

from __future__ import annotations

import pytest

from fusegraph.compiler.count import count
from fusegraph.compiler.explore import enumerate_genotypes
from fusegraph.compiler.specialise import Specialiser, specialise
from fusegraph.ir.dsl import loads

OPERAND_LEFT_OUT = """fuse 1
space s {
  dim N
  input x: f32[N, 4]
  cell g(x: f32[N, C], y: f32[N, C]; width: int) -> f32[N, C] {
    return sum(?left of {x, y}, ?right of {x, y})
  }
  a = ?act of {relu, tanh}(x)
  output o = g(x, a, width=?width of {1, 2})
}
"""


def test_decisions_above_an_operand_that_nothing_reaches_need_no_setting() -> None:
    space = loads(OPERAND_LEFT_OUT).graph
    genotypes = list(enumerate_genotypes(space))
    assert len(genotypes) == count(space).genotypes == 7
    for genotype in genotypes:
        network = specialise(space, genotype)
        assert network.settled
        taken = {genotype.settings[key] for key in ("o.left", "o.right")}
        (root,) = network.roots
        assert len(root.inputs) == len(taken)


def test_a_missing_setting_is_told_even_after_the_same_network_was_made() -> None:
    space = loads(OPERAND_LEFT_OUT).graph
    specialiser = Specialiser(space)
    settings = {"o.left": (0,), "o.right": (1,), "a.act": (0,)}
    assert specialiser(settings) is specialiser(settings)
    for key in settings:
        with pytest.raises(KeyError, match=key):
            specialiser({k: v for k, v in settings.items() if k != key})


def test_one_changed_decision_shares_the_rest() -> None:
    space = loads(
        """fuse 1
space s {
  dim N
  input x: f32[N, 4]
  a = linear(x, out=?width of {3, 5})
  b = ?act of {relu, tanh}(a)
  output o = b
}
"""
    ).graph
    first = specialise(space, {"a.width": (0,), "b.act": (0,)})
    second = specialise(space, {"a.width": (0,), "b.act": (1,)})
    assert first is not second
    assert first.roots[0].inputs[0] is second.roots[0].inputs[0]
