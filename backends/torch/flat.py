"""Small weights of a network in one parameter, so that an optimiser takes few steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class _Unflatten(torch.autograd.Function):
    """A vector as tensors; the way back writes their gradients side by side, once."""

    @staticmethod
    def forward(ctx: Any, shapes: Sequence[torch.Size], flat: Tensor) -> tuple[Tensor, ...]:
        ctx.shapes = shapes
        ctx.set_materialize_grads(False)
        parts = flat.split([shape.numel() for shape in shapes])
        return tuple(
            [
                part if len(shape) == 1 else part.view(shape)
                for part, shape in zip(parts, shapes, strict=True)
            ]
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[None, Tensor | None]:
        like = next((g for g in grads if g is not None), None)
        if like is None:
            return None, None
        parts = [
            like.new_zeros(shape.numel()) if grad is None else grad.reshape(-1)
            for grad, shape in zip(grads, ctx.shapes, strict=True)
        ]
        return None, torch.cat(parts)


class Flat(nn.Module):
    """One vector that holds the parameters of modules, which read views of it.

    `spread` gives every module its views anew; call it before each pass forward.
    """

    def __init__(self, places: Iterable[tuple[str, nn.Module, str]]) -> None:
        super().__init__()
        self.names: list[str] = []
        self._places: list[tuple[nn.Module, str]] = []
        self._shapes: list[torch.Size] = []
        parts: list[Tensor] = []
        for name, module, attribute in places:
            parameter = module.get_parameter(attribute)
            module.register_parameter(attribute, None)
            self.names.append(name)
            self._places.append((module, attribute))
            self._shapes.append(parameter.shape)
            parts.append(parameter.detach().reshape(-1))
        self.weight = nn.Parameter(torch.cat(parts) if parts else torch.empty(0))

    def spread(self) -> None:
        """Give each module its part."""
        views: Any = _Unflatten.apply(self._shapes, self.weight)
        for (module, attribute), view in zip(self._places, views, strict=True):
            module.__dict__[attribute] = view

    def clear(self) -> None:
        """Take the parts away, with what they remember of the pass."""
        for module, attribute in self._places:
            module.__dict__.pop(attribute, None)

    def state(self) -> dict[str, Tensor]:
        """By name the parts, as views."""
        sizes = [shape.numel() for shape in self._shapes]
        parts = self.weight.detach().split(sizes)
        return {
            name: part.view(shape)
            for name, part, shape in zip(self.names, parts, self._shapes, strict=True)
        }
