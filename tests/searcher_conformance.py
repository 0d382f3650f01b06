"""What every searcher must do, whatever its algorithm: inherit `SearcherConformance` and say which.

    class TestMine(SearcherConformance):
        name = "mine"
        options = {"trials": 12}
        exhaustive = {"trials": 1000}

The evaluator of these tests costs nothing, yet is as sensitive as a real one: its score depends on
the genotype, on the seed, and on every weight that it inherits, so that a search that is resumed
with one thing out of place ends elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from fusegraph.compiler.count import count
from fusegraph.compiler.explore import complete, enumerate_genotypes
from fusegraph.compiler.requirements import satisfied
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.diagnostics import Diagnostic, FusegraphError
from fusegraph.ir.dsl import loads
from fusegraph.ir.genotype import Genotype
from fusegraph.ir.graph import Graph
from fusegraph.searchers.driver import Outcome, run_search
from fusegraph.searchers.protocol import (
    Evaluation,
    Inherited,
    Proposal,
    Searcher,
    TrialResult,
    owns_a_loop,
)
from fusegraph.searchers.registry import make_searcher
from fusegraph.searchers.store import JOURNAL, WEIGHTS, TrialRecord, TrialStore

PROGRESSIVE = """fuse 1
space progressive {
  dim N
  input x[1]: f32[N, 4]
  input x[2]: f32[N, 5]
  input y[1]: f32[N, 6]
  h[1] = ?act of {relu, sigmoid}(linear(concat(?pose of x[*], y[1]), out=4))
  for l in 2..3 {
    h[l] = ?act of {relu, sigmoid}(linear(concat(?pose of x[*], y[1], h[l - 1]), out=4))
  }
  output logits = linear(?layers of h[*], out=3)
}
"""

LIMITED = """fuse 1
space limited {
  dim N
  input x[1]: f32[N, 4]
  input x[2]: f32[N, 60]
  h[1] = ?act of {relu, sigmoid, tanh}(linear(?x of x[*], out=4))
  for l in 2..3 {
    h[l] = ?act of {relu, sigmoid, tanh}(linear(concat(?x of x[*], h[l - 1]), out=4))
  }
  output logits = linear(?layers of h[*], out=3)
  require parameters <= 400
}
"""

FLAT = """fuse 1
space flat {
  dim N
  for i in 1..3 { input x[i]: f32[N, 4] }
  let W = ?w of {4, 8}
  a = ?act of {relu, sigmoid}(linear(?one of x[*], out=W))
  b = relu(linear(concat(?two 2 of x[*]), out=W))
  output logits = linear(?which of {a, b}, out=3)
}
"""

GRAPHS = """fuse 1
space graphs {
  dim N
  for i in 1..2 { input x[i]: f32[N, 4] }
  levels v {
    level 0 width 4 least 2 {
      ?source of { first: linear(x[1], out=width), second: linear(x[2], out=width) }
    }
    level 1 width 4 least 2 { ?act of {relu, tanh}(linear(concat(?from some of v[<1]), out=width)) }
  }
  output logits = linear(concat(v[1][*]), out=3)
}
"""


@cache
def space_of(text: str) -> Graph:
    """The space of a `.fuse` text."""
    return loads(text).graph


def unit(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    digest = blake2b("/".join(map(str, parts)).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


class CheapEvaluator:
    """Trains nothing. Candidates whose digest is unlucky fail, if `failing` is above 0."""

    def __init__(self, failing: float = 0.0, interrupt_at: int = -1) -> None:
        self.failing = failing
        self.interrupt_at = interrupt_at
        self.evaluated: list[int] = []

    def evaluate(self, proposal: Proposal, inherited: Inherited) -> Evaluation:
        if len(self.evaluated) == self.interrupt_at:
            raise KeyboardInterrupt
        self.evaluated.append(proposal.trial)
        if unit("fails", proposal.genotype.digest, proposal.trial) < self.failing:
            raise FusegraphError(Diagnostic("E701", "the loss is NaN"))
        shapes = self.weight_shapes(proposal)
        known = inherited.matching(shapes)
        weights: dict[str, NDArray[np.float32]] = {}
        for name, shape in shapes.items():
            start = known.get(name, np.zeros(shape, np.float32))
            weights[name] = (start * 0.5 + unit(proposal.seed, name)).astype(np.float32)
        total = sum(float(w.mean()) for w in weights.values())
        score = 0.7 * unit(proposal.genotype.digest) + 0.3 * (total % 1.0)
        return Evaluation(score, {"total": total}, weights)

    def weight_shapes(self, proposal: Proposal) -> dict[str, tuple[int, int]]:
        """Shared layers are two or three wide, so that some proposals have one in common; so is
        what children start from.
        """
        return {
            f"{path}.linear.weight": (2, 2 + (unit(path, proposal.trial) < 0.5))
            for path in ("body", *[layer.path for layer in proposal.shares])
        }


class CheapWaveEvaluator(CheapEvaluator):
    """As `CheapEvaluator`, many at once; what a candidate ends with depends on its company by
    rounding, as in a real program.
    """

    def __init__(self, failing: float = 0.0, interrupt_at: int = -1, together: int = 100) -> None:
        super().__init__(failing, interrupt_at)
        self.together = together
        self.waves: list[list[int]] = []

    def evaluate_together(
        self, proposals: Sequence[Proposal], inherited: Sequence[Inherited]
    ) -> list[Evaluation | Exception]:
        assert 1 < len(proposals) <= self.together
        company = [proposal.trial for proposal in proposals]
        found: list[Evaluation | Exception] = []
        for proposal, weights in zip(proposals, inherited, strict=True):
            try:
                alone = self.evaluate(proposal, weights)
            except FusegraphError as error:
                found.append(error)
                continue
            rounding = 1 + 1e-7 * unit("rounding", company)
            rounded = {n: (w * rounding).astype(np.float32) for n, w in alone.weights.items()}
            found.append(Evaluation(alone.score * rounding, alone.metrics, rounded))
        self.waves.append(company)
        return found


EVALUATORS: Mapping[str, type[CheapEvaluator]] = {
    "one by one": CheapEvaluator,
    "in waves": CheapWaveEvaluator,
}


def cheap_score(proposal: Proposal) -> float:
    """What `CheapEvaluator` gives without shared weights."""
    return unit(proposal.genotype.digest)


def drive(searcher: Searcher, failing: float = 0.0) -> list[tuple[Proposal, TrialResult]]:
    """Ask and tell to the end, without a store."""
    trials: list[tuple[Proposal, TrialResult]] = []
    while not searcher.done:
        asked = searcher.ask()
        results: list[TrialResult] = []
        for proposal in asked.proposals:
            fails = unit("fails", proposal.genotype.digest, proposal.trial) < failing
            score = None if fails else cheap_score(proposal)
            results.append(TrialResult(proposal.trial, score, "diverged" if fails else ""))
        searcher.tell(results)
        trials += zip(asked.proposals, results, strict=True)
        assert len(trials) < 10_000, "the searcher does not end"
    return trials


def genotypes_of(trials: Sequence[tuple[Proposal, TrialResult]]) -> list[Genotype]:
    return [proposal.genotype for proposal, _ in trials]


def table(store: TrialStore) -> list[tuple[int, str, str, float | None, str, Mapping[str, float]]]:
    """What a search leaves behind, without times."""
    return [
        (r.trial, r.digest, r.state, r.score, r.reason, r.metrics) for r in store.trials().values()
    ]


class SearcherConformance:
    """The suite. `spaces` are those that the searcher can handle."""

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]]
    exhaustive: ClassVar[Mapping[str, Any]]
    """Options with which it proposes every genotype of a small space."""
    spaces: ClassVar[Sequence[str]] = (PROGRESSIVE, LIMITED)
    without_duplicates: ClassVar[bool] = False

    def make(self, text: str, seed: int = 0, options: Mapping[str, Any] | None = None) -> Searcher:
        made = make_searcher(self.name, space_of(text), options or self.options, seed)
        assert not owns_a_loop(made)
        return made

    @pytest.fixture(params=range(2))
    def text(self, request: pytest.FixtureRequest) -> str:
        number: int = request.param
        return self.spaces[number]

    # ── proposals ────────────────────────────────────────────────────────────────────────────────

    def test_the_same_seed_gives_the_same_search(self, text: str) -> None:
        assert drive(self.make(text)) == drive(self.make(text))

    def test_another_seed_gives_another_search(self, text: str) -> None:
        searches = {tuple(genotypes_of(drive(self.make(text, seed)))) for seed in range(4)}
        assert len(searches) > 1

    def test_the_global_generators_are_not_used(self, text: str) -> None:
        import random

        expected = drive(self.make(text))
        random.seed(1234)
        np.random.seed(1234)
        state = random.getstate()
        assert drive(self.make(text)) == expected
        assert random.getstate() == state

    def test_every_genotype_is_valid(self, text: str) -> None:
        space = space_of(text)
        for genotype in genotypes_of(drive(self.make(text))):
            assert genotype == complete(space, genotype.settings, _no_default)
            assert satisfied(space, genotype.settings)
            for key, setting in genotype.items:
                assert space.decisions[key].admits(setting)
            assert specialise(space, genotype).settled

    def test_no_genotype_is_proposed_twice_where_that_is_promised(self, text: str) -> None:
        digests = [g.digest for g in genotypes_of(drive(self.make(text)))]
        if self.without_duplicates:
            assert len(set(digests)) == len(digests)

    def test_a_round_holds_no_genotype_twice(self, text: str) -> None:
        rounds: dict[int, list[str]] = {}
        for proposal, _ in drive(self.make(text)):
            rounds.setdefault(proposal.round, []).append(proposal.genotype.digest)
        assert list(rounds) == list(range(len(rounds)))
        for digests in rounds.values():
            assert len(set(digests)) == len(digests) > 0

    def test_enumeration_count_and_support_are_one(self, text: str) -> None:
        space = space_of(text)
        proposed = {g.digest for g in genotypes_of(drive(self.make(text, 0, self.exhaustive)))}
        listed = {g.digest for g in enumerate_genotypes(space)}
        assert proposed == listed
        assert len(listed) == count(space).genotypes

    def test_trials_are_numbered_without_gaps_and_seeded_apart(self, text: str) -> None:
        trials = drive(self.make(text))
        assert [p.trial for p, _ in trials] == list(range(len(trials)))
        assert len({p.seed for p, _ in trials}) == len(trials)

    # ── the timeline ─────────────────────────────────────────────────────────────────────────────

    def test_it_ends_within_its_plan_and_says_why(self, text: str) -> None:
        searcher = self.make(text)
        assert not searcher.done
        assert searcher.ending == ""
        assert len(drive(searcher)) <= searcher.planned
        assert searcher.ending

    def test_asking_twice_gives_the_same_round(self, text: str) -> None:
        searcher = self.make(text)
        assert searcher.ask() is searcher.ask()

    def test_asking_at_the_end_is_a_mistake(self, text: str) -> None:
        searcher = self.make(text)
        drive(searcher)
        with pytest.raises(ValueError, match="done"):
            searcher.ask()

    def test_only_the_results_of_the_round_are_taken(self, text: str) -> None:
        searcher = self.make(text)
        proposals = searcher.ask().proposals
        with pytest.raises(ValueError, match="in their order"):
            searcher.tell([TrialResult(p.trial + 1, 0.5) for p in proposals])
        with pytest.raises(ValueError, match="in their order"):
            searcher.tell([])
        searcher.tell([TrialResult(p.trial, 0.5) for p in proposals])
        with pytest.raises(ValueError, match="in their order"):
            searcher.tell([TrialResult(p.trial, 0.5) for p in proposals])

    def test_best_is_best(self, text: str) -> None:
        searcher = self.make(text)
        assert searcher.best(3) == []
        trials = drive(searcher)
        scores = {p.genotype.digest: r.score for p, r in reversed(trials) if r.score is not None}
        best = searcher.best(3)
        assert [b.score for b in best] == sorted(scores.values(), reverse=True)[:3]
        assert len({b.genotype.digest for b in best}) == len(best)
        for scored in best:
            proposal, result = trials[scored.trial]
            assert (proposal.genotype, result.score) == (scored.genotype, scored.score)

    @pytest.mark.parametrize("failing", [0.3, 1.0])
    def test_failed_trials_are_tolerated(self, text: str, failing: float) -> None:
        searcher = self.make(text)
        trials = drive(searcher, failing)
        assert trials
        failed = {p.trial for p, r in trials if r.score is None}
        assert failed.isdisjoint(b.trial for b in searcher.best(1000))
        assert bool(searcher.best(1)) == (failing < 1.0)

    def test_the_identity_is_json_and_tells_searches_apart(self, text: str) -> None:
        identity = dict(self.make(text, seed=1).identity)
        assert identity == json.loads(json.dumps(identity)) | {"options": identity["options"]}
        assert identity == dict(self.make(text, seed=1).identity)
        assert identity != dict(self.make(text, seed=2).identity)
        assert identity["space"] == space_of(text).digest

    # ── resuming ─────────────────────────────────────────────────────────────────────────────────

    def test_replaying_the_history_gives_the_same_state(self, text: str) -> None:
        whole = drive(self.make(text))
        rounds = sorted({p.round for p, _ in whole})
        for known in rounds:
            resumed = self.make(text)
            for number in range(known):
                resumed.ask()
                resumed.tell([r for p, r in whole if p.round == number])
            assert drive(resumed) == [pair for pair in whole if pair[0].round >= known]

    @pytest.fixture(params=list(EVALUATORS))
    def evaluators(self, request: pytest.FixtureRequest) -> type[CheapEvaluator]:
        name: str = request.param
        return EVALUATORS[name]

    def test_a_run_that_is_killed_at_any_record_resumes_to_the_same_end(
        self,
        evaluators: type[CheapEvaluator],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # What is synced to the disk when is the store's business; here it would take most of the
        # time of some sixty runs.
        monkeypatch.setattr(os, "fsync", lambda _: None)
        text = self.spaces[0]
        expected, whole = self._uninterrupted(text, tmp_path / "whole", evaluators)
        journal = (tmp_path / "whole" / JOURNAL).read_bytes()
        ends = [i + 1 for i, byte in enumerate(journal) if byte == ord("\n")]
        cuts = [0, *ends]
        # The journal is only ever appended to: to be killed is to have a prefix of it, whose last
        # line is whole, or torn anywhere.
        torn = Random(0)
        cuts += [torn.randrange(start + 1, end) for start, end in pairwise(ends[::3])]
        for cut in sorted(set(cuts)):
            folder = tmp_path / f"killed-{cut}"
            _as_it_was(folder, journal[:cut], whole)
            outcome, store = self._run(text, folder, evaluators(0.15))
            assert (outcome.best, outcome.ending) == (expected.best, expected.ending)
            assert table(store) == table(whole)
            _assert_same_weights(store, whole)

    def test_ctrl_c_leaves_a_run_that_can_be_resumed(
        self, text: str, evaluators: type[CheapEvaluator], tmp_path: Path
    ) -> None:
        expected, whole = self._uninterrupted(text, tmp_path / "whole", evaluators)
        for at in range(0, expected.trials, 3):
            folder = tmp_path / f"stopped-{at}"
            stopped, store = self._run(text, folder, evaluators(0.15, interrupt_at=at))
            states = [record.state for record in store.trials().values()]
            assert stopped.interrupted
            assert states.count("claimed") > 0
            assert stopped.trials == len(states) - states.count("claimed") <= at
            again = evaluators(0.15)
            outcome, store = self._run(text, folder, again)
            assert not outcome.interrupted
            assert sorted(again.evaluated) == sorted(set(again.evaluated))
            assert len(again.evaluated) == expected.trials - stopped.trials
            assert outcome.best == expected.best
            assert table(store) == table(whole)

    def test_one_by_one_only_the_candidate_of_a_ctrl_c_is_lost(self, tmp_path: Path) -> None:
        stopped, store = self._run(self.spaces[0], tmp_path, CheapEvaluator(0.15, interrupt_at=3))
        assert stopped.trials == 3
        assert [r.state for r in store.trials().values()].count("claimed") == 1

    def test_a_finished_run_is_not_run_again(
        self, text: str, evaluators: type[CheapEvaluator], tmp_path: Path
    ) -> None:
        expected, _ = self._uninterrupted(text, tmp_path, evaluators)
        again = evaluators()
        outcome, _ = self._run(text, tmp_path, again)
        assert again.evaluated == []
        assert (outcome.best, outcome.trials) == (expected.best, expected.trials)

    # ── waves ────────────────────────────────────────────────────────────────────────────────────

    @pytest.mark.parametrize("together", [3, 100])
    def test_in_waves_a_search_is_what_it_is_one_by_one(
        self, text: str, together: int, tmp_path: Path
    ) -> None:
        expected, whole = self._uninterrupted(text, tmp_path / "one by one", CheapEvaluator)
        evaluator = CheapWaveEvaluator(0.15, together=together)
        outcome, store = self._run(text, tmp_path / "in waves", evaluator)
        assert (outcome.trials, outcome.failed) == (expected.trials, expected.failed)
        assert evaluator.waves
        for ours, theirs in zip(table(store), table(whole), strict=True):
            assert (ours[:3], ours[4]) == (theirs[:3], theirs[4])
            assert (ours[3] or 0.0) == pytest.approx(theirs[3] or 0.0, rel=1e-5)
            assert ours[5] == pytest.approx(theirs[5], rel=1e-5)

    def _uninterrupted(
        self, text: str, folder: Path, evaluators: type[CheapEvaluator]
    ) -> tuple[Outcome, TrialStore]:
        outcome, store = self._run(text, folder, evaluators(0.15))
        assert not outcome.interrupted
        return outcome, store

    def _run(
        self, text: str, folder: Path, evaluator: CheapEvaluator
    ) -> tuple[Outcome, TrialStore]:
        store = TrialStore.open(folder)
        return run_search(space_of(text), self.make(text), evaluator, store), store


def _no_default(decision: object) -> Any:
    raise AssertionError(f"{decision} has no setting")


def _as_it_was(folder: Path, journal: bytes, store: TrialStore) -> None:
    """The folder of a run as it was when its journal was this long."""
    folder.mkdir()
    (folder / WEIGHTS).mkdir()
    (folder / JOURNAL).write_bytes(journal)
    then = TrialStore.open(folder).trials() if b"\n" in journal else {}
    (folder / JOURNAL).write_bytes(journal)
    for trial, record in then.items():
        source = store.weights_path("search", trial)
        if record.state == "complete" and record.has_weights:
            shutil.copy(source, folder / WEIGHTS)
        elif record.state == "claimed":
            # It may have got as far as its weights, of which nothing may remain.
            (folder / WEIGHTS / source.name).write_bytes(b"of a trial that was cut short")


def _assert_same_weights(store: TrialStore, expected: TrialStore) -> None:
    theirs: Mapping[int, TrialRecord] = expected.trials()
    for number, record in store.trials().items():
        ours = store.weights(record)
        for name, array in expected.weights(theirs[number]).items():
            np.testing.assert_array_equal(ours.pop(name), array)
        assert not ours
