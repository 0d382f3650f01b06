"""Counting where sizes, subsets and k-of decisions meet: closed forms, and one by one."""

from __future__ import annotations

from math import comb

import pytest

from fusegraph.compiler.count import count
from fusegraph.compiler.explore import enumerate_genotypes
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.dsl import loads
from fusegraph.ir.graph import Graph

THREE = """
  h[1] = ?a of {relu, tanh}(x)
  h[2] = ?a of {relu, tanh}(x)
  h[3] = ?a of {relu, tanh}(h[1])"""


def _space(body: str) -> Graph:
    return loads(f"fuse 1\nspace s {{\n  dim N\n  input x: f32[N, 8]\n{body}\n}}").graph


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        ("?k some of {h[*]}", 2**60 - 1),
        ("?k 20 of {h[*]}", comb(60, 20)),
        ("?k 20 of {h[*]} repeats", comb(79, 20)),
    ],
)
def test_sets_of_many_computed_features_are_counted_at_once(decision: str, expected: int) -> None:
    space = _space(
        f"""  for l in 1..60 {{ h[l] = relu(linear(x, out=8)) }}
  output o = sum({decision})"""
    )
    assert count(space).genotypes == expected


def test_a_space_in_which_every_layer_takes_any_layers_below_is_counted() -> None:
    # With a[l] the number of ways to settle layers up to l from a set of needed ones, by hand for
    # three layers: {0}, {1}, {0, 1} of which two reach layer 1, and so on.
    body = """  h[0] = x
  for l in 1..LAYERS { h[l] = tanh(sum(?a some of {h[<l]})) }
  output o = h[LAYERS]"""
    for layers in (2, 3, 4):
        space = _space(body.replace("LAYERS", str(layers)))
        assert count(space).genotypes == sum(1 for _ in enumerate_genotypes(space))
    assert count(_space(body.replace("LAYERS", "14"))).genotypes > 10**30


@pytest.mark.parametrize(
    "body",
    [
        f"{THREE}\n  output o = sum(?k 2 of {{h[*]}})",
        f"{THREE}\n  output o = sum(?k 3 of {{h[*]}} repeats)",
        f"{THREE}\n  output o = sum(?k some of {{h[*]}})",
        f"""  cell f(a: f32[N, C], b: f32[N, C]) {{ return a + ?z of {{relu, tanh}}(b) }}{THREE}
  output o = f(?k 2 of {{h[*]}})""",
    ],
)
def test_sets_count_what_their_members_decide(body: str) -> None:
    space = _space(body)
    genotypes = list(enumerate_genotypes(space))
    assert len(set(genotypes)) == count(space).genotypes


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # The size of an open tap: the tap's decision is met as a number and as a choice.
        (
            """  input a[1]: f32[N, 6]
  input a[2]: f32[N, 9]
  t = ?tap of a[*]
  output o = t + relu(linear(x, out=size(t, 1)))""",
            2,
        ),
        # `w` decides only where the tap that it widens is taken.
        (
            """  input a: f32[N, 6]
  t = ?tap of {a, relu(linear(a, out=?w of {3, 4}))}
  output o = t + tanh(linear(x, out=size(t, 1)))""",
            3,
        ),
        # The same in a subset: {a, w, c} with w of two widths, 2 * 4 + 3.
        (
            """  input a: f32[N, 6]
  input c: f32[N, 5]
  t = concat(?taps some of {a, relu(linear(a, out=?w of {3, 4})), c})
  output o = t + tanh(linear(x, out=size(t, 1)))""",
            11,
        ),
    ],
)
def test_open_sizes_need_only_what_decides_them(body: str, expected: int) -> None:
    space = _space(body)
    networks = {specialise(space, genotype) for genotype in enumerate_genotypes(space)}
    assert count(space).genotypes == len(networks) == expected
