"""BM-NAS's search of a task: run folders, killed runs, reports, errors at their keys."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from cli_calls import call, command, good
from fusegraph.backends.torch.supernet import lower_supernet
from fusegraph.compiler.relax import relax
from fusegraph.pipeline.events import read_events
from fusegraph.pipeline.run_folder import open_run
from fusegraph.pipeline.summary import summarise
from fusegraph.searchers import prepared as preparing
from fusegraph.searchers.store import TrialStore
from fusegraph.training.loop import fit
from fusegraph.training.tensors import tensor_batches
from fusegraph.training.together import together
from gradient_conformance import SETTINGS, CountedBatches, SmallData
from searcher_conformance import space_of
from small_task import SPACE as UNEQUAL
from small_task import TASK, write_task

SPACE = """fuse 1

space small {
  dim N
  let W = 8
  input x[1]: f32[N, 6]
  input x[2]: f32[N, 4]
  input y[1]: f32[N, 5]
  input y[2]: f32[N, 3]
  for i in 1..2 {
    a[i] = relu(linear(x[i], out=W))
    b[i] = dropout(relu(linear(y[i], out=W)), p=0.1)
  }
  h[1] = ?act of {relu, sigmoid}(linear(concat(?x of a[*], ?y of b[*]), out=W))
  h[2] = ?act of {relu, sigmoid}(linear(concat(?x of a[*], ?y of b[*], h[1]), out=W))
  output logits = linear(?depth of h[*], out=3)
}
"""

MAPS = """fuse 1
space maps {
  dim N
  input video: f32[N, 3, 8, 8]
  input pose: f32[N, 6]
  a = linear(flatten(adaptive_max_pool(video, size=(2, 2))), out=4)
  b = linear(pose, out=4)
  output logits = linear(?which of {a, b}, out=3)
}
"""


def task_of(folder: Path, options: str = "{ epochs = 4 }", **changes: str) -> Path:
    """The small task, in a space whose candidates are equally wide, searched by gradients."""
    task = write_task(folder)
    (folder / "space.fuse").write_text(changes.get("space", SPACE))
    text = TASK.replace('searcher = "mfas"', 'searcher = "bm_nas"')
    task.write_text(text.replace("{ candidates = 2, iterations = 1 }", options))
    return task


def test_a_search_ends_with_a_trained_exported_network_and_its_epochs(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    answer = call("search", task, "--out", tmp_path / "run")
    assert answer.code == 0
    assert "4 epochs tried, 0 failed" in answer.out
    assert "epoch 4 of 4: losses " in answer.err
    assert (tmp_path / "run" / "model.onnx").is_file()
    assert (tmp_path / "run" / "report.html").is_file()
    store = TrialStore.open(tmp_path / "run", read_only=True)
    records = store.trials()
    events = read_events(tmp_path / "run" / "events.jsonl")
    told = [e for e in events if e["event"] == "ArchitectureEpoch"]
    assert [e["epoch"] for e in told] == [1, 2, 3, 4]
    assert [e["digest"] for e in told] == [r.digest for r in records.values()]
    assert all(r.metrics["parameters"] > 0 for r in records.values())
    finals = store.trials("final")
    assert 1 <= len(finals) == len({r.digest for r in records.values()}) <= 4
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    best = max(records.values(), key=lambda r: (r.score or 0.0, -r.trial))
    assert results["finals"][0]["valid"] == max(f["valid"] for f in results["finals"])
    assert max(f["search_score"] for f in results["finals"]) == best.score


def test_the_budget_is_a_number_of_epochs_and_a_dry_run_says_so(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    out = good("search", task, "--budget", "2", "--dry-run")
    assert "bm_nas, at most 2 epochs" in out


def test_any_task_can_be_searched_by_it_from_the_command_line(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    task.write_text(TASK)
    answer = call("search", task, "--searcher", "bm_nas", "--budget", "1", "--out", tmp_path / "r")
    assert answer.code == 0


def test_the_report_has_the_epochs_as_trials_and_no_epochs_of_candidates(tmp_path: Path) -> None:
    good("search", task_of(tmp_path), "--out", tmp_path / "run", "-q")
    section = summarise(open_run(tmp_path / "run")).search
    assert section is not None
    assert len(section.trials) == 4
    names = [name for name, _ in section.settings]
    assert names.count("epochs") == 1
    assert dict(section.settings)["epochs"] == "4"


def _wait_for(events: Path, number: int, running: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and running.poll() is None:
        if events.is_file() and events.read_text().count('"ArchitectureEpoch"') >= number:
            return
        time.sleep(0.002)
    raise AssertionError(f"no {number} epochs: ended with {running.poll()}")


def test_interrupted_and_killed_searches_end_as_one_that_was_not(tmp_path: Path) -> None:
    task = task_of(tmp_path, "{ epochs = 60 }")
    good("search", task, "--out", tmp_path / "whole", "-q")
    run = tmp_path / "in parts"
    events = run / "events.jsonl"

    def begun(*words: str) -> subprocess.Popen[bytes]:
        full = command("search", task, "--out", run, *words)
        return subprocess.Popen(full, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)

    first = begun()
    _wait_for(events, 4, first)
    first.send_signal(signal.SIGINT)
    _, told = first.communicate(timeout=60)
    assert first.returncode == 130
    assert "--resume --out" in told.decode()
    known = events.read_text().count('"ArchitectureEpoch"')
    second = begun("--resume")
    _wait_for(events, 2 * known + 3, second)  # those before are told again
    second.kill()
    second.communicate()

    good("search", task, "--out", run, "--resume", "-q")
    for name in ("results.json", "genotypes/best.fuse"):
        assert (run / name).read_text() == (tmp_path / "whole" / name).read_text()
    for name in ("checkpoints/best.safetensors", "model.onnx"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_space_of_unequal_widths_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    task = task_of(tmp_path, space=UNEQUAL)
    answer = call("search", task, "--out", tmp_path / "run")
    assert answer.code == 1
    assert "error[E506]" in answer.err
    assert "cannot be relaxed" in answer.err
    assert not (tmp_path / "run").exists()


def test_a_wrong_option_is_told_at_its_key(tmp_path: Path) -> None:
    answer = call("search", task_of(tmp_path, "{ epochs = 0 }"), "--out", tmp_path / "run")
    assert answer.code == 1
    assert "error[E802]" in answer.err
    assert "task.toml:" in answer.err


def test_a_settled_space_is_told_at_the_task_s_space(tmp_path: Path) -> None:
    settled = SPACE.replace("?act of {relu, sigmoid}", "relu").replace("?depth of h[*]", "h[2]")
    settled = settled.replace("?x of a[*]", "a[1]").replace("?y of b[*]", "b[1]")
    answer = call("search", task_of(tmp_path, space=settled), "--out", tmp_path / "run")
    assert answer.code == 1
    assert "error[E813]" in answer.err
    assert 'space = "space.fuse"' in answer.err


def test_where_every_genotype_fails_a_require_the_search_says_so(tmp_path: Path) -> None:
    limited = SPACE.replace("out=3)\n}", "out=3)\n  require parameters <= 10\n}")
    answer = call("search", task_of(tmp_path, space=limited), "--out", tmp_path / "run")
    assert answer.code == 1
    assert "error[E636]" in answer.err
    assert "none of the 4 genotypes that were derived satisfies the `require`" in answer.err
    assert "parameters <= 10" in answer.err


def test_a_missing_validation_split_is_told_before_the_search(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    manifest = next((tmp_path / "features").glob("*.json"))
    text = json.loads(manifest.read_text())
    text["splits"].pop("valid")
    manifest.write_text(json.dumps(text))
    answer = call("search", task, "--out", tmp_path / "run")
    assert answer.code == 1
    assert "`valid`" in answer.err


# ── training on both splits ──────────────────────────────────────────────────────────────────────


def refitting(task: Path) -> Path:
    task.write_text(task.read_text().replace("[train]\n", "[train]\nrefit = true\n"))
    return task


def test_the_best_network_may_be_trained_again_on_both_splits(tmp_path: Path) -> None:
    task = task_of(tmp_path, "{ epochs = 2 }")
    good("search", task, "--out", tmp_path / "once", "-q")
    good("search", refitting(task), "--out", tmp_path / "twice", "-q")
    once, twice = [
        json.loads((tmp_path / run / "results.json").read_text()) for run in ("once", "twice")
    ]
    assert (once["genotype"], once["valid"]) == (twice["genotype"], twice["valid"])
    weights = [tmp_path / run / "checkpoints" / "best.safetensors" for run in ("once", "twice")]
    assert weights[0].read_bytes() != weights[1].read_bytes()
    name = f"{twice['final']}-refit.json"
    history = json.loads((tmp_path / "twice" / "trainings" / name).read_text())
    assert len(history["epochs"]) == 3
    good("search", task, "--out", tmp_path / "twice", "--resume", "-q")
    assert json.loads((tmp_path / "twice" / "results.json").read_text()) == twice


def test_a_genotype_may_be_trained_again_on_both_splits(tmp_path: Path) -> None:
    task = refitting(write_task(tmp_path))
    genotype = tmp_path / "genotype.fuse"
    good("train", task, "--genotype", genotype, "--out", tmp_path / "run", "-q")
    assert (tmp_path / "run" / "trainings" / "train-refit.json").is_file()


def test_splits_in_memory_are_mixed_and_others_follow_one_another() -> None:
    parts = [
        tensor_batches({"x": np.full((size, 1), size, np.float32)}, np.zeros(size, int), batch=4)
        for size in (6, 5)
    ]
    whole = together(*parts)
    assert len(whole) == 3
    seen = [b.inputs["x"].flatten().tolist() for b in whole.epoch(torch.Generator().manual_seed(0))]
    assert sorted(chain(*seen)) == [5.0] * 5 + [6.0] * 6
    assert any(len(set(batch)) == 2 for batch in seen)
    chained = together(parts[0], CountedBatches(SmallData(), parts[1]))
    assert len(chained) == len(parts[0]) + len(parts[1])
    rows = [b.inputs["x"].flatten().tolist() for b in chained.epoch(None)]
    assert list(chain(*rows)) == [6.0] * 6 + [5.0] * 5


def test_the_last_epoch_is_kept_where_validation_cannot_choose() -> None:
    source = SmallData().source("train", ["x[1]"], batch=8, device=torch.device("cpu"))
    settings = SETTINGS.model_copy(update={"epochs": 4, "learning_rate": 1.0, "metric": "loss"})
    ends: dict[str, torch.Tensor] = {}
    for keep in ("best", "last"):
        torch.manual_seed(0)
        module = torch.nn.Linear(4, 3)
        result = fit(module, source, source, settings, forward=lambda m, i: m(i["x[1]"]), keep=keep)
        assert result.best_epoch < 4
        ends[keep] = module.weight
    assert not torch.equal(ends["best"], ends["last"])


# ── the data ─────────────────────────────────────────────────────────────────────────────────────


def test_what_needs_no_weights_is_computed_once_and_gives_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preparing, "CHUNK", 7)
    module = lower_supernet(relax(space_of(MAPS)), 0).eval()
    rng = np.random.default_rng(0)
    arrays = {
        "video": rng.normal(size=(20, 3, 8, 8)).astype(np.float32),
        "pose": rng.normal(size=(20, 6)).astype(np.float32),
    }
    source = tensor_batches(arrays, rng.integers(0, 3, 20), batch=6)
    kept = preparing.prepared(module, source)
    read = preparing.prepared(module, CountedBatches(SmallData(), source))
    assert len(kept) == len(read) == len(source)
    for raw, first, second in zip(
        source.epoch(torch.Generator().manual_seed(1)),
        kept.epoch(torch.Generator().manual_seed(1)),
        read.epoch(torch.Generator().manual_seed(1)),
        strict=True,
    ):
        assert max(value.numel() for value in first.inputs.values()) < raw.inputs["video"].numel()
        expected = module.run(raw.inputs)
        for batch in (first, second):
            assert torch.equal(batch.labels, raw.labels)
            torch.testing.assert_close(module.run_prepared(batch.inputs), expected)
