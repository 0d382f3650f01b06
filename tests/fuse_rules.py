"""The statements of generated spaces: each rule adds one that checks, if it finds its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from fuse_writer import Shape, Size, Value, Writer

ACTIVATIONS = ("abs", "gelu", "leaky_relu", "relu", "sigmoid", "silu", "softplus", "tanh")
BOUNDED = (
    "exp(tanh({}))", "sqrt(abs({}) + 1)", "log(softplus({}) + 1)", "softmax({}, axis=1)",
    "log_softmax({}, axis=1)", "{0} / (abs({0}) + 1)", "{} * 0.5", "1 - {}",
)  # fmt: skip
"""Functions of one value that stay finite and well conditioned."""
STEPS = ("zero", "sum", "attention", "linear_glu", "concat_fc")


Rule = Callable[[Writer], None]

# ── statements without decisions ─────────────────────────────────────────────────────────────────


def vector(w: Writer, value: Value) -> str:
    """The value as a vector of a known width, in whatever rank it comes."""
    axes = {1: "", 2: "axis=2", 3: "axis=(2, 3)"}[len(value.shape)]
    reduce = w.one(("mean", "amax", "total")) if axes else ""
    return f"{reduce}({value.text}, {axes})" if axes else value.text


def mapped(w: Writer, text: str, shape: Shape, width: Size) -> tuple[str, Shape]:
    axis = "" if len(shape) == 1 else ", axis=1"
    bias = ", bias=false" if w.chance() else ""
    return f"linear({text}, out={width}{axis}{bias})", (width, *shape[1:])


def activation(w: Writer) -> None:
    value = w.one(w.values)
    forms = (*BOUNDED, *[f"{op}({{}})" for op in (*w.activations, *ACTIVATIONS)])
    w.add(w.one(forms).format(value.text), value.shape)


def linear(w: Writer) -> None:
    value = w.one(w.values)
    w.add(*mapped(w, value.text, value.shape, w.width()))


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
        w.add(*mapped(w, text, chosen[0].shape, w.width()))


def to_vector(w: Writer) -> None:
    value = w.one(w.values)
    w.add(f"relu({vector(w, value)})", value.shape[:1])


def flattened(w: Writer) -> None:
    value = w.one(w.values)
    if not {"T", "L"} & set(value.shape):
        w.add(*mapped(w, f"flatten({value.text})", (0,), w.width()))


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
            attributes = ["", f", hidden={w.width()}", f", act={w.one(('tanh', *w.activations))}"]
            if w.decisions > 0:
                attributes.append(f", act={w.decide()} of {{relu, sigmoid}}")
            attribute = w.one(attributes)
            w.add(f"{name}({operands}{attribute})", pair[0].shape)
            return
    value = w.of_rank(2)
    if value is not None:
        w.add(f"{w.one(STEPS[2:])}({value.text}, {value.text})", value.shape)


def shared(w: Writer) -> None:
    """Uses of the same weights, as in a siamese pair: of a layer, or of a whole composite."""
    pair = [v for v in w.alike(2) if len(v.shape) == 1]
    if not pair:
        return
    name, width = w.name(), w.width()
    wholes = [cell for cell, rank, arity in w.cells if (rank, arity) == (1, 1)]
    whole = w.one(wholes) if wholes and w.chance() else ""
    w.lines.append(f"share {name} = {whole or f'linear(out={width})'}")
    for value in w.some(pair, 2):
        w.add(f"{name}({value.text})", value.shape if whole else (width,))


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
        w.add(*mapped(w, text, chosen[0].shape, w.width()))


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
        w.add(*mapped(w, f"concat({text})", shape, w.width()))


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
