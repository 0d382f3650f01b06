"""Networks trained side by side end as `fit` trains each by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from fusegraph.backends.torch import lower
from fusegraph.compiler.explore import sample
from fusegraph.compiler.pipeline import network
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import loads
from fusegraph.ir.graph import Graph
from fusegraph.training import side_by_side
from fusegraph.training import trainees as trainees_module
from fusegraph.training.events import EpochEnded, TrainingEnded, TrainingEvent
from fusegraph.training.loop import FitResult, fit
from fusegraph.training.losses import Kind
from fusegraph.training.settings import TrainSettings
from fusegraph.training.side_by_side import Trained, Trainee, fit_side_by_side
from fusegraph.training.steps import Diverged
from fusegraph.training.tensors import TensorBatches

SPACE = """fuse 1
space small {
  dim N
  for i in 1..3 { input x[i]: f32[N, 3 * i] }
  h[1] = ?a of {relu, sigmoid}(linear(concat(?x of x[*], ?y of x[*]), out=5))
  h[2] = ?b of {relu, tanh}(batch_norm(linear(concat(?z of x[*], h[1]), out=5)))
  output logits = linear(?depth of h[*], out=4)
}
"""
ROOMY = TrainSettings(epochs=2, batch=8, learning_rate=1e-2, device="cpu", seed=5)


def networks(many: int = 4, text: str = SPACE, seed: int = 0) -> list[Graph]:
    space, rng = loads(text).graph, Random(seed)
    return [network(space, sample(space, rng)) for _ in range(many)]


def split(samples: int, seed: int, kind: Kind = "single", batch: int = 8) -> TensorBatches:
    generator = torch.Generator().manual_seed(seed)
    inputs = {
        f"x[{i}]": torch.randn(samples, 3 * i, generator=generator, dtype=torch.float64)
        for i in (1, 2, 3)
    }
    shape = (samples,) if kind == "single" else (samples, 4)
    labels = torch.randint(4 if kind == "single" else 2, shape, generator=generator)
    return TensorBatches(inputs, labels, batch)


TRAIN, VALID = split(43, 0), split(21, 1)


def trainees(graphs: Sequence[Graph]) -> list[Trainee]:
    """In float64, each from a start of its own."""
    return [Trainee(g, lower(g, k).double().state_dict(), k) for k, g in enumerate(graphs)]


def alone(
    trainee: Trainee,
    train: TensorBatches,
    valid: TensorBatches,
    settings: TrainSettings,
    **options: Any,
) -> tuple[FitResult, dict[str, Tensor]]:
    """What `fit` makes of it."""
    module = lower(trainee.network).double()
    assert trainee.weights is not None
    module.load_state_dict(dict(trainee.weights))
    names = list(module.parameter_names)
    result = fit(
        module, train, valid, settings, forward=lambda m, i: m(*[i[n] for n in names]), **options
    )
    return result, module.state_dict()


def same_numbers(one: FitResult, other: FitResult) -> None:
    assert (one.best_epoch, one.early, len(one.history)) == (
        other.best_epoch,
        other.early,
        len(other.history),
    )
    for a, b in zip(one.history, other.history, strict=True):
        assert (a.epoch, a.epochs, a.best, a.learning_rate) == (
            b.epoch,
            b.epochs,
            b.best,
            b.learning_rate,
        )
        assert math.isclose(a.train_loss, b.train_loss, rel_tol=1e-7)
        assert math.isclose(a.valid_loss, b.valid_loss, rel_tol=1e-7)
        assert math.isclose(a.score, b.score, rel_tol=1e-7)


def same_weights(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-7)


def same_as_alone(
    settings: TrainSettings,
    train: TensorBatches = TRAIN,
    valid: TensorBatches = VALID,
    graphs: Sequence[Graph] = (),
    **options: Any,
) -> list[Trained]:
    given = trainees(graphs or networks())
    found = fit_side_by_side(given, train, valid, settings, order_seed=9, **options)
    for trainee, trained in zip(given, found, strict=True):
        result, weights = alone(trainee, train, valid, settings, order_seed=9, **options)
        assert trained.failure is None
        assert trained.result is not None
        same_numbers(trained.result, result)
        same_weights(trained.weights, weights)
    return found


SETTINGS: dict[str, dict[str, Any]] = {
    "adam": {},
    "adamw": {"optimiser": "adamw", "weight_decay": 0.1, "schedule": "cosine"},
    "sgd": {"optimiser": "sgd", "schedule": "constant", "betas": (0.8, 0.9)},
    "sgd without momentum": {"optimiser": "sgd", "momentum": 0.0, "schedule_step": "epoch"},
    "label smoothing": {"label_smoothing": 0.2},
    "a short norm": {"gradient_clip": 0.05, "optimiser": "sgd"},
    "the loss": {"metric": "loss", "epochs": 4},
}


@pytest.mark.parametrize("name", list(SETTINGS))
def test_each_ends_as_if_trained_by_itself(name: str) -> None:
    same_as_alone(ROOMY.model_copy(update=SETTINGS[name]))


@pytest.mark.parametrize("positive_weight", [None, torch.tensor([1.0, 2.0, 0.5, 3.0])])
def test_several_labels_a_sample(positive_weight: Tensor | None) -> None:
    settings = ROOMY.model_copy(update={"metric": "loss", "label_smoothing": 0.1})
    same_as_alone(
        settings,
        split(43, 0, "multi"),
        split(21, 1, "multi"),
        kind="multi",
        positive_weight=positive_weight,
    )


def test_patience_is_that_of_each() -> None:
    settings = ROOMY.model_copy(
        update={"epochs": 20, "patience": 2, "learning_rate": 0.02, "metric": "loss"}
    )
    found = same_as_alone(settings, graphs=networks(6))
    lengths = {len(each.result.history) for each in found if each.result}
    assert len(lengths) > 2  # some went on when others, then half of all, had ended


def broken(given: Sequence[Trainee], place: int, value: float) -> list[Trainee]:
    """One of them starts from this number everywhere."""
    one = given[place]
    assert one.weights is not None
    weights = {
        n: torch.full_like(v, value) if n.endswith("weight") else v for n, v in one.weights.items()
    }
    return [*given[:place], Trainee(one.network, weights, one.seed), *given[place + 1 :]]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_that_diverges_disturbs_no_other(value: float) -> None:
    settings = ROOMY.model_copy(update={"gradient_clip": 1.0})
    given = broken(trainees(networks()), 1, value)
    found = fit_side_by_side(given, TRAIN, VALID, settings, order_seed=9)
    failure = found[1].failure
    assert isinstance(failure, Diverged)
    assert (failure.epoch, failure.batch) == (1, 1)
    assert found[1].result is None
    assert not found[1].weights
    for place in (0, 2, 3):
        result, weights = alone(given[place], TRAIN, VALID, settings, order_seed=9)
        trained = found[place]
        assert trained.result is not None
        same_numbers(trained.result, result)
        same_weights(trained.weights, weights)


EXPLOSIVE = """fuse 1
space explosive {
  dim N
  input x[1]: f32[N, 3]
  input x[2]: f32[N, 6]
  output logits = linear(?act of {exp, tanh}(linear(?x of x[*], out=4)), out=4)
}
"""


def test_it_is_told_in_which_batch_one_diverged() -> None:
    settings = TrainSettings(
        epochs=3, batch=8, optimiser="sgd", learning_rate=2.0, schedule="constant", device="cpu"
    )
    space = loads(EXPLOSIVE).graph
    four = [{"logits.act": (a,), "logits.x": (x,)} for a in (0, 1) for x in (0, 1)]
    graphs = [network(space, settings_of_one) for settings_of_one in four]
    given = trainees(graphs)
    found = fit_side_by_side(given, TRAIN, VALID, settings, order_seed=9)
    for trainee, trained in zip(given, found, strict=True):
        if isinstance(trained.failure, Diverged):
            with pytest.raises(Diverged) as raised:
                alone(trainee, TRAIN, VALID, settings, order_seed=9)
            found_at = (trained.failure.epoch, trained.failure.batch)
            assert found_at == (raised.value.epoch, raised.value.batch)
        else:
            result, _ = alone(trainee, TRAIN, VALID, settings, order_seed=9)
            assert trained.result is not None
            same_numbers(trained.result, result)
    assert {each.failure is None for each in found} == {True, False}


def test_weights_that_are_not_given_start_as_the_seed_says() -> None:
    (one, *_) = networks(1)
    classifier = {"logits.weight": torch.zeros(4, 5), "logits.bias": torch.ones(4)}
    data = TensorBatches({n: v.float() for n, v in TRAIN.inputs.items()}, TRAIN.labels, 8)
    whole = {**lower(one, 3).state_dict(), **classifier}
    settings = ROOMY.model_copy(update={"epochs": 1})
    found = fit_side_by_side(
        [Trainee(one, classifier, 3), Trainee(one, whole, 3)], data, data, settings
    )
    for name, value in found[0].weights.items():
        torch.testing.assert_close(value, found[1].weights[name])


DROPPING = SPACE.replace("concat(?z", "dropout(concat(?z").replace("h[1]), out=5", "h[1])), out=5")


def test_dropout_repeats_itself_and_leaves_the_caller_alone() -> None:
    given = trainees(networks(3, DROPPING))
    torch.manual_seed(1)
    first = fit_side_by_side(given, TRAIN, VALID, ROOMY)
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))
    second = fit_side_by_side(given, TRAIN, VALID, ROOMY)
    other = fit_side_by_side(given, TRAIN, VALID, ROOMY.model_copy(update={"seed": 6}))
    assert all(
        torch.equal(a.weights[n], b.weights[n])
        for a, b in zip(first, second, strict=True)
        for n in a.weights
    )
    assert any(
        not torch.equal(a.weights[n], b.weights[n])
        for a, b in zip(first, other, strict=True)
        for n in a.weights
    )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many networks each program has."""
    counts: list[int] = []
    joint = side_by_side.Joint

    def counted(graphs: Sequence[Graph], *rest: Any) -> Any:
        counts.append(len(graphs))
        return joint(graphs, *rest)

    monkeypatch.setattr(side_by_side, "Joint", counted)
    return counts


def test_many_networks_are_several_programs(
    made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    same_as_alone(ROOMY)
    assert made == [4]
    made.clear()
    monkeypatch.setattr(trainees_module, "MOST_BYTES", 8 * 4 * 100)
    same_as_alone(ROOMY)
    assert sum(made) <= 4
    assert max(made, default=1) < 4


def test_networks_whose_inputs_disagree_are_several_programs(made: list[int]) -> None:
    wide = SPACE.replace("3 * i", "6 * i")
    graphs = [*networks(2), *networks(1, wide)]
    found = fit_side_by_side(trainees(graphs), TRAIN, VALID, ROOMY)
    assert made == [2]
    assert [each.failure is None for each in found[:2]] == [True, True]
    assert isinstance(found[2].failure, FusegraphError)
    assert found[2].failure.diagnostics[0].code == "E708"


def test_one_that_torch_refuses_is_found_by_halving(made: list[int]) -> None:
    graphs = [*networks(4), *networks(1, SPACE.replace("3 * i", "4 + 2 * i").replace("x[", "z["))]
    inputs = {**TRAIN.inputs, **{f"z[{i}]": TRAIN.inputs["x[1]"] for i in (1, 2, 3)}}
    data = TensorBatches(inputs, TRAIN.labels, 8)
    found = fit_side_by_side(trainees(graphs), data, data, ROOMY)
    assert [each.failure is None for each in found] == [True] * 4 + [False]
    assert made == [5, 2, 3, 2]


def test_labels_that_do_not_fit_are_the_failure_of_each() -> None:
    data = TensorBatches(TRAIN.inputs, TRAIN.labels + 1, 8)
    found = fit_side_by_side(trainees(networks()), data, VALID, ROOMY)
    failures = [each.failure for each in found if isinstance(each.failure, FusegraphError)]
    codes = [failure.diagnostics[0].code for failure in failures]
    assert codes == ["E706"] * 4


def test_a_network_that_cannot_be_lowered_fails_by_itself() -> None:
    text = SPACE.replace("output logits =", "output other = h[1]\n  output more =")
    found = fit_side_by_side(
        [*trainees(networks(2)), *trainees(networks(1, text))], TRAIN, VALID, ROOMY
    )
    assert [each.failure is None for each in found] == [True, True, False]
    assert isinstance(found[2].failure, FusegraphError)
    assert found[2].failure.diagnostics[0].code == "E704"


def test_events_tell_of_each() -> None:
    told: list[tuple[int, TrainingEvent]] = []
    found = fit_side_by_side(
        trainees(networks(3)), TRAIN, VALID, ROOMY, on_event=lambda *event: told.append(event)
    )
    for place, trained in enumerate(found):
        mine = [event for at, event in told if at == place]
        assert trained.result is not None
        assert [e for e in mine if isinstance(e, EpochEnded)] == list(trained.result.history)
        assert isinstance(mine[-1], TrainingEnded)
        assert mine[-1].best_score == trained.result.best_score
    assert fit_side_by_side([], TRAIN, VALID, ROOMY) == []


def test_no_epoch_is_told_twice_where_a_program_fails_in_its_middle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, steps = side_by_side.Joint.step, list[int]()

    def failing_once(joint: Any, losses: Tensor, rate: float) -> None:
        steps.append(joint.count)
        if len(steps) == 8:  # in the second epoch
            raise torch.OutOfMemoryError("CUDA out of memory")
        real(joint, losses, rate)

    monkeypatch.setattr(side_by_side.Joint, "step", failing_once)
    told: list[tuple[int, TrainingEvent]] = []
    fit_side_by_side(
        trainees(networks(4)), TRAIN, VALID, ROOMY, on_event=lambda *event: told.append(event)
    )
    assert set(steps) == {4, 2}
    for place in range(4):
        mine = [e.epoch for at, e in told if at == place and isinstance(e, EpochEnded)]
        assert mine == [1, 2]


def test_an_error_of_who_is_told_surfaces(made: list[int]) -> None:
    def broken(place: int, event: TrainingEvent) -> None:
        raise RuntimeError("a fault of who listens")

    with pytest.raises(RuntimeError, match="who listens"):
        fit_side_by_side(trainees(networks(4)), TRAIN, VALID, ROOMY, on_event=broken)
    assert made == [4]


def test_a_network_without_weights_is_scored_among_the_others() -> None:
    text = """fuse 1
space late {
  dim N
  input x[1]: f32[N, 3]
  input x[2]: f32[N, 6]
  output logits = ?op of {linear(x[1], out=3), x[1]}
}
"""
    space = loads(text).graph
    graphs = [network(space, {"logits.op": (place,)}) for place in (0, 1)]
    data = TensorBatches(TRAIN.inputs, TRAIN.labels % 3, 8)
    same_as_alone(ROOMY, data, data, graphs)
