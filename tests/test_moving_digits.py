"""The moving digits: repeatable, balanced, classes of what and how, flow that is motion."""

from __future__ import annotations

import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusegraph.pipeline.tasks import prepare
from fusegraph.tasks.features import open_features
from fusegraph.tasks.task_file import load_task
from repository import ROOT

EXAMPLE = ROOT / "examples" / "assemblenet"
NETWORKS = ("rgb", "flow", "late", "fused")


@pytest.fixture(scope="module")
def digits() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        yield import_module("moving_digits")


@pytest.fixture(scope="module")
def clips(digits: Any) -> Any:
    return digits.make("train", 96, seed=3)


def test_clips_repeat_for_a_seed_and_differ_for_another(digits: Any, clips: Any) -> None:
    same, other = digits.make("train", 96, seed=3), digits.make("train", 96, seed=4)
    np.testing.assert_array_equal(clips.frames, same.frames)
    np.testing.assert_array_equal(clips.flow, same.flow)
    assert (clips.frames != other.frames).any(axis=(1, 2, 3, 4)).all()
    assert (clips.frames != digits.make("valid", 96, seed=3).frames).any(axis=(1, 2, 3, 4)).all()


def test_a_clip_depends_on_its_number_and_not_on_those_made_with_it(
    digits: Any, clips: Any
) -> None:
    alone = digits.make("train", 2, seed=3, first=40)
    np.testing.assert_array_equal(alone.frames, clips.frames[40:42])
    np.testing.assert_array_equal(alone.label, clips.label[40:42])


def test_every_class_is_as_frequent_and_every_clip_shows_both_digits(
    digits: Any, clips: Any
) -> None:
    assert np.bincount(clips.label).tolist() == [12] * 8
    shown = digits.load_digits().target[clips.image]
    assert (np.sort(shown, axis=1) == sorted(digits.DIGITS)).all()


def test_the_class_is_the_movers_digit_and_where_it_starts_to_and_neither_alone(
    digits: Any, clips: Any
) -> None:
    mover = digits.load_digits().target[clips.image[:, 0]]
    starts = np.array([digits.DIRECTIONS[label % 4] for label in clips.label])
    assert [digits.CLASSES[n].split()[0] for n in clips.label] == mover.astype(str).tolist()
    assert ((clips.velocity[:, 0] * starts).sum(axis=1) >= digits.Recipe().speed[0]).all()
    np.testing.assert_allclose(clips.velocity.sum(axis=1), 0, atol=1e-5)
    for digit in digits.DIGITS:
        assert np.bincount(clips.label[mover == digit], minlength=8).max() == 12
        assert len(np.unique(clips.label[mover == digit])) == len(digits.MOTIONS)
    for start in digits.DIRECTIONS:
        of_start = clips.label[(starts == start).all(axis=1)]
        assert len(np.unique(of_start)) == len(digits.DIGITS)


def test_no_image_is_in_two_splits(digits: Any) -> None:
    images = [
        {int(index) for own in digits.glyphs(split) for index in own.indices}
        for split in digits.SPLITS
    ]
    assert len(set.union(*images)) == sum(len(own) for own in images) > 300
    for split, own in zip(digits.SPLITS, images, strict=True):
        assert set(digits.make(split, 24, seed=1).image.ravel().tolist()) <= own


def test_the_flow_over_the_mover_has_its_direction_and_about_its_speed(
    digits: Any, clips: Any
) -> None:
    size = digits.Recipe().digit
    along: list[float] = []
    for flow, place, velocity in zip(clips.flow, clips.place, clips.velocity, strict=True):
        for time, moved in enumerate(velocity):
            x, y = np.clip(np.round(place[time]).astype(int), 0, None)
            over = flow[time, y : y + size, x : x + size].mean(axis=(0, 1))
            along.append(float(over @ moved / (moved @ moved)))
    assert np.mean(np.array(along) > 0) > 0.99
    assert np.median(along) == pytest.approx(0.8, abs=0.1)


def test_the_cameras_motion_is_not_in_the_flow(digits: Any) -> None:
    steady = digits.make("train", 16, recipe=digits.Recipe(speed=(0.0, 0.0)))
    assert np.abs(np.median(steady.flow, axis=(2, 3))).max() < 0.1
    camera = np.linalg.norm(np.diff(steady.place, axis=1), axis=-1)
    left = np.linalg.norm(steady.flow, axis=-1)
    assert np.median(left) < 0.1 * np.median(camera)


def test_the_tasks_find_their_networks_and_taps(digits: Any, tmp_path: Path) -> None:
    lines: list[str] = []
    counts = dict.fromkeys(digits.SPLITS, 12)
    digits.write_features(tmp_path / "moving_digits", clips=counts, say=lines.append)
    assert lines == [f"{split}: 12 of 12 clips" for split in digits.SPLITS]
    assert open_features(tmp_path / "moving_digits").manifest.labels.names[0] == "0 right"
    for file in EXAMPLE.glob("moving_digits_*"):
        shutil.copy(file, tmp_path)
    for name in NETWORKS:
        task = load_task(tmp_path / f"moving_digits_{name}.toml")
        assert prepare(task).trained.graph.name == f"moving_digits_{name}"


def test_dense_and_sparse_clips_show_the_same_video(digits: Any, clips: Any) -> None:
    dense, sparse = clips.tap("dense"), clips.tap("sparse")
    assert dense.shape == (96, 3, 4, 32, 32)
    assert sparse.shape == (96, 3, 2, 32, 32)
    np.testing.assert_array_equal(dense[:, :, ::2], sparse)
    np.testing.assert_array_equal(dense, clips.tap("rgb"))
    assert clips.tap("flow").shape == (96, 2, 4, 32, 32)


def test_the_study_changes_the_tasks_searcher_and_looks_at_its_pool_to_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    sys.modules.pop("study", None)
    import study  # pyright: ignore[reportMissingImports]

    for file in EXAMPLE.glob("moving_digits*.fuse"):
        shutil.copy(file, tmp_path)
    searches = [
        load_task(tmp_path / study.task_of(tmp_path, arm)).settings.search for arm in study.ARMS
    ]
    assert [search.searcher for search in searches] == ["evolution", "evolution", "random"]
    assert [search.options.get("connections") for search in searches] == [None, "random", None]
    assert {search.budget for search in searches} == {study.TRIALS[-1]}
    assert {search.train.epochs for search in searches} == {study.EPOCHS}
    alone = load_task(tmp_path / study.seeded(tmp_path, "moving_digits_late", 2)).settings.train
    found = load_task(EXAMPLE / study.TASK).settings.train
    assert alone.seed == 2
    assert alone.model_copy(update={"seed": 0, "finals": found.finals}) == found
