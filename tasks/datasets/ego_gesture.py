"""EgoGesture (Zhang et al. 2018): 83 gestures seen from the head, in colour and depth.

```
ROOT/images/Subject01/Scene1/Color/rgb1/000001.jpg
ROOT/images/Subject01/Scene1/Depth/depth1/000001.jpg
ROOT/labels-final-revised1/subject01/Scene1/Group1.csv      rows: class 1..83, first, last frame
```

The upper folders' names do not matter; a `Group` file tells of the video of its number.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..manifest import LabelKind
from .errors import malformed, not_found, shown, undecodable
from .samples import Array, Dataset, Example, LeftOut
from .settings import EgoGestureSettings
from .video import central, open_cv, read_frames

CLASSES = 83
FOLDERS = {"rgb": "Color", "depth": "Depth"}
GROUP = re.compile(r"group(\d+)\.csv", re.IGNORECASE)
SUBJECT = re.compile(r"subject(\d+)", re.IGNORECASE)
SCENE = re.compile(r"scene(\d+)", re.IGNORECASE)
# Of Kinetics, of values 0..255: what the release's ResNeXt-101 subtracts; of depth, the first.
MEAN = np.array([114.7748, 107.7354, 99.475], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Gesture:
    """One row of a label file."""

    scene: Path
    """The folder that holds `Color` and `Depth`."""
    subject: int
    group: int
    label: int
    """From 1."""
    first: int
    last: int
    """Numbers of frames, both inside."""

    def frames(self, kind: str, wanted: int) -> list[Path]:
        """The files of the `wanted` frames in the gesture's middle."""
        folder = self.scene / FOLDERS[kind] / f"{kind}{self.group}"
        chosen = central(range(self.first, self.last + 1), wanted)
        return [folder / f"{number:06d}.jpg" for number in chosen]


@dataclass(frozen=True, slots=True)
class EgoGestureSplit:
    """A `SplitReader` over gestures."""

    gestures: Sequence[Gesture]
    settings: EgoGestureSettings

    def __len__(self) -> int:
        """How many gestures are listed."""
        return len(self.gestures)

    def name(self, index: int) -> str:
        """Subject, scene, video and first frame."""
        gesture = self.gestures[index]
        place = "/".join(gesture.scene.parts[-2:])
        return f"{place}, video {gesture.group}, frame {gesture.first}"

    def read(self, index: int) -> Example | LeftOut:
        """`rgb` (3, frames, size, size) and `depth` (1, frames, size, size), means subtracted.

        Raises:
            FusegraphError: E644 for a frame that is missing or no image.
        """
        gesture, settings = self.gestures[index], self.settings
        inputs: dict[str, Array] = {}
        for kind in settings.inputs:
            files = gesture.frames(kind, settings.frames)
            mean = MEAN if kind == "rgb" else MEAN[:1]
            clip = read_frames(files, settings.size, 3 if kind == "rgb" else 1)
            inputs[kind] = clip - mean[:, None, None, None]
        return Example(inputs, gesture.label - 1)


def open_ego_gesture(root: Path, settings: EgoGestureSettings) -> Dataset:
    """Lists the gestures of all label files; no frame is decoded yet.

    Raises:
        FusegraphError: E641 without OpenCV, E642 where labels or frames are missing, E643 for a
            broken row, E644 for a label file that is no text.
    """
    open_cv()
    scenes: dict[tuple[int, int], Path] = {}
    groups: list[tuple[int, int, int, Path]] = []
    for folder, below, files in _walk(root):
        subject, scene = SUBJECT.fullmatch(folder.parent.name), SCENE.fullmatch(folder.name)
        if subject is None or scene is None:
            continue
        place = (int(subject[1]), int(scene[1]))
        if set(below) & set(FOLDERS.values()):
            scenes[place] = folder
        groups += [(*place, int(m[1]), folder / f) for f in files if (m := GROUP.fullmatch(f))]
    if not groups:
        raise not_found(
            root,
            "expected label files subject01/Scene1/Group1.csv below this folder, found none",
            "unpack the labels of the data set beside its images",
        )
    split_of = {who: split for split, group in settings.subjects().items() for who in group}
    splits: dict[str, list[Gesture]] = {split: [] for split in settings.subjects()}
    blank = others = 0
    for subject, scene, group, file in sorted(groups):
        split = split_of.get(subject)
        if split is None:
            others += 1
            continue
        where = scenes.get((subject, scene))
        if where is None:
            raise not_found(
                file,
                f"expected the frames of its gestures in Subject{subject:02d}/Scene{scene}, "
                "found no such folder with Color or Depth in it",
                "unpack all parts of the data set, or choose subjects: `--option train=...`",
            )
        for row in _rows(file):
            if row is None:
                blank += 1
            else:
                splits[split].append(Gesture(where, subject, group, *row))
    notes = {
        f"left out: {blank} rows of label files, which name no frames": blank,
        f"left out: {others} label files, of a subject that is in no split": others,
    }
    return Dataset(
        "ego_gesture",
        LabelKind(kind="single", classes=CLASSES),
        {split: EgoGestureSplit(tuple(found), settings) for split, found in splits.items()},
        tuple(note for note, count in notes.items() if count),
    )


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Folders, what folders and what files they hold; the millions of frames are not listed."""
    for folder, below, files in os.walk(root):
        yield Path(folder), list(below), files
        below[:] = sorted(name for name in below if name not in FOLDERS.values())


def _rows(file: Path) -> Iterator[tuple[int, int, int] | None]:
    """Class, first and last frame of each row; None for one without them."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise undecodable(file, f"expected a label file, found none: {error}") from None
    for number, line in enumerate(lines, start=1):
        parts = [part.strip() for part in line.split(",")]
        if len(parts) < 3 or not all(parts[1:3]):
            yield None
            continue
        try:
            label, first, last = (int(float(part)) for part in parts[:3])
        except (ValueError, OverflowError):
            raise malformed(file, number, "class, first and last frame", shown(line)) from None
        if not 1 <= label <= CLASSES:
            raise malformed(file, number, f"a class of 1 to {CLASSES}", str(label))
        if not 0 <= first <= last:
            raise malformed(file, number, "a first frame before the last", f"{first} and {last}")
        yield label, first, last
