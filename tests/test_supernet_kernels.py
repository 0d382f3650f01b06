"""The kernels of fused supernets: gradients against finite differences, masks, the fast path."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from fusegraph.backends.torch.dense import Dense, TailSpec
from fusegraph.backends.torch.flat import Flat
from fusegraph.backends.torch.kernels import affine, attend, blend, product, weight_gradient
from fusegraph.backends.torch.masks import Drop, Masks, bytes_of

TAILS: dict[str, Sequence[TailSpec]] = {
    "none": (),
    "relu": (("relu", 0, 6, 0, 0.0),),
    "a gate": (("glu", 0, 3, 3, 0.0),),
    "side by side": (("glu", 0, 2, 2, 0.0), ("relu", 4, 5, 0, 0.0), ("copy", 5, 6, 0, 0.0)),
    "some columns twice, some never": (("relu", 0, 4, 0, 0.0), ("sigmoid", 1, 3, 0, 0.0)),
    "dropped": (("glu", 0, 2, 2, 0.5), ("sigmoid", 4, 5, 0, 0.5), ("copy", 5, 6, 0, 0.5)),
    "relu dropped": (("relu", 0, 6, 0, 0.5),),
    "relu of a part dropped": (("relu", 0, 3, 0, 0.5), ("copy", 3, 6, 0, 0.0)),
}
EXTRAS: Sequence[Sequence[tuple[int, int, int, int]]] = (
    (),
    ((0, 6, 0, 4),),
    ((0, 2, 1, 4), (2, 6, 0, 2)),
)


def _random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def _dense(
    tails: Sequence[TailSpec] = (),
    extras: Sequence[tuple[int, int, int, int]] = (),
    bias: tuple[int, int] = (0, 6),
    norm: tuple[float, float, int] | None = (1e-5, 0.1, 1),
) -> Dense:
    module = Dense(4, 6, extras, bias, norm, tails).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data.normal_(generator=generator)
    if norm:
        assert module.running_mean is not None
        assert module.running_var is not None
        module.running_mean.normal_(generator=generator)
        module.running_var.uniform_(0.5, 2, generator=generator)
    return module


def _gradients_are_right(module: Dense, training: bool) -> None:
    module.train(training)
    names = [name for name, _ in module.named_parameters()]
    state = {k: v.clone() for k, v in module.state_dict().items()}

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        torch.manual_seed(0)
        module.masks.fill(0)
        buffers = {name: value.clone() for name, value in state.items() if "running" in name}
        given = {**dict(zip(names, weights, strict=True)), **buffers}
        found: Tensor = torch.func.functional_call(module, given, (x,))
        return found

    weights = [p.detach().clone().requires_grad_() for p in module.parameters()]
    assert torch.autograd.gradcheck(run, (_random(9, 4), *weights))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("tails", TAILS)
def test_gradients_of_dense_through_each_tail(tails: str, training: bool) -> None:
    _gradients_are_right(_dense(TAILS[tails]), training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", [None, (1e-3, 0.3, 1), (1e-5, 0.1, 4)])
@pytest.mark.parametrize("extras", EXTRAS)
@pytest.mark.parametrize("bias", [(0, 6), (2, 5), (0, 0)])
def test_gradients_of_dense(
    bias: tuple[int, int],
    extras: Sequence[tuple[int, int, int, int]],
    norm: tuple[float, float, int] | None,
    training: bool,
) -> None:
    _gradients_are_right(_dense(TAILS["relu"], extras, bias, norm), training)


def test_gradients_of_the_other_kernels() -> None:
    check = torch.autograd.gradcheck
    assert check(affine, (_random(3, 4), _random(2, 4), _random(2)))
    x, y, v = _random(2, 3, 4), _random(2, 5, 4, seed=1), _random(2, 5, 2, seed=2)
    assert check(lambda x, y, v: attend(x, y, v, 0.7), (x, y, v))
    assert check(lambda x: attend(x, x, x, 0.7), (x,))
    terms = (
        (0, 0, ((0, 1.0), (1, 2.0))),
        (1, 3, ((2, 1.0),)),
        (1, 0, ((1, -1.0),)),
        (2, 0, ((-1, 1.0),)),
    )
    given = (_random(3), _random(4, 3), _random(4, 9, seed=1), _random(4, 3, seed=2))
    assert check(lambda gates, *x: blend(gates, x, terms, 3), given)


def test_a_blend_is_its_sum() -> None:
    gates, x, y = _random(2), _random(4, 3), _random(4, 6, seed=1)
    terms = ((0, 0, ((0, 2.0), (-1, 1.0))), (1, 3, ((1, 1.0),)))
    expected = (2 * gates[0] + 1) * x + gates[1] * y[:, 3:]
    torch.testing.assert_close(blend(gates, (x, y), terms, 3), expected)


@pytest.mark.parametrize("rows", [5, 900])
@pytest.mark.parametrize("out", [60, 700])
def test_products_are_those_of_torch(rows: int, out: int) -> None:
    x, w, g = torch.randn(rows, 256), torch.randn(out, 256), torch.randn(rows, out)
    bias = torch.randn(out)
    close = torch.testing.assert_close
    close(product(x, w, bias), x @ w.t() + bias, rtol=1e-4, atol=1e-3)
    close(product(x, w, bias, "relu"), (x @ w.t() + bias).relu(), rtol=1e-4, atol=1e-3)
    close(product(g, w.t()), g @ w, rtol=1e-4, atol=1e-3)
    close(weight_gradient(g, x), g.t() @ x, rtol=1e-4, atol=2e-3)


# ── masks ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5])
def test_elements_are_dropped_with_their_probability(p: float) -> None:
    torch.manual_seed(0)
    like = torch.empty(100, 130)
    kept = 0.0
    count = 0
    for _ in range(200):
        masks = Masks()
        mask = masks.draw(like, p)
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        kept += float(mask.sum())
        count += mask.numel()
    # 2.6 million draws: five standard errors are 0.0015 at most
    assert abs(kept / count - (1 - p)) < 0.0016


def test_masks_of_one_pass_differ_and_a_seed_brings_them_back() -> None:
    like = torch.empty(40, 5)
    masks = Masks()
    found: list[Tensor] = []
    for _ in range(2):
        torch.manual_seed(3)
        masks.fill(2 * bytes_of(200))
        found += [masks.draw(like, 0.5), masks.draw(like, 0.5)]
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])
    assert not torch.equal(found[0], found[1])


def test_dropout_keeps_the_mean_and_does_nothing_in_evaluation() -> None:
    torch.manual_seed(0)
    module, x = Drop(0.2), torch.ones(400, 500)
    dropped = module(x)
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert abs(float(dropped.mean()) - 1) < 0.01
    assert module.eval()(x) is x


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    mask = Masks().draw(torch.empty(1000, 1000), 0.3) - 0.7
    for axis, step in ((0, 1), (1, 1), (1, 2), (1, 8)):
        correlation = float((mask * mask.roll(step, axis)).mean()) / 0.21
        assert abs(correlation) < 0.006


# ── one vector ───────────────────────────────────────────────────────────────────────────────────


def test_one_vector_holds_all_weights_and_gathers_their_gradients() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    x = torch.randn(5, 3)
    expected = module(x)
    gradients = torch.autograd.grad(expected.square().sum(), list(module.parameters()))
    places = [
        (f"{name}.{kind}", module.get_submodule(name), kind)
        for name in ("0", "1")
        for kind in ("weight", "bias")
    ]
    flat = Flat(places)
    assert not list(module.parameters())
    flat.spread()
    found = module(x)
    flat.clear()
    found.square().sum().backward()
    assert torch.equal(found, expected)
    assert flat.weight.grad is not None
    torch.testing.assert_close(flat.weight.grad, torch.cat([g.reshape(-1) for g in gradients]))
    assert [tuple(v.shape) for v in flat.state().values()] == [(4, 3), (4,), (2, 4), (2,)]
