"""Random spaces as `.fuse` text: what the property tests are about.

Every text checks by construction: the writer knows the shape of each value that it has written.
Texts hold inputs of several ranks, named sizes, composites with attributes and decisions of their
own, families and loops, every kind of decision, open numbers, tied choices, shared weights,
depth as a choice, dead branches, requirements and comments.
"""

from __future__ import annotations

import re

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from fuse_rules import OPEN, PLAIN, mapped, vector
from fuse_writer import Shape, Value, Writer
from fusegraph.ir.dsl import Program, loads

SIZES = {"N": 3, "T": 6}
OTHER_SIZES = {"N": 1, "T": 9}
"""What the named sizes are bound to when a network runs."""

_HEAD = (
    'use "std/bm_nas": zero, attention, linear_glu, concat_fc',
    "cell gather(x[*]; out: int) { return linear(concat(x[*]), out=out) }",
)


def _body(w: Writer, statements: int) -> None:
    """That many statements; where a rule finds nothing to work on, another one is tried."""
    for _ in range(statements):
        rules = OPEN if w.decisions > 0 and w.draw(st.integers(0, 3)) < 3 else PLAIN
        for _ in range(3):
            before = len(w.lines)
            w.one(rules)(w)
            if len(w.lines) > before:
                break


Known = list[tuple[str, int, int]]


def _cell(
    draw: st.DrawFn, name: str, rank: int, arity: int, decisions: int, known: Known
) -> list[str]:
    """A composite with a typed boundary, attributes, perhaps decisions and composites in it."""
    boundary: Shape = ("C", "L")[:rank]
    w = Writer(draw, decisions, ["C", "hidden", 3], prefix="u")
    w.activations.append("act")
    w.cells += known
    w.values = [Value(name, boundary) for name in ("x", "y")[:arity]]
    _body(w, draw(st.integers(1, 3)))
    last = w.values[-1]
    if last.shape != boundary:
        text, shape = mapped(w, vector(w, last), last.shape[:1], "C")
        w.add(text if rank == 1 else f"x * reshape({text}, shape=(N, C, 1))", shape)
    sizes = ", ".join(["N", *map(str, boundary)])
    operands = ", ".join([f"{v}: f32[{sizes}]" for v in ("x", "y")[:arity]])
    result = f"return {w.values[-1].text}"
    return [
        f"cell {name}({operands}; hidden: int = 2, act: op = relu) -> f32[{sizes}] {{",
        *[f"  {line}" for line in (*w.lines, result)],
        "}",
    ]


def _inputs(w: Writer) -> None:
    """Vectors always; sequences, maps, or looked-up words beside them."""
    for index in range(w.draw(st.integers(1, 3))):
        size = w.one((2, 3, 4))
        w.lines.append(f"input a[{index + 1}]: f32[N, {size}]")
        w.values.append(Value(f"a[{index + 1}]", (size,)))
    kind = w.one(("none", "sequence", "map", "words"))
    if kind == "sequence":
        length = w.one((2, 3, "T"))
        for name in ("p", "q"):
            w.lines.append(f"input {name}: f32[N, 4, {length}]")
            w.values.append(Value(name, (4, length)))
    elif kind == "map":
        height = w.one((4, "T"))
        w.lines.append(f"input m: f32[N, 2, {height}, 5]")
        w.values.append(Value("m", (2, height, 5)))
    elif kind == "words":
        w.lines.append("input words: i64[N, T]")
        w.add("transpose(embedding(words, rows=5, out=3))", (3, "T"))


def _open_numbers(w: Writer) -> None:
    """Numbers and ops that are decided once and used in many places."""
    if w.decisions > 1 and w.chance():
        name = w.name()
        w.decisions -= 1
        w.lines.append(f"let {name} = {w.decide()} of {{2, 3, 4}}")
        w.widths.append(name)
        if w.chance():
            bound = w.one((f"{name} <= 3", f"{name} in 3 .. 4", f"{name} % 2 == 0"))
            w.lines.append(f"require {bound}")
    if w.decisions > 1 and w.chance():
        name = w.name()
        w.lines.append(f"let {name} = {w.decide()} of {{relu, tanh}}")
        w.activations.append(name)


def _unused(w: Writer) -> list[Value]:
    """The last values that no statement reads, so that most of what is written is reached."""
    text = "\n".join(w.lines)
    named = [len(re.findall(rf"\b{re.escape(v.text)}(?!\w)", text)) for v in w.values]
    found = [value for value, times in zip(w.values, named, strict=True) if times <= 1]
    return found[-5:] or w.values[-1:]


def _commented(w: Writer, lines: list[str]) -> list[str]:
    """Comments behind some lines and above others."""
    found: list[str] = []
    for number, line in enumerate(lines):
        place = w.one(("none", "none", "none", "behind", "above", "blank"))
        if place == "above":
            found.append(f"# note {number}")
        elif place == "blank":
            found.append("")
        found.append(f"{line}  # note {number}" if place == "behind" else line)
    return found


@st.composite
def texts(draw: st.DrawFn, most_decisions: int = 6, comments: bool = False) -> str:
    """A `.fuse` file with one space, of about that many decisions at most."""
    budget = draw(st.integers(min(2, most_decisions), most_decisions))
    w = Writer(draw, budget, [2, 3, 4])
    head: list[str] = ["fuse 1", *_HEAD]
    for index in range(draw(st.integers(0, 2))):
        rank, arity = draw(st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 2)]))
        name = f"k{index + 1}"
        head += _cell(draw, name, rank, arity, w.decisions // 2, w.cells)
        w.cells.append((name, rank, arity))
    _inputs(w)
    _open_numbers(w)
    _body(w, draw(st.integers(4, 9)))
    ends = _unused(w) if w.draw(st.integers(0, 4)) else w.some(w.values, 1)
    ending = ", ".join([vector(w, v) for v in ends])
    w.lines.append(f"output logits = linear(concat({ending}), out=3)")
    if w.chance():
        w.lines.append(f"output other = {w.values[-1].text}")
    if w.chance():
        w.lines.append("require parameters <= 1000000")
    lines = [*head, "space generated {", "  dim N, T", *[f"  {line}" for line in w.lines], "}"]
    return "\n".join(_commented(w, lines) if comments else lines) + "\n"


def programs(most_decisions: int = 6) -> st.SearchStrategy[Program]:
    """Generated spaces, loaded."""
    return texts(most_decisions).map(loads)


def some(examples: int) -> settings:
    """That many examples. The health checks measure time, which a busy machine has less of."""
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(max_examples=examples, suppress_health_check=checks)
