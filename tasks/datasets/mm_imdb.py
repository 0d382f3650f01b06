"""MM-IMDB (Arevalo et al. 2017): posters and plots of 25,959 films, 23 genres.

One file, `multimodal_imdb.hdf5`: `images` (films, 3, 256, 160), `features` (films, 300), the mean
word2vec vector of the plot, `genres` (films, 23) of 0 and 1, `imdb_ids`; and more that is not read.
Images lie there as VGG takes them: blue, green, red, ImageNet's means subtracted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...ir.diagnostics import Diagnostic, FusegraphError
from ..manifest import LabelKind
from .errors import library, not_found
from .samples import Array, Dataset, Example, LeftOut
from .settings import MmImdbSettings

FILE = "multimodal_imdb.hdf5"
KEYS = {"image": "images", "text": "features"}
PUBLISHED = {"train": 15_552, "valid": 2_608, "test": 7_799}
NAMES_IN_FILE = {"train": "train", "valid": "dev", "test": "test"}


@dataclass(frozen=True, slots=True)
class MmImdbSplit:
    """A `SplitReader` over a stretch of the file."""

    file: Path
    data: Any
    """The opened HDF5 file."""
    inputs: tuple[str, ...]
    start: int
    count: int

    def __len__(self) -> int:
        """How many films."""
        return self.count

    def name(self, index: int) -> str:
        """The film's row in the file."""
        return f"film {self.start + index}"

    def read(self, index: int) -> Example | LeftOut:
        """`image` (3, height, width) and `text` (numbers,), float32 as stored; 0/1 (genres,).

        Raises:
            FusegraphError: E645 where the file cannot be read there, or a genre is not 0 or 1.
        """
        row = self.start + index
        try:
            inputs = {n: np.asarray(self.data[KEYS[n]][row], np.float32) for n in self.inputs}
            genres: Array = np.asarray(self.data["genres"][row])
        except (OSError, RuntimeError) as error:
            raise _wrong(self.file, f"film {row} cannot be read: {error}") from None
        if not np.isin(genres, (0, 1)).all():
            odd = genres[~np.isin(genres, (0, 1))][0]
            raise _wrong(self.file, f"expected 0 or 1 as genres of film {row}, found {odd}")
        return Example(inputs, genres.astype(np.int64))


def open_mm_imdb(root: Path, settings: MmImdbSettings) -> Dataset:
    """Opens the file; `root` is the file, or the folder that it lies in.

    Raises:
        FusegraphError: E641 without h5py, E642 where there is no file, E645 where it lacks a key
            or does not fit the split.
    """
    h5py: Any = library("h5py", "h5py")
    file = root / FILE if root.is_dir() else root
    if not file.is_file():
        raise not_found(file, "expected the file of MM-IMDB, found none", f"look for {FILE}")
    try:
        data: Any = h5py.File(file, "r")
    except OSError as error:
        raise _wrong(file, f"expected an HDF5 file, found another: {error}") from None
    films = _films(file, data, settings)
    counts = _counts(file, data, settings, films)
    genres = int(data["genres"].shape[1])
    splits: dict[str, MmImdbSplit] = {}
    start = 0
    for split, count in counts.items():
        splits[split] = MmImdbSplit(file, data, settings.inputs, start, count)
        start += count
    kind = LabelKind(kind="multi", classes=genres, names=_names(data["genres"], genres))
    left = films - start
    notes = (f"left out: {left} films after the last split",) if left else ()
    return Dataset("mm_imdb", kind, splits, notes)


def _films(file: Path, data: Any, settings: MmImdbSettings) -> int:
    """How many there are, once all that is wanted is there in shapes that fit."""
    axes = {"images": 4, "features": 2, "genres": 2}
    for key in ("genres", *(KEYS[name] for name in settings.inputs)):
        if key not in data:
            raise _wrong(file, f"expected a data set `{key}`, found {sorted(data)}")
        shape = [int(size) for size in getattr(data[key], "shape", ())]
        if len(shape) != axes[key] or (key == "images" and shape[1] != 3):
            wanted = {"images": "[films, 3, height, width]", "features": "[films, numbers]"}
            raise _wrong(
                file,
                f"expected `{key}` of shape {wanted.get(key, '[films, genres]')}, found {shape}",
            )
        if shape[0] != data["genres"].shape[0]:
            raise _wrong(
                file,
                f"expected {data['genres'].shape[0]} films in `{key}` as in `genres`, "
                f"found {shape[0]}",
            )
    return int(data["genres"].shape[0])


def _counts(file: Path, data: Any, settings: MmImdbSettings, films: int) -> dict[str, int]:
    """Split -> films: as the options say, else the file, else the paper."""
    listed = data.attrs.get("split")
    counts = dict(PUBLISHED)
    if listed is not None and getattr(listed, "dtype", None) is not None and listed.dtype.names:
        for row in listed:
            for split, name in NAMES_IN_FILE.items():
                if _text(row["split"]) == name and _text(row["source"]) == "genres":
                    counts[split] = int(row["stop"]) - int(row["start"])
    given = {"train": settings.train, "valid": settings.valid, "test": settings.test}
    counts.update({split: count for split, count in given.items() if count is not None})
    total = sum(counts.values())
    if total > films:
        shown = " + ".join(f"{count:,} ({split})" for split, count in counts.items())
        raise _wrong(
            file,
            f"expected {total:,} films, {shown}, found {films:,}",
            "give counts: `--option train=N --option valid=N --option test=N`",
        )
    return counts


def _names(genres: Any, classes: int) -> tuple[str, ...]:
    """The genres' names, where the file has one for each."""
    try:
        names: object = json.loads(_text(genres.attrs.get("target_names", "[]")))
    except ValueError:
        return ()
    if isinstance(names, list) and len(names) == classes:
        return tuple(str(name) for name in names)
    return ()


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _wrong(file: Path, message: str, advice: str = "") -> FusegraphError:
    return FusegraphError(
        Diagnostic(
            code="E645",
            message=message,
            place=str(file),
            help=advice or f"download {FILE} again; its keys are images, features and genres",
        )
    )
