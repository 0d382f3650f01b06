"""Whatever a file says, it is an error with a code or a program: no hang and no traceback."""

import os
import random
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusegraph.compiler.explore import sample
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.diagnostics import Diagnostic, FusegraphError, Span, render
from fusegraph.ir.dsl import (
    Program,
    format_genotype,
    load,
    load_genotype,
    loads,
    parse,
    parse_genotype,
)
from random_programs import random_program
from repository import ROOT

SECONDS = 8.0
"""Each takes under one on an idle core; the bound is for a busy one, and far below a hang."""


def space(body: str, before: str = "") -> str:
    return f"fuse 1\n{before}\nspace s {{\n  dim N\n  input x: f32[N, 8]\n{body}\n}}\n"


def numbers(line: str) -> str:
    return space(f"  {line}\n  output y = linear(x, out=8)")


def outcome(text: str) -> tuple[str, ...]:
    """The codes of the errors, none for success, in bounded time and rendered."""
    started = time.monotonic()
    found: tuple[Diagnostic, ...] = ()
    try:
        loads(text)
    except FusegraphError as error:
        found = error.diagnostics
    assert time.monotonic() - started < SECONDS
    assert len(found) <= 30
    check_places(found, text)
    assert render(found, {"<text>": text}).count("error[") == len(found)
    return tuple([diagnostic.code for diagnostic in found])


def check_places(found: tuple[Diagnostic, ...], text: str) -> None:
    """Every span lies inside the file, and starts before it ends."""
    lines = text.split("\n")
    for diagnostic in found:
        assert diagnostic.message
        assert diagnostic.help, f"{diagnostic.code} says what is wrong and not what to do"
        spans = [c.span for c in diagnostic.causes]
        spans += [diagnostic.span] if diagnostic.span is not None else []
        spans += [diagnostic.edit.span] if diagnostic.edit is not None else []
        for span in spans:
            if not span.file.startswith("std/"):
                check_span(span, lines)


def check_span(span: Span, lines: list[str]) -> None:
    assert 1 <= span.line <= span.end_line <= len(lines), span
    assert 1 <= span.column <= len(lines[span.line - 1]) + 1, span
    assert (span.line, span.column) <= (span.end_line, span.end_column), span


CELLS_OF_CELLS = "\n".join(
    [
        "cell f0(x: f32[N, C]) -> f32[N, C] { return relu(x) }",
        *[f"cell f{i}(x) {{ a = f{i - 1}(x)\n return f{i - 1}(a) }}" for i in range(1, 32)],
    ]
)
DOUBLED = "\n".join(f"  let a{i} = max(a{i - 1}, a{i - 1} + 1) * a{i - 1}" for i in range(1, 40))
SQUARED = "\n".join(f"  let a{i} = a{i - 1} * a{i - 1}" for i in range(1, 40))
NESTED_PICKS = "\n".join(
    f"  let a{i} = ?a{i} of {{{', '.join(f'a{i - 1} + {j}' for j in range(20))}}}"
    for i in range(1, 20)
)

HOSTILE = {
    "empty": ("", {"E101"}),
    "blank": (" \n\n\t\n", {"E101"}),
    "only a comment": ("# nothing", {"E101"}),
    "no space": ("fuse 1", {"E207"}),
    "a later version": ("fuse 2\nspace s { }", {"E102"}),
    "a version of many digits": (f"fuse {'9' * 5000}\nspace s {{ }}", {"E102"}),
    "an empty space": ("fuse 1 space s { }", {"E207"}),
    "NUL": ("fuse 1\n\0", {"E101"}),
    "NUL in a text": ('fuse 1\nuse "a\0b": c', {"E203"}),
    "a letter of another script": (numbers("let é = 1"), {"E101"}),
    "a name that looks like N": (numbers("let \u039d = 1"), {"E101"}),
    "direction marks": (numbers("let a = 1 \u202e + 2"), {"E101"}),
    "line separators": (numbers("# \u2028 \u0085 \x0b \x0c\n  let a = b"), {"E201"}),
    "carriage returns": (numbers("let a = 1").replace("\n", "\r\n"), set[str]()),
    "a surrogate": ('fuse 1\nuse "\ud800": c', {"E203"}),
    "an unclosed text": ('fuse 1\nuse "std/bm_nas', {"E105"}),
    "an unclosed brace": (space("  output y = relu(x)")[:-3], {"E101"}),
    "too many closed": (space("  output y = relu(x)))"), {"E101"}),
    "too long": ("fuse 1\n" + "#" * 1_000_001, {"E103"}),
    "one long line": (numbers("let a = 1 # " + "a" * 500_000), set[str]()),
    "brackets": (numbers(f"let a = {'(' * 5000}1{')' * 5000}"), {"E104"}),
    "blocks": (space("  for i in 1..2 {" * 5000 + "}" * 5000), {"E104"}),
    "a brace in a comment": (numbers("# " + "(" * 500 + '"'), set[str]()),
    "signs": (numbers(f"let a = {'-' * 10_000}1"), {"E104"}),
    "powers": (numbers(f"let a = {'2 ** ' * 10_000}1"), {"E104"}),
    "a chain": (numbers(f"let a = {'1 - ' * 10_000}1"), {"E104"}),
    "a chain of tensors": (space(f"  output y = {'x + ' * 10_000}x"), {"E104"}),
    "a chain of indices": (space(f"  output y = x{'[1]' * 10_000}"), {"E104"}),
    "nested calls": (space(f"  output y = {'relu(' * 90}x{')' * 90}"), set[str]()),
    "a shorter chain": (numbers(f"let a = {'1 - ' * 60}1"), set[str]()),
    "billions of turns": (space("  for i in 1..9999999999 { }"), {"E501"}),
    "loops of loops": (
        space("  for i in 1..99999 { for j in 1..99999 { for k in 1..99999 { } } }"),
        {"E501"},
    ),
    "a backward loop": (space("  for i in 4..1 { let a = b }\n  output y = relu(x)"), set[str]()),
    "cells of cells": (space("  output y = f31(x)", CELLS_OF_CELLS), {"E501"}),
    "a cell in itself": (
        space("  output y = f(x)", "cell f(x) { return f(x) }"),
        {"E501"},
    ),
    "two cells in each other": (
        space("  output y = f(x)", "cell f(x) { return g(x) }\ncell g(x) { return f(x) }"),
        {"E501", "E104"},
    ),
    "a tower of powers": (
        numbers("let a = 10 ** 10\n  let b = a ** 10\n  let c = b ** 10\n  let d = c ** 10"),
        {"E501"},
    ),
    "ten to the ten to the ten": (numbers("let a = 10 ** 10 ** 10"), {"E501"}),
    "a small power": (numbers("let a = 0.5 ** 100000000"), {"E501"}),
    "a power of zero": (numbers("let a = 0 ** (0 - 1)"), {"E210"}),
    "an open power": (numbers("let a = 7 ** ?k of {1, 900000000}"), {"E501"}),
    "a long number": (numbers(f"let a = {'9' * 4301}"), {"E501"}),
    "a number with a long exponent": (numbers("let a = 1e999999999"), {"E501"}),
    "a long fraction": (numbers(f"let a = 0.{'3' * 5000}"), {"E501"}),
    "products without end": (numbers(f"let a0 = 7\n{SQUARED}"), {"E501"}),
    "polynomials without end": (
        numbers(f"dim A, B, C, D\n  let a0 = A + B + C + D\n{SQUARED}"),
        {"E501"},
    ),
    "functions without end": (numbers(f"dim A\n  let a0 = A\n{DOUBLED}"), {"E501"}),
    "options without end": (numbers(f"let a0 = ?a0 of {{1, 2}}\n{NESTED_PICKS}"), {"E501"}),
    "a huge shape": (space(f"  input z: f32[{'9' * 70}]\n  output y = relu(z)"), set[str]()),
    "huge shapes flattened": (
        space(
            f"  input z: f32[{'9' * 70}, {'9' * 70}]\n"
            "  output y = flatten(relu(z), axis=0)"
        ),
        {"E501", ""},
    ),
    "very many axes": (
        space(f"  input z: f32[{', '.join('2' * 2000)}]\n  output y = flatten(z, axis=0)"),
        {"E501", ""},
    ),
    "division by zero": (numbers("let a = 1 / 0"), {"E210"}),
    "whole division by zero": (numbers("let a = 1 // (1 - 1)"), {"E210"}),
    "remainder by zero": (numbers("let a = 1 % 0"), {"E210"}),
    "open division by zero": (numbers("let a = 8 // ?k of {0, 2}"), {"E210"}),
    "a root of minus one": (numbers("let a = sqrt(-1)"), {"E210"}),
    "an open root": (numbers("let a = sqrt(?k of {4, -4})"), {"E210"}),
    "a broken power of a negative": (numbers("let a = (0 - 8) ** 0.5"), {"E210"}),
    "size of nothing": (space("  output y = linear(x, out=size())"), {"E205"}),
    "size of a number": (space("  output y = linear(x, out=size(1, 1))"), {"E210"}),
    "size of no axis": (space("  output y = linear(x, out=size(x, 7))"), {"E304"}),
    "size of a broken axis": (space("  output y = linear(x, out=size(x, 0.5))"), {"E304"}),
    "size of an op": (space("  output y = linear(x, out=size(relu, 1))"), {"E210"}),
    "size as a tensor": (space("  output y = relu(size(x, 1))"), {"E210"}),
    "a size of zero": (space("  input z: f32[N, 0]\n  output y = relu(z)"), {"E304"}),
    "a size below zero": (space("  input z: f32[N, -3]\n  output y = relu(z)"), {"E304"}),
    "a broken size": (space("  input z: f32[N, 2.5]\n  output y = relu(z)"), {"E304"}),
    "a size that may be zero": (
        space("  input z: f32[N, ?k of {0, 2}]\n  output y = relu(z)"),
        {"E304"},
    ),
    "a width of zero": (space("  output y = linear(x, out=0)"), {"E301"}),
    "a broken width": (space("  output y = linear(x, out=2.5)"), {"E304"}),
    "a kernel of no size": (
        space("  input z: f32[N, 3, 8]\n  output y = conv(z, out=3, kernel=0)"),
        {"E301"},
    ),
    "a stride of no size": (
        space("  input z: f32[N, 3, 8]\n  output y = conv(z, out=3, kernel=1, stride=0)"),
        {"E301"},
    ),
    "a kernel too large": (
        space("  input z: f32[N, 3, 8]\n  output y = conv(z, out=3, kernel=9)"),
        {"E301"},
    ),
    "no groups": (
        space("  input z: f32[N, 3, 8]\n  output y = conv(z, out=3, kernel=1, groups=0)"),
        {"E301"},
    ),
    "a step of no size": (space("  output y = slice(x, axis=1, step=0)"), {"E301"}),
    "axes out of order": (space("  output y = transpose(x, axes=(0, 0))"), {"E304"}),
    "axes that are no axes": (space("  output y = transpose(x, axes=(0, 0.5))"), {"E304"}),
    "names of Python": (
        space(
            "  __class__ = relu(x)\n  lambda = relu(__class__)\n  __import__ = relu(lambda)\n"
            "  None = relu(__import__)\n  self = relu(None)\n  output forward = self"
        ),
        set[str](),
    ),
    "words of the language": (space("  let = relu(x)"), {"E101"}),
    "text with formats": (
        space('  output y = parameter(shape=(2,), init="{0.__class__} %s %n")'),
        {"E304"},
    ),
    "text with codes of a terminal": (
        space('  output y = parameter(shape=(2,), init="\x1b[31m")'),
        {"E304"},
    ),
    "many errors": (
        space("\n".join(f"  a{i} = relu(unknown{i})" for i in range(1000))),
        {"E201"},
    ),
    "four thousand candidates": (
        space("  output y = linear(x, out=?w of {1..4096})"),
        set[str](),
    ),
    "ten thousand candidates": (
        space("  output y = linear(x, out=?w of {1..3000, 3001..10000})"),
        {"E501"},
    ),
    "a thousand decisions on one concat": (
        space(
            "  for i in 1..1000 { h[i] = linear(x, out=?w of {4, 8}) }\n"
            "  output y = linear(concat(h[*]), out=2)"
        ),
        set[str](),
    ),
    "a thousand decisions in one sum": (
        space(
            "  for i in 1..1000 { h[i] = linear(x, out=?w of {4, 8}) }\n"
            "  output y = linear(sum(h[*]), out=2)"
        ),
        {"E302"},
    ),
    "a thousand decisions in one number": (
        space(
            "  for i in 1..1000 { h[i] = linear(x, out=?w of {4, 8}) }\n"
            "  output y = sum(concat(h[*]), x)"
        ),
        {"E505"},
    ),
    "a subset of a thousand": (
        space(
            "  for i in 1..1000 { h[i] = linear(x, out=8) }\n"
            "  output y = linear(concat(?some some of h[*]), out=2)"
        ),
        set[str](),
    ),
    "half of a thousand": (
        space(
            "  for i in 1..1000 { h[i] = linear(x, out=8) }\n"
            "  output y = linear(concat(?some 500 of h[*]), out=2)"
        ),
        set[str](),
    ),
    "half of a thousand misfits": (
        space(
            "  for i in 1..1000 { h[i] = linear(x, out=i) }\n"
            "  output y = sum(?some 500 of h[*])"
        ),
        {"E505"},
    ),
    "a share of itself": (space("  share f = f(out=3)\n  output y = f(x)"), {"E201"}),
    "a name of itself": (space("  a = relu(a)\n  output y = a"), {"E201"}),
    "a family of a million members": (
        space("  h[1] = relu(x)\n  output y = sum(h[1..1000000000])"),
        {"E206"},
    ),
    "all below a billion": (
        space("  h[1] = relu(x)\n  output y = sum(h[<1000000000])"),
        set[str](),
    ),
    "an index of many digits": (
        space(f"  h[{'9' * 60}] = relu(x)\n  output y = sum(h[*])"),
        set[str](),
    ),
    "a number as an op": (space("  output y = 3(x)"), {"E204"}),
    "an op as a number": (space("  output y = linear(x, out=relu)"), {"E304"}),
    "a text as a number": (numbers('let a = "a" + 1'), {"E210"}),
    "truth as a number": (numbers("let a = true + 1"), {"E210"}),
    "a tuple as a number": (numbers("let a = (1, 2) + 1"), {"E210"}),
    "tuples in tuples": (space(f"  output y = reshape(x, shape={'(' * 50}N{',)' * 50})"), {"E304"}),
    "a genotype for a space": ('fuse 1\ngenotype of "s.fuse"', {"E207"}),
    "two spaces": ("fuse 1\nspace a { }\nspace b { }", {"E202"}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_an_error_in_bounded_time(name: str) -> None:
    text, codes = HOSTILE[name]
    found = outcome(text)
    if codes:
        assert set(found or [""]) <= codes, found
    else:
        assert found == ()


def folder(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "space.fuse"


def codes_of(path: Path) -> list[str]:
    with pytest.raises(FusegraphError) as caught:
        load(path)
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


USING = "fuse 1\nuse {}: f\nspace s {{ dim N input x: f32[N] output y = f(x) }}"
CELL = "fuse 1\ncell f(x) { return relu(x) }"


@pytest.mark.parametrize(
    "where", ['"../outside"', '"/etc/passwd"', '"a/../../outside"', '"link"', '"linked/outside"']
)
def test_an_import_never_leaves_its_root(tmp_path: Path, where: str) -> None:
    path = folder(tmp_path / "root", {"space.fuse": USING.format(where), "a/b.fuse": CELL})
    folder(tmp_path, {"outside.fuse": CELL, "elsewhere/outside.fuse": CELL})
    (tmp_path / "root" / "link.fuse").symlink_to(tmp_path / "outside.fuse")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    assert codes_of(path) == ["E203"]


def test_an_import_inside_the_root_may_go_up_and_down(tmp_path: Path) -> None:
    path = folder(
        tmp_path,
        {
            "space.fuse": USING.format('"a/b/f"'),
            "a/b/f.fuse": 'fuse 1\nuse "../c/g": g\ncell f(x) { return g(x) }',
            "a/c/g.fuse": "fuse 1\ncell g(x) { return relu(x) }",
        },
    )
    assert load(path).graph.name == "s"


def test_imports_in_a_circle_are_told(tmp_path: Path) -> None:
    path = folder(
        tmp_path,
        {
            "space.fuse": USING.format('"a/f"'),
            "a/f.fuse": 'fuse 1\nuse "../b/f": f',
            "b/f.fuse": 'fuse 1\nuse "../a/../b/../a/f": f',
        },
    )
    assert codes_of(path) == ["E209"]


def test_a_long_chain_of_imports_is_bounded(tmp_path: Path) -> None:
    chain = {f"f{i}.fuse": f'fuse 1\nuse "f{i + 1}": f' for i in range(300)}
    path = folder(tmp_path, {"space.fuse": USING.format('"f0"'), **chain})
    assert codes_of(path) == ["E501"]


def test_very_many_imports_are_bounded(tmp_path: Path) -> None:
    many = {f"f{i}.fuse": f"fuse 1\ncell f{i}(x) {{ return relu(x) }}" for i in range(300)}
    uses = "\n".join(f'use "f{i}": f{i}' for i in range(300))
    path = folder(tmp_path, {"space.fuse": f"fuse 1\n{uses}\nspace s {{ }}", **many})
    assert codes_of(path) == ["E501"]


def test_all_imports_together_are_bounded(tmp_path: Path) -> None:
    many = {f"f{i}.fuse": f"{CELL}\n# {'a' * 300_000}" for i in range(5)}
    uses = "\n".join(f'use "f{i}": f' for i in range(1, 5))
    path = folder(tmp_path, {"space.fuse": f"fuse 1\n{uses}\nspace s {{ }}", **many})
    assert codes_of(path) == ["E202"]
    uses = 'use "f0": f\n' + "".join(f'use "g{i}": g{i}\n' for i in range(5))
    cells = {f"g{i}.fuse": many["f0.fuse"].replace("f(x)", f"g{i}(x)") for i in range(5)}
    path = folder(tmp_path, {"space.fuse": f"fuse 1\n{uses}\nspace s {{ }}", **cells})
    assert codes_of(path) == ["E103"]


@pytest.mark.parametrize(
    ("held", "code"),
    [(b"\xff\xfe\x00", "E106"), (b"fuse 1\n# \xe9\n", "E106"), (b"#" * 4_000_001, "E103")],
)
def test_a_file_that_is_no_text_is_told(tmp_path: Path, held: bytes, code: str) -> None:
    path = tmp_path / "space.fuse"
    path.write_bytes(held)
    assert codes_of(path) == [code]


def test_a_file_may_start_with_a_byte_order_mark_and_end_its_lines_as_windows_does(
    tmp_path: Path,
) -> None:
    path = tmp_path / "space.fuse"
    text = "fuse 1\r\nspace s {\r\n  dim N\r\n  input x: f32[N]\r\n  output y = relu(x)\r\n}\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load(path).graph is loads(text).graph


@pytest.mark.parametrize("name", ["", "missing.fuse", "nul\0.fuse", "a" * 5000])
def test_a_path_that_leads_nowhere_is_told(tmp_path: Path, name: str) -> None:
    assert codes_of(Path(f"{tmp_path}/{name}")) == ["E106"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.fuse")
    path = folder(tmp_path, {"space.fuse": USING.format('"pipe"')})
    assert codes_of(path) == ["E203"]
    assert codes_of(tmp_path / "pipe.fuse") == ["E106"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("C", "1 } space t { let D = 2"),
        ("C", "__import__"),
        ("C", "(" * 5000),
        ("C", "9" * 5000),
        ("C", "?w of {1, 2}"),
        ("C", ""),
        ("C = 2 let D", "1"),
        ("C D", "1"),
        ("", "1"),
        ("missing", "1"),
    ],
)
def test_an_override_is_one_value_of_one_constant(name: str, text: str) -> None:
    with pytest.raises(FusegraphError) as caught:
        loads(space("  let C = 4\n  output y = linear(x, out=C)"), {name: text})
    assert [d.code for d in caught.value.diagnostics] == ["E213"]


def base_space() -> Program:
    return loads(space("  for i in 1..40 { h[i] = linear(x, out=?w of {4, 8}) }\n"
                       "  output y = linear(concat(h[*]), out=2)"))  # fmt: skip


@pytest.mark.parametrize(
    ("entries", "codes"),
    [
        ("a = b\n" * 5000, {"E402"}),
        ("h[1] { " * 5000 + "}" * 5000, {"E104"}),
        ("h[1].w = 4\n" * 5000, {"E406"}),
        ("h[1].w = {" + "4, " * 5000 + "4}", {"E404"}),
        ("h[1].w = {}", {"E404"}),
        ("", {"E405"}),
        (f"h[{'9' * 5000}].w = 4", {"E402"}),
        ("h[1].w = ?x of {4}", {"E403"}),
    ],
)
def test_a_hostile_genotype_is_told(entries: str, codes: set[str]) -> None:
    text = f'fuse 1\ngenotype of "s.fuse"\n{entries}'
    with pytest.raises(FusegraphError) as caught:
        parse_genotype(text, base_space())
    assert len(caught.value.diagnostics) <= 30
    assert {d.code for d in caught.value.diagnostics} == codes
    in_text = [d for d in caught.value.diagnostics if d.span and d.span.file == "<genotype>"]
    check_places(tuple([_without_causes(d) for d in in_text]), text)


LEVELLED = """  levels v {
    level 0 width 64 { linear(x, out=width) }
    level 1 width 64 { (?act of {relu, sigmoid})(linear(concat(?from some of v[<1]), out=width)) }
  }
  output y = linear(concat(v[1][*]), out=2)"""


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ("v[{long}][1].width = 64", "E402"),
        ("v[0][{long}].width = 64", "E402"),
        ("v[0][1] {{ width = {long} }}", "E403"),
        ("v[0][1] {{ width = 64 }}\nv[1][1] {{ width = 64, from = v[{long}][1] }}", "E403"),
        ("v[0][1] {{ width = 64 }}\nv[1][1] {{ width = 64, from = v[0][{long}] }}", "E403"),
        (
            "v[0][1] {{ width = 64 }}\nv[1][1] {{ width = 64, from = v[0][1], act = {long} }}",
            "E403",
        ),
    ],
)
def test_long_numbers_in_a_genotype_of_levels_are_told_in_short(entries: str, code: str) -> None:
    program = loads(space(LEVELLED))
    text = f'fuse 1\ngenotype of "s.fuse"\n{entries.format(long="9" * 5000)}'
    with pytest.raises(FusegraphError) as caught:
        parse_genotype(text, program)
    assert code in {d.code for d in caught.value.diagnostics}
    assert all(len(d.message) < 200 for d in caught.value.diagnostics)


def _without_causes(diagnostic: Diagnostic) -> Diagnostic:
    return Diagnostic(
        code=diagnostic.code, message=diagnostic.message, span=diagnostic.span,
        help=diagnostic.help, edit=diagnostic.edit,
    )  # fmt: skip


# ── files that are nearly right ──────────────────────────────────────────────────────────────────

TOKEN = re.compile(r'[A-Za-z_]\w*|[0-9.]+|"[^"\n]*"|\.\.|->|\*\*|//|[<>=!]=|\s+|.')
EXAMPLES = sorted(
    path
    for part in ("examples", "ir/std", "tests/diagnostics")
    for path in (ROOT / part).rglob("*.fuse")
    if path.stat().st_size < 4000 and path.name != "E106.fuse"
)
OWN = [
    *("?", "[*]", "[<1]", "{", "}", "0", "-1", "1..3", "2 of", "some of", "for i in 1..2 {", "=")
]


def changed(text: str, seed: int) -> str:
    """The text with a few tokens taken out, doubled, exchanged or put in."""
    draw = random.Random(seed)
    tokens = TOKEN.findall(text)
    for _ in range(draw.randint(1, 3)):
        place, other = draw.randrange(len(tokens)), draw.randrange(len(tokens))
        match draw.randrange(5):
            case 0:
                del tokens[place]
            case 1:
                tokens.insert(place, tokens[place])
            case 2:
                tokens[place], tokens[other] = tokens[other], tokens[place]
            case 3:
                tokens.insert(place, draw.choice(OWN))
            case _:
                tokens[place] = tokens[other]
    return "".join(tokens)


@settings(max_examples=250)
@given(path=st.sampled_from(EXAMPLES), seed=st.integers(0, 2**32))
def test_a_damaged_file_is_told_with_its_place(path: Path, seed: int) -> None:
    text = changed(path.read_text(encoding="utf-8"), seed)
    started = time.monotonic()
    try:
        if "genotype of" in text and "space " not in text:
            parse(text)
        else:
            loads(text)
    except FusegraphError as error:
        check_places(error.diagnostics, text)
        render(error.diagnostics, {"<text>": text})
    assert time.monotonic() - started < SECONDS


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_a_damaged_genotype_is_told_with_its_place(seed: int) -> None:
    path = ROOT / "examples" / "mfas" / "ntu_table5_2.fuse"
    _, genotype = load_genotype(path)
    assert genotype.items
    text = changed(path.read_text(encoding="utf-8"), seed)
    program = load(path.with_name("ntu.fuse"), {"W": "256"})
    try:
        parse_genotype(text, program)
    except FusegraphError as error:
        for diagnostic in error.diagnostics:
            if diagnostic.span is not None and diagnostic.span.file == "<genotype>":
                check_span(diagnostic.span, text.split("\n"))


@settings(max_examples=400)
@given(seed=st.integers(0, 2**32))
def test_a_hasty_program_is_an_error_or_a_space_whose_genotypes_work(seed: int) -> None:
    text = random_program(seed)
    try:
        program = loads(text)
        genotype = sample(program.graph, random.Random(seed))
    except FusegraphError as error:
        if error.diagnostics[0].code != "E503":
            check_places(error.diagnostics, text)
        render(error.diagnostics, {"<text>": text})
        return
    assert parse_genotype(format_genotype(genotype, program), program) == genotype
    assert specialise(program.graph, genotype).settled
