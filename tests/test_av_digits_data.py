"""The example's data: what is committed, how it is paired, what its backbones are tapped for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "av_digits"
SIZES = {"train": 4000, "valid": 1000, "test": 1500}


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    return import_module("data")


def test_the_committed_sounds_are_small_and_free_of_pickles() -> None:
    file = EXAMPLE / "data" / "spoken_digits.npz"
    assert file.stat().st_size < 3_000_000
    with np.load(file, allow_pickle=False) as arrays:
        for split, samples in SIZES.items():
            assert arrays[f"{split}_spectrograms"].shape == (samples, 512)
            assert np.bincount(arrays[f"{split}_digits"]).tolist() == [samples // 10] * 10


def test_no_speaker_is_heard_in_two_splits() -> None:
    with np.load(EXAMPLE / "data" / "spoken_digits.npz", allow_pickle=False) as arrays:
        heard = {split: set(arrays[f"{split}_speakers"].tolist()) for split in SIZES}
    assert {split: len(speakers) for split, speakers in heard.items()} == {
        "train": 125,
        "valid": 25,
        "test": 42,
    }
    assert len(set.union(*heard.values())) == 192


def test_sounds_have_sixteen_grey_levels_from_silence_to_the_loudest(data: Any) -> None:
    for sounds, _ in data.spoken_digits().values():
        assert sounds.shape[1:] == (1, 32, 32)
        np.testing.assert_array_equal(np.unique(np.round(sounds * 15)), np.arange(16))
        assert (sounds.max(axis=(1, 2, 3)) == 1.0).all()


def test_a_quarter_of_the_images_energy_is_left_and_no_image_is_in_two_splits(data: Any) -> None:
    images = data.faded_images()
    pixels = data.load_digits(return_X_y=True)[0]
    kept = np.concatenate([faded for faded, _ in images.values()])
    energy = (kept**2).sum() / ((pixels - pixels.mean(axis=0)) ** 2).sum()
    assert energy == pytest.approx(0.26, abs=0.01)
    assert [len(faded) for faded, _ in images.values()] == [1100, 250, 447]
    bounds = list(data.IMAGES.values())
    assert [a for a, _ in bounds] == [0, *[b for _, b in bounds[:-1]]]
    assert bounds[-1][1] == len(pixels)


def test_pairing_by_label_shows_and_says_one_digit(data: Any) -> None:
    pairs = data.load("label", seed=3)
    assert {split: len(p) for split, p in pairs.items()} == SIZES
    for p in pairs.values():
        np.testing.assert_array_equal(p.label, p.image_digit)
        np.testing.assert_array_equal(p.label, p.audio_digit)
        assert p.image.shape == (len(p), 1, 8, 8)
        assert p.image.dtype == p.audio.dtype == np.float32


def test_pairing_by_sum_asks_for_what_neither_modality_knows(data: Any) -> None:
    for p in data.load("sum", seed=3).values():
        np.testing.assert_array_equal(p.label, (p.image_digit + p.audio_digit) % 10)
        # Neither digit says anything of the label: each pair of values is about as frequent.
        for digit in (p.image_digit, p.audio_digit):
            together = np.histogram2d(digit, p.label, bins=10)[0] / len(p)
            assert together.min() > 0.002
            assert together.max() < 0.025


def test_pairs_repeat_for_a_seed_and_differ_for_another(data: Any) -> None:
    first, same, other = (data.load("label", seed)["test"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.image, same.image)
    np.testing.assert_array_equal(first.audio, same.audio)
    assert not np.array_equal(first.image, other.image)


def test_backbones_fill_a_feature_folder_with_all_taps_and_both_logits(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbones = import_module("backbones")
    unfused = import_module("unimodal").unfused

    def few(pairing: str, seed: int) -> dict[str, Any]:
        pairs = load(pairing, seed).items()
        columns = ("image", "audio", "label", "image_digit", "audio_digit")
        return {
            split: data.Pairs(*(getattr(p, column)[:300] for column in columns))
            for split, p in pairs
        }

    load = data.load
    monkeypatch.setattr(backbones, "load", few)
    short = {m: s.model_copy(update={"epochs": 1}) for m, s in backbones.SETTINGS.items()}
    monkeypatch.setattr(backbones, "SETTINGS", short)
    lines: list[str] = []
    folder = backbones.build_features(tmp_path / "f", "sum", 1, lines.append)
    shapes = {name: tap.shape for name, tap in folder.manifest.taps.items()}
    assert shapes == {
        **{f"image[{n}]": (4 * 2**n,) for n in (1, 2, 3)},
        **{f"audio[{n}]": (4 * 2**n,) for n in (1, 2, 3, 4, 5)},
        **{f"image_map[{n}]": (4 * 2**n, 2, 2) for n in (1, 2, 3)},
        **{f"audio_map[{n}]": (4 * 2**n, 2, 2) for n in (1, 2, 3, 4, 5)},
        "image_logits": (10,),
        "audio_logits": (10,),
    }
    np.testing.assert_array_equal(folder.labels("test"), load("sum", 1)["test"].label[:300])
    assert [line.split(":")[0] for line in lines] == [
        "image backbone",
        "audio backbone",
        *["features"] * 3,
    ]
    assert unfused(folder).late_fusion < 0.3  # a sum of scores cannot add digits
