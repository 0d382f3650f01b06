"""One op as a function of tensors: the lowering's own expression, compiled once for each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from ...ir.dims import Expr, Symbol
from ...ir.node import Kernel, Node
from .lowering import Held, Site, SizeNames
from .network import PLAIN, made_from, namespace_of
from .sizes import reading_of
from .table import LOWERINGS

Call = Callable[..., Tensor]
"""Takes the module that holds the weights, the module of the whole, the named sizes, a tensor of
floats that new tensors are like, then the operands.
"""


class Sizes(dict[str, int]):
    """The named sizes of a batch, each read when it is first asked for."""

    def __init__(self, inputs: Sequence[Node], batch: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._inputs = inputs
        self._batch = batch
        for node in inputs:
            for size, have in zip(node.type.shape, batch[node["name"]].shape, strict=True):
                if isinstance(size, Expr) and size.text.isidentifier():
                    self.setdefault(size.text, have)

    def __missing__(self, symbol: str) -> int:
        names = [(node, f"x[{place}]") for place, node in enumerate(self._inputs)]
        tensors = [self._batch[node["name"]] for node in self._inputs]
        # The text is of numbers and of places in this list.
        found: int = eval(reading_of(symbol, names), {"x": tensors})  # noqa: S307
        self[symbol] = found
        return found


MOST_CALLS = 20_000
"""Functions that are remembered; beyond it all are forgotten."""


class Calls:
    """The function of each kind of op, made when it is first met."""

    def __init__(self) -> None:
        self._made: dict[tuple[Kernel, bool], Call] = {}
        self._names = namespace_of()

    def of(self, node: Node, own: bool) -> Call:
        """`own`: whether the module at the key is the one that the op itself would make."""
        if len(self._made) > MOST_CALLS:
            self._made.clear()
        identity = (node.kernel, own)
        found = self._made.get(identity)
        if found is None:
            found = self._made[identity] = self._compiled(node, own)
        return found

    def _compiled(self, node: Node, own: bool) -> Call:
        symbols = {name: f"sizes[{name!r}]" for name in _symbols(node)}
        operands = [f"x{place}" for place in range(len(node.inputs))]
        lowered = LOWERINGS[node.op.name](Site(node, operands, "me", SizeNames(symbols, "like")))
        text = lowered
        if isinstance(lowered, Held):
            if lowered.borrow is None:
                return _drawing(made_from(lowered.make, PLAIN))
            text = lowered.call if own else lowered.borrow()
        head = ", ".join(["me", "self", "sizes", "like", *operands])
        # The text holds names that are given here, and literals, as that of `network.py`.
        code = compile(f"lambda {head}: {text}", f"<{node.op.name}>", "eval")
        return eval(code, self._names)  # noqa: S307


def _drawing(module: nn.Module) -> Call:
    """What draws at random and holds no weights."""

    def call(me: None, whole: nn.Module, sizes: object, like: object, x: Tensor) -> Tensor:
        module.training = whole.training
        return module(x)

    return call


def _symbols(node: Node) -> set[str]:
    found = set(node.kernel.symbols)
    for i in (node, *node.inputs):
        for size in i.type.shape:
            if isinstance(size, Expr):
                found.update([a.name for m, _ in size.terms for a in m if isinstance(a, Symbol)])
    return found
