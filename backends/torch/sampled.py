"""K networks of a space as one program on weights that they share.

Each network computes what `lower` of it alone computes with the same weights; what several have in
common is computed once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ...ir.graph import Graph
from ..names import state_name
from . import modules as own
from .batch import check_inputs
from .network import PLAIN, fill, own_generator
from .sampled_calls import Sizes
from .sampled_columns import computed
from .sampled_norms import normed, update
from .sampled_plan import Plan, Planner, SampledPlanner
from .sampled_steps import Step
from .sampled_weights import shared_weights


class SharingNetworks(nn.Module, ABC):
    """Networks of one space that run on weights which they share; `weights` is the tree of these.

    The sorts of it differ in which weights there are, and what of them a network reads.
    """

    def __init__(self, space: Graph) -> None:
        super().__init__()
        self.space = space
        self.weights = own.Scope()
        self._planner: Planner | None = None

    @abstractmethod
    def _new_planner(self) -> Planner:
        """What merges networks."""

    @property
    def planner(self) -> Planner:
        """What merges networks; made when it is first needed, and not copied."""
        if self._planner is None:
            self._planner = self._new_planner()
        return self._planner

    def computed(self, plan: Plan, inputs: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """The outputs of each network of a plan by name, for one batch of named tensors.

        Raises FusegraphError E711 where an input is missing, E712 where one does not fit.
        """
        values, _ = self._values(plan, inputs)
        return [{name: values[step] for name, step in ends} for ends in plan.outputs]

    def _values(
        self, plan: Plan, inputs: Mapping[str, Tensor]
    ) -> tuple[dict[Step, Tensor], dict[tuple[Step, ...], Tensor]]:
        """The values of all steps that are seen, and blocks f[G, ...] of those computed at once."""
        check_inputs(self.space.name, plan.inputs, inputs)
        values: dict[Step, Tensor] = {}
        blocks: dict[tuple[Step, ...], Tensor] = {}
        statistics: dict[Step, Tensor] = {}
        sizes = Sizes(plan.inputs, inputs)
        like = self._floats(inputs)
        outside = self._outside(plan, inputs, values, blocks)
        dead = {} if torch.is_grad_enabled() else _last_reads(outside, plan)
        for step in outside:
            operands = [values[i] for i in step.inputs]
            if step.norm and self.training:
                values[step] = normed(step, operands[0], statistics)
            else:
                assert step.call is not None
                values[step] = step.call(step.module, self, sizes, like, *operands)
            for read in dead.get(step, ()):
                del values[read]
        if statistics:
            update(plan.norms, statistics)
        return values, blocks

    def _outside(
        self,
        plan: Plan,
        inputs: Mapping[str, Tensor],
        values: dict[Step, Tensor],
        blocks: dict[tuple[Step, ...], Tensor],
    ) -> list[Step]:
        """The steps that are run one by one, after all others have their values."""
        taps = {s: inputs[s.node["name"]] for s in plan.steps if s.call is None}
        values.update(taps)
        apart = any(tap.requires_grad or _autocast(tap.device.type) for tap in taps.values())
        if apart or all(step.column is None for step in plan.steps):
            return [step for step in plan.steps if step.call is not None]
        needed = {step for ends in plan.outputs for _, step in ends}
        outside: list[Step] = []
        for step in reversed(plan.steps):
            if step in needed and step.call is not None and step.column is None:
                outside.append(step)
                needed.update(step.inputs)
        columns = [step for step in plan.steps if step.column is not None]
        wanted = [step for step in columns if step in needed]
        blocks.update(computed(columns, wanted, taps))
        for given, block in blocks.items():
            values.update(zip(given, block.unbind(0), strict=True))
        outside.reverse()
        return outside

    def __getstate__(self) -> dict[str, Any]:
        # The steps of a planner hold generated code, and modules of this very tree.
        return {**self.__dict__, "_planner": None}

    def _floats(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """A tensor whose dtype and device new tensors take."""
        for tensor in chain(inputs.values(), self.parameters()):
            if tensor.is_floating_point():
                return tensor
        return torch.empty(0)


class SampledNetworks(SharingNetworks):
    """The weights that all networks of a space share, and the networks that run on them.

    All weights that a network of the space may have exist from the start, by key, and by shape
    where an open number changes that. The start of each depends on the seed, its key and its shape
    alone, and is that of `lower(network, seed)`. What no network of a step reads gets no gradient,
    which optimisers of torch pass over.
    """

    def __init__(self, space: Graph, seed: int) -> None:
        super().__init__(space)
        self._shared = shared_weights(space)
        with own_generator(), torch.device("cpu"):
            fill(self.weights, self._shared.modules, seed, PLAIN)

    def run(
        self, networks: Sequence[Graph], inputs: Mapping[str, Tensor]
    ) -> list[dict[str, Tensor]]:
        """The outputs of each network by name, for one batch of named tensors.

        In training mode a batch norm takes its statistics from the activations of its own network,
        and running statistics end as if the networks had run one after the other, in this order. A
        dropout that several networks share draws once for them. Raises FusegraphError E711 where an
        input is missing, E712 where one does not fit, E717 for a network of another space.
        """
        return self.computed(self.planner.plan(networks), inputs)

    def stacked(
        self, networks: Sequence[Graph], inputs: Mapping[str, Tensor]
    ) -> list[tuple[list[int], dict[str, Tensor]]]:
        """What `run` gives, f[G, ...]: the outputs by name of all networks whose outputs have the
        same shapes, and the places of these G networks. There are several such sets only where an
        open number is in the shape of an output.
        """
        plan = self.planner.plan(networks)
        values, blocks = self._values(plan, inputs)
        sets: dict[tuple[torch.Size, ...], list[int]] = {}
        for place, ends in enumerate(plan.outputs):
            sets.setdefault(tuple([values[step].shape for _, step in ends]), []).append(place)
        found: list[tuple[list[int], dict[str, Tensor]]] = []
        for places in sets.values():
            outputs: dict[str, Tensor] = {}
            for each in zip(*[plan.outputs[place] for place in places], strict=True):
                steps = tuple([step for _, step in each])
                block = blocks.get(steps)
                if block is None:
                    block = torch.stack([values[step] for step in steps])
                outputs[each[0][0]] = block
            found.append((places, outputs))
        return found

    def _new_planner(self) -> Planner:
        return SampledPlanner(self.space, self._shared, dict(self.weights.named_modules()))

    def state_of(self, network: Graph) -> dict[str, Tensor]:
        """The weights of one network by the names of `lower(network)`, on the same storage."""
        found: dict[str, Tensor] = {}
        for step in self.planner.plan([network]).steps:
            if step.module is not None:
                for weight, value in step.module.state_dict(keep_vars=True).items():
                    found[f"{state_name(step.node.key)}.{weight}"] = value
        return found


def _autocast(device: str) -> bool:
    """Whether ops on this kind of device choose their precision themselves; not all kinds can."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _last_reads(steps: Sequence[Step], plan: Plan) -> dict[Step, list[Step]]:
    """By step, what no later one reads, so that its memory is free at once."""
    seen = {step for ends in plan.outputs for _, step in ends}
    found: dict[Step, list[Step]] = {}
    for step in reversed(steps):
        fresh = [i for i in dict.fromkeys(step.inputs) if i not in seen]
        seen.update(fresh)
        found[step] = fresh
    return found
