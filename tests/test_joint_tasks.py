"""Tasks of several data sets, from the file to the exported network; and inherited weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from cli_calls import good
from fusegraph.backends.torch import lower
from fusegraph.ir.diagnostics import Diagnostic, FusegraphError, explain
from fusegraph.ir.dsl import load
from fusegraph.pipeline import heads as pipeline_heads
from fusegraph.pipeline.evaluate import measured
from fusegraph.pipeline.heads import heads_of
from fusegraph.pipeline.infer import infer
from fusegraph.pipeline.run_folder import RunFolder
from fusegraph.pipeline.search import search_task
from fusegraph.pipeline.searcher import LET_INHERIT
from fusegraph.pipeline.sources import open_source
from fusegraph.pipeline.summary import summarise
from fusegraph.pipeline.tasks import check_task, prepare
from fusegraph.pipeline.train import train_task
from fusegraph.report.page import render_report
from fusegraph.searchers.protocol import Inheriting
from fusegraph.searchers.registry import SEARCHERS, make_searcher
from fusegraph.tasks.feature_writer import FeatureWriter
from fusegraph.tasks.joint import inputs_for, joint_of, part_for
from fusegraph.tasks.manifest import LabelKind
from fusegraph.tasks.task_file import Task, load_task
from fusegraph.training.checkpoints import load_checkpoint
from fusegraph.training.loop import judge
from gradient_conformance import LIMITED
from joint_task import SPACE, TASK, write_joint_task
from searcher_conformance import PROGRESSIVE, space_of

EVOLUTION = (
    "{ epochs = 3, population = 4, parents = 2, crossovers = 1, mutations = 1, generations = 1 }"
)
NETWORK = """fuse 1
space joint {
  dim N
  share trunk = linear(out=6)
  share norm = batch_norm()
  input clip: f32[N, 5]
  input image: f32[N, 5]
  moving = relu(norm(trunk(clip)))
  still = relu(norm(trunk(image)))
  output logits = linear(moving, out=3)
  output digits = linear(still, out=4)
}
"""


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return load_task(write_joint_task(tmp_path_factory.mktemp("joint")))


@pytest.fixture(scope="module")
def searched(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    folder = tmp_path_factory.mktemp("runs") / "run"
    found = search_task(task, folder)
    return {"folder": found.folder, "results": found.results}


def changed(task: Task, old: str, new: str, name: str = "changed.toml") -> Path:
    assert old in TASK
    file = task.file.parent / name
    file.write_text(TASK.replace(old, new))
    return file


def told(file: Path) -> Diagnostic:
    with pytest.raises(FusegraphError) as raised:
        check_task(file)
    [found] = raised.value.diagnostics
    return found


# ── the data sets ────────────────────────────────────────────────────────────────────────────────


def test_each_data_set_is_asked_for_the_inputs_that_its_output_reads(task: Task) -> None:
    prepared = prepare(task)
    space = prepared.searched.graph
    assert list(joint_of(prepared.data)) == ["logits", "digits"]
    assert [inputs_for(space, name) for name in ("logits", "digits")] == [["clip"], ["image"]]
    assert [name for name, _ in part_for(space, "digits").outputs] == ["digits"]


def test_a_head_computes_what_the_whole_network_does_and_updates_its_statistics(
    tmp_path: Path, task: Task
) -> None:
    (tmp_path / "space.fuse").write_text(NETWORK)
    module = lower(load(tmp_path / "space.fuse").graph, seed=0)
    heads = heads_of(module, prepare(task).data)
    inputs = {name: torch.randn(7, 5) for name in ("clip", "image")}
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.train()
    heads[1].forward(module, {"image": inputs["image"]}).sum().backward()
    after = module.state_dict()
    assert int(after["norm.num_batches_tracked"]) == 1
    assert not torch.equal(after["norm.running_mean"], before["norm.running_mean"])
    grads = {name for name, p in module.named_parameters() if p.grad is not None}
    assert grads == {n for n, _ in module.named_parameters() if not n.startswith("logits")}
    module.eval()
    whole = module.run(inputs)
    assert isinstance(whole, dict)
    for head in heads:
        own = {name: inputs[name] for name in head.inputs}
        torch.testing.assert_close(head.forward(module, own), whole[head.output])


@pytest.mark.parametrize(
    ("old", "new", "code", "line", "words"),
    [
        ("[joint.digits]", "[joint.digts]", "E706", 8, "did you mean `digits`?"),
        ('features = "still"', 'features = "moving"', "E619", 9, "no tap `image`"),
        ('features = "still"', 'hook = "own:data"', "", 0, ""),
    ],
)
def test_what_is_wrong_with_a_further_data_set_is_told(
    task: Task, old: str, new: str, code: str, line: int, words: str
) -> None:
    file = changed(task, old, new)
    if not code:  # a hook is not run by a check
        check_task(file)
        return
    found = told(file)
    assert found.code == code
    assert words in found.message + found.help
    if line:
        assert found.span is not None
        assert (found.span.file, found.span.line) == (str(file), line)


def test_an_output_that_no_data_set_trains_is_told_with_the_tap_that_it_reads(task: Task) -> None:
    file = changed(task, '[joint.digits]\nfeatures = "still"\n', "")
    found = told(file)
    assert (found.code, found.span and found.span.line) == ("E619", 6)
    assert found.help == "train the output `digits`, which reads it, by `[joint.digits]`"
    assert found.notes == (f"the feature folder is {task.path('moving')}",)


def test_limits_that_no_network_keeps_are_told_at_the_key_that_sets_them(task: Task) -> None:
    text = SPACE.replace("let W = 8\n", "let W = 8\n  let most = 10000\n")
    text = text.replace("  output logits", "  require parameters <= most\n  output logits")
    (task.file.parent / "tight.fuse").write_text(text)
    file = changed(task, '"space.fuse"', '"tight.fuse"\nset = { most = 1 }')
    found = told(file)
    assert (found.code, found.span and found.span.line) == ("E503", 4)


LABELS = """
import torch

def data(split, seed):
    return [{"image": torch.ones(8, 5), "labels": torch.arange(8)}] * 2
"""


@pytest.mark.parametrize("run", [train_task, search_task])
def test_labels_that_do_not_fit_are_told_with_their_output(
    tmp_path: Path, run: Callable[..., object]
) -> None:
    file = write_joint_task(tmp_path)
    (tmp_path / "eight_labels.py").write_text(LABELS)
    if run is train_task:
        fixed = SPACE.replace("  let act = ?act of {relu, tanh}\n", "").replace("act(", "relu(")
        (tmp_path / "space.fuse").write_text(fixed.replace("?width of {4, W}", "W"))
    file.write_text(TASK.replace('features = "still"', 'hook = "eight_labels:data"'))
    with pytest.raises(FusegraphError, match=r"E706.*output `digits`.*labels 0\.\.7"):
        run(load_task(file), tmp_path / "run", allow_hooks=True)


def test_a_hook_of_a_further_data_set_has_to_be_allowed(task: Task) -> None:
    file = changed(task, 'features = "still"', 'hook = "own:data"')
    with pytest.raises(FusegraphError, match="E604") as raised:
        prepare(load_task(file))
    [found] = raised.value.diagnostics
    assert found.span is not None
    assert found.span.line == 9


def test_the_classes_of_each_output_are_those_of_its_own_data(task: Task) -> None:
    space = task.file.parent / "wide.fuse"
    space.write_text(SPACE.replace("out=4)", "out=5)"))
    found = told(changed(task, "space.fuse", "wide.fuse"))
    assert found.code == "E706"
    assert "the output `digits` of `joint` is 5 wide, and the data has 4 classes" in found.message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('device = "cpu"', 'metric = "top_k"'),
        ("learning_rate = 1e-2 }", 'metric = "top_k" }'),
    ],
)
def test_a_metric_that_a_further_data_set_lacks_is_told_at_its_key(
    task: Task, tmp_path: Path, old: str, new: str
) -> None:
    many = tmp_path / "many"
    with FeatureWriter(many, LabelKind(kind="multi", classes=4)) as writer:
        for split in ("train", "valid"):
            writer.add(split, {"image": np.ones((6, 5), np.float32)}, np.eye(4, dtype=int)[[0] * 6])
    file = changed(task, 'features = "still"', f"features = '{many}'")
    check_task(file)
    file.write_text(file.read_text().replace(old, new))
    found = told(file)
    assert found.code == "E706"
    assert found.span is not None
    assert new in file.read_text().splitlines()[found.span.line - 1]


# ── searching and training ───────────────────────────────────────────────────────────────────────


def test_a_joint_run_tells_of_every_data_set(searched: Mapping[str, Any]) -> None:
    results = searched["results"]
    digits = results["joint"]["digits"]
    assert results["score"] == pytest.approx((results["valid"] + digits["valid"]) / 2)
    assert results["data"]["splits"]["test"] == np.sum(results["confusion"]) == 50
    assert digits["data"]["splits"]["test"] == np.sum(digits["confusion"]) == 30
    assert [final["joint"]["digits"] for final in results["finals"]] == [digits["valid"]]
    assert set(results["export"]["differences"]) == {"logits", "digits"}
    scores = load_checkpoint(searched["folder"].checkpoint).header.scores
    assert scores["digits_test_accuracy"] == digits["test"]["accuracy"]


def test_the_weights_of_a_joint_run_score_as_it_says(
    searched: Mapping[str, Any], task: Task
) -> None:
    folder: RunFolder = searched["folder"]
    module = lower(open_source(folder.best).network)
    module.load_state_dict(load_checkpoint(folder.checkpoint).tensors)
    score, _ = measured(module, prepare(task).data, task.settings.train)
    assert score == searched["results"]["score"]


def test_a_network_is_measured_by_one_pass_over_each_data_set(
    searched: Mapping[str, Any], task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []

    def counted(module: Any, source: Any, *rest: Any, **named: Any) -> tuple[float, float]:
        passes.append(len(source))
        return judge(module, source, *rest, **named)

    monkeypatch.setattr(pipeline_heads, "judge", counted)
    module = lower(open_source(searched["folder"].best).network)
    score, told = measured(module, prepare(task).data, task.settings.train)
    assert len(passes) == 2
    assert score == (told["valid of logits"] + told["valid of digits"]) / 2


def test_weights_that_cannot_be_measured_are_no_failure_of_a_training(
    searched: Mapping[str, Any], task: Task
) -> None:
    module = lower(open_source(searched["folder"].best).network)
    with torch.no_grad():
        next(module.parameters()).fill_(torch.nan)
    with pytest.raises(FusegraphError, match="E701") as raised:
        measured(module, prepare(task).data, task.settings.train)
    [found] = raised.value.diagnostics
    assert "cannot be measured with the weights that it has" in found.message
    assert "[search.train]" in found.help


def test_an_exported_joint_network_is_measured_by_output(
    searched: Mapping[str, Any], task: Task
) -> None:
    model, results = searched["folder"].path / "model.onnx", searched["results"]
    main = infer(model, task.path("moving"))
    assert main.metrics["accuracy"] == pytest.approx(results["test"]["accuracy"])
    assert main.classes == ("left", "right", "none")
    digits = infer(model, task.path("still"), output="digits")
    told = results["joint"]["digits"]["test"]["accuracy"]
    assert digits.metrics["accuracy"] == pytest.approx(told)
    with pytest.raises(FusegraphError, match=r"E619(?s:.*)`--output digits`"):
        infer(model, task.path("still"))
    with pytest.raises(FusegraphError, match=r"E725.*did you mean `digits`"):
        infer(model, task.path("still"), output="digit")


@pytest.mark.parametrize("said", ['{"digits": {"inputs": ["imag"]}}', '{"digits": 1}', "[]"])
def test_a_file_that_says_strange_things_of_its_outputs_is_refused(
    searched: Mapping[str, Any], task: Task, tmp_path: Path, said: str
) -> None:
    model = onnx.load(searched["folder"].path / "model.onnx")
    for entry in model.metadata_props:
        if entry.key == "fusegraph.preprocessing":
            entry.value = f'{{"joint": {said}}}'
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(FusegraphError, match="E726"):
        infer(tmp_path / "model.onnx", task.path("still"), output="digits")


def test_a_joint_run_is_told_and_run_by_the_command_line(task: Task, tmp_path: Path) -> None:
    told = good("search", task.file, "--out", tmp_path / "run", "-q")
    lines = told.splitlines()
    assert lines[2].startswith("digits: accuracy ")
    shown = lines[2].split("split, accuracy ")[1].split()[0]
    run = tmp_path / "run" / "model.onnx"
    scored = good("run", run, task.path("still"), "--output", "digits")
    assert scored.splitlines()[0] == f"accuracy {shown}"
    assert "digits: train 80, valid 40, test 30" in good("search", task.file, "--dry-run")


def test_the_report_of_a_joint_run_has_every_data_set(searched: Mapping[str, Any]) -> None:
    data = summarise(searched["folder"])
    assert data.data is not None
    assert [told.output for told in (data.data, *data.data.others)] == ["logits", "digits"]
    assert data.winner is not None
    assert [confusion.output for confusion in data.winner.joint] == ["digits"]
    assert data.search is not None
    assert data.search.metric == "mean accuracy on the validation splits"
    assert data.search.final_metric == "accuracy on the validation split"
    page = render_report(data)
    assert "Confusion of digits" in page
    assert page.count("digits: accuracy, test") == 2


def test_a_joint_run_of_other_data_is_not_resumed(
    searched: Mapping[str, Any], task: Task, tmp_path: Path
) -> None:
    folder = searched["folder"].path
    identity = json.loads((folder / "run.json").read_text())
    assert identity["joint"] == {
        "digits": {"classes": 4, "splits": {"train": 80, "valid": 40, "test": 30}}
    }
    again = search_task(task, folder, resume=True)
    assert again.results == searched["results"]
    other = load_task(
        changed(task, 'features = "still"', 'features = "still"\nstandardise = false')
    )
    with pytest.raises(FusegraphError, match="E635") as raised:
        search_task(other, folder, resume=True)
    [found] = raised.value.diagnostics
    assert any("settings.joint.digits.standardise" in note for note in found.notes)


def test_a_network_is_trained_on_all_data_sets(
    searched: Mapping[str, Any], task: Task, tmp_path: Path
) -> None:
    best = searched["folder"].best
    _, results = train_task(task, tmp_path / "run", genotype=best)
    assert results["joint"]["digits"]["valid"] > 0.3
    assert results["valid"] > 0.5
    again = load_task(changed(task, "epochs = 4\n", "epochs = 4\nrefit = true\n"))
    _, refitted = train_task(again, tmp_path / "again", genotype=best)
    assert refitted["joint"]["digits"]["valid"] == results["joint"]["digits"]["valid"]
    assert refitted["joint"]["digits"]["test"] != results["joint"]["digits"]["test"]


def test_each_data_set_is_standardised_as_its_own_section_says(
    searched: Mapping[str, Any], task: Task, tmp_path: Path
) -> None:
    plain = changed(task, 'features = "still"', 'features = "still"\nstandardise = false')
    folder, results = train_task(
        load_task(plain), tmp_path / "run", genotype=searched["folder"].best
    )
    joint = folder.read(folder.preprocessing)["joint"]
    assert ["standardise" in joint[output] for output in ("logits", "digits")] == [True, False]
    found = infer(folder.path / "model.onnx", task.path("still"), output="digits")
    told = results["joint"]["digits"]["test"]["accuracy"]
    assert found.metrics["accuracy"] == pytest.approx(told)


# ── inheriting ───────────────────────────────────────────────────────────────────────────────────


def test_what_is_kept_scores_as_in_the_search_and_is_not_trained(
    searched: Mapping[str, Any], task: Task, tmp_path: Path
) -> None:
    kept = load_task(changed(task, "epochs = 4\n", 'epochs = 4\ninherit = "keep"\n'))
    found = search_task(kept, tmp_path / "run")
    [final] = found.results["finals"]
    assert found.results["epochs"] == 0
    assert final["score"] == final["search_score"] == found.outcome.best[0].score
    assert found.results["genotype"] == searched["results"]["genotype"]
    assert search_task(kept, tmp_path / "run", resume=True).results == found.results
    assert "With the weights of the search" in render_report(summarise(found.folder))


def test_each_of_several_that_are_kept_has_its_own_weights(task: Task, tmp_path: Path) -> None:
    file = changed(task, "finals = 1\n", 'finals = 3\ninherit = "keep"\n')
    text = file.read_text().replace('"perturbation"', '"constrained_evolution"')
    text = text.replace("{ epochs = 3, networks = 2 }", EVOLUTION)
    file.write_text(text)
    found = search_task(load_task(file), tmp_path / "run")
    finals = found.results["finals"]
    assert len(finals) == 3
    assert [f["score"] for f in finals] == [f["search_score"] for f in finals]
    assert len({f["parameters"] for f in finals}) > 1


def test_a_network_that_starts_from_the_search_is_trained_from_there(
    searched: Mapping[str, Any], task: Task, tmp_path: Path
) -> None:
    rates = "epochs = 1\nlearning_rate = 1e-12\nfinal_learning_rate = 0\nweight_decay = 0"
    file = changed(task, "epochs = 4\nbatch = 20\nfinals = 1\nlearning_rate = 1e-2", "@")
    text = file.read_text()
    file.write_text(text.replace("@", f'batch = 20\nfinals = 1\ninherit = "start"\n{rates}'))
    [final] = search_task(load_task(file), tmp_path / "run").results["finals"]
    assert final["score"] == final["search_score"]
    assert final["score"] != searched["results"]["finals"][0]["score"]
    file.write_text(file.read_text().replace("[train]\n", "[train]\nrefit = true\n"))
    refitted = search_task(load_task(file), tmp_path / "again").folder
    weights = load_checkpoint(RunFolder(tmp_path / "run").checkpoint).tensors
    for name, value in load_checkpoint(refitted.checkpoint).tensors.items():
        torch.testing.assert_close(value, weights[name])


# ── which searchers can ──────────────────────────────────────────────────────────────────────────


def test_the_searchers_that_are_said_to_lend_weights_do() -> None:
    """Those that the error E820 shows."""
    made = {
        name: make_searcher(name, space_of(PROGRESSIVE if name == "mfas" else LIMITED))
        for name in SEARCHERS
    }
    assert {n for n, s in made.items() if isinstance(s, Inheriting)} == set(LET_INHERIT)


RANDOM = TASK.replace('"perturbation"', '"random"').replace(
    "options = { epochs = 3, networks = 2 }\n", ""
)
ALONE = RANDOM.replace('[joint.digits]\nfeatures = "still"\n', "").replace(
    "space.fuse", "alone.fuse"
)


@pytest.mark.parametrize(
    ("text", "code", "key", "words"),
    [
        (RANDOM, "E819", "[joint.digits]", "search by `perturbation` or `constrained_evolution`"),
        (
            RANDOM.replace('"random"', '"bm_nas"'),
            "E819",
            "[joint.digits]",
            "search by `perturbation` or `constrained_evolution`",
        ),
        (
            TASK.replace("networks = 2 }", 'networks = 2, first = "digts" }'),
            "E802",
            'options = { epochs = 3, networks = 2, first = "digts" }',
            "did you mean `digits`?",
        ),
        (
            TASK.replace("seed = 1\n", 'seed = 1\nprice = { measure = "macs", target = 1 }\n'),
            "E818",
            'price = { measure = "macs", target = 1 }',
            "`require macs <= ...`",
        ),
        (
            ALONE.replace("[train]\n", '[train]\ninherit = "keep"\n'),
            "E820",
            'inherit = "keep"',
            "search by `parsec`, `perturbation` or `constrained_evolution`",
        ),
        (
            ALONE.replace("[train]\n", '[train]\ninherit = "start"\n')
            .replace('"random"', '"parsec"')
            .replace("seed = 1\n", "seed = 1\nset = { W = 16 }\n"),
            "E820",
            'inherit = "start"',
            "put `W` in `[task] set`",
        ),
    ],
)
def test_what_a_searcher_cannot_do_is_told_before_it_begins(
    task: Task, text: str, code: str, key: str, words: str
) -> None:
    alone = "".join(line for line in SPACE.splitlines(True) if "image" not in line)
    alone = alone.replace("  output digits = linear(still, out=4)\n", "")
    (task.file.parent / "alone.fuse").write_text(alone)
    file = task.file.parent / "refused.toml"
    file.write_text(text)
    found = told(file)
    assert found.code == code
    assert words in found.help
    assert found.span is not None
    assert file.read_text().splitlines()[found.span.line - 1] == key
    page = explain(code)
    assert page is not None
    if '"random"' in text:
        assert found.message in " ".join(page.split())


LEVELLED = """fuse 1
space levelled {
  dim N
  input clip: f32[N, 2, 5]
  levels v {
    level 0 width 8 { linear(mean(clip, axis=1), out=width) }
    level 1 width 8 { ?act of {relu, tanh}(linear(concat(?from some of v[<1]), out=width)) }
  }
  output logits = linear(concat(v[1][*]), out=3)
}
"""


def test_a_space_without_laws_is_told_at_the_searcher(tmp_path: Path) -> None:
    file = write_joint_task(tmp_path)
    (tmp_path / "space.fuse").write_text(LEVELLED)
    file.write_text(TASK.replace('[joint.digits]\nfeatures = "still"\n', ""))
    found = told(file)
    assert found.code == "E814"
    assert found.span is not None
    assert file.read_text().splitlines()[found.span.line - 1] == 'searcher = "perturbation"'
