"""The weights of the recurrent surrogate, as views of one flat tensor.

One flat tensor, so that one step of Adam is one operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import accumulate
from math import prod

import torch
from torch import Tensor


def shapes_of(decisions: int, embedding: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """The shapes of `Weights`, in their order in the flat tensor."""
    return {
        "embed": (embedding, decisions),
        "embed_bias": (embedding,),
        "input": (4 * hidden, embedding),
        "hidden": (4 * hidden, hidden),
        "input_bias": (4 * hidden,),
        "hidden_bias": (4 * hidden,),
        "value": (1, hidden),
        "value_bias": (1,),
    }


@dataclass(frozen=True, slots=True)
class Weights:
    """In the shapes and gate order (i, f, g, o) of `torch.nn`."""

    embed: Tensor  # (embedding, decisions)
    embed_bias: Tensor  # (embedding)
    input: Tensor  # (4 * hidden, embedding)
    hidden: Tensor  # (4 * hidden, hidden)
    input_bias: Tensor  # (4 * hidden)
    hidden_bias: Tensor  # (4 * hidden)
    value: Tensor  # (1, hidden)
    value_bias: Tensor  # (1)

    @classmethod
    def over(cls, flat: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> Weights:
        """Views of a flat tensor."""
        ends = list(accumulate(prod(shape) for shape in shapes.values()))
        starts = [0, *ends[:-1]]
        return cls(
            **{
                name: flat[start:end].view(shape)
                for (name, shape), start, end in zip(shapes.items(), starts, ends, strict=True)
            }
        )

    def to(self, dtype: torch.dtype) -> Weights:
        """Copies in another precision."""
        return Weights(**{f.name: getattr(self, f.name).to(dtype) for f in fields(self)})

    def embedded(self, inputs: Tensor) -> Tensor:
        """sigmoid(E γ + b): (levels, decisions) -> (levels, embedding)."""
        return torch.sigmoid(torch.addmm(self.embed_bias, inputs, self.embed.T))

    def projected(self, embedded: Tensor) -> Tensor:
        """What levels add to the gates, whatever came before: (levels, 4 * hidden)."""
        return torch.addmm(self.input_bias + self.hidden_bias, embedded, self.input.T)

    def valued(self, state: Tensor) -> Tensor:
        """sigmoid(v · h + d): (prefixes, hidden) -> (prefixes)."""
        return torch.sigmoid(state @ self.value[0] + self.value_bias)
