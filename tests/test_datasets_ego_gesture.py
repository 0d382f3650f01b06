"""EgoGesture from its published files: label rows, frames in the middle, the published split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusegraph.ir.diagnostics import Diagnostic, FusegraphError
from fusegraph.tasks.datasets.ego_gesture import MEAN, open_ego_gesture
from fusegraph.tasks.datasets.opening import open_dataset
from fusegraph.tasks.datasets.samples import Example
from fusegraph.tasks.datasets.settings import EgoGestureSettings
from fusegraph.tasks.datasets.video import central, read_frames
from published_files import write_ego_gesture

SMALL = {"frames": "4", "size": "12"}
ROWS = {
    (3, 1, 1): ["7,1,8", "83,9,12"],
    (3, 2, 1): ["1,2,4"],
    (1, 1, 1): ["2,1,12"],
    (2, 1, 1): ["3,1,12"],
}


def _finding(run: Callable[[], Any]) -> Diagnostic:
    with pytest.raises(FusegraphError) as raised:
        run()
    assert len(raised.value.diagnostics) == 1
    return raised.value.diagnostics[0]


def test_the_published_split_has_every_subject_once() -> None:
    settings = EgoGestureSettings()
    splits = [settings.train, settings.valid, settings.test]
    assert [len(split) for split in splits] == [30, 10, 10]
    assert sorted(number for split in splits for number in split) == list(range(1, 51))


@pytest.mark.parametrize(
    ("frames", "wanted", "expected"),
    [
        (range(1, 9), 4, [3, 4, 5, 6]),
        (range(2, 5), 4, [2, 3, 4, 2]),
        (range(5, 6), 3, [5, 5, 5]),
        (range(1, 5), 4, [1, 2, 3, 4]),
    ],
)
def test_a_clip_is_the_middle_or_repeats(frames: range, wanted: int, expected: list[int]) -> None:
    assert central(frames, wanted) == expected


def test_gestures_go_to_the_split_of_their_subject(tmp_path: Path) -> None:
    write_ego_gesture(tmp_path, ROWS)
    opened = open_dataset("ego_gesture", tmp_path, SMALL)
    assert {split: len(reader) for split, reader in opened.splits.items()} == {
        "train": 3,
        "valid": 1,
        "test": 1,
    }
    assert opened.splits["train"].name(1) == "Subject03/Scene1, video 1, frame 9"
    assert opened.labels.classes == 83
    assert opened.notes == ()


def test_a_sample_has_both_modalities_and_a_class_from_zero(tmp_path: Path) -> None:
    write_ego_gesture(tmp_path, ROWS)
    sample = open_dataset("ego_gesture", tmp_path, SMALL).splits["train"].read(0)
    assert isinstance(sample, Example)
    assert sample.label == 6
    rgb, depth = sample.inputs["rgb"], sample.inputs["depth"]
    assert (rgb.shape, depth.shape) == ((3, 4, 12, 12), (1, 4, 12, 12))
    levels = np.array([30, 40, 50, 60])
    np.testing.assert_allclose(rgb[:, :, 5, 5], levels - MEAN[:, None], atol=2)
    np.testing.assert_allclose(depth[:, :, 5, 5], levels[None] + 5 - MEAN[0], atol=2)


def test_the_papers_clip_is_the_default(tmp_path: Path) -> None:
    write_ego_gesture(tmp_path, {(3, 1, 1): ["1,1,12"]})
    sample = open_ego_gesture(tmp_path, EgoGestureSettings()).splits["train"].read(0)
    assert isinstance(sample, Example)
    assert sample.inputs["rgb"].shape == (3, 32, 112, 112)
    assert sample.inputs["depth"].shape == (1, 32, 112, 112)


def test_the_centre_is_kept_where_a_frame_is_no_square(tmp_path: Path) -> None:
    import cv2

    picture = np.zeros((20, 60, 3), dtype=np.uint8)
    picture[:, 20:40] = 200
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    clip = read_frames([tmp_path / "a.png"], 10, 3)
    assert clip.shape == (3, 1, 10, 10)
    np.testing.assert_allclose(clip, 200, atol=1)


def test_rows_without_frames_and_other_subjects_are_counted(tmp_path: Path) -> None:
    write_ego_gesture(tmp_path, {(3, 1, 1): ["7,1,8", "5,,", ""], (4, 1, 1): ["1,1,4"]})
    opened = open_dataset("ego_gesture", tmp_path, {**SMALL, "train": "3", "inputs": "depth"})
    assert len(opened.splits["train"]) == 1
    assert opened.notes == (
        "left out: 2 rows of label files, which name no frames",
        "left out: 1 label files, of a subject that is in no split",
    )
    sample = opened.splits["train"].read(0)
    assert isinstance(sample, Example)
    assert list(sample.inputs) == ["depth"]


def test_the_folders_of_frames_are_not_searched(tmp_path: Path) -> None:
    write_ego_gesture(tmp_path, {(3, 1, 1): ["7,1,8"]})
    within = tmp_path / "images" / "Subject03" / "Scene1" / "Color" / "rgb1"
    write_ego_gesture(within, {(4, 1, 1): ["7,1,8"]})
    assert len(open_dataset("ego_gesture", tmp_path, SMALL).splits["train"]) == 1


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("84,1,8", "expected a class of 1 to 83, found 84"),
        ("0,1,8", "expected a class of 1 to 83, found 0"),
        ("7,8,1", "expected a first frame before the last, found 8 and 1"),
        ("wave,1,8", "expected class, first and last frame, found 'wave,1,8'"),
        ("inf,1,8", "expected class, first and last frame, found 'inf,1,8'"),
    ],
)
def test_a_broken_row_is_told_with_its_line(tmp_path: Path, row: str, found: str) -> None:
    write_ego_gesture(tmp_path, {(3, 1, 1): ["7,1,8", row]})
    wrong = _finding(lambda: open_dataset("ego_gesture", tmp_path, SMALL))
    file = tmp_path / "labels-final-revised1" / "subject03" / "Scene1" / "Group1.csv"
    assert (wrong.code, wrong.place, wrong.message) == ("E643", f"{file}:2", found)


def test_a_missing_frame_and_one_that_is_no_image_are_told(tmp_path: Path) -> None:
    write_ego_gesture(tmp_path, {(3, 1, 1): ["7,1,8"]})
    reader = open_dataset("ego_gesture", tmp_path, SMALL).splits["train"]
    frame = tmp_path / "images" / "Subject03" / "Scene1" / "Depth" / "depth1" / "000004.jpg"
    frame.unlink()
    wrong = _finding(lambda: reader.read(0))
    assert (wrong.code, wrong.place) == ("E644", str(frame))
    assert "expected a frame, found none" in wrong.message
    frame.write_bytes(b"GIF?")
    assert "found 4 bytes that hold none" in _finding(lambda: reader.read(0)).message
    frame.write_bytes(b"")
    assert "found 0 bytes that hold none" in _finding(lambda: reader.read(0)).message


def test_labels_without_frames_and_folders_without_labels_are_told(tmp_path: Path) -> None:
    write_ego_gesture(tmp_path, {(3, 1, 1): ["7,1,8"]})
    (tmp_path / "images").rename(tmp_path / "pictures")
    assert len(open_dataset("ego_gesture", tmp_path, SMALL).splits["train"]) == 1
    (tmp_path / "pictures" / "Subject03").rename(tmp_path / "pictures" / "Subject30")
    wrong = _finding(lambda: open_dataset("ego_gesture", tmp_path, SMALL))
    assert wrong.code == "E642"
    assert "Subject03/Scene1" in wrong.message
    wrong = _finding(lambda: open_dataset("ego_gesture", tmp_path / "pictures", SMALL))
    assert "expected label files" in wrong.message
