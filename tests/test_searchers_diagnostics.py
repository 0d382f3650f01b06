"""Every error of the searchers as a person reads it, and as its page shows it.

The golden files are in `golden/searchers/`. After a change that is meant,
`python tests/test_searchers_diagnostics.py` writes them again; read the difference before it is
kept.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from fusegraph.ir.diagnostics import FusegraphError, explain, render
from fusegraph.searchers.driver import run_search
from fusegraph.searchers.lease import Lease
from fusegraph.searchers.protocol import Evaluation, Inherited, Proposal
from fusegraph.searchers.registry import make_searcher
from fusegraph.searchers.store import JOURNAL, TrialStore
from gradient_conformance import SETTLED
from repository import ROOT
from searcher_conformance import FLAT, PROGRESSIVE, CheapEvaluator, space_of

GOLDEN = ROOT / "tests" / "golden" / "searchers"
FOLDER = Path("runs/first")

UNLIKE = """fuse 1
space unlike {
  dim N
  for i in 1..3 { input x[i]: f32[N, 4] }
  h[1] = linear(?x of x[*], out=4)
  for l in 2..3 { h[l] = ?act of {relu, tanh}(linear(concat(?x of x[*], h[l - 1]), out=4)) }
  output logits = linear(?layers of h[*], out=3)
}
"""

MANY = """fuse 1
space many {
  dim N
  for i in 1..16 { input x[i]: f32[N, 4] }
  output logits = linear(concat(?inputs 6 of x[*]), out=3)
}
"""


class Loss:
    """An evaluator that scores by something other than an accuracy."""

    def evaluate(self, proposal: Proposal, inherited: Inherited) -> Evaluation:
        return Evaluation(-1.25)


def _search(
    seed: int = 0, name: Literal["random", "mfas"] = "random", evaluator: Any = None
) -> TrialStore:
    space, store = space_of(PROGRESSIVE), TrialStore.open(FOLDER)
    options = {"trials": 4} if name == "random" else {"surrogate_epochs": 1}
    searcher = make_searcher(name, space, options, seed)
    run_search(space, searcher, evaluator or CheapEvaluator(), store)
    return store


def _other_seed() -> None:
    _search(seed=0)
    _search(seed=1)


def _taken() -> None:
    other = Lease("another-host", 4711, "", time.time())
    store = TrialStore.open(FOLDER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lease, "mine", classmethod(lambda _: other))
        patch.setattr("fusegraph.searchers.store._now", lambda: "2026-01-31T12:00:00.000+00:00")
        store.claim("search", 0, "0123456789ab", "h[1].act = relu")
    _search()


def _damaged() -> None:
    _search()
    journal = FOLDER / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], b"{nonsense\n", *lines[3:]]))
    _search()


def _weights_gone() -> None:
    store = _search(name="mfas")
    store.weights_path("search", 2).unlink()
    _search(name="mfas")


def _changed_by_hand() -> None:
    digest = _search().trials()[2].digest
    journal = FOLDER / JOURNAL
    journal.write_bytes(journal.read_bytes().replace(digest.encode(), b"0123456789ab"))
    _search()


CASES: dict[str, Callable[[], object]] = {
    "E801": lambda: make_searcher("mfsa", space_of(PROGRESSIVE)),
    "E802": lambda: make_searcher("mfas", space_of(PROGRESSIVE), {"candidate": 10}),
    "E803": lambda: make_searcher("mfas", space_of(FLAT)),
    "E804": lambda: make_searcher("mfas", space_of(UNLIKE)),
    "E805": _other_seed,
    "E806": lambda: TrialStore.open(FOLDER, read_only=True),
    "E807": _taken,
    "E808": _damaged,
    "E809": _weights_gone,
    "E810": lambda: _search(name="mfas", evaluator=Loss()),
    "E811": _changed_by_hand,
    "E812": lambda: make_searcher("mfas", space_of(PROGRESSIVE), budget=5),
    "E813": lambda: make_searcher("bm_nas", space_of(SETTLED)),
    "E814": lambda: make_searcher("parsec", space_of(MANY)),
}


def _printed(code: str, folder: Path) -> str:
    before = Path.cwd()
    os.chdir(folder)
    try:
        CASES[code]()
    except FusegraphError as error:
        # The digest of a genotype changes with the canonical form of its space.
        return re.sub(r"asks for [0-9a-f]{12}", "asks for 89abcdef0123", render(error.diagnostics))
    finally:
        os.chdir(before)
    raise AssertionError(f"{code}: nothing was wrong")


def _one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("code", CASES)
def test_an_error_reads_as_its_golden_file(code: str, tmp_path: Path) -> None:
    printed = _printed(code, tmp_path)
    assert f"error[{code}]" in printed
    assert "help: " in printed
    assert printed == (GOLDEN / f"{code}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", CASES)
def test_the_message_that_a_page_shows_is_the_one_that_is_printed(code: str) -> None:
    page = explain(code)
    assert page is not None
    shown = re.search(r"```text\n(error.*?)\n```", page, re.DOTALL)
    assert shown is not None
    golden = (GOLDEN / f"{code}.txt").read_text(encoding="utf-8")
    assert _one_line(shown[1]) == _one_line(golden)


def test_every_code_of_the_searchers_has_a_golden_file() -> None:
    # The supernet of a gradient-based searcher trains, and has codes of training besides.
    used: set[str] = set()
    for file in (ROOT / "searchers").rglob("*.py"):
        used |= set(re.findall(r'"(E8\d{2})"', file.read_text(encoding="utf-8")))
    assert used == CASES.keys() == {file.stem for file in GOLDEN.glob("*.txt")}


def _write_golden_files() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for code in CASES:
        with tempfile.TemporaryDirectory() as folder:
            (GOLDEN / f"{code}.txt").write_text(_printed(code, Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    _write_golden_files()
