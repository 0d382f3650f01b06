"""Several data sets that train one module, each its own head, see `training.heads`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fusegraph.training.events import BatchEnded, OnEvent
from fusegraph.training.heads import Forward, Head, drawn
from fusegraph.training.loop import FitResult, fit, judge
from fusegraph.training.settings import TrainSettings
from fusegraph.training.tensors import TensorBatches, tensor_batches


class Trunk(nn.Module):
    """One layer, and two heads on it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(4, 8)
        self.a, self.b = nn.Linear(8, 3), nn.Linear(8, 2)


def through(head: str) -> Forward:
    def forward(module: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        return getattr(module, head)(module.trunk(inputs["x"]).relu())

    return forward


def data(samples: int, classes: int, seed: int, batch: int = 8) -> TensorBatches:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 4, generator=generator)
    return tensor_batches({"x": x}, x[:, :classes].argmax(dim=1), batch=batch)


def settings(**changes: Any) -> TrainSettings:
    given = {"epochs": 6, "learning_rate": 0.05, "device": "cpu", "schedule": "constant"}
    return TrainSettings.model_validate({**given, **changes})


def jointly(
    module: Trunk, state: Path | None = None, on_event: OnEvent | None = None, **changes: Any
) -> FitResult:
    first, second = data(120, 3, 1), data(40, 2, 2)
    return fit(
        module, first, data(60, 3, 3), settings(**changes), forward=through("a"),
        others=[Head(second, data(60, 2, 4), through("b"))], state=state, on_event=on_event,
    )  # fmt: skip


def test_a_pass_takes_every_batch_of_every_source_once_and_mixes_the_sources() -> None:
    sources = [data(120, 3, 1), data(40, 2, 2)]
    found = list(drawn(sources, torch.Generator().manual_seed(0)))
    numbers = [number for number, _ in found]
    assert [numbers.count(0), numbers.count(1)] == [15, 5]
    assert numbers != sorted(numbers)
    for number, source in enumerate(sources):
        labels = torch.cat([batch.labels for place, batch in found if place == number])
        assert sorted(labels.tolist()) == sorted(source.labels.tolist())


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_every_head_learns_its_own_data(optimiser: str) -> None:
    module = Trunk()
    before = [_score(module, head, classes) for head, classes in (("a", 3), ("b", 2))]
    jointly(module, optimiser=optimiser)
    after = [_score(module, head, classes) for head, classes in (("a", 3), ("b", 2))]
    assert all(new > 0.8 > old for new, old in zip(after, before, strict=True))


def test_the_score_is_the_mean_over_the_data_sets() -> None:
    module = Trunk()
    result = jointly(module)
    each = [
        judge(module, data(60, 3, 3), settings(), forward=through("a")),
        judge(module, data(60, 2, 4), settings(), forward=through("b")),
    ]
    best = result.history[result.best_epoch - 1]
    assert best.score == result.best_score == sum(score for _, score in each) / 2
    assert best.valid_loss == sum(loss for loss, _ in each) / 2


def _score(module: Trunk, head: str, classes: int) -> float:
    return judge(module, data(80, classes, 9), settings(), forward=through(head))[1]


def test_a_step_of_one_data_set_leaves_the_head_of_the_other_alone() -> None:
    """It neither moves nor decays."""
    module = Trunk()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    moved: list[set[str]] = []

    def compare(event: object) -> None:
        if isinstance(event, BatchEnded):
            now = module.state_dict().items()
            moved.append({name.split(".")[0] for name, v in now if (v != before[name]).any()})
            before.update({name: value.clone() for name, value in now})

    fit(
        module,
        data(40, 3, 1),
        data(40, 3, 3),
        settings(optimiser="sgd", epochs=1),
        forward=through("a"),
        others=[Head(data(24, 2, 2), data(8, 2, 4), through("b"))],
        on_event=compare,
    )
    assert [moved.count({"trunk", head}) for head in "ab"] == [5, 3]
    assert len(moved) == 8


class Stop(Exception):
    pass


def stop(event: object) -> None:
    raise Stop


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_an_interrupted_joint_training_ends_as_an_uninterrupted_one(
    tmp_path: Path, optimiser: str
) -> None:
    whole, parts = Trunk(), Trunk()
    changes: dict[str, Any] = {"optimiser": optimiser}
    jointly(whole, **changes)
    file = tmp_path / "state.safetensors"
    with pytest.raises(Stop):
        jointly(parts, file, lambda event: stop(event) if file.exists() else None, **changes)
    resumed = Trunk()
    jointly(resumed, file, **changes)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)
