"""Still and moving digits: two small data sets of one kind of thing, for one network.

    python examples/elastic/digits.py FOLDER [--seed 1]

`FOLDER/still` has images f32[1, 16, 16] of a handwritten digit near the middle of a noisy texture,
and asks which of the ten it is. `FOLDER/moving` has clips f32[1, 3, 16, 16] in which a 0, a 1, a 4
or a 7 crosses such a texture, and asks which of them moves whither: 4 x 4 classes.

- A clip to the left is one to the right backwards: what all frames show together does not tell the
  class, only their order does.
- A clip shows few images of four digits. What a network learns of digits from still ones, of which
  there are more, helps with moving ones.

Nothing is downloaded: the digits are scikit-learn's 8 x 8 images. No image is in two splits, of
either data set.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from fusegraph.tasks.feature_writer import FeatureWriter
from fusegraph.tasks.manifest import LabelKind

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Split = Literal["train", "valid", "test"]
Say = Callable[[str], None]

SPLITS: tuple[Split, ...] = get_args(Split)
IMAGES = {"train": (0, 1100), "valid": (1100, 1350), "test": (1350, 1797)}
IMAGE_SPLIT_SEED = 1
STILL: Mapping[Split, int] = {"train": 4400, "valid": 500, "test": 1000}
MOVING: Mapping[Split, int] = {"train": 3200, "valid": 480, "test": 960}
MOVERS = (0, 1, 4, 7)
MOTIONS = ("right", "left", "down", "up")
CLASSES = tuple(f"{digit} {motion}" for digit in MOVERS for motion in MOTIONS)
SIDE, DIGIT, FRAMES = 16, 8, 3
OFF = 2  # a still digit is off the middle by at most so many pixels, along each axis
TEXTURE = 0.3  # the greatest brightness of the ground, where a digit's is 1
NOISE = 0.05  # standard deviation, of every pixel in every frame


@dataclass(frozen=True, slots=True)
class Samples:
    """Images or clips of one split, and what they were made from."""

    pixels: Floats  # (samples, 1, SIDE, SIDE), or (samples, 1, FRAMES, SIDE, SIDE)
    label: Labels
    image: Labels  # the number of the digit's image in scikit-learn's order

    def __len__(self) -> int:
        return len(self.label)


def digits_of(split: Split) -> tuple[Floats, Labels, Labels]:
    """Images (n, 8, 8) from 0 to 1, which digits they show, their numbers."""
    pixels, digits = cast(
        "tuple[NDArray[np.float64], NDArray[np.int64]]", load_digits(return_X_y=True)
    )
    first, end = IMAGES[split]
    own = np.random.default_rng(IMAGE_SPLIT_SEED).permutation(len(pixels))[first:end]
    images = (pixels[own] / 16).astype(np.float32).reshape(-1, DIGIT, DIGIT)
    return images, digits[own].astype(np.int64), own


def still(split: Split, samples: int, seed: int = 0) -> Samples:
    """Every image of the split is as frequent, its place is drawn."""
    rng = np.random.default_rng([seed, 0, SPLITS.index(split)])
    images, digits, numbers = digits_of(split)
    drawn = np.arange(samples) % len(images)
    pixels = np.empty((samples, 1, SIDE, SIDE), np.float32)
    for sample, number in enumerate(drawn):
        corners = (SIDE - DIGIT) // 2 + rng.integers(-OFF, OFF + 1, (1, 2))
        pixels[sample] = _film(rng, images[number], corners)
    return Samples(pixels, digits[drawn], numbers[drawn])


def moving(split: Split, samples: int, seed: int = 0) -> Samples:
    """Every class is as frequent; the images of its digit are drawn."""
    rng = np.random.default_rng([seed, 1, SPLITS.index(split)])
    images, digits, numbers = digits_of(split)
    own = {digit: np.flatnonzero(digits == digit) for digit in MOVERS}
    label = np.arange(samples, dtype=np.int64) % len(CLASSES)
    pixels = np.empty((samples, 1, FRAMES, SIDE, SIDE), np.float32)
    image = np.empty(samples, np.int64)
    for sample in range(samples):
        digit, motion = divmod(int(label[sample]), len(MOTIONS))
        drawn = int(rng.choice(own[MOVERS[digit]]))
        pixels[sample, 0] = _film(rng, images[drawn], path(rng, motion))
        image[sample] = numbers[drawn]
    return Samples(pixels, label, image)


def path(rng: np.random.Generator, motion: int) -> Labels:
    """(FRAMES, 2): how far down and to the right the upper left corner of a digit is.

    From one side to the other, at a steady speed; backwards for a motion to the left or up.
    """
    across, backwards = motion < 2, motion % 2
    room = SIDE - DIGIT
    corners = np.full((FRAMES, 2), rng.integers(0, room + 1))
    corners[:, int(across)] = np.round(np.linspace(0, room, FRAMES))
    return corners[::-1] if backwards else corners


def _film(rng: np.random.Generator, digit: Floats, corners: Labels) -> Floats:
    """(frames, SIDE, SIDE): the digit at these places, on one texture."""
    ground = TEXTURE * rng.random((SIDE // 2, SIDE // 2), np.float32).repeat(2, 0).repeat(2, 1)
    frames = np.repeat(ground[None], len(corners), axis=0)
    for frame, (down, right) in zip(frames, corners, strict=True):
        seen = frame[down : down + DIGIT, right : right + DIGIT]
        seen += digit * (1 - seen)
    frames += NOISE * rng.standard_normal(frames.shape, np.float32)
    return frames


def write(
    folder: str | Path,
    *,
    images: Mapping[Split, int] = STILL,
    clips: Mapping[Split, int] = MOVING,
    seed: int = 0,
    replace: bool = False,
    say: Say = print,
) -> None:
    """The feature folders `still` and `moving`, of so many samples in each split; `say` gets a
    plain line when one is written.
    """
    source = f"digits, seed {seed}"
    names = tuple([str(digit) for digit in range(10)])
    labels = LabelKind(kind="single", classes=10, names=names)
    with FeatureWriter(Path(folder) / "still", labels, source=source, replace=replace) as writer:
        for split in SPLITS:
            made = still(split, images[split], seed)
            writer.add(split, {"image": made.pixels}, made.label)
    say(f"{Path(folder) / 'still'}: {_counts(images)} images")
    labels = LabelKind(kind="single", classes=len(CLASSES), names=CLASSES)
    with FeatureWriter(Path(folder) / "moving", labels, source=source, replace=replace) as writer:
        for split in SPLITS:
            made = moving(split, clips[split], seed)
            writer.add(split, {"clip": made.pixels}, made.label)
    say(f"{Path(folder) / 'moving'}: {_counts(clips)} clips")


def _counts(samples: Mapping[Split, int]) -> str:
    """Of the splits, in words."""
    return ", ".join([f"{split} {samples[split]}" for split in SPLITS])


def main() -> None:
    """Writes both feature folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replace", action="store_true", help="replace older folders")
    arguments = parser.parse_args()
    write(arguments.folder, seed=arguments.seed, replace=arguments.replace)


if __name__ == "__main__":
    main()
