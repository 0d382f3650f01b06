"""Random spaces as `.fuse` text: what the property tests are about.

Every text checks by construction: the writer knows the shape of each value that it has written.
Texts hold inputs of several ranks, named sizes, composites with attributes and decisions of their
own, families and loops, every kind of decision, open numbers, tied choices, shared weights,
depth as a choice, dead branches, requirements and comments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from hypothesis import strategies as st

from fusegraph.ir.dsl import Program, loads

T = TypeVar("T")
Size = int | str
Shape = tuple[Size, ...]
"""All sizes of a value but the batch's: numbers, or names that the text defines."""

SIZES = {"N": 3, "T": 6}
OTHER_SIZES = {"N": 1, "T": 9}
"""What the named sizes are bound to when a network runs."""

ACTIVATIONS = ("abs", "gelu", "leaky_relu", "relu", "sigmoid", "silu", "softplus", "tanh")
BOUNDED = (
    "exp(tanh({}))", "sqrt(abs({}) + 1)", "log(softplus({}) + 1)", "softmax({}, axis=1)",
    "log_softmax({}, axis=1)", "{0} / (abs({0}) + 1)", "{} * 0.5", "1 - {}",
)  # fmt: skip
"""Functions of one value that stay finite and well conditioned."""
STEPS = ("zero", "sum", "attention", "linear_glu", "concat_fc")


@dataclass(frozen=True)
class Value:
    """A tensor that the text has given a name."""

    text: str
    shape: Shape


@dataclass
class Writer:
    """A text in the making: what is written, what can be used, how many decisions are left."""

    draw: st.DrawFn
    decisions: int
    widths: list[Size]
    prefix: str = "v"
    lines: list[str] = field(default_factory=list[str])
    values: list[Value] = field(default_factory=list[Value])
    cells: list[tuple[str, int, int]] = field(default_factory=list[tuple[str, int, int]])
    activations: list[str] = field(default_factory=list[str])
    shares: dict[Shape, tuple[str, Shape]] = field(default_factory=dict[Shape, tuple[str, Shape]])
    count: int = 0

    # ── drawing ──────────────────────────────────────────────────────────────────────────────────

    def one(self, options: Sequence[T]) -> T:
        return self.draw(st.sampled_from(options))

    def chance(self) -> bool:
        return self.draw(st.booleans())

    def width(self) -> Size:
        return self.one(self.widths)

    def some(self, values: Sequence[Value], least: int, most: int = 3) -> list[Value]:
        """That many of them, all different."""
        size = self.draw(st.integers(least, min(most, len(values))))
        return self.draw(
            st.lists(st.sampled_from(values), min_size=size, max_size=size, unique=True)
        )

    def of_rank(self, rank: int) -> Value | None:
        found = [v for v in self.values if len(v.shape) == rank]
        return self.one(found) if found else None

    def alike(self, least: int, beyond: int = 0) -> list[Value]:
        """Values of one shape, the first `beyond` sizes apart."""
        groups: dict[tuple[int, Shape], list[Value]] = {}
        for value in self.values:
            group = groups.setdefault((len(value.shape), value.shape[beyond:]), [])
            if all(v.text != value.text for v in group):
                group.append(value)
        large = [group for group in groups.values() if len(group) >= least]
        return self.one(large) if large else []

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def name(self) -> str:
        self.count += 1
        return f"{self.prefix}{self.count}"

    def decide(self) -> str:
        """A decision's name."""
        self.decisions -= 1
        return f"?{self.name()}"

    def add(self, expression: str, shape: Shape) -> Value:
        name = self.name()
        self.lines.append(f"{name} = {expression}")
        self.values.append(Value(name, shape))
        return self.values[-1]


Rule = Callable[[Writer], None]

# ── statements without decisions ─────────────────────────────────────────────────────────────────


def _vector(w: Writer, value: Value) -> str:
    """The value as a vector of a known width, in whatever rank it comes."""
    axes = {1: "", 2: "axis=2", 3: "axis=(2, 3)"}[len(value.shape)]
    reduce = w.one(("mean", "amax", "total")) if axes else ""
    return f"{reduce}({value.text}, {axes})" if axes else value.text


def _mapped(w: Writer, text: str, shape: Shape, width: Size) -> tuple[str, Shape]:
    axis = "" if len(shape) == 1 else ", axis=1"
    bias = ", bias=false" if w.chance() else ""
    return f"linear({text}, out={width}{axis}{bias})", (width, *shape[1:])


def activation(w: Writer) -> None:
    value = w.one(w.values)
    forms = (*BOUNDED, *[f"{op}({{}})" for op in (*w.activations, *ACTIVATIONS)])
    w.add(w.one(forms).format(value.text), value.shape)


def linear(w: Writer) -> None:
    value = w.one(w.values)
    w.add(*_mapped(w, value.text, value.shape, w.width()))


def norm(w: Writer) -> None:
    value = w.one(w.values)
    ops = ["batch_norm({})", "group_norm({}, groups=1)"]
    if all(isinstance(size, int) or size not in ("T", "L") for size in value.shape):
        ops.append("layer_norm({})")
    w.add(w.one(ops).format(f"linear({value.text}, out=4, axis=1)"), (4, *value.shape[1:]))


def arithmetic(w: Writer) -> None:
    pair = w.alike(2)
    if not pair:
        return
    x, y = w.some(pair, 2, 2)
    form = w.one(("{} + {}", "{} * {}", "{} - {}", "maximum({}, {})", "sum({0}, {1}, {0})"))
    w.add(form.format(x.text, y.text), x.shape)


def gated(w: Writer) -> None:
    value = w.one(w.values)
    w.add(f"{value.text} * sigmoid(mean({value.text}, axis=1, keep=true))", value.shape)


def concatenated(w: Writer) -> None:
    several = w.alike(2, 1)
    if several:
        chosen = w.some(several, 2)
        text = f"concat({', '.join([v.text for v in chosen])})"
        w.add(*_mapped(w, text, chosen[0].shape, w.width()))


def to_vector(w: Writer) -> None:
    value = w.one(w.values)
    w.add(f"relu({_vector(w, value)})", value.shape[:1])


def flattened(w: Writer) -> None:
    value = w.one(w.values)
    if not {"T", "L"} & set(value.shape):
        w.add(*_mapped(w, f"flatten({value.text})", (0,), w.width()))


def convolution(w: Writer) -> None:
    value = w.of_rank(3) or w.of_rank(2)
    if value is None:
        return
    width = w.width()
    extra = w.one(("", ", dilation=1", ", bias=false"))
    same = f"conv({value.text}, out={width}, kernel=3, pad=1{extra})"
    w.add(same, (width, *value.shape[1:]))


def pooled(w: Writer) -> None:
    value = w.of_rank(3)
    if value is None:
        return
    ops = ("max_pool({}, kernel=2)", "avg_pool({}, kernel=(1, 2), stride=1, pad=((0, 0), (1, 0)))")
    adaptive = ("adaptive_avg_pool({}, size=(2, 1))", "adaptive_max_pool({}, size=2)")
    options = ops if "T" in value.shape else (*ops, *adaptive)
    inner = w.one(options).format(value.text)
    w.add(f"mean({inner}, axis=(2, 3))", value.shape[:1])


def moved(w: Writer) -> None:
    value = w.of_rank(2)
    if value is not None:
        w.add(f"transpose(tanh(transpose({value.text})))", value.shape)


def reshaped(w: Writer) -> None:
    """Shapes changed and changed back, padded, or stretched to meet another value."""
    value = w.one(w.values)
    size = value.shape[0]
    if len(value.shape) == 1:
        w.add(f"flatten(reshape({value.text}, shape=(N, 1, {size})))", value.shape)
    elif len(value.shape) == 2:
        column = f"mean({value.text}, axis=2, keep=true)"
        w.add(f"expand({column}, axis=2, size={value.shape[1]}) + {value.text}", value.shape)
    else:
        padded = f"pad({value.text}, pad=((1, 0), (0, 2)))"
        w.add(f"avg_pool({padded}, kernel=(2, 3), stride=1)", value.shape)


def learned(w: Writer) -> None:
    """A table that depends on no input, added to each sample."""
    value = w.one(w.values)
    if not {"T", "L"} & set(value.shape):
        sizes = ", ".join(["1", *map(str, value.shape)])
        w.add(f'{value.text} + parameter(shape=({sizes}), init="normal")', value.shape)


def sliced(w: Writer) -> None:
    value = w.one(w.values)
    if isinstance(value.shape[0], int) and value.shape[0] > 2:
        size = value.shape[0] - 1
        text = w.one(("start=1", "stop=-1"))
        w.add(f"slice({value.text}, axis=1, {text})", (size, *value.shape[1:]))


def noisy(w: Writer) -> None:
    value = w.one(w.values)
    w.add(f"{w.one(('dropout', 'drop_path'))}({value.text}, p=0.25)", value.shape)


def called(w: Writer) -> None:
    """A composite: one of the file's, or one of the standard library's steps."""
    if w.cells and w.chance():
        name, rank, arity = w.one(w.cells)
        pair = [v for v in w.alike(1) if len(v.shape) == rank]
        if pair:
            operands = ", ".join([w.one(pair).text for _ in range(arity)])
            attribute = w.one(("", f", hidden={w.width()}"))
            w.add(f"{name}({operands}{attribute})", pair[0].shape)
            return
    value = w.of_rank(2)
    if value is not None:
        w.add(f"{w.one(STEPS[2:])}({value.text}, {value.text})", value.shape)


def shared(w: Writer) -> None:
    """Two uses of the same weights, as in a siamese pair."""
    pair = [v for v in w.alike(2) if len(v.shape) == 1]
    if not pair:
        return
    name, width = w.name(), w.width()
    w.lines.append(f"share {name} = linear(out={width})")
    for value in w.some(pair, 2):
        w.add(f"{name}({value.text})", (width,))


# ── statements with decisions ────────────────────────────────────────────────────────────────────


def _braces(values: Sequence[Value]) -> str:
    return "{" + ", ".join([v.text for v in values]) + "}"


def pick_value(w: Writer) -> None:
    several = w.alike(2)
    if several:
        chosen = w.some(several, 2)
        w.add(f"tanh({w.decide()} of {_braces(chosen)})", chosen[0].shape)


def pick_width(w: Writer) -> None:
    several = w.alike(2, 1)
    if several:
        chosen = w.some(several, 2)
        text = f"{w.decide()} of {_braces(chosen)}"
        w.add(*_mapped(w, text, chosen[0].shape, w.width()))


def pick_op(w: Writer) -> None:
    value = w.one(w.values)
    ops = ["relu", "tanh", "leaky_relu(slope=0.2)", "dropout(p=0.25)"]
    if isinstance(value.shape[0], int) and len(value.shape) == 1:
        ops.append(f"linear(out={value.shape[0]})")
    ops += [name for name, rank, arity in w.cells if rank == len(value.shape) and arity == 1]
    chosen = w.draw(st.lists(st.sampled_from(ops), min_size=2, max_size=3, unique=True))
    w.add(f"{w.decide()} of {{{', '.join(chosen)}}}({value.text})", value.shape)


def pick_step(w: Writer) -> None:
    """A cell's step as BM-NAS has it: op and both inputs open."""
    several = w.alike(1)
    if not several:
        return
    rank = len(several[0].shape)
    ops = list(STEPS) if rank == 2 else ["sum", "mul", "sub", "maximum"]
    ops += [name for name, of, arity in w.cells if of == rank and arity == 2]
    chosen = w.draw(st.lists(st.sampled_from(ops), min_size=2, max_size=4, unique=True))
    head = f"{w.decide()} of {{{', '.join(chosen)}}}"
    sides = [_side(w, several) for _ in range(2)]
    w.add(f"{head}({', '.join(sides)})", several[0].shape)


def _side(w: Writer, several: Sequence[Value]) -> str:
    if len(several) == 1 or w.decisions < 1 or w.chance():
        return w.one(several).text
    return f"{w.decide()} of {_braces(w.some(several, 2))}"


def take_k(w: Writer) -> None:
    same = w.chance()
    several = w.alike(2, 0 if same else 1)
    if not several:
        return
    chosen = w.some(several, 2, 4)
    repeats = " repeats" if len(chosen) == 2 or w.chance() else ""
    text = f"{w.decide()} 2 of {_braces(chosen)}{repeats}"
    _gathered(w, text, chosen, same)


def take_some(w: Writer) -> None:
    same = w.chance()
    several = w.alike(2, 0 if same else 1)
    if several:
        chosen = w.some(several, 2)
        _gathered(w, f"{w.decide()} some of {_braces(chosen)}", chosen, same)


def _gathered(w: Writer, text: str, chosen: Sequence[Value], same: bool) -> None:
    shape = chosen[0].shape
    if same:
        w.add(f"{w.one(('sum', 'mul', 'maximum'))}({text})", shape)
    elif len(shape) == 1:
        width = w.width()
        w.add(f"gather({text}, out={width})", (width,))
    else:
        w.add(*_mapped(w, f"concat({text})", shape, w.width()))


def open_attribute(w: Writer) -> None:
    value = w.one(w.values)
    forms = [
        ("leaky_relu({x}, slope={d} of {{0.1, 0.3}})", 1),
        ("dropout({x}, p={d} of {{0.1, 0.5}})", 1),
        ("{x} * ({d} of {{1, 2, 0.5}})", 1),
    ]
    if len(value.shape) == 1:
        forms.append(("linear(linear({x}, out={d} of {{2, 3..4}}), out={w})", 0))
    if len(value.shape) == 3:
        kernels = "{{(1, 2), (2, 1), (3, 3)}}"
        forms.append((f"mean(conv({{x}}, out={{w}}, kernel={{d}} of {kernels}), axis=(2, 3))", 0))
        pool = "mean(max_pool({x}, kernel={d} of {{1, 2}}), axis=(2, 3))"
        forms.append((f"linear({pool}, out={{w}})", 0))
    form, keeps = w.one(forms)
    width = w.width()
    text = form.format(x=value.text, d=w.decide(), w=width)
    w.add(text, value.shape if keeps else (width,))


def tower(w: Writer) -> None:
    """A loop over a family, each layer on the one before, and the depth open."""
    several = [v for v in w.alike(1, 1) if len(v.shape) == 1]
    if not several or w.decisions < 3:
        return
    family, width, last = w.name(), w.width(), w.draw(st.integers(2, 3))
    sources = w.some(several, 1)
    source = f"{w.decide()} of {_braces(sources)}" if len(sources) > 1 else sources[0].text
    act = w.one(("relu", f"{w.decide()} of {{relu, tanh}}", *w.activations))
    w.lines += [
        f"{family}[1] = {act}(linear({source}, out={width}))",
        f"for i in 2..{last} {{",
        f"  {family}[i] = {act}(linear(concat({source}, {family}[i - 1]), out={width}))",
        "}",
    ]
    w.decisions -= 2
    if w.chance():
        w.add(f"relu({w.decide()} of {family}[*])", (width,))
    else:
        w.add(f"sum({w.decide()} some of {family}[<{last}], {family}[{last}])", (width,))


PLAIN: tuple[Rule, ...] = (
    concatenated, arithmetic, called, shared, norm, convolution, pooled, flattened, gated,
    activation, reshaped, learned, to_vector, sliced, moved, noisy, linear,
)  # fmt: skip
OPEN: tuple[Rule, ...] = (
    pick_step, take_k, take_some, pick_op, pick_width, tower, pick_value, open_attribute,
)  # fmt: skip
"""Rules, those that make the most of a space first: hypothesis draws these most often."""

# ── whole texts ──────────────────────────────────────────────────────────────────────────────────

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


def _cell(draw: st.DrawFn, name: str, rank: int, arity: int, decisions: int) -> list[str]:
    """A composite with a typed boundary, an attribute and perhaps decisions."""
    boundary: Shape = ("C", "L")[:rank]
    w = Writer(draw, decisions, ["C", "hidden", 3], prefix="u")
    w.values = [Value(name, boundary) for name in ("x", "y")[:arity]]
    _body(w, draw(st.integers(1, 3)))
    last = w.values[-1]
    if last.shape != boundary:
        text, shape = _mapped(w, _vector(w, last), last.shape[:1], "C")
        w.add(text if rank == 1 else f"x * reshape({text}, shape=(N, C, 1))", shape)
    sizes = ", ".join(["N", *map(str, boundary)])
    operands = ", ".join([f"{v}: f32[{sizes}]" for v in ("x", "y")[:arity]])
    result = f"return {w.values[-1].text}"
    return [
        f"cell {name}({operands}; hidden: int = 2) -> f32[{sizes}] {{",
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
        head += _cell(draw, name, rank, arity, w.decisions // 3)
        w.cells.append((name, rank, arity))
    _inputs(w)
    _open_numbers(w)
    _body(w, draw(st.integers(4, 9)))
    ends = _unused(w) if w.draw(st.integers(0, 4)) else w.some(w.values, 1)
    ending = ", ".join([_vector(w, v) for v in ends])
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
