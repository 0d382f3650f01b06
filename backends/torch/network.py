"""`lower`: a network as a module of torch, with its generated `forward`."""

from __future__ import annotations

import copy
import functools
import itertools
import linecache
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock
from typing import Any, ClassVar
from weakref import WeakValueDictionary, finalize

import torch
import torch.nn.functional as F  # noqa: N812  (its name all over the field)
from torch import Tensor, nn

from ...ir.graph import Graph
from . import modules as own
from . import stacked
from .batch import check_batch
from .lowering import Lowering, Make, Verbatim
from .names import class_name
from .program import Module, Program, modules_of, program
from .table import LOWERINGS


class Network(nn.Module):
    """A network as an ordinary module; each graph has a subclass with its own `forward`.

    The tree of modules is named by the keys of the graph, see `backends/names.py`. `forward` takes
    the inputs by position, in the order of `graph.inputs`, or by name, as in `parameter_names`; it
    returns a tensor, or where the graph has several outputs a dict of them by name.
    """

    graph: ClassVar[Graph]
    source: ClassVar[str]
    """The generated class as Python, the file that a debugger shows."""
    program: ClassVar[Program]
    parameter_names: ClassVar[Mapping[str, str]]
    """What `forward` calls each input of the graph: `image[1]` is `image_1`."""

    def run(self, batch: Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
        """The outputs for a batch of named tensors, which may hold more than is needed.

        Raises FusegraphError E711 where an input is missing, E712 where one does not fit its type.
        """
        check_batch(self.graph, batch)
        return self(*[batch[name] for name in self.parameter_names])

    def __reduce__(self) -> tuple[Any, ...]:
        # By the graph, as the class was made at run time and cannot be imported elsewhere.
        return (_empty, (self.graph,), self.__dict__)

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        return twin


@dataclass(frozen=True, eq=False)
class Kit:
    """What ops become: the table of lowerings, and the names of modules and functions that these
    use beside torch's and those of `modules.py`.
    """

    lowerings: Mapping[str, Lowering]
    names: Mapping[str, Any]


PLAIN = Kit(LOWERINGS, {})
"""Every op by itself, as torch's own modules and functions."""


def lower(graph: Graph, seed: int | None = None, kit: Kit = PLAIN) -> Network:
    """The network as a module.

    With a `seed` the start of each weight depends on that and on its key alone: the same layer
    of two networks starts the same. Without, weights are drawn from torch's generator in the
    order of the graph. Raises FusegraphError E710 for a space with open decisions, E713 for a key
    with weights of two shapes, E714 for weights whose size is known at run time only, E715 for a
    size that no input tells, E716 for weights without a key.
    """
    cls = _class_of(graph) if kit is PLAIN else _compiled(graph, program(graph, kit.lowerings), kit)
    network = cls()
    if seed is None:
        fill(network, cls.program.modules, None, kit)
        return network
    device = torch.get_default_device()
    with own_generator():
        if device.type == "cpu":
            fill(network, cls.program.modules, seed, kit)
            return network
        with torch.device("cpu"):
            fill(network, cls.program.modules, seed, kit)
    return network.to_empty(device=device) if device.type == "meta" else network.to(device)


def start_of(graph: Graph, seed: int) -> dict[str, Tensor]:
    """The state that `lower(graph, seed)` starts with, on the CPU; without making any code.

    Raises FusegraphError as `lower` does.
    """
    bare = nn.Module()
    # Only where it is needed, as every call in the context of a device is slower.
    elsewhere = torch.get_default_device().type != "cpu"
    with own_generator(), torch.device("cpu") if elsewhere else nullcontext():
        fill(bare, modules_of(graph), seed, PLAIN)
    return {name: value.detach() for name, value in bare.state_dict().items()}


def _empty(graph: Graph) -> Network:
    """A network without modules, whose state follows."""
    cls = _class_of(graph)
    return cls.__new__(cls)


# ── modules ──────────────────────────────────────────────────────────────────────────────────────


def fill(root: nn.Module, modules: Sequence[Module], seed: int | None, kit: Kit) -> None:
    """Make the tree of modules and start the weights."""
    made: dict[tuple[str, ...], nn.Module] = {(): root}
    for entry in modules:
        if entry.make is None:
            module = own.Scope()
        else:
            if seed is not None:
                torch.default_generator.manual_seed(seed_of(seed, entry.key))
            module = made_from(entry.make, kit)
        made[entry.path] = module
        made[entry.path[:-1]].add_module(entry.path[-1], module)


def made_from(make: Make, kit: Kit) -> nn.Module:
    """The module, with its weights started."""
    prefix, _, name = make.head.rpartition(".")
    home = nn if prefix else own if hasattr(own, name) else stacked
    build = kit.names.get(make.head) or getattr(home, name)
    options = {
        name: getattr(torch, value.removeprefix("torch.")) if isinstance(value, Verbatim) else value
        for name, value in make.options
    }
    module: nn.Module = build(*make.args, **options)
    if make.start is not None:
        function, arguments = make.start
        getattr(nn.init, function)(module.weight, **dict(arguments))
    return module


def seed_of(seed: int, key: str) -> int:
    """What the generator starts from before the weights of a key are drawn."""
    return int.from_bytes(blake2b(f"{seed}:{key}".encode(), digest_size=8).digest(), "big") >> 1


_drawing = Lock()


@contextmanager
def own_generator() -> Iterator[None]:
    """Whatever is drawn inside leaves torch's generator as it was.

    Torch's modules draw their start from that generator only, so it is seeded for each in turn.
    """
    with _drawing:
        state = torch.default_generator.get_state()
        try:
            yield
        finally:
            torch.default_generator.set_state(state)


# ── code ─────────────────────────────────────────────────────────────────────────────────────────

_classes: WeakValueDictionary[Graph, type[Network]] = WeakValueDictionary()
_count = itertools.count(1)


def _class_of(graph: Graph) -> type[Network]:
    """The subclass of Network for this graph; the same as long as it is in use."""
    cls = _classes.get(graph)
    if cls is None:
        cls = _classes[graph] = _compiled(graph, program(graph), PLAIN)
    return cls


def namespace_of(kit: Kit = PLAIN) -> dict[str, Any]:
    """What generated code may name."""
    return {
        "__name__": f"{__package__}.generated",
        "F": F,
        "Network": Network,
        "Tensor": Tensor,
        "bank_plan": stacked.bank_plan,
        "functools": functools,
        "gather": stacked.gather,
        "linear_bank": stacked.linear_bank,
        "math": math,
        "mix": own.mix,
        "round8": own.round8,
        "stacked_layer_norm": stacked.stacked_layer_norm,
        "stacked_linear": stacked.stacked_linear,
        "torch": torch,
        **kit.names,
    }


def _compiled(graph: Graph, plan: Program, kit: Kit) -> type[Network]:
    name = class_name(graph.name)
    lines = [f"class {name}(Network):", *plan.signature, *plan.body]
    source = "\n".join(lines) + "\n"
    file = f"<fusegraph {name} {next(_count)}>"
    namespace = namespace_of(kit)
    # The text holds nothing of a user's but identifiers that `names` made and literals.
    exec(compile(source, file, "exec", dont_inherit=True), namespace)  # noqa: S102
    cls: type[Network] = namespace[name]
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    finalize(cls, linecache.cache.pop, file, None)
    cls.graph = graph
    cls.source = source
    cls.parameter_names = dict(
        zip([node["name"] for node in graph.inputs], plan.parameters, strict=True)
    )
    cls.program = plan
    return cls
