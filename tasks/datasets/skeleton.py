"""The `.skeleton` files of NTU RGB+D: text, written by a Kinect 2.

```
103                              frames
1                                bodies in this frame
72057594037931101 0 1 1 1 1 0 0.02 -0.03 2     a body: its number and nine more
25                               joints
0.218 0.17 3.78 277.4 191.8 1036.2 519.2 -0.2 0.04 -0.9 0.3 2     x y z in metres and nine more
...                              24 more joints, then the next body or the next frame
```
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import malformed, shown, undecodable

Array = NDArray[Any]
JOINTS, BODIES = 25, 2
BODY_NUMBERS, JOINT_NUMBERS = 10, 12
MOST_BODIES = 6
"""As many as a Kinect 2 tracks."""
MOST_FRAMES = 100_000
LARGEST = float(np.finfo(np.float32).max)
ORIGIN = 1
"""The middle of the spine."""


class _Lines:
    """The lines of a file, one after the other, with errors that know where they are."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self._lines = file.read_text(encoding="ascii").splitlines()
        except OSError as error:
            raise undecodable(
                file, f"expected a skeleton file, found none: {error.strerror}"
            ) from None
        except UnicodeDecodeError as error:
            raise undecodable(
                file, f"expected a text file, found byte {error.start} that is none of it"
            ) from None
        self._next = 0

    def next(self, expected: str) -> str:
        if self._next >= len(self._lines):
            raise malformed(self.file, len(self._lines) + 1, expected, "the end of the file")
        self._next += 1
        return self._lines[self._next - 1]

    def count(self, what: str, low: int, high: int) -> int:
        expected = f"{low}" if low == high else f"{low} to {high}"
        text = self.next(f"the number of {what}")
        try:
            found = int(text)
        except ValueError:
            found = -1
        if not low <= found <= high:
            raise self.wrong(f"the number of {what}, {expected}", shown(text))
        return found

    def wrong(self, expected: str, found: str) -> Exception:
        return malformed(self.file, self._next, expected, found)

    def end(self) -> None:
        while self._next < len(self._lines):
            text = self.next("the end of the file")
            if text.strip():
                raise self.wrong("the end of the file", shown(text))


def read_skeleton(file: Path) -> tuple[Array, int]:
    """The joints of the first two bodies of each frame.

    Returns:
        (3, frames, 25, 2) float32, metres; zero where there is no body, or a coordinate is NaN.
        And the highest number of bodies in a frame: none at all is 0.

    Raises:
        FusegraphError: E643 with file and line where the format is broken, E644 where there is no
            text file.
    """
    lines = _Lines(file)
    frames = lines.count("frames", 0, MOST_FRAMES)
    joints = np.zeros((frames, BODIES, JOINTS, 3), dtype=np.float32)
    most = 0
    for frame in range(frames):
        bodies = lines.count("bodies", 0, MOST_BODIES)
        most = max(most, bodies)
        for body in range(bodies):
            _numbers(lines, BODY_NUMBERS, "a body")
            lines.count("joints", JOINTS, JOINTS)
            for joint in range(JOINTS):
                place = _numbers(lines, JOINT_NUMBERS, "a joint")[:3]
                if body < BODIES:
                    joints[frame, body, joint] = _coordinates(lines, place)
    lines.end()
    return np.nan_to_num(joints.transpose(3, 0, 2, 1)), most


def _numbers(lines: _Lines, wanted: int, what: str) -> list[str]:
    text = lines.next(f"{wanted} numbers of {what}")
    parts = text.split()
    if len(parts) != wanted:
        raise lines.wrong(f"{wanted} numbers of {what}", f"{len(parts)}: {shown(text)}")
    return parts


def _coordinates(lines: _Lines, parts: list[str]) -> list[float]:
    try:
        found = [float(part) for part in parts]
    except ValueError:
        raise lines.wrong("coordinates of a joint", shown(" ".join(parts))) from None
    if any(abs(number) > LARGEST for number in found):
        raise lines.wrong("coordinates of a joint, finite or NaN", shown(" ".join(parts)))
    return found


def centred(joints: Array) -> Array:
    """Each frame with the middle of its first body's spine as origin.

    All of the frame is moved, as in the release of BM-NAS, so that a body that is not there, all
    zeros before, lies at minus the origin.
    """
    return joints - joints[:, :, ORIGIN, 0][:, :, None, None]


def resampled(joints: Array, frames: int) -> Array:
    """(3, any, 25, 2) -> (3, frames, 25, 2), linear over time between the middles of frames."""
    old = joints.shape[1]
    at = np.clip((np.arange(frames) + 0.5) * (old / frames) - 0.5, 0, old - 1)
    before = np.floor(at).astype(int)
    after = np.minimum(before + 1, old - 1)
    part = (at - before).astype(np.float32)[None, :, None, None]
    return joints[:, before] * (1 - part) + joints[:, after] * part
