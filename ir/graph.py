"""The graph: frozen, interned, typed nodes.

* Equal structure *is* the same object: `is` compares networks, and a dict memoises any pass.
* `key` is a path such as `c[1].s[2].linear_glu`. It names the weights that a node owns; the same
  key means tied weights. Ops that own nothing and draw nothing have no key.
* A type is inferred when a node is built, so an ill-typed graph cannot exist.
* Names of variables and source spans live outside the node: two lines may build the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, NoReturn, cast
from weakref import WeakKeyDictionary, WeakValueDictionary

from .decisions import Decision
from .dims import Expr, Static, Symbol, bind, decisions_in, symbol, symbols_in, text_of
from .ops import CELL, CHOICE, FORMAL, INPUT, MAYBE, Attrs, Misfit, Op, Weight
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
        self.is_open = op in (CHOICE, MAYBE) or self.type.maybe is not None or _any_open(attrs)
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


# ── whole graphs ─────────────────────────────────────────────────────────────────────────────────

MEASURES = ("parameters", "macs", "flops", "activation_bytes")
"""What a `require` may speak of besides sizes, all of one sample."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """`require left relation right`, over static numbers and the measures of cost."""

    left: Static
    relation: str
    right: Static

    @property
    def text(self) -> str:
        """As in the language, without the word `require`."""
        return f"{text_of(self.left)} {self.relation} {text_of(self.right)}"


@dataclass(frozen=True, eq=False)
class Graph:
    """A network, or a space where decisions are open. Interned; made by `graph`.

    `inputs` are the inputs that the outputs reach, in the order of declaration, with those that
    alone tell a named size which is needed.
    """

    name: str
    inputs: tuple[Node, ...]
    outputs: tuple[tuple[str, Node], ...]
    requires: tuple[Requirement, ...] = ()

    def __repr__(self) -> str:
        return f"<graph {self.name}: {len(self.order)} nodes, {len(self.decisions)} decisions>"

    def __reduce__(self) -> tuple[Callable[[str], Graph], tuple[str]]:
        from .dsl.flat import parse_graph, print_graph

        return (parse_graph, (print_graph(self),))

    @property
    def roots(self) -> tuple[Node, ...]:
        """The nodes of the outputs."""
        return tuple([node for _, node in self.outputs])

    @cached_property
    def order(self) -> tuple[Node, ...]:
        """Every node, inputs before users; composites whole."""
        return tuple(topological(self.roots))

    @cached_property
    def decisions(self) -> Mapping[str, Decision]:
        """The open decisions by key, in the order of the graph."""
        found: dict[str, Decision] = {}
        for node in everything(self.roots):
            if node.op is CHOICE or node.op is MAYBE:
                found.setdefault(node.decision.key, node.decision)
            elif not node.settled:
                for value in _leaves(node.attrs):
                    found.update({k: d for k, d in decisions_in(value).items() if k not in found})
        for requirement in self.requires:
            for side in (requirement.left, requirement.right):
                found.update({k: d for k, d in decisions_in(side).items() if k not in found})
        return found

    @property
    def settled(self) -> bool:
        """Whether this is a network: a space without open decisions."""
        return not self.decisions

    @cached_property
    def digest(self) -> str:
        """12 hexadecimal digits that name the canonical form."""
        from .canonical import digest_of

        return digest_of(self)


def _leaves(value: Any) -> Iterator[Expr]:
    if isinstance(value, Expr):
        yield value
    elif isinstance(value, tuple):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _leaves(item)


_graphs: WeakValueDictionary[tuple[Any, ...], Graph] = WeakValueDictionary()


_inside: WeakKeyDictionary[Node, frozenset[str]] = WeakKeyDictionary()


def sizes_named(order: Iterable[Node]) -> frozenset[str]:
    """The named sizes in attributes, composites included: what must be known when these run."""
    found: set[str] = set()
    for node in order:
        if node.op is CELL:
            inside = _inside.get(node)
            if inside is None:
                inside = _inside[node] = sizes_named(topological([node["body"]]))
            found |= inside
        elif node.kernel.symbols and node.op is not INPUT and node.op is not FORMAL:
            found.update(node.kernel.symbols)
    return frozenset(found)


def sizes_told(type: Type) -> set[str]:
    """The named sizes that a tensor of this type shows: `4*T + 1` shows `T`, `N*T` shows none."""
    found: set[str] = set()
    for size in type.shape:
        if isinstance(size, Expr):
            terms = [term for term in size.terms if term[0]]
            if len(terms) == 1 and len(terms[0][0]) == 1:
                found.update([a.name for a in terms[0][0] if isinstance(a, Symbol)])
    return found


def _with_tellers(
    inputs: Sequence[Node], reached: Sequence[Node], named: frozenset[str]
) -> tuple[Node, ...]:
    """The inputs that are reached, and those of which a size is: zeros as long as `x` need `x`."""
    untold = set(named).difference(*[sizes_told(node.type) for node in reached])
    tellers: set[Node] = set()
    for node in inputs:
        told = untold & sizes_told(node.type)
        if told:
            tellers.add(node)
            untold -= told
    return tuple([node for node in inputs if node in reached or node in tellers])


def graph(
    name: str,
    inputs: Sequence[Node],
    outputs: Sequence[tuple[str, Node]],
    requires: Sequence[Requirement] = (),
) -> Graph:
    """The graph of these outputs; inputs whose values and sizes nothing needs are left out."""
    order = tuple(topological([node for _, node in outputs]))
    reached = {node for node in order if node.op is INPUT}
    kept = tuple([node for node in inputs if node in reached])
    if len(kept) < len(inputs) and (named := sizes_named(order)):
        kept = _with_tellers(inputs, kept, named)
    if len(kept) < len(reached):
        missing = next(node for node in reached if node not in kept)
        raise ValueError(f"the input {missing['name']} is used but not declared")
    identity = (name, kept, tuple(outputs), tuple(requires))
    found = _graphs.get(identity)
    if found is None:
        found = _graphs[identity] = Graph(*identity)
        found.__dict__["order"] = order
    return found
