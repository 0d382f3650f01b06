"""Moving digits at two rates: the task files, and the table of the study."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from cli_calls import good
from fusegraph.ir.dsl import load
from fusegraph.tasks.feature_writer import FeatureWriter
from fusegraph.tasks.manifest import LabelKind
from repository import ROOT

FOLDER = ROOT / "examples" / "two_stream"
TASKS = sorted(FOLDER.glob("moving_digits*.toml"))


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """The task files, and noise where the clips would be."""
    for file in FOLDER.glob("moving_digits*"):
        shutil.copy(file, tmp_path)
    rng = np.random.default_rng(0)
    with FeatureWriter(tmp_path / "features", LabelKind(kind="single", classes=8)) as writer:
        for split, clips in (("train", 24), ("valid", 12), ("test", 12)):
            taps = {"flow": (2, 4, 32, 32), "sparse": (3, 2, 32, 32)}
            drawn = {
                name: rng.standard_normal((clips, *shape), np.float32)
                for name, shape in taps.items()
            }
            writer.add(split, drawn, np.arange(clips) % 8)
    return tmp_path


def test_every_task_checks(digits: Path) -> None:
    for task in TASKS:
        assert "ok" in good("check", digits / task.name)


def test_the_search_finds_a_network_that_trains_and_exports(digits: Path) -> None:
    task = digits / "moving_digits.toml"
    text = task.read_text("utf-8").replace("epochs = 5", "epochs = 1").replace("13", "2")
    task.write_text(text, "utf-8")
    found = json.loads(good("search", task, "--out", digits / "run", "--budget", "1", "--json"))
    assert 0.4e6 < found["macs"] < 2.1e6
    assert found["export"]["difference"] < 1e-4
    assert found["target"] == {
        "measure": "macs", "least": 0.55e6, "most": 0.6e6, "found": found["macs"],
    }  # fmt: skip


def test_the_range_of_random_networks_is_the_target_of_the_search() -> None:
    random = (FOLDER / "moving_digits_random.toml").read_text("utf-8")
    assert "set = { least = 0.55, most = 0.6 }" in random
    assert "target = [0.55e6, 0.6e6]" in (FOLDER / "moving_digits.toml").read_text("utf-8")
    space = load(FOLDER / "moving_digits.fuse", {"least": "0.55", "most": "0.6"}).graph
    assert [(r.relation, r.right) for r in space.requires] == [(">=", 550_000), ("<=", 600_000)]


def test_the_study_replaces_the_tasks_beta_and_prints_one_row_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    sys.modules.pop("study", None)
    import study  # pyright: ignore[reportMissingImports]

    assert (FOLDER / study.TASK).read_text("utf-8").count(study.BETA) == 1
    rows = study.table({
        "PARSEC, beta 0": {"macs": 1_840_000, "valid": 0.5, "test": 0.25},
        "16 random networks": {"valid": 0.4, "each": [0.4]},
    }).splitlines()  # fmt: skip
    assert rows[2:] == [
        "| PARSEC, beta 0 | 1.84 M | 50.0 | 25.0 |",
        "| 16 random networks | 0.55-0.60 M | 40.0 |  |",
    ]
