"""What can be wrong with one array of a feature folder; each check returns at most one finding."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.diagnostics import Diagnostic
from .manifest import LabelKind

Array = NDArray[Any]
_AGAIN = "write the folder anew with `fusegraph extract`"
_CHUNK_BYTES = 16 << 20


def _header(file: Path) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, dtype and offset of the data of an `.npy` file; ValueError for anything else."""
    with file.open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ValueError(f"version {version} of the format")
        shape, fortran_order, dtype = read(stream)
        if fortran_order and len(shape) > 1:
            raise ValueError("Fortran order, not C order")
        return shape, dtype, stream.tell()


def check_array(file: Path, samples: int, shape: tuple[int, ...], dtype: str) -> Diagnostic | None:
    """Header and size against the manifest; the data itself is not read."""
    try:
        found_shape, found_dtype, offset = _header(file)
        size = file.stat().st_size
    except FileNotFoundError:
        return Diagnostic(
            code="E612",
            message=f"an array of the feature folder is missing: expected {file.name} "
            f"with {samples} samples of shape {list(shape)}",
            place=str(file),
            help=_AGAIN,
        )
    except (OSError, ValueError, EOFError) as error:
        return Diagnostic(
            code="E613",
            message=f"this is not a complete .npy array: {error}",
            place=str(file),
            help=_AGAIN,
        )
    wanted = f"expected {samples} samples of shape {list(shape)} and type {dtype}"
    if found_dtype != np.dtype(dtype):
        return Diagnostic(
            code="E615",
            message=f"the array has the wrong dtype: expected {dtype}, found {found_dtype}",
            place=str(file),
            help="convert it, or write the folder anew with `fusegraph extract`",
        )
    if found_shape[1:] != shape or not found_shape:
        return Diagnostic(
            code="E614",
            message=f"the array has the wrong shape: {wanted}, "
            f"found samples of shape {list(found_shape[1:])}",
            place=str(file),
            help="correct the manifest's `shape`, or " + _AGAIN,
        )
    if found_shape[0] != samples:
        return Diagnostic(
            code="E616",
            message=f"sample counts disagree: expected {samples} as in the manifest, "
            f"found {found_shape[0]}",
            place=str(file),
            help=_AGAIN + ", all taps and labels of a split from the same samples",
        )
    complete = offset + math.prod(found_shape) * found_dtype.itemsize
    if size != complete:
        what = "truncated" if size < complete else "longer than its header says"
        return Diagnostic(
            code="E613",
            message=f"the array is {what}: expected {complete} bytes, found {size}",
            place=str(file),
            help=_AGAIN,
        )
    return None


def check_finite(file: Path) -> Diagnostic | None:
    """NaN and infinity, found in bounded memory."""
    array: Array = np.load(file, mmap_mode="r", allow_pickle=False)
    per_sample = max(1, array.nbytes // max(1, len(array)))
    step = max(1, _CHUNK_BYTES // per_sample)
    bad: list[int] = []
    for start in range(0, len(array), step):
        chunk = np.asarray(array[start : start + step])
        bad.extend(start + row for row in rows_not_finite(chunk))
    return not_finite(str(file), bad, len(array)) if bad else None


def rows_not_finite(array: Array) -> list[int]:
    """The numbers of the samples that hold a NaN or an infinity."""
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    return np.flatnonzero(~finite).tolist()


def not_finite(place: str, bad: list[int], samples: int) -> Diagnostic:
    """E618: which samples hold values that nobody can train on."""
    shown = ", ".join(map(str, bad[:3])) + (", ..." if len(bad) > 3 else "")
    return Diagnostic(
        code="E618",
        message=f"features are NaN or infinite in {len(bad)} of {samples} samples "
        f"(number {shown}, counted from 0); expected finite numbers",
        place=place,
        help="look at the backbone's output for these samples: half precision that overflows, "
        "or a division by zero in the preprocessing, are the usual causes",
    )


def check_labels(file: Path, kind: LabelKind) -> Diagnostic | None:
    """Every label names a class (single), or is 0 or 1 (multi)."""
    return labels_out_of_range(str(file), np.load(file, mmap_mode="r", allow_pickle=False), kind)


def labels_out_of_range(place: str, labels: Array, kind: LabelKind) -> Diagnostic | None:
    """E617 where a label names no class."""
    highest = kind.classes - 1 if kind.kind == "single" else 1
    wrong = (labels < 0) | (labels > highest)
    if not wrong.any():
        return None
    count = int(wrong.sum())
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    expected = f"0..{highest} ({kind.classes} classes)" if kind.kind == "single" else "0 or 1"
    return Diagnostic(
        code="E617",
        message=f"{count} label{' is' if count == 1 else 's are'} out of range: expected "
        f"{expected}, found {int(labels[first])} at sample {first[0]} (counted from 0)",
        place=place,
        help="labels count from 0; set `classes` in the manifest to the number there really are",
    )
