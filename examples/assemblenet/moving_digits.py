"""Moving digits: small videos in which what moves and how it moves are told by different streams.

    python examples/assemblenet/moving_digits.py FOLDER [--taps dense sparse] [--seed 1]

Two handwritten digits, a 0 and a 1, lie on a noisy texture. One of them moves there and back, the
other lies still, and the camera shakes. The class is which digit moves and whither it starts: 2 x 4
classes.

- Every clip shows both digits, so that frames alone do not tell the class; and as the camera
  shakes, both move from frame to frame.
- The flow between neighbouring frames, from which the camera's motion is taken away, tells where
  something moves and how, but its blurred outline hardly tells what: each digit is stretched to a
  width and a height of its own, drawn alike for both.
- The time that a digit moves there it also moves back: the mean of all motion is zero, and only
  the order of the frames tells a start to the left from one to the right.
- A vector of what is seen and one of what moves, joined at the end, do not tell which of the two
  digits it is that moves: that takes features that are fused while they still have places.

The flow is Farneback's (OpenCV); the paper's TV-L1 is not in OpenCV's main modules. Nothing is
downloaded: the digits are scikit-learn's 8 x 8 images.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any, Literal, cast, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from fusegraph.tasks.feature_writer import FeatureWriter
from fusegraph.tasks.manifest import LabelKind

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Frames = NDArray[np.uint8]
Split = Literal["train", "valid", "test"]
TapName = Literal["rgb", "flow", "dense", "sparse"]
Say = Callable[[str], None]

SPLITS: tuple[Split, ...] = get_args(Split)
IMAGES = {"train": (0, 1100), "valid": (1100, 1350), "test": (1350, 1797)}
IMAGE_SPLIT_SEED = 1
CLIPS: Mapping[Split, int] = {"train": 1600, "valid": 400, "test": 800}
DIGITS = (0, 1)
MOTIONS = ("right", "left", "down", "up")
DIRECTIONS = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)], np.float32)  # x to the right, y down
CLASSES = tuple(f"{digit} {motion}" for digit in DIGITS for motion in MOTIONS)
SPARSE = 2  # a sparse clip has every second frame
INK = 0.2  # what is brighter is cut out of a digit's image
MARGIN = 4  # the flow is computed of so many more pixels at each side: at edges it is unsound
CHUNK = 200


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a clip is like; lengths in pixels."""

    frames: int = 4
    side: int = 32
    least: int = 9
    digit: int = 12
    """A digit's width and height are drawn between `least` and this."""
    speed: tuple[float, float] = (1.5, 2.2)
    """The least and the greatest a frame."""
    shake: float = 3.0
    """The camera is off by at most so much, along each axis, in every frame anew."""
    texture: float = 0.3
    """The greatest brightness of the ground, where a digit's is between 0.55 and 1."""
    noise: float = 0.02
    """Standard deviation, of every pixel in every frame."""


@dataclass(frozen=True, slots=True)
class Clips:
    """Clips of one split, and how they were made."""

    frames: Frames  # (clips, T + 1, side, side, 3)
    flow: Floats  # (clips, T, side, side, 2): x and y, pixels from a frame to the next
    label: Labels
    image: Labels  # (clips, 2): the digits' images in scikit-learn's order, the mover's first
    place: Floats  # (clips, T + 1, 2): the left upper corner of the mover, x and y
    velocity: Floats  # (clips, T, 2): of the mover over the ground

    def __len__(self) -> int:
        return len(self.label)

    def tap(self, name: TapName) -> NDArray[np.float16]:
        """(clips, channels, frames, side, side); frames from 0 to 1.

        `rgb` and `dense` are the T frames at which the flow starts, `sparse` every second of them.
        """
        if name == "flow":
            return self.flow.transpose(0, 4, 1, 2, 3).astype(np.float16)
        seen = self.frames[:, : -1 : SPARSE if name == "sparse" else 1]
        return (seen.transpose(0, 4, 1, 2, 3) / np.float32(255)).astype(np.float16)


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The images of one digit in one split, cut out: 0 the ground, 1 the digit."""

    masks: list[Floats]
    indices: Labels


def glyphs(split: Split) -> list[Glyphs]:
    """Of each of DIGITS; no image is in two splits."""
    pixels, digits = cast(
        "tuple[NDArray[np.float64], NDArray[np.int64]]", load_digits(return_X_y=True)
    )
    first, end = IMAGES[split]
    own = np.random.default_rng(IMAGE_SPLIT_SEED).permutation(len(pixels))[first:end]
    found: list[Glyphs] = []
    for digit in DIGITS:
        indices = own[digits[own] == digit]
        small = (pixels[indices] / 16).astype(np.float32).reshape(-1, 8, 8)
        found.append(Glyphs([_cut_out(image) for image in small], indices))
    return found


def _cut_out(image: Floats) -> Floats:
    rows, columns = np.nonzero(image > INK)
    return image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def make(
    split: Split, clips: int, seed: int = 0, recipe: Recipe | None = None, first: int = 0
) -> Clips:
    """Clips `first` to `first + clips - 1` of a split: each depends on its number and seed alone.

    The classes follow each other in turns, so that each is as frequent.
    """
    recipe = recipe or Recipe()
    own = glyphs(split)
    shape = (clips, recipe.frames + 1)
    frames = np.empty((*shape, recipe.side, recipe.side, 3), np.uint8)
    place, image = np.empty((*shape, 2), np.float32), np.empty((clips, len(DIGITS)), np.int64)
    flow = np.empty((clips, recipe.frames, recipe.side, recipe.side, 2), np.float32)
    velocity = np.empty((clips, recipe.frames, 2), np.float32)
    label = np.arange(first, first + clips, dtype=np.int64) % len(CLASSES)
    for clip in range(clips):
        rng = np.random.default_rng([seed, SPLITS.index(split), first + clip])
        mover, motion = divmod(int(label[clip]), len(MOTIONS))
        path = _path(rng, motion, recipe)
        order = [mover, *rng.permutation([n for n in range(len(DIGITS)) if n != mover])]
        drawn = [int(rng.integers(len(own[n].indices))) for n in order]
        corners = _corners(rng, path, recipe)
        cut = [own[n].masks[index] for n, index in zip(order, drawn, strict=True)]
        masks = [_stretched(rng, mask, recipe) for mask in cut]
        shake = rng.uniform(-recipe.shake, recipe.shake, size=path.shape).astype(np.float32)
        film = _film(rng, masks, corners, path, shake, recipe)
        shown = np.s_[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
        frames[clip], flow[clip] = film[shown], flow_of(film)[shown]
        image[clip] = [own[n].indices[index] for n, index in zip(order, drawn, strict=True)]
        place[clip] = corners[0] + path + shake
        velocity[clip] = np.diff(path, axis=0)
    return Clips(frames, flow, label, image, place, velocity)


def _stretched(rng: np.random.Generator, cut: Floats, recipe: Recipe) -> Floats:
    """(digit, digit): in the middle, as wide and as high as is drawn."""
    width, height = (int(n) for n in rng.integers(recipe.least, recipe.digit + 1, 2))
    large = cv2.resize(cut, (width, height), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((recipe.digit, recipe.digit), np.float32)
    top, left = (recipe.digit - height) // 2, (recipe.digit - width) // 2
    mask[top : top + height, left : left + width] = np.clip(large, 0, 1)
    return mask


def _path(rng: np.random.Generator, motion: int, recipe: Recipe) -> Floats:
    """(T + 1, 2): there and back at one speed, around the middle of the way."""
    time = np.arange(recipe.frames + 1, dtype=np.float32)
    along = recipe.frames / 4 - np.abs(time - recipe.frames / 2)
    return along[:, None] * DIRECTIONS[motion] * np.float32(rng.uniform(*recipe.speed))


def _corners(rng: np.random.Generator, path: Floats, recipe: Recipe) -> list[Floats]:
    """Left upper corners of the mover, in the middle of its way, and of what lies still.

    They keep apart by three quarters of a digit where a hundred draws find such places.
    """
    low, high = -path.min(axis=0), recipe.side - recipe.digit - path.max(axis=0)
    room, apart = recipe.side - recipe.digit, 0.75 * recipe.digit
    corners: list[Floats] = []
    for _ in range(100):
        corners = [rng.uniform(low, high).astype(np.float32)]
        corners += [rng.uniform(0, room, 2).astype(np.float32) for _ in DIGITS[1:]]
        ends = (corners[0] + path[0], corners[0] + path[recipe.frames // 2])
        if all(np.abs(a - b).max() > apart for a, b in product(ends, corners[1:])):
            break
    return corners


def _film(
    rng: np.random.Generator,
    masks: Sequence[Floats],
    corners: Sequence[Floats],
    path: Floats,
    shake: Floats,
    recipe: Recipe,
) -> Frames:
    """(T + 1, side + 2 MARGIN, side + 2 MARGIN, 3): the mover, whose mask is the first, over all
    others.
    """
    side, off_at_most = recipe.side + 2 * MARGIN, int(np.ceil(recipe.shake))
    border = MARGIN + off_at_most
    whole = (side + 2 * off_at_most,) * 2
    coarse = rng.random((whole[0] // 4, whole[1] // 4, 3), np.float32)
    fine = rng.random((whole[0] // 2, whole[1] // 2, 3), np.float32)
    ground = recipe.texture * (cv2.resize(coarse, whole) + cv2.resize(fine, whole)) / 2
    colours = rng.uniform(0.55, 1, size=(len(masks), 3)).astype(np.float32)

    def put(picture: Any, number: int, corner: Floats) -> Any:
        mask = cv2.warpAffine(masks[number], _shift(corner + border), whole)[..., None]
        return picture + mask * (colours[number] - picture)

    for number in range(1, len(masks)):
        ground = put(ground, number, corners[number])
    frames = np.empty((len(path), side, side, 3), np.float32)
    for number, (moved, off) in enumerate(zip(path, shake, strict=True)):
        scene = put(ground, 0, corners[0] + moved)
        frames[number] = cv2.warpAffine(scene, _shift(off - off_at_most), (side, side))
    frames += recipe.noise * rng.standard_normal(frames.shape, np.float32)
    return np.round(255 * np.clip(frames, 0, 1)).astype(np.uint8)


def _shift(by: Floats) -> Floats:
    return np.array([[1, 0, by[0]], [0, 1, by[1]]], np.float32)


def flow_of(frames: Frames) -> Floats:
    """(T + 1, side, side, 3) -> (T, side, side, 2): optical flow, the camera's motion taken away.

    Each frame is first brought over the one before it by the shift at which they correlate best.
    What is left of the camera's motion is the median over the frame, where Simonyan and Zisserman
    (2014, section 3.1) subtract the mean: in so small a frame the mover would draw that along.
    """
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    size = grey[0].shape[::-1]
    window = cv2.createHanningWindow(size, cv2.CV_32F)
    found: list[Any] = []
    for before, after in pairwise(grey):
        off, _ = cv2.phaseCorrelate(before.astype(np.float32), after.astype(np.float32), window)
        steady = cv2.warpAffine(
            after, _shift(-np.array(off, np.float32)), size, borderMode=cv2.BORDER_REFLECT
        )
        flow = cv2.calcOpticalFlowFarneback(
            before,
            steady,
            cast("Any", None),
            pyr_scale=0.5,
            levels=2,
            winsize=7,
            iterations=3,
            poly_n=5,
            poly_sigma=1.1,
            flags=0,
        )
        found.append(flow - np.median(flow.reshape(-1, 2), axis=0))
    return np.stack(found).astype(np.float32)


def write_features(
    folder: str | Path,
    *,
    taps: Sequence[TapName] = ("rgb", "flow"),
    clips: Mapping[Split, int] = CLIPS,
    seed: int = 0,
    recipe: Recipe | None = None,
    replace: bool = False,
    say: Say = print,
) -> None:
    """A feature folder with these taps of all splits.

    Args:
        folder: where it will be.
        taps: `rgb` f32[N, 3, T, H, W] and `flow` f32[N, 2, T, H, W] for two modalities; `dense`,
            which is `rgb` by another name, and `sparse` for two rates.
        clips: how many each split has.
        seed: of the clips; which image belongs to which split does not depend on it.
        recipe: what the clips are like.
        replace: whether an older folder is replaced.
        say: gets one plain line at a time.
    """
    labels = LabelKind(kind="single", classes=len(CLASSES), names=CLASSES)
    source = f"moving_digits, seed {seed}"
    with FeatureWriter(folder, labels, source=source, replace=replace) as writer:
        for split in SPLITS:
            for first in range(0, clips[split], CHUNK):
                count = min(CHUNK, clips[split] - first)
                made = make(split, count, seed, recipe, first)
                writer.add(split, {name: made.tap(name) for name in taps}, made.label)
                say(f"{split}: {first + count} of {clips[split]} clips")


def main() -> None:
    """Writes a feature folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--taps", nargs="+", choices=get_args(TapName), default=["rgb", "flow"], metavar="TAP"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--shake", type=float, default=Recipe().shake, help="0: the camera is still"
    )
    parser.add_argument("--replace", action="store_true", help="replace an older folder")
    arguments = parser.parse_args()
    recipe = Recipe(shake=arguments.shake)
    write_features(
        arguments.folder,
        taps=arguments.taps,
        seed=arguments.seed,
        recipe=recipe,
        replace=arguments.replace,
    )


if __name__ == "__main__":
    main()
