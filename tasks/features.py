"""The feature folder: taps of frozen backbones, computed once, read as memory maps.

```
features/
  manifest.json          splits with sample counts, taps with shapes, labels, statistics
  train/image[1].npy     one array per tap and split, samples first
  train/labels.npy       int64 (samples,), or uint8 (samples, classes) for multi-label
  valid/...
```

A tap's name is the name of an input of the space.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.diagnostics import Diagnostic, FusegraphError
from .feature_checks import check_array, check_finite, check_labels
from .manifest import Manifest, read_manifest
from .problems import nearest

Array = NDArray[Any]
LABEL_TYPE = {"single": "int64", "multi": "uint8"}


@dataclass(frozen=True, slots=True)
class FeatureFolder:
    """An opened feature folder whose files fit its manifest."""

    path: Path
    manifest: Manifest

    def array(self, tap: str, split: str, *, standardise: bool = False) -> Array:
        """(samples, *shape): the memory map itself, or a standardised copy in memory.

        Standardised is (x - mean) / deviation per channel, by the training split's statistics.

        Raises:
            FusegraphError: E619 where the folder has no such tap or split, or where statistics
                are asked for that were never written.
        """
        self._known("tap", tap, self.manifest.taps)
        self._known("split", split, self.manifest.splits)
        stored: Array = np.load(
            array_file(self.path, split, tap), mmap_mode="r", allow_pickle=False
        )
        if not standardise:
            return stored
        statistics = self.manifest.standardisation.get(tap)
        if statistics is None:
            raise FusegraphError(
                Diagnostic(
                    code="E619",
                    message=f"tap `{tap}` has no standardisation statistics",
                    place=str(self.path / "manifest.json"),
                    help="set `standardise = false`, or write the folder anew",
                )
            )
        axes = (-1, *([1] * (stored.ndim - 2)))
        mean = np.asarray(statistics.mean, dtype=np.float32).reshape(axes)
        deviation = np.asarray(statistics.deviation, dtype=np.float32).reshape(axes)
        return (stored.astype(np.float32) - mean) / deviation

    def labels(self, split: str) -> Array:
        """int64 (samples,) for single-label tasks, uint8 (samples, classes) for multi-label."""
        self._known("split", split, self.manifest.splits)
        return np.load(array_file(self.path, split, "labels"), mmap_mode="r", allow_pickle=False)

    def _known(self, kind: str, name: str, names: Iterable[str]) -> None:
        known = list(names)
        if name not in known:
            raise FusegraphError(
                Diagnostic(
                    code="E619",
                    message=f"the feature folder has no {kind} `{name}`",
                    place=str(self.path),
                    help=nearest(name, known),
                )
            )


def array_file(folder: Path, split: str, name: str) -> Path:
    """Where the array of a tap (or `labels`) of a split lies."""
    return folder / split / f"{name}.npy"


def open_features(path: str | Path, *, check_values: bool = True) -> FeatureFolder:
    """Opens a feature folder after checking all of it.

    Headers, sizes and labels are always checked. `check_values` also reads every feature once to
    look for NaN and infinity, a few hundred megabytes a second.

    Raises:
        FusegraphError: E610-E611 for the manifest, E612 for a missing array, E613 for a truncated
            or foreign one, E614 for a wrong shape, E615 for a wrong dtype, E616 for a wrong number
            of samples, E617 for labels out of range, E618 for values that are not finite. All
            that is wrong is reported at once.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    found: list[Diagnostic] = []
    kind = manifest.labels
    label_shape = () if kind.kind == "single" else (kind.classes,)
    for split, samples in manifest.splits.items():
        for name, tap in manifest.taps.items():
            file = array_file(folder, split, name)
            wrong = check_array(file, samples, tap.shape, tap.dtype)
            if wrong is None and check_values:
                wrong = check_finite(file)
            if wrong is not None:
                found.append(wrong)
        file = array_file(folder, split, "labels")
        wrong = check_array(file, samples, label_shape, LABEL_TYPE[kind.kind])
        wrong = wrong or check_labels(file, kind)
        if wrong is not None:
            found.append(wrong)
    if found:
        raise FusegraphError(found)
    return FeatureFolder(folder, manifest)
