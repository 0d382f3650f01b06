"""What every gradient-based searcher must do: inherit `GradientConformance` and say which.

    class TestMine(GradientConformance):
        name = "mine"
        options = {"epochs": 3}

The supernets of these tests are tiny, but real: what a search is resumed to is compared bit by bit.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from fusegraph.backends.torch import lower
from fusegraph.compiler.explore import complete, sample
from fusegraph.compiler.pipeline import network
from fusegraph.compiler.requirements import satisfied
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.pipeline.heads import forward_of
from fusegraph.searchers.driver import Outcome
from fusegraph.searchers.gradient import run_gradient_search
from fusegraph.searchers.lease import Lease
from fusegraph.searchers.protocol import (
    ArchitectureEpoch,
    Epoch,
    Event,
    GradientSearcher,
    Inheriting,
    OnEvent,
    SearchFinished,
    SearchInterrupted,
    TrialFailed,
    TrialFinished,
    owns_a_loop,
)
from fusegraph.searchers.registry import make_searcher
from fusegraph.searchers.store import JOURNAL, TrialStore
from fusegraph.training.batches import Batch
from fusegraph.training.containers import read_container
from fusegraph.training.loop import judge
from fusegraph.training.settings import TrainSettings
from fusegraph.training.tensors import TensorBatches, tensor_batches
from searcher_conformance import space_of, table

EDGES = """fuse 1
space edges {
  dim N
  for i in 1..3 { input x[i]: f32[N, 4] }
  cell step(a: f32[N, 4], b: f32[N, 4]) -> f32[N, 4] {
    return ?op of {sum, mul}(?left of {a, b}, ?right of {a, b})
  }
  c = step(?two 2 of x[*])
  h = dropout(relu(layer_norm(linear(c, out=4))), p=0.2)
  output logits = linear(?which of {c, h}, out=3)
}
"""

LIMITED = """fuse 1
space limited {
  dim N
  for i in 1..2 { input x[i]: f32[N, 4] }
  h[1] = ?act of {relu, tanh}(linear(?x of x[*], out=4))
  for l in 2..3 { h[l] = ?act of {relu, tanh}(linear(concat(?x of x[*], h[l - 1]), out=4)) }
  output logits = linear(?layers of h[*], out=3)
  require parameters <= 80
}
"""

SETTLED = """fuse 1
space settled {
  dim N
  input x[1]: f32[N, 4]
  output logits = linear(x[1], out=3)
}
"""

SETTINGS = TrainSettings(batch=16, learning_rate=3e-2, device="cpu", precision="float32")
STATE = "state.safetensors"


@dataclass
class SmallData:
    """Forty samples to train on and twenty-five to validate, whose labels follow from the inputs.

    `stop_at` raises KeyboardInterrupt once so many batches were read; `read` counts them. Inputs
    that are `poisoned` are NaN.
    """

    width: int = 4
    classes: int = 3
    stop_at: int = -1
    poisoned: bool = False
    read: int = 0
    kind: Literal["single", "multi"] = "single"
    class_names: tuple[str, ...] = field(default=())

    def source(
        self, split: str, inputs: Iterable[str], *, batch: int, device: torch.device
    ) -> CountedBatches:
        rng = np.random.default_rng(len(split))
        samples = {"train": 40, "valid": 25}[split]
        arrays = {f"x[{i}]": rng.normal(size=(samples, self.width)) for i in range(1, 4)}
        labels = np.argmax((arrays["x[1]"] + arrays["x[3]"])[:, : self.classes], axis=1)
        chosen = {name: arrays[name].astype(np.float32) for name in inputs}
        return CountedBatches(self, tensor_batches(chosen, labels, batch=batch, device=device))

    def positive_weight(self) -> Tensor | None:
        return None


@dataclass
class CountedBatches:
    """The batches of a split."""

    data: SmallData
    batches: TensorBatches

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, generator: Generator | None) -> Iterator[Batch]:
        for batch in self.batches.epoch(generator):
            if self.data.read == self.data.stop_at:
                raise KeyboardInterrupt
            self.data.read += 1
            if self.data.poisoned:
                batch = Batch({n: v * torch.nan for n, v in batch.inputs.items()}, batch.labels)
            yield batch


def drive(searcher: GradientSearcher, data: SmallData | None = None) -> list[Epoch]:
    """All epochs, without a store."""
    done = [*searcher.begin(data or SmallData(), SETTINGS, None)]
    while not searcher.done:
        done.append(searcher.epoch())
    return done


def run(
    searcher: GradientSearcher,
    folder: Path,
    data: SmallData | None = None,
    settings: TrainSettings = SETTINGS,
    on_event: OnEvent = lambda event: None,
) -> tuple[Outcome, TrialStore]:
    store = TrialStore.open(folder)
    found = run_gradient_search(
        searcher, data or SmallData(), settings, store, folder / STATE, on_event
    )
    return found, store


def kept(folder: Path) -> tuple[Any, dict[str, Tensor]]:
    """What the state file holds, without times."""
    header, tensors = read_container(folder / STATE, "a state")
    plain: Any = header
    for epoch in plain["epochs"]:
        del epoch["event"]["seconds"], epoch["event"]["restored"]
    return plain, tensors


def assert_same_end(folder: Path, store: TrialStore, other: Path, others: TrialStore) -> None:
    """Trials, epochs, weights, architecture and optimisers, bit by bit."""
    assert table(store) == table(others)
    (header, tensors), (expected, wanted) = kept(folder), kept(other)
    assert header == expected
    assert list(tensors) == list(wanted)
    for name, value in tensors.items():
        assert torch.equal(value, wanted[name]), name


class GradientConformance:
    """The suite. `spaces` are those that the searcher can handle; of some genotypes of the second
    the `require` fails.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]]
    spaces: ClassVar[Sequence[str]] = (EDGES, LIMITED)

    def make(
        self, text: str, seed: int = 0, options: Mapping[str, Any] | None = None
    ) -> GradientSearcher:
        made = make_searcher(self.name, space_of(text), options or self.options, seed)
        assert owns_a_loop(made)
        return made

    @pytest.fixture(params=range(2))
    def text(self, request: pytest.FixtureRequest) -> str:
        number: int = request.param
        return self.spaces[number]

    # ── the timeline ─────────────────────────────────────────────────────────────────────────────

    def test_the_same_seed_gives_the_same_search(self, text: str) -> None:
        assert drive(self.make(text)) == drive(self.make(text))

    def test_another_seed_gives_another_search(self, text: str) -> None:
        first, second = drive(self.make(text)), drive(self.make(text, seed=1))
        assert first[-1].event.weights != second[-1].event.weights

    def test_the_global_generators_are_left_alone(self, text: str) -> None:
        expected = drive(self.make(text))
        torch.manual_seed(1234)
        state = torch.get_rng_state()
        assert drive(self.make(text)) == expected
        assert torch.equal(torch.get_rng_state(), state)

    def test_it_ends_as_planned_and_says_why(self, text: str) -> None:
        searcher = self.make(text)
        assert not searcher.done
        assert searcher.ending == ""
        assert len(drive(searcher)) == searcher.planned
        assert searcher.ending

    def test_epochs_come_after_the_beginning_and_before_the_end(self, text: str) -> None:
        searcher = self.make(text)
        with pytest.raises(ValueError, match="after begin"):
            searcher.epoch()
        drive(searcher)
        with pytest.raises(ValueError, match="done"):
            searcher.epoch()

    def test_the_identity_is_json_and_tells_searches_apart(self, text: str) -> None:
        identity = dict(self.make(text, seed=1).identity)
        json.dumps(identity)
        assert identity == dict(self.make(text, seed=1).identity)
        assert identity != dict(self.make(text, seed=2).identity)
        assert identity["space"] == space_of(text).digest

    # ── what an epoch tells ──────────────────────────────────────────────────────────────────────

    def test_every_genotype_is_one_of_the_space(self, text: str) -> None:
        space = space_of(text)
        for epoch in drive(self.make(text)):
            genotype = epoch.genotype
            assert genotype == complete(space, genotype.settings, _no_default)
            for key, setting in genotype.items:
                assert space.decisions[key].admits(setting)
            assert specialise(space, genotype).settled
            assert (not epoch.event.violated) == satisfied(space, genotype.settings)

    def test_an_epoch_tells_its_genotype_weights_and_entropies(self, text: str) -> None:
        space = space_of(text)
        searcher = self.make(text)
        for number, epoch in enumerate(drive(searcher), start=1):
            event = epoch.event
            assert (event.epoch, event.epochs) == (number, searcher.planned)
            assert event.digest == epoch.genotype.digest
            assert all(f"{key} = " in event.genotype for key in epoch.genotype.settings)
            assert set(event.weights) == set(event.entropies) == set(space.decisions)
            for key, slots in event.weights.items():
                for slot in slots:
                    assert len(slot) == len(space.decisions[key].labels)
                    assert all(0 <= w <= 1 and w == round(w, 6) for w in slot)
            assert all(0 <= entropy <= 1 for entropy in event.entropies.values())
            assert 0 <= event.valid_score <= 1

    @pytest.mark.parametrize("seed", [0, 1])
    def test_best_is_best_and_honours_what_the_space_requires(self, text: str, seed: int) -> None:
        searcher = self.make(text, seed)
        assert searcher.best(3) == []
        epochs = drive(searcher)
        scores: dict[str, float] = {}
        for epoch in epochs:
            if not epoch.event.violated:
                digest, score = epoch.genotype.digest, epoch.event.valid_score
                scores[digest] = max(score, scores.get(digest, 0.0))
        found = searcher.best(1000)
        assert [b.score for b in found] == sorted(scores.values(), reverse=True)
        assert {b.genotype.digest for b in found} == set(scores)
        for scored in found:
            epoch = epochs[scored.trial]
            assert (epoch.genotype, epoch.event.valid_score) == (scored.genotype, scored.score)
        if told := [e.event for e in epochs if e.event.best]:
            assert told[-1].epoch == found[0].trial + 1

    def test_a_network_inherits_the_weights_that_it_was_scored_with(self, text: str) -> None:
        searcher = self.make(text)
        if not isinstance(searcher, Inheriting):
            pytest.skip("its networks share no weights that each could go on with by itself")
        with pytest.raises(ValueError, match="after begin"):
            searcher.weights_of(sample(space_of(text), Random(0)))
        last = drive(searcher)[-1]
        module = lower(network(space_of(text), last.genotype))
        module.load_state_dict(
            {name: torch.from_numpy(w) for name, w in searcher.weights_of(last.genotype).items()}
        )
        names = list(module.parameter_names)
        valid = SmallData().source("valid", names, batch=16, device=torch.device("cpu"))
        loss, score = judge(module, valid, SETTINGS, forward=forward_of(module))
        assert score == last.event.valid_score
        assert loss == pytest.approx(last.event.valid_loss, rel=1e-5)

    # ── the driver and the store ─────────────────────────────────────────────────────────────────

    def test_each_epoch_is_a_trial_and_an_event(self, text: str, tmp_path: Path) -> None:
        events: list[Event] = []
        outcome, store = run(self.make(text), tmp_path, on_event=events.append)
        epochs = [e for e in events if isinstance(e, ArchitectureEpoch)]
        trials = [e for e in events if isinstance(e, TrialFinished | TrialFailed)]
        planned = self.make(text).planned
        assert len(epochs) == len(trials) == len(store.trials()) == outcome.trials == planned
        assert outcome.failed == sum(bool(e.violated) for e in epochs)
        assert not any(e.restored for e in epochs)
        for epoch, record in zip(epochs, store.trials().values(), strict=True):
            assert record.digest == epoch.digest
            assert record.genotype == epoch.genotype
            assert record.state == ("failed" if epoch.violated else "complete")
            assert record.score == (None if epoch.violated else epoch.valid_score)
        assert isinstance(events[-1], SearchFinished)
        assert not outcome.interrupted

    def test_a_run_that_is_killed_anywhere_resumes_to_the_same_end(
        self, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fsync", lambda _: None)
        whole, moments = tmp_path / "whole", tmp_path / "moments"
        moments.mkdir()
        with monkeypatch.context() as patch:
            for name in ("bind", "claim", "complete", "fail"):
                _seen(patch, name, whole, moments)
            expected, store = run(self.make(text), whole)
        folders = sorted(moments.iterdir())
        assert len(folders) > 4 * self.make(text).planned
        for folder in folders:
            outcome, again = run(self.make(text), folder)
            assert (outcome.best, outcome.ending) == (expected.best, expected.ending)
            assert_same_end(folder, again, whole, store)

    def test_ctrl_c_leaves_a_run_that_can_be_resumed(self, text: str, tmp_path: Path) -> None:
        counted = SmallData()
        expected, whole = run(self.make(text), tmp_path / "whole", counted)
        for at in range(0, counted.read, 5):
            folder = tmp_path / f"stopped-{at}"
            events: list[Event] = []
            data = SmallData(stop_at=at)
            stopped, store = run(self.make(text), folder, data, on_event=events.append)
            assert stopped.interrupted
            assert isinstance(events[-1], SearchInterrupted)
            assert stopped.trials == sum(r.state != "claimed" for r in store.trials().values())
            outcome, store = run(self.make(text), folder)
            assert not outcome.interrupted
            assert outcome.best == expected.best
            assert_same_end(folder, store, tmp_path / "whole", whole)

    def test_a_resumed_run_tells_of_the_epochs_before(self, text: str, tmp_path: Path) -> None:
        whole: list[Event] = []
        run(self.make(text), tmp_path, on_event=whole.append)
        again: list[Event] = []
        run(self.make(text), tmp_path, on_event=again.append)
        epochs = [e for e in again if isinstance(e, ArchitectureEpoch)]
        assert epochs == [e for e in whole if isinstance(e, ArchitectureEpoch)]
        assert all(e.restored for e in epochs)

    def test_a_finished_run_is_not_run_again(self, text: str, tmp_path: Path) -> None:
        expected, _ = run(self.make(text), tmp_path)
        unread = SmallData()
        outcome, _ = run(self.make(text), tmp_path, unread)
        assert unread.read == 0
        assert (outcome.best, outcome.trials) == (expected.best, expected.trials)

    def test_a_lost_state_begins_anew_to_the_same_trials(self, text: str, tmp_path: Path) -> None:
        expected, _ = run(self.make(text), tmp_path / "whole")
        shutil.copytree(tmp_path / "whole", tmp_path / "again")
        (tmp_path / "again" / STATE).unlink()
        outcome, _ = run(self.make(text), tmp_path / "again")
        assert outcome.best == expected.best

    # ── what is refused ──────────────────────────────────────────────────────────────────────────

    def test_another_search_does_not_go_on_here(self, text: str, tmp_path: Path) -> None:
        run(self.make(text), tmp_path)
        with pytest.raises(FusegraphError) as refused:
            run(self.make(text, seed=1), tmp_path)
        assert refused.value.diagnostics[0].code == "E805"
        with pytest.raises(FusegraphError) as refused:
            run(self.make(text), tmp_path, settings=SETTINGS.model_copy(update={"batch": 8}))
        [told] = refused.value.diagnostics
        assert told.code == "E705"
        assert "batch: expected 8 as now, found 16" in told.message

    def test_a_search_that_another_process_is_at_is_left_alone(
        self, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = Lease("another-host", 4711, "", time.time())
        with monkeypatch.context() as patch:
            patch.setattr(Lease, "mine", classmethod(lambda _: other))
            TrialStore.open(tmp_path).claim("search", 0, "", "")
        data = SmallData()
        with pytest.raises(FusegraphError) as refused:
            run(self.make(text), tmp_path, data)
        assert refused.value.diagnostics[0].code == "E807"
        assert data.read == 0

    def test_trials_of_a_changed_store_are_refused(self, text: str, tmp_path: Path) -> None:
        run(self.make(text), tmp_path)
        journal = tmp_path / JOURNAL
        [first, *_] = TrialStore.open(tmp_path, read_only=True).trials().values()
        journal.write_text(journal.read_text().replace(first.digest, "0123456789ab"))
        with pytest.raises(FusegraphError) as refused:
            run(self.make(text), tmp_path)
        assert refused.value.diagnostics[0].code == "E811"

    @pytest.mark.parametrize("size", [0, 7, 100, 2000])
    def test_a_torn_state_is_refused(self, text: str, tmp_path: Path, size: int) -> None:
        run(self.make(text), tmp_path)
        file = tmp_path / STATE
        file.write_bytes(file.read_bytes()[:size])
        with pytest.raises(FusegraphError) as refused:
            run(self.make(text), tmp_path)
        assert refused.value.diagnostics[0].code == "E702"

    def test_a_supernet_that_diverges_says_so(self, text: str) -> None:
        with pytest.raises(FusegraphError) as refused:
            drive(self.make(text), SmallData(poisoned=True))
        [told] = refused.value.diagnostics
        assert told.code == "E701"
        assert "epoch 1" in told.place

    def test_a_space_without_open_decisions_is_refused(self) -> None:
        with pytest.raises(FusegraphError) as refused:
            self.make(SETTLED)
        assert refused.value.diagnostics[0].code == "E813"


def _seen(patch: pytest.MonkeyPatch, name: str, folder: Path, moments: Path) -> None:
    """Copy the folder before and after each call of a method of the store."""
    real = getattr(TrialStore, name)

    def called(self: TrialStore, *args: Any, **options: Any) -> Any:
        _copied(folder, moments)
        answer = real(self, *args, **options)
        _copied(folder, moments)
        return answer

    patch.setattr(TrialStore, name, called)


def _copied(folder: Path, moments: Path) -> None:
    if folder.exists():
        shutil.copytree(folder, moments / f"{len(list(moments.iterdir())):03}")


def _no_default(decision: object) -> Any:
    raise AssertionError(f"{decision} is not settled")
