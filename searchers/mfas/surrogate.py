"""The surrogate of MFAS: a recurrent network that predicts a configuration's accuracy.

    e_t = sigmoid(E γ_t + b)            γ_t: the integers of level t, E: decisions -> 100
    h_t, c_t = LSTM(e_t, h_{t-1}, c_{t-1})                                      100 -> 100
    π(γ_1 … γ_l) = sigmoid(v · h_l + d)

Source: MFAS, section 3.2 and line 26 of Algorithm 1 ("π <- update(S_l, A_l)"); the paper leaves the
network open, and the figures are those of the authors' release: weights of the linear layers drawn
from U(-0.1, 0.1), their biases 1.8, the LSTM's from U(-0.1, 0.1) (one over the root of its width),
mean squared error, Adam at 1e-3 whose state lives as long as the search, 50 epochs an update, and
in each epoch one step on the full batch of each sequence length. For triplets it has 81,301
parameters.

What is computed once: equal levels are embedded and projected once, equal prefixes run through the
LSTM once, forwards and backwards (see `trie`). That changes the order of sums and nothing else.
The gradient is written out because the tape of autograd over a hundred small operations costs
more than the operations. All but `score_all` is float64: a search that is resumed with another
number of threads then still draws the same candidates, and a refit takes no longer than the plain
float32 loop (`benchmarks/bench_surrogate.py`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ..progression import Configuration, Level
from .trie import Trie
from .unfold import one_thread, project_levels, score_below, score_product
from .weights import Weights, shapes_of


@dataclass(frozen=True, slots=True)
class SurrogateOptions:
    """The surrogate's sizes and its training; the defaults are the release's."""

    embedding: int = 100
    hidden: int = 100
    learning_rate: float = 1e-3
    epochs: int = 50


@dataclass(frozen=True, slots=True)
class Fit:
    """What one update did: mean squared error over all samples in its first and last epoch."""

    samples: int
    first_loss: float
    last_loss: float
    seconds: float


@dataclass(frozen=True, slots=True)
class _Step:
    """What the forward pass of one rank leaves for the backward pass; all (prefixes, hidden)."""

    gates: Tensor  # (prefixes, 4, hidden), after their sigmoids and tanh
    cell: Tensor
    squashed: Tensor  # tanh(cell)
    state: Tensor


class RecurrentSurrogate:
    """Predicts the score, between 0 and 1, of configurations with `decisions` integers a level."""

    def __init__(self, decisions: int, seed: int, options: SurrogateOptions | None = None) -> None:
        self.options = options or SurrogateOptions()
        self.decisions = decisions
        shapes = shapes_of(decisions, self.options.embedding, self.options.hidden)
        size = sum(prod(shape) for shape in shapes.values())
        self._flat = torch.empty(size, dtype=torch.float64)
        self._gradient = torch.zeros_like(self._flat)
        self._weights = Weights.over(self._flat, shapes)
        self._gradients = Weights.over(self._gradient, shapes)
        self._initialise(seed)
        self._flat.grad = self._gradient
        self._optimiser = torch.optim.Adam([self._flat], lr=self.options.learning_rate, fused=True)

    def _initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        weights, bound = self._weights, self.options.hidden**-0.5
        for linear in (weights.embed, weights.value):
            linear.uniform_(-0.1, 0.1, generator=generator)
        for bias in (weights.embed_bias, weights.value_bias):
            bias.fill_(1.8)
        for recurrent in (weights.input, weights.hidden, weights.input_bias, weights.hidden_bias):
            recurrent.uniform_(-bound, bound, generator=generator)

    @property
    def parameters(self) -> int:
        """The number of learnt numbers: 81,301 for triplets and the default sizes."""
        return self._flat.numel()

    def named_weights(self) -> dict[str, Tensor]:
        """Copies of the weights by the names of `embed`, `lstm` and `value` as torch modules."""
        weights = self._weights
        return {
            "embed.weight": weights.embed.clone(),
            "embed.bias": weights.embed_bias.clone(),
            "lstm.weight_ih_l0": weights.input.clone(),
            "lstm.weight_hh_l0": weights.hidden.clone(),
            "lstm.bias_ih_l0": weights.input_bias.clone(),
            "lstm.bias_hh_l0": weights.hidden_bias.clone(),
            "value.weight": weights.value.clone(),
            "value.bias": weights.value_bias.clone(),
        }

    # ── training ─────────────────────────────────────────────────────────────────────────────────

    def fit(self, scores: Mapping[Configuration, float]) -> Fit:
        """One update: `epochs` times a step on the full batch of each length, shortest first."""
        started = time.perf_counter()
        with one_thread():
            first, last = self._fit(scores)
        return Fit(len(scores), first, last, time.perf_counter() - started)

    def _fit(self, scores: Mapping[Configuration, float]) -> tuple[float, float]:
        lengths: dict[int, list[Configuration]] = {}
        for configuration in scores:
            lengths.setdefault(len(configuration), []).append(configuration)
        batches = [
            (
                Trie.of(lengths[length]),
                torch.tensor([scores[c] for c in lengths[length]], dtype=torch.float64),
            )
            for length in sorted(lengths)
        ]
        losses = [
            torch.stack([self._descend(trie, target) for trie, target in batches]).sum()
            for _ in range(self.options.epochs)
        ]
        return float(losses[0]) / len(scores), float(losses[-1]) / len(scores)

    def _descend(self, trie: Trie, target: Tensor) -> Tensor:
        """One step of Adam on the mean squared error; returns the *sum* of squared errors."""
        inputs, embedded, steps = self._forward(trie)
        top = steps[-1].state[trie.leaf]
        predicted = self._weights.valued(top)
        error = predicted - target
        outer = error * (predicted * (1 - predicted)) * (2 / len(target))
        gradients = self._gradients
        torch.mv(top.T, outer, out=gradients.value[0])
        torch.sum(outer, 0, keepdim=True, out=gradients.value_bias)
        below = torch.zeros_like(steps[-1].state)
        below.index_add_(0, trie.leaf, outer[:, None] * self._weights.value[0])
        self._backward(trie, inputs, embedded, steps, below)
        self._optimiser.step()
        return error.square().sum()

    def _forward(self, trie: Trie) -> tuple[Tensor, Tensor, list[_Step]]:
        weights, width = self._weights, self.options.hidden
        inputs = trie.symbols.to(torch.float64)
        embedded = weights.embedded(inputs)
        projected = weights.projected(embedded)
        steps: list[_Step] = []
        for rank in trie.ranks:
            gates = projected[rank.symbol]
            if steps:
                gates += (steps[-1].state @ weights.hidden.T)[rank.parent]
            gates[:, : 2 * width].sigmoid_()
            gates[:, 2 * width : 3 * width].tanh_()
            gates[:, 3 * width :].sigmoid_()
            gates = gates.view(-1, 4, width)
            cell = gates[:, 0] * gates[:, 2]
            if steps:
                cell.addcmul_(gates[:, 1], steps[-1].cell[rank.parent])
            squashed = torch.tanh(cell)
            steps.append(_Step(gates, cell, squashed, gates[:, 3] * squashed))
        return inputs, embedded, steps

    def _backward(
        self, trie: Trie, inputs: Tensor, embedded: Tensor, steps: list[_Step], state: Tensor
    ) -> None:
        """Backpropagation through time; `state` is the loss's gradient by the last rank's h."""
        weights, gradients, width = self._weights, self._gradients, self.options.hidden
        projected = torch.zeros(len(trie.symbols), 4 * width, dtype=torch.float64)
        gradients.hidden.zero_()
        carried: Tensor | None = None
        for depth in reversed(range(len(steps))):
            step, rank = steps[depth], trie.ranks[depth]
            inner, forget, new, outer = step.gates.unbind(1)
            cell = state * outer * (1 - step.squashed.square())
            if carried is not None:
                cell += carried
            gates = torch.empty_like(step.gates)
            torch.mul(cell, new, out=gates[:, 0])
            torch.mul(cell, inner, out=gates[:, 2])
            torch.mul(state, step.squashed, out=gates[:, 3])
            before = steps[depth - 1] if depth else None
            if before is not None:
                torch.mul(cell, before.cell[rank.parent], out=gates[:, 1])
                carried = torch.zeros_like(before.cell)
                carried.index_add_(0, rank.parent, cell.mul_(forget))
            else:
                gates[:, 1] = 0
            slope = step.gates * (1 - step.gates)
            torch.sub(1, new.square(), out=slope[:, 2])
            gates *= slope
            flat = gates.view(-1, 4 * width)
            projected.index_add_(0, rank.symbol, flat)
            if before is not None:
                gathered = torch.zeros(len(before.state), 4 * width, dtype=torch.float64)
                gathered.index_add_(0, rank.parent, flat)
                gradients.hidden.addmm_(gathered.T, before.state)
                state = gathered @ weights.hidden
        torch.mm(projected.T, embedded, out=gradients.input)
        torch.sum(projected, 0, out=gradients.input_bias)
        gradients.hidden_bias.copy_(gradients.input_bias)
        hidden = (projected @ weights.input) * (embedded * (1 - embedded))
        torch.mm(hidden.T, inputs, out=gradients.embed)
        torch.sum(hidden, 0, out=gradients.embed_bias)

    # ── prediction ───────────────────────────────────────────────────────────────────────────────

    def score(self, configurations: Sequence[Configuration]) -> Tensor:
        """The predicted scores of configurations of any lengths; float64 of shape (given)."""
        scores = torch.empty(len(configurations), dtype=torch.float64)
        lengths: dict[int, list[int]] = {}
        for index, configuration in enumerate(configurations):
            lengths.setdefault(len(configuration), []).append(index)
        for indices in lengths.values():
            trie = Trie.of([configurations[index] for index in indices])
            with one_thread():
                _, _, steps = self._forward(trie)
            scores[indices] = self._weights.valued(steps[-1].state)[trie.leaf]
        return scores

    def score_unfolded(self, prefixes: Sequence[Configuration], options: Sequence[Level]) -> Tensor:
        """The scores of every prefix continued by every option: (prefixes, options), one batch.

        The prefixes have one common length, which may be zero. Float64.
        """
        state = cell = torch.zeros(len(prefixes), self.options.hidden, dtype=torch.float64)
        scores = torch.empty(len(prefixes) * len(options), dtype=torch.float64)
        with one_thread():
            if prefixes[0]:
                trie = Trie.of(prefixes)
                _, _, steps = self._forward(trie)
                state, cell = steps[-1].state[trie.leaf], steps[-1].cell[trie.leaf]
            projected = [project_levels(self._weights, options)]
            score_below(self._weights, state, cell, projected, scores)
        return scores.view(len(prefixes), len(options))

    def score_all(self, levels: Sequence[Sequence[Level]]) -> Tensor:
        """The scores of the whole product of `levels`, in the order of `itertools.product`.

        Every one is computed, with the LSTM's states shared along prefixes and in bounded memory
        beside the result of shape (product of the levels' options). Float32: equal to the others
        within 1e-6, in half of the time and memory.
        """
        return score_product(self._weights.to(torch.float32), levels)
