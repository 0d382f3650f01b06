"""An extraction that was interrupted: what lies beside the feature folder, and how it is checked.

```
.features.part/
  progress.json          what is whole, of what settings; written anew now and then
  features/              the feature folder to be; its arrays may run past what is whole
  older/                 the folder that is replaced, for the moment between two renames
  lock                   held by the process that writes
```
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.support.differences import differences
from ..ir.support.files import write_whole
from .feature_checks import labels_out_of_range, rows_not_finite
from .growing_array import GrowingArray, check_kept
from .manifest import LabelKind, SplitName, Tap, TapName
from .problems import problems_of

PROGRESS, FEATURES, OLDER, LOCK = "progress.json", "features", "older", "lock"
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Mark(_Strict):
    """Where a pass over a data set stands."""

    sample: Count = 0
    """The first sample in its order that is in no batch yet."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Samples before it that were passed over, each with the reason."""


class SplitProgress(_Strict):
    """What is whole of a split."""

    batches: Annotated[int, Field(ge=1)]
    samples: Annotated[int, Field(ge=1)]
    done: bool
    mark: Mark | None
    """Of sources that can skip what is done."""
    checksums: dict[str, Count]
    """CRC-32 of the samples' bytes, by tap, and of `labels`."""


class KeptMoments(_Strict):
    """The moments of a tap over what is whole of the split that standardises."""

    count: Count
    mean: tuple[Finite, ...]
    squares: tuple[Annotated[Finite, Field(ge=0)], ...]


class Progress(_Strict):
    """All that it takes to go on."""

    format: Literal[1]
    identity: dict[str, Any]
    """What the features are a function of."""
    replace: bool
    taps: dict[TapName, Tap] = Field(min_length=1)
    splits: dict[SplitName, SplitProgress] = Field(min_length=1)
    moments: dict[TapName, KeptMoments]


def part_of(folder: Path) -> Path:
    """Where the unfinished extraction of a feature folder lies."""
    return folder.with_name(f".{folder.name}.part")


def is_unfinished(folder: str | Path) -> bool:
    """Whether an extraction to this folder was interrupted, and can be resumed."""
    part = part_of(Path(folder))
    return (part / PROGRESS).is_file() and (part / FEATURES).is_dir()


def write_progress(part: Path, progress: Progress) -> None:
    """Whole or not at all; outlives a power cut."""
    write_whole(part / PROGRESS, progress.model_dump_json().encode())


def read_progress(folder: Path) -> Progress:
    """Raises FusegraphError E625 where the file is not what `write_progress` writes."""
    file = part_of(folder) / PROGRESS
    try:
        found = Progress.model_validate_json(file.read_bytes())
    except OSError as error:
        raise damaged(file, f"it cannot be read: {error}") from None
    except ValidationError as error:
        first = problems_of(error, Progress)[0]
        told = f"{first.path}: {first.message}" if first.path else first.message
        raise damaged(file, told) from None
    for split, progress in found.splits.items():
        if set(progress.checksums) != {*found.taps, "labels"}:
            raise damaged(file, f"splits.{split}.checksums: other taps than in `taps`")
    for tap, moments in found.moments.items():
        shape = found.taps[tap].shape if tap in found.taps else ()
        channels = shape[0] if shape else 1
        if tap not in found.taps or not len(moments.mean) == len(moments.squares) == channels:
            raise damaged(file, f"moments.{tap}: expected {channels} numbers each")
    return found


def take_up(
    file: Path, shape: tuple[int, ...], dtype: str, kept: SplitProgress, labels: LabelKind
) -> GrowingArray:
    """An array of a split, of a tap or `labels.npy`, cut off where it is no longer whole.

    Raises FusegraphError E625 where what is kept is not what was written, or never is written.
    """
    checksum = kept.checksums[file.stem]
    wrong, chunks = check_kept(file, shape, dtype, kept.samples, checksum)
    if file.stem == "labels":
        strange = any(labels_out_of_range("", chunk, labels) for chunk in chunks)
    else:
        strange = any(rows_not_finite(chunk) for chunk in chunks)
    if wrong or strange:
        raise damaged(file, wrong or "it holds values that are never written")
    return GrowingArray(file, shape, dtype, samples=kept.samples, checksum=checksum)


def damaged(file: Path, what: str) -> FusegraphError:
    """E625: what was kept cannot be gone on with."""
    return FusegraphError(
        Diagnostic(
            code="E625",
            message=f"the unfinished extraction is damaged: {what}",
            place=str(file),
            help="begin anew by `--replace`",
        )
    )


def refuse_leftover(folder: Path) -> FusegraphError:
    """E623: an unfinished extraction is there, and nobody said what to do with it."""
    splits = read_progress(folder).splits
    shown = ", ".join(f"{kept.samples} samples of {split}" for split, kept in splits.items())
    return FusegraphError(
        Diagnostic(
            code="E623",
            message=f"an extraction to this folder was interrupted, and {shown} are kept",
            place=str(folder),
            help="go on with it by `--resume`, or begin anew by `--replace`",
        )
    )


def check_same(folder: Path, found: Progress, identity: Mapping[str, Any]) -> None:
    """Raises FusegraphError E624 where the extraction was of something else."""
    changed = tuple(differences(found.identity, identity))
    if changed:
        raise other_settings(folder, changed)


def other_settings(folder: Path, changed: tuple[str, ...]) -> FusegraphError:
    """E624, with what differs."""
    return FusegraphError(
        Diagnostic(
            code="E624",
            message="the unfinished extraction is one of other settings, or of other data",
            place=str(folder),
            notes=changed[:8],
            help="resume with what it began with, or begin anew by `--replace`",
        )
    )


def clear(folder: Path) -> None:
    """Throws away what was unfinished, all but the lock; an older folder goes back to its place."""
    part = part_of(folder)
    if (part / OLDER).exists() and not folder.exists():
        (part / OLDER).rename(folder)
    for entry in part.iterdir():
        if entry.name != LOCK:
            throw_away(entry)


def throw_away(entry: Path) -> None:
    """A folder, a file, or a link but not what it leads to."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink()


def take_lock(part: Path) -> int | None:
    """A handle that is the lock while it is open, or None where another process holds it.

    The system takes it from a process that ends, however it ends. On Windows nothing is locked.
    """
    handle = os.open(part / LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return None
    return handle
