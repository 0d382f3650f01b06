"""`dense` of `compiler/fusion`: product, batch norm and tails in one step forward and one back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (its name all over the field)
from torch import Tensor, nn

from .kernels import product, weight_gradient
from .masks import Drawing, Masks

_aten = torch.ops.aten

TailSpec = tuple[str, int, int, int, float]
"""Kind, start, stop, first column of the gate, probability of dropout: `ops.Tail`."""


class Plan:
    """What stays the same from step to step, for the function below."""

    __slots__ = ("_factors", "bias", "extras", "folds", "norm", "tails")

    def __init__(
        self,
        extras: Sequence[tuple[int, int, int, int]],
        bias: tuple[int, int],
        norm: tuple[float, float, int] | None,
        tails: Sequence[TailSpec],
    ) -> None:
        self.extras = extras
        self.bias = bias
        self.norm = norm
        self.tails = tails
        dropped = [tail for tail in tails if tail[4]]
        scalable = all(kind != "sigmoid" for kind, *_ in dropped) and not _overlap(tails)
        self.folds = bool(dropped) and norm is not None and scalable
        """Whether the scale of dropout is put into the batch norm, whose result is linear in it."""
        self._factors: Tensor | None = None

    def in_place(self, width: int) -> bool:
        """Whether the only tail is a relu of all columns, which can be done in place."""
        return len(self.tails) == 1 and self.tails[0][:3] == ("relu", 0, width)

    def factors(self, like: Tensor) -> Tensor:
        """For each column 1/(1-p) of its tail, or 1."""
        found = self._factors
        if found is None or found.dtype != like.dtype or found.device != like.device:
            found = torch.ones_like(like)
            for _, start, stop, _, p in self.tails:
                found[start:stop] = 1.0 / (1.0 - p)
            self._factors = found
        return found


def _full_bias(bias: Tensor | None, span: tuple[int, int], out: int) -> Tensor | None:
    if bias is None or bias.shape[0] == out:
        return bias
    full = bias.new_zeros(out)
    full[span[0] : span[1]] = bias
    return full


def _summed(w: Tensor, plan: Plan, extras: Sequence[Tensor]) -> Tensor:
    if not extras:
        return w
    first = plan.extras[0]
    if len(extras) == 1 and first[1] - first[0] == w.shape[0] and first[3] - first[2] == w.shape[1]:
        return w + extras[0]
    w = w.clone()
    for (top, bottom, left, right), extra in zip(plan.extras, extras, strict=True):
        w[top:bottom, left:right] += extra
    return w


class _DenseFunction(torch.autograd.Function):
    """Inputs: plan, masks, training, x, weight, bias, gamma, beta, running mean, running variance,
    extras.
    """

    @staticmethod
    def forward(
        ctx: Any,
        plan: Plan,
        masks: Masks,
        training: bool,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        gamma: Tensor | None,
        beta: Tensor | None,
        mean: Tensor | None,
        var: Tensor | None,
        *extras: Tensor,
    ) -> Tensor:
        w = _summed(weight, plan, extras)
        full = _full_bias(bias, plan.bias, w.shape[0])
        ctx.plan = plan
        ctx.training = training
        z = stats = None
        if plan.norm is None:
            h = product(x, w, full)
        elif training:
            z = product(x, w)
            if plan.folds:
                assert gamma is not None
                assert beta is not None
                factors = plan.factors(gamma)
                gamma, beta = gamma * factors, beta * factors
            h, *stats = _normed(z, full, gamma, beta, mean, var, plan.norm)
        else:
            assert gamma is not None
            assert beta is not None
            assert mean is not None
            assert var is not None
            factor = gamma * torch.rsqrt(var + plan.norm[0])
            offset = (beta - mean * factor) if full is None else beta + (full - mean) * factor
            h = product(x, w * factor[:, None], offset)
        y, kept = tails_forward(h, plan, masks, training)
        saved = [x, w, full, gamma, mean, var, z, *(stats or (None, None)), *kept]
        ctx.save_for_backward(*saved)
        ctx.has_bias = bias is not None
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        plan: Plan = ctx.plan
        (g,) = grads
        x, w, full, gamma, mean, var, z, batch_mean, invstd, *kept = ctx.saved_tensors
        needs = ctx.needs_input_grad
        h = tails_backward(g, kept, plan, w.shape[0], ctx.training)
        dgamma = dbeta = dbias = None
        if plan.norm is not None and z is not None:
            own = needs[6] or needs[7]
            dz, dgamma, dbeta = _aten.native_batch_norm_backward(
                h, z, gamma, None, None, batch_mean, invstd, True, plan.norm[0], [True, own, own]
            )
            if own and plan.folds:
                factors = plan.factors(gamma)
                dgamma, dbeta = dgamma * factors, dbeta * factors
            if ctx.has_bias and needs[5]:  # what is added before a batch norm changes nothing
                dbias = h.new_zeros(plan.bias[1] - plan.bias[0])
        elif plan.norm is not None:
            factor = gamma * torch.rsqrt(var + plan.norm[0])
            dz = h * factor
            if needs[6]:
                z = x @ w.t() - mean if full is None else x @ w.t() + (full - mean)
                dgamma = (h * z).sum(0) * torch.rsqrt(var + plan.norm[0])
            dbeta = h.sum(0)
            if ctx.has_bias and needs[5]:
                dbias = dz.sum(0)[plan.bias[0] : plan.bias[1]]
        else:
            dz = h
            if ctx.has_bias and needs[5]:
                dbias = dz[:, plan.bias[0] : plan.bias[1]].sum(0)
        dx = product(dz, w.t()) if needs[3] else None
        dw = weight_gradient(dz, x) if needs[4] else None
        extras: list[Tensor | None] = [None] * len(plan.extras)
        if dw is not None:
            for place, (top, bottom, left, right) in enumerate(plan.extras):
                extras[place] = dw[top:bottom, left:right]
        return None, None, None, dx, dw, dbias, dgamma, dbeta, None, None, *extras


def _normed(
    z: Tensor,
    bias: Tensor | None,
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    norm: tuple[float, float, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """The batch norm of z + bias, whose running variance counts each row `repeats` times."""
    eps, momentum, repeats = norm
    assert mean is not None
    assert var is not None
    if repeats == 1:
        h, batch_mean, invstd = torch.native_batch_norm(
            z, gamma, beta, mean, var, True, momentum, eps
        )
        if bias is not None:
            mean.add_(bias.detach(), alpha=momentum)
        return h, batch_mean, invstd
    h, batch_mean, invstd = torch.native_batch_norm(z, gamma, beta, None, None, True, momentum, eps)
    count = z.shape[0] * repeats
    mean.lerp_(batch_mean if bias is None else batch_mean + bias.detach(), momentum)
    spread = invstd.pow(-2).sub_(eps).mul_(count / (count - 1))
    var.lerp_(spread, momentum)
    return h, batch_mean, invstd


# ── tails ────────────────────────────────────────────────────────────────────────────────────────


def tails_forward(
    h: Tensor, plan: Plan, masks: Masks, training: bool
) -> tuple[Tensor, list[Tensor | None]]:
    """The result, and what the way back needs; may write into h."""
    tails = plan.tails
    if not tails:
        return h, []
    if plan.in_place(h.shape[1]):
        y = h.relu_()
        if tails[0][4] and training:
            y.mul_(_mask(y, tails[0][4], plan, masks))
        return y, [y]
    width = sum([stop - start for _, start, stop, _, _ in tails])
    y = h.new_empty((h.shape[0], width))
    kept: list[Tensor | None] = [y]
    at = 0
    for kind, start, stop, gate, p in tails:
        part, target = h[:, start:stop], y[:, at : at + stop - start]
        at += stop - start
        mask = _mask(part, p, plan, masks) if p and training else None
        gated = None
        if kind == "relu":
            torch.clamp_min(part, 0, out=target)
        elif kind == "sigmoid":
            gated = torch.sigmoid(part)
            target.copy_(gated)
        elif kind == "glu":
            gated = torch.sigmoid(h[:, gate : gate + stop - start])
            torch.mul(part, gated, out=target)
        else:
            target.copy_(part)
        if mask is not None:
            target.mul_(mask)
        # a relu's way back sees from its result what was dropped
        kept += [gated, None if kind == "relu" else mask]
    return y, kept


def _mask(like: Tensor, p: float, plan: Plan, masks: Masks) -> Tensor:
    mask = masks.draw(like, p)
    return mask if plan.folds else mask.mul_(1.0 / (1.0 - p))


def tails_backward(
    g: Tensor, kept: Sequence[Tensor | None], plan: Plan, out: int, training: bool
) -> Tensor:
    """The gradient of h."""
    tails = plan.tails
    if not tails:
        return g
    unscaled = training and not plan.folds
    y, *rest = kept
    assert y is not None
    if not rest:
        p = tails[0][4]
        found = _aten.threshold_backward(g, y, 0)
        return found.mul_(1.0 / (1.0 - p)) if p and unscaled else found
    found = g.new_empty((g.shape[0], out))
    read = sum([(stop - start) * (2 if kind == "glu" else 1) for kind, start, stop, *_ in tails])
    apart = read == out and not _overlap(tails)
    if not apart:
        found.zero_()
    at = 0
    for place, (kind, start, stop, gate, p) in enumerate(tails):
        columns = slice(at, at + stop - start)
        at = columns.stop
        part, result = g[:, columns], y[:, columns]
        gated, mask = rest[2 * place], rest[2 * place + 1]
        # where columns are read several times, gradients are added up
        target = found[:, start:stop] if apart else torch.empty_like(part)
        if kind == "relu":
            _aten.threshold_backward.grad_input(part, result, 0, grad_input=target)
            if p and unscaled:
                target.mul_(1.0 / (1.0 - p))
        elif mask is None:
            target.copy_(part)
        else:
            torch.mul(part, mask, out=target)
        if gated is not None and kind == "sigmoid":
            target.copy_(_aten.sigmoid_backward(target, gated))
        elif gated is not None:
            target.mul_(gated)
            below = found[:, gate : gate + stop - start] if apart else torch.empty_like(part)
            torch.mul(part, result, out=below)  # g a s, then g a s (1 - s)
            below.addcmul_(below, gated, value=-1)
            if not apart:
                found[:, gate : gate + stop - start] += below
        if not apart:
            found[:, start:stop] += target
    return found


def _overlap(tails: Sequence[TailSpec]) -> bool:
    spans = [(start, stop) for _, start, stop, _, _ in tails]
    spans += [(g, g + stop - start) for kind, start, stop, g, _ in tails if kind == "glu"]
    spans.sort()
    return any(a[1] > b[0] for a, b in pairwise(spans))


class Dense(Drawing):
    """Stacked linear layers with what follows them, see `compiler/fusion/ops.py`."""

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        inner: int,
        out: int,
        extras: Sequence[tuple[int, int, int, int]],
        bias: tuple[int, int],
        norm: tuple[float, float, int] | None,
        tails: Sequence[TailSpec],
    ) -> None:
        super().__init__()
        self.plan = Plan(extras, bias, norm, tails)
        self.weight = nn.Parameter(torch.empty(out, inner))
        self.extras = [f"extra_{place}" for place in range(len(extras))]
        for name, (top, bottom, left, right) in zip(self.extras, extras, strict=True):
            self.register_parameter(name, nn.Parameter(torch.empty(bottom - top, right - left)))
        width = bias[1] - bias[0]
        self.bias = nn.Parameter(torch.empty(width)) if width else None
        self.norm_weight = nn.Parameter(torch.empty(out)) if norm else None
        self.norm_bias = nn.Parameter(torch.empty(out)) if norm else None
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, torch.empty(out) if norm else None)
        counter = torch.zeros((), dtype=torch.long) if norm else None
        self.register_buffer("num_batches_tracked", counter)

    def forward(self, x: Tensor) -> Tensor:
        """x: [R, in] -> [R, widths of the tails]."""
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return _DenseFunction.apply(
            self.plan,
            self.masks,
            self.training,
            x,
            self.weight,
            self.bias,
            self.norm_weight,
            self.norm_bias,
            self.running_mean,
            self.running_var,
            *[getattr(self, name) for name in self.extras],
        )


class RepeatedNorm(nn.BatchNorm1d):
    """A batch norm of rows each of which stands for `repeats` equal ones."""

    def __init__(self, channels: int, eps: float, momentum: float, repeats: int) -> None:
        super().__init__(channels, eps, momentum)
        self.repeats = repeats

    def forward(self, input: Tensor) -> Tensor:
        """input: [R, C] -> [R, C]."""
        if not self.training:
            return super().forward(input)
        var, momentum = self.running_var, self.momentum
        assert var is not None
        assert momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        if input.shape[0] == 1 < self.repeats:
            return self._of_one_row(input)
        # Autograd keeps the variance that it was given, so that gets the numbers of R rows ...
        alone = var.clone()
        y = F.batch_norm(
            input, self.running_mean, alone, self.weight, self.bias, True, momentum, self.eps
        )
        # ... and the running one those of R * repeats.
        rows = input.shape[0]
        count = rows * self.repeats
        factor = (rows - 1) / rows * count / (count - 1)
        fresh = (alone - var * (1 - momentum)) * factor
        var.copy_(var * (1 - momentum) + fresh)
        return y

    def _of_one_row(self, input: Tensor) -> Tensor:
        """A row and its copies do not vary; torch refuses a row by itself, as it has no copies."""
        mean, var, momentum = self.running_mean, self.running_var, self.momentum
        assert mean is not None
        assert var is not None
        assert momentum is not None
        with torch.no_grad():
            mean.lerp_(input[0], momentum)
            var.mul_(1 - momentum)
        return torch.batch_norm(
            input, self.weight, self.bias, None, None, True, momentum, self.eps, False
        )
