"""Elastic networks: slices of shared weights compute what networks with weights of their own do."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fusegraph.backends.onnx import export
from fusegraph.backends.torch import lower
from fusegraph.backends.torch.elastic import ElasticNetworks, slices_of
from fusegraph.compiler.explore import sample
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.decisions import Setting
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import Program, loads
from fusegraph.ir.graph import Graph
from fusegraph.ir.node import input_node
from fusegraph.ir.ops import PRIMITIVES
from fusegraph.training.settings import TrainSettings
from fusegraph.training.slices import SlicedOptimiser
from generators import programs, some
from repository import ROOT
from small_examples import load_small
from torch_backend_networks import N, T, batch_for, f32, net, op

Settings = Mapping[str, Setting]

WEIGHTY = {
    "linear": "y = linear(relu(linear(x, out=?w of {2, 3, 5})), out=3)",
    "linear along an axis": """
      h = relu(linear(seq, axis=1, out=?w of {2, 3, 5}, bias=false))
      y = linear(h, axis=1, out=3)
    """,
    "convolution": """
      let k = ?k of {1, 3, 5}
      h = relu(conv(map, out=?w of {2, 4, 6}, kernel=k, pad=k // 2))
      y = conv(h, out=2, kernel=3)
    """,
    "a kernel in the middle": """
      let k = ?k of {1, 3, 5}
      y = conv(map, out=2, kernel=k, pad=k // 2)
    """,
    "groups": """
      h = relu(conv(map, out=2 * ?w of {1, 2, 3}, kernel=1))
      g = relu(conv(h, out=2 * ?v of {1, 2, 4}, kernel=3, groups=2))
      y = conv(g, out=2, kernel=1)
    """,
    "depthwise after concat": """
      a = relu(conv(map, out=?a of {1, 2}, kernel=1))
      b = relu(conv(map, out=?b of {1, 3}, kernel=1))
      both = concat(a, b, axis=1)
      deep = relu(conv(both, out=size(both, 1), kernel=3, groups=size(both, 1)))
      y = conv(deep, out=2, kernel=1)
    """,
    "concat": """
      a = relu(linear(x, out=?a of {2, 4}))
      b = relu(linear(x, out=?b of {1, 3}))
      y = linear(relu(linear(concat(a, b), out=?c of {3, 5})), out=2)
    """,
    "concat of some": """
      h[1] = relu(linear(x, out=?a of {2, 4}))
      h[2] = relu(linear(x, out=?b of {1, 3}))
      h[3] = relu(linear(x, out=2))
      y = linear(concat(?from some of h[1..3]), out=2)
    """,
    "a sum with a concat": """
      let a = ?a of {2, 4}
      let b = ?b of {1, 3}
      both = concat(relu(linear(x, out=a)), relu(linear(x, out=b)))
      y = linear(relu(linear(both, out=a + b)) + both, out=2)
    """,
    "flatten": """
      h = relu(conv(map, out=?w of {1, 2, 3}, kernel=3))
      y = linear(flatten(h), out=2)
    """,
    "flatten, channels last": """
      h = relu(linear(seq, out=?w of {1, 2, 3}))
      y = linear(flatten(h), out=2)
    """,
    "heads": """
      let heads = ?heads of {1, 2, 3}
      let width = ?width of {2, 4}
      q = reshape(linear(seq, out=heads * width), shape=(N, 4, heads, width))
      v = reshape(linear(seq, out=heads * width), shape=(N, 4, heads, width))
      query = transpose(q, axes=(0, 2, 1, 3))
      scores = matmul(query, transpose(query))
      mixed = matmul(relu(scores), transpose(v, axes=(0, 2, 1, 3)))
      y = linear(reshape(transpose(mixed, axes=(0, 2, 1, 3)), shape=(N, 4, heads * width)), out=3)
    """,
    "halves": """
      let w = ?w of {2, 3, 5}
      both = linear(x, out=2 * w)
      y = linear(slice(both, axis=1, start=w) * relu(slice(both, axis=1, stop=w)), out=2)
    """,
    "thirds": """
      let w = ?w of {2, 4}
      all = linear(seq, out=3 * w)
      for i in 1..3 { part[i] = slice(all, axis=2, start=(i - 1) * w, stop=i * w) }
      y = linear(matmul(relu(matmul(part[1], transpose(part[2]))), part[3]), out=2)
    """,
    "an axis of size 1 that moves": """
      h = concat(relu(linear(x, out=?a of {1, 4})), relu(linear(x, out=?b of {1, 3})))
      moved = reshape(reshape(h, shape=(N, 1, size(h, 1))), shape=(N, size(h, 1), 1))
      y = linear(moved, axis=1, out=2)
    """,
    "a learned number": """
      gate = reshape(parameter(shape=(), init="ones"), shape=(1, 1))
      y = linear(relu(linear(x, out=?w of {2, 4})) * gate, out=2)
    """,
    "tied layers": """
      let w = ?w of {2, 4}
      share f = linear(out=w)
      y = linear(f(f(relu(linear(x, out=w)))), out=2)
    """,
    "depth": """
      let w = ?w of {2, 4}
      h[0] = relu(linear(x, out=w))
      for l in 1..3 { h[l] = relu(linear(h[l - 1], out=w)) + h[l - 1] }
      y = linear(?depth of h[1..3], out=2)
    """,
    "one of two ops": """
      let w = ?w of {2, 4}
      h = ?op of {linear(out=w), linear(out=w, bias=false)}(x)
      y = linear(relu(h), out=2)
    """,
    "parameter": """
      let w = ?w of {2, 4}
      gate = expand(parameter(shape=(1, w), init="normal"), axis=0, size=N)
      y = linear(relu(linear(x, out=w)) * gate, out=2)
    """,
    "embedding": """
      y = linear(relu(embedding(word, rows=7, out=?w of {2, 3, 5})), out=2)
    """,
}
"""Spaces whose networks compute nothing from zeros but zeros, by what they try."""

UNORDERED = {
    "open groups": """
      h = relu(conv(map, out=8, kernel=1))
      y = conv(conv(h, out=8, kernel=3, groups=?groups of {1, 2, 4}), out=2, kernel=1)
    """,
    "heads of a fixed width": """
      let heads = ?heads of {2, 4}
      q = relu(reshape(linear(seq, out=8), shape=(N, 4, heads, 8 / heads)))
      y = linear(reshape(q, shape=(N, 4, 8)), out=3)
    """,
    "what a choice may not reach": """
      a = relu(linear(x, out=8))
      let heads = ?heads of {2, 4}
      r = flatten(reshape(a, shape=(N, heads, 8 / heads)))
      y = linear(?t of {a, r}, out=2)
    """,
}
"""Spaces in which no network has all that another one has."""

NORMS = {
    "batch norm": """
      a = conv(map, out=?a of {1, 2}, kernel=1)
      b = conv(map, out=?b of {1, 3}, kernel=1)
      y = conv(relu(batch_norm(concat(a, b, axis=1))), out=2, kernel=1)
    """,
    "group norm": """
      h = group_norm(conv(map, out=2 * ?w of {1, 2, 3}, kernel=1), groups=2)
      y = conv(relu(h), out=2, kernel=1)
    """,
    "layer norm": "y = linear(relu(layer_norm(linear(x, out=?w of {2, 4}))), out=2)",
}


INPUTS = {"x": "f32[N, 5]", "seq": "f32[N, 4, 3]", "map": "f32[N, 2, 5, 5]", "word": "i64[N]"}


def space(body: str) -> Graph:
    read = [
        f"input {name}: {kind}" for name, kind in INPUTS.items() if re.search(rf"\b{name}\b", body)
    ]
    lines = ["fuse 1", "space tried {", "dim N", *read, body, "output out = y", "}", ""]
    return loads("\n".join(lines)).graph


ALL = {**WEIGHTY, **UNORDERED, **NORMS}


def trial(name: str, seed: int) -> tuple[ElasticNetworks, Settings, dict[str, Tensor]]:
    """Elastic networks of a space, in float64, one network of it, and a batch."""
    graph = space(ALL[name])
    networks = ElasticNetworks(graph, 1).double()
    settings = sample(graph, Random(seed)).settings
    return networks, settings, batch_for(specialise(graph, settings), double=True)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("training", [True, False])
def test_a_slice_computes_what_the_extracted_network_does(name: str, training: bool) -> None:
    for seed in range(6):
        networks, settings, batch = trial(name, seed)
        networks.train(training)
        alone = networks.extracted(settings)
        [found] = networks.run([settings], batch)
        torch.testing.assert_close(found["out"], alone.run(batch), rtol=1e-12, atol=1e-12)
        after = networks.state_of(settings)
        for weight, value in alone.state_dict().items():  # running statistics too
            torch.testing.assert_close(after[weight], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_slices_do_not_depend_on_what_was_run_before(name: str) -> None:
    graph = space(ALL[name])
    networks = ElasticNetworks(graph, 1).double().eval()
    drawn = [sample(graph, Random(seed)) for seed in range(8)]
    several = [genotype.settings for genotype in {g.digest: g for g in drawn}.values()]
    batch: dict[str, Tensor] = {}
    for settings in several:
        batch |= batch_for(specialise(graph, settings), double=True) | batch
    together = networks.run(several, batch)
    for settings, found in zip(several, together, strict=True):
        fresh = ElasticNetworks(graph, 1).double().eval()
        [expected] = fresh.run([settings], batch)
        assert_same(networks.run([settings], batch)[0], expected)
        assert_same(found, expected)
        assert_same(networks.state_of(settings), fresh.state_of(settings))


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    torch.testing.assert_close(dict(found), dict(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", WEIGHTY)
def test_each_entry_has_one_role(name: str) -> None:
    """With all else zero, the widest network is the narrow one: no entry serves in two places."""
    for seed in range(6):
        networks, settings, batch = trial(name, seed)
        [narrow] = networks.run([settings], batch)
        kept = {
            parameter: cut.of(parameter).detach().clone()
            for parameter, cut in networks.cuts(settings).items()
        }
        with torch.no_grad():
            for parameter in networks.parameters():
                parameter.zero_()
            for parameter, cut in networks.cuts(settings).items():
                cut.put(parameter, kept[parameter])
        widest = {key: list(d.settings())[-1] for key, d in networks.space.decisions.items()}
        widest |= {key: s for key, s in settings.items() if key.endswith(("depth", "op"))}
        [wide] = networks.run([widest], batch)
        torch.testing.assert_close(wide["out"], narrow["out"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("path", [
    "elastic/tiny.fuse", "elastic/small.fuse", "two_stream/space.fuse", "bm_nas/ntu.fuse",
    "mfas/av_mnist.fuse",
])  # fmt: skip
def test_examples_run_on_slices(path: str) -> None:
    graph = load_small(ROOT / "examples" / path).graph
    networks = ElasticNetworks(graph, 0).double().eval()
    for seed in range(3):
        settings = sample(graph, Random(seed)).settings
        batch = batch_for(specialise(graph, settings), double=True)
        [found] = networks.run([settings], batch)
        alone = networks.extracted(settings).run(batch)
        expected = {next(iter(found)): alone} if isinstance(alone, Tensor) else alone
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("path", ["elastic/tiny.fuse", "two_stream/space.fuse"])
def test_an_extracted_network_is_the_same_in_onnx(path: str, tmp_path: Path) -> None:
    graph = load_small(ROOT / "examples" / path).graph
    networks = ElasticNetworks(graph, 0).eval()
    alone = networks.extracted(sample(graph, Random(1)).settings)
    assert export(alone, None, tmp_path / "m.onnx", batch_sizes=(1, 2)).difference < 1e-4


@some(40)
@given(programs(), st.integers(0, 2**16))
def test_any_space_runs_on_slices(program: Program, seed: int) -> None:
    graph = program.graph
    networks = ElasticNetworks(graph, 0).double().eval()
    several = [sample(graph, Random(seed + k)).settings for k in range(2)]
    batch: dict[str, Tensor] = {}
    for settings in several:
        batch |= batch_for(specialise(graph, settings), double=True) | batch
    for settings, found in zip(several, networks.run(several, batch), strict=True):
        alone = networks.extracted(settings)
        values = alone.run(batch)
        expected = {next(iter(found)): values} if isinstance(values, Tensor) else values
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9, equal_nan=True)


def test_every_op_with_weights_is_tried() -> None:
    """And the stacked ones, which only passes write, are none of a space that people write."""
    tried = {node.op.name for body in ALL.values() for node in space(body).order}
    passes = {"stacked_linear", "stacked_layer_norm", "linear_bank"}
    assert {op.name for op in PRIMITIVES.values() if op.weights is not None} <= tried | passes


def test_the_whole_starts_as_the_largest_network_does() -> None:
    graph = load_small(ROOT / "examples/elastic/small.fuse").graph
    networks = ElasticNetworks(graph, 5)
    settings = {key: list(d.settings())[-1] for key, d in graph.decisions.items()}
    expected = lower(specialise(graph, settings), 5).state_dict()
    found = networks.state_of(settings)
    assert set(found) == set(expected)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_named_outputs_need_only_their_inputs() -> None:
    program = loads(
        "fuse 1\nspace two {\n dim N\n input a: f32[N, 3]\n input b: f32[N, 4]\n"
        " share trunk = linear(out=?w of {2, 4})\n"
        " output left = linear(trunk(a), out=2)\n"
        " output right = linear(trunk(linear(b, out=3)), out=5)\n}\n"
    )
    networks = ElasticNetworks(program.graph, 0)
    settings = sample(program.graph, Random(0)).settings
    [found] = networks.run([settings], {"a": torch.ones(2, 3)}, ["left"])
    assert {name: list(value.shape) for name, value in found.items()} == {"left": [2, 2]}
    with pytest.raises(FusegraphError, match="E711"):
        networks.run([settings], {"a": torch.ones(2, 3)})


def test_weights_of_a_named_size_are_refused() -> None:
    x = input_node("x", f32(N, T))
    with pytest.raises(FusegraphError, match="E714"):
        slices_of(net(op("linear", x, key="y", out=3, bias=True)))


def test_levels_have_no_slices() -> None:
    with pytest.raises(FusegraphError, match="E718"):
        slices_of(load_small(ROOT / "examples/assemblenet/moving_digits.fuse").graph)


def test_what_is_kept_of_many_steps_does_not_grow() -> None:
    networks, settings, batch = trial("tied layers", 0)
    optimiser = SlicedOptimiser(networks, TrainSettings(optimiser="adamw"))
    kept: list[int] = []
    for _ in range(3):
        networks.run([settings], batch)[0]["out"].sum().backward()
        optimiser.step(settings, 0.01)
        kept.append(optimiser.views)
    assert kept[0] == kept[1] == kept[2] > 0


def test_one_key_for_kernels_of_different_ranks_is_refused() -> None:
    line, map = input_node("line", f32(N, 2, 5)), input_node("map", f32(N, 2, 5, 5))
    both = {name: op("conv", x, key="f", out=3, kernel=3) for name, x in (("a", line), ("b", map))}
    with pytest.raises(FusegraphError, match="E713"):
        slices_of(net(both))


# ── steps of an optimiser ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("optimiser", ["adamw", "adam", "sgd"])
def test_a_step_moves_the_slices_of_a_network_and_nothing_else(optimiser: str) -> None:
    for name in ("concat", "heads", "batch norm"):
        networks, settings, batch = trial(name, 3)
        given = TrainSettings.model_validate({"optimiser": optimiser, "weight_decay": 0.1})
        sliced = SlicedOptimiser(networks, given)
        before = copy.deepcopy(dict(networks.named_parameters()))
        alone = networks.extracted(settings)
        reference = of_torch(alone, given)
        for _ in range(3):
            sliced.zero_grad()
            reference.zero_grad()
            networks.run([settings], batch)[0]["out"].square().sum().backward()
            sliced.step(settings, 0.01)
            found = alone.run(batch)
            assert isinstance(found, Tensor)
            found.square().sum().backward()
            reference.step()
        state = networks.state_of(settings)
        for weight, parameter in alone.named_parameters():
            torch.testing.assert_close(state[weight].data, parameter.data, rtol=1e-9, atol=1e-9)
        cuts = networks.cuts(settings)
        for weight, parameter in networks.named_parameters():
            moved = (parameter != before[weight]).nonzero().numpy()
            inside = (
                cuts[parameter].entries if parameter in cuts else [np.zeros(0)] * parameter.ndim
            )
            for axis, entries in enumerate(inside):
                assert np.isin(moved[:, axis], entries).all()


def of_torch(network: nn.Module, given: TrainSettings) -> torch.optim.Optimizer:
    if given.optimiser == "sgd":
        return torch.optim.SGD(
            network.parameters(), 0.01, momentum=given.momentum, weight_decay=given.weight_decay
        )
    kind = torch.optim.Adam if given.optimiser == "adam" else torch.optim.AdamW
    return kind(network.parameters(), 0.01, betas=given.betas, weight_decay=given.weight_decay)


def test_an_optimiser_goes_on_where_it_ended() -> None:
    networks, settings, batch = trial("concat", 0)
    given = TrainSettings(optimiser="adamw")
    ends: list[dict[str, Tensor]] = []
    for interrupted in (False, True):
        networks, settings, batch = trial("concat", 0)
        sliced = SlicedOptimiser(networks, given)
        for _ in range(4):
            if interrupted:
                state = copy.deepcopy(sliced.state_dict())
                sliced = SlicedOptimiser(networks, given)
                sliced.load_state_dict(state)
            sliced.zero_grad()
            networks.run([settings], batch)[0]["out"].square().sum().backward()
            sliced.step(settings, 0.01)
        ends.append(copy.deepcopy(networks.state_dict()))
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)
