"""NTU RGB+D (Shahroudy et al. 2016): skeletons and colour videos of 60 daily actions.

```
ROOT/nturgb+d_skeletons/S001C001P001R001A001.skeleton
ROOT/nturgb+d_rgb/S001C001P001R001A001_rgb.avi
ROOT/NTU_RGBD_samples_with_missing_skeletons.txt          the published list, if it is there
```

The folders' names do not matter, and there may be several; files are found by their own names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..manifest import LabelKind
from .errors import not_found
from .samples import Array, Dataset, Example, LeftOut
from .settings import NtuSettings
from .skeleton import centred, read_skeleton, resampled
from .video import open_cv, read_video

CLASSES = 60
SUFFIXES = {"rgb": "_rgb.avi", "skeleton": ".skeleton"}
MISSING_LIST = "NTU_RGBD_samples_with_missing_skeletons.txt"
NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
# ImageNet's, of values 0..1, which the papers' inflated ResNet-50 was pretrained with.
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32).reshape(3, 1, 1, 1)
DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32).reshape(3, 1, 1, 1)


@dataclass(frozen=True, slots=True, order=True)
class NtuSample:
    """What a sample's name says, and its files by input."""

    name: str
    subject: int
    action: int
    """From 1."""
    files: tuple[tuple[str, Path], ...] = ()


@dataclass(frozen=True, slots=True)
class NtuSplit:
    """A `SplitReader` over samples."""

    samples: Sequence[NtuSample]
    settings: NtuSettings

    def __len__(self) -> int:
        """How many samples are listed."""
        return len(self.samples)

    def name(self, index: int) -> str:
        """As in the files' names."""
        return self.samples[index].name

    def read(self, index: int) -> Example | LeftOut:
        """`rgb` (3, clip, size, size), ImageNet-normalised; `skeleton` (3, frames, 25, 2).

        Raises:
            FusegraphError: E643 or E644 for a broken file.
        """
        sample = self.samples[index]
        inputs: dict[str, Array] = {}
        for kind, file in sample.files:
            if kind == "skeleton":
                joints, bodies = read_skeleton(file)
                if not bodies and self.settings.empty == "skip":
                    return LeftOut(sample.name, "its skeleton file holds no body")
                if not joints.shape[1]:
                    joints = np.zeros((3, 1, *joints.shape[2:]), dtype=np.float32)
                inputs[kind] = resampled(centred(joints), self.settings.frames)
            else:
                video = read_video(file, self.settings.clip, self.settings.size)
                inputs[kind] = (video / np.float32(255) - MEAN) / DEVIATION
        return Example(inputs, sample.action - 1)


def open_ntu(root: Path, settings: NtuSettings) -> Dataset:
    """Lists the samples of the splits that have all files wanted; nothing is decoded yet.

    Raises:
        FusegraphError: E641 without OpenCV where videos are wanted, E642 where files are missing.
    """
    if "rgb" in settings.inputs:
        open_cv()
    files = {kind: _find(root, kind) for kind in settings.inputs}
    _paired(root, files)
    first = settings.inputs[0]
    samples = [
        _sample(name, [(kind, files[kind][name]) for kind in sorted(files)])
        for name in sorted(files[first])
    ]
    missing = _missing(root, settings)
    split_of = {subject: split for split, group in settings.subjects().items() for subject in group}
    splits: dict[str, list[NtuSample]] = {split: [] for split in settings.subjects()}
    left: Counter[str] = Counter()
    for sample in samples:
        split = split_of.get(sample.subject)
        if sample.action > CLASSES:
            left[f"of an action above {CLASSES}"] += 1
        elif split is None:
            left["of a subject that is in no split"] += 1
        elif sample.name in missing:
            left["on the list of missing skeletons"] += 1
        else:
            splits[split].append(sample)
    return Dataset(
        "ntu",
        LabelKind(kind="single", classes=CLASSES),
        {split: NtuSplit(tuple(found), settings) for split, found in splits.items()},
        tuple(f"left out: {count} {why}" for why, count in sorted(left.items())),
    )


def _find(root: Path, kind: str) -> dict[str, Path]:
    """Sample name -> file."""
    suffix = SUFFIXES[kind]
    found: dict[str, Path] = {}
    for file in sorted(root.rglob(f"*{suffix}")):
        name = file.name.removesuffix(suffix)
        if not NAME.fullmatch(name):
            continue
        if name in found:
            raise not_found(
                file,
                f"expected one {kind} file of sample {name}, found a second beside {found[name]}",
                "remove one of them",
            )
        found[name] = file
    if not found:
        others = " or ".join(f"`--option inputs={k}`" for k in SUFFIXES if k != kind)
        raise not_found(
            root,
            f"expected files S001C001P001R001A001{suffix} below this folder, found none",
            f"give the folder that the data set was unpacked to, or leave {kind} out: {others}",
        )
    return found


def _paired(root: Path, files: Mapping[str, Mapping[str, Path]]) -> None:
    for kind, other in ((a, b) for a in files for b in files if a != b):
        alone = sorted(set(files[kind]) - set(files[other]))
        if alone:
            raise not_found(
                root,
                f"expected both files of each sample, found no {alone[0]}{SUFFIXES[other]}: "
                f"{len(alone)} of {len(files[kind])} {kind} files stand alone",
                f"unpack all parts of the data set, or use one input: `--option inputs={kind}`",
            )


def _sample(name: str, files: list[tuple[str, Path]]) -> NtuSample:
    parts = NAME.fullmatch(name)
    assert parts is not None
    _, _, subject, _, action = map(int, parts.groups())
    return NtuSample(name, subject, action, tuple(files))


def _missing(root: Path, settings: NtuSettings) -> frozenset[str]:
    file = settings.missing or root / MISSING_LIST
    wanted = "skeleton" in settings.inputs and settings.empty == "skip" and file.is_file()
    if settings.missing is None and not wanted:
        return frozenset()
    try:
        lines: Iterable[str] = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise not_found(
            file,
            f"the list of missing skeletons cannot be read: {error}",
            f"give the published {MISSING_LIST}: one sample's name a line",
        ) from None
    return frozenset(line.strip() for line in lines if NAME.fullmatch(line.strip()))
