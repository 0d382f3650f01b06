"""The two steps of bilevel training against the same mathematics written out by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fusegraph.backends.torch.supernet import SupernetModule, lower_supernet
from fusegraph.compiler.policies import DARTS, Policies
from fusegraph.compiler.relax import relax
from fusegraph.training.batches import Batch
from fusegraph.training.bilevel import Alternate, ArchitectureSettings, Bilevel
from fusegraph.training.settings import TrainSettings
from fusegraph.training.tensors import TensorBatches
from searcher_conformance import space_of

SPACE = """fuse 1
space small {
  dim N
  input x[1]: f32[N, 3]
  input x[2]: f32[N, 3]
  h = ?op of {relu, tanh}(linear(?which of x[*], out=4))
  output logits = linear(h, out=2)
}
"""
SETTINGS = TrainSettings(
    epochs=2, batch=4, learning_rate=1e-2, schedule="cosine", device="cpu", precision="float32"
)
ARCHITECTURE = ArchitectureSettings(learning_rate=3e-2)


def batches(samples: int, seed: int) -> TensorBatches:
    generator = torch.Generator().manual_seed(seed)
    inputs = {
        f"x[{i}]": torch.randn(samples, 3, generator=generator, dtype=torch.float64) for i in (1, 2)
    }
    labels = (inputs["x[1]"][:, 0] > inputs["x[2]"][:, 1]).long()
    return TensorBatches(inputs, labels, 4)


def first(source: TensorBatches) -> Batch:
    return next(iter(source.epoch(None)))


def supernet(policies: Policies = DARTS) -> SupernetModule:
    return lower_supernet(relax(space_of(SPACE), policies), 3, fused=False).double()


def learner(module: SupernetModule, settings: TrainSettings = SETTINGS) -> Bilevel:
    def forward(called: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        answer: Tensor = called(inputs["x[1]"], inputs["x[2]"])
        return answer

    return Bilevel(
        module,
        module.weight_parameters(),
        module.architecture_parameters(),
        settings,
        ARCHITECTURE,
        torch.device("cpu"),
        forward=forward,
    )


def by_hand(weights: Mapping[str, Tensor], batch: Batch, *, gated: bool) -> Tensor:
    """The cross-entropy of the supernet: eq. 1 or a softmax for the edges, eq. 10 for the op."""
    which = weights["which"]
    edge = torch.softmax(which, -1)
    edge = edge[:, 1] if gated else edge
    x = edge[0] * batch.inputs["x[1]"] + edge[1] * batch.inputs["x[2]"]
    z = x @ weights["first"].T + weights["first bias"]
    op = torch.softmax(weights["op"], -1)
    h = op[0] * z.clamp(min=0) + op[1] * z.tanh()
    logits = h @ weights["second"].T + weights["second bias"]
    return functional.cross_entropy(logits, batch.labels)


class Adam:
    """Adam with L2, as in the paper of Kingma and Ba, for parameters by name."""

    def __init__(self, beta1: float, beta2: float, decay: float) -> None:
        self.betas = (beta1, beta2)
        self.decay = decay
        self.moments: dict[str, tuple[Tensor, Tensor, int]] = {}

    def stepped(self, name: str, value: Tensor, rate: float) -> Tensor:
        """The value after the step that its gradient asks for."""
        assert value.grad is not None
        zero = torch.zeros_like(value)
        first, second, steps = self.moments.get(name, (zero, zero, 0))
        gradient = value.grad + self.decay * value.detach()
        one, two = self.betas
        first = one * first + (1 - one) * gradient
        second = two * second + (1 - two) * gradient**2
        steps += 1
        self.moments[name] = (first, second, steps)
        mean, square = first / (1 - one**steps), second / (1 - two**steps)
        return value.detach() - rate * mean / (square.sqrt() + 1e-8)


def named(module: SupernetModule) -> dict[str, Tensor]:
    """A copy of all parameters by names of ours."""
    state = module.plain_state()
    values = {key.rpartition(".")[2]: value for key, value in module.architecture().items()}
    [first_name, second_name] = sorted(
        [name.removesuffix(".bias") for name in state if name.endswith(".bias")],
        key=lambda name: state[f"{name}.bias"].shape[0],
        reverse=True,
    )
    found = {
        "first": state[f"{first_name}.weight"],
        "first bias": state[f"{first_name}.bias"],
        "second": state[f"{second_name}.weight"],
        "second bias": state[f"{second_name}.bias"],
        **{name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()},
    }
    return {name: value.clone().requires_grad_() for name, value in found.items()}


def policies_of(gated: bool) -> Policies:
    return Policies() if gated else DARTS


@pytest.mark.parametrize("gated", [True, False])
def test_weight_and_architecture_steps_are_those_written_by_hand(gated: bool) -> None:
    module = supernet(policies_of(gated))
    bilevel = learner(module)
    weights, architecture = Adam(0.9, 0.999, 1e-4), Adam(0.5, 0.999, 1e-3)
    for number in range(3):
        train, valid = first(batches(8, 2 * number)), first(batches(8, 2 * number + 1))
        rate = 1e-2 / (number + 1)
        for batch, optimiser, steps in ((train, weights, "w"), (valid, architecture, "a")):
            before = named(module)
            expected = by_hand(before, batch, gated=gated)
            expected.backward()
            loss = (
                bilevel.weight_step(batch, rate)
                if steps == "w"
                else bilevel.architecture_step(batch)
            )
            assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
            after = named(module)
            for name, value in before.items():
                moves = (name in ("which", "op")) == (steps == "a")
                step = rate if steps == "w" else 3e-2
                wanted = optimiser.stepped(name, value, step) if moves else value
                torch.testing.assert_close(after[name], wanted, rtol=0, atol=1e-10)


def test_no_step_computes_gradients_of_the_other_parameters() -> None:
    module = supernet()
    bilevel = learner(module)
    batch = first(batches(8, 0))
    bilevel.weight_step(batch, 1e-2)
    assert all(p.grad is None for p in module.architecture_parameters())
    assert all(p.grad is not None for p in module.weight_parameters())
    for parameter in module.weight_parameters():
        parameter.grad = None
    bilevel.architecture_step(batch)
    assert all(p.grad is None for p in module.weight_parameters())
    assert all(p.grad is not None for p in module.architecture_parameters())


@pytest.mark.parametrize(("alternate", "steps"), [("step", "wawawa"), ("epoch", "wwwaaaa")])
def test_steps_alternate_as_asked(
    alternate: Alternate, steps: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bilevel = learner(supernet())
    taken: list[str] = []
    seen: list[Tensor] = []
    weight_step, architecture_step = bilevel.weight_step, bilevel.architecture_step

    def weights(batch: Batch, rate: float, where: str) -> Tensor:
        taken.append("w")
        return weight_step(batch, rate, where)

    def architecture(batch: Batch, where: str) -> Tensor:
        taken.append("a")
        seen.append(batch.inputs["x[1]"])
        return architecture_step(batch, where)

    monkeypatch.setattr(bilevel, "weight_step", weights)
    monkeypatch.setattr(bilevel, "architecture_step", architecture)
    valid = batches(14, 1)
    bilevel.epoch(1, batches(12, 0), valid, alternate)
    assert "".join(taken) == steps
    rows = {tuple(row) for row in valid.inputs["x[1]"].tolist()}
    assert all(tuple(row) in rows for batch in seen for row in batch.tolist())


def test_validation_batches_go_round_again_in_another_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bilevel = learner(supernet())
    seen: list[tuple[float, ...]] = []
    step = bilevel.architecture_step

    def architecture(batch: Batch, where: str) -> Tensor:
        seen.extend([tuple(row) for row in batch.inputs["x[1]"].tolist()])
        return step(batch, where)

    monkeypatch.setattr(bilevel, "architecture_step", architecture)
    bilevel.epoch(1, batches(16, 0), batches(8, 1), "step")
    assert sorted(seen[:8]) == sorted(seen[8:])
    assert seen[:8] != seen[8:]


def test_the_learning_rate_is_one_cosine_over_all_epochs() -> None:
    bilevel = learner(supernet())
    train, valid = batches(8, 0), batches(8, 1)
    last = [bilevel.epoch(number, train, valid, "step").learning_rate for number in (1, 2)]
    start, end = SETTINGS.learning_rate, SETTINGS.final_learning_rate

    def cosine(share: float) -> float:
        return end + (start - end) * (1 + math.cos(math.pi * share)) / 2

    assert last == pytest.approx([cosine(1 / 4), cosine(3 / 4)])


def test_dropout_and_batch_norm_are_in_training_mode_in_both_steps() -> None:
    module = supernet()
    modes: list[bool] = []

    def forward(called: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        modes.append(called.training)
        answer: Tensor = called(inputs["x[1]"], inputs["x[2]"])
        return answer

    bilevel = learner(module)
    bilevel.forward = forward
    valid = batches(8, 1)
    bilevel.epoch(1, batches(8, 0), valid, "step")
    assert modes == [True] * 4
    bilevel.validate(1, valid)
    assert modes[4:] == [False] * 2
