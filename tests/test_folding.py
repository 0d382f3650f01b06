"""A size that is the same under every setting is that size, and no open one."""

import pytest

from fusegraph.ir.decisions import OpenNumber
from fusegraph.ir.dims import Static, pick, symbol
from fusegraph.ir.dsl import loads
from fusegraph.ir.folding import MOST_DECISIONS, folded
from fusegraph.ir.types import tensor


def kernel(name: str = "k") -> Static:
    return pick(OpenNumber(name, ("1", "3", "5")), 0, (1, 3, 5))


def after(size: Static, kernel: Static, stride: int = 1) -> Static:
    return (size + 2 * (kernel // 2) - kernel) // stride + 1


def same(size: Static) -> Static:
    return size + 2 * ((kernel() - 1) // 2) - kernel() + 1


N = symbol("N")
WIDTH = pick(OpenNumber("w", ("8", "16")), 0, (8, 16))


@pytest.mark.parametrize(
    ("size", "only"),
    [
        (8, 8),
        (N, N),
        (after(8, kernel()), 8),
        (after(after(8, kernel("a")), kernel("b")), 8),
        (after(9, kernel(), 2), 5),
        (after(N, kernel()), N),
        (after(WIDTH, kernel()), WIDTH),
        (kernel() % 2, 1),
        (WIDTH, WIDTH),
    ],
)
def test_what_no_setting_changes_is_folded(size: Static, only: Static) -> None:
    assert folded(size) is only or folded(size) == only


def test_a_type_holds_folded_sizes() -> None:
    size = after(8, kernel())
    assert not isinstance(size, int)
    assert tensor("f32", (N, size)) is tensor("f32", (N, 8))  # pyright: ignore[reportArgumentType]


def test_an_expression_without_a_value_under_a_setting_is_left() -> None:
    broken = 8 // (kernel() - 1)
    assert folded(broken) is broken


def test_a_size_with_very_many_decisions_is_left() -> None:
    size = 8
    for number in range(MOST_DECISIONS + 1):
        size = after(size, kernel(f"k{number}"))
    assert folded(size) is size


def test_a_long_chain_of_open_kernels_keeps_its_size() -> None:
    body = """fuse 1
space chain {
  dim N
  input x: f32[N, 4, 8]
  h[0] = x
  for l in 1..20 {
    let k = ?k of {1, 3, 5}
    h[l] = relu(conv(h[l-1], out=4, kernel=k, pad=k//2))
  }
  output y = h[20]
}
"""
    graph = loads(body).graph
    assert graph.roots[0].type.text == "f32[N, 4, 8]"
    assert len(graph.decisions) == 20


@pytest.mark.parametrize(
    ("pad", "size"), [("k//2", 2), ("0", 2)], ids=["a size that is known", "sizes that are open"]
)
def test_what_open_kernels_leave_is_pooled(pad: str, size: int) -> None:
    body = f"""fuse 1
space pooled {{
  dim N
  input i: f32[N, 3, 8, 8]
  let k = ?k of {{1, 3, 5}}
  z = adaptive_avg_pool(conv(i, out=4, kernel=k, pad={pad}), size={size})
  output y = z
}}
"""
    assert loads(body).graph.roots[0].type.text == "f32[N, 4, 2, 2]"
