"""What can be wrong with a batch that is to be written to a feature folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.diagnostics import Diagnostic, FusegraphError
from .feature_checks import labels_out_of_range, not_finite, rows_not_finite
from .manifest import SPLIT_NAME, LabelKind, Tap, is_tap_name

Array = NDArray[Any]


def label_shape(labels: LabelKind) -> tuple[int, ...]:
    """Of one sample's labels."""
    return () if labels.kind == "single" else (labels.classes,)


def taps_of(folder: Path, batch: Mapping[str, Array]) -> dict[str, Tap]:
    """The taps of a folder, by its first batch. Raises FusegraphError E620."""
    taps: dict[str, Tap] = {}
    for name, value in batch.items():
        if not is_tap_name(name):
            raise cannot_write(
                folder, f"a tap cannot be called {name!r}", "use an input's name such as `image[1]`"
            )
        if value.dtype.name not in ("float16", "float32") or value.ndim == 0:
            raise cannot_write(
                folder,
                f"tap `{name}`: expected float32 or float16 with samples as the first axis, "
                f"found {value.dtype} of shape {list(value.shape)}",
                "convert it before it is added",
            )
        taps[name] = Tap(
            shape=value.shape[1:], dtype="float16" if value.dtype == np.float16 else "float32"
        )
    return taps


def check_batch(
    folder: Path,
    taps: Mapping[str, Tap],
    kind: LabelKind,
    split: str,
    start: int,
    batch: Mapping[str, Array],
    labels: Array,
) -> None:
    """Raises FusegraphError E620, E617 or E618; `start` is how many samples the split has."""
    if not is_tap_name(split) or "[" in split:
        raise cannot_write(
            folder, f"a split cannot be called {split!r}", f"use a name like {SPLIT_NAME}"
        )
    if set(batch) != set(taps):
        raise cannot_write(
            folder,
            f"expected the taps {sorted(taps)} as in the first batch, found {sorted(batch)}",
            "give the same taps in every batch",
        )
    wanted = label_shape(kind)
    if labels.ndim == 0 or labels.shape[1:] != wanted or labels.dtype.kind not in "iub":
        raise cannot_write(
            folder,
            f"expected integer labels of shape {['samples', *wanted]}, "
            f"found {labels.dtype} of shape {list(labels.shape)}",
            f"the folder's labels are {kind.kind}-label",
        )
    place = f"{folder}: {split}"
    for name, value in batch.items():
        tap = taps[name]
        if value.shape[1:] != tap.shape or len(value) != len(labels):
            raise cannot_write(
                folder,
                f"tap `{name}`: expected {len(labels)} samples of shape {list(tap.shape)}, "
                f"found {list(value.shape)}",
                "every sample needs every tap, in one shape",
            )
        bad = rows_not_finite(value)
        if bad:
            rows = [start + row for row in bad]
            raise FusegraphError(not_finite(f"{place}/{name}", rows, start + len(value)))
    wrong = labels_out_of_range(f"{place}/labels", labels, kind)
    if wrong is not None:
        raise FusegraphError(wrong)


def cannot_write(folder: Path, message: str, advice: str) -> FusegraphError:
    """E620."""
    return FusegraphError(
        Diagnostic(
            code="E620",
            message=f"the feature folder cannot be written: {message}",
            place=str(folder),
            help=advice,
        )
    )
