"""Modules and functions for stacks of layers; files written by `emit` carry copies of those used.

A stack is a tensor [G, ...] with a layer's result in each row. Of layers that give [N, C] it is
[G, C, N] as `compiler/fusion` writes it: a product of all weights that read one input then writes
whole rows, and a gather copies whole rows.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (its name all over the field)
from torch import Tensor, nn


class StackedLinear(nn.Module):
    """G linear layers, one for each row of a stack."""

    def __init__(
        self,
        count: int,
        width: int,
        out: int,
        bias: bool = True,
        axis: int = 2,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        bound = width**-0.5
        self.axis = axis
        self.weight = nn.Parameter(torch.empty(count, out, width, dtype=dtype))
        nn.init.uniform_(self.weight, -bound, bound)
        if bias:
            self.bias = nn.Parameter(torch.empty(count, out, dtype=dtype))
            nn.init.uniform_(self.bias, -bound, bound)
        else:
            self.register_parameter("bias", None)

    def forward(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        """x: [G, ..., in, ...], add: [G, ..., out, ...] -> [G, ..., out, ...]."""
        return stacked_linear(x, self.weight, self.bias, self.axis, add)


class StackedLayerNorm(nn.Module):
    """G layer norms, one for each row of a stack [G, N, ...]; `shape` starts with G."""

    def __init__(
        self, shape: Sequence[int], eps: float = 1e-5, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(*shape, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(*shape, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """x: [G, N, ...] -> [G, N, ...]."""
        return stacked_layer_norm(x, self.weight, self.bias, self.eps)


class LinearBank(nn.Module):
    """J linear layers over shared inputs, with one product for each input.

    Layer j reads the inputs reads[j * per] … reads[j * per + per - 1]; weight t has the blocks
    [out, widths[t]] of all places in `reads` that name input t, top to bottom.
    """

    def __init__(
        self,
        widths: Sequence[int],
        out: int,
        reads: Sequence[int],
        per: int = 1,
        bias: bool = True,
        axis: int = 1,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.axis = axis
        self.plan = bank_plan(len(widths), tuple(reads), per)
        weights: list[nn.Parameter] = []
        for place, width in enumerate(widths):
            rows = out * reads.count(place)
            weights.append(nn.Parameter(torch.empty(rows, width, dtype=dtype)))
            nn.init.uniform_(weights[-1], -(width**-0.5), width**-0.5)
        self.weight = nn.ParameterList(weights)
        if bias:
            self.bias = nn.Parameter(torch.zeros(len(reads) // per, out, dtype=dtype))
        else:
            self.register_parameter("bias", None)

    def forward(self, *x: Tensor) -> Tensor:
        """x: T of [..., in_t, ...] -> [J, out, ...]."""
        weights = [weight for weight in self.weight._parameters.values() if weight is not None]
        if torch.is_autocast_enabled(x[0].device.type) or any(part.requires_grad for part in x):
            return linear_bank(x, weights, self.bias, self.plan, self.axis)
        return _Bank.apply(self.plan, self.axis, x, self.bias, *weights)


# ── stacked layers ───────────────────────────────────────────────────────────────────────────────


def stacked_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, axis: int, add: Tensor | None = None
) -> Tensor:
    """y[g] = weight[g] x[g] + bias[g] + add[g] along `axis`. weight: [G, out, in]."""
    plain = axis == 1 and x.dim() == 3
    moved = x if axis == 1 else x.movedim(axis, 1)
    flat = moved if plain else moved.flatten(2)
    offset = None if bias is None else bias[:, :, None]
    if add is not None:
        more = add if plain else add.movedim(axis, 1).flatten(2)
        offset = more if offset is None else more + offset
    y = torch.bmm(weight, flat) if offset is None else torch.baddbmm(offset, weight, flat)
    return y if plain else y.unflatten(2, moved.shape[2:]).movedim(1, axis)


def stacked_layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Over the last axes of x, as many as `weight` [G, ...] has beside G."""
    normed = F.layer_norm(x, weight.shape[1:], eps=eps)
    shape = (weight.shape[0],) + (1,) * (x.dim() - weight.dim()) + tuple(weight.shape[1:])
    return torch.addcmul(bias.view(shape), normed, weight.view(shape))


# ── gather ───────────────────────────────────────────────────────────────────────────────────────


def gather(x: Sequence[Tensor], index: tuple[int, ...]) -> Tensor:
    """The rows `index` of the stacks, counted through one after the other."""
    joined = x[0] if len(x) == 1 else torch.cat(list(x))
    places = as_index(index, joined.device)
    return joined[: len(index)] if places is None else joined.index_select(0, places)


@functools.lru_cache(maxsize=1024)
def undone(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes `axes`."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


@functools.lru_cache(maxsize=1024)
def as_index(index: tuple[int, ...], device: torch.device) -> Tensor | None:
    """The index as a tensor; None where it takes rows in order, from the first on."""
    if index == tuple(range(len(index))):
        return None
    return torch.tensor(index, device=device)


# ── the bank ─────────────────────────────────────────────────────────────────────────────────────


BankPlan = tuple[tuple[int, ...], tuple[tuple[int, ...], ...], tuple[int, ...]]
"""Blocks of each input; for each of the `per` terms the block of every layer; of each block the
layer that reads it."""


@functools.lru_cache(maxsize=64)
def bank_plan(count: int, reads: tuple[int, ...], per: int) -> BankPlan:
    """Where the blocks of a bank lie: input by input, in the order of `reads`."""
    order = sorted(range(len(reads)), key=lambda place: (reads[place], place))
    block = undone(tuple(order))
    counts = tuple([reads.count(place) for place in range(count)])
    return (
        counts,
        tuple([block[term::per] for term in range(per)]),
        tuple([p // per for p in order]),
    )


def linear_bank(
    x: Sequence[Tensor],
    weights: Sequence[Tensor],
    bias: Tensor | None,
    plan: BankPlan,
    axis: int,
) -> Tensor:
    """A bank in plain operations: where inputs have gradients, and for lower precision."""
    counts, terms, _ = plan
    blocks: list[Tensor] = []
    rest = [size for at, size in enumerate(x[0].shape) if at != axis]
    for part, weight, count in zip(x, weights, counts, strict=True):
        blocks.append((weight @ _samples(part, axis).t()).view(count, -1, *rest))
    rows = torch.cat(blocks)
    total = gather([rows], terms[0])
    for term in terms[1:]:
        total = total + gather([rows], term)
    if bias is not None:
        total = total + bias.view(*bias.shape, *(1,) * (total.dim() - 2))
    return total


class _Bank(torch.autograd.Function):
    """The products, the gather of their rows and the offsets in one; `x` gets no gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: BankPlan,
        axis: int,
        x: tuple[Tensor, ...],
        bias: Tensor | None,
        *weights: Tensor,
    ) -> Tensor:
        counts, terms, _ = plan
        samples = [_samples(part, axis) for part in x]
        out, wide = weights[0].size(0) // counts[0], samples[0].size(0)
        flat = samples[0].new_empty(out * sum(counts), wide)
        places = flat.split_with_sizes([out * count for count in counts])
        products(weights, [part.t() for part in samples], places)
        rows = flat.view(-1, out, wide)
        total = _rows(rows, terms[0])
        for term in terms[1:]:
            total += _rows(rows, term)
        if bias is not None:
            total += bias.unsqueeze(2)
        ctx.plan, ctx.samples, ctx.biased = plan, samples, bias is not None
        if x[0].dim() == 2:
            return total
        rest = [size for at, size in enumerate(x[0].shape) if at != axis]
        return total.view(total.size(0), out, *rest)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        counts, _, layers = ctx.plan
        g = grads[0].flatten(2)
        out, wide = g.size(1), g.size(2)
        offset = g.sum(2) if ctx.biased else None
        rows = _rows(g, layers).reshape(-1, wide)
        parts = rows.split_with_sizes([out * count for count in counts])
        return (None, None, None, offset, *products(parts, ctx.samples))


def products(
    left: Sequence[Tensor], right: Sequence[Tensor], out: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """The matrix product of each pair, written to `out` where that is given.

    On a CPU large ones in float32 are oneDNN's, which on AMD machines is twice as fast as torch's
    own path.
    """
    found: list[Tensor] = []
    fast = onednn_linear(left[0].dtype, left[0].is_cpu)
    for place, (a, b) in enumerate(zip(left, right, strict=True)):
        if fast is not None and a.numel() * b.size(1) >= 1_000_000:
            y = fast(a, b.t(), None, "none", [], "")
            found.append(y if out is None else out[place].copy_(y))
        elif out is None:
            found.append(torch.mm(a, b))
        else:
            found.append(torch.mm(a, b, out=out[place]))
    return found


@functools.lru_cache(maxsize=16)
def onednn_linear(dtype: torch.dtype, cpu: bool) -> Any:
    """oneDNN's x Wᵀ, or None where it does not pay or torch was built without it."""
    if dtype is not torch.float32 or not cpu:
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _samples(x: Tensor, axis: int) -> Tensor:
    """[..., in, ...] -> [samples, in]."""
    return x if x.dim() == 2 and axis == 1 else x.movedim(axis, -1).flatten(0, -2)


def _rows(x: Tensor, index: tuple[int, ...]) -> Tensor:
    places = as_index(index, x.device)
    return x[: len(index)] if places is None else x.index_select(0, places)
