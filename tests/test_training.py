"""Training: losses and metrics against references; runs that repeat, resume and fail well."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import sklearn.metrics
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.training import losses, metrics
from fusegraph.training.checkpoints import (
    CheckpointHeader,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from fusegraph.training.events import EpochEnded, TrainingEnded, TrainingEvent
from fusegraph.training.loop import Diverged, FitResult, fit, predict
from fusegraph.training.schedules import learning_rate
from fusegraph.training.settings import TrainSettings
from fusegraph.training.tensors import TensorBatches, tensor_batches


class Fusion(nn.Module):
    """Two inputs, one hidden layer, dropout and batch norm: all that can go wrong in a resume."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.hidden = nn.Linear(7, 16)
        self.norm = nn.BatchNorm1d(16)
        self.drop = nn.Dropout(0.3)
        self.logits = nn.Linear(16, classes)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        joined = torch.cat([inputs["image[1]"], inputs["audio[1]"]], dim=1)
        return self.logits(self.drop(torch.relu(self.norm(self.hidden(joined)))))


def _network(classes: int = 3) -> Fusion:
    torch.manual_seed(0)
    return Fusion(classes)


def _data(samples: int, seed: int, *, multi: bool = False, batch: int = 16) -> TensorBatches:
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(samples, 4)).astype(np.float32)
    audio = rng.normal(size=(samples, 3)).astype(np.float32)
    scores = np.stack([image[:, 0] + audio[:, 0], image[:, 1], audio[:, 1]], axis=1)
    labels = (scores > 0.5).astype(np.uint8) if multi else scores.argmax(axis=1)
    return tensor_batches({"image[1]": image, "audio[1]": audio}, labels, batch=batch)


def _settings(**changes: Any) -> TrainSettings:
    return TrainSettings.model_validate(
        {"epochs": 6, "batch": 16, "learning_rate": 1e-2, "device": "cpu", **changes}
    )


def _fit(settings: TrainSettings, network: Fusion | None = None, **options: Any) -> FitResult:
    return fit(network or _network(), _data(200, 1), _data(80, 2), settings, **options)


# losses and metrics


def test_multi_label_loss_is_the_mean_of_weighted_binary_cross_entropies() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 4)), rng.integers(0, 2, (50, 4))
    weight = rng.uniform(0.5, 3.0, 4)
    p = 1 / (1 + np.exp(-logits))
    expected = -(weight * labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean()
    loss = losses.multi_label(positive_weight=torch.from_numpy(weight))
    got = loss(torch.from_numpy(logits), torch.from_numpy(labels))
    assert got.item() == pytest.approx(expected)


def test_single_label_loss_is_the_log_loss() -> None:
    rng = np.random.default_rng(0)
    logits, labels = torch.from_numpy(rng.normal(size=(50, 4))), rng.integers(0, 4, 50)
    expected = sklearn.metrics.log_loss(labels, logits.softmax(dim=1).numpy())
    assert losses.single_label()(logits, torch.from_numpy(labels)).item() == pytest.approx(expected)


def test_label_smoothing_of_multi_label_targets_moves_them_towards_a_half() -> None:
    logits, labels = torch.tensor([[2.0, -1.0]]), torch.tensor([[1, 0]])
    smooth = losses.multi_label(label_smoothing=0.2)(logits, labels)
    target = torch.tensor([[0.9, 0.1]])
    expected = nn.functional.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(smooth, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_of_several_networks_are_those_of_each(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 7, 4, generator=generator, dtype=torch.float64)
    one = torch.randint(4, (7,), generator=generator)
    many = torch.randint(2, (7, 4), generator=generator)
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)
    single = losses.single_label(label_smoothing=smoothing)
    multi = losses.multi_label(positive_weight=weight, label_smoothing=smoothing)
    for loss, labels in ((single, one), (multi, many)):
        expected = torch.stack([loss(each, labels) for each in logits])
        torch.testing.assert_close(loss(logits, labels), expected)


def test_balancing_makes_both_sides_of_a_class_weigh_the_same() -> None:
    labels = torch.tensor([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
    torch.testing.assert_close(losses.balance(labels), torch.tensor([3.0, 1.0, 1.0]))


@pytest.mark.parametrize("average", ["weighted", "macro"])
def test_f1_and_accuracy_equal_scikit_learn(average: Literal["weighted", "macro"]) -> None:
    rng = np.random.default_rng(3)
    logits = torch.from_numpy(rng.normal(size=(60, 5)))
    one, many = rng.integers(0, 4, 60), rng.integers(0, 2, (60, 5))  # class 4 never occurs
    chosen, chosen_many = logits.argmax(dim=1).numpy(), (logits > 0).numpy()
    single, multi = torch.from_numpy(one), torch.from_numpy(many)

    def expected(truth: np.ndarray[Any, Any], guess: np.ndarray[Any, Any]) -> float:
        return float(sklearn.metrics.f1_score(truth, guess, average=average))

    assert metrics.f1(logits, single, "single", average) == pytest.approx(expected(one, chosen))
    assert metrics.f1(logits, multi, "multi", average) == pytest.approx(expected(many, chosen_many))
    assert metrics.accuracy(logits, single, "single") == pytest.approx(
        sklearn.metrics.accuracy_score(one, chosen)
    )
    assert metrics.accuracy(logits, multi, "multi") == pytest.approx(
        sklearn.metrics.accuracy_score(many, chosen_many)
    )


def test_top_k_accuracy_equals_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(60, 5)), rng.integers(0, 5, 60)
    for k in (1, 2, 4):
        expected = sklearn.metrics.top_k_accuracy_score(labels, logits, k=k, labels=range(5))
        got = metrics.top_k_accuracy(torch.from_numpy(logits), torch.from_numpy(labels), k)
        assert got == pytest.approx(expected)


def test_top_1_and_k_is_the_sum_of_both() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    labels = torch.tensor([0, 1, 2, 2])
    score = metrics.score_function("top_1_and_k", "single", top_k=2)
    assert score(logits, labels) == pytest.approx(2 / 4 + 3 / 4)


@pytest.mark.parametrize("metric", ["top_k", "top_1_and_k"])
def test_top_k_of_multi_label_data_is_refused(metric: Literal["top_k", "top_1_and_k"]) -> None:
    with pytest.raises(FusegraphError, match="E706"):
        metrics.score_function(metric, "multi")


# schedules


def _torch_rates(settings: TrainSettings, steps: int, scheduler: str) -> list[float]:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=settings.learning_rate)
    end = settings.final_learning_rate
    made: Any = (
        torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, end)
        if scheduler == "cosine"
        else torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, 1, 2, end)
    )
    rates: list[float] = []
    for step in range(steps):
        if scheduler == "warm_restarts":
            made.step(step / 5)
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if scheduler == "cosine":
            made.step()
    return rates


@pytest.mark.parametrize("schedule", ["cosine", "warm_restarts"])
def test_schedules_equal_those_of_torch_step_by_step(schedule: str) -> None:
    settings = _settings(schedule=schedule, epochs=7)
    ours = [learning_rate(settings, epoch, batch, 5) for epoch in range(7) for batch in range(5)]
    assert ours == pytest.approx(_torch_rates(settings, 35, schedule))


def test_an_epoch_schedule_keeps_the_rate_within_an_epoch() -> None:
    settings = _settings(schedule="cosine", schedule_step="epoch")
    assert learning_rate(settings, 2, 4, 5) == learning_rate(settings, 2, 0, 5)
    assert learning_rate(settings, 3, 0, 5) < learning_rate(settings, 2, 4, 5)


# batches


def test_an_epoch_gives_every_sample_once_and_inputs_stay_with_their_labels() -> None:
    source = tensor_batches({"x": np.arange(10, dtype=np.float32)}, np.arange(10), batch=4)
    batches = list(source.epoch(torch.Generator().manual_seed(0)))
    assert [len(b.labels) for b in batches] == [4, 4, 2]
    assert len(source) == 3
    labels = torch.cat([b.labels for b in batches])
    torch.testing.assert_close(torch.cat([b.inputs["x"] for b in batches]), labels.float())
    assert sorted(labels.tolist()) == list(range(10)) != labels.tolist()


@pytest.mark.parametrize(
    ("samples", "batch", "sizes"),
    [(9, 4, [4, 5]), (1, 4, [1]), (5, 4, [5]), (8, 4, [4, 4]), (3, 1, [1, 1, 1])],
)
def test_a_last_sample_that_is_alone_joins_the_batch_before(
    samples: int, batch: int, sizes: list[int]
) -> None:
    source = tensor_batches({"x": np.arange(samples)}, np.arange(samples), batch=batch)
    found = list(source.epoch(torch.Generator().manual_seed(0)))
    assert [len(b.labels) for b in found] == sizes
    assert len(source) == len(sizes)
    assert sorted(torch.cat([b.labels for b in found]).tolist()) == list(range(samples))


def test_inputs_of_another_length_than_the_labels_are_refused() -> None:
    with pytest.raises(FusegraphError, match="`x` has 3 samples: expected 4"):
        tensor_batches({"x": np.zeros((3, 2), dtype=np.float32)}, np.zeros(4), batch=2)
    with pytest.raises(FusegraphError, match="E704"):
        tensor_batches({}, np.zeros(0), batch=2)


# the loop


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_training_learns_and_keeps_the_best_epochs_weights(optimiser: str) -> None:
    network = _network()
    result = _fit(_settings(optimiser=optimiser, epochs=12), network)
    scores = [event.score for event in result.history]
    assert result.best_score == max(scores) > 0.75
    assert result.best_epoch == scores.index(max(scores)) + 1
    logits, labels = predict(network, _data(80, 2))
    assert metrics.accuracy(logits, labels, "single") == result.best_score
    assert not network.training


def test_multi_label_training_with_balanced_classes_learns() -> None:
    train = _data(200, 1, multi=True)
    settings = _settings(metric="weighted_f1", epochs=12)
    weight = losses.balance(train.labels)
    result = fit(
        _network(), train, _data(80, 2, multi=True), settings, kind="multi", positive_weight=weight
    )
    assert result.best_score > 0.75


@pytest.mark.parametrize(
    ("seeds", "order_seed", "same"), [((5, 6), 7, True), ((5, 6), None, False)]
)
def test_trainings_with_one_order_seed_see_one_batch_order(
    seeds: tuple[int, int], order_seed: int | None, same: bool
) -> None:
    orders: list[list[float]] = []
    for seed in seeds:
        seen: list[float] = []

        def forward(
            network: nn.Module, inputs: Mapping[str, Tensor], seen: list[float] = seen
        ) -> Tensor:
            if network.training:
                seen.append(float(inputs["image[1]"][0, 0]))
            return network(inputs)

        fit(
            _network(),
            _data(200, 1),
            _data(80, 2),
            _settings(seed=seed, epochs=2),
            forward=forward,
            order_seed=order_seed,
        )
        orders.append(seen)
    assert len(orders[0]) == 2 * 13
    assert orders[0][:13] != orders[0][13:]  # each epoch has its own
    assert (orders[0] == orders[1]) == same


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before() -> None:
    networks = [_network(), _network(), _network()]
    for number, network in enumerate(networks):
        torch.manual_seed(number)
        before = torch.random.get_rng_state()
        _fit(_settings(seed=5 if number < 2 else 6), network)
        assert torch.equal(torch.random.get_rng_state(), before)
    first, same, other = (n.state_dict() for n in networks)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["hidden.weight"], other["hidden.weight"])


def test_patience_ends_training_early() -> None:
    events: list[TrainingEvent] = []
    settings = _settings(epochs=50, patience=2, learning_rate=1e-6, final_learning_rate=0.0)
    result = _fit(settings, on_event=events.append)
    assert result.early
    assert len(result.history) == result.best_epoch + 2 < 50
    assert isinstance(events[-1], TrainingEnded)
    assert events[-1].early


def test_progress_is_told_by_events_for_each_batch_and_epoch() -> None:
    events: list[TrainingEvent] = []
    result = _fit(_settings(epochs=2), on_event=events.append)
    assert [type(e).__name__ for e in events] == (
        (["BatchEnded"] * 13 + ["EpochEnded"]) * 2 + ["TrainingEnded"]
    )
    assert [e for e in events if isinstance(e, EpochEnded)] == list(result.history)


def test_a_metric_of_loss_prefers_the_lowest() -> None:
    result = _fit(_settings(metric="loss"))
    assert result.best_score == -min(event.valid_loss for event in result.history)


def test_gradient_clipping_bounds_the_step() -> None:
    changes: list[float] = []
    for clip in (None, 1e-4):
        network = _network()
        before = network.hidden.weight.detach().clone()
        _fit(_settings(optimiser="sgd", epochs=1, weight_decay=0, gradient_clip=clip), network)
        changes.append((network.hidden.weight.detach() - before).norm().item())
    assert changes[1] < 1e-3 < changes[0]


def test_half_precision_training_stays_close_to_full() -> None:
    full, half = (_fit(_settings(precision=p)) for p in ("float32", "bfloat16"))
    assert full.history != half.history
    assert abs(full.best_score - half.best_score) < 0.1


def test_a_network_without_weights_is_only_scored() -> None:
    class Sum(nn.Module):
        def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"logits": inputs["image[1]"][:, :3] + inputs["audio[1]"]}

    result = fit(Sum(), _data(20, 1), _data(20, 2), _settings(epochs=3))
    assert len({event.score for event in result.history}) == 1
    assert result.best_epoch == 1, "the first among equals"


class _Explodes(Fusion):
    calls = 0

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        self.calls += self.training
        return super().forward(inputs) * (math.nan if self.calls == 13 + 4 else 1.0)


def test_divergence_names_its_epoch_and_batch_and_survives_pickling() -> None:
    with pytest.raises(Diverged, match=r"E701.*nan in epoch 2, batch 4") as raised:
        _fit(_settings(), _Explodes())
    copy = pickle.loads(pickle.dumps(raised.value))  # noqa: S301 - our own bytes
    assert (copy.epoch, copy.batch) == (2, 4)


@pytest.mark.parametrize("error", [ValueError, RuntimeError])
def test_an_error_within_the_network_is_told_with_its_place(error: type[Exception]) -> None:
    class Raising(Fusion):
        def forward(self, inputs: dict[str, Tensor]) -> Tensor:
            raise error("expected more of it\nand much else")

    with pytest.raises(
        FusegraphError, match=r"E708.*epoch 1, batch 1.*expected more of it"
    ) as told:
        _fit(_settings(), Raising())
    assert "much else" not in str(told.value)


def test_an_error_of_the_program_within_the_network_is_no_failed_training() -> None:
    class Slipped(Fusion):
        def forward(self, inputs: dict[str, Tensor]) -> Tensor:
            raise AttributeError("a slip")

    with pytest.raises(AttributeError, match="a slip"):
        _fit(_settings(), Slipped())


@pytest.mark.parametrize(
    ("labels", "classes", "kind", "found"),
    [
        (np.array([0, 3]), 3, "single", "logits of 3 classes with labels 0..3"),
        (np.array([-1, 2]), 3, "single", "labels -1..2"),
        (np.zeros((2, 3), dtype=np.int64), 3, "single", "labels [2, 3]"),
        (np.zeros((2, 3), dtype=np.int64), 4, "multi", "logits [2, 4] with labels [2, 3]"),
        (np.array([0, 1]), 3, "multi", "labels [2]"),
    ],
)
def test_labels_that_do_not_fit_the_network_are_told(
    labels: np.ndarray[Any, Any], classes: int, kind: Literal["single", "multi"], found: str
) -> None:
    features = {
        "image[1]": np.zeros((2, 4), dtype=np.float32),
        "audio[1]": np.zeros((2, 3), dtype=np.float32),
    }
    source = tensor_batches(features, labels, batch=2)
    with pytest.raises(FusegraphError) as raised:
        fit(_network(classes), source, source, _settings(), kind=kind)
    assert raised.value.diagnostics[0].code == "E706"
    assert found in raised.value.diagnostics[0].message


def test_a_device_that_is_not_there_is_told() -> None:
    if torch.backends.mps.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(FusegraphError, match="E707"):
        _fit(_settings(device="mps"))


# resuming


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("last_batch", [13, 5])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    tmp_path: Path, optimiser: str, last_batch: int
) -> None:
    settings = _settings(optimiser=optimiser, patience=4)
    whole = _network()
    expected = _fit(settings, whole)

    def interrupt(event: TrainingEvent) -> None:
        if getattr(event, "epoch", 0) == 3 and getattr(event, "batch", 0) == last_batch:
            raise KeyboardInterrupt

    state = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        _fit(settings, state=state, on_event=interrupt)
    torch.manual_seed(99)
    resumed = Fusion()
    assert _fit(settings, resumed, state=state) == expected
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert [f.name for f in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_finished_training_is_not_run_again(tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    expected = _fit(_settings(), state=state)
    events: list[TrainingEvent] = []
    assert _fit(_settings(), state=state, on_event=events.append) == expected
    assert len(events) == 1


def test_a_training_with_other_settings_cannot_go_on(tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    _fit(_settings(), state=state)
    with pytest.raises(FusegraphError, match=r"E705.*settings.seed: expected 1 as now, found 0"):
        _fit(_settings(seed=1), state=state)
    with pytest.raises(FusegraphError, match=r"E705.*order_seed: expected 1 as now, found 0"):
        _fit(_settings(), state=state, order_seed=1)
    with pytest.raises(FusegraphError, match=r"E705.*tensors.logits"):
        _fit(_settings(), _network(classes=4), state=state)


# checkpoints

HEADER = CheckpointHeader(
    genotype="fuse 1\n", space_digest="aa11", network_digest="bb22", class_names=("a", "b", "c")
)


def test_a_checkpoint_returns_weights_and_header(tmp_path: Path) -> None:
    network, file = _network(), tmp_path / "best.safetensors"
    save_checkpoint(file, network, HEADER)
    checkpoint = load_checkpoint(file, space_digest="aa11", network_digest="bb22")
    assert checkpoint.header == HEADER
    other = Fusion()
    load_weights(other, checkpoint)
    assert all(torch.equal(v, other.state_dict()[n]) for n, v in network.state_dict().items())
    assert [f.name for f in tmp_path.iterdir()] == ["best.safetensors"]


def test_tied_weights_are_saved_under_each_of_their_names(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight = network[0].weight
    save_checkpoint(tmp_path / "c", network, HEADER)
    assert set(load_checkpoint(tmp_path / "c").tensors) == set(network.state_dict())


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "best.safetensors"
    save_checkpoint(file, _network(), HEADER)
    with pytest.raises(FusegraphError, match=r"another network: expected digest cc33, found bb22"):
        load_checkpoint(file, network_digest="cc33")
    with pytest.raises(FusegraphError, match=r"another space: expected digest dd44, found aa11"):
        load_checkpoint(file, space_digest="dd44")
    with pytest.raises(FusegraphError) as raised:
        load_weights(_network(classes=4), load_checkpoint(file))
    found = raised.value.diagnostics[0]
    assert found.code == "E703"
    assert found.place == str(file)
    assert "`logits.bias`: expected [4], found [3]" in found.message


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "best.safetensors"
    save_checkpoint(file, _network(), HEADER)
    content = file.read_bytes()
    state = tmp_path / "state.safetensors"
    _fit(_settings(epochs=1), state=state)
    pickled = tmp_path / "model.pt"
    torch.save(_network().state_dict(), pickled)
    import safetensors.torch as plain

    foreign = tmp_path / "foreign.safetensors"
    plain.save_file({"x": torch.zeros(1)}, foreign)
    cut: list[Path] = []
    for size in (0, 4, 100, len(content) - 1):
        cut.append(tmp_path / f"cut{size}")
        cut[-1].write_bytes(content[:size])
    for wrong in [*cut, state, pickled, foreign, tmp_path / "missing", tmp_path]:
        with pytest.raises(FusegraphError, match="expected a checkpoint") as raised:
            load_checkpoint(wrong)
        found = raised.value.diagnostics[0]
        assert found.code == "E702"
        assert found.place == str(wrong)
        assert found.help
    with pytest.raises(FusegraphError, match="expected the state of a training"):
        _fit(_settings(epochs=1), state=file)


def test_a_failed_write_leaves_the_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "best.safetensors"
    save_checkpoint(file, _network(), HEADER)
    content = file.read_bytes()

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(file, Fusion(), HEADER)
    assert file.read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 1


# settings


def test_every_setting_is_documented() -> None:
    assert all(field.description for field in TrainSettings.model_fields.values())


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"final_learning_rate 0.1 is above"):
        TrainSettings(learning_rate=0.01, final_learning_rate=0.1)
