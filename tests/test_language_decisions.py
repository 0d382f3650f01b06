"""Decisions as they are written: kinds, labels, keys, depth; and genotypes, read and written."""

from pathlib import Path
from random import Random

import pytest

from fusegraph.compiler.count import count
from fusegraph.compiler.explore import enumerate_genotypes, sample
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.decisions import KOf, OneOf, OpenNumber, SomeOf
from fusegraph.ir.diagnostics import FusegraphError, render
from fusegraph.ir.dsl import (
    Program,
    format_genotype,
    is_genotype,
    load,
    load_genotype,
    loads,
    parse_genotype,
)


def program(body: str) -> Program:
    return loads(space(body))


def space(body: str) -> str:
    return f"fuse 1\nspace s {{\n  dim N\n  input x: f32[N, 8]\n  input y: f32[N, 8]\n{body}\n}}\n"


def labels(body: str, key: str) -> tuple[str, ...]:
    return program(body).graph.decisions[key].labels


def codes_of(body: str) -> list[str]:
    with pytest.raises(FusegraphError) as caught:
        program(body)
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


# ── kinds ────────────────────────────────────────────────────────────────────────────────────────

KINDS = {
    "one tensor": ("  output o = ?tap of {x, y}", OneOf, 2),
    "one op": ("  output o = ?act of {relu, tanh, gelu}(x)", OneOf, 3),
    "one number": ("  output o = linear(x, out=?w of {4, 8})", OpenNumber, 2),
    "numbers of a range": ("  output o = linear(x, out=?w of {4..6, 9})", OpenNumber, 4),
    "two": ("  output o = concat(?taps 2 of {x, y, relu(x)})", KOf, 3),
    "two with repeats": ("  output o = concat(?taps 2 of {x, y, relu(x)} repeats)", KOf, 6),
    "k by a constant": ("  let k = 2\n  output o = concat(?taps k of {x, y, relu(x)})", KOf, 3),
    "a subset": ("  output o = sum(?taps some of {x, y, relu(x)})", SomeOf, 7),
    "a tuple": (
        "  let k = ?k of {(1, 2), (3, 4)}\n  output o = linear(x, out=k[1] * k[2])",
        OpenNumber,
        2,
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_decision_is_of_its_kind(name: str) -> None:
    body, kind, settings = KINDS[name]
    graph = program(body).graph
    (decision,) = graph.decisions.values()
    assert type(decision) is kind
    assert count(graph).genotypes == settings == len(list(enumerate_genotypes(graph)))


@pytest.mark.parametrize(
    "body",
    [
        "  output o = ?tap of {x}",
        "  output o = linear(x, out=?w of {4})",
        "  output o = concat(?taps 2 of {x, y})",
        "  output o = sum(?taps some of {x})",
    ],
)
def test_a_decision_that_leaves_nothing_open_is_none(body: str) -> None:
    assert program(body).graph.settled


def test_an_open_number_used_twice_is_one_decision() -> None:
    body = "  let w = ?w of {4, 8}\n  output o = linear(x, out=w) + linear(y, out=w)"
    graph = program(body).graph
    assert count(graph).genotypes == 2
    assert graph.roots[0].type.pretty == "f32[N, 4|8]"


def test_open_numbers_take_part_in_arithmetic() -> None:
    body = "  let w = ?w of {4, 8}\n  output o = linear(x, out=2 * w + 1)"
    assert program(body).graph.roots[0].type.pretty == "f32[N, 9|17]"


def test_the_items_of_an_open_tuple_are_decided_together() -> None:
    body = "  let k = ?k of {(1, 2), (3, 4)}\n  output o = linear(x, out=k[1] + 10 * k[2])"
    assert program(body).graph.roots[0].type.pretty == "f32[N, 21|43]"


def test_a_choice_of_widths_is_open_in_its_type() -> None:
    body = "  output o = ?tap of {linear(x, out=4), linear(x, out=6)}"
    assert program(body).graph.roots[0].type.pretty == "f32[N, 4|6]"


def test_depth_is_a_choice_among_outputs_and_what_is_deeper_is_not_reached() -> None:
    body = (
        "  h[1] = ?act of {relu, tanh}(linear(x, out=8))\n"
        "  for l in 2..3 { h[l] = ?act of {relu, tanh}(linear(h[l - 1], out=8)) }\n"
        "  output o = linear(?depth of h[*], out=2)"
    )
    assert count(program(body).graph).genotypes == 2 + 4 + 8


def test_the_order_of_a_pair_is_that_of_the_candidates() -> None:
    found = program("  output o = concat(?taps 2 of {y, x})\n  output p = x * 2")
    assert found.graph.settled
    (first, second) = found.graph.roots[0].inputs
    assert (first["name"], second["name"]) == ("y", "x")


# ── labels and keys ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ("{x, y}", ("x", "y")),
        ("{relu(x), tanh( y )}", ("relu(x)", "tanh(y)")),
        ("{h[*]}", ("h[1]", "h[2]", "h[3]")),
        ("h[*]", ("h[1]", "h[2]", "h[3]")),
        ("h[2..3]", ("h[2]", "h[3]")),
        ("{h[<3], x}", ("h[1]", "h[2]", "x")),
        ("{h[1 + 1], h[3 - 2]}", ("h[2]", "h[1]")),
        ("{linear( x,out = 4 + 4 ), x}", ("linear(x, out=4 + 4)", "x")),
        (
            "{linear(x, out=?w of {8, 4}), linear(x, out=4)}",
            ("linear(x, out=?w)", "linear(x, out=4)"),
        ),
        ("{?act of {relu, tanh}(x), x}", ("?act(x)", "x")),
        ("{x * (1 + ?w of {8, 4}), x}", ("x * (1 + ?w)", "x")),
        ("{x * ?w of {8, 4}, x}", ("x * ?w of {8, 4}", "x")),
    ],
)
def test_a_candidate_is_labelled_as_it_is_written(
    candidates: str, expected: tuple[str, ...]
) -> None:
    family = "  for i in 1..3 { h[i] = relu(x) * i }\n"
    assert labels(f"{family}  output o = ?tap of {candidates}", "o.tap") == expected


def test_an_index_in_a_label_is_evaluated() -> None:
    body = "  h[1] = relu(x)\n  for l in 2..3 { h[l] = ?tap of {x, h[l - 1]} }\n  output o = h[3]"
    assert labels(body, "h[3].tap") == ("x", "h[2]")


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ("  output o = ?d of {x, y}", "o.d"),
        ("  h = relu(?d of {x, y})\n  output o = h", "h.d"),
        ("  for i in 2..2 { h[i] = ?d of {x, y} }\n  output o = h[2]", "h[2].d"),
        ("  for i in 2..2 { h = ?d of {x, y}\n g[i] = h }\n  output o = g[2]", "h[2].d"),
        ("  let w = ?d of {3, 4}\n  output o = linear(x, out=w)", "d"),
        (
            "  for i in 2..2 { let w = ?d of {3, 4}\n g[i] = linear(x, out=w) }\n  output o = g[2]",
            "w[2].d",
        ),
        ("  cell f(x) { return ?d of {x, relu(x)} }\n  h = f(x)\n  output o = h", "h.d"),
        ("  cell f(x) { a = ?d of {x, relu(x)}\n return a }\n  h = f(x)\n  output o = h", "h.a.d"),
    ],
)
def test_a_decision_is_named_by_its_statement(body: str, key: str) -> None:
    assert list(program(body).graph.decisions) == [key]


def test_two_decisions_of_one_statement_need_two_names() -> None:
    assert codes_of("  output o = (?d of {x, y}) + (?d of {x, y})") == ["E202"]


# ── genotypes ────────────────────────────────────────────────────────────────────────────────────

SPACE = """fuse 1
space s {
  dim N
  let W = 8
  input x: f32[N, 8]
  input y: f32[N, 8]
  let width = ?width of {4, 8}
  for l in 1..2 {
    h[l] = ?act of {relu, linear(out=W)}(?tap of {x, y, h[<l]})
  }
  cell f(x) {
    a = sum(?some some of {x, relu(x), tanh(x)})
    return a
  }
  c[1] = f(h[2])
  output o = linear(concat(?taps 2 of {x, y, c[1]}), out=width)
}
"""
GENOTYPE = """fuse 1
genotype of "s.fuse" @ "{digest}"
width = 8
c[1].a {{ some = {{x, tanh(x)}} }}
h[1] {{ act = linear(out=W), tap = y }}
h[2] {{ act = relu, tap = h[1] }}
o {{ taps = {{y, c[1]}} }}
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "s.fuse").write_text(SPACE)
    return tmp_path


def test_a_genotype_is_read_with_its_space(files: Path) -> None:
    digest = load(files / "s.fuse").graph.digest
    (files / "g.fuse").write_text(GENOTYPE.format(digest=digest))
    found, genotype = load_genotype(files / "g.fuse")
    assert found.graph is load(files / "s.fuse").graph
    assert genotype.settings == {
        "width": (1,),
        "h[1].act": (1,),
        "h[1].tap": (1,),
        "h[2].act": (0,),
        "h[2].tap": (2,),
        "c[1].a.some": (0, 2),
        "o.taps": (1, 2),
    }
    assert specialise(found.graph, genotype).settled


def test_a_genotype_is_written_in_one_layout(files: Path) -> None:
    found = load(files / "s.fuse")
    text = GENOTYPE.format(digest=found.graph.digest)
    genotype = parse_genotype(text, found)
    assert format_genotype(genotype, found) == text


@pytest.mark.parametrize("seed", range(20))
def test_every_genotype_that_is_written_is_read_again(files: Path, seed: int) -> None:
    found = load(files / "s.fuse", {"W": str(seed + 1)})
    genotype = sample(found.graph, Random(seed))
    assert parse_genotype(format_genotype(genotype, found), found) == genotype


@pytest.mark.parametrize(
    "entries",
    [
        "o.p = y",
        "o { p = y }",
        "o { p = {y} }",
        "o.p = {y,}",
        "o { p = y, }",
        "o { # why\n p = y }",
    ],
)
def test_a_genotype_may_be_laid_out_freely(entries: str) -> None:
    found = program("  output o = ?p of {x, y}")
    genotype = parse_genotype(f'fuse 1\ngenotype of "s.fuse"\n{entries}', found)
    assert genotype.settings == {"o.p": (1,)}


def test_scopes_nest() -> None:
    found = program(
        "  cell f(x) { a = ?p of {x, relu(x)}\n b = ?p of {a, tanh(a)}\n return b }\n"
        "  c[1] = f(x)\n  output o = c[1]"
    )
    text = 'fuse 1\ngenotype of "s.fuse"\nc[1] { a { p = x }, b.p = a }'
    assert parse_genotype(text, found).settings == {"c[1].a.p": (0,), "c[1].b.p": (0,)}


def test_several_labels_may_come_in_any_order(files: Path) -> None:
    found = program("  output o = concat(?p 2 of {x, y, relu(x)})")
    text = 'fuse 1\ngenotype of "s.fuse"\no.p = {relu(x), x}'
    genotype = parse_genotype(text, found)
    assert genotype.settings == {"o.p": (0, 2)}


def test_a_genotype_without_a_pin_is_not_compared() -> None:
    found = program("  output o = ?p of {x, y}")
    assert parse_genotype('fuse 1\ngenotype of "any.fuse"\no.p = x', found).space
    with pytest.raises(FusegraphError, match="E401"):
        parse_genotype('fuse 1\ngenotype of "any.fuse" @ "000000000000"\no.p = x', found)


def test_a_genotype_holds_the_constants_of_its_space(tmp_path: Path) -> None:
    body = "  let W = 8\n  let act = relu\n  output o = act(linear(?p of {x, y}, out=W))"
    (tmp_path / "s.fuse").write_text(space(body))
    found = load(tmp_path / "s.fuse", {"W": "2 * 8", "act": "tanh"})
    genotype = sample(found.graph, Random(0))
    text = format_genotype(genotype, found)
    assert 'genotype of "s.fuse" with W=2 * 8, act=tanh @ "' in text
    (tmp_path / "g.fuse").write_text(text)
    again, same = load_genotype(tmp_path / "g.fuse")
    assert again.graph is found.graph
    assert same == genotype


def test_a_genotype_with_a_constant_that_the_space_lacks_is_told(tmp_path: Path) -> None:
    (tmp_path / "s.fuse").write_text(space("  output o = ?p of {x, y}"))
    (tmp_path / "g.fuse").write_text('fuse 1\ngenotype of "s.fuse" with W=8\no.p = x')
    with pytest.raises(FusegraphError, match="E213"):
        load_genotype(tmp_path / "g.fuse")


def test_the_space_of_a_genotype_lies_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "s.fuse").write_text(space("  output o = ?p of {x, y}"))
    (tmp_path / "found" / "g.fuse").write_text('fuse 1\ngenotype of "../s.fuse"\no.p = x')
    assert load_genotype(tmp_path / "found" / "g.fuse")[1].items == (("o.p", (0,)),)


def test_errors_of_the_space_are_told_when_its_genotype_is_read(tmp_path: Path) -> None:
    (tmp_path / "s.fuse").write_text(space("  output o = relu(z)"))
    (tmp_path / "g.fuse").write_text('fuse 1\ngenotype of "s.fuse"')
    with pytest.raises(FusegraphError, match="E201"):
        load_genotype(tmp_path / "g.fuse")


def test_a_space_and_a_genotype_are_told_apart() -> None:
    assert is_genotype('fuse 1\ngenotype of "s.fuse"')
    assert not is_genotype(SPACE)


def test_a_space_where_a_genotype_is_asked_for_is_told(files: Path) -> None:
    with pytest.raises(FusegraphError, match="E207"):
        load_genotype(files / "s.fuse")


def test_all_wrong_lines_of_a_genotype_are_told_at_once() -> None:
    found = program("  output o = (?p of {x, y}) + (?q of {x, y})")
    with pytest.raises(FusegraphError) as caught:
        parse_genotype('fuse 1\ngenotype of "s.fuse"\no { p = z, r = x, q = {x, y} }', found)
    assert [d.code for d in caught.value.diagnostics] == ["E403", "E402", "E404"]


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("h[1] { act = relu, tapp = x }", "tap"),
        ("h[1].tapp = x", "h[1].tap"),
        ("h[1] { act = relu, tap = x, z = x }", ""),
        ("h[1].act = relu\nh[7].tap = x", "h[2].tap"),
        ("h[1].act = relu\nh[7] { tap = x }", "h[2].tap"),
        ("widht = 8", "width"),
    ],
)
def test_the_decision_that_was_meant_is_offered_as_it_is_written_there(
    line: str, meant: str
) -> None:
    found = loads(SPACE)
    with pytest.raises(FusegraphError) as caught:
        parse_genotype(f'fuse 1\ngenotype of "s.fuse"\n{line}\n', found)
    told = next(d for d in caught.value.diagnostics if d.code == "E402")
    assert told.label == (f"did you mean `{meant}`?" if meant else "not open there")


@pytest.mark.parametrize("absolute", ["/etc/hostname", "C:/s.fuse", "\\\\host\\s.fuse"])
def test_a_genotype_names_its_space_by_a_relative_path(tmp_path: Path, absolute: str) -> None:
    (tmp_path / "g.fuse").write_text(f'fuse 1\ngenotype of "{absolute}"')
    with pytest.raises(FusegraphError, match="E407") as caught:
        load_genotype(tmp_path / "g.fuse")
    assert "relative" in caught.value.diagnostics[0].message


def test_a_genotype_tells_nothing_of_a_foreign_file(tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "private").write_text("secret:x:0\n")
    (tmp_path / "found" / "g.fuse").write_text('fuse 1\ngenotype of "../private"')
    with pytest.raises(FusegraphError, match="E407") as caught:
        load_genotype(tmp_path / "found" / "g.fuse")
    assert "secret" not in render(caught.value.diagnostics)


@pytest.mark.parametrize("label", ["relu(linear(x, out=?w))", "relu(linear(x, out=?w of {3, 4}))"])
def test_a_label_may_name_the_decisions_inside_it(label: str) -> None:
    body = "  a = ?p of {relu(linear(x, out=?w of {3, 4})), linear(x, out=4)}\n  output o = a"
    found = program(body)
    text = f'fuse 1\ngenotype of "s.fuse"\na {{ p = {label}, w = 3 }}'
    genotype = parse_genotype(text, found)
    assert genotype.settings == {"a.p": (0,), "a.w": (0,)}
    assert "a { p = relu(linear(x, out=?w)), w = 3 }" in format_genotype(genotype, found)


def test_a_decision_without_candidates_is_told_in_a_space() -> None:
    assert codes_of("  output o = linear(x, out=?w)") == ["E101"]


# ── what fails, counted ──────────────────────────────────────────────────────────────────────────


def test_the_members_of_a_subset_fit_each_other() -> None:
    assert codes_of("  output o = sum(?t some of {x, y, linear(x, out=4)})") == ["E301"]
    assert codes_of("  output o = concat(?t some of {x, linear(x, out=4)}) * x") == ["E302"]


FAILING = {
    "each of three must be alike": (
        "  for i in 1..4 { h[i] = linear(x, out=4 * (i % 2) + 4) }\n  output o = sum(?t 3 of h[*])",
        "4 of the 4 options of o.t fail, for example {h[1], h[2], h[3]}",
    ),
    "a third that differs": (
        "  h[1] = linear(x, out=8)\n  h[2] = linear(x, out=8)\n  h[3] = linear(y, out=4)\n"
        "  h[4] = linear(y, out=8)\n  output o = sum(?t 3 of h[*])",
        "3 of the 4 options of o.t fail, for example {h[1], h[2], h[3]}",
    ),
    "a number": (
        "  output o = linear(x, out=?w of {4, 8}) + x",
        "1 of the 2 options of o.w fails, for example 4",
    ),
    "a boundary of two operands": (
        "  cell f(x: f32[N, 8], y: f32[N, 8]) { return x + y }\n"
        "  output o = f(?t 2 of {x, y, linear(x, out=4)})",
        "2 of the 3 options of o.t fail, for example {x, linear(x, out=4)}",
    ),
    "two decisions": (
        "  output o = linear(x, out=?v of {4, 6, 8}) + linear(x, out=?w of {4, 8})",
        "4 of the 6 options of o.v and o.w fail, for example o.v = 4, o.w = 8",
    ),
}


@pytest.mark.parametrize("name", FAILING)
def test_the_options_that_fail_are_counted_exactly(name: str) -> None:
    body, note = FAILING[name]
    with pytest.raises(FusegraphError) as caught:
        program(body)
    (found,) = caught.value.diagnostics
    assert found.code == "E302"
    assert found.notes == (note,)
