"""What is kept of a tap's map: all of it, a mean, or maxima over windows.

All take (samples, channels, *positions) and leave vectors, (samples, channels), as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isqrt

from torch import Tensor
from torch.nn.functional import adaptive_max_pool1d, adaptive_max_pool2d

Pool = Callable[[Tensor], Tensor]

KINDS = "mean, none, windows:L, first:L, grid:L"


def mean_pool(features: Tensor) -> Tensor:
    """(samples, channels, *positions) -> (samples, channels), the mean over all positions.

    MFAS pools the taps of convolutions so and leaves those of linear layers as they are
    (Pérez-Rúa et al. 2019, section 3.2).
    """
    return features.flatten(2).mean(dim=2) if features.ndim > 2 else features


def window_pool(features: Tensor, length: int) -> Tensor:
    """(samples, channels, length): maxima over windows of all positions, the first axis slowest.

    What the `align` of `std/bm_nas` does first; done again on the result, it changes nothing.
    """
    return adaptive_max_pool1d(features.flatten(2), length) if features.ndim > 2 else features


def first_axis_pool(features: Tensor, length: int) -> Tensor:
    """(samples, channels, length, 1, ...): maxima over the other axes, and windows of the first.

    As BM-NAS aligns videos, whose first axis is time, and skeletons: `align_frames` of
    `std/bm_nas`, which takes the result as it takes the map, and changes nothing.
    """
    if features.ndim < 3:
        return features
    line = features.flatten(3).amax(dim=3) if features.ndim > 3 else features
    pooled = adaptive_max_pool1d(line, length)
    return pooled.reshape(*pooled.shape, *([1] * (features.ndim - 3)))


def grid_pool(features: Tensor, length: int) -> Tensor:
    """(samples, channels, side, side) with side² = length: maxima over a grid of windows.

    As BM-NAS aligns the images of MM-IMDB; done again on the result, it changes nothing.
    """
    if features.ndim < 3:
        return features
    side = isqrt(length)
    plane = features.reshape(*features.shape[:3], -1)
    return adaptive_max_pool2d(plane, (side, side))


def pool_named(text: str) -> Pool | None:
    """`mean`, `windows:8`, …; None for `none`.

    Raises:
        ValueError: for any other text.
    """
    kind, colon, size = text.partition(":")
    if not colon and kind in ("mean", "none"):
        return mean_pool if kind == "mean" else None
    sized = {"windows": window_pool, "first": first_axis_pool, "grid": grid_pool}.get(kind)
    length = int(size) if size.isascii() and size.isdigit() else 0
    if sized is None or length < 1:
        raise ValueError(f"expected one of {KINDS}, found {text!r}")
    if kind == "grid" and isqrt(length) ** 2 != length:
        raise ValueError(f"expected a square number of windows, such as grid:16, found {text!r}")
    return partial(sized, length=length)
