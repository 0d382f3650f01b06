"""What the documents show is run: commands, Python, `.fuse` files, doctests.

- a ```console block: each line `$ fusegraph …` is run in a copy of `examples/` that all blocks
  of the document share; `$ cd folder` moves; other commands are left alone. Where lines follow a
  command they are its output; a line `...` stands for any number of lines. Without shown output
  the command has to succeed; with `error[` in it, to exit with 1.
- the ```python blocks of a document are run one after the other as one program.
- a ```fuse block that starts with `fuse 1` passes `fusegraph check`.
- `<!-- not run: reason -->` on a line before a block leaves it out.
"""

from __future__ import annotations

import doctest
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from repository import ROOT, module_files, module_name, relative

FENCE = re.compile(
    r"(?P<skip><!-- not run: \S.*-->\s*\n)?"
    r"^```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
IGNORED = shutil.ignore_patterns("runs", "__pycache__")


@dataclass(frozen=True)
class Block:
    """A fenced block and the line that its text starts at."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """A shown command, without its `$`, and the lines shown below it."""

    line: int
    words: tuple[str, ...]
    shown: str


def blocks_of(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    return [
        Block(found["language"], found["text"], text.count("\n", 0, found.start("text")) + 1)
        for found in FENCE.finditer(text)
        if found["skip"] is None
    ]


def commands_of(block: Block) -> list[Command]:
    commands: list[Command] = []
    joined = block.text.replace("\\\n", " ")
    for part in re.split(r"^\$ ", joined, flags=re.MULTILINE)[1:]:
        call, _, shown = part.partition("\n")
        words = tuple(shlex.split(call, comments=True))
        commands.append(Command(block.line, words, shown.strip("\n")))
    return commands


def matches(shown: str, printed: str) -> bool:
    """Whether the printed text is what is shown, trailing blanks and `...` lines apart."""
    parts = [
        r"(?:.*\n)*?" if line.strip() in {"...", "…"} else re.escape(line.rstrip()) + "\n"
        for line in shown.splitlines()
    ]
    text = "".join(line.rstrip() + "\n" for line in printed.strip("\n").splitlines())
    return re.fullmatch("".join(parts), text) is not None


def fusegraph(arguments: tuple[str, ...], folder: Path) -> subprocess.CompletedProcess[str]:
    plain = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "fusegraph", *arguments],
        cwd=folder,
        env={**os.environ, **plain},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def documents_with(language: str) -> list[Path]:
    found = [
        ROOT / "README.md",
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("[a-z]*/README.md"),
        *ROOT.glob("examples/*/README.md"),
    ]
    return sorted(
        document
        for document in set(found)
        if document.is_file() and any(b.language == language for b in blocks_of(document))
    )


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A folder with a copy of `examples/` in it, to be written to at will."""
    if (ROOT / "examples").is_dir():
        shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=IGNORED)
    return tmp_path


@pytest.mark.parametrize("document", documents_with("console"), ids=relative)
def test_shown_commands_print_what_is_shown(document: Path, examples: Path) -> None:
    folder = examples
    for block in blocks_of(document):
        for command in commands_of(block) if block.language == "console" else []:
            where = f"{relative(document)}:{command.line}: {shlex.join(command.words)}"
            if command.words[0] == "cd":
                folder = folder / command.words[1]
            if command.words[0] != "fusegraph":
                continue
            done = fusegraph(command.words[1:], folder)
            expected = 1 if "error[" in command.shown else 0
            assert done.returncode == expected, f"{where}\n{done.stdout}"
            if command.shown:
                assert matches(command.shown, done.stdout), f"{where}\n{done.stdout}"


@pytest.mark.parametrize("document", documents_with("python"), ids=relative)
def test_shown_python_runs(document: Path, examples: Path) -> None:
    program: list[str] = []
    for block in blocks_of(document):
        if block.language == "python":
            # Blank lines in between, so that a traceback gives the document's own lines.
            program += [""] * (block.line - 1 - len(program)) + block.text.splitlines()
    script = examples / f"{document.stem}.py"
    script.write_text("\n".join(program) + "\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=examples, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("document", documents_with("fuse"), ids=relative)
def test_shown_spaces_check(document: Path, examples: Path) -> None:
    for block in blocks_of(document):
        if block.language == "fuse" and block.text.startswith("fuse 1"):
            file = examples / "shown.fuse"
            file.write_text(block.text, encoding="utf-8")
            done = fusegraph(("check", file.name), examples)
            assert done.returncode == 0, f"{relative(document)}:{block.line}\n{done.stdout}"


@pytest.mark.parametrize("file", module_files(), ids=relative)
def test_docstring_examples_hold(file: Path) -> None:
    if ">>>" not in file.read_text(encoding="utf-8"):
        return
    result = doctest.testmod(importlib.import_module(module_name(file)))
    assert result.attempted > 0
    assert result.failed == 0


def test_blocks_are_found_with_their_lines_unless_marked(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "# Page\n\n```console\n$ fusegraph count a.fuse\n7\n```\n\n"
        "<!-- not run: needs a GPU -->\n```python\nimport nothing_at_all\n```\n",
        encoding="utf-8",
    )
    (block,) = blocks_of(document)
    assert block == Block("console", "$ fusegraph count a.fuse\n7\n", 4)
    assert commands_of(block) == [Command(4, ("fusegraph", "count", "a.fuse"), "7")]


def test_dots_stand_for_lines_and_nothing_else_does() -> None:
    assert matches("a\n...\nd", "a  \nb\nc\nd\n")
    assert not matches("a\nd", "a\nb\nd\n")
    assert not matches("a.c", "abc\n")
