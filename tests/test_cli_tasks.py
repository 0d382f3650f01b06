"""The commands that run a task: search, train, export, run, extract, report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cli_calls import call, good
from small_task import TASK, write_task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("a task"))


@pytest.fixture(scope="module")
def searched(task: Path) -> Path:
    run = task.parent / "searched"
    good("search", task, "--out", run, "-q")
    return run


# ── search ───────────────────────────────────────────────────────────────────────────────────────


def test_a_run_folder_holds_all_that_it_takes_to_understand_and_repeat_the_run(
    searched: Path,
) -> None:
    names = {file.relative_to(searched).as_posix() for file in searched.rglob("*")}
    assert {
        "run.json",
        "machine.json",
        "task.toml",
        "space/space.fuse",
        "trials.journal",
        "weights/0.safetensors",
        "genotypes/best.fuse",
        "genotypes/rank-5.fuse",
        "checkpoints/best.safetensors",
        "trainings/final-0.json",
        "preprocessing.json",
        "events.jsonl",
        "results.json",
        "model.onnx",
        "report.html",
    } <= names
    assert not [name for name in names if name.endswith(".part")]
    assert good("check", searched / "genotypes" / "best.fuse").startswith("ok ")


def test_results_say_what_was_found(searched: Path) -> None:
    results = json.loads((searched / "results.json").read_text())
    assert (results["searcher"], results["trials"], results["failed"]) == ("mfas", 10, 0)
    assert results["test"]["accuracy"] > 0.4  # chance is a third
    assert sum(map(sum, results["confusion"])) == 90
    assert results["export"]["difference"] < 1e-5
    assert [final["rank"] for final in results["finals"]] == [1, 2, 3, 4, 5]
    valid = [final["valid"] for final in results["finals"]]
    assert valid == sorted(valid, reverse=True)


def test_the_best_is_trained_at_the_width_of_the_task_and_not_of_the_search(
    searched: Path,
) -> None:
    assert "with W=12" in (searched / "genotypes" / "best.fuse").read_text()


def test_a_run_is_not_written_over(task: Path, searched: Path) -> None:
    answer = call("search", task, "--out", searched)
    assert answer.code == 1
    assert "error[E630]" in answer.err


def test_a_run_that_is_done_resumes_to_the_same(task: Path, searched: Path) -> None:
    before = (searched / "results.json").read_text()
    good("search", task, "--out", searched, "--resume", "-q")
    assert (searched / "results.json").read_text() == before


def test_a_run_of_other_settings_is_not_resumed(task: Path, searched: Path) -> None:
    answer = call("search", task, "--out", searched, "--resume", "--seed", "9")
    assert answer.code == 1
    assert "error[E635]" in answer.err
    assert "settings.search.seed was 1 and is 9" in answer.err


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = call("search", task, "--dry-run", "--json").json
    assert (found["searcher"], found["trials"], found["genotypes"]) == ("mfas", 10, 72)
    assert found["samples"] == {"train": 200, "valid": 80, "test": 90}
    assert list(tmp_path.iterdir()) == []


def test_searcher_budget_and_seed_of_the_call_win_over_the_task(task: Path, tmp_path: Path) -> None:
    words = ("search", task, "--searcher", "random", "--budget", "4", "--seed", "3", "--json", "-q")
    found = call(*words, "--out", tmp_path / "one").json
    assert (found["searcher"], found["trials"]) == ("random", 4)
    again = call(*words, "--out", tmp_path / "two").json
    assert {**again, "run": ""} == {**found, "run": ""}


def test_a_budget_sets_how_many_candidates_mfas_draws(task: Path) -> None:
    words = ("search", task, "--dry-run", "--json", "--budget")
    assert call(*words, "15").json["trials"] == 15
    answer = call(*words, "5")
    assert answer.code == 2
    assert answer.json["errors"][0]["code"] == "E812"


def test_trials_may_be_kept_in_a_database(task: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    words = ("search", task, "--searcher", "random", "--budget", "2", "--out", tmp_path / "run")
    good(*words, "--store", url, "-q")
    assert (tmp_path / "trials.db").is_file()
    assert not (tmp_path / "run" / "trials.journal").exists()
    assert json.loads(good("report", tmp_path / "run", "--store", url, "--json"))["finished"]


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////nowhere/at/all.db"])
def test_a_database_that_cannot_be_opened_leaves_no_run(
    task: Path, tmp_path: Path, url: str
) -> None:
    answer = call("search", task, "--out", tmp_path / "run", "--store", url, "-q")
    assert "error[E808]" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_another_search_leaves_no_run(task: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    words = ("search", task, "-q", "--store", url, "--searcher", "random", "--budget", "1")
    good(*words, "--out", tmp_path / "run")
    answer = call(*words, "--out", tmp_path / "other", "--seed", "7")
    assert "error[E805]" in answer.err
    assert not (tmp_path / "other" / "run.json").exists()


def test_mfas_refuses_to_score_by_a_loss_before_it_writes_anything(
    task: Path, tmp_path: Path
) -> None:
    file = task.parent / "by_loss.toml"
    file.write_text(task.read_text().replace("epochs = 1,", 'epochs = 1, metric = "loss",'))
    for more in ((), ("--dry-run",)):
        answer = call("search", file, "--out", tmp_path / "run", "-q", *more)
        assert answer.code == 1
        assert "error[E810]" in answer.err
        assert f"{file}:14:" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_search_in_which_every_candidate_diverges_says_why(task: Path, tmp_path: Path) -> None:
    hot = task.parent / "hot.toml"
    hot.write_text(
        TASK.replace(
            "train = { epochs = 1, batch = 40 }",
            'train = { epochs = 2, batch = 40, learning_rate = 1e38, optimiser = "sgd", '
            'schedule = "constant" }',
        )
    )
    answer = call("search", hot, "--searcher", "random", "--budget", "2", "--out", tmp_path / "r")
    assert answer.code == 1
    assert "error[E636]: none of 2 candidates could be trained" in answer.err
    assert "E701" in answer.err
    assert "trial 0 failed: E701" in answer.err


def test_a_hook_is_run_only_where_that_was_allowed(task: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hooked"
    folder.mkdir()
    shutil.copy(task.parent / "space.fuse", folder)
    (folder / "task.toml").write_text(
        TASK.replace('features = "features"', 'hook = "small_hook:batches"')
    )
    (folder / "small_hook.py").write_text(
        "import torch\n"
        "SIZES = {'x[1]': 6, 'x[2]': 4, 'y[1]': 5, 'y[2]': 3}\n\n\n"
        "def batches(split, seed):\n"
        "    g = torch.Generator().manual_seed(seed or 0)\n"
        "    for _ in range(2):\n"
        "        found = {n: torch.randn(8, s, generator=g) for n, s in SIZES.items()}\n"
        "        yield {**found, 'labels': torch.randint(0, 3, (8,), generator=g)}\n"
    )
    words = ("search", folder / "task.toml", "--searcher", "random", "--budget", "2", "-q")
    refused = call(*words, "--out", folder / "run")
    assert refused.code == 1
    assert "error[E604]" in refused.err
    assert not (folder / "run").exists()
    good(*words, "--allow-hook", "--out", folder / "run")


# ── train ────────────────────────────────────────────────────────────────────────────────────────


def test_train_takes_a_task_with_a_genotype_or_a_genotype_with_a_task(
    task: Path, tmp_path: Path
) -> None:
    genotype = task.parent / "genotype.fuse"
    one = call("train", task, "--genotype", genotype, "--out", tmp_path / "1", "-q", "--json").json
    two = call("train", genotype, "--task", task, "--out", tmp_path / "2", "-q", "--json").json
    assert {**one, "run": ""} == {**two, "run": ""}
    assert one["epochs"] == 3
    assert (tmp_path / "1" / "report.html").is_file()


def test_train_without_a_genotype_asks_for_one(task: Path, tmp_path: Path) -> None:
    answer = call("train", task, "--out", tmp_path / "run")
    assert answer.code == 1
    assert "error[E631]" in answer.err
    assert not (tmp_path / "run").exists()


# ── export and run ───────────────────────────────────────────────────────────────────────────────


def test_an_exported_network_scores_what_the_search_measured(
    task: Path, searched: Path, tmp_path: Path
) -> None:
    model = tmp_path / "a model.onnx"
    report = call("export", searched, "-o", model, "--json").json
    assert report["difference"] <= report["tolerance"]
    found = call("run", model, task.parent / "features", "--json").json
    results = json.loads((searched / "results.json").read_text())
    assert found["metrics"] == pytest.approx(results["test"])
    assert len(found["predictions"]) == found["samples"] == 90
    assert found["classes"] == ["low", "middle", "high"]


def test_a_checkpoint_is_exported_as_its_run(searched: Path, tmp_path: Path) -> None:
    good("export", searched / "checkpoints" / "best.safetensors", "-o", tmp_path / "a.onnx")
    good("export", searched, "-o", tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_checkpoint_that_left_its_run_needs_its_genotype(
    task: Path, searched: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copy(searched / "checkpoints" / "best.safetensors", tmp_path))
    answer = call("export", moved)
    assert answer.code == 1
    assert "--genotype FILE" in answer.err
    good("export", moved, "--genotype", searched / "genotypes" / "best.fuse")
    exported = call("run", moved.with_suffix(".onnx"), task.parent / "features", "--json").json
    results = json.loads((searched / "results.json").read_text())
    assert exported["metrics"] == pytest.approx(results["test"])  # standardised as in its run
    good("export", searched, "-o", tmp_path / "of-the-run.onnx")
    assert moved.with_suffix(".onnx").read_bytes() == (tmp_path / "of-the-run.onnx").read_bytes()


def test_a_checkpoint_of_another_network_is_refused(
    searched: Path, task: Path, tmp_path: Path
) -> None:
    checkpoint = searched / "checkpoints" / "best.safetensors"
    other = task.parent / "genotype.fuse"
    answer = call("export", checkpoint, "--genotype", other, "-o", tmp_path / "a.onnx")
    assert answer.code == 1
    assert "error[E703]" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_predictions_are_written_with_the_names_of_classes(
    searched: Path, task: Path, tmp_path: Path
) -> None:
    file = tmp_path / "said.csv"
    good("run", searched / "model.onnx", task.parent / "features", "--split", "valid", "-o", file)
    lines = file.read_text().splitlines()
    assert lines[0] == "sample,label,predicted"
    assert len(lines) == 81
    assert {word for line in lines[1:] for word in line.split(",")[1:]} <= {"low", "middle", "high"}


def test_run_names_a_split_that_is_not_there(searched: Path, task: Path) -> None:
    answer = call("run", searched / "model.onnx", task.parent / "features", "--split", "tset")
    assert answer.code == 2
    assert "error[E619]" in answer.err


@pytest.mark.parametrize("name", ["{}/new/deep/file", "{}"])
def test_what_is_written_makes_its_folders_and_writes_over_none(
    searched: Path, task: Path, tmp_path: Path, name: str
) -> None:
    genotype = searched / "genotypes" / "best.fuse"
    calls: list[tuple[tuple[str | Path, ...], str]] = [
        (("emit", genotype), ".py"),
        (("show", genotype), ".svg"),
        (("run", searched / "model.onnx", task.parent / "features"), ".csv"),
        (("export", searched), ".onnx"),
    ]
    for words, suffix in calls:
        out = Path(name.format(tmp_path) + suffix)
        if name == "{}":
            out.mkdir()
        answer = call(*words, "-o", out)
        assert answer.code == (1 if name == "{}" else 0), (words[0], answer.err)
        assert ("error[E633]" in answer.err) == (name == "{}"), (words[0], answer.err)


# ── extract and report ───────────────────────────────────────────────────────────────────────────


def test_extract_asks_for_consent_and_then_writes_the_taps(task: Path, tmp_path: Path) -> None:
    words = ("extract", "backbone:network", "--data", "backbone:batches", "--tap", "x[1]=first")
    more = ("--tap", "x[2]=second", "--classes", "3", "--path", task.parent)
    out = ("--out", tmp_path / "features", "--split", "train", "--split", "valid")
    refused = call(*words, *more, *out)
    assert refused.code == 1
    assert "error[E604]" in refused.err
    found = call(*words, *more, *out, "--allow-hook", "--json").json
    assert found["splits"] == {"train": 15, "valid": 15}
    assert found["taps"] == {"x[1]": [6], "x[2]": [4]}


def test_extract_names_the_part_that_a_module_lacks(task: Path, tmp_path: Path) -> None:
    words = ("extract", "backbone:network", "--data", "backbone:batches", "--tap", "x[1]=frist")
    rest = ("--classes", "3", "--path", task.parent, "--out", tmp_path / "f", "--allow-hook")
    answer = call(*words, *rest)
    assert answer.code == 1
    assert "error[E621]" in answer.err
    assert "first" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_the_report_tells_of_the_run_and_needs_no_network(searched: Path) -> None:
    good("report", searched)
    page = (searched / "report.html").read_text()
    assert "72" in page
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--searcher", "mfsa"), "E801"),
        (("--budget", "3"), "E812"),
        (("--store", "nonsense"), "E808"),
    ],
)
def test_what_the_call_got_wrong_is_no_error_of_the_file(
    task: Path, tmp_path: Path, words: tuple[str, ...], code: str
) -> None:
    answer = call("search", task, "--out", tmp_path / "run", "-q", *words)
    assert answer.code == 2
    assert f"error[{code}]" in answer.err
    assert f"{task}:" not in answer.err


@pytest.mark.parametrize("name", ["search", "train"])
def test_ctrl_c_before_there_is_a_run_does_not_speak_of_going_on(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"fusegraph.pipeline.{name}.{name}_task", interrupted)
    answer = call(name, task, "--out", tmp_path / "run", "-q")
    assert (answer.code, answer.err) == (130, "interrupted\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    assert "--resume" in call(name, task, "--out", tmp_path / "run", "-q").err


def test_a_file_where_a_feature_folder_is_expected_is_told(searched: Path, task: Path) -> None:
    answer = call("run", searched / "model.onnx", task)
    assert answer.code == 1
    assert "error[E610]: the feature folder is a file" in answer.err


# ── errors of a task are shown at its keys ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        ('searcher = "mfas"', 'searcher = "mfsa"', "E801", 10),
        ("candidates = 2,", "candidate = 2,", "E802", 12),
        ("candidates = 2,", "candidates = 0,", "E802", 12),
        ("set = { W = 12 }", "set = { V = 12 }", "E213", 4),
        ("set = { W = 8 }", "set = { V = 8 }", "E213", 13),
        ("seed = 1", "budget = 3", "E812", 11),
    ],
)
def test_an_error_that_a_task_causes_is_shown_at_its_key(
    task: Path, tmp_path: Path, old: str, new: str, code: str, line: int
) -> None:
    file = task.parent / "at_key.toml"
    file.write_text(task.read_text().replace(old, new))
    answer = call("search", file, "--out", tmp_path / "run", "-q")
    assert answer.code == 1
    assert f"error[{code}]" in answer.err
    assert f"--> {file}:{line}:" in answer.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [("x[1]: f32[N, 6]", "x[1]: f32[N, 7]", "E608", 7), ("out=3)", "out=4)", "E706", 3)],
)
def test_features_that_do_not_fit_the_space_are_shown_in_the_task(
    task: Path, old: str, new: str, code: str, line: int
) -> None:
    (task.parent / "unfit.fuse").write_text(
        (task.parent / "space.fuse").read_text().replace(old, new)
    )
    file = task.parent / "unfit.toml"
    file.write_text(task.read_text().replace("space.fuse", "unfit.fuse"))
    answer = call("check", file)
    assert f"error[{code}]" in answer.err
    assert f"--> {file}:{line}:" in answer.err


# ── what a search would be refused for is told before it begins ──────────────────────────────────


DEEPER = """fuse 1

space small {
  dim N
  let W = 8
  let layers = 2
  input x[1]: f32[N, 6]
  input x[2]: f32[N, 4]
  input y[1]: f32[N, 5]
  input y[2]: f32[N, 3]
  for i in 1..layers {
    h[i] = ?act of {relu, sigmoid}(linear(concat(?x of x[*], ?y of y[*]), out=W))
  }
  output logits = linear(JOINED, out=3)
}
"""


def layered(task: Path, folder: Path, joined: str, set_: str, searcher: str = "random") -> Path:
    """A task whose search has other constants than its training."""
    (task.parent / f"{folder.name}.fuse").write_text(DEEPER.replace("JOINED", joined))
    text = task.read_text().replace("space.fuse", f"{folder.name}.fuse")
    text = text.replace('"mfas"', f'"{searcher}"').replace("set = { W = 8 }", f"set = {set_}")
    text = text.replace("options = { candidates = 2, iterations = 1 }", "budget = 2")
    file = task.parent / f"{folder.name}.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("joined", ["concat(h[*])", "?depth of h[*]"])
@pytest.mark.parametrize("layers", [1, 3])
def test_a_search_of_other_decisions_than_are_trained_is_refused_before_it_begins(
    task: Path, tmp_path: Path, joined: str, layers: int
) -> None:
    file = layered(task, tmp_path, joined, f"{{ layers = {layers} }}")
    run = tmp_path / "run"
    calls = [("check", file), ("search", file, "--dry-run"), ("search", file, "--out", run)]
    for words in calls:
        answer = call(*words)
        assert (answer.code, "error[E410]" in answer.err) == (1, True), words
        assert f"--> {file}:13:" in answer.err
        assert "put `layers` in `[task] set`" in answer.err
    assert not run.exists()


def test_constants_that_are_sizes_may_differ_while_searching(task: Path, tmp_path: Path) -> None:
    file = layered(task, tmp_path, "?depth of h[*]", "{ W = 4 }")
    assert "ok " in good("check", file)


def test_a_search_of_part_of_what_may_be_trained_is_none_of_other_decisions(
    task: Path, tmp_path: Path
) -> None:
    file = layered(task, tmp_path, "?depth of h[*]", "{ layers = 2 }")
    file.write_text(file.read_text().replace("set = { W = 12 }", "set = { layers = 3 }"))
    assert "ok " in good("check", file)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("candidates = 2,", "candidate = 2,", "E802"),
        ('searcher = "mfas"', 'searcher = "mfsa"', "E801"),
        ("seed = 1", "budget = 3", "E812"),
        (
            'searcher = "mfas"\nseed = 1\noptions = { candidates = 2, iterations = 1 }',
            'searcher = "bm_nas"\noptions = { warmup = 40 }',
            "E802",
        ),
        (
            'searcher = "mfas"\nseed = 1\noptions = { candidates = 2, iterations = 1 }',
            'searcher = "bm_nas"\nseed = 1',
            "E506",
        ),
    ],
)
def test_check_finds_what_a_search_would_be_refused_for(
    task: Path, tmp_path: Path, old: str, new: str, code: str
) -> None:
    file = task.parent / "refused.toml"
    assert old in task.read_text()
    file.write_text(task.read_text().replace(old, new))
    told = [call(*words) for words in (("check", file), ("search", file, "--dry-run"))]
    assert [answer.code for answer in told] == [1, 1]
    assert f"error[{code}]" in told[0].err
    assert told[0].err == told[1].err


def test_a_task_without_a_search_is_checked_without_a_searcher(task: Path) -> None:
    text = task.read_text()
    before, after = text.index("[search]"), text.index("[train]")
    (task.parent / "unequal.fuse").write_text(
        (task.parent / "space.fuse").read_text().replace("?depth of h[*]", "h[2]")
    )
    file = task.parent / "trained.toml"
    file.write_text((text[:before] + text[after:]).replace("space.fuse", "unequal.fuse"))
    assert "ok " in good("check", file)


def test_a_budget_that_a_warm_up_uses_up_is_the_call_s_fault(task: Path) -> None:
    file = task.parent / "warm.toml"
    text = task.read_text().replace('"mfas"', '"bm_nas"')
    file.write_text(text.replace("{ candidates = 2, iterations = 1 }", "{ warmup = 12 }"))
    answer = call("search", file, "--budget", "2", "--dry-run")
    assert answer.code == 2
    assert "a budget of 2 epochs leaves none behind a warm-up of 12" in answer.err
    assert "13 or more" in answer.err
