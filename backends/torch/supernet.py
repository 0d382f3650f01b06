"""A supernet as a module: what a gradient-based searcher steps.

Weights and architecture parameters apart. The plain module has each by the names of the space; the
fused one computes the same from few large parameters, and packs and unpacks them by these names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...compiler.fusion.prefix import split_prefix
from ...compiler.fusion.stages import Fused, named, owners
from ...compiler.fusion.supernets import fused as fused_graph
from ...compiler.relax import Supernet
from ...compiler.relaxations import Alpha
from ...ir.graph import Graph
from ..names import state_name, weight_name
from .batch import check_batch
from .flat import Flat
from .fused import FUSED, drawn_in
from .masks import Drawing, Masks
from .network import Network, lower
from .packing import pack, unpack
from .traceable import TRACEABLE

State = dict[str, Tensor]

_SMALL = 10_000
"""Numbers of a weight above which an optimiser is no slower if it has it apart."""


class SupernetModule(nn.Module):
    """A supernet that runs, trains and is asked for its architecture. Made by `lower_supernet`.

    `prefix` computes of each sample what needs no weights, `network` the rest; a search that keeps
    what `prepare` gives need not run the prefix again. `fusion` is how the fused graph came about;
    None where the module is the plain one.
    """

    def __init__(
        self,
        supernet: Supernet,
        prefix: Network,
        network: Network,
        fusion: Fused | None,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.supernet = supernet
        self.prefix = prefix
        self.network = network
        self.fusion = fusion
        self.compiled = compiled
        self.flat: Flat | None = None
        self._masks = Masks()
        self._taken: dict[tuple[torch.Size, ...], int] = {}
        for module in network.modules():
            if isinstance(module, Drawing):
                module.masks = self._masks
        if compiled:
            network.compile(dynamic=False)
        elif fusion is not None:
            self.flat = Flat(_weights(network, self._scopes))

    @property
    def _scopes(self) -> tuple[str, ...]:
        """What the names of architecture parameters begin with."""
        scope = self.supernet.scope
        return (f"{state_name(scope)}.", f"{state_name(f'{scope}_gates')}.")

    def train(self, mode: bool = True) -> SupernetModule:
        """Training or evaluation mode, of all modules; nothing is done where it is that already."""
        return self if self.training == mode else super().train(mode)

    @property
    def parameter_names(self) -> Mapping[str, str]:
        """What `forward` calls each input of the graph."""
        return self.prefix.parameter_names

    def forward(self, *inputs: Tensor) -> Tensor | dict[str, Tensor]:
        """The outputs for the inputs in the order of the graph, as `Network.forward`."""
        return self._rest(self._prepared(inputs))

    def run(self, batch: Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
        """The outputs for a batch of named tensors, as `Network.run`.

        Raises FusegraphError E711 where an input is missing, E712 where one does not fit its type.
        """
        check_batch(self.prefix.graph, batch)
        return self(*[batch[name] for name in self.parameter_names])

    def prepare(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What `run_prepared` takes in the place of the inputs: named tensors, a row per sample.

        They depend on no weight, and on each sample alone. Raises FusegraphError E711, E712.
        """
        check_batch(self.prefix.graph, batch)
        with torch.no_grad():
            return self._prepared([batch[name] for name in self.parameter_names])

    def run_prepared(self, batch: Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
        """The outputs for what `prepare` gave, or for the same rows put together anew."""
        return self._rest(batch)

    def _prepared(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        outputs = self.prefix(*inputs)
        names = [name for name, _ in self.prefix.graph.outputs]
        found = outputs if isinstance(outputs, dict) else {names[0]: outputs}
        return {name: value.contiguous() for name, value in found.items()}

    def _rest(self, batch: Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
        inputs = [batch[name] for name in self.network.parameter_names]
        if self.training and self.fusion is not None and inputs[0].device.type == "cpu":
            self._masks.fill(self._random_bytes(inputs))
        if self.flat is None:
            return self.network(*inputs)
        self.flat.spread()
        try:
            return self.network(*inputs)
        finally:
            self.flat.clear()

    def __deepcopy__(self, memo: dict[int, Any]) -> SupernetModule:
        return _again(*self.__reduce__()[1])

    def __reduce__(self) -> tuple[Any, ...]:
        # Generated code and the ops of fused graphs are made again.
        modes = (self.fusion is not None, self.compiled, self.training)
        return (_again, (self.supernet, *modes, self.plain_state()))

    def _random_bytes(self, inputs: Sequence[Tensor]) -> int:
        """How many the masks of a pass in training take."""
        shapes = tuple([x.shape for x in inputs])
        found = self._taken.get(shapes)
        if found is None:
            found = self._taken[shapes] = drawn_in(self.network.graph, shapes)
        return found

    # ── parameters ──

    def weight_parameters(self) -> list[nn.Parameter]:
        """All parameters but those of the architecture, for the optimiser of the weights."""
        large = [p for name, p in self.network.named_parameters() if not self._is_gate(name)]
        return large if self.flat is None else [*large, self.flat.weight]

    def architecture_parameters(self) -> list[nn.Parameter]:
        """The parameters behind the gates, for the optimiser of the architecture."""
        return [p for name, p in self.network.named_parameters() if self._is_gate(name)]

    def _is_gate(self, name: str) -> bool:
        return name.startswith(self._scopes)

    def architecture(self) -> dict[str, Alpha]:
        """By `Relaxed.key` the values of each architecture parameter, as nested tuples."""
        state = self.plain_state()
        found = {key: weight_name(key, "weight") for key in self.supernet.architecture}
        return {key: _nested(state[name].tolist()) for key, name in found.items() if name in state}

    def set_architecture(self, values: Mapping[str, Alpha]) -> None:
        """Give architecture parameters these values; those that are not named keep theirs."""
        state = self.plain_state()
        for key, value in values.items():
            name = weight_name(key, "weight")
            if name in state:
                state[name] = torch.tensor(value, dtype=state[name].dtype)
        self.load_plain_state(state)

    # ── states ──

    def plain_state(self) -> State:
        """The state by the names of the space's keys, as `lower(supernet.graph)` has it."""
        state = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        if self.fusion is None:
            return state
        if self.flat is not None:
            state.update(self.flat.state())
        now = _renamed(state, _names(self.fusion.graph), back=True)
        for move in reversed(self.fusion.moves):
            now = unpack(move.packing, now, _like(move.before, now))
        plain = _names(self.fusion.plain)
        return {name: value.clone() for name, value in _renamed(now, plain, back=False).items()}

    def load_plain_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state that `plain_state` gave. Raises KeyError where a weight is missing."""
        if self.fusion is None:
            self.network.load_state_dict(dict(state))
            return
        now = _renamed(state, _names(self.fusion.plain), back=True)
        for move in self.fusion.moves:
            now = pack(move.packing, now, _like(move.after, now))
        packed = _renamed(now, _names(self.fusion.graph), back=False)
        with torch.no_grad():
            flat = self.flat.state() if self.flat is not None else {}
            for name, target in (*self.network.state_dict().items(), *flat.items()):
                target.copy_(packed[name])


def lower_supernet(
    supernet: Supernet, seed: int | None = None, *, fused: bool = True, compiled: bool = False
) -> SupernetModule:
    """The supernet as a module; its weights start as those of `lower(supernet.graph, seed)`.

    `fused`: computed by the passes of `compiler/fusion`, from one vector of weights. `compiled`: by
    `torch.compile` on top.
    """
    # Masks are drawn for as many samples as the inputs have, and without inputs there is nothing
    # to be won.
    fusion = fused_graph(supernet) if fused and supernet.graph.inputs else None
    prefix, rest = split_prefix(fusion.graph if fusion else supernet.graph)
    if fusion is None:
        return SupernetModule(supernet, lower(prefix), lower(rest, seed), None, compiled)
    network = lower(rest, seed, TRACEABLE if compiled else FUSED)
    module = SupernetModule(supernet, lower(prefix), network, fusion, compiled)
    module.load_plain_state(lower(supernet.graph, seed).state_dict())
    return module


def _again(
    supernet: Supernet, fused: bool, compiled: bool, training: bool, state: Mapping[str, Tensor]
) -> SupernetModule:
    """The module with this plain state, in its dtype and on its device."""
    module = lower_supernet(supernet, 0, fused=fused, compiled=compiled)
    like = next((t for t in state.values() if t.is_floating_point()), None)
    if like is not None:
        module.to(like)
    module.load_plain_state(state)
    return module.train(training)


def _weights(network: Network, scopes: tuple[str, ...]) -> Iterator[tuple[str, nn.Module, str]]:
    """The name, module and attribute of each small weight that is not of the architecture."""
    for path, module in network.named_modules():
        small = [n for n, p in module.named_parameters(recurse=False) if p.numel() <= _SMALL]
        for attribute in small:
            name = f"{path}.{attribute}"
            if not name.startswith(scopes):
                yield name, module, attribute


def _names(graph: Graph) -> dict[str, str]:
    """What packings call each weight of the graph, and what its module does."""
    return {
        named(key, weight.name): weight_name(key, weight.name)
        for key, nodes in owners(graph).items()
        for weight in nodes[0].weights
    }


def _renamed(state: Mapping[str, Tensor], names: Mapping[str, str], *, back: bool) -> State:
    """By the names of packings (`back`) what has the names of modules, or the reverse."""
    if back:
        return {name: state[module] for name, module in names.items() if module in state}
    return {module: state[name] for name, module in names.items() if name in state}


def _like(graph: Graph, state: Mapping[str, Tensor]) -> State:
    """Empty tensors of the shapes of the graph's weights, in the dtype of this state."""
    floats = next((t for t in state.values() if t.is_floating_point()), torch.empty(0))
    found: State = {}
    for key, nodes in owners(graph).items():
        for weight in nodes[0].weights:
            whole = weight.name == "num_batches_tracked"
            dtype = torch.long if whole else floats.dtype
            shape: Any = weight.shape
            found[named(key, weight.name)] = torch.empty(shape, dtype=dtype, device=floats.device)
    return found


def _nested(value: Any) -> Any:
    if isinstance(value, list):
        return tuple([_nested(item) for item in cast("list[Any]", value)])
    return value
