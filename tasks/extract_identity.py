"""What extracted features are a function of, so that only the same extraction is resumed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import nn

from ..training.batches import Batch
from .pooling import Pool
from .unfinished import Mark

SHOWN = 12
"""Digits of a digest that are kept: enough to tell weights apart, few enough to be read."""


@runtime_checkable
class SkippingBatches(Protocol):
    """Batches that can go on after those that are done, without reading them again."""

    def __iter__(self) -> Iterator[Batch]:
        """One pass, always in the same order."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """What its batches are a function of, as JSON has it."""
        ...

    def mark(self) -> Mark:
        """Where the pass that is under way stands."""
        ...

    def after(self, mark: Mark) -> Iterator[Batch]:
        """The rest of a pass that stood there."""
        ...


def extract_identity(
    module: nn.Module,
    taps: Mapping[str, str],
    pools: Mapping[str, Pool | None],
    splits: Mapping[str, Iterable[Batch]],
    device: torch.device,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """As JSON has it. The code of the module and of the data is not part of it.

    Args:
        module: its printed structure and every weight and buffer count.
        taps: tap name -> part.
        pools: tap name -> what is kept of a map.
        splits: their names and order, and what `SkippingBatches` say of themselves.
        device: its type: kinds of devices round differently.
        settings: what else the caller knows of.
    """
    return {
        "module": type(module).__qualname__,
        # Some parts print the address of an object.
        "structure": _digest([re.sub(r"0x[0-9a-fA-F]+", "", repr(module)).encode()]),
        "weights": _digest(_weights(module)),
        "taps": dict(taps),
        "pool": {tap: _named(pools.get(tap)) for tap in taps},
        "splits": list(splits),
        "data": {
            split: dict(batches.identity())
            for split, batches in splits.items()
            if isinstance(batches, SkippingBatches)
        },
        "device": device.type,
        "settings": dict(settings),
    }


def _weights(module: nn.Module) -> Iterator[bytes | memoryview]:
    named = chain(module.named_parameters(remove_duplicate=False), module.named_buffers())
    for name, value in named:
        yield f"{name} {value.dtype} ".encode()
        if nn.parameter.is_lazy(value):
            continue
        yield f"{list(value.shape)} ".encode()
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _digest(parts: Iterable[bytes | memoryview]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:SHOWN]


def _named(pool: Callable[..., Any] | None) -> str:
    if pool is None:
        return "none"
    if isinstance(pool, partial):
        made = cast("partial[Any]", pool)
        given = [*map(repr, made.args), *(f"{k}={v!r}" for k, v in sorted(made.keywords.items()))]
        return f"{_named(made.func)}({', '.join(given)})"
    return str(getattr(pool, "__qualname__", type(pool).__qualname__))
