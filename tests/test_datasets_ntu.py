"""NTU RGB+D from its published files: skeletons, videos, the papers' split, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fusegraph.ir.diagnostics import Diagnostic, FusegraphError
from fusegraph.tasks.datasets.ntu import DEVIATION, MEAN
from fusegraph.tasks.datasets.opening import open_dataset
from fusegraph.tasks.datasets.samples import Example, LeftOut
from fusegraph.tasks.datasets.settings import NtuSettings
from fusegraph.tasks.datasets.skeleton import centred, read_skeleton, resampled
from fusegraph.tasks.datasets.video import evenly, read_video
from published_files import bodies, ntu_name, skeleton_text, write_ntu, write_video

SMALL = {"size": "16", "clip": "4", "frames": "8"}
ORIGINAL_TRAIN = {1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38}


def _finding(run: Callable[[], Any]) -> Diagnostic:
    with pytest.raises(FusegraphError) as raised:
        run()
    assert len(raised.value.diagnostics) == 1
    return raised.value.diagnostics[0]


# skeletons


def test_a_skeleton_file_is_read_joint_by_joint(tmp_path: Path) -> None:
    made = bodies(5, people=2)
    file = tmp_path / "a.skeleton"
    file.write_text(skeleton_text(made))
    joints, most = read_skeleton(file)
    assert (joints.shape, joints.dtype, most) == ((3, 5, 25, 2), np.float32, 2)
    expected = np.array(made).transpose(3, 0, 2, 1)
    np.testing.assert_allclose(joints, expected, atol=1e-6)


def test_a_third_body_and_frames_without_any_are_taken_as_they_come(tmp_path: Path) -> None:
    made = bodies(3, people=3)
    made[1] = []
    file = tmp_path / "a.skeleton"
    file.write_text(skeleton_text(made) + "\n\n")
    joints, most = read_skeleton(file)
    assert most == 3
    assert not joints[:, 1].any()
    np.testing.assert_allclose(joints[:, 2, :, 1], made[2][1].T, atol=1e-6)


def test_a_coordinate_that_is_no_number_in_the_file_becomes_zero(tmp_path: Path) -> None:
    made = bodies(1)
    made[0][0][4, 2] = np.nan
    file = tmp_path / "a.skeleton"
    file.write_text(skeleton_text(made))
    joints, _ = read_skeleton(file)
    assert joints[2, 0, 4, 0] == 0.0
    assert np.count_nonzero(joints[:, :, :, 0]) == 74


def test_the_spine_of_the_first_body_is_the_origin_of_each_frame() -> None:
    joints = np.random.default_rng(0).normal(size=(3, 4, 25, 2)).astype(np.float32)
    moved = centred(joints)
    assert not moved[:, :, 1, 0].any()
    np.testing.assert_allclose(
        moved[:, 2, 7, 1] - moved[:, 2, 1, 1], joints[:, 2, 7, 1] - joints[:, 2, 1, 1], rtol=1e-5
    )


@pytest.mark.parametrize("frames", [1, 5, 32, 103])
def test_resampling_over_time_equals_torchs_linear_interpolation(frames: int) -> None:
    joints = np.random.default_rng(frames).normal(size=(3, frames, 25, 2)).astype(np.float32)
    flat = torch.from_numpy(joints).permute(0, 2, 3, 1).reshape(1, -1, frames)
    stretched = torch.nn.functional.interpolate(flat, size=32, mode="linear", align_corners=False)
    expected = stretched.reshape(3, 25, 2, 32).permute(0, 3, 1, 2).numpy()
    np.testing.assert_allclose(resampled(joints, 32), expected, atol=1e-5)


def _cut(text: str) -> str:
    return "\n".join(text.splitlines()[:20]) + "\n"


def _replaced(line: int, new: str) -> Callable[[str], str]:
    def spoil(text: str) -> str:
        lines = text.splitlines()
        lines[line - 1] = new
        return "\n".join(lines)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "line", "expected", "found"),
    [
        (_cut, 21, "12 numbers of a joint", "the end of the file"),
        (lambda _: "", 1, "the number of frames", "the end of the file"),
        (_replaced(1, "two"), 1, "the number of frames, 0 to 100000", "'two'"),
        (_replaced(2, "7"), 2, "the number of bodies, 0 to 6", "'7'"),
        (_replaced(3, "1 2 3"), 3, "10 numbers of a body", "3: '1 2 3'"),
        (_replaced(4, "20"), 4, "the number of joints, 25", "'20'"),
        (_replaced(6, "0.1 0.2 0.3"), 6, "12 numbers of a joint", "3: '0.1 0.2 0.3'"),
        (_replaced(5, "a b c 1 1 1 1 1 1 1 1 2"), 5, "coordinates of a joint", "'a b c'"),
        (
            _replaced(5, "1 inf 1 1 1 1 1 1 1 1 1 2"),
            5,
            "coordinates of a joint, finite or NaN",
            "'1 inf 1'",
        ),
        (
            _replaced(5, "1 1e300 1 1 1 1 1 1 1 1 1 2"),
            5,
            "coordinates of a joint, finite or NaN",
            "'1 1e300 1'",
        ),
        (lambda text: text + "9\n", 58, "the end of the file", "'9'"),
    ],
)
def test_a_broken_skeleton_file_is_told_with_its_line(
    tmp_path: Path, spoil: Callable[[str], str], line: int, expected: str, found: str
) -> None:
    file = tmp_path / "a.skeleton"
    file.write_text(spoil(skeleton_text(bodies(2))))
    wrong = _finding(lambda: read_skeleton(file))
    assert (wrong.code, wrong.place) == ("E643", f"{file}:{line}")
    assert wrong.message == f"expected {expected}, found {found}"


def test_a_skeleton_file_that_is_not_text_or_not_there_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.skeleton"
    assert _finding(lambda: read_skeleton(file)).code == "E644"
    file.write_bytes(b"12\n\xff\xfe")
    assert _finding(lambda: read_skeleton(file)).code == "E644"


# videos


def test_frames_are_taken_evenly_from_the_first_to_the_last(tmp_path: Path) -> None:
    file = tmp_path / "a.avi"
    write_video(file, range(0, 200, 10))
    clip = read_video(file, 5, 16)
    assert (clip.shape, clip.dtype) == ((3, 5, 16, 16), np.float32)
    np.testing.assert_allclose(clip[:, :, 8, 4], [[0, 40, 90, 140, 190]] * 3, atol=3)
    assert evenly(20, 5) == [0, 4, 9, 14, 19]


def test_colours_come_out_as_red_green_blue(tmp_path: Path) -> None:
    file = tmp_path / "a.avi"
    write_video(file, [100, 100])
    clip = read_video(file, 2, 16)
    np.testing.assert_allclose(clip[:, 0, 8, 12], [255, 0, 0], atol=6)


def test_a_video_shorter_than_the_clip_repeats_frames(tmp_path: Path) -> None:
    file = tmp_path / "a.avi"
    write_video(file, [0, 100])
    clip = read_video(file, 4, 16)
    np.testing.assert_allclose(clip[0, :, 8, 4], [0, 0, 0, 100], atol=3)


def test_a_video_that_is_cut_off_or_none_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.avi"
    assert _finding(lambda: read_video(file, 4, 16)).code == "E644"
    file.write_bytes(b"not a video!")
    wrong = _finding(lambda: read_video(file, 4, 16))
    assert (wrong.code, wrong.place) == ("E644", str(file))
    assert wrong.message == "expected a video, found 12 bytes that hold no frame"
    noise = np.random.default_rng(0).integers(0, 256, 120).tolist()
    write_video(file, noise, size=(240, 320))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    wrong = _finding(lambda: read_video(file, 4, 16))
    assert wrong.code == "E644"
    assert "frame" in wrong.message


# the data set


def test_the_splits_are_those_of_mfas_and_the_original_test_subjects() -> None:
    settings = NtuSettings()
    assert settings.train == (1, 4, 8, 13, 15, 17, 19)
    assert settings.valid == (2, 5, 9, 14)
    assert set(settings.test) == set(range(1, 41)) - ORIGINAL_TRAIN
    assert set(settings.train) | set(settings.valid) < ORIGINAL_TRAIN


def test_samples_go_to_the_split_of_their_subject(tmp_path: Path) -> None:
    names = [ntu_name(subject, action) for subject in range(1, 41) for action in (1, 60)]
    write_ntu(tmp_path, [*names, ntu_name(1, 61)], video=False)
    opened = open_dataset("ntu", tmp_path, {"inputs": "skeleton", **SMALL})
    counted = {split: len(reader) for split, reader in opened.splits.items()}
    assert counted == {"train": 14, "valid": 8, "test": 40}
    assert opened.notes == (
        "left out: 18 of a subject that is in no split",
        "left out: 1 of an action above 60",
    )
    first = opened.splits["valid"]
    assert [first.name(n) for n in range(3)] == [ntu_name(2), ntu_name(2, 60), ntu_name(5)]


def test_a_sample_is_a_clip_a_skeleton_and_a_class_from_zero(tmp_path: Path) -> None:
    write_ntu(tmp_path, [ntu_name(1, 7)])
    opened = open_dataset("ntu", tmp_path, SMALL)
    sample = opened.splits["train"].read(0)
    assert isinstance(sample, Example)
    assert sample.label == 6
    assert {name: value.shape for name, value in sample.inputs.items()} == {
        "rgb": (3, 4, 16, 16),
        "skeleton": (3, 8, 25, 2),
    }
    file = tmp_path / "nturgb+d_rgb" / f"{ntu_name(1, 7)}_rgb.avi"
    expected = (read_video(file, 4, 16) / 255 - MEAN) / DEVIATION
    np.testing.assert_allclose(sample.inputs["rgb"], expected, rtol=1e-5)
    joints, _ = read_skeleton(tmp_path / "nturgb+d_skeletons" / f"{ntu_name(1, 7)}.skeleton")
    np.testing.assert_array_equal(sample.inputs["skeleton"], resampled(centred(joints), 8))


def test_the_papers_sizes_are_those_of_the_defaults(tmp_path: Path) -> None:
    write_ntu(tmp_path, [ntu_name(1)])
    sample = open_dataset("ntu", tmp_path).splits["train"].read(0)
    assert isinstance(sample, Example)
    assert sample.inputs["rgb"].shape == (3, 8, 256, 256)
    assert sample.inputs["skeleton"].shape == (3, 32, 25, 2)


def test_samples_without_a_body_are_left_out_or_kept_as_zeros(tmp_path: Path) -> None:
    write_ntu(tmp_path, [ntu_name(1), ntu_name(4)], video=False, people={ntu_name(4): 0})
    options = {"inputs": "skeleton", **SMALL}
    reader = open_dataset("ntu", tmp_path, options).splits["train"]
    assert reader.read(1) == LeftOut(ntu_name(4), "its skeleton file holds no body")
    kept = open_dataset("ntu", tmp_path, {**options, "empty": "zeros"}).splits["train"].read(1)
    assert isinstance(kept, Example)
    assert not kept.inputs["skeleton"].any()
    (tmp_path / "nturgb+d_skeletons" / f"{ntu_name(4)}.skeleton").write_text("0\n")
    without_frames = open_dataset("ntu", tmp_path, {**options, "empty": "zeros"})
    kept = without_frames.splits["train"].read(1)
    assert isinstance(kept, Example)
    assert kept.inputs["skeleton"].shape == (3, 8, 25, 2)


def test_samples_on_the_published_list_are_left_out(tmp_path: Path) -> None:
    write_ntu(tmp_path, [ntu_name(1), ntu_name(4), ntu_name(8)], video=False)
    text = f"302 of the captured samples ...\n\n{ntu_name(1)}\n{ntu_name(30)}\n"
    listed = tmp_path / "NTU_RGBD_samples_with_missing_skeletons.txt"
    listed.write_text(text)
    options = {"inputs": "skeleton", **SMALL}
    opened = open_dataset("ntu", tmp_path, options)
    assert len(opened.splits["train"]) == 2
    assert opened.notes == ("left out: 1 on the list of missing skeletons",)
    assert len(open_dataset("ntu", tmp_path, {**options, "empty": "zeros"}).splits["train"]) == 3
    listed.rename(tmp_path / "own.txt")
    assert len(open_dataset("ntu", tmp_path, options).splits["train"]) == 3
    own = {**options, "missing": str(tmp_path / "own.txt")}
    assert len(open_dataset("ntu", tmp_path, own).splits["train"]) == 2


def _no_video(root: Path) -> None:
    (root / "nturgb+d_rgb" / f"{ntu_name(4)}_rgb.avi").unlink()


def _twice(root: Path) -> None:
    file = root / "nturgb+d_skeletons" / f"{ntu_name(4)}.skeleton"
    (root / file.name).write_bytes(file.read_bytes())


def _none(root: Path) -> None:
    for file in (root / "nturgb+d_rgb").iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("spoil", "found", "todo"),
    [
        (
            _no_video,
            f"found no {ntu_name(4)}_rgb.avi: 1 of 2 skeleton files stand alone",
            "or use one input: `--option inputs=skeleton`",
        ),
        (
            _twice,
            f"expected one skeleton file of sample {ntu_name(4)}, found a second",
            "remove one of them",
        ),
        (
            _none,
            "expected files S001C001P001R001A001_rgb.avi below this folder, found none",
            "or leave rgb out: `--option inputs=skeleton`",
        ),
    ],
)
def test_files_that_are_missing_or_double_are_told(
    tmp_path: Path, spoil: Callable[[Path], None], found: str, todo: str
) -> None:
    write_ntu(tmp_path, [ntu_name(1), ntu_name(4)])
    spoil(tmp_path)
    wrong = _finding(lambda: open_dataset("ntu", tmp_path, SMALL))
    assert wrong.code == "E642"
    assert found in wrong.message
    assert wrong.help.endswith(todo)


def test_options_are_checked_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(FusegraphError) as raised:
        open_dataset("ntu", tmp_path, {"trian": "1", "size": "big", "inputs": "audio"})
    assert {d.code for d in raised.value.diagnostics} == {"E640"}
    text = str(raised.value)
    assert "unknown option `trian`" in text
    assert "did you mean `train`?" in text
    assert "option `size`: expected" in text
    wrong = _finding(lambda: open_dataset("ntu", tmp_path, {"train": "1,2"}))
    assert "subject 2 stands in `train` and in `valid`" in wrong.message
