"""The commands that look at spaces and networks: count, cost, sample, show, emit."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from cli_calls import SPACE, call, good
from repository import ROOT

MFAS = ROOT / "examples" / "mfas"

COMPOSITE = """fuse 1
cell twice(x: f32[N, C]) -> f32[N, C] {
  return relu(linear(relu(linear(x, out=C)), out=C))
}
space small {
  dim N
  dim T
  input a: f32[N, T, 4]
  output logits = linear(twice(mean(a, axis=1)), out=3)
}
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    file = tmp_path / "a network.fuse"
    file.write_text(COMPOSITE)
    return file


# ── count ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("file", "genotypes"),
    [("ntu.fuse", 5_308_416), ("mm_imdb.fuse", 110_592), ("sixteen_taps.fuse", 35_184_372_088_832)],
)
def test_count_prints_the_number_of_the_paper(file: str, genotypes: int) -> None:
    assert good("count", MFAS / file) == f"{genotypes}\n"


def test_count_as_json_has_the_promised_keys() -> None:
    found = call("count", SPACE, "--json").json
    assert found["genotypes"] == 5_308_416
    assert found["exact"] is True
    assert set(found) == {"genotypes", "exact", "least", "name", "digest", "decisions"}
    assert {
        k: v
        for decision in found["decisions"]
        if decision["key"] == "h[1].act"
        for k, v in decision.items()
        if k != "labels"
    } == {"key": "h[1].act", "kind": "one of", "settings": 3}


def test_count_lists_decisions_with_candidates() -> None:
    lines = good("count", SPACE, "--decisions").splitlines()
    assert lines[1].split() == ["decision", "kind", "settings", "candidates"]
    assert any("h[1].act" in line and "relu, sigmoid, leaky_relu" in line for line in lines)


def test_count_follows_constants_that_are_set() -> None:
    # With the depth open: 48 + 48^2 + 48^3 + 48^4 networks of one to four layers.
    assert good("count", SPACE, "--set", "shallowest=1") == "5421360\n"


def test_count_of_a_number_too_long_for_python_to_print_is_printed(tmp_path: Path) -> None:
    file = tmp_path / "long.fuse"
    body = "\n".join(
        f"  h[{n}] = ?act of {{relu, sigmoid, tanh, gelu}}(h[{n - 1}])" for n in range(1, 9001)
    )
    file.write_text(
        f"fuse 1\nspace long {{\n  dim N\n  input h[0]: f32[N, 4]\n{body}\n"
        "  output logits = h[9000]\n}\n"
    )
    assert len(good("count", file).strip()) == 5419  # 4^9000


def test_count_says_that_a_required_latency_is_not_looked_at(network: Path) -> None:
    text = network.read_text().replace("linear(twice", "linear(?act of {relu, tanh}(twice")
    network.write_text(
        text.replace("axis=1)", "axis=1))").replace("=3)\n", "=3)\n  require latency <= 5\n")
    )
    answer = call("count", network)
    assert answer.out == "2\n"
    assert answer.err.startswith("an upper bound: `latency` is asked only of networks that are run")


LEVELS = """fuse 1
space levelled {{
  dim N
  input x: f32[N, 4]
  levels v {{
    level 0 width {width} least 1 {{ linear(x, out=width) }}
    level 1 width {width} least 1 {{
      ?act of {{relu, tanh}}(linear(concat(?from some of v[0][*]), out=width))
    }}
    level 2 width {width} least 1 {{ linear(concat(?from some of v[<2]), out=width) }}
  }}
  output logits = linear(concat(v[2][*]), out=3)
}}
"""


def test_count_of_levels_lists_them_with_the_decisions_of_their_nodes(tmp_path: Path) -> None:
    file = tmp_path / "levels.fuse"
    file.write_text(LEVELS.format(width=2))
    lines = good("count", file, "--decisions").splitlines()
    rows = [re.split(r"  +", line) for line in lines[2:]]
    assert rows == [
        ["v", "levels", f"{int(lines[0]):,}", "3 levels"],
        ["v[0]", "level", "width 2 in shares of 2, 1"],
        ["v[1]", "level", "width 2 in shares of 2, 1"],
        ["v[1][…].from", "some of", "v[0][*]"],
        ["v[1][…].act", "one of", "2", "relu, tanh"],
        ["v[2]", "level", "width 2 in shares of 2, 1"],
        ["v[2][…].from", "some of", "v[0][*], v[1][*]"],
    ]


def test_levels_that_are_too_many_are_counted_between_two_bounds(tmp_path: Path) -> None:
    file = tmp_path / "levels.fuse"
    file.write_text(LEVELS.format(width=16))
    found = call("count", file, "--json").json
    assert not found["exact"]
    assert 1 < found["least"] < found["genotypes"]
    told = call("count", file).err
    assert re.fullmatch(r"between about \d\.\d\de\d+ and about \d\.\d\de\d+: .*\n", told)
    assert re.search(r"between about \S+ and about \S+ genotypes\n", good("check", file))


# ── cost ─────────────────────────────────────────────────────────────────────────────────────────


def test_cost_of_a_published_genotype_is_the_papers() -> None:
    found = call("cost", MFAS / "ntu_table5_0.fuse", "--json").json
    linear = [node["parameters"] for node in found["nodes"] if node["key"] != "logits"]
    assert sum(linear) == 2_229_248


def test_cost_as_json_adds_up_over_the_nodes_that_are_no_composites(network: Path) -> None:
    found = call("cost", network, "--size", "T=5", "--json").json
    parts = [node for node in found["nodes"] if not node["composite"]]
    assert [n["op"] for n in found["nodes"] if n["composite"]] == ["twice"]
    for figure in ("parameters", "macs", "flops", "activation_bytes"):
        assert sum(node[figure] for node in parts) == found[figure]
    assert found["parameters"] == 2 * (4 * 4 + 4) + 4 * 3 + 3
    assert found["flops"] == 2 * found["macs"]


def test_cost_is_of_one_sample_unless_a_batch_is_given(network: Path) -> None:
    one = call("cost", network, "--json").json
    many = call("cost", network, "--batch", "32", "--json").json
    assert one["sizes"] == {"N": 1}
    assert many["macs"] == 32 * one["macs"]
    assert many["parameters"] == one["parameters"]
    assert one["symbolic"]["macs"] == "44*N"


def test_cost_keeps_a_size_that_stays_named_in_the_figures(tmp_path: Path) -> None:
    file = tmp_path / "s.fuse"
    file.write_text(
        "fuse 1\nspace s {\n  dim N\n  dim T\n  input a: f32[N, T, 4]\n"
        "  output b = linear(a, out=2)\n}\n"
    )
    assert call("cost", file, "--json").json["macs"] == "8*T"
    assert call("cost", file, "--size", "T=3", "--json").json["macs"] == 24


def test_emit_of_a_space_asks_for_a_genotype() -> None:
    answer = call("emit", SPACE)
    assert answer.code == 1
    assert "error[E411]" in answer.err
    assert "--sample SEED" in answer.err
    assert answer.out == ""


def test_cost_of_a_space_is_that_of_its_genotypes(tmp_path: Path) -> None:
    file = tmp_path / "s.fuse"
    file.write_text(
        "fuse 1\nspace s {\n  dim N\n  input a: f32[N, 4]\n"
        "  output b = linear(a, out=?w of {1, 2, 6})\n  require parameters > 5\n}\n"
    )
    found = call("cost", file, "--batch", "2", "--json").json
    assert (found["genotypes"], found["all"], found["sizes"]) == (2, True, {"N": 2})
    assert [found[name]["parameters"] for name in ("least", "mean", "greatest")] == [10, 20, 30]
    assert [found[name]["macs"] for name in ("least", "mean", "greatest")] == [16, 32, 48]
    assert "of all 2 genotypes of s" in good("cost", file)
    drawn = call("cost", SPACE, "--set", "W=2", "--json").json
    assert (drawn["genotypes"], drawn["all"]) == (50, False)
    assert drawn["least"]["parameters"] < drawn["mean"]["parameters"]


def test_cost_of_a_space_needs_numbers_to_compare(tmp_path: Path) -> None:
    file = tmp_path / "s.fuse"
    file.write_text(
        "fuse 1\nspace s {\n  dim N, T\n  input a: f32[N, 4, T]\n"
        "  output b = linear(a, out=?w of {1, 2}, axis=1)\n}\n"
    )
    answer = call("cost", file)
    assert answer.code == 2
    assert "costs depend on T" in answer.err
    assert call("cost", file, "--size", "T=3", "--json").json["greatest"]["macs"] == 24


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_cost_measures_a_latency_where_it_is_asked(network: Path, runtime: str) -> None:
    words = ("--latency", "--runtime", runtime, "--runs", "3", "--size", "T=5")
    found = call("cost", network, *words, "--json").json["latency"]
    assert 0 < found["lower"] <= found["median"] <= found["upper"]
    assert (found["timing"]["runtime"], found["timing"]["runs"]) == (runtime, 3)
    assert found["machine"]["cores"]
    assert " ms (" in good("cost", network, *words)
    answer = call("cost", network, "--latency")
    assert "error[E637]" in answer.err
    assert "`T`" in answer.err


def test_cost_of_a_space_is_timed_over_a_few_genotypes() -> None:
    found = call("cost", SPACE, "--set", "W=2", "--latency", "--runs", "1", "--json").json
    assert found["genotypes"] == 20
    assert 0 < found["least"]["latency"] <= found["greatest"]["latency"]


def test_sample_runs_networks_where_a_latency_is_required(tmp_path: Path) -> None:
    file = tmp_path / "s.fuse"
    text = (
        "fuse 1\nspace s {\n  dim N, T\n  input a: f32[N, T, 4]\n"
        "  output b = linear(a, out=?w of {1, 2})\n  require latency < 1e6\n}\n"
    )
    file.write_text(text)
    assert "w = " in good("sample", file, "--size", "T=2")
    assert "error[E637]" in call("sample", file).err
    file.write_text(text.replace("1e6", "0"))
    answer = call("sample", file, "--size", "T=2")
    assert "error[E503]" in answer.err
    assert "200 of their networks were run" in answer.err
    assert "at most 2 genotypes" in good("check", file)


def test_cost_of_a_drawn_network_depends_on_the_seed_alone() -> None:
    first, again = (call("cost", SPACE, "--sample", "3", "--json").json for _ in range(2))
    assert first == again
    assert first["parameters"] > 0


def test_cost_refuses_a_size_that_the_network_does_not_have(network: Path) -> None:
    answer = call("cost", network, "--size", "Q=3")
    assert answer.code == 2
    assert "it has N, T" in answer.err


# ── sample ───────────────────────────────────────────────────────────────────────────────────────


def test_sampled_files_are_genotypes_that_check(tmp_path: Path) -> None:
    files = good("sample", SPACE, "-n", "3", "--seed", "7", "--out", tmp_path / "some drawn")
    assert len(files.splitlines()) == 3
    for file in files.splitlines():
        assert good("check", file).startswith("ok ")


def test_the_same_seed_draws_the_same_genotypes_and_the_first_ones_of_more() -> None:
    few = call("sample", SPACE, "-n", "2", "--seed", "1", "--json").json["genotypes"]
    more = call("sample", SPACE, "-n", "4", "--seed", "1", "--json").json["genotypes"]
    assert few == more[:2]
    assert few != call("sample", SPACE, "-n", "2", "--seed", "2", "--json").json["genotypes"]


def test_sample_without_a_folder_prints_a_file() -> None:
    assert good("sample", SPACE).startswith('fuse 1\ngenotype of "ntu.fuse" @')


# ── genotypes at other constants ─────────────────────────────────────────────────────────────────


def test_a_genotype_is_carried_over_to_another_width(tmp_path: Path) -> None:
    file = good("sample", SPACE, "--out", tmp_path).strip()
    narrow = call("cost", file, "--json").json["parameters"]
    wide = call("cost", file, "--set", "W=256", "--json").json["parameters"]
    assert wide > 10 * narrow


def test_a_genotype_whose_decisions_would_vanish_is_not_carried_over(tmp_path: Path) -> None:
    drawn = good("sample", SPACE, "--set", "shallowest=1", "--out", tmp_path).strip()
    answer = call("cost", drawn, "--set", "shallowest=4")
    assert answer.code == 1
    assert "error[E410]" in answer.err
    assert "is not open there" in answer.err


# ── show and emit ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "start"), [("a.svg", "<svg"), ("a.mmd", "flowchart"), ("a.dot", "digraph")]
)
def test_show_writes_what_the_name_says(tmp_path: Path, name: str, start: str) -> None:
    good("show", SPACE, "-o", tmp_path / name)
    assert (tmp_path / name).read_text().startswith(start)


def test_show_marks_a_genotype_in_its_space(tmp_path: Path) -> None:
    genotype = good("sample", SPACE, "--out", tmp_path).strip()
    plain, marked = tmp_path / "plain.svg", tmp_path / "marked.svg"
    good("show", SPACE, "-o", plain)
    good("show", SPACE, "--genotype", genotype, "-o", marked)
    assert plain.read_text() != marked.read_text()


def test_show_marks_a_genotype_of_a_copy_of_the_space(tmp_path: Path) -> None:
    copy = tmp_path / "copy.fuse"
    copy.write_text(SPACE.read_text())
    genotype = good("sample", copy, "--out", tmp_path).strip()
    good("show", SPACE, "--genotype", genotype, "-o", tmp_path / "marked.svg")


def test_show_refuses_a_genotype_of_another_space(tmp_path: Path) -> None:
    other = tmp_path / "other.fuse"
    other.write_text(SPACE.read_text().replace("sigmoid", "tanh"))
    genotype = good("sample", other, "--out", tmp_path).strip()
    answer = call("show", SPACE, "--genotype", genotype)
    assert answer.code == 2
    assert "is no genotype of" in answer.err


def test_show_refuses_a_picture_of_an_unknown_kind(tmp_path: Path) -> None:
    answer = call("show", SPACE, "-o", tmp_path / "a.bmp")
    assert answer.code == 2
    assert ".svg, .png, .mmd, .dot" in answer.err
    assert not (tmp_path / "a.bmp").exists()


def test_show_without_a_file_prints_mermaid() -> None:
    assert good("show", SPACE).startswith("flowchart")


def test_emit_writes_python_that_needs_nothing_of_ours(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    good("emit", SPACE, "--sample", "0", "-o", file)
    tree = ast.parse(file.read_text())
    roots = {
        name.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for name in node.names
    }
    assert roots <= {"torch", "functools", "math"}


@pytest.mark.parametrize(("width", "code"), [(2, 0), (4, 1)])
def test_check_refuses_a_genotype_that_fails_a_requirement(
    tmp_path: Path, width: int, code: int
) -> None:
    (tmp_path / "space.fuse").write_text(
        "fuse 1\nspace small {\n  dim N\n  input x: f32[N, 8]\n  require parameters <= 30\n"
        "  output logits = linear(x, out=?width of {2, 3, 4})\n}\n"
    )
    file = tmp_path / "genotype.fuse"
    file.write_text(f'fuse 1\ngenotype of "space.fuse"\nlogits {{ width = {width} }}\n')
    answer = call("check", file)
    assert answer.code == code
    if code:
        assert "error[E412]: this genotype fails a `require` of `small`" in answer.err
        assert "`parameters <= 30` is asked, and it is 36 against 30" in answer.err


def test_check_refuses_a_network_that_fails_a_requirement(tmp_path: Path) -> None:
    file = tmp_path / "network.fuse"
    file.write_text(
        "fuse 1\nspace small {\n  dim N\n  input x: f32[N, 8]\n  require flops in 1 .. 30\n"
        "  output logits = linear(x, out=2)\n}\n"
    )
    answer = call("check", file)
    assert answer.code == 1
    assert "error[E412]: this network fails a `require` of `small`" in answer.err
