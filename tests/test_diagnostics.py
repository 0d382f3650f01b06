"""Every diagnostic has a page, a golden file for each of its situations, and an edit that mends.

`diagnostics/` holds them: `E302.fuse` is wrong, `E302.txt` is what a person then reads, and
`E302.fixed.fuse` is how it should have been. A folder `E402/` holds a case of several files, of
which `genotype.fuse` (or else `space.fuse`) is read. `# --set W=wide` in a file gives overrides.
After a change that is meant, `python tests/test_diagnostics.py` writes the golden files again;
read the difference before it is kept.
"""

import ast
import contextlib
import os
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fusegraph.compiler.count import count
from fusegraph.compiler.expected_cost import expected_cost
from fusegraph.compiler.explore import sample
from fusegraph.compiler.relax import relax
from fusegraph.ir.diagnostics import (
    Diagnostic,
    Edit,
    FusegraphError,
    Label,
    Span,
    codes,
    explain,
    render,
)
from fusegraph.ir.dsl import load, load_genotype
from fusegraph.ir.dsl.flat import parse_graph
from repository import PACKAGES_IN_ORDER, ROOT

GOLDEN = ROOT / "tests" / "diagnostics"
OURS = ("ir", "compiler")
"""The packages whose codes have golden files here; the others test theirs beside their tests."""

OF_THE_WHOLE_SPACE = ("E503", "E504", "E506", "E507", "E508", "E509")
"""These name the space or a decision of it, for no line of the file is to blame."""

OF_RELAXING = ("E506", "E507")

SETTING = re.compile(r"# --set (\w+)=(.*)")


def check(name: str) -> None:
    """Load what is called so, draw from it, count it, relax it where that is the matter.

    Paths are relative to GOLDEN.
    """
    path = Path(name)
    if path.is_dir():
        genotype = path / "genotype.fuse"
        if genotype.exists():
            load_genotype(genotype)
            return
        path = path / "space.fuse"
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".graph":
        parse_graph(text, name)
        return
    space = load(path, {m[1]: m[2] for m in SETTING.finditer(text)}).graph
    sample(space, random.Random(0))
    count(space)
    if name.startswith(OF_RELAXING):
        relax(space)
    if name.startswith("E509"):
        expected_cost(space)


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def diagnostics_of(name: str) -> tuple[Diagnostic, ...]:
    with inside(GOLDEN):
        try:
            check(name)
        except FusegraphError as error:
            return error.diagnostics
    return ()


def rendered(name: str) -> str:
    with inside(GOLDEN):
        return render(diagnostics_of(name))


def code_of(case: str) -> str:
    return Path(case).name[:4]


CASES = sorted(
    path.name
    for path in GOLDEN.iterdir()
    if (path.is_dir() or path.suffix in (".fuse", ".graph")) and ".fixed" not in path.name
)
FIXED = sorted(path.name for path in GOLDEN.glob("*.fixed.fuse"))
GENOTYPES = sorted(path.name for path in GOLDEN.iterdir() if (path / "fixed.fuse").exists())


def golden_of(case: str) -> Path:
    return GOLDEN / f"{case.removesuffix('.fuse').removesuffix('.graph')}.txt"


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_file_is_told_as_in_its_golden_file(case: str) -> None:
    assert rendered(case) == golden_of(case).read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_file_has_one_error_and_its_code(case: str) -> None:
    (found,) = diagnostics_of(case)
    assert found.code == code_of(case)
    assert found.where or found.code in OF_THE_WHOLE_SPACE
    assert found.help


@pytest.mark.parametrize("name", FIXED)
def test_the_mended_file_is_right(name: str) -> None:
    assert diagnostics_of(name) == ()
    assert (GOLDEN / name.replace(".fixed", "")).exists()


@pytest.mark.parametrize("name", GENOTYPES)
def test_the_mended_genotype_is_right(name: str) -> None:
    _, genotype = load_genotype(GOLDEN / name / "fixed.fuse")
    assert genotype.items


def edited(text: str, edit: Edit) -> str:
    lines = text.split("\n")
    span = edit.span
    before = "\n".join([*lines[: span.line - 1], lines[span.line - 1][: span.column - 1]])
    rest = [lines[span.end_line - 1][span.end_column - 1 :], *lines[span.end_line :]]
    return before + edit.text + "\n".join(rest)


def suggesting() -> list[str]:
    return [case for case in CASES if any(d.edit for d in diagnostics_of(case))]


def test_most_slips_come_with_an_edit() -> None:
    assert len(suggesting()) >= 10


@pytest.mark.parametrize("case", suggesting())
def test_the_suggested_edit_mends_the_file(case: str, tmp_path: Path) -> None:
    (found,) = diagnostics_of(case)
    assert found.edit is not None
    wrong = GOLDEN / found.edit.span.file
    here = tmp_path / found.edit.span.file
    here.parent.mkdir(exist_ok=True)
    for other in wrong.parent.glob("*.fuse") if wrong.parent != GOLDEN else []:
        (here.parent / other.name).write_text(other.read_text(encoding="utf-8"), encoding="utf-8")
    here.write_text(edited(wrong.read_text(encoding="utf-8"), found.edit), encoding="utf-8")
    with inside(tmp_path):
        check(case)


# ── every code ───────────────────────────────────────────────────────────────────────────────────


def codes_in(package: str) -> set[str]:
    """The codes that the sources of a package speak of."""
    found: set[str] = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"^E\d\d\d$", node.value))
    return found


CODES = sorted(set().union(*map(codes_in, OURS)))
WRITTEN_HERE: dict[str, Callable[[], str]] = {
    "E103": lambda: "fuse 1\n#" + "a" * 1_000_000,
}
"""Files that are too large to be kept."""


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_golden_file(code: str) -> None:
    assert code in {code_of(case) for case in CASES} | WRITTEN_HERE.keys()


@pytest.mark.parametrize("code", WRITTEN_HERE)
def test_a_file_written_here_has_its_code(code: str, tmp_path: Path) -> None:
    path = tmp_path / "written.fuse"
    path.write_text(WRITTEN_HERE[code](), encoding="utf-8")
    with pytest.raises(FusegraphError) as caught:
        check(str(path))
    assert [d.code for d in caught.value.diagnostics] == [code]


def test_every_code_that_is_raised_has_a_page() -> None:
    raised = set().union(*map(codes_in, PACKAGES_IN_ORDER))
    assert raised <= codes().keys()


def test_every_page_is_of_a_code_that_is_raised() -> None:
    raised = set().union(*map(codes_in, PACKAGES_IN_ORDER))
    assert codes().keys() <= raised


@pytest.mark.parametrize("code", CODES)
def test_a_page_says_what_an_example_and_how_to_mend_it(code: str) -> None:
    page = explain(code)
    assert page is not None
    lines = page.splitlines()
    assert lines[0].startswith(f"# {code}: ")
    assert "```fuse" in page
    assert f"error[{code}]" in page
    assert len(lines) <= 45


@pytest.mark.parametrize("code", [code for code in CODES if code not in WRITTEN_HERE])
def test_a_page_shows_a_message_that_is_really_given(code: str) -> None:
    page = explain(code)
    assert page is not None
    shown = page[page.index(f"error[{code}]") :].split("```")[0].rstrip().splitlines()
    texts = [golden_of(c).read_text(encoding="utf-8") for c in CASES if code_of(c) == code]
    assert any(all(line.rstrip() in text for line in shown if line != "…") for text in texts)


def test_an_unknown_code_has_no_page() -> None:
    assert explain("E999") is None
    assert explain("../../E302") is None


# ── rendering ────────────────────────────────────────────────────────────────────────────────────

TEXT = "one two three\nfour five\n\n\n\nsix\tseven\n"


@dataclass(frozen=True)
class Shown:
    """A diagnostic and the text that is expected of it."""

    diagnostic: Diagnostic
    text: str


def at(line: int, column: int, end_column: int, file: str = "a.fuse") -> Span:
    return Span(file, line, column, line, end_column)


RENDERED = {
    "a span": Shown(
        Diagnostic("E999", "message", at(1, 5, 8), "label", help="do this"),
        "error[E999]: message\n  --> a.fuse:1:5\n   |\n 1 | one two three\n"
        "   |     ^^^ label\n   |\nhelp: do this\n",
    ),
    "causes before and after": Shown(
        Diagnostic(
            "E999", "message", at(2, 1, 5),
            causes=(Label(at(6, 5, 10), "late"), Label(at(1, 1, 4), "early")),
        ),
        "error[E999]: message\n  --> a.fuse:2:1\n   |\n 1 | one two three\n   | --- early\n"
        " 2 | four five\n   | ^^^^\n...\n 6 | six seven\n   |     ----- late\n",
    ),
    "two on one line": Shown(
        Diagnostic("E999", "message", at(1, 9, 14), "b", causes=(Label(at(1, 1, 4), "a"),)),
        "error[E999]: message\n  --> a.fuse:1:9\n   |\n 1 | one two three\n   | --- a\n"
        "   |         ^^^^^ b\n",
    ),
    "another file": Shown(
        Diagnostic("E999", "m", at(1, 1, 4), causes=(Label(at(1, 1, 3, "b.fuse"), "there"),)),
        "error[E999]: m\n  --> a.fuse:1:1\n   |\n 1 | one two three\n   | ^^^\n"
        "  ::: b.fuse:1:1\n   |\n 1 | other\n   | -- there\n",
    ),
    "several lines": Shown(
        Diagnostic("E999", "m", Span("a.fuse", 1, 9, 2, 5), "from here"),
        "error[E999]: m\n  --> a.fuse:1:9\n   |\n 1 | one two three\n"
        "   |         ^^^^^ from here\n",
    ),
    "a place without a line": Shown(
        Diagnostic("E999", "m", place="array.npy", notes=("so and so",), help="do this"),
        "error[E999]: m\n  --> array.npy\n   = note: so and so\nhelp: do this\n",
    ),
    "a file that is gone": Shown(
        Diagnostic("E999", "m", at(3, 1, 4, "gone.fuse"), "label"),
        "error[E999]: m\n  --> gone.fuse:3:1\n   |\n 3 |\n   | ^^^ label\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RENDERED)
def test_a_diagnostic_is_rendered(name: str) -> None:
    shown = RENDERED[name]
    assert render([shown.diagnostic], {"a.fuse": TEXT, "b.fuse": "other\n"}) == shown.text


def test_codes_of_a_terminal_in_a_file_are_not_sent_to_the_terminal() -> None:
    found = Diagnostic("E999", "m", at(1, 1, 2))
    assert "\x1b" not in render([found], {"a.fuse": "a\x1b[31m\n"})


def test_errors_are_sorted_by_place_and_told_once() -> None:
    first, second = Diagnostic("E2", "b", at(1, 1, 2)), Diagnostic("E1", "a", at(2, 1, 2))
    assert FusegraphError([second, first, second]).diagnostics == (first, second)


@pytest.mark.parametrize(
    ("name", "text", "quoted"),
    [
        ("a.fuse", "a slip\n", True),
        ("no_ending", "# ours\nfuse 1\n", True),
        ("passwd", "secret:x:0\n", False),
        ("config", "# theirs\nsecret\n", False),
    ],
)
def test_no_line_of_a_foreign_file_is_quoted(
    tmp_path: Path, name: str, text: str, quoted: bool
) -> None:
    path = tmp_path / name
    path.write_text(text)
    found = Diagnostic(code="E101", message="m", span=Span(str(path), 1, 1, 1, 2), help="h")
    first = text.split("\n")[0]
    assert (f" 1 | {first}" in render([found])) == quoted
    assert "secret" not in render([found])


def test_an_error_is_one_line_where_it_is_not_rendered() -> None:
    error = FusegraphError(Diagnostic("E999", "message", at(1, 5, 8), help="do this"))
    assert str(error) == "a.fuse:1:5: error[E999]: message (help: do this)"


def test_a_diagnostic_as_data_has_the_documented_keys() -> None:
    found = Diagnostic(
        "E999", "m", at(1, 5, 8), "label", (Label(at(2, 1, 2), "cause"),), ("note",), "help",
        Edit(at(1, 5, 8), "new"),
    )  # fmt: skip
    assert found.as_json() == {
        "code": "E999",
        "message": "m",
        "where": "a.fuse:1:5",
        "label": "label",
        "causes": [{"where": "a.fuse:2:1", "text": "cause"}],
        "notes": ["note"],
        "help": "help",
        "edit": {
            "file": "a.fuse", "line": 1, "column": 5, "end_line": 1, "end_column": 8, "text": "new",
        },
    }  # fmt: skip


def rewrite() -> None:
    """Write every golden file again."""
    for case in CASES:
        golden_of(case).write_text(rendered(case), encoding="utf-8")


if __name__ == "__main__":
    rewrite()
