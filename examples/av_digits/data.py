"""The example's two modalities and the two ways to pair them; see DATA.md for the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Pairing = Literal["label", "sum"]
Split = Literal["train", "valid", "test"]

SPLITS: tuple[Split, ...] = ("train", "valid", "test")
SPOKEN = Path(__file__).parent / "data" / "spoken_digits.npz"
IMAGES = {"train": (0, 1100), "valid": (1100, 1350), "test": (1350, 1797)}
IMAGE_SPLIT_SEED = 1
DROPPED_COMPONENTS = 10
IMAGE_NOISE = 0.8  # standard deviation, where the raw pixels run from 0 to 16


@dataclass(frozen=True, slots=True)
class Pairs:
    """One split. `label` is the task's; the other two are what each modality shows by itself."""

    image: Floats  # (pairs, 1, 8, 8), roughly unit variance
    audio: Floats  # (pairs, 1, 32, 32), log-mel in 0..1
    label: Labels
    image_digit: Labels
    audio_digit: Labels

    def __len__(self) -> int:
        return len(self.label)


def faded_images() -> dict[Split, tuple[Floats, Labels]]:
    """scikit-learn's digits without their first ten principal components, split by image.

    The components are those of the training images; about a quarter of the energy is left.
    """
    pixels, digits = cast(
        "tuple[NDArray[np.float64], NDArray[np.int64]]", load_digits(return_X_y=True)
    )
    order = np.random.default_rng(IMAGE_SPLIT_SEED).permutation(len(pixels))
    pixels, digits = pixels[order], digits[order].astype(np.int64)
    mean = pixels[: IMAGES["train"][1]].mean(axis=0)
    centred = pixels - mean
    _, _, components = np.linalg.svd(centred[: IMAGES["train"][1]], full_matrices=False)
    dropped = components[:DROPPED_COMPONENTS]
    kept = (centred - centred @ dropped.T @ dropped).astype(np.float32)
    return {split: (kept[a:b], digits[a:b]) for split, (a, b) in IMAGES.items() if split in SPLITS}


def spoken_digits() -> dict[Split, tuple[Floats, Labels]]:
    """The committed spectrograms, unpacked from two grey levels a byte to 0..1."""
    found: dict[Split, tuple[Floats, Labels]] = {}
    with np.load(SPOKEN, allow_pickle=False) as file:
        for split in SPLITS:
            packed = cast("NDArray[np.uint8]", file[f"{split}_spectrograms"])
            levels = np.stack([packed >> 4, packed & 15], axis=-1).reshape(-1, 1, 32, 32)
            digits = cast("NDArray[np.uint8]", file[f"{split}_digits"])
            found[split] = (levels.astype(np.float32) / 15.0, digits.astype(np.int64))
    return found


def load(pairing: Pairing = "label", seed: int = 0) -> dict[Split, Pairs]:
    """4,000 / 1,000 / 1,500 pairs; the same for the same seed.

    `label` pairs an image and a sound of one digit; `sum` pairs freely and asks for
    (written + spoken) mod 10. Every sound is used once; images recur under fresh noise.
    """
    images, sounds = faded_images(), spoken_digits()
    pairs: dict[Split, Pairs] = {}
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng([seed, number])
        (pictures, written), (audio, spoken) = images[split], sounds[split]
        order = rng.permutation(len(spoken))
        audio, spoken = audio[order], spoken[order]
        if pairing == "label":
            chosen = np.empty(len(spoken), dtype=np.int64)
            for digit in range(10):
                wanted = np.flatnonzero(spoken == digit)
                chosen[wanted] = rng.choice(np.flatnonzero(written == digit), size=len(wanted))
            label = spoken
        else:
            chosen = rng.integers(0, len(written), size=len(spoken))
            label = (written[chosen] + spoken) % 10
        noise = rng.normal(0.0, IMAGE_NOISE, size=(len(spoken), 64)).astype(np.float32)
        image = (pictures[chosen] + noise).reshape(-1, 1, 8, 8) / 2.5
        pairs[split] = Pairs(image, audio, label, written[chosen], spoken)
    return pairs
