"""Still and moving digits: their data, the space that both share, the tasks, the study's table."""

from __future__ import annotations

import json
import shutil
import sys
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from cli_calls import good
from fusegraph.backends.onnx import load as load_onnx
from fusegraph.backends.torch import lower
from fusegraph.compiler.count import count
from fusegraph.compiler.explore import sample
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.dsl import load
from fusegraph.tasks.joint import part_for
from repository import ROOT

FOLDER = ROOT / "examples" / "elastic"
SPACE = FOLDER / "digits.fuse"
TASKS = sorted(FOLDER.glob("digits*.toml"))


@pytest.fixture(scope="module")
def digits() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield import_module("digits")


@pytest.fixture
def folder(digits: Any, tmp_path: Path) -> Path:
    """The space, the task files, and few samples of both data sets."""
    for file in (SPACE, *TASKS):
        shutil.copy(file, tmp_path)
    few = {"train": 64, "valid": 32, "test": 32}
    digits.write(tmp_path / "digits", images=few, clips=few)
    return tmp_path


# ── the data ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["still", "moving"])
def test_samples_repeat_for_a_seed_and_differ_for_another(digits: Any, kind: str) -> None:
    make = getattr(digits, kind)
    made, same, other = make("train", 40, 3), make("train", 40, 3), make("train", 40, 4)
    np.testing.assert_array_equal(made.pixels, same.pixels)
    assert (made.pixels != other.pixels).any(axis=tuple(range(1, made.pixels.ndim))).all()


@pytest.mark.parametrize("kind", ["still", "moving"])
def test_no_image_is_in_two_splits(digits: Any, kind: str) -> None:
    images = [set(getattr(digits, kind)(split, 1200).image) for split in digits.SPLITS]
    assert len(set.union(*images)) == sum(map(len, images)) > 500


def test_labels_are_what_is_shown_and_classes_of_clips_are_as_frequent(digits: Any) -> None:
    target = digits.load_digits().target
    still, moving = digits.still("valid", 300), digits.moving("valid", 96)
    assert (target[still.image] == still.label).all()
    shown = [int(digits.CLASSES[label].split()[0]) for label in moving.label]
    assert (target[moving.image] == shown).all()
    assert np.bincount(moving.label).tolist() == [6] * 16


def test_only_the_order_of_the_frames_tells_one_way_from_the_other(digits: Any) -> None:
    for forward, axis in (("right", 1), ("down", 0)):
        motion = digits.MOTIONS.index(forward)
        there, back = [digits.path(np.random.default_rng(5), m) for m in (motion, motion + 1)]
        np.testing.assert_array_equal(there, back[::-1])
        assert (np.diff(there[:, axis]) > 0).all()
        assert (np.diff(there[:, 1 - axis]) == 0).all()


# ── the space ────────────────────────────────────────────────────────────────────────────────────


def test_its_genotypes_are_those_of_the_closed_formula() -> None:
    expected = 3 * sum(9**depth for depth in (2, 3, 4))
    assert count(load(SPACE).graph).genotypes == expected
    assert f"{expected:,} genotypes" in (FOLDER / "README.md").read_text("utf-8")


@pytest.mark.parametrize("seed", range(2))
def test_images_and_clips_share_all_but_what_knows_of_time_and_the_classifiers(seed: int) -> None:
    space = load(SPACE).graph
    network = specialise(space, sample(space, Random(seed)).settings)
    of_image, of_clip = [
        {name: value.shape for name, value in lower(part_for(network, output)).state_dict().items()}
        for output in ("digits", "logits")
    ]
    both = of_image.keys() & of_clip.keys()
    assert all(of_image[name] == of_clip[name] for name in both)
    assert {name.split(".")[0] for name in of_image.keys() - both} == {"digits"}
    own = {name for name in of_clip.keys() - both if not name.startswith("logits.")}
    assert own
    assert all(".time." in name or name == "trunk.h.0.places.at.2.weight" for name in own)


# ── the tasks ────────────────────────────────────────────────────────────────────────────────────


def test_every_task_checks(folder: Path) -> None:
    for task in TASKS:
        assert "ok" in good("check", folder / task.name)


def test_the_search_finds_a_network_within_the_limit_that_answers_for_both(folder: Path) -> None:
    task = folder / "digits.toml"
    text = task.read_text("utf-8").replace("epochs = 12", "epochs = 2")
    many = "population = 16, parents = 6, crossovers = 8, mutations = 8, generations = 4"
    assert many in text
    few = "population = 3, parents = 2, crossovers = 1, mutations = 1, generations = 1"
    task.write_text(text.replace(many, few), "utf-8")
    found = json.loads(good("search", task, "--out", folder / "run", "--json"))
    assert found["parameters"] <= 20_000
    assert found["score"] == pytest.approx((found["valid"] + found["joint"]["digits"]["valid"]) / 2)
    assert found["export"]["difference"] < 1e-4
    model = load_onnx(folder / "run" / "model.onnx")
    shapes = {port.name: port.shape[1:] for port in model.outputs}
    assert shapes == {"logits": (16,), "digits": (10,)}


# ── the study ────────────────────────────────────────────────────────────────────────────────────


def test_the_study_ranks_by_means_and_tells_how_alike_both_rank(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    sys.modules.pop("study", None)
    import study  # pyright: ignore[reportMissingImports]

    task = (FOLDER / study.TASK).read_text("utf-8")
    assert [task.count(part) for part in (study.LIMIT, study.EPOCHS)] == [1, 1]
    found = [
        study.Measured("a", 1000, {"logits": 0.2, "digits": 0.4}, {"logits": 0.5, "digits": 0.6}),
        study.Measured("b", 2000, {"logits": 0.3, "digits": 0.5}, {"logits": 0.7, "digits": 0.6}),
        study.Measured("c", 3000, {"logits": 0.6, "digits": 0.3}, {"logits": 0.6, "digits": 0.9}),
    ]
    rows = study.table(found).splitlines()
    assert rows[2:5] == [
        "| c | 3,000 | 45.0, 30.0, 60.0 | 75.0, 90.0, 60.0 |",
        "| b | 2,000 | 40.0, 50.0, 30.0 | 65.0, 60.0, 70.0 |",
        "| a | 1,000 | 30.0, 40.0, 20.0 | 55.0, 60.0, 50.0 |",
    ]
    assert rows[8] == "| mean | 1.00 | 1.00 |"
    assert rows[9] == "| moving digits | 0.50 | 0.33 |"
