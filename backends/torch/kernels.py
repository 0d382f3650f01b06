"""The kernels of fused supernets: matrix products by the fastest path, and sweeps that touch memory
once. Each backward computes only the gradients that are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (its name all over the field)
from torch import Tensor

_aten = torch.ops.aten
_SMALL = 1_000_000
"""Multiply-adds below which the fixed cost of oneDNN is more than it saves."""

_onednn: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _fast(x: Tensor, outs: int) -> bool:
    return (
        _onednn is not None
        and x.dtype is torch.float32
        and x.device.type == "cpu"
        and x.numel() * outs >= _SMALL
    )


def product(x: Tensor, w: Tensor, bias: Tensor | None = None, after: str = "none") -> Tensor:
    """x Wᵀ + b, then relu where `after` says so. x: [R, in], w: [out, in] -> [R, out].

    On a CPU in float32 by oneDNN, which on AMD machines is twice as fast as torch's own path.
    """
    if _fast(x, w.shape[0]):
        return _onednn(x, w, bias, after, [], "")
    y = F.linear(x, w, bias)
    return y.relu_() if after == "relu" else y


def weight_gradient(g: Tensor, x: Tensor) -> Tensor:
    """gᵀ x. g: [R, out], x: [R, in] -> [out, in]."""
    if not _fast(x, g.shape[1]):
        return g.t() @ x
    if g.shape[1] <= x.shape[1]:
        return _onednn(g.t(), x.t(), None, "none", [], "")
    return _onednn(x.t(), g.t(), None, "none", [], "").t()


class _Affine(torch.autograd.Function):
    """`product` with its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, w)
        return product(x, w, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = grads
        x, w = ctx.saved_tensors
        needs = ctx.needs_input_grad
        return (
            product(g, w.t()) if needs[0] else None,
            weight_gradient(g, x) if needs[1] else None,
            g.sum(0) if needs[2] else None,
        )


def affine(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, with gradients. x: [..., in] -> [..., out]."""
    if x.ndim != 2:
        return F.linear(x, w, bias)
    return _Affine.apply(x, w, bias)


# ── repeat ───────────────────────────────────────────────────────────────────────────────────────


def repeat(x: Tensor, times: int) -> Tensor:
    """Each row `times` times. x: [R, C] -> [R*times, C]."""
    return x[:, None].expand(-1, times, *x.shape[1:]).reshape(-1, *x.shape[1:])


# ── blend ────────────────────────────────────────────────────────────────────────────────────────

Terms = Sequence[tuple[int, int, Sequence[tuple[int, float]]]]


def _columns(x: Tensor, column: int, width: int) -> Tensor:
    return x if x.shape[1] == width else x[:, column : column + width]


class _Blend(torch.autograd.Function):
    """A sum of columns of tensors, times coefficients that are sums of gates."""

    @staticmethod
    def forward(ctx: Any, width: int, terms: Terms, gates: Tensor, *x: Tensor) -> Tensor:
        values = gates.tolist()
        factors = [
            sum([f if gate < 0 else f * values[gate] for gate, f in parts]) for *_, parts in terms
        ]
        total: Tensor | None = None
        for (place, column, _), factor in zip(terms, factors, strict=True):
            part = _columns(x[place], column, width)
            if total is None:
                total = part * factor
            else:
                total.add_(part, alpha=factor)
        assert total is not None
        ctx.width, ctx.terms, ctx.factors = width, terms, factors
        ctx.shapes = [t.shape for t in x]
        ctx.gates = gates.shape
        if ctx.needs_input_grad[2]:
            ctx.save_for_backward(*x)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        (g,) = grads
        needs = ctx.needs_input_grad
        width: int = ctx.width
        found: list[Tensor | None] = [None] * len(ctx.shapes)
        written: list[int] = [0] * len(ctx.shapes)
        for (place, column, _), factor in zip(ctx.terms, ctx.factors, strict=True):
            if not needs[3 + place]:
                continue
            shape = ctx.shapes[place]
            if shape[1] == width:
                found[place] = g if factor == 1.0 else g * factor
                continue
            whole = found[place]
            if whole is None:
                whole = found[place] = g.new_empty(shape)
            torch.mul(g, factor, out=whole[:, column : column + width])
            written[place] += width
        for place, whole in enumerate(found):
            if whole is not None and whole.shape[1] != width and written[place] < whole.shape[1]:
                _clear_unread(whole, place, width, ctx.terms)
        return (None, None, _gate_gradients(ctx, g) if needs[2] else None, *found)


def _clear_unread(whole: Tensor, place: int, width: int, terms: Terms) -> None:
    at = 0
    for column in sorted(column for index, column, _ in terms if index == place):
        whole[:, at:column] = 0
        at = column + width
    whole[:, at:] = 0


def _gate_gradients(ctx: Any, g: Tensor) -> Tensor:
    x = ctx.saved_tensors
    found = [0.0] * ctx.gates[0]
    flat = g.reshape(-1)
    dots = torch.stack(
        [
            torch.dot(_columns(x[place], column, ctx.width).reshape(-1), flat)
            for place, column, _ in ctx.terms
        ]
    ).tolist()
    for (_, _, parts), value in zip(ctx.terms, dots, strict=True):
        for gate, factor in parts:
            if gate >= 0:
                found[gate] += factor * value
    return g.new_tensor(found)


def blend(gates: Tensor, x: Sequence[Tensor], terms: Terms, width: int) -> Tensor:
    """The sum of `terms`: (operand, first column, ((gate, factor), …)). Gate -1 is 1."""
    return _Blend.apply(width, terms, gates, *x)


# ── attention ────────────────────────────────────────────────────────────────────────────────────


class _Attend(torch.autograd.Function):
    """softmax(scale * x yᵀ) v. The scores are held transposed, as torch's softmax over an axis
    that is not the last one is several times faster where that is short.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, v: Tensor, scale: float) -> Tensor:
        scores = torch.bmm(y, x.transpose(1, 2)).mul_(scale)
        p = torch.softmax(scores, 1)
        ctx.save_for_backward(x, y, v, p)
        ctx.scale = scale
        return torch.bmm(p.transpose(1, 2), v)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        (g,) = grads
        x, y, v, p = ctx.saved_tensors
        needs = ctx.needs_input_grad
        dv = torch.bmm(p, g) if needs[2] else None
        if not needs[0] and not needs[1]:
            return None, None, dv, None
        dp = torch.bmm(v, g.transpose(1, 2))
        ds = _aten._softmax_backward_data(dp, p, 1, p.dtype).mul_(ctx.scale)
        dx = torch.bmm(ds.transpose(1, 2), y) if needs[0] else None
        dy = torch.bmm(ds, x) if needs[1] else None
        return dx, dy, dv, None


class _SelfAttend(torch.autograd.Function):
    """`_Attend` of one tensor, whose gradient is added up in place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        p = torch.softmax(torch.bmm(x, x.transpose(1, 2)).mul_(scale), 1)
        ctx.save_for_backward(x, p)
        ctx.scale = scale
        return torch.bmm(p.transpose(1, 2), x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        (g,) = grads
        x, p = ctx.saved_tensors
        dp = torch.bmm(x, g.transpose(1, 2))
        ds = _aten._softmax_backward_data(dp, p, 1, p.dtype)
        both = ds + ds.transpose(1, 2)
        dx = torch.bmm(p, g)
        return dx.baddbmm_(both, x, alpha=ctx.scale), None


def attend(x: Tensor, y: Tensor, v: Tensor, scale: float) -> Tensor:
    """softmax(scale * x yᵀ) v, the softmax over the rows of y. x: [N, A, C] -> [N, A, D]."""
    if x is y and y is v:
        return _SelfAttend.apply(x, scale)
    return _Attend.apply(x, y, v, scale)
