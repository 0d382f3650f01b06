"""The search itself: what it finds, its options, what it refuses."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from fusegraph.compiler.relax import Supernet, relax
from fusegraph.ir.diagnostics import Diagnostic, FusegraphError
from fusegraph.searchers.bm_nas.entropy import openness
from fusegraph.searchers.bm_nas.options import BmNasOptions, within_budget
from fusegraph.searchers.bm_nas.search import BmNasSearch, architecture_of
from fusegraph.searchers.protocol import Epoch
from fusegraph.searchers.registry import make_searcher
from fusegraph.training.containers import read_container, write_container
from fusegraph.training.settings import TrainSettings
from fusegraph.training.tensors import TensorBatches, tensor_batches
from gradient_conformance import EDGES, SETTINGS, STATE, SmallData, drive, run
from searcher_conformance import PROGRESSIVE, space_of

PAIRS = """fuse 1
use "std/bm_nas": linear_glu, concat_fc
space pairs {
  dim N
  let C = 4
  for i in 1..4 { input x[i]: f32[N, C, 2] }
  cell fusion(x: f32[N, C, 2], y: f32[N, C, 2]) -> f32[N, C, 2] {
    s = ?op of {sum, linear_glu, concat_fc}(?left of {x, y}, ?right of {x, y})
    return layer_norm(s)
  }
  c = fusion(?inputs 2 of x[*])
  output logits = linear(flatten(relu(c)), out=4)
}
"""


class TwoOfFour:
    """Four taps, of which the second and the fourth tell one bit each; the others are noise."""

    kind: Literal["single", "multi"] = "single"
    class_names: tuple[str, ...] = ()

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        signs = {name: rng.normal(size=(4, 2)) for name in ("x[2]", "x[4]")}
        self._splits: dict[str, tuple[dict[str, Any], Any]] = {}
        for split, samples in (("train", 320), ("valid", 160)):
            arrays = {f"x[{i}]": rng.normal(size=(samples, 4, 2)) for i in range(1, 5)}
            bits = {name: rng.integers(0, 2, samples) for name in signs}
            for name, sign in signs.items():
                side = (2 * bits[name] - 1)[:, None, None]
                arrays[name] = 0.4 * arrays[name] + side * sign
            self._splits[split] = (arrays, 2 * bits["x[2]"] + bits["x[4]"])

    def source(
        self, split: str, inputs: Iterable[str], *, batch: int, device: torch.device
    ) -> TensorBatches:
        arrays, labels = self._splits[split]
        chosen = {name: arrays[name].astype(np.float32) for name in inputs}
        return tensor_batches(chosen, labels, batch=batch, device=device)

    def positive_weight(self) -> Tensor | None:
        return None


class ManyLabels(SmallData):
    """Labels of three classes of which any number may hold."""

    def __init__(self) -> None:
        super().__init__(kind="multi")

    def source(self, split: str, inputs: Iterable[str], *, batch: int, device: torch.device) -> Any:
        found = super().source(split, inputs, batch=batch, device=device)
        labels = torch.nn.functional.one_hot(found.batches.labels, 3)
        labels[:, 0] = 1
        found.batches = TensorBatches(found.batches.inputs, labels, batch)
        return found

    def positive_weight(self) -> Tensor | None:
        return torch.tensor([1.0, 2.0, 3.0])


def searched(text: str, data: Any, settings: TrainSettings, **options: Any) -> list[Epoch]:
    searcher = make_searcher("bm_nas", space_of(text), options, 0)
    done = [*searcher.begin(data, settings, None)]
    while not searcher.done:
        done.append(searcher.epoch())
    return done


def refusal(text: str, options: dict[str, Any] | None = None) -> Diagnostic:
    with pytest.raises(FusegraphError) as refused:
        make_searcher("bm_nas", space_of(text), options)
    found = refused.value.diagnostics[0]
    assert found.help
    assert found.place
    return found


# ── what it finds ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "options",
    [{}, {"pairs": "slots"}, {"policies": "darts"}, {"alternate": "epoch", "derive": "release"}],
    ids=["paper", "slots", "darts", "release"],
)
def test_it_finds_the_two_inputs_that_tell_something(options: dict[str, Any], seed: int) -> None:
    settings = TrainSettings(batch=32, learning_rate=2e-2, device="cpu", precision="float32")
    searcher = make_searcher(
        "bm_nas", space_of(PAIRS), {"epochs": 6, "arch_learning_rate": 2e-2, **options}, seed
    )
    searcher.begin(TwoOfFour(seed), settings, None)
    epochs = [searcher.epoch() for _ in range(searcher.planned)]
    [best] = searcher.best(1)
    taken = best.genotype.settings["c.inputs"]
    assert sorted(taken) == [1, 3]
    for slot in epochs[-1].event.weights["c.inputs"]:
        assert min(slot[1] + slot[3], 2) > slot[0] + slot[2]


def test_decisions_close_as_the_search_goes_on() -> None:
    settings = TrainSettings(batch=32, learning_rate=2e-2, device="cpu", precision="float32")
    epochs = searched(PAIRS, TwoOfFour(0), settings, epochs=6, arch_learning_rate=5e-2)
    first, last = epochs[0].event.entropies, epochs[-1].event.entropies
    assert sum(last.values()) < sum(first.values()) < len(first)


def test_while_it_warms_up_only_the_weights_learn_and_nothing_is_chosen() -> None:
    settings = TrainSettings(batch=32, learning_rate=2e-2, device="cpu", precision="float32")
    options = {"epochs": 4, "warmup": 2, "arch_learning_rate": 5e-2}
    searcher = make_searcher("bm_nas", space_of(PAIRS), options, 0)
    searcher.begin(TwoOfFour(0), settings, None)
    first, second, third, _ = [searcher.epoch().event for _ in range(4)]
    assert first.weights == second.weights != third.weights
    assert first.train_loss > second.train_loss
    assert (first.arch_loss, second.arch_loss) == (None, None)
    assert third.arch_loss is not None
    assert [first.best, second.best, third.best] == [False, False, True]
    assert min(scored.trial for scored in searcher.best(9)) >= 2


# ── options ──────────────────────────────────────────────────────────────────────────────────────


def supernet_of(text: str, **options: Any) -> Supernet:
    return relax(space_of(text), BmNasOptions(**options).relaxation)


def test_policies_pairs_and_rules_are_those_of_the_supernet() -> None:
    usual = supernet_of(PAIRS).relaxed
    assert (usual["c.inputs"].policy, usual["c.inputs"].slots) == ("gate", 1)
    assert usual["c.s.op"].policy == "softmax"
    darts = supernet_of(PAIRS, policies="darts").relaxed
    assert {r.policy for r in darts.values()} == {"softmax"}
    assert darts["c.inputs"].slots == 2
    assert supernet_of(PAIRS, pairs="slots").relaxed["c.inputs"].slots == 2
    edges = supernet_of(PAIRS, policies="assemblenet").relaxed
    assert edges["c.inputs"].policy == "sigmoid"
    ruled = supernet_of(PAIRS, rules=("*.op = sigmoid", "inputs=softmax")).relaxed
    assert (ruled["c.s.op"].policy, ruled["c.inputs"].policy) == ("sigmoid", "softmax")
    assert ruled["c.s.left"].policy == "gate"


def test_a_budget_is_a_number_of_epochs() -> None:
    assert within_budget(space_of(EDGES), {"policies": "darts"}, 5) == {
        "policies": "darts",
        "epochs": 5,
    }
    assert make_searcher("bm_nas", space_of(EDGES), {"epochs": 9}, budget=4).planned == 4


def test_the_weights_follow_the_settings_of_candidates_but_for_epochs_and_schedule() -> None:
    settings = SETTINGS.model_copy(update={"epochs": 1, "learning_rate": 1e-2})
    rates = [e.event.learning_rate for e in searched(EDGES, SmallData(), settings, epochs=4)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1 * rates[0] < 0.1 * 1e-2
    constant = TrainSettings(**{**settings.model_dump(), "schedule": "constant"})
    rates = [e.event.learning_rate for e in searched(EDGES, SmallData(), constant, epochs=3)]
    assert rates == [1e-2] * 3


def test_a_batch_may_be_larger_than_the_data() -> None:
    settings = SETTINGS.model_copy(update={"batch": 500})
    [epoch] = searched(EDGES, SmallData(), settings, epochs=1)
    assert epoch.event.epochs == 1


@pytest.mark.parametrize("text", [PAIRS, EDGES])
def test_half_precision_is_searched_in_where_it_is_asked_for(text: str) -> None:
    data: Any = TwoOfFour(0) if text == PAIRS else SmallData()
    losses: dict[str, float] = {}
    for precision in ("auto", "float32", "bfloat16"):
        settings = SETTINGS.model_copy(update={"precision": precision})
        losses[precision] = searched(text, data, settings, epochs=1)[0].event.train_loss
    assert losses["auto"] == losses["float32"] != losses["bfloat16"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)


@pytest.mark.parametrize("metric", ["accuracy", "weighted_f1", "macro_f1", "loss"])
def test_multi_label_data_is_searched_by_its_metrics(metric: str) -> None:
    settings = SETTINGS.model_copy(update={"metric": metric})
    [epoch] = searched(EDGES, ManyLabels(), settings, epochs=1)
    event = epoch.event
    if metric == "loss":
        assert event.valid_score == -event.valid_loss
    else:
        assert 0 <= event.valid_score <= 1


@pytest.mark.parametrize(
    ("weights", "expected"),
    [((1.0, 0.0), 0.0), ((0.5, 0.5), 1.0), ((0.25,) * 4, 1.0), ((1.0,), 0.0)],
)
def test_the_entropy_of_competing_candidates_is_between_nothing_and_one(
    weights: tuple[float, ...], expected: float
) -> None:
    assert openness("softmax", [weights]) == pytest.approx(expected)


def test_the_entropy_of_gates_is_the_mean_of_each() -> None:
    half = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    assert openness("gate", [(0.5, 0.9, 1.0)]) == pytest.approx((1 + half) / 3)
    assert openness("sigmoid", [(0.5, 0.5), (0.0, 1.0)]) == pytest.approx(0.5)


# ── what it refuses ──────────────────────────────────────────────────────────────────────────────


def test_a_space_that_cannot_be_relaxed_is_refused_with_the_sizes() -> None:
    found = refusal(PROGRESSIVE)
    assert found.code == "E506"
    assert any("x[2]" in note for note in found.notes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "is at least 1, not 0"),
        ({"arch_learning_rate": 0}, "is above 0, not 0.0"),
        ({"arch_betas": [0.5]}, "is two numbers from 0 to below 1, not [0.5]"),
        ({"arch_betas": [0.5, 1.0]}, "not [0.5, 1.0]"),
        ({"rules": ["*.op"]}, "a rule is `PATTERN = softmax | gate | sigmoid`, not `*.op`"),
        ({"rules": ["*.op = soft"]}, "not `*.op = soft`"),
        ({"rules": ["depth = gate"]}, "has `depth`, which fits no decision of `edges`"),
        ({"policies": "dart"}, "takes one of"),
        ({"epoch": 3}, "has no option `epoch`"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], words: str) -> None:
    found = refusal(EDGES, options)
    assert found.code == "E802"
    assert words in found.message


def test_an_architecture_that_is_not_finite_is_said_to_diverge() -> None:
    from fusegraph.backends.torch.supernet import lower_supernet

    supernet = supernet_of(PAIRS)
    module = lower_supernet(supernet, 0)
    key = next(iter(supernet.architecture))
    assert supernet.architecture[key].shape == (4, 2)
    module.set_architecture({key: ((math.nan, 0.0),) * 4})
    with pytest.raises(FusegraphError, match=r"E701.*architecture diverged"):
        architecture_of(module, supernet)


def test_a_supernet_that_diverges_later_names_the_best_epoch_so_far() -> None:
    data = SmallData()
    searcher = BmNasSearch(space_of(EDGES), BmNasOptions(epochs=3), 0)
    searcher.begin(data, SETTINGS, None)
    searcher.epoch()
    data.poisoned = True
    with pytest.raises(FusegraphError) as refused:
        searcher.epoch()
    [found] = refused.value.diagnostics
    assert found.code == "E701"
    assert found.place == "epoch 2, batch 1"
    assert any("chosen so far is that of epoch 1, " in note for note in found.notes)


# ── the state file ───────────────────────────────────────────────────────────────────────────────


def _changed(file: Path, change: Any) -> None:
    header, tensors = read_container(file, "a state")
    change(header, tensors)
    write_container(file, header, tensors)


def _setting(header: Any, tensors: Any) -> None:
    header["epochs"][0]["settings"]["two"] = [7, 8]


def _key(header: Any, tensors: Any) -> None:
    header["epochs"][0]["settings"]["nobody"] = [0]


def _digest(header: Any, tensors: Any) -> None:
    header["epochs"][0]["event"]["digest"] = "0" * 12


def _order(header: Any, tensors: Any) -> None:
    header["epochs"].reverse()


def _type(header: Any, tensors: Any) -> None:
    header["epochs"][0]["event"]["valid_score"] = "high"


def _holds(header: Any, tensors: Any) -> None:
    header["holds"] = "training state"


def _weight(header: Any, tensors: Any) -> None:
    del tensors[next(name for name in tensors if name.startswith("now/"))]


def _moment(header: Any, tensors: Any) -> None:
    name = next(name for name in tensors if name.startswith("weights/0/exp_avg"))
    tensors[name] = torch.zeros(3, 3, 3)


def _index(header: Any, tensors: Any) -> None:
    tensors["architecture/x/step"] = torch.zeros(())


@pytest.mark.parametrize(
    "change", [_setting, _key, _digest, _order, _type, _holds, _weight, _moment, _index]
)
def test_a_state_that_someone_changed_is_refused(tmp_path: Path, change: Any) -> None:
    searcher = make_searcher("bm_nas", space_of(EDGES), {"epochs": 2}, 0)
    run(searcher, tmp_path)
    _changed(tmp_path / STATE, change)
    again = make_searcher("bm_nas", space_of(EDGES), {"epochs": 2}, 0)
    with pytest.raises(FusegraphError) as refused:
        again.begin(SmallData(), SETTINGS, tmp_path / STATE)
    [found] = refused.value.diagnostics
    assert found.code == "E702"
    assert found.help


def test_what_a_trial_of_the_same_genotype_scored_best_counts() -> None:
    searcher = make_searcher("bm_nas", space_of(EDGES), {"epochs": 3}, 1)
    epochs = drive(searcher)
    assert len(searcher.best(99)) == len({e.genotype.digest for e in epochs})
