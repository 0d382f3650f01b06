"""Two small convolutional networks, one a modality, and the features that they are tapped for.

    python examples/av_digits/backbones.py FOLDER [--pairing sum] [--seed 1]

The image network has three convolutions (8, 16, 32 channels), the audio network five (8 ... 128).
Each learns its own modality's digit; then they are frozen, and each convolution becomes two taps:
`image[1..3]` and `audio[1..5]`, pooled to one number a channel as in MFAS, and `image_map[1..3]`
and `audio_map[1..5]`, the maxima over a grid of 2 x 2 as BM-NAS takes images. `image_logits` and
`audio_logits` are cached beside them, so that late fusion can be computed without running anything
again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch
from data import SPLITS, Pairing, Pairs, Split, load
from torch import Generator, Tensor, nn

from fusegraph.tasks.extract import Extracted, extract
from fusegraph.tasks.features import FeatureFolder
from fusegraph.tasks.manifest import LabelKind
from fusegraph.tasks.pooling import grid_pool, mean_pool
from fusegraph.training.batches import Batch
from fusegraph.training.events import EpochEnded, TrainingEvent
from fusegraph.training.loop import fit
from fusegraph.training.settings import TrainSettings
from fusegraph.training.tensors import TensorBatches, tensor_batches

Modality = Literal["image", "audio"]
Say = Callable[[str], None]

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WIDTHS: dict[Modality, tuple[int, ...]] = {"image": (8, 16, 32), "audio": (8, 16, 32, 64, 128)}
DROPOUT = 0.1
SETTINGS: dict[Modality, TrainSettings] = {
    "image": TrainSettings(
        epochs=10, batch=64, learning_rate=8e-3, schedule="cosine", device="cpu"
    ),
    "audio": TrainSettings(
        epochs=20, batch=64, learning_rate=5e-3, schedule="cosine", device="cpu"
    ),
}


class Backbone(nn.Module):
    """Convolutions of 3 x 3, each but the last followed by pooling; ten logits."""

    def __init__(self, modality: Modality) -> None:
        super().__init__()
        self.modality = modality
        self.blocks = nn.ModuleList()
        channels, widths = 1, WIDTHS[modality]
        for index, width in enumerate(widths):
            last = index == len(widths) - 1
            block = nn.Sequential(
                nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False),
                # Before norm and activation, which then have a quarter of the work.
                nn.Identity() if last else nn.MaxPool2d(2),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            )
            self.blocks.append(block)
            channels = width
        self.dropout = nn.Dropout(DROPOUT)
        self.classifier = nn.Linear(channels, 10)
        # 1.6 times faster on a CPU; torch's annotations do not know this keyword of `to`.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(samples, 1, height, width) -> (samples, 10)."""
        features = inputs[self.modality]
        for block in self.blocks:
            features = block(features)
        return self.classifier(self.dropout(features.mean(dim=(2, 3))))


class Backbones(nn.Module):
    """Both networks side by side, so that one pass fills all taps."""

    def __init__(self, image: Backbone, audio: Backbone) -> None:
        super().__init__()
        self.image = image
        self.audio = audio

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Each network's logits."""
        return self.image(inputs), self.audio(inputs)


_BLOCKS = [(modality, n) for modality, widths in WIDTHS.items() for n in range(1, len(widths) + 1)]
TAPS = {
    **{f"{modality}[{n}]": f"{modality}.blocks.{n - 1}" for modality, n in _BLOCKS},
    **{f"{modality}_map[{n}]": f"{modality}.blocks.{n - 1}" for modality, n in _BLOCKS},
    "image_logits": "image",
    "audio_logits": "audio",
}
POOLS = {tap: partial(grid_pool, length=4) if "_map" in tap else mean_pool for tap in TAPS}


@dataclass(frozen=True, slots=True)
class Augmented:
    """A `BatchSource` that alters what is drawn in random order; order and change by one seed."""

    source: TensorBatches
    modality: Modality

    def __len__(self) -> int:
        """As many batches as there were."""
        return len(self.source)

    def epoch(self, generator: Generator | None) -> Iterator[Batch]:
        """More noise for images; for sounds a shift in time and pitch, loudness, a silent band."""
        change = _noisier if self.modality == "image" else _shifted
        for inputs, labels in self.source.epoch(generator):
            if generator is None:
                yield Batch(inputs, labels)
            else:
                yield Batch({self.modality: change(inputs[self.modality], generator)}, labels)


def _noisier(image: Tensor, generator: Generator) -> Tensor:
    return image + 0.3 * torch.randn(image.shape, generator=generator)


def _shifted(audio: Tensor, generator: Generator) -> Tensor:
    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=generator).item())

    moved = torch.roll(audio, (draw(-1, 1), draw(-4, 4)), dims=(2, 3))
    moved = moved * (0.8 + 0.4 * torch.rand(len(audio), 1, 1, 1, generator=generator))
    band = draw(0, 27)
    moved[:, :, band : band + draw(0, 4)] = 0.0
    return moved


def train_backbone(
    modality: Modality, pairs: Mapping[Split, Pairs], seed: int, say: Say
) -> Backbone:
    """Learns the modality's own digit, whatever the task's label is."""
    torch.manual_seed(seed)
    backbone = Backbone(modality)
    settings = SETTINGS[modality].model_copy(update={"seed": seed})

    def source(split: Split) -> TensorBatches:
        own: dict[Modality, Tensor] = {
            "image": torch.from_numpy(pairs[split].image),
            "audio": torch.from_numpy(pairs[split].audio),
        }
        digits = {"image": pairs[split].image_digit, "audio": pairs[split].audio_digit}
        size = settings.batch if split == "train" else 500
        return tensor_batches({modality: own[modality]}, digits[modality], batch=size)

    def progress(event: TrainingEvent) -> None:
        if isinstance(event, EpochEnded):
            say(
                f"{modality} backbone: epoch {event.epoch}/{event.epochs}, "
                f"loss {event.train_loss:.3f}, validation accuracy {event.score:.1%}, "
                f"{event.seconds:.1f} s"
            )

    train = Augmented(source("train"), modality)
    with _one_thread():
        fit(backbone, train, source("valid"), settings, on_event=progress)
    return backbone


@contextmanager
def _one_thread() -> Iterator[None]:
    """The same figures on any number of cores; and on busy ones, two threads wait for each other.

    An epoch of half a second took up to 16 seconds with two threads beside other programs.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def build_features(
    folder: str | Path,
    pairing: Pairing = "label",
    seed: int = 0,
    say: Say = print,
    *,
    replace: bool = False,
) -> FeatureFolder:
    """Trains both backbones and writes the feature folder; about 15 seconds.

    Args:
        folder: where the folder will be.
        pairing: `label` or `sum`, see `data.load`.
        seed: of pairing, noise, and both trainings.
        say: gets one plain line at a time.
        replace: whether an older folder is replaced.
    """
    pairs = load(pairing, seed)
    both = Backbones(
        train_backbone("image", pairs, seed, say), train_backbone("audio", pairs, seed, say)
    )

    def progress(event: Extracted) -> None:
        if event.batches == event.of_batches:
            say(f"features: {event.samples} samples of {event.split}")

    sources = {
        split: _AllBatches(
            tensor_batches(
                {"image": pairs[split].image, "audio": pairs[split].audio},
                pairs[split].label,
                batch=250,
            )
        )
        for split in SPLITS
    }
    return extract(
        both,
        TAPS,
        sources,
        folder,
        LabelKind(kind="single", classes=10, names=DIGITS),
        source=f"av_digits, pairing {pairing}, seed {seed}",
        pool=POOLS,
        replace=replace,
        on_batch=progress,
    )


@dataclass(frozen=True, slots=True)
class _AllBatches:
    source: TensorBatches

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Batch]:
        return self.source.epoch(None)


def main() -> None:
    """Writes a feature folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder")
    parser.add_argument("--pairing", choices=get_args(Pairing), default="label")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    build_features(arguments.folder, arguments.pairing, arguments.seed)


if __name__ == "__main__":
    main()
