"""The node: frozen, interned, typed.

* Equal structure *is* the same object: `is` compares networks, and a dict memoises any pass.
* `key` is a path such as `c[1].s[2].linear_glu`. It names the weights that a node owns; the same
  key means tied weights. Ops that own nothing and draw nothing have no key.
* A type is inferred when a node is built, so an ill-typed graph cannot exist.
* Names of variables and source spans live outside the node: two lines may build the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, NoReturn, cast
from weakref import WeakValueDictionary

from .decisions import Decision
from .dims import Expr, symbol, symbols_in
from .ops import CELL, CHOICE, FORMAL, INPUT, LEVELS, MAYBE, Attrs, Misfit, Op, Weight
from .settling import bind
from .types import DTYPES, Type


class Kernel:
    """What follows from an op, its input types and its attributes alone, found once for all.

    `prefix` starts the form, `is_open` says that a decision is in the attributes, `symbols` are
    the named sizes in the attributes in the order of appearance.
    """

    __slots__ = ("_attrs", "_op", "_texts", "is_open", "prefix", "symbols", "type")

    def __init__(self, op: Op, types: tuple[Type, ...], attrs: tuple[Any, ...]) -> None:
        self.type = op.infer(types, dict(zip(op.names, attrs, strict=True)))
        self.prefix = f"{op.name}({attrs_text(attrs, lambda _: '_')})".encode()
        self.is_open = (
            op in (CHOICE, MAYBE, LEVELS) or self.type.maybe is not None or _any_open(attrs)
        )
        self.symbols = tuple(dict.fromkeys(_symbols(attrs)))
        self._op = op
        self._attrs = attrs
        self._texts: dict[tuple[str, ...], str] = {}

    def text(self, names: tuple[str, ...] = ()) -> str:
        """Op and attributes as text that is the same in every process, `symbols` renamed so."""
        found = self._texts.get(names)
        if found is None:
            renamed = dict(zip(self.symbols, names, strict=True))
            found = self._op.name + attrs_text(self._attrs, renamed.__getitem__)
            self._texts[names] = found
        return found


class Node:
    """An op with its inputs, attributes and key. Built by `build`, never by hand.

    `form` is a hash of the structure that is blind to keys and to the names of symbols, the same
    in every process; it orders the inputs of commutative ops. `settled`: no decision at or above
    this node. `flat`: no composite at or above it.
    """

    __slots__ = (
        "__weakref__", "attrs", "flat", "form", "inputs", "kernel", "key", "op", "settled", "type",
    )  # fmt: skip

    op: Op
    inputs: tuple[Node, ...]
    attrs: tuple[Any, ...]
    key: str
    type: Type
    kernel: Kernel
    form: bytes
    settled: bool
    flat: bool

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("nodes are frozen: build another one")

    def __getitem__(self, name: str) -> Any:
        """The attribute of this name."""
        return self.attrs[self.op.names.index(name)]

    def __repr__(self) -> str:
        return f"<{self.op.name}{' ' + self.key if self.key else ''}: {self.type.pretty}>"

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes by name."""
        return dict(zip(self.op.names, self.attrs, strict=True))

    @property
    def weights(self) -> tuple[Weight, ...]:
        """The tensors that the node owns, under its key."""
        if self.op.weights is None:
            return ()
        return self.op.weights([i.type for i in self.inputs], self.attributes)

    @property
    def decision(self) -> Decision:
        """The decision of a choice or of an optional value."""
        return self["decision"]


_set_op = cast("Callable[[Node, Op], None]", Node.__dict__["op"].__set__)
_set_inputs = cast("Callable[[Node, tuple[Node, ...]], None]", Node.__dict__["inputs"].__set__)
_set_attrs = cast("Callable[[Node, tuple[Any, ...]], None]", Node.__dict__["attrs"].__set__)
_set_key = cast("Callable[[Node, str], None]", Node.__dict__["key"].__set__)
_set_type = cast("Callable[[Node, Type], None]", Node.__dict__["type"].__set__)
_set_kernel = cast("Callable[[Node, Kernel], None]", Node.__dict__["kernel"].__set__)
_set_form = cast("Callable[[Node, bytes], None]", Node.__dict__["form"].__set__)
_set_settled = cast("Callable[[Node, bool], None]", Node.__dict__["settled"].__set__)
_set_flat = cast("Callable[[Node, bool], None]", Node.__dict__["flat"].__set__)

_Identity = tuple[Op, tuple[Node, ...], tuple[Any, ...], str]
_interned: WeakValueDictionary[_Identity, Node] = WeakValueDictionary()

_kernels: dict[tuple[Op, tuple[Type, ...], tuple[Any, ...]], Kernel] = {}
_MOST_KERNELS = 100_000


# ── building ─────────────────────────────────────────────────────────────────────────────────────


def build(op: Op, inputs: Sequence[Node], attrs: Attrs | None = None, key: str = "") -> Node:
    """The node of this op. Attributes that are not given take their defaults.

    Raises Misfit where the op cannot take these inputs or attributes.
    """
    types = [i.type for i in inputs]
    _check_operands(op, types)
    given = dict(attrs or {})
    if not op.structural:
        values: dict[str, Any] = {}
        for attr in op.attrs:
            if attr.name not in given and attr.required:
                raise Misfit(f"`{op.name}` needs `{attr.name}`: {attr.doc}", code="E205")
            values[attr.name] = attr.accept(given.pop(attr.name, attr.default))
        if given:
            raise Misfit(f"`{op.name}` has no attribute `{next(iter(given))}`", code="E205")
        given = op.complete(types, values)
    return intern(op, tuple(inputs), tuple([given[name] for name in op.names]), key)


_TAKEN = {
    "floats": frozenset(("f16", "f32", "f64")),
    "numbers": frozenset(("f16", "f32", "f64", "i32", "i64")),
    "anything": frozenset(DTYPES),
}


def _check_operands(op: Op, types: Sequence[Type]) -> None:
    if not op.structural:
        for place, type in enumerate(types):
            if type.dtype not in _TAKEN[op.takes]:
                raise Misfit(
                    f"`{op.name}` takes {op.takes}, not {type.pretty}", code="E303", inputs=(place,)
                )
    least = len(op.inputs)
    if op.variadic:
        if len(types) < least:
            raise Misfit(
                f"`{op.name}` takes at least {least} inputs, not {len(types)}", code="E205"
            )
    elif len(types) != least:
        expected = f"{least} input{'s' if least != 1 else ''}"
        raise Misfit(f"`{op.name}` takes {expected}, not {len(types)}", code="E205")
    elif op is not MAYBE:
        for place, type in enumerate(types):
            if type.maybe is not None:
                raise Misfit(
                    f"`{op.name}` takes exactly {least} inputs, and this one may be absent",
                    code="E309",
                    inputs=(place,),
                    help="take the subset into an op of any number of inputs first, such as `sum`",
                )


def intern(op: Op, inputs: tuple[Node, ...], attrs: tuple[Any, ...], key: str) -> Node:
    """The node of exactly these parts, whose attributes are in their one form already."""
    if op.commutative and len(inputs) > 1:
        inputs = tuple(sorted(inputs, key=_by_form))
    identity = (op, inputs, attrs, key)
    found = _interned.get(identity)
    if found is not None:
        return found
    types = tuple([i.type for i in inputs])
    kernel = _kernels.get((op, types, attrs))
    if kernel is None:
        if len(_kernels) >= _MOST_KERNELS:
            _kernels.clear()
        kernel = _kernels[op, types, attrs] = Kernel(op, types, attrs)
    node = Node.__new__(Node)
    _set_op(node, op)
    _set_inputs(node, inputs)
    _set_attrs(node, attrs)
    _set_key(node, key)
    _set_type(node, kernel.type)
    _set_kernel(node, kernel)
    forms = b"".join([i.form for i in inputs])
    _set_form(node, blake2b(kernel.prefix + forms, digest_size=12).digest())
    settled, flat = not kernel.is_open, op is not CELL
    for i in inputs:
        settled = settled and i.settled
        flat = flat and i.flat
    if op is CELL:
        settled = settled and node["body"].settled
    _set_settled(node, settled)
    _set_flat(node, flat)
    _interned[identity] = node
    return node


def _by_form(node: Node) -> tuple[bytes, str]:
    return (node.form, node.key)


def _any_open(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(map(_any_open, value))  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, Expr):
        return value.open
    if isinstance(value, Type):
        return any(map(_any_open, value.shape))
    return False


def _symbols(value: Any) -> Iterator[str]:
    if isinstance(value, tuple):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _symbols(item)
    elif isinstance(value, Expr):
        yield from sorted(symbols_in(value))
    elif isinstance(value, Type):
        yield from _symbols(value.shape)


def attrs_text(value: Any, rename: Callable[[str], str]) -> str:
    """Attribute values as text that is the same in every process, symbols renamed."""
    if isinstance(value, tuple):
        return f"({','.join([attrs_text(v, rename) for v in value])})"  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, Expr):
        names = symbols_in(value)
        if names:
            value = bind(value, {name: symbol(rename(name)) for name in sorted(names)})
        return str(value)
    if isinstance(value, Type):
        sizes = ",".join([attrs_text(size, rename) for size in value.shape])
        return f"{value.dtype}[{sizes}]"
    if isinstance(value, Decision):
        return f"{value.keyword}/{value.slots}/{value.key}/{'|'.join(value.labels)}"
    if isinstance(value, Node):
        return value.form.hex()
    return repr(value)


def input_node(name: str, type: Type) -> Node:
    """The named input of a graph."""
    return intern(INPUT, (), (name, type), "")


def formal(name: str, type: Type) -> Node:
    """The operand `name` in the body of a composite."""
    return intern(FORMAL, (), (name, type), "")


def choice(decision: Decision, slot: int, candidates: Sequence[Node]) -> Node:
    """The candidate that `decision` takes at `slot`. Raises Misfit where they are not of a kind."""
    return build(CHOICE, candidates, {"decision": decision, "slot": slot})


def maybe(decision: Decision, index: int, candidate: Node) -> Node:
    """`candidate`, where the subset that `decision` takes holds `index`."""
    return build(MAYBE, [candidate], {"decision": decision, "index": index})


def cell(
    name: str,
    formals: Sequence[Node],
    body: Node,
    inputs: Sequence[Node],
    bound: tuple[tuple[str, Any], ...] = (),
    key: str = "",
) -> Node:
    """A composite, whole. Operands that the body does not reach are dropped with their inputs.

    `key` is the path of the instance, kept only where something in the body has a key.
    """
    reached = {node for node in topological([body]) if node.op is FORMAL}
    kept = [(f, i) for f, i in zip(formals, inputs, strict=True) if f in reached]
    for operand, actual in kept:
        if operand.type is not actual.type:
            raise Misfit(f"`{operand['name']}` is {operand.type.pretty}, not {actual.type.pretty}")
    owns = any(node.key for node in topological([body])) or not body.settled
    attrs = (name, tuple([f for f, _ in kept]), body, bound)
    return intern(CELL, tuple([i for _, i in kept]), attrs, key if owns else "")


# ── traversal ────────────────────────────────────────────────────────────────────────────────────


def topological(roots: Iterable[Node]) -> list[Node]:
    """Every node that the roots reach, inputs before users, without recursion."""
    done: set[Node] = set()
    order: list[Node] = []
    stack: list[tuple[Node, bool]] = [(root, False) for root in reversed(list(roots))]
    while stack:
        node, expanded = stack.pop()
        if node in done:
            continue
        if expanded or not node.inputs:
            done.add(node)
            order.append(node)
        else:
            stack.append((node, True))
            stack.extend([(i, False) for i in reversed(node.inputs) if i not in done])
    return order


def everything(roots: Iterable[Node]) -> Iterator[Node]:
    """Every node that the roots reach, those in the bodies of composites before the composite."""
    pending: list[Iterator[Node]] = [iter(topological(roots))]
    seen: set[Node] = set()
    held: list[Node] = []
    while pending:
        node = next(pending[-1], None)
        if node is None:
            pending.pop()
            if held:
                yield held.pop()
        elif node not in seen:
            seen.add(node)
            if node.op is CELL:
                held.append(node)
                pending.append(iter(topological([node["body"]])))
            else:
                yield node
