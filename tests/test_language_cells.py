"""Composites: boundaries, attributes, defaults, operands of any number, shared and tied parts."""

import pytest

from fusegraph.compiler.count import count
from fusegraph.ir.cells import expand
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import Program, loads
from fusegraph.ir.node import everything

BASE = """fuse 1
{cells}
space s {{
  dim N
  input x: f32[N, 8]
  input y: f32[N, 8]
  input z: f32[N, 4]
{body}
}}
"""


def program(cells: str, body: str) -> Program:
    return loads(BASE.format(cells=cells, body=body))


def type_of(cells: str, body: str) -> str:
    (node,) = program(cells, body).graph.roots
    return node.type.pretty


def codes_of(cells: str, body: str) -> list[str]:
    with pytest.raises(FusegraphError) as caught:
        program(cells, body)
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


def weights(found: Program) -> list[str]:
    return sorted({n.key for n in everything(found.graph.roots) if n.weights})


LAYER = "cell layer(x; out: int = 6, act: op = relu) { return act(linear(x, out=out)) }"
JOIN = "cell join(x: f32[N, A], y: f32[N, B]; out: int) -> f32[N, out] {\n" \
    "  return linear(concat(x, y), out=out)\n}"  # fmt: skip
MEAN = "cell average(x[*]) { return sum(x[*]) / 2 }"


@pytest.mark.parametrize(
    ("call", "type"),
    [
        ("layer(x)", "f32[N, 6]"),
        ("layer(x, out=3)", "f32[N, 3]"),
        ("layer(x, act=tanh)", "f32[N, 6]"),
        ("layer(x, act=linear(out=2))", "f32[N, 2]"),
        ("layer(x, act=layer(out=5))", "f32[N, 5]"),
    ],
)
def test_attributes_are_given_by_name_and_have_defaults(call: str, type: str) -> None:
    if "act=layer" in call:
        inner = LAYER.replace("cell layer", "cell inner")
        call = call.replace("act=layer", "act=inner")
        assert type_of(f"{LAYER}\n{inner}", f"  output o = {call}") == type
    else:
        assert type_of(LAYER, f"  output o = {call}") == type


def test_a_default_may_speak_of_sizes_that_the_file_does_not_yet_know() -> None:
    cells = "cell f(x: f32[N, C]; out: int = 2 * 3) { return linear(x, out=out) }"
    assert type_of(cells, "  output o = f(x)") == "f32[N, 6]"


@pytest.mark.parametrize(
    "call",
    ["join(x, z, out=3)", "join(x=x, y=z, out=3)", "join(x, y=z, out=3)", "join(z, x=x, out=3)"],
)
def test_operands_are_given_by_place_or_by_name(call: str) -> None:
    placed = program(JOIN, "  output o = join(x, z, out=3)").graph
    assert program(JOIN, f"  output o = {call}").graph is placed


def test_names_of_sizes_bind_to_what_is_given() -> None:
    assert type_of(JOIN, "  output o = join(x, z, out=3)") == "f32[N, 3]"
    wide = "cell f(x: f32[N, C]) -> f32[N, 3 * C] { return linear(x, out=3 * C) }"
    assert type_of(wide, "  output o = f(z)") == "f32[N, 12]"


def test_one_name_is_one_size() -> None:
    same = "cell f(x: f32[N, C], y: f32[N, C]) { return x + y }"
    assert type_of(same, "  output o = f(x, y)") == "f32[N, 8]"
    assert codes_of(same, "  output o = f(x, z)") == ["E306"]


def test_a_name_from_around_the_cell_is_that_size() -> None:
    body = "  let C = 8\n  cell f(x: f32[N, C]) { return relu(x) }\n  output o = f"
    assert type_of("", f"{body}(x)") == "f32[N, 8]"
    assert codes_of("", f"{body}(z)") == ["E306"]


def test_a_cell_of_a_file_does_not_see_the_space() -> None:
    assert codes_of("cell f(x) { return linear(x, out=W) }", "  let W = 3\n  output o = f(x)") == [
        "E201"
    ]


def test_a_number_in_a_boundary_is_that_size() -> None:
    cells = "cell f(x: f32[N, 8]) { return relu(x) }"
    assert type_of(cells, "  output o = f(x)") == "f32[N, 8]"
    assert codes_of(cells, "  output o = f(z)") == ["E306"]


def test_an_operand_without_a_type_takes_any() -> None:
    cells = "cell f(x) { return flatten(x, axis=0) }"
    assert type_of(cells, "  output o = f(x)") == "f32[8*N]"


def test_a_result_is_checked() -> None:
    cells = "cell f(x: f32[N, C]) -> f32[N, C] { return linear(x, out=3) }"
    assert codes_of(cells, "  output o = f(x)") == ["E307"]
    assert codes_of(cells.replace("-> f32[N, C]", "-> f32[N, C, 1]"), "  output o = f(x)") == [
        "E307"
    ]


@pytest.mark.parametrize("given", ["x", "x, y", "x, y, x", "?taps 2 of {x, y, relu(x)}"])
def test_an_operand_of_any_number_takes_the_rest(given: str) -> None:
    assert type_of(MEAN, f"  output o = average({given})") == "f32[N, 8]"


def test_an_operand_of_any_number_takes_a_subset() -> None:
    found = program(MEAN, "  output o = average(?taps some of {x, y})")
    assert count(found.graph).genotypes == 3


def test_an_operand_of_any_number_needs_one() -> None:
    assert codes_of(MEAN, "  output o = average()") == ["E210"]


def test_an_operand_of_any_number_comes_after_the_others() -> None:
    cells = "cell f(x, y[*]) { return x * sum(y[*]) }"
    assert type_of(cells, "  output o = f(x, y, y)") == "f32[N, 8]"


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("int", "3", "relu"),
        ("number", "0.5", '"a"'),
        ("bool", "false", "1"),
        ("text", '"ones"', "1"),
        ("ints", "(1, 2)", "true"),
        ("op", "relu", "3"),
    ],
)
def test_an_attribute_is_of_its_kind(kind: str, good: str, bad: str) -> None:
    cells = f"cell f(x; a: {kind}) {{ return relu(x) }}"
    assert type_of(cells, f"  output o = f(x, a={good})") == "f32[N, 8]"
    assert codes_of(cells, f"  output o = f(x, a={bad})") == ["E304"]


def test_a_cell_stays_whole_until_it_is_expanded() -> None:
    graph = program(LAYER, "  output o = layer(x)").graph
    assert [node.op.name for node in graph.order] == ["input", "cell"]
    assert [node.op.name for node in expand(graph).order] == ["input", "linear", "relu"]


def test_an_operand_that_the_body_does_not_use_is_not_reached() -> None:
    graph = program("cell f(x, y) { return relu(x) }", "  output o = f(x, y)").graph
    assert [node["name"] for node in graph.inputs] == ["x"]


def test_each_instance_has_weights_and_decisions_of_its_own() -> None:
    cells = "cell f(x) { return ?act of {relu, tanh}(linear(x, out=8)) }"
    found = program(cells, "  for i in 1..2 { h[i] = f(x) }\n  output o = concat(h[*])")
    assert weights(found) == ["h[1].linear", "h[2].linear"]
    assert list(found.graph.decisions) == ["h[1].act", "h[2].act"]
    assert count(found.graph).genotypes == 4


def test_a_decision_bound_outside_is_tied_in_all_instances() -> None:
    body = (
        "  let act = ?act of {relu, tanh}\n  cell f(x) { return act(linear(x, out=8)) }\n"
        "  for i in 1..2 { h[i] = f(x) }\n  output o = concat(h[*])"
    )
    found = program("", body)
    assert weights(found) == ["h[1].linear", "h[2].linear"]
    assert list(found.graph.decisions) == ["act"]
    assert count(found.graph).genotypes == 2


def test_a_decision_given_as_an_attribute_is_tied() -> None:
    body = "  let act = ?act of {relu, tanh}\n  output o = layer(x, act=act) + layer(y, act=act)"
    assert list(program(LAYER, body).graph.decisions) == ["act"]


def test_a_shared_composite_ties_weights_and_decisions() -> None:
    cells = "cell f(x) { return ?act of {relu, tanh}(linear(x, out=8)) }"
    found = program(cells, "  share tower = f()\n  output o = concat(tower(x), tower(y))")
    assert weights(found) == ["tower.linear"]
    assert list(found.graph.decisions) == ["tower.act"]
    assert count(found.graph).genotypes == 2


def test_a_shared_op_cannot_serve_two_sizes() -> None:
    body = "  share f = linear(out=3)\n  output o = f(x) + f(z)"
    assert codes_of("", body) == ["E308"]


def test_a_cell_may_use_cells_defined_after_it() -> None:
    cells = "cell f(x) { return g(x) }\ncell g(x) { return relu(x) }"
    assert type_of(cells, "  output o = f(x)") == "f32[N, 8]"


def test_a_cell_has_loops_constants_and_cells_of_its_own() -> None:
    cells = (
        "cell f(x: f32[N, C]; depth: int = 2) -> f32[N, C] {\n"
        "  cell step(x) { return relu(linear(x, out=C)) }\n"
        "  let last = depth\n  require depth >= 1\n  h[0] = x\n"
        "  for i in 1..depth { h[i] = step(h[i - 1]) }\n  return h[last]\n}"
    )
    found = program(cells, "  output o = f(x, depth=3)")
    assert weights(found) == ["o.h[1].linear", "o.h[2].linear", "o.h[3].linear"]
    assert codes_of(cells, "  output o = f(x, depth=0)") == ["E502"]


def test_candidates_may_be_composites_with_attributes() -> None:
    found = program(LAYER, "  output o = ?f of {layer, layer(out=3), linear(out=6)}(x)")
    assert found.graph.decisions["o.f"].labels == ("layer", "layer(out=3)", "linear(out=6)")
    (node,) = found.graph.roots
    assert node.type.pretty == "f32[N, 6|3]"


def test_the_standard_cells_have_the_types_of_the_paper() -> None:
    text = """fuse 1
use "std/bm_nas": align, align_vector, attention, concat_fc, linear_glu, zero
space s {
  dim N
  input map: f32[N, 512, 8, 7, 7]
  input vector: f32[N, 64]
  x = align(map, channels=16, length=8)
  y = align_vector(vector, channels=16, length=8)
  h = ?op of {zero, sum, attention, linear_glu, concat_fc}(x, y)
  output o = h
}
"""
    found = loads(text)
    (node,) = found.graph.roots
    assert node.type.text == "f32[N, 16, 8]"
    sizes = {
        owner.key: sum(_product(w.shape) for w in owner.weights if not w.buffer)
        for owner in everything(found.graph.roots)
        if owner.weights
    }
    # Aligning has Cin*C + 3C parameters (bias, scale and shift), eq. 7 has 2C^2, eq. 8 2C^2 + C.
    assert sizes["x.linear"] + sizes["x.batch_norm"] == 512 * 16 + 3 * 16
    assert sizes["y.linear"] + sizes["y.batch_norm"] == 64 * 16 + 3 * 16
    assert sizes["h.linear_glu.linear"] + sizes["h.linear_glu.linear_2"] == 2 * 16 * 16
    assert sizes["h.concat_fc.linear"] == 2 * 16 * 16 + 16


def _product(shape: tuple[object, ...]) -> int:
    total = 1
    for size in shape:
        assert isinstance(size, int)
        total *= size
    return total
