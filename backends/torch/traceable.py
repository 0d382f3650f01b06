"""The kit of fused graphs under `torch.compile`: what `fused.py` does, in ops that it can trace.

Matrix products stay calls of the fastest path; all between them is left to the compiler, which
makes one loop of what the eager kernels do in several sweeps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (its name all over the field)
from torch import Tensor

from . import kernels
from .dense import Dense, Plan, tails_backward, tails_forward
from .fused import FUSED
from .layout import Call, Expr
from .lowering import Site
from .masks import Drop, Masks, mask_of
from .network import Kit


@torch.library.custom_op("fusegraph::product", mutates_args=())
def _product(x: Tensor, w: Tensor) -> Tensor:
    return kernels.product(x, w)


@_product.register_fake
def _(x: Tensor, w: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], w.shape[0]))


@torch.library.custom_op("fusegraph::weight_gradient", mutates_args=())
def _weight_gradient(g: Tensor, x: Tensor) -> Tensor:
    return kernels.weight_gradient(g, x).contiguous()


@_weight_gradient.register_fake
def _(g: Tensor, x: Tensor) -> Tensor:
    return x.new_empty((g.shape[1], x.shape[1]))


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _back(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, w = ctx.saved_tensors
    needs = ctx.needs_input_grad
    return (
        torch.ops.fusegraph.product(g.contiguous(), w.t()) if needs[0] else None,
        torch.ops.fusegraph.weight_gradient(g.contiguous(), x) if needs[1] else None,
    )


_product.register_autograd(_back, setup_context=_keep)


@torch.library.custom_op("fusegraph::norm", mutates_args=())
def _norm(z: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    return torch.native_batch_norm(z, gamma, beta, None, None, True, 0.0, eps)


@_norm.register_fake
def _(z: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(z), torch.empty_like(gamma), torch.empty_like(gamma)


@torch.library.custom_op("fusegraph::norm_backward", mutates_args=())
def _norm_backward(
    g: Tensor, z: Tensor, gamma: Tensor, mean: Tensor, invstd: Tensor, eps: float, own: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dz, dgamma, dbeta = torch.ops.aten.native_batch_norm_backward(
        g, z, gamma, None, None, mean, invstd, True, eps, [True, own, own]
    )
    return dz, dgamma if own else mean.new_empty(0), dbeta if own else mean.new_empty(0)


@_norm_backward.register_fake
def _(
    g: Tensor, z: Tensor, gamma: Tensor, mean: Tensor, invstd: Tensor, eps: float, own: bool
) -> tuple[Tensor, Tensor, Tensor]:
    size = gamma.shape[0] if own else 0
    return torch.empty_like(z), gamma.new_empty(size), gamma.new_empty(size)


def _keep_norm(ctx: Any, inputs: Any, output: Any) -> None:
    z, gamma, _, ctx.eps = inputs
    _, mean, invstd = output
    ctx.save_for_backward(z, gamma, mean, invstd)
    ctx.mark_non_differentiable(mean, invstd)


def _norm_back(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    needs = ctx.needs_input_grad
    own = needs[1] or needs[2]
    dz, dgamma, dbeta = torch.ops.fusegraph.norm_backward(
        g.contiguous(), *ctx.saved_tensors, ctx.eps, own
    )
    return dz, dgamma if own else None, dbeta if own else None, None


_norm.register_autograd(_norm_back, setup_context=_keep_norm)


# ── tails ────────────────────────────────────────────────────────────────────────────────────────

_PLANS: list[Plan] = []
"""An op cannot take a plan; it takes its place here."""


@torch.library.custom_op("fusegraph::tails", mutates_args=())
def _tails(h: Tensor, random: Tensor, place: int, training: bool) -> list[Tensor]:
    plan = _PLANS[place]
    given = h.relu() if plan.in_place(h.shape[1]) else h  # an op may not write into its input
    y, kept = tails_forward(given, plan, Masks(random), training)
    return [y, *[h.new_empty(0) if k is None else k for k in kept[1:]]]


@_tails.register_fake
def _(h: Tensor, random: Tensor, place: int, training: bool) -> list[Tensor]:
    plan = _PLANS[place]
    whole = h.new_empty((h.shape[0], sum([t[2] - t[1] for t in plan.tails])))
    if plan.in_place(h.shape[1]):
        return [whole]
    kept: list[Tensor] = []
    for kind, start, stop, _, p in plan.tails:
        part = (h.shape[0], stop - start)
        masked = bool(p) and training and kind != "relu"
        kept.append(h.new_empty(part if kind in ("glu", "sigmoid") else (0,)))
        kept.append(h.new_empty(part if masked else (0,)))
    return [whole, *kept]


@torch.library.custom_op("fusegraph::tails_backward", mutates_args=())
def _tails_backward(
    g: Tensor, kept: Sequence[Tensor], place: int, training: bool, out: int
) -> Tensor:
    there = [k if k.numel() else None for k in kept]
    found = tails_backward(g, there, _PLANS[place], out, training)
    return found.clone() if found is g else found


@_tails_backward.register_fake
def _(g: Tensor, kept: Sequence[Tensor], place: int, training: bool, out: int) -> Tensor:
    return g.new_empty((g.shape[0], out))


def _keep_tails(ctx: Any, inputs: Any, output: Any) -> None:
    h, _, ctx.place, ctx.training = inputs
    ctx.out = h.shape[1]
    ctx.save_for_backward(*output)


def _tails_back(ctx: Any, grads: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    kept = list(ctx.saved_tensors)
    g = grads[0].contiguous()
    found = torch.ops.fusegraph.tails_backward(g, kept, ctx.place, ctx.training, ctx.out)
    return found, None, None, None


_tails.register_autograd(_tails_back, setup_context=_keep_tails)


@torch.library.custom_op("fusegraph::mask", mutates_args=())
def _mask(random: Tensor, like: Tensor, p: float) -> Tensor:
    return mask_of(random, torch.empty_like(like, memory_format=torch.contiguous_format), p)


@_mask.register_fake
def _(random: Tensor, like: Tensor, p: float) -> Tensor:
    return torch.empty_like(like, memory_format=torch.contiguous_format)


class TraceableDense(Dense):
    """`Dense` in ops that can be traced."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.place = len(_PLANS)
        _PLANS.append(self.plan)

    def forward(self, x: Tensor) -> Tensor:
        """x: [R, in] -> [R, widths of the tails]."""
        plan = self.plan
        w = self.weight
        for name, (top, bottom, left, right) in zip(self.extras, plan.extras, strict=True):
            pads = (left, w.shape[1] - right, top, w.shape[0] - bottom)
            extra = getattr(self, name)
            w = w + (F.pad(extra, pads) if any(pads) else extra)
        h: Tensor = torch.ops.fusegraph.product(x, w)
        bias = self.bias
        if bias is not None and bias.shape[0] != w.shape[0]:
            bias = F.pad(bias, (plan.bias[0], w.shape[0] - plan.bias[1]))
        if plan.norm is not None and self.training:
            h = self._normed(h, bias, plan.norm)
        else:
            h = h if bias is None else h + bias
            h = h if plan.norm is None else self._shifted(h, plan.norm[0])
        if not plan.tails:
            return h
        taken = [h.shape[0] * (t[2] - t[1]) for t in plan.tails if t[4] and self.training]
        random = self.masks.next_bytes(*taken)
        found: list[Tensor] = torch.ops.fusegraph.tails(h, random, self.place, self.training)
        return found[0]

    def _normed(self, h: Tensor, bias: Tensor | None, norm: tuple[float, float, int]) -> Tensor:
        eps, momentum, repeats = norm
        gamma, beta = self.norm_weight, self.norm_bias
        assert gamma is not None
        assert beta is not None
        if self.plan.folds:
            factors = self.plan.factors(gamma.detach())
            gamma, beta = gamma * factors, beta * factors
        if bias is not None:
            beta = beta + 0 * bias  # changes nothing, but has a gradient, of zeros
        y, mean, invstd = torch.ops.fusegraph.norm(h, gamma, beta, eps)
        count = h.shape[0] * repeats
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        with torch.no_grad():
            self.running_mean.lerp_(mean if bias is None else mean + bias, momentum)
            var = invstd.pow(-2) - eps
            self.running_var.lerp_(var * (count / (count - 1)), momentum)
            self.num_batches_tracked.add_(1)
        return y

    def _shifted(self, h: Tensor, eps: float) -> Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.norm_weight is not None
        assert self.norm_bias is not None
        factor = torch.rsqrt(self.running_var + eps) * self.norm_weight
        return (h - self.running_mean) * factor + self.norm_bias


class TraceableDrop(Drop):
    """`Drop` with a mask from elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        if not self.training or self.p == 0.0:
            return x
        random = self.masks.next_bytes(x.numel())
        mask: Tensor = torch.ops.fusegraph.mask(random, x.detach(), self.p)
        return x * (mask * (1.0 / (1.0 - self.p)))


class _Functions:
    """What generated code calls `_kernels`."""

    @staticmethod
    def affine(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
        y: Tensor = torch.ops.fusegraph.product(x, w)
        return y if bias is None else y + bias

    @staticmethod
    def attend(x: Tensor, y: Tensor, v: Tensor, scale: float) -> Tensor:
        p = torch.softmax(torch.bmm(y, x.transpose(1, 2)) * scale, 1)
        return torch.bmm(p.transpose(1, 2), v)

    @staticmethod
    def blend(gates: Tensor, x: Sequence[Tensor], terms: kernels.Terms, width: int) -> Tensor:
        total: Tensor | None = None
        for place, column, parts in terms:
            factor: Tensor | float = 0.0
            for gate, by in parts:
                factor = factor + (by if gate < 0 else by * gates[gate])
            value = x[place] if x[place].shape[1] == width else x[place][:, column : column + width]
            total = value * factor if total is None else total + value * factor
        assert total is not None
        return total

    @staticmethod
    def relu(x: Tensor, place: int) -> Tensor:
        random = torch.empty(0, dtype=torch.uint8)
        rows = x.reshape(x.shape[0], -1)
        found: list[Tensor] = torch.ops.fusegraph.tails(rows, random, place, False)
        return found[0].view(x.shape)

    @staticmethod
    def repeat(x: Tensor, times: int) -> Tensor:
        return kernels.repeat(x, times)


def _relu(site: Site) -> Expr:
    """A relu as a tail: the compiler would keep the signs as bools, which it is slow to write."""
    width = math.prod([size for size in site.node.type.shape[1:] if isinstance(size, int)])
    if site.rank < 2 or any(not isinstance(size, int) for size in site.node.type.shape[1:]):
        return Call("F.relu", site.x)
    _PLANS.append(Plan((), (0, 0), None, (("relu", 0, width, 0, 0.0),)))
    return Call("_kernels.relu", [*site.x, str(len(_PLANS) - 1)])


TRACEABLE = Kit(
    {**FUSED.lowerings, "relu": _relu},
    {**FUSED.names, "Dense": TraceableDense, "Drop": TraceableDrop, "_kernels": _Functions},
)
"""For graphs that the passes of fusion made, to be compiled."""
