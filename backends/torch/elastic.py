"""The elastic supernet: one weight of the largest shape for each key, of which networks take parts.

A network is run on slices of the shared weights, without being rebuilt, and computes what the
network that is `extracted`, with copies of these slices, computes. Which entries a network has of
each weight, the ops say (`ir/ops/roles.py`): each entry means the same in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ...compiler.elastic import ElasticWeights, elastic_weights
from ...compiler.specialise import specialise
from ...ir.cells import expand
from ...ir.decisions import Setting
from ...ir.diagnostics import Diagnostic, FusegraphError
from ...ir.dims import symbols_in
from ...ir.graph import Graph, graph
from ...ir.node import Kernel, Node
from ...ir.ops import LEVELS
from ..names import path_of, state_name
from . import modules as own
from .cuts import Cut, Slices
from .lowering import Site, SizeNames
from .network import Network, lower, own_generator, seed_of
from .products import parameter_start
from .program import expect_alike
from .sampled import SharingNetworks
from .sampled_calls import Call
from .sampled_plan import Plan, Planner, foreign
from .sampled_steps import Step
from .sampled_weights import shapes_of

Settings = Mapping[str, Setting]

PLANS = 16
"""So many networks can be run again without being planned again."""

MOST_SLICES = 20_000
"""Slices that are remembered; beyond it all are forgotten."""

_DTYPES = {"f32": torch.float32, "f64": torch.float64, "f16": torch.float16}


def slices_of(space: Graph) -> dict[str, ElasticWeights]:
    """What the networks of a space share, by key.

    Raises FusegraphError: E505 where the sizes of an axis are too many to list, E713 for a key of
    different weights, E714 for a weight of a size that is known at run time only, E718 for open
    `levels`, whose graphs have no weights in common.
    """
    if any(root.op is LEVELS for root in space.roots):
        raise _of_levels(space)
    first: dict[str, Node] = {}
    for node in expand(space).order:
        if node.weights:
            sizes = [size for weight in node.weights for size in weight.shape]
            named = [size for size in sizes if symbols_in(size)]
            Site(node, [], "", SizeNames({}, "")).known(*named)
            expect_alike(node.key, [first.setdefault(node.key, node), node], shapes=False)
    return elastic_weights(space)


class ElasticNetworks(SharingNetworks):
    """The networks of a space on weights that they share by slices.

    Weights start by a seed and their key alone, as those of `lower(network, seed)` for a network
    that has the whole of them. Gradients are those of the whole weights, zero where no network of
    a step reads; what no network reads at all has none.

    Raises FusegraphError as `slices_of` does.
    """

    def __init__(self, space: Graph, seed: int) -> None:
        super().__init__(expand(space))
        self.shared = slices_of(self.space)
        self._settings: WeakKeyDictionary[Graph, Settings] = WeakKeyDictionary()
        self._plans: dict[tuple[object, ...], _Planned] = {}
        with own_generator(), torch.device("cpu"):
            _fill(self.weights, self.shared, seed)

    def network(self, settings: Settings, outputs: Sequence[str] | None = None) -> Graph:
        """The network of these settings; of several outputs those that are named, or all."""
        found = specialise(self.space, settings)
        if outputs is not None:
            kept = [(name, root) for name, root in found.outputs if name in outputs]
            found = graph(found.name, found.inputs, kept, found.requires)
        self._settings[found] = settings
        return found

    def run(
        self,
        networks: Sequence[Settings],
        inputs: Mapping[str, Tensor],
        outputs: Sequence[str] | None = None,
    ) -> list[dict[str, Tensor]]:
        """The outputs of each network by name, for one batch of named tensors.

        Of each network only the `outputs` that are asked for are computed, from the inputs that
        these read. In training mode a batch norm takes its statistics from the activations of its
        own network, and running statistics end as if the networks had run one after the other.
        Raises FusegraphError E711 where an input is missing, E712 where one does not fit.
        """
        graphs = [self.network(settings, outputs) for settings in networks]
        # Statistics of one channel have to follow each other, whatever slices it is in; and what
        # is the same graph may still have other entries of its weights.
        follow = self.training and self.planner.has_norms
        if len(networks) == 1 or follow or len(set(graphs)) < len(graphs):
            return [self.computed(self._plan(s, outputs).plan, inputs)[0] for s in networks]
        return self.computed(self.planner.plan(graphs), inputs)

    def cuts(
        self, settings: Settings, outputs: Sequence[str] | None = None
    ) -> Mapping[nn.Parameter, Cut]:
        """What a network reads of each parameter."""
        return self._plan(settings, outputs).cuts

    def _plan(self, settings: Settings, outputs: Sequence[str] | None) -> _Planned:
        """The steps of one network; those of the last ones are kept."""
        identity = (frozenset(settings.items()), None if outputs is None else tuple(outputs))
        planned = self._plans.pop(identity, None)
        if planned is None:
            planned = _Planned(self.planner.plan([self.network(settings, outputs)]))
        if len(self._plans) >= PLANS:
            del self._plans[next(iter(self._plans))]
        self._plans[identity] = planned
        return planned

    def state_of(
        self, settings: Settings, outputs: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """The weights of one network by the names of `lower(network)`; mostly views."""
        return {
            f"{state_name(key)}.{name}": value
            for key, slices in self._plan(settings, outputs).slices
            for name, value in slices.state.items()
        }

    def extracted(self, settings: Settings, outputs: Sequence[str] | None = None) -> Network:
        """The network by itself, with weights of its own."""
        network = lower(self.network(settings, outputs))
        state = self.state_of(settings, outputs)
        # Assigned, so that they keep their precision and their device.
        network.load_state_dict({n: v.detach().clone() for n, v in state.items()}, assign=True)
        return network.train(self.training)

    def _new_planner(self) -> Planner:
        modules = dict(self.weights.named_modules())
        holders = {key: modules[state_name(key)] for key in self.shared}
        return _ElasticPlanner(self.space, self.shared, holders, self._settings)

    def __getstate__(self) -> dict[str, Any]:
        kept = super().__getstate__()
        return {**kept, "_settings": WeakKeyDictionary[Graph, Settings](), "_plans": {}}


@dataclass(frozen=True)
class _Planned:
    """A plan of one network, and what it reads of the weights."""

    plan: Plan

    @cached_property
    def slices(self) -> list[tuple[str, Slices]]:
        """By key; a key stands as often as it is read."""
        return [(s.node.key, s.module) for s in self.plan.steps if isinstance(s.module, Slices)]

    @cached_property
    def cuts(self) -> Mapping[nn.Parameter, Cut]:
        """What is read of each parameter, by all steps together."""
        found: dict[nn.Parameter, Cut] = {}
        for _, slices in self.slices:
            for name, parameter in slices.holder.named_parameters(recurse=False):
                cut, known = slices.cuts[name], found.get(parameter, slices.cuts[name])
                found[parameter] = cut if known is cut else known.with_also(cut, parameter.shape)
        return found


class _ElasticPlanner(Planner):
    """Steps on slices; `settings` has those of every network that is planned."""

    apart = True

    def __init__(
        self,
        space: Graph,
        weights: Mapping[str, ElasticWeights],
        holders: Mapping[str, nn.Module],
        settings: Mapping[Graph, Settings],
    ) -> None:
        super().__init__(space)
        self._weights = weights
        self._holders = holders
        self._settings = settings
        self._bound: dict[tuple[Kernel, str, tuple[object, ...]], tuple[Call, Slices]] = {}
        self._cut: dict[tuple[str, object], Slices] = {}
        self._deciding = {
            key: sorted({name for use in shared.uses for name in use.decisions})
            for key, shared in weights.items()
        }

    def serves(self, step: Step, network: Graph, found: Mapping[Node, Step]) -> bool:
        """See `Planner.serves`: other settings may give an equal node other entries."""
        stale = [i for i in step.inputs if found[i.node] is not i]
        if stale:
            return False
        return step.module is None or self.bound(step.node, network)[1] is step.module

    def bound(self, node: Node, network: Graph) -> tuple[Call, nn.Module]:
        """See `Planner.bound`."""
        if len(self._bound) > MOST_SLICES:
            self._bound.clear()
            self._cut.clear()
        settings = self._settings[network]
        state = tuple([settings.get(name) for name in self._deciding.get(node.key, ())])
        identity = (node.kernel, node.key, state)
        bound = self._bound.get(identity)
        if bound is None:
            bound = (self.calls.of(node, False), self._found(node, settings))
            self._bound[identity] = bound
        return bound

    def _found(self, node: Node, settings: Settings) -> Slices:
        wanted = shapes_of(node)
        shared = self._weights.get(node.key)
        names = [name for name, _ in wanted]
        for use in () if shared is None else shared.uses:
            entries = use.entries(settings)
            if [tuple(map(len, axes)) for axes in entries] == [shape for _, shape in wanted]:
                cuts = map(Cut, entries, self._weights[node.key].shapes)
                return self._once(node.key, dict(zip(names, cuts, strict=True)))
        told = ", ".join([f"{name}{list(shape)}" for name, shape in wanted])
        raise foreign(self._space, f"has {told} for the key `{node.key}`")

    def _once(self, key: str, cuts: dict[str, Cut]) -> Slices:
        """Equal slices are one object, so that steps of different networks can be one."""
        same = tuple([each.tobytes() for cut in cuts.values() for each in cut.entries])
        slices = self._cut.get((key, same))
        if slices is None:
            slices = self._cut[key, same] = Slices(self._holders[key], cuts)
        return slices


def _of_levels(space: Graph) -> FusegraphError:
    return FusegraphError(
        Diagnostic(
            code="E718",
            message=f"the networks of `{space.name}` cannot share weights by slices: `levels` "
            "leaves open which nodes there are",
            place=space.name,
            help="take a space whose open decisions are numbers, ops, inputs and depth, or search "
            "this one by `evolution`",
        )
    )


# ── where weights start ──────────────────────────────────────────────────────────────────────────


def _fill(root: nn.Module, shared: Mapping[str, ElasticWeights], seed: int) -> None:
    """The tree of modules, each with the whole weights of its key."""
    keys = {path_of(key): key for key in shared}
    made: dict[tuple[str, ...], nn.Module] = {(): root}
    for path in keys:
        for depth in range(1, len(path) + 1):
            part = path[:depth]
            if part in made:
                continue
            module = own.Scope()
            if part in keys:
                torch.default_generator.manual_seed(seed_of(seed, keys[part]))
                _hold(module, shared[keys[part]])
            made[part] = module
            made[part[:-1]].add_module(part[-1], module)


def _hold(module: nn.Module, shared: ElasticWeights) -> None:
    for weight, shape in zip(shared.weights, shared.shapes, strict=True):
        if weight.buffer and not shape:
            module.register_buffer(weight.name, torch.tensor(0))
            continue
        values = torch.zeros(shape, dtype=_DTYPES[shared.dtype])
        _start(values, weight.init, max(1, shared.fan_in))
        if weight.buffer:
            module.register_buffer(weight.name, values)
        else:
            module.register_parameter(weight.name, nn.Parameter(values))


def _start(values: Tensor, init: str, fan_in: int) -> None:
    """As `Weight.init` says; the `kaiming_uniform` of torch's layers is of a slope of sqrt(5)."""
    name, _, argument = init.rstrip(")").partition("(")
    match name:
        case "kaiming_uniform":
            spread = nn.init.calculate_gain("leaky_relu", math.sqrt(5)) / math.sqrt(fan_in)
            nn.init.uniform_(values, -math.sqrt(3) * spread, math.sqrt(3) * spread)
        case "fan_in_uniform":
            nn.init.uniform_(values, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))
        case "fill":
            nn.init.constant_(values, float(argument))
        case _:
            start = parameter_start(name, float(argument or 0))
            if start is not None:
                getattr(nn.init, start[0])(values, **dict(start[1]))
