"""Sizes and numbers of several tensors at once, and loops over what they hold."""

from __future__ import annotations

import pytest

from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import loads
from fusegraph.ir.graph import Graph

TEXT = """fuse 1
{cells}
space many {{
  dim N
  input a: f32[N, 4, 8]
  input b: f32[N, 6, 8]
  input c: f32[N, 4, 2]
  {body}
}}
"""


def _graph(body: str, cells: str = "") -> Graph:
    return loads(TEXT.format(body=body, cells=cells)).graph


def _type(body: str, cells: str = "") -> str:
    return _graph(body, cells).outputs[0][1].type.pretty


def test_sizes_of_several_tensors_stand_wherever_several_numbers_may() -> None:
    assert _type("output y = linear(a, out=max(size(a, b, c, 1)))") == "f32[N, 4, 6]"
    assert _type("let s = (size(a, b, 1), 9)  output y = linear(a, out=s[2] * s[3])") == (
        "f32[N, 4, 54]"
    )


def test_sizes_of_a_family_and_how_many_it_has_are_known_in_a_cell() -> None:
    cell = """cell last(x[*]) {
  return linear(x[count(x[*])], out=min(size(x[*], 2)) + count(x[*], x[1]))
}"""
    assert _type("output y = last(a, c, b)", cell) == "f32[N, 6, 6]"
    assert _type("output y = last(a)", cell) == "f32[N, 4, 10]"


def test_one_tensor_has_one_size() -> None:
    assert _type("output y = linear(a, out=size(a, -1) + 1)") == "f32[N, 4, 9]"


def test_the_least_and_the_greatest_of_one_number_are_it() -> None:
    assert _type("output y = linear(a, out=min(3) + max(4))") == "f32[N, 4, 7]"


def test_nothing_counts_zero() -> None:
    assert _type("h[1] = a  output y = linear(a, out=1 + count(h[<1]))") == "f32[N, 4, 1]"


def test_a_loop_takes_each_number_once_in_the_order_of_their_first() -> None:
    body = """for w in {size(a, b, c, 1), 9, 4} { h[w] = linear(a, out=w) }
  output y = concat(h[*], axis=2)"""
    assert _type(body) == "f32[N, 4, 19]"


def test_layers_can_be_grouped_by_a_size() -> None:
    cell = """cell grouped(x[*]) {
  for i in 1..count(x[*]) { same[size(x[i], 1)][i] = x[i] }
  for w in {size(x[*], 1)} { joined[w] = concat(same[w][*], axis=2) }
  return concat(mean(joined[4], axis=1), mean(joined[6], axis=1))
}"""
    assert _type("output y = grouped(a, b, c)", cell) == "f32[N, 18]"


def test_names_of_ones_own_hide_the_functions() -> None:
    assert _type("let count = 3  output y = linear(a, out=count)") == "f32[N, 4, 3]"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("size(a)", "`size` takes tensors and an axis"),
        ("size(a, axis=1)", "`size` takes tensors and an axis"),
        ("size(a, c, 3)", "no such axis in f32"),
        ("size(a, 1, 2)", "a tensor is needed here, not the number 1"),
        ("count(a, axis=1)", "there is no name `count` here"),
        ("size(a, b, 1)", "takes a whole number"),
    ],
)
def test_what_is_no_size_is_an_error(call: str, message: str) -> None:
    with pytest.raises(FusegraphError, match=message):
        _graph(f"output y = linear(a, out={call})")
