"""The data sets by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from .ego_gesture import open_ego_gesture
from .errors import not_found
from .mm_imdb import open_mm_imdb
from .ntu import open_ntu
from .samples import Dataset
from .settings import EgoGestureSettings, MmImdbSettings, NtuSettings, read_settings

DatasetName = Literal["mm_imdb", "ntu", "ego_gesture"]


def open_dataset(
    name: DatasetName, root: str | Path, options: Mapping[str, object] | None = None
) -> Dataset:
    """Opens a published data set; nothing of it is decoded yet.

    Args:
        name: which one.
        root: the folder that it was unpacked to (of MM-IMDB, or the file).
        options: fields of its settings, as texts or values.

    Raises:
        FusegraphError: E640 for an option, E641 where a library is not installed, E642 where files
            are missing, E643 to E645 where one is broken.
    """
    given, folder = options or {}, Path(root)
    if name == "mm_imdb":
        return open_mm_imdb(folder, read_settings(MmImdbSettings, given))
    if not folder.is_dir():
        raise not_found(
            folder,
            "expected the folder of a data set, found " + ("a file" if folder.exists() else "none"),
            "give the folder that the data set was unpacked to",
        )
    if name == "ntu":
        return open_ntu(folder, read_settings(NtuSettings, given))
    return open_ego_gesture(folder, read_settings(EgoGestureSettings, given))
