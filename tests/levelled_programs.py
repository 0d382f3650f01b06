"""Random spaces with `levels`, small enough to run: what the tests of levelled graphs are about."""

from __future__ import annotations

from hypothesis import strategies as st

_CELLS = """
cell take(x[*]; out: int) {
  for i in 1..count(x[*]) {
    w[i] = linear(x[i], out=out) * sigmoid(parameter(shape=(1, 1), init="truncated_normal", std=1))
  }
  return sum(w[*])
}
cell same(x; out: int) { return relu(linear(x, out=out)) }
cell deep(x; out: int) { return same(same(x, out=2 * out), out=out) }
"""

_TEMPLATES = (
    "same({taken}, out=width)",
    "(?kind of {{same, deep}})({taken}, out=width)",
    "same(?act of {{relu, sigmoid}}({taken}), out=width)",
    "linear(linear({taken}, out=?hidden of {{2, 3, 5}}), out=width)",
)
_STEMS = (
    "linear(a, out=width)",
    "?source of {{a: linear(a, out=width), b: same(b, out=width)}}",
    "?source of {{a: linear(linear(a, out=?mid of {{2, 4}}), out=width), b: linear(b, out=width)}}",
)


@st.composite
def levelled_programs(draw: st.DrawFn, most_levels: int = 4, most_parts: int = 8) -> str:
    """The text of a space with `levels`; each level's width has up to `most_parts` least shares."""
    count = draw(st.integers(2, most_levels))
    lines: list[str] = []
    for number in range(count):
        least = draw(st.sampled_from([1, 2, 3]))
        parts = draw(st.sampled_from([p for p in (1, 2, 4, 8) if p <= most_parts]))
        lower = f"v[<{number}]" if draw(st.booleans()) else f"v[{number - 1}][*]"
        template = draw(st.sampled_from(_TEMPLATES if number else _STEMS))
        text = template.format(taken=f"take(?from some of {lower}, out=3)")
        if number == 0:
            text = template.format()
        lines.append(f"    level {number} width {least * parts} least {least} {{ {text} }}")
    open_head = draw(st.booleans())
    last = f"v[{count - 1}][*]"
    read = last if draw(st.booleans()) else f"v[{count - 2}][*], {last}"
    head = "?head of {relu, sigmoid}" if open_head else "relu"
    return "\n".join(
        [
            "fuse 1", _CELLS, "space levelled {", "  dim N",
            "  input a: f32[N, 3]", "  input b: f32[N, 5]", "  levels v {", *lines, "  }",
            f"  output y = linear({head}(concat({read})), out=2)", "}",
        ]
    )  # fmt: skip
