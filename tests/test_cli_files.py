"""check, fmt, explain and version, and how every command fails."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from cli_calls import SPACE, call, good
from fusegraph.cli import check as check_module
from fusegraph.ir.diagnostics import codes
from fusegraph.searchers.bm_nas.options import BmNasOptions
from fusegraph.searchers.mfas.options import MfasOptions
from fusegraph.searchers.option_pages import OPTIONS
from fusegraph.searchers.random_search import RandomOptions
from fusegraph.searchers.registry import SEARCHERS
from small_task import write_task

UGLY = """fuse 1
# kept
space s {
      dim N
  input a:f32[N,4]
  output   logits=linear( a,out=3 )
}
"""
WRONG = """fuse 1
space s {
  dim N
  input a: f32[N, 4]
  output logits = linaer(a, out=3)
}
"""


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("a task"))


# ── check ────────────────────────────────────────────────────────────────────────────────────────


def test_check_sums_up_each_file(task: Path) -> None:
    folder = task.parent
    lines = good("check", folder / "space.fuse", folder / "genotype.fuse", task).splitlines()
    assert lines[0].endswith("space small, 20 nodes, 7 decisions, 72 genotypes")
    assert lines[1].endswith("genotype small, 11 nodes")
    assert lines[2].endswith("task over space small, 20 nodes, 7 decisions, 72 genotypes")


def test_check_reports_the_errors_of_all_files_and_what_was_fine(tmp_path: Path) -> None:
    for name in ("one.fuse", "two.fuse"):
        (tmp_path / name).write_text(WRONG)
    answer = call("check", tmp_path / "one.fuse", SPACE, tmp_path / "two.fuse")
    assert answer.code == 1
    assert answer.err.count("error[") == 2
    assert "linear" in answer.err
    assert answer.out.startswith("ok ")


def test_check_as_json(task: Path, tmp_path: Path) -> None:
    (found,) = call("check", task, "--json").json["files"]
    assert (found["kind"], found["name"], found["genotypes"]) == ("task", "small", 72)
    (tmp_path / "wrong.fuse").write_text(WRONG)
    answer = call("check", tmp_path / "wrong.fuse", "--json")
    assert answer.code == 1
    (error,) = answer.json["errors"]
    assert {"code", "message", "where", "label", "causes", "notes", "help"} <= set(error)
    assert answer.err == ""


def test_check_of_a_space_without_a_genotype_is_an_error(tmp_path: Path) -> None:
    space = tmp_path / "space.fuse"
    space.write_text(
        "fuse 1\nspace none {\n  dim N\n  input x: f32[N, 4]\n"
        "  output y = linear(x, out=?width of {8, 16})\n  require parameters <= 10\n}\n"
    )
    answer = call("check", space)
    assert answer.code == 1
    assert "error[E503]" in answer.err
    assert str(space) in answer.err
    assert "required is `parameters <= 10`" in answer.err


def test_check_of_a_task_looks_at_its_features(task: Path, tmp_path: Path) -> None:
    copy = tmp_path / "task.toml"
    for name in ("space.fuse", "task.toml"):
        (tmp_path / name).write_text((task.parent / name).read_text())
    answer = call("check", copy)
    assert answer.code == 1
    assert "error[E610]" in answer.err


def test_check_of_a_task_whose_output_is_too_narrow_says_so_once(task: Path) -> None:
    space = task.parent / "narrow.fuse"
    space.write_text((task.parent / "space.fuse").read_text().replace("out=3", "out=2"))
    narrow = task.parent / "narrow.toml"
    narrow.write_text(task.read_text().replace("space.fuse", "narrow.fuse"))
    answer = call("check", narrow)
    assert answer.code == 1
    assert answer.err.count("error[E706]") == 1
    assert "2 wide, and the data has 3 classes" in answer.err


# ── fmt ──────────────────────────────────────────────────────────────────────────────────────────


def test_fmt_writes_files_anew_and_is_then_content(tmp_path: Path) -> None:
    file = tmp_path / "ugly space.fuse"
    file.write_text(UGLY)
    assert call("fmt", "--check", file).code == 1
    assert file.read_text() == UGLY
    assert good("fmt", file) == f"formatted {file}\n"
    assert "# kept" in file.read_text()
    assert good("fmt", "--check", file) == ""
    assert good("fmt", file) == ""


def test_fmt_to_stdout_leaves_the_file(tmp_path: Path) -> None:
    file = tmp_path / "ugly.fuse"
    file.write_text(UGLY)
    printed = good("fmt", "--stdout", file)
    assert file.read_text() == UGLY
    assert printed != UGLY


def test_fmt_changes_no_file_where_one_does_not_parse(tmp_path: Path) -> None:
    ugly, broken = tmp_path / "ugly.fuse", tmp_path / "broken.fuse"
    ugly.write_text(UGLY)
    broken.write_text("fuse 1\nspace {")
    assert call("fmt", ugly, broken).code == 1
    assert ugly.read_text() == UGLY


# ── explain and version ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", codes())
def test_every_code_has_a_page_that_is_printed(code: str) -> None:
    assert good("explain", code).startswith(f"# {code}: ")


def test_explain_takes_codes_in_small_letters_ops_and_lists() -> None:
    code = next(iter(codes()))
    assert good("explain", code.lower()).startswith(f"# {code}: ")
    assert good("explain", "linear").startswith("linear(x; out")
    assert "softmax" in good("explain", "ops")
    assert code in good("explain", "codes")
    assert "learning_rate" in good("explain", "task")
    page = good("explain", "levels")
    assert page.startswith("# Levels\n")
    assert "<!--" not in page


def test_explain_lists_one_file_of_the_standard_library() -> None:
    found = call("explain", "std/assemblenet", "--json").json["entries"]
    assert "std/assemblenet: join" in [entry["name"] for entry in found]
    assert all(entry["name"].startswith("std/assemblenet: ") for entry in found)


def test_explain_shows_composites_as_they_are_written() -> None:
    assert "std/bm_nas: attention" in good("explain", "std")
    page = good("explain", "attention")
    assert page.startswith('use "std/bm_nas": attention\n\n# ')
    assert page.rstrip().endswith("}")


@pytest.mark.parametrize(
    ("asked", "near"),
    [("E6O1", "E601"), ("E6999", "E6"), ("liner", "linear"), ("std/assemblnet", "std/assemblenet")],
)
def test_explain_gives_the_nearest_page(asked: str, near: str) -> None:
    answer = call("explain", asked)
    assert answer.code == 2
    assert f"did you mean {near}" in answer.err


def test_version_tells_of_the_packages() -> None:
    found = call("version", "--json").json
    assert set(found) == {"fusegraph", "python", "platform", "packages"}
    assert found["packages"]["torch"]


# ── failing ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "words",
    [
        ("count", "{missing}"),
        ("count", "{folder}"),
        ("cost", "{missing}"),
        ("check", "{missing}", "{missing}.toml"),
        ("fmt", "{missing}"),
        ("show", "{missing}"),
        ("sample", "{missing}"),
        ("emit", "{missing}"),
        ("search", "{missing}"),
        ("train", "{missing}"),
        ("export", "{missing}"),
        ("export", "{missing}.safetensors"),
        ("run", "{missing}", "{folder}"),
        ("report", "{missing}"),
    ],
    ids=" ".join,
)
def test_what_is_missing_is_an_error_of_the_file(words: tuple[str, ...], tmp_path: Path) -> None:
    told = [w.format(missing=tmp_path / "not there", folder=tmp_path) for w in words]
    answer = call(*told)
    assert answer.code == 1
    assert answer.err.startswith("error[E")
    assert call(*told, "--json").json["errors"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("count",), "Missing argument"),
        (("cuont", "x"), "Did you mean 'count'"),
        (("count", "--jsn", "x"), "--json"),
        (("count", "x", "--set", "W"), "NAME=VALUE"),
        (("cost", "x", "--batch", "0"), "batch"),
        (("train", "g.fuse"), "--task"),
        (("emit", SPACE, "--sample", "0", "--name", "a b"), "name of a class"),
        (("emit", SPACE, "--sample", "0", "--name", "class"), "name of a class"),
        (("count", SPACE, "--set", "Wx=3"), "error[E213]"),
        (("check", SPACE, "--set", "Wx=3"), "error[E213]"),
    ],
)
def test_a_wrong_call_says_what_is_wrong_with_it(words: tuple[str, ...], said: str) -> None:
    answer = call(*words)
    assert answer.code == 2
    assert said in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("search", "space.fuse"), "expected a task, found a `.fuse` file"),
        (("check", "backbone.py"), "expected a space or a genotype, found a .py file"),
        (("fmt", "task.toml"), "expected a space or a genotype, found a .toml file"),
        (("check", "features/manifest.json"), "found a .json file"),
    ],
)
def test_a_file_of_another_kind_is_told(task: Path, words: tuple[str, str], said: str) -> None:
    answer = call(words[0], task.parent / words[1])
    assert answer.code == 1
    assert said in answer.err


@pytest.mark.parametrize(
    ("searcher", "kind"),
    [("mfas", MfasOptions), ("random", RandomOptions), ("bm_nas", BmNasOptions)],
)
def test_explain_lists_every_option_of_a_searcher_with_its_default(
    searcher: str, kind: type[MfasOptions] | type[RandomOptions] | type[BmNasOptions]
) -> None:
    page = good("explain", searcher)
    for field in fields(kind):
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{field.name}` |")]
        assert row.count("|") == 5
        assert row.split("|")[4].strip()
    assert set(SEARCHERS) == set(OPTIONS)


def test_the_page_of_a_task_names_all_searchers() -> None:
    [row] = [line for line in good("explain", "task").splitlines() if "explain SEARCHER" in line]
    assert [name for name in SEARCHERS if f"`{name}`" not in row] == []


def test_an_unknown_constant_is_an_error_with_the_nearest(task: Path) -> None:
    answer = call("count", task.parent / "space.fuse", "--set", "w=3")
    assert answer.code == 2
    assert "error[E213]" in answer.err


def test_our_own_fault_is_one_line_with_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(check_module, "_checked", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    answer = call("check", SPACE)
    assert answer.code == 70
    assert len(answer.err.splitlines()) == 1
    (file,) = tmp_path.iterdir()
    assert str(file) in answer.err
    assert "KeyError: 'surprise'" in file.read_text()


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(check_module, "_checked", interrupted)
    answer = call("check", SPACE)
    assert (answer.code, answer.err) == (130, "interrupted\n")


def test_json_of_errors_is_all_that_is_printed(tmp_path: Path) -> None:
    answer = call("count", tmp_path / "none.fuse", "--json")
    assert json.loads(answer.out)["errors"][0]["code"] == "E106"
    assert answer.err == ""
