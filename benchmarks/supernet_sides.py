"""fusegraph's side of `bench_supernet.py`: the example spaces of BM-NAS, relaxed and fused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from straightforward_bm_nas import Batch, Configuration, StraightforwardSteps
from torch import Tensor, nn

from fusegraph.backends.torch.supernet import SupernetModule, lower_supernet
from fusegraph.compiler.fusion.stages import rewritten, with_inputs
from fusegraph.compiler.relax import Supernet, relax
from fusegraph.ir.dsl.load import load
from fusegraph.ir.node import Node

SPACES = Path(__file__).resolve().parents[1] / "examples" / "bm_nas"
FILES = {
    "NTU 1": "ntu_release.fuse",
    "Ego 1": "ego_gesture_release.fuse",
    "MM-IMDB 1": "mm_imdb_release.fuse",
}


def module_of(
    configuration: Configuration, *, fused: bool = True, compiled: bool = False
) -> SupernetModule:
    """The supernet of a configuration, with the constants of Table 9."""
    space = load(SPACES / FILES[configuration.name]).graph
    return lower_supernet(relax(space), 0, fused=fused, compiled=compiled)


class SupernetSteps:
    """The steps of Algorithm 1, first order, each with the gradients that it needs and no others.

    Optimisers as in the paper's A.2, at the greatest learning rate. Features are kept as
    `SupernetModule.prepare` gives them: pooled, with the channels last.
    """

    def __init__(self, configuration: Configuration, device: str, compiled: bool) -> None:
        torch.manual_seed(0)
        self.configuration = configuration
        self.module = module_of(configuration, compiled=compiled).to(device)
        self.loss = nn.BCEWithLogitsLoss() if configuration.multilabel else nn.CrossEntropyLoss()
        self.weights = torch.optim.Adam(
            self.module.weight_parameters(),
            lr=configuration.learning_rate,
            weight_decay=1e-4,
            fused=True,
        )
        self.architecture = torch.optim.Adam(
            self.module.architecture_parameters(),
            lr=3e-4,
            betas=(0.5, 0.999),
            weight_decay=1e-3,
            fused=True,
        )
        self._kept: dict[int, tuple[Batch, dict[str, Tensor]]] = {}

    def weight_step(self, batch: Batch) -> Tensor:
        """One update of the weights on a training batch; the loss."""
        return self._step(batch, self.weights, self.architecture)

    def architecture_step(self, batch: Batch) -> Tensor:
        """One update of the architecture's parameters on a validation batch; the loss."""
        return self._step(batch, self.architecture, self.weights)

    def evaluate(self, batch: Batch) -> Tensor:
        """Logits f32[B, classes] of a validation batch, in evaluation mode."""
        self.module.eval()
        with torch.no_grad():
            return self._logits(batch)

    def _step(
        self, batch: Batch, stepped: torch.optim.Optimizer, resting: torch.optim.Optimizer
    ) -> Tensor:
        self.module.train()
        for optimiser, on in ((resting, False), (stepped, True)):
            for parameter in optimiser.param_groups[0]["params"]:
                parameter.requires_grad_(on)
        stepped.zero_grad()
        loss = self.loss(self._logits(batch), batch.labels)
        loss.backward()
        stepped.step()
        return loss.detach()

    def _logits(self, batch: Batch) -> Tensor:
        logits = self.module.run_prepared(self._features(batch))
        assert isinstance(logits, Tensor)
        return logits

    def _features(self, batch: Batch) -> dict[str, Tensor]:
        kept = self._kept.get(id(batch))
        if kept is None:
            kept = self._kept[id(batch)] = (batch, cached(self.configuration, batch))
        return kept[1]


def cached(configuration: Configuration, batch: Batch) -> dict[str, Tensor]:
    """A batch as it lies in a cache of what `prepare` gives: maps pooled over space, channels last.

    f32[B, positions, Cin] by the names of the taps, or vectors.
    """
    return {
        tap.name: x.transpose(1, 2).contiguous() if x.dim() == 3 else x
        for tap, x in zip(configuration.taps, batch.features, strict=True)
    }


# ── the check: both sides compute one thing ──────────────────────────────────────────────────────


def check(configuration: Configuration, batch: Batch) -> float:
    """The greatest difference between both sides: loss, and gradients of all weights and of the
    architecture, in float64, in training mode, without dropout.

    The gradients of our side are unpacked to the names of the space. Gradients are compared with
    the largest of their tensor, and where that is next to nothing, with 1e-3.
    """
    supernet = _without_dropout(relax(load(SPACES / FILES[configuration.name]).graph))
    ours = lower_supernet(supernet, 0).double().train()
    theirs = StraightforwardSteps(configuration).network.double().train()
    for module in theirs.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    names = _names(configuration, theirs)
    given = {names[n]: v.reshape(s) for n, v, s in _shaped(theirs.state_dict(), ours, names)}
    ours.load_plain_state(given)
    loss = nn.BCEWithLogitsLoss() if configuration.multilabel else nn.CrossEntropyLoss()
    labels = batch.labels.double() if configuration.multilabel else batch.labels
    reference = loss(theirs([x.double() for x in batch.pooled]), labels)
    features = {n: x.double() for n, x in cached(configuration, batch).items()}
    logits = ours.run_prepared(features)
    assert isinstance(logits, Tensor)
    found = loss(logits, labels)
    reference.backward()
    found.backward()
    worst = float((reference - found).detach().abs())
    with torch.no_grad():
        for parameter in (*ours.weight_parameters(), *ours.architecture_parameters()):
            assert parameter.grad is not None
            parameter.copy_(parameter.grad)
    gradients = ours.plain_state()
    for name, parameter in theirs.named_parameters():
        assert parameter.grad is not None
        wanted = parameter.grad.reshape(gradients[names[name]].shape)
        scale = max(1e-3, float(wanted.abs().max()))
        worst = max(worst, float((wanted - gradients[names[name]]).abs().max()) / scale)
    return worst


def _without_dropout(supernet: Supernet) -> Supernet:
    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        return inputs[0] if node.op.name == "dropout" else with_inputs(node, inputs)

    return replace(supernet, graph=rewritten(supernet.graph, rule))


def _shaped(
    state: dict[str, Tensor], ours: SupernetModule, names: dict[str, str]
) -> Iterator[tuple[str, Tensor, torch.Size]]:
    shapes = {name: value.shape for name, value in ours.plain_state().items()}
    for name, value in state.items():
        yield name, value, shapes[names[name]]


def _names(configuration: Configuration, network: nn.Module) -> dict[str, str]:
    """By the baseline's name of a weight, the space's."""
    found: dict[str, str] = {}
    for name in network.state_dict():
        head, _, rest = name.partition(".")
        if head == "aligns":
            place, _, rest = rest.partition(".project.")
            tap = configuration.taps[int(place)].name.replace("_tap[", ".").rstrip("]")
            found[name] = f"{tap}.project.{_projected(rest)}"
        elif head == "cells":
            cell, _, rest = rest.partition(".")
            found[name] = _in_cell(f"c.{int(cell) + 1}", rest)
        else:
            found[name] = f"logits.{'layer_norm.' if head == 'norm' else ''}{rest}"
    return found


def _projected(rest: str) -> str:
    layer, _, weight = rest.partition(".")
    return f"{('linear', 'batch_norm')[int(layer)]}.{weight}"


def _in_cell(cell: str, rest: str) -> str:
    head, _, tail = rest.partition(".")
    if head == "alpha":
        return f"architecture.{cell}.inputs.weight"
    if head == "out":
        return f"{cell}.out.2.{_projected(tail)}"
    if head == "norm":
        return f"{cell}.layer_norm.{tail}"
    step, _, tail = tail.partition(".")
    step = f"{cell}.s.{int(step) + 1}"
    decisions = {"beta": "left", "gamma": "op"}
    if tail in decisions:
        return f"architecture.{step}.{decisions[tail]}.weight"
    _, op, tail = tail.split(".", 2)
    head, _, weight = tail.partition(".")
    if op == "1":
        return f"{step}.attention.layer_norm.{weight}"
    if op == "2":
        return f"{step}.glu.h.{'linear.' if head == 'conv' else ''}{weight}"
    return f"{step}.fc.{_projected(weight)}"
