"""What statements and expressions of the language mean: names, families, loops, numbers, types."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import Program, load, loads
from fusegraph.ir.node import Node, everything


def space(body: str, before: str = "") -> str:
    return (
        f"fuse 1\n{before}\nspace s {{\n  dim N\n  input x: f32[N, 8]\n  input y: f32[N, 8]\n"
        f"{body}\n}}\n"
    )


def program(body: str, before: str = "", **overrides: str) -> Program:
    return loads(space(body, before), overrides)


def output(body: str, before: str = "") -> Node:
    """The one output of a space with this body."""
    (node,) = program(body, before).graph.roots
    return node


def type_of(body: str, before: str = "") -> str:
    return output(body, before).type.pretty


def codes_of(text: str) -> list[str]:
    with pytest.raises(FusegraphError) as caught:
        loads(text)
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


def same(first: str, second: str, before: str = "") -> bool:
    return program(first, before).graph is program(second, before).graph


def ops(nodes: Iterable[Node]) -> list[str]:
    return [node.op.name for node in everything(nodes)]


# ── one call syntax, arithmetic ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("x + y", "sum(x, y)"),
        ("x + y", "sum(y, x)"),
        ("x * y", "mul(x, y)"),
        ("x - y", "sub(x, y)"),
        ("x / y", "div(x, y)"),
        ("x * 2", "scale(x, by=2)"),
        ("2 * x", "scale(x, by=2)"),
        ("x / 4", "scale(x, by=0.25)"),
        ("x / sqrt(16)", "scale(x, by=1 / 4)"),
        ("x + 1", "shift(x, by=1)"),
        ("x - 1", "shift(x, by=-1)"),
        ("1 - x", "shift(scale(x, by=-1), by=1)"),
        ("-x", "scale(x, by=-1)"),
        ("(x)", "x"),
        ("x + y * 2", "x + (y * 2)"),
        ("-x * y", "(-x) * y"),
        ("reshape(x, shape=(N, 2 * 4))", "reshape(x, shape=(N, 8,))"),
        ("flatten(x)", "flatten(x, axis=-1)"),
    ],
)
def test_two_ways_to_write_the_same(written: str, meant: str) -> None:
    assert same(f"  output o = relu({written})", f"  output o = relu({meant})")


@pytest.mark.parametrize(
    ("expression", "size"),
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("2 ** 3 ** 2 // 8", 64),
        ("-2 ** 2 + 8", 4),
        ("7 // 2", 3),
        ("7 % 4", 3),
        ("-7 // 2 + 8", 4),
        ("2.25 * 96", 216),
        ("6 / 4 * 2", 3),
        ("1e2", 100),
        ("sqrt(64)", 8),
        ("ceil(7 / 2)", 4),
        ("floor(7 / 2)", 3),
        ("round(2.5)", 3),
        ("round8(2.25 * 54)", 120),
        ("round8(12)", 16),
        ("abs(-3)", 3),
        ("min(3, 4, 5)", 3),
        ("max(3, 4, 5)", 5),
        ("size(x, 1)", 8),
        ("size(x, -1) * 2", 16),
        ("(3, 5, 7)[2]", 5),
    ],
)
def test_a_size_is_computed_exactly(expression: str, size: int) -> None:
    assert type_of(f"  output o = linear(x, out={expression})") == f"f32[N, {size}]"


def test_a_run_time_size_stays_a_name() -> None:
    text = (
        "fuse 1\nspace s {\n  dim N, T\n  input z: f32[N, 3, 4 * T]\n"
        "  output o = flatten(max_pool(z, kernel=2))\n}"
    )
    (node,) = loads(text).graph.roots
    assert node.type.text == "f32[N, 6*T]"


def test_two_run_time_sizes_are_not_equal() -> None:
    text = (
        "fuse 1\nspace s {\n  dim N, T, S\n  input a: f32[N, T]\n  input b: f32[N, S]\n"
        "  output o = a + b\n}"
    )
    assert codes_of(text) == ["E301"]


def test_sizes_broadcast_from_one() -> None:
    assert type_of("  output o = x * mean(y, axis=1, keep=true)") == "f32[N, 8]"


# ── names, families, loops ───────────────────────────────────────────────────────────────────────

FAMILY = """
  for i in 1..4 {
    h[i] = linear(x, out=i)
  }
"""


@pytest.mark.parametrize(
    ("selected", "width"),
    [("h[*]", 10), ("h[<3]", 3), ("h[2..3]", 5), ("h[4]", 4), ("h[*], h[1]", 11), ("h[<9]", 10)],
)
def test_members_of_a_family_are_selected(selected: str, width: int) -> None:
    assert type_of(f"{FAMILY}  output o = concat({selected})") == f"f32[N, {width}]"


def test_nothing_is_below_the_first() -> None:
    assert type_of("  h[1] = concat(x, h[<1])\n  output o = h[1]") == "f32[N, 8]"


def test_a_family_of_families_spreads_in_order() -> None:
    body = "  for i in 1..2 { for j in 1..2 { h[i][j] = linear(x, out=10 * i + j) } }\n"
    assert type_of(f"{body}  output o = concat(h[*])") == "f32[N, 66]"
    assert type_of(f"{body}  output o = concat(h[2][*])") == "f32[N, 43]"
    assert type_of(f"{body}  output o = h[2][1]") == "f32[N, 21]"


@pytest.mark.parametrize(
    ("values", "widths"),
    [("1..3", [1, 2, 3]), ("{2, 5}", [2, 5]), ("{1, 1 + 1}", [1, 2]), ("2..1", [])],
)
def test_a_loop_runs_over_known_values(values: str, widths: list[int]) -> None:
    body = f"  for i in {values} {{\n    h[i] = linear(x, out=i)\n  }}\n"
    assert type_of(f"{body}  output o = concat(x, h[*])") == f"f32[N, {8 + sum(widths)}]"


def test_an_index_may_be_negative() -> None:
    body = "  for i in -1..1 {\n    h[i] = linear(x, out=4)\n  }\n"
    assert type_of(f"{body}  output o = concat(h[*], h[-1])") == "f32[N, 16]"


def test_names_in_a_loop_are_new_in_each_turn() -> None:
    body = (
        "  for i in 1..2 {\n    let w = 4 * i\n    a = linear(x, out=w)\n    h[i] = relu(a)\n  }\n"
    )
    assert type_of(f"{body}  output o = concat(h[*])") == "f32[N, 12]"


def test_an_inner_name_hides_an_outer_one() -> None:
    body = "  let w = 4\n  for i in 1..1 {\n    let w = 6\n    h[i] = linear(x, out=w)\n  }\n"
    assert type_of(f"{body}  output o = concat(h[1], linear(x, out=w))") == "f32[N, 10]"


def test_a_name_of_an_op_may_be_taken() -> None:
    assert type_of("  let relu = 3\n  output o = linear(x, out=relu)") == "f32[N, 3]"


def test_words_of_python_are_names_like_others() -> None:
    assert type_of("  class = relu(x)\n  output o = class") == "f32[N, 8]"


def test_a_constant_may_be_a_tuple_a_text_or_an_op() -> None:
    body = (
        '  let widths = (4, 6)\n  let act = tanh\n  let init = "ones"\n'
        "  p = parameter(shape=(1, widths[2]), init=init)\n"
        "  output o = act(linear(x, out=widths[2])) + p"
    )
    assert output(body).type.pretty == "f32[N, 6]"


def test_an_op_with_attributes_and_no_inputs_waits_for_them() -> None:
    assert same(
        "  let layer = linear(out=4)\n  output o = layer(x)", "  output o = linear(x, out=4)"
    )
    assert same(
        "  let layer = linear(out=4)\n  output o = layer(x, bias=false)",
        "  output o = linear(x, out=4, bias=false)",
    )


def test_an_attribute_given_later_wins() -> None:
    assert type_of("  let layer = linear(out=4)\n  output o = layer(x, out=6)") == "f32[N, 6]"


def test_inputs_have_an_index_too() -> None:
    text = (
        "fuse 1\nspace s {\n  dim N\n  for i in 1..3 { input a[i]: f32[N, i] }\n"
        "  output o = concat(a[*])\n}"
    )
    graph = loads(text).graph
    assert [node["name"] for node in graph.inputs] == ["a[1]", "a[2]", "a[3]"]


def test_outputs_in_a_loop_are_named_by_its_turns() -> None:
    graph = program("  for i in 1..2 {\n    output o = linear(x, out=i)\n  }").graph
    assert [name for name, _ in graph.outputs] == ["o[1]", "o[2]"]


def test_an_input_that_nothing_reaches_is_not_there() -> None:
    assert [node["name"] for node in program("  output o = relu(x)").graph.inputs] == ["x"]


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────

KEYS = {
    "an op that is the whole statement": ("  h = linear(x, out=4)", ["h"]),
    "an op inside": ("  h = relu(linear(x, out=4))", ["h.linear"]),
    "two alike inside": (
        "  h = linear(x, out=4) + linear(y, out=4)",
        ["h.linear", "h.linear_2"],
    ),
    "an index": ("  h[3] = linear(linear(x, out=4), out=4)", ["h[3].linear", "h[3]"]),
    "a name in a loop": (
        "  for i in 1..2 { a = linear(x, out=4)\n g[i] = relu(a) }\n  h = sum(g[*])",
        ["a[1]", "a[2]"],
    ),
    "a loop in a loop": (
        "  for i in 1..1 { for j in 2..2 { a = linear(x, out=4)\n g[i] = a } }\n  h = g[1]",
        ["a[1][2]"],
    ),
    "a let": ("  let a = linear(x, out=4)\n  h = a", ["linear"]),
    "an op without weights": ("  h = relu(x)", []),
    "an op that draws numbers": ("  h = dropout(x)", ["h"]),
    "a candidate": (
        "  h = ?op of {linear(out=4), linear(out=4, bias=false)}(x)",
        ["h.linear_out_4", "h.linear_out_4_bias_false"],
    ),
    "a tensor among candidates": (
        "  h = ?op of {linear(x, out=8), y}",
        ["h.linear"],
    ),
    "a shared op": ("  share f = linear(out=4)\n  h = f(x) + f(y)", ["f"]),
    "a composite": (
        "  h = cell2(x)",
        ["h.a", "h.linear"],
    ),
    "a composite inside": ("  h = relu(cell2(x))", ["h.cell2.a", "h.cell2.linear"]),
    "a shared composite": (
        "  share f = cell2()\n  h = f(x) + f(y)",
        ["f.a", "f.linear"],
    ),
}
CELL2 = "cell cell2(x) {\n  a = linear(x, out=4)\n  return relu(linear(a, out=4))\n}"


@pytest.mark.parametrize("name", KEYS)
def test_weights_are_named_by_where_they_stand(name: str) -> None:
    body, expected = KEYS[name]
    tail = "h[3]" if "h[3]" in body else "h"
    graph = program(f"{body}\n  output o = relu({tail})", CELL2).graph
    keyed = {node.key for node in everything(graph.roots) if node.key and node.op.name != "cell"}
    assert sorted(keyed) == sorted(expected)


def test_equal_layers_are_two_unless_they_are_shared() -> None:
    apart = program("  output o = linear(x, out=4) + linear(x, out=4)").graph
    shared = program("  share f = linear(out=4)\n  output o = f(x) + f(x)").graph
    assert ops(apart.roots).count("linear") == 2
    assert ops(shared.roots).count("linear") == 1


def test_what_has_no_weights_and_stands_twice_is_one_node() -> None:
    assert ops(program("  output o = relu(x) + tanh(relu(x))").graph.roots).count("relu") == 1


# ── constants from outside ───────────────────────────────────────────────────────────────────────

SIZED = "  let C = 4\n  let D = 2 * C\n  output o = linear(x, out=D)"


def test_an_override_replaces_a_constant_and_what_follows_from_it() -> None:
    assert program(SIZED, C="16").graph.roots[0].type.pretty == "f32[N, 32]"
    assert program(SIZED, D="5").graph.roots[0].type.pretty == "f32[N, 5]"


def test_a_program_knows_its_constants_and_what_was_set() -> None:
    found = program(SIZED, C="16")
    assert found.constants == {"C": 16, "D": 32}
    assert found.overrides == {"C": "16"}


def test_an_override_may_be_an_op_or_a_tuple() -> None:
    body = "  let act = relu\n  let w = (1, 2)\n  output o = act(linear(x, out=w[2]))"
    assert ops(program(body, act="tanh").graph.roots)[-1] == "tanh"
    assert program(body, w="(3, 5)").graph.roots[0].type.pretty == "f32[N, 5]"


def test_an_override_can_close_a_decision() -> None:
    body = "  let w = ?w of {4, 8}\n  output o = linear(x, out=w)"
    assert list(program(body).graph.decisions) == ["w"]
    assert program(body, w="8").graph.settled


def test_an_override_changes_the_digest() -> None:
    assert program(SIZED).graph.digest != program(SIZED, C="5").graph.digest


# ── require ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("requirement", "holds"),
    [
        ("8 % 4 == 0", True),
        ("8 % 3 == 0", False),
        ("3 in 1 .. 3", True),
        ("4 in 1 .. 3", False),
        ("3 != 3", False),
        ("size(x, 1) >= 8", True),
        ("size(x, 1) > 8", False),
        ("T >= 1", True),
        ("1 <= T", True),
        ("T > 0", True),
        ("2 * T > 1", True),
        ("T + S >= 2", True),
        ("4 * T % 4 == 0", True),
        ("T == T", True),
        ("T in 1 .. T + 1", True),
        ("T > 1", False),
        ("T <= 8", False),
        ("T % 4 == 0", False),
        ("T != S", False),
        ("T - S >= 0", False),
    ],
)
def test_a_requirement_is_told_where_it_stands(requirement: str, holds: bool) -> None:
    text = space(f"  dim T, S\n  require {requirement}\n  output o = relu(x)")
    if holds:
        assert loads(text).graph.requires == ()
    else:
        assert codes_of(text) == ["E502"]


def test_a_requirement_of_open_sizes_is_kept_for_the_genotypes() -> None:
    body = "  let w = ?w of {4, 8}\n  require w <= 4\n  require macs <= 100\n"
    graph = program(f"{body}  output o = linear(x, out=w)").graph
    assert [r.relation for r in graph.requires] == ["<=", "<="]


def test_a_range_is_two_requirements() -> None:
    graph = program("  require macs in 10 .. 100\n  output o = linear(x, out=4)").graph
    assert sorted(r.relation for r in graph.requires) == ["<=", ">="]


# ── errors ───────────────────────────────────────────────────────────────────────────────────────


def test_many_errors_are_told_at_once_in_the_order_of_the_file() -> None:
    text = space("  a = relu(z)\n  b = linear(x)\n  c = x + linear(y, out=3)\n  output o = x")
    assert codes_of(text) == ["E201", "E205", "E301"]


def test_what_follows_from_an_error_is_no_second_error() -> None:
    text = space("  a = relu(z)\n  b = relu(a)\n  for i in 1..2 { c[i] = a }\n  output o = c[1]")
    assert codes_of(text) == ["E201"]


def test_what_a_failed_loop_would_have_made_is_no_second_error() -> None:
    text = space("  for i in 1..z { c[i] = relu(x) }\n  output o = concat(c[*])")
    assert codes_of(text) == ["E201"]


def test_the_same_error_in_each_turn_is_told_once() -> None:
    assert codes_of(space("  for i in 1..5 { a = relu(z) }\n  output o = x")) == ["E201"]


def test_an_error_of_a_text_says_so() -> None:
    with pytest.raises(FusegraphError) as caught:
        loads("fuse 1", file="mine.fuse")
    assert str(caught.value).startswith("mine.fuse:1:1: error[E207]")


# ── files ────────────────────────────────────────────────────────────────────────────────────────


def test_cells_come_from_files_beside_and_from_the_standard_library(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "gates.fuse").write_text(
        'fuse 1\nuse "std/bm_nas": linear_glu\n'
        "cell gate(x: f32[N, C], y: f32[N, C]) -> f32[N, C] { return x * sigmoid(y) }\n"
        "cell both(x: f32[N, C, L], y: f32[N, C, L]) { return linear_glu(x, y) }"
    )
    path = tmp_path / "space.fuse"
    path.write_text(space("  output o = gate(x, y)", 'use "parts/gates": gate, both'))
    assert load(path).graph.roots[0]["name"] == "gate"


def test_a_program_holds_the_sources_of_all_its_files(tmp_path: Path) -> None:
    path = tmp_path / "space.fuse"
    path.write_text(space("  output o = relu(x)", 'use "std/bm_nas": attention'))
    found = load(path)
    assert set(found.sources) == {str(path), "std/bm_nas.fuse"}


def test_a_program_knows_where_nodes_and_decisions_stand() -> None:
    found = program("  h = relu(x)\n  output o = ?tap of {h, y}")
    (relu,) = (n for n in everything(found.graph.roots) if n.op.name == "relu")
    assert found.spans[relu].line == 7
    assert found.decision_spans["o.tap"].line == 8
