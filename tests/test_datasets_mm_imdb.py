"""MM-IMDB from its HDF5 file: what is read, how it is split, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pytest
import sklearn.metrics
import torch

from fusegraph.ir.diagnostics import Diagnostic, FusegraphError
from fusegraph.tasks.datasets.mm_imdb import PUBLISHED
from fusegraph.tasks.datasets.opening import open_dataset
from fusegraph.tasks.datasets.samples import Example
from fusegraph.training import metrics
from published_files import write_mm_imdb

COUNTS = {"train": 6, "valid": 3, "test": 4}


def _finding(run: Callable[[], Any]) -> Diagnostic:
    with pytest.raises(FusegraphError) as raised:
        run()
    assert len(raised.value.diagnostics) == 1
    return raised.value.diagnostics[0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_mm_imdb(tmp_path / "multimodal_imdb.hdf5", COUNTS)
    return tmp_path / "multimodal_imdb.hdf5"


def test_the_published_sizes_are_all_the_films() -> None:
    assert sum(PUBLISHED.values()) == 25_959


def test_films_are_split_in_the_files_order(file: Path) -> None:
    opened = open_dataset("mm_imdb", file.parent)
    assert {split: len(reader) for split, reader in opened.splits.items()} == COUNTS
    assert (opened.labels.kind, opened.labels.names) == ("multi", ("Drama", "Comedy", "War"))
    sample = opened.splits["valid"].read(1)
    assert isinstance(sample, Example)
    with h5py.File(file) as made:
        stored: Any = made
        np.testing.assert_array_equal(sample.inputs["image"], stored["images"][7])
        np.testing.assert_array_equal(sample.inputs["text"], stored["features"][7])
        np.testing.assert_array_equal(sample.label, stored["genres"][7])
    assert {value.dtype for value in sample.inputs.values()} == {np.dtype("float32")}
    assert opened.splits["valid"].name(1) == "film 7"


def test_counts_that_are_given_win_over_the_files(file: Path) -> None:
    opened = open_dataset("mm_imdb", file, {"train": "4", "test": 2, "inputs": "text"})
    counted = {split: len(reader) for split, reader in opened.splits.items()}
    assert counted == {"train": 4, "valid": 3, "test": 2}
    assert opened.notes == ("left out: 4 films after the last split",)
    sample = opened.splits["train"].read(0)
    assert isinstance(sample, Example)
    assert list(sample.inputs) == ["text"]


def test_a_file_without_its_own_split_needs_the_published_number_of_films(tmp_path: Path) -> None:
    file = tmp_path / "multimodal_imdb.hdf5"
    write_mm_imdb(file, COUNTS, with_split=False)
    wrong = _finding(lambda: open_dataset("mm_imdb", file))
    assert wrong.code == "E645"
    assert "expected 25,959 films" in wrong.message
    assert wrong.message.endswith("found 13")
    given = {"train": 6, "valid": 3, "test": 4}
    assert len(open_dataset("mm_imdb", file, given).splits["test"]) == 4


@pytest.mark.parametrize("key", ["images", "features", "genres"])
def test_a_key_that_is_not_there_is_named(tmp_path: Path, key: str) -> None:
    file = tmp_path / "multimodal_imdb.hdf5"
    write_mm_imdb(file, COUNTS, leave_out=key)
    wrong = _finding(lambda: open_dataset("mm_imdb", file))
    assert (wrong.code, wrong.place) == ("E645", str(file))
    assert f"expected a data set `{key}`, found [" in wrong.message


def _rewritten(file: Path, key: str, value: Any) -> None:
    with h5py.File(file, "a") as made:
        attributes = dict(made[key].attrs)
        del made[key]
        made[key] = value
        made[key].attrs.update(attributes)


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("images", np.zeros((13, 16, 10)), "expected `images` of shape [films, 3, height, width]"),
        ("images", np.zeros((13, 1, 16, 10)), "found [13, 1, 16, 10]"),
        ("features", np.zeros((12, 5)), "expected 13 films in `features` as in `genres`, found 12"),
        ("genres", np.zeros(13), "expected `genres` of shape [films, genres], found [13]"),
    ],
)
def test_a_wrong_shape_is_told(file: Path, key: str, value: Any, found: str) -> None:
    _rewritten(file, key, value)
    wrong = _finding(lambda: open_dataset("mm_imdb", file))
    assert wrong.code == "E645"
    assert found in wrong.message


def test_a_genre_that_is_neither_0_nor_1_is_told_with_its_film(file: Path) -> None:
    _rewritten(file, "genres", np.full((13, 3), 2))
    reader = open_dataset("mm_imdb", file).splits["test"]
    wrong = _finding(lambda: reader.read(0))
    assert wrong.message == "expected 0 or 1 as genres of film 9, found 2"


def test_a_file_that_is_missing_foreign_or_cut_off_is_told(file: Path, tmp_path: Path) -> None:
    assert _finding(lambda: open_dataset("mm_imdb", tmp_path / "none")).code == "E642"
    whole = file.read_bytes()
    file.write_bytes(b"PK, no HDF5 at all")
    assert _finding(lambda: open_dataset("mm_imdb", file)).code == "E645"
    file.write_bytes(whole[: len(whole) // 2])
    assert _finding(lambda: open_dataset("mm_imdb", file)).code == "E645"


@pytest.mark.parametrize("metric", ["weighted_f1", "macro_f1"])
def test_the_papers_scores_equal_scikit_learns_on_23_unbalanced_genres(
    metric: Literal["weighted_f1", "macro_f1"],
) -> None:
    rng = np.random.default_rng(1)
    share = np.append(np.geomspace(0.5, 0.01, 21), [0.0, 0.0])
    truth = (rng.random((400, 23)) < share).astype(np.int64)
    logits = rng.normal(size=(400, 23)) + 3.0 * truth - 1.5
    logits[:, 22] = -1.0  # a genre that is neither there nor predicted
    score = metrics.score_function(metric, "multi")
    found = score(torch.from_numpy(logits), torch.from_numpy(truth))
    chosen = (logits > 0).astype(np.int64)
    expected = sklearn.metrics.f1_score(
        truth,
        chosen,
        average="weighted" if metric == "weighted_f1" else "macro",
        zero_division=0.0,  # pyright: ignore[reportArgumentType]
    )
    assert found == pytest.approx(float(expected), abs=1e-6)
