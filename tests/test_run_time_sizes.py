"""Sizes with named axes are written the simplest way, and are worth the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dims import floordiv, symbol, text_of
from fusegraph.ir.dsl import loads
from fusegraph.ir.settling import bind
from generators import some

STRIDED = """fuse 1
space strided {
  dim N, T
  input x: f32[N, 2, 4 * T]
  output y = conv(x, out=2, kernel=%d, stride=%d, pad=%d)
}
"""


def _frames(kernel: int, stride: int, pad: int) -> str:
    ((_, node),) = loads(STRIDED % (kernel, stride, pad)).graph.outputs
    return text_of(node.type.shape[-1])


@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "frames"),
    [(5, 4, 2, "T"), (1, 4, 0, "T"), (3, 2, 1, "2*T"), (4, 4, 2, "T + 1"), (5, 1, 2, "4*T")],
)
def test_a_stride_that_divides_named_frames_divides_their_number(
    kernel: int, stride: int, pad: int, frames: str
) -> None:
    assert _frames(kernel, stride, pad) == frames


def test_a_stride_that_does_not_divide_them_stays_written() -> None:
    assert _frames(3, 3, 1) == "((4*T - 1) // 3) + 1"
    with pytest.raises(FusegraphError, match="returns"):
        loads(
            "fuse 1\ncell third(x: f32[N, C, T]) -> f32[N, C, T // 3] {\n"
            "  return conv(x, out=C, kernel=1, stride=3)\n}\n"
            "space s {\n  dim N, T\n  input x: f32[N, 2, 4 * T]\n  output y = third(x)\n}\n"
        )


@some(200)
@given(
    st.tuples(*[st.integers(-9, 9)] * 4),
    st.integers(-6, 6).filter(bool),
    st.integers(1, 7),
    st.integers(1, 7),
)
def test_a_quotient_is_worth_the_same_however_it_is_written(
    factors: tuple[int, ...], divisor: int, t: int, n: int
) -> None:
    a, b, c, d = factors
    time, batch = symbol("T"), symbol("N")
    written = floordiv(time * a + batch * b + time * batch * c + d, divisor)
    assert bind(written, {"T": t, "N": n}) == (t * a + n * b + t * n * c + d) // divisor
