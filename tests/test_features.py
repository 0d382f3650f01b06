"""The feature folder: what is written is read back, and what is wrong is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusegraph.ir.diagnostics import Diagnostic, FusegraphError
from fusegraph.tasks.feature_writer import FeatureWriter
from fusegraph.tasks.features import FeatureFolder, open_features
from fusegraph.tasks.manifest import LabelKind

SINGLE = LabelKind(kind="single", classes=3, names=("a", "b", "c"))


def _batch(rng: np.random.Generator, samples: int) -> dict[str, np.ndarray[Any, Any]]:
    return {
        "image[1]": rng.normal(3.0, 2.0, (samples, 4)).astype(np.float32),
        "audio[1]": rng.normal(size=(samples, 2, 5)).astype(np.float16),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with FeatureWriter(tmp_path / "features", SINGLE, source="a test") as writer:
        for split, batches in {"train": (7, 5), "valid": (4,)}.items():
            for samples in batches:
                writer.add(split, _batch(rng, samples), rng.integers(0, 3, samples))
    return tmp_path / "features"


def _write(
    folder: Path, *more: Any, replace: bool = False, interrupt: BaseException | None = None
) -> None:
    with FeatureWriter(folder, SINGLE, replace=replace) as writer:
        writer.add("train", {"x": np.ones((2, 2), dtype=np.float32)}, [0, 1])
        for taps, labels in more:
            writer.add("train", taps, labels)
        if interrupt is not None:
            raise interrupt


def _finding(folder: Path) -> Diagnostic:
    with pytest.raises(FusegraphError) as raised:
        open_features(folder)
    assert len(raised.value.diagnostics) == 1
    return raised.value.diagnostics[0]


def _save(file: Path, array: np.ndarray[Any, Any]) -> None:
    np.save(file, array, allow_pickle=False)


def test_what_was_written_in_batches_is_read_as_one_memory_map(folder: Path) -> None:
    rng = np.random.default_rng(0)
    first, _ = _batch(rng, 7), rng.integers(0, 3, 7)
    second = _batch(rng, 5)
    opened = open_features(folder)
    assert opened.manifest.splits == {"train": 12, "valid": 4}
    assert opened.manifest.labels.names == ("a", "b", "c")
    for tap in first:
        stored = opened.array(tap, "train")
        assert isinstance(stored, np.memmap)
        np.testing.assert_array_equal(stored, np.concatenate([first[tap], second[tap]]))
    assert opened.labels("train").dtype == np.int64


def test_standardised_training_features_have_mean_zero_and_deviation_one(folder: Path) -> None:
    for tap, axes in {"image[1]": (0,), "audio[1]": (0, 2)}.items():
        values = open_features(folder).array(tap, "train", standardise=True)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values.mean(axis=axes), 0.0, atol=2e-3)
        np.testing.assert_allclose(values.std(axis=axes), 1.0, atol=2e-3)


def test_a_constant_channel_is_centred_and_not_divided_by_zero(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "f", SINGLE) as writer:
        writer.add("train", {"x": np.full((3, 2), 5.0, dtype=np.float32)}, [0, 1, 2])
    values = open_features(tmp_path / "f").array("x", "train", standardise=True)
    np.testing.assert_array_equal(values, 0.0)


def test_multi_label_folders_keep_one_column_a_class(tmp_path: Path) -> None:
    kind = LabelKind(kind="multi", classes=3)
    labels = np.array([[1, 0, 1], [0, 0, 0]])
    with FeatureWriter(tmp_path / "f", kind) as writer:
        writer.add("train", {"x": np.ones((2, 2), dtype=np.float32)}, labels)
    np.testing.assert_array_equal(open_features(tmp_path / "f").labels("train"), labels)


def _missing(folder: Path) -> None:
    (folder / "valid" / "image[1].npy").unlink()


def _truncated(folder: Path) -> None:
    file = folder / "train" / "image[1].npy"
    file.write_bytes(file.read_bytes()[:-8])


def _truncated_header(folder: Path) -> None:
    file = folder / "train" / "image[1].npy"
    file.write_bytes(file.read_bytes()[:20])


def _foreign(folder: Path) -> None:
    (folder / "train" / "image[1].npy").write_text("not an array")


def _wrong_shape(folder: Path) -> None:
    _save(folder / "train" / "image[1].npy", np.zeros((12, 5), dtype=np.float32))


def _wrong_dtype(folder: Path) -> None:
    _save(folder / "train" / "image[1].npy", np.zeros((12, 4), dtype=np.float64))


def _other_count(folder: Path) -> None:
    _save(folder / "train" / "image[1].npy", np.zeros((11, 4), dtype=np.float32))


def _labels_other_count(folder: Path) -> None:
    _save(folder / "train" / "labels.npy", np.zeros(11, dtype=np.int64))


def _label_too_high(folder: Path) -> None:
    _save(folder / "valid" / "labels.npy", np.array([0, 3, 1, 3], dtype=np.int64))


def _label_negative(folder: Path) -> None:
    _save(folder / "valid" / "labels.npy", np.array([0, 2, 1, -1], dtype=np.int64))


def _not_finite(folder: Path) -> None:
    values = np.zeros((12, 4), dtype=np.float32)
    values[3, 1], values[9, 0] = np.nan, np.inf
    _save(folder / "train" / "image[1].npy", values)


def _pickled(folder: Path) -> None:
    np.save(folder / "train" / "image[1].npy", np.array([{}] * 12, dtype=object))


@pytest.mark.parametrize(
    ("spoil", "code", "parts"),
    [
        (_missing, "E612", ["image[1].npy", "4 samples of shape [4]"]),
        (_truncated, "E613", ["truncated", "320 bytes", "312"]),
        (_truncated_header, "E613", ["not a complete .npy"]),
        (_foreign, "E613", ["not a complete .npy"]),
        (_wrong_shape, "E614", ["shape [4]", "shape [5]"]),
        (_wrong_dtype, "E615", ["expected float32, found float64"]),
        (_pickled, "E615", ["expected float32, found object"]),
        (_other_count, "E616", ["expected 12", "found 11"]),
        (_labels_other_count, "E616", ["expected 12", "found 11"]),
        (_label_too_high, "E617", ["2 labels", "0..2 (3 classes)", "found 3 at sample 1"]),
        (_label_negative, "E617", ["1 label is", "found -1 at sample 3"]),
        (_not_finite, "E618", ["2 of 12 samples", "3, 9"]),
    ],
)
def test_a_spoilt_array_is_told_with_file_expectation_and_finding(
    folder: Path, spoil: Callable[[Path], None], code: str, parts: list[str]
) -> None:
    open_features(folder)
    spoil(folder)
    found = _finding(folder)
    assert found.code == code
    assert found.place.endswith(".npy")
    assert found.help
    for part in parts:
        assert part in found.message


def test_all_spoilt_arrays_are_told_at_once(folder: Path) -> None:
    _missing(folder)
    _wrong_dtype(folder)
    with pytest.raises(FusegraphError) as raised:
        open_features(folder)
    assert [d.code for d in raised.value.diagnostics] == ["E615", "E612"]


def _edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "message", "advice"),
    [
        (lambda m: m.update(tap={}), "unknown key `tap`", "did you mean `taps`?"),
        (
            lambda m: m["taps"]["image[1]"].update(shpae=[4]),
            "unknown key `shpae`",
            "did you mean `shape`?",
        ),
        (lambda m: m.pop("labels"), "the key `labels` is missing", ""),
        (lambda m: m.update(format=2), "expected 1, found 2", ""),
        (lambda m: m["labels"].update(names=["a"]), "1 names for 3 classes", ""),
        (lambda m: m["splits"].update(train="many"), "found 'many'", ""),
        (lambda m: m["taps"].update({"../x": {"shape": [1]}}), "expected", ""),
        (lambda m: m.update(labels=3), "expected a table, found 3", ""),
        (
            lambda m: m["labels"].update(names=[1, "b", "c"]),
            "expected a text as item 1, found 1",
            "",
        ),
    ],
)
def test_a_wrong_manifest_is_told_by_key(
    folder: Path, change: Callable[[dict[str, Any]], None], message: str, advice: str
) -> None:
    _edit(folder, change)
    found = _finding(folder)
    assert found.code == "E611"
    assert message in found.message or message in found.place
    assert advice in found.help


@pytest.mark.parametrize("content", [None, "{", "\x00", "[" * 100_000])
def test_a_folder_without_a_readable_manifest_is_told(folder: Path, content: str | None) -> None:
    file = folder / "manifest.json"
    file.unlink() if content is None else file.write_text(content)
    assert _finding(folder).code == "E610"


def test_an_unknown_tap_names_the_nearest(folder: Path) -> None:
    opened: FeatureFolder = open_features(folder)
    with pytest.raises(FusegraphError, match=r"no tap `imge\[1\]`.*did you mean `image\[1\]`"):
        opened.array("imge[1]", "train")
    with pytest.raises(FusegraphError, match="no split `tset`"):
        opened.labels("tset")


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path / "f", interrupt=KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_an_older_folder_stays_until_the_new_one_is_complete(folder: Path) -> None:
    before = (folder / "manifest.json").read_text()
    with pytest.raises(FusegraphError, match="E620"):
        FeatureWriter(folder, SINGLE)
    with pytest.raises(ZeroDivisionError):
        _write(folder, replace=True, interrupt=ZeroDivisionError())
    assert (folder / "manifest.json").read_text() == before
    _write(folder, replace=True)
    assert list(open_features(folder).manifest.taps) == ["x"]
    assert [f.name for f in folder.parent.iterdir()] == ["features"]


@pytest.mark.parametrize(
    ("taps", "labels", "code"),
    [
        ({"x": np.ones((2, 3), dtype=np.float32)}, [0, 1], "E620"),
        ({"y": np.ones((2, 2), dtype=np.float32)}, [0, 1], "E620"),
        ({"x": np.ones((3, 2), dtype=np.float32)}, [0, 1], "E620"),
        ({"x": np.ones((2, 2), dtype=np.float32)}, [0.5, 1], "E620"),
        ({"x": np.ones((2, 2), dtype=np.float32)}, [0, 3], "E617"),
        ({"x": np.full((2, 2), np.nan, dtype=np.float32)}, [0, 1], "E618"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(
    tmp_path: Path, taps: dict[str, Any], labels: list[Any], code: str
) -> None:
    with pytest.raises(FusegraphError) as raised:
        _write(tmp_path / "f", (taps, labels))
    assert raised.value.diagnostics[0].code == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "x/y", "labels", "", "x.npy", "a b"])
def test_a_tap_name_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(FusegraphError, match="cannot be called"),
        FeatureWriter(tmp_path / "f", SINGLE) as writer,
    ):
        writer.add("train", {name: np.ones((2, 2), dtype=np.float32)}, [0, 1])
