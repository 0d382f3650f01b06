"""The baseline of the supernet's benchmark computes what it says, on small sizes."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from fusegraph.ir.dsl import load

EXAMPLES = Path(__file__).parent.parent / "examples" / "bm_nas"
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SURE = 40.0  # a logit that makes a softmax one-hot in float32


@pytest.fixture
def bm_nas(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("straightforward_bm_nas")


@pytest.fixture
def small(bm_nas: Any) -> Any:
    """A map of four positions, one of two, and a vector; two cells of two steps."""
    return bm_nas.Configuration(
        "small",
        (bm_nas.Tap("a", 5, 4), bm_nas.Tap("b", 6, 2), bm_nas.Tap("c", 7)),
        channels=3,
        length=4,
        cells=2,
        steps=2,
        multiplier=2,
        batch=6,
        dropout=0.2,
        classes=5,
        learning_rate=1e-2,
    )


def size(parameters: list[Any]) -> int:
    return sum(parameter.numel() for parameter in parameters)


@pytest.mark.parametrize("name", ["NTU_1", "EGO_1", "MM_IMDB_1"])
def test_the_parts_have_as_many_parameters_as_the_release(bm_nas: Any, name: str) -> None:
    configuration = getattr(bm_nas, name)
    with torch.device("meta"):
        network = bm_nas.Hypernet(configuration)
    c, length, cells = configuration.channels, configuration.length, configuration.cells
    aligns = sum(tap.channels * c + 3 * c for tap in configuration.taps)
    step = 2 * c * length + (4 * c * c + 6 * c) + (2 * c * c + 3 * c)
    output = configuration.multiplier * c * c + 3 * c
    cell = configuration.steps * step + output + 2 * c * length
    head = 2 * c * length * cells + cells * c * length * configuration.classes
    expected = aligns + cells * cell + head + configuration.classes
    assert size(bm_nas.weight_parameters(network)) == expected


@pytest.mark.parametrize(
    ("name", "file"), [("NTU_1", "ntu"), ("EGO_1", "ego_gesture"), ("MM_IMDB_1", "mm_imdb")]
)
def test_the_taps_are_the_inputs_of_the_example(bm_nas: Any, name: str, file: str) -> None:
    space = load(EXAMPLES / f"{file}_release.fuse").graph
    inputs = [(node["name"], node["type"].shape[1]) for node in space.inputs]
    assert [(tap.name, tap.channels) for tap in getattr(bm_nas, name).taps] == inputs


def test_every_edge_has_two_numbers_and_every_step_one_an_op(bm_nas: Any, small: Any) -> None:
    network = bm_nas.Hypernet(small)
    into_cells, in_a_cell = 3 + 4, 2 + 3
    expected = 2 * into_cells + 2 * (2 * in_a_cell) + 2 * (2 * 4)
    assert size(bm_nas.architecture_parameters(network)) == expected


def test_edges_do_not_compete(bm_nas: Any) -> None:
    one, two = torch.ones(2, 3, 4), torch.full((2, 3, 4), 2.0)
    on, off = [0.0, SURE], [SURE, 0.0]
    both = bm_nas.gated_sum(torch.tensor([on, on]), [one, two])
    second = bm_nas.gated_sum(torch.tensor([off, on]), [one, two])
    torch.testing.assert_close(both, one + two)
    torch.testing.assert_close(second, two)


def test_a_step_with_one_sure_op_is_that_op_of_the_gated_sum(bm_nas: Any, small: Any) -> None:
    step = bm_nas.Step(small, 2).eval()
    states = [torch.randn(6, 3, 4), torch.randn(6, 3, 4)]
    u = bm_nas.gated_sum(step.beta, states)
    for place, op in enumerate(step.ops):
        with torch.no_grad():
            step.gamma.zero_()[place] = SURE
        torch.testing.assert_close(step(states), op(u, u))


def test_attention_weighs_the_positions_of_y(bm_nas: Any) -> None:
    attention = bm_nas.ScaleDotAttn(3, 4).eval()
    x, y = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    asked = torch.nn.functional.scaled_dot_product_attention(
        x.transpose(1, 2), y.transpose(1, 2), y.transpose(1, 2)
    )
    expected = torch.nn.functional.layer_norm(asked.transpose(1, 2), (3, 4))
    torch.testing.assert_close(attention(x, y), expected)


def test_a_vector_stands_at_every_position(bm_nas: Any) -> None:
    align = bm_nas.Align(7, 3, 4, 0.2).eval()
    out = align(torch.randn(6, 7))
    assert out.shape == (6, 3, 4)
    torch.testing.assert_close(out, out[..., :1].expand(-1, -1, 4))


def test_short_features_are_repeated_before_the_clock(bm_nas: Any, small: Any) -> None:
    batch = bm_nas.random_batch(small, 0)
    torch.testing.assert_close(batch.pooled[1], batch.features[1].repeat_interleave(2, dim=2))
    assert batch.pooled[0].equal(batch.features[0])
    assert batch.pooled[2].equal(batch.features[2])


def test_a_cell_of_one_step_counts_it_twice(bm_nas: Any, small: Any) -> None:
    cell = bm_nas.Cell(replace(small, steps=1), 3).eval()
    features = [torch.randn(6, 3, 4) for _ in range(3)]
    x = bm_nas.gated_sum(cell.alpha, features)
    step = cell.steps[0]([x, x])
    expected = cell.norm(cell.out(torch.cat((step, step), 1)) + x)
    torch.testing.assert_close(cell(features), expected)


def test_without_joining_a_cells_output_is_its_last_step(bm_nas: Any, small: Any) -> None:
    cell = bm_nas.Cell(replace(small, steps=1, multiplier=1), 3).eval()
    features = [torch.randn(6, 3, 4) for _ in range(3)]
    x = bm_nas.gated_sum(cell.alpha, features)
    torch.testing.assert_close(cell(features), cell.norm(cell.steps[0]([x, x]) + x))


@pytest.mark.parametrize("multilabel", [False, True])
def test_each_step_moves_its_own_parameters_alone(
    bm_nas: Any, small: Any, multilabel: bool
) -> None:
    configuration = replace(small, multilabel=multilabel)
    steps = bm_nas.StraightforwardSteps(configuration)
    batch = bm_nas.random_batch(configuration, 0)

    def moved(step: Any) -> tuple[int, int]:
        sorts = (bm_nas.weight_parameters, bm_nas.architecture_parameters)
        before = [[p.detach().clone() for p in sort(steps.network)] for sort in sorts]
        step(batch)
        after = [sort(steps.network) for sort in sorts]
        counts = [
            sum(not old.equal(new) for old, new in zip(*pair, strict=True))
            for pair in zip(before, after, strict=True)
        ]
        return counts[0], counts[1]

    weights = len(bm_nas.weight_parameters(steps.network))
    architecture = len(bm_nas.architecture_parameters(steps.network))
    assert moved(steps.weight_step) == (weights, 0)
    assert moved(steps.architecture_step) == (0, architecture)
    assert moved(steps.evaluate) == (0, 0)


def test_weight_steps_learn_a_batch(bm_nas: Any, small: Any) -> None:
    steps = bm_nas.StraightforwardSteps(replace(small, dropout=0.0))
    batch = bm_nas.random_batch(small, 0)
    losses = [steps.weight_step(batch).item() for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]
