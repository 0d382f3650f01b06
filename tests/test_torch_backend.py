"""The torch backend: what a lowered network promises besides computing the right numbers."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import traceback
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fusegraph.backends.names import OWN_NAMES, TORCH_NAMES, path_of, state_name
from fusegraph.backends.torch import Network, lower
from fusegraph.backends.torch.modules import DropPath
from fusegraph.compiler.cost import cost
from fusegraph.ir.cells import expand
from fusegraph.ir.decisions import OneOf
from fusegraph.ir.diagnostics import FusegraphError, explain
from fusegraph.ir.dims import call, divide, symbol
from fusegraph.ir.graph import Graph, graph
from fusegraph.ir.node import choice, input_node
from fusegraph.ir.settling import bind
from fusegraph.ir.types import tensor
from torch_backend_networks import (
    SIZES,
    N,
    T,
    attention,
    batch_for,
    bm_nas,
    chain,
    f32,
    fusion,
    mfas,
    net,
    op,
)

NETWORKS = [mfas(width=16), bm_nas(), chain(30)]
_by_name = pytest.mark.parametrize("network", NETWORKS, ids=lambda g: g.name)


def _tensor(found: torch.Tensor | dict[str, torch.Tensor]) -> torch.Tensor:
    assert isinstance(found, torch.Tensor)
    return found


def _doubled(_module: nn.Module, _inputs: object, output: Any) -> Any:
    return output * 2


def _code(error: pytest.ExceptionInfo[FusegraphError]) -> str:
    (found,) = error.value.diagnostics
    assert found.message
    assert found.help
    assert explain(found.code) is not None
    return found.code


# ── what it computes and costs ───────────────────────────────────────────────────────────────────


@_by_name
def test_parameters_are_those_that_the_graph_counts(network: Graph) -> None:
    module = lower(network)
    assert sum(p.numel() for p in module.parameters()) == cost(network).parameters


def test_published_network_has_the_published_parameters() -> None:
    """Table 5 of the MFAS paper counts the fusion layers, without the classifier."""
    module = lower(mfas())
    assert sum(p.numel() for p in module.get_submodule("h").parameters()) == 2_229_248


@_by_name
def test_flops_equal_those_of_an_independent_counter(network: Graph) -> None:
    module = lower(network).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module.run(batch_for(network))
    counted = cost(network).flops
    per_batch = int(str(counted).split("*")[0]) * SIZES["N"]
    assert counter.get_total_flops() == per_batch


@_by_name
def test_composites_compute_what_their_bodies_compute(network: Graph) -> None:
    whole, flat = lower(network, seed=3).eval(), lower(expand(network), seed=3).eval()
    batch = batch_for(network)
    torch.testing.assert_close(whole.run(batch), flat.run(batch), rtol=0, atol=0)
    assert set(whole.state_dict()) == set(flat.state_dict())


def test_shared_composite_is_computed_once() -> None:
    x, y = input_node("x", f32(N, 4, 6)), input_node("y", f32(N, 4, 6))
    twice = op("concat", attention(x, y), op("relu", attention(x, y)))
    assert lower(net(twice)).source.count("softmax(") == 1


def test_inputs_go_by_position_by_name_and_in_a_batch() -> None:
    network = mfas(width=4)
    module = lower(network).eval()
    batch = batch_for(network)
    expected = _tensor(module.run({**batch, "not needed": torch.zeros(1)}))
    positional = module(*[batch[node["name"]] for node in network.inputs])
    named = module(**{module.parameter_names[name]: value for name, value in batch.items()})
    torch.testing.assert_close(positional, expected, rtol=0, atol=0)
    torch.testing.assert_close(named, expected, rtol=0, atol=0)
    assert module.parameter_names["skeleton[2]"] == "skeleton_2"


def test_several_outputs_come_by_name() -> None:
    x = input_node("x", f32(N, 4))
    h = op("linear", x, out=3, key="h")
    outputs = lower(net({"logits": h, "the features": op("relu", h), "x": x})).run(
        {"x": torch.ones(2, 4)}
    )
    assert isinstance(outputs, dict)
    assert list(outputs) == ["logits", "the features", "x"]
    torch.testing.assert_close(outputs["the features"], outputs["logits"].relu())


def test_named_sizes_are_read_from_the_inputs() -> None:
    x = input_node("x", f32(N, 2 * T + 1, 3))
    middle = op("reshape", op("slice", x, axis=1, start=1), shape=(N * T, 2, 3))
    found = lower(net(middle)).run({"x": torch.arange(45.0).reshape(3, 5, 3)})
    assert _tensor(found).shape == (6, 2, 3)


SIZES_AS_CODE = [
    (T + N - 1, 8),
    (2 * T * N, 36),
    (T // 4, 1),
    ((T + 1) % 4 + 1, 4),
    (divide(T * (T + 1), 2), 21),
    (divide(T, 4) * 8, 12),
    (divide(T, 4) + divide(N, 2), 3),
    (call("ceil", divide(T, 4)), 2),
    (call("floor", divide(T, 4)), 1),
    (call("round", divide(T, 4)), 2),
    (call("round8", T * 2.25), 16),
    (call("sqrt", T + 3), 3),
    (call("pow", T - 4, N), 8),
    (call("min", T, 4), 4),
    (call("max", T, 4 * N), 12),
    (call("abs", N - T), 3),
    (call("ceil", call("div", T * 5, N + 1)) // 3, 2),
]


@pytest.mark.parametrize(("size", "value"), SIZES_AS_CODE, ids=lambda case: str(case))
def test_arithmetic_of_named_sizes_becomes_python(size: Any, value: int) -> None:
    x = input_node("x", f32(N, T))
    network = net(
        op("concat", op("reshape", x, shape=(N * T, 1)), op("zeros", shape=(size, 1)), axis=0)
    )
    assert _tensor(lower(network).run(batch_for(network))).shape == (18 + value, 1)
    assert bind(size, SIZES) == value


def test_variables_of_one_paragraph_leave_those_of_others_alone() -> None:
    x = input_node("x", f32(N, 4))
    first = op("linear", x, out=4, key="a.linear")
    second = op("relu", op("linear", first, out=4, key="b.linear"))
    module = lower(net({"linear": first, "relu": second, "concat": op("concat", first, second)}))
    found = module.run(batch_for(module.graph))
    assert isinstance(found, dict)
    torch.testing.assert_close(found["concat"], torch.cat((found["linear"], found["relu"]), 1))
    torch.testing.assert_close(
        found["linear"], module.get_submodule("a.linear")(batch_for(module.graph)["x"])
    )


def test_one_module_serves_every_size_of_the_batch() -> None:
    module = lower(bm_nas(), seed=0).eval()
    big = batch_for(module.graph, sizes={"N": 7})
    whole = _tensor(module.run(big))
    alone = _tensor(module.run({name: value[4:5] for name, value in big.items()}))
    torch.testing.assert_close(whole[4:5], alone)


def test_zeros_take_the_dtype_and_the_size_of_the_input() -> None:
    x = input_node("x", f32(N, 4))
    module = lower(net(op("concat", x, op("zeros", shape=(N, 2)))))
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        found = _tensor(module.run({"x": torch.ones(5, 4, dtype=dtype)}))
        assert found.shape == (5, 6)
        assert found.dtype == dtype


def test_whole_inputs_alone_leave_zeros_to_the_weights() -> None:
    x = input_node("x", tensor("i64", (N,)))
    table = op("embedding", x, rows=9, out=4, key="words")
    module = lower(net(op("sum", table, op("zeros", shape=(N, 4))))).double()
    assert _tensor(module.run({"x": torch.arange(3)})).dtype == torch.float64


def test_layers_over_half_and_double_inputs_have_weights_of_these() -> None:
    x = input_node("x", tensor("f64", (N, 4)))
    module = lower(net(op("batch_norm", op("linear", x, out=3, key="h"), key="n")))
    assert {p.dtype for p in module.parameters()} == {torch.float64}
    assert _tensor(module.run({"x": torch.ones(2, 4, dtype=torch.float64)})).dtype == torch.float64


# ── names ────────────────────────────────────────────────────────────────────────────────────────


def test_state_dict_is_named_by_the_keys() -> None:
    names = list(lower(bm_nas()).state_dict())
    assert "c.1.s.2.linear_glu.linear.weight" not in names
    assert "c.1.s.2.linear.weight" in names
    assert "video.1.batch_norm.running_mean" in names
    assert "c.2.layer_norm.bias" in names


def test_reserved_names_cover_this_torch() -> None:
    layers = [
        nn.Linear(1, 1), nn.Conv1d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.Conv3d(1, 1, 1),
        nn.BatchNorm1d(1), nn.BatchNorm2d(1), nn.BatchNorm3d(1), nn.LayerNorm(1),
        nn.GroupNorm(1, 1), nn.Embedding(1, 1), nn.Dropout(),
    ]  # fmt: skip
    used = {name for layer in layers for name in dir(layer) if not name.startswith("_")}
    assert used <= TORCH_NAMES
    own = {name for name in (*dir(Network), *Network.__annotations__) if not name.startswith("_")}
    assert own - set(dir(nn.Module)) == OWN_NAMES


HOSTILE_KEYS = [
    "values", "type", "type_", "half", "pop", "weight", "forward", "training", "graph", "run",
    "keys", "lambda", "class", "self", "_modules", "__class__", "__init__", "esc_a", "esc_esc__a",
    "a b", "a\nimport os", '"""', "a.b", "a[1]", "a[01]", "a.1", "a[-1]", "a_1", "naïve", "名",
    "1", "", "a..b", "a[1", "h['x']", "{x}", "\\", "x" * 300,
    "a b!", "a_20_b!",
]  # fmt: skip


def test_no_two_keys_have_one_path() -> None:
    found: dict[str, str] = {}
    for key in HOSTILE_KEYS:
        name = state_name(key)
        assert name not in found, (key, found[name])
        found[name] = key
        for part in path_of(key):
            assert part.isidentifier() or part.isdigit()
            assert not hasattr(nn.Linear(1, 1), part)
    assert state_name("c[1].s[2].linear_glu") == "c.1.s.2.linear_glu"
    assert state_name("type") == "type_"


def test_hostile_keys_name_modules_that_work() -> None:
    x = input_node("x", f32(N, 2))
    keys = [key for key in HOSTILE_KEYS if key]
    module = lower(net(op("sum", *[op("linear", x, out=2, key=key) for key in keys])))
    assert _tensor(module(torch.ones(3, 2))).shape == (3, 2)
    assert set(dict(module.named_parameters())) == {
        f"{state_name(key)}.{name}" for key in keys for name in ("weight", "bias")
    }


def test_hostile_names_of_inputs_outputs_sizes_and_networks_are_only_names() -> None:
    names = [
        "x); import os; (", "def", "self", "torch", "int", "F", 'a"""b', "x\n", "x", "", "sum",
        "N", "Tensor", "functools", "linear", "relu",
    ]  # fmt: skip
    size = symbol("M] = 0; assert False  #")
    inputs = [input_node(name, tensor("f32", (size, 2))) for name in names]
    total = op("sum", *[op("relu", op("linear", i, out=2, key="relu")) for i in inputs])
    outputs = {'a"b\n\\': op("reshape", total, shape=(2 * size,)), "relu": total}
    for title in ("import os\n", "", "1", "class", 'x"""\nassert False'):
        network = graph(title, inputs, list(outputs.items()))
        found = lower(network).run({name: torch.ones(4, 2) for name in names})
        assert isinstance(found, dict)
        assert list(found) == list(outputs)
        assert found['a"b\n\\'].shape == (8,)


def test_owner_may_hold_other_owners() -> None:
    x = input_node("x", f32(N, 4))
    below = op("linear", op("linear", x, out=4, key="h.linear"), out=4, key="h[2].conv")
    module = lower(net(op("linear", below, out=4, key="h")))
    assert set(dict(module.named_parameters())) == {
        f"{owner}.{name}" for owner in ("h", "h.linear", "h.2.conv") for name in ("weight", "bias")
    }
    assert _tensor(module(torch.ones(2, 4))).shape == (2, 4)


# ── tied weights ─────────────────────────────────────────────────────────────────────────────────


def test_one_key_is_one_module() -> None:
    left, right = input_node("left", f32(N, 4)), input_node("right", f32(N, 4))
    branches = [op("linear", x, out=3, key="tower") for x in (left, right)]
    module = lower(net(op("sub", *branches)))
    assert len(list(module.parameters())) == 2
    same = torch.randn(2, 4)
    assert not _tensor(module(same, same)).any()


def test_tied_convolutions_may_differ_in_stride_and_dilation() -> None:
    x = input_node("x", f32(N, 2, 9))
    first = op("conv", x, out=3, kernel=3, key="c")
    second = op("conv", x, out=3, kernel=3, dilation=2, stride=2, pad=((1, 0),), key="c")
    module = lower(net({"a": first, "b": second})).eval()
    batch = batch_for(module.graph)
    found = module.run(batch)
    assert isinstance(found, dict)
    weight, bias = module.get_parameter("c.weight"), module.get_parameter("c.bias")
    padded = nn.functional.pad(batch["x"], (1, 0))
    torch.testing.assert_close(found["a"], nn.functional.conv1d(batch["x"], weight, bias))
    torch.testing.assert_close(
        found["b"], nn.functional.conv1d(padded, weight, bias, stride=2, dilation=2)
    )


def test_embedding_and_classifier_may_share_their_table() -> None:
    words = input_node("words", tensor("i64", (N, 3)))
    h = op("embedding", words, rows=7, out=4, key="words")
    for outputs in (
        {"logits": op("linear", h, out=7, bias=False, key="words")},
        {"logits": op("linear", h, out=7, bias=False, key="words"), "h": h},
    ):
        module = lower(net(outputs), seed=0)
        table = lower(net(h), seed=0).get_parameter("words.weight")
        assert [tuple(p.shape) for p in module.parameters()] == [(7, 4)]
        torch.testing.assert_close(module.get_parameter("words.weight"), table)


@pytest.mark.parametrize("name", ["batch_norm", "layer_norm", "group_norm", "parameter", "linear"])
def test_borrowed_weights_compute_the_same(name: str) -> None:
    """Two uses that differ in an attribute share one module; each equals itself alone."""
    x = input_node("x", f32(N, 4, 4))
    variants = {
        "batch_norm": ({"eps": 0.1}, {"eps": 0.5}),
        "layer_norm": ({"eps": 0.1, "axis": 2}, {"eps": 0.5, "axis": 2}),
        "group_norm": ({"groups": 2}, {"groups": 4}),
        "parameter": ({"shape": (3, 4), "init": "ones"}, {"shape": (3, 4), "init": "zeros"}),
        "linear": ({"out": 4, "axis": 1}, {"out": 4, "axis": 2}),
    }[name]
    inputs = [] if name == "parameter" else [x]
    nodes = [op(name, *inputs, key="w", **attrs) for attrs in variants]
    together = lower(net({"a": nodes[0], "b": nodes[1]}), seed=0).eval()
    weights = together.state_dict()
    assert len([k for k in weights if k.endswith("weight")]) == 1
    outputs = together.run(batch_for(together.graph))
    assert isinstance(outputs, dict)
    for label, node in zip("ab", nodes, strict=True):
        alone = lower(net(node)).eval()
        alone.load_state_dict(weights)
        torch.testing.assert_close(alone.run(batch_for(alone.graph)), outputs[label])


# ── initialisation ───────────────────────────────────────────────────────────────────────────────


def test_seed_fixes_the_start_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (lower(bm_nas(), seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first["c.1.s.2.linear.weight"], first["c.2.s.2.linear.weight"])
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["logits.linear.weight"], other["logits.linear.weight"])


def test_layer_starts_the_same_in_every_network() -> None:
    one = lower(mfas(width=8), seed=4)
    other = lower(mfas(((0, 0, "relu"), (1, 0, "relu")), width=8), seed=4)
    name = "h.2.linear.weight"
    torch.testing.assert_close(one.get_parameter(name), other.get_parameter(name), rtol=0, atol=0)


def test_without_a_seed_torch_draws() -> None:
    torch.manual_seed(3)
    module = lower(net(op("linear", input_node("x", f32(N, 6)), out=5, key="h")))
    torch.manual_seed(3)
    torch.testing.assert_close(module.get_parameter("h.weight"), nn.Linear(6, 5).weight)


@pytest.mark.parametrize(
    ("init", "mean", "std", "bound"),
    [
        ("zeros", 0.0, 0.0, 0.0),
        ("ones", 1.0, 0.0, 1.0),
        ("normal", 0.0, 0.3, 5.0),
        ("truncated_normal", 0.0, 0.88 * 0.3, 0.6),
        ("uniform", 0.0, 0.3, 0.3 * 3**0.5),
    ],
)
def test_parameters_start_as_told(init: str, mean: float, std: float, bound: float) -> None:
    module = lower(net(op("parameter", shape=(100, 200), init=init, std=0.3, key="w")), seed=0)
    weight = module.get_parameter("w.weight").detach()
    assert float(weight.mean()) == pytest.approx(mean, abs=0.01)
    assert float(weight.std()) == pytest.approx(std, abs=0.005)
    assert float(weight.abs().max()) <= bound


def test_batch_norm_starts_at_gamma() -> None:
    x = input_node("x", f32(N, 4))
    module = lower(net(op("batch_norm", x, gamma=0.25, key="n")))
    assert module.get_parameter("n.weight").tolist() == [0.25] * 4


def test_seeded_network_lands_on_the_default_device() -> None:
    with torch.device("meta"):
        module = lower(mfas(width=4), seed=1)
    assert {p.device.type for p in module.parameters()} == {"meta"}


# ── as a module ──────────────────────────────────────────────────────────────────────────────────


@_by_name
def test_training_reaches_every_weight(network: Graph) -> None:
    module = lower(network, seed=0)
    _tensor(module.run(batch_for(network))).square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())


@_by_name
def test_deep_copies_are_apart_and_equal(network: Graph) -> None:
    module = lower(network, seed=0).eval()
    module.register_forward_hook(_doubled)
    twin = copy.deepcopy(module)
    assert type(twin) is type(module)
    batch = batch_for(network)
    torch.testing.assert_close(twin.run(batch), module.run(batch), rtol=0, atol=0)
    with torch.no_grad():
        next(twin.parameters()).zero_()
    assert next(module.parameters()).any()


@_by_name
def test_pickles_carry_graph_weights_and_mode(network: Graph) -> None:
    module = lower(network, seed=0).eval()
    module.register_buffer("extra", torch.tensor(3))
    again = pickle.loads(pickle.dumps(module))  # noqa: S301  (our own bytes)
    assert isinstance(again, Network)
    assert again.graph is network
    assert not again.training
    assert int(again.get_buffer("extra")) == 3
    batch = batch_for(network)
    torch.testing.assert_close(again.run(batch), module.run(batch), rtol=0, atol=0)


def test_state_dicts_are_stored_and_loaded() -> None:
    module, other = lower(bm_nas(), seed=0), lower(bm_nas(), seed=1)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    batch = batch_for(module.graph)
    torch.testing.assert_close(other.eval().run(batch), module.eval().run(batch))


def test_compiles_without_a_graph_break() -> None:
    module = lower(bm_nas(), seed=0).eval()
    batch = batch_for(module.graph)
    names = list(module.parameter_names)
    compiled = torch.compile(module, fullgraph=True, backend="eager", dynamic=True)
    for size in (3, 5):
        batch = batch_for(module.graph, sizes={"N": size})
        expected = module.run(batch)
        torch.testing.assert_close(compiled(*[batch[name] for name in names]), expected)


def test_autocast_lowers_the_precision_of_products() -> None:
    module = lower(bm_nas(), seed=0).eval()
    batch = batch_for(module.graph)
    full = _tensor(module.run(batch))
    with torch.autocast("cpu", torch.bfloat16):
        half = _tensor(module.run(batch))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), full, rtol=0.1, atol=0.1)


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    x = input_node("x", f32(N, 3, 2))
    module = lower(net(op("drop_path", x, p=0.25, key="path")))
    assert isinstance(module.get_submodule("path"), DropPath)
    torch.manual_seed(0)
    found = _tensor(module(torch.ones(4000, 3, 2)))
    per_sample = found.reshape(4000, -1)
    assert torch.equal(per_sample.amin(1), per_sample.amax(1))
    assert sorted(set(per_sample[:, 0].tolist())) == pytest.approx([0, 4 / 3])
    assert float(found.mean()) == pytest.approx(1, abs=0.05)
    assert torch.equal(module.eval()(torch.ones(5, 3, 2)), torch.ones(5, 3, 2))


def test_dropout_draws_in_training_only() -> None:
    x = input_node("x", f32(N, 50))
    for key in ("drop", ""):
        module = lower(net(op("dropout", x, p=0.5, key=key)))
        ones = torch.ones(20, 50)
        assert 0 in module(ones)
        assert torch.equal(module.eval()(ones), ones)


def test_batch_norm_learns_its_statistics() -> None:
    x = input_node("x", f32(N, 2))
    module = lower(net(op("batch_norm", x, momentum=1.0, key="n")))
    module(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    torch.testing.assert_close(module.get_buffer("n.running_mean"), torch.tensor([2.0, 4.0]))


def test_code_is_shown_by_inspection_and_in_tracebacks() -> None:
    module = lower(mfas(width=4))
    assert "h_1 = F.relu(linear)" in inspect.getsource(module.forward)
    wrong = {name: torch.zeros(2, 3) for name in module.parameter_names}
    with pytest.raises(RuntimeError) as error:
        module(*wrong.values())
    text = "".join(traceback.format_exception(error.value))
    assert "linear = self.h[1].linear(concat)" in text


def test_memory_of_what_is_no_longer_read_is_freed() -> None:
    lines = lower(chain(8)).source.splitlines()
    assert [line.strip() for line in lines if "del " in line] == ["del h_0", "del h_1"]


def test_networks_deeper_than_the_stack_lower_run_train_and_copy() -> None:
    network = chain(3_000)  # Python's recursion ends at 1,000
    module = lower(network, seed=0)
    found = _tensor(module.run(batch_for(network)))
    found.sum().backward()
    twin = copy.deepcopy(module)
    np.testing.assert_array_equal(
        _tensor(twin.run(batch_for(network))).detach().numpy(), found.detach().numpy()
    )


def test_networks_deeper_than_the_stack_pickle() -> None:
    module = lower(chain(3_000), seed=0)
    again = pickle.loads(pickle.dumps(module))  # noqa: S301  (our own bytes)
    assert again.graph is module.graph


def test_wide_sums_and_products_lower() -> None:
    x = input_node("x", f32(N, 2))
    many = [op("shift", x, by=float(i)) for i in range(3000)]
    for name in ("sum", "mul", "maximum", "concat"):
        assert _tensor(lower(net(op(name, *many)))(torch.zeros(1, 2))).shape[0] == 1


# ── what is wrong with an input ──────────────────────────────────────────────────────────────────


def test_space_with_open_decisions_is_refused() -> None:
    x = input_node("x", f32(N, 4))
    decision = OneOf("act", ("relu", "sigmoid"))
    space = net(choice(decision, 0, [op("relu", x), op("sigmoid", x)]))
    with pytest.raises(FusegraphError, match="1 decision is open") as error:
        lower(space)
    assert _code(error) == "E710"
    assert "open: act" in error.value.diagnostics[0].notes


def test_missing_input_is_named() -> None:
    module = lower(mfas(width=4))
    batch = batch_for(module.graph)
    del batch["video[2]"]
    with pytest.raises(FusegraphError, match=r"no `video\[2\]`") as error:
        module.run(batch)
    assert _code(error) == "E711"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("video[2]", torch.zeros(3, 7), r"float32\[3, 7\], and the network takes f32\[N, 1024\]"),
        ("video[2]", torch.zeros(3, 1024, 1), "takes"),
        ("video[2]", torch.zeros(3, 1024, dtype=torch.int64), r"int64\[3, 1024\]"),
        ("video[3]", torch.zeros(4, 2048), "takes"),
    ],
)
def test_tensor_of_another_type_is_named(name: str, value: torch.Tensor, message: str) -> None:
    module = lower(mfas(width=4))
    with pytest.raises(FusegraphError, match=message) as error:
        module.run({**batch_for(module.graph), name: value})
    assert _code(error) == "E712"


def test_one_key_with_two_shapes_is_refused() -> None:
    x = input_node("x", f32(N, 4))
    twice = op("linear", op("linear", x, out=3, key="h"), out=3, key="h")
    with pytest.raises(FusegraphError, match="`h` cannot share") as error:
        lower(net(twice))
    assert _code(error) == "E713"
    assert "one is `linear` with weight[3, 4], bias[3]" in error.value.diagnostics[0].notes


def test_one_key_for_layer_and_dropout_is_refused() -> None:
    x = input_node("x", f32(N, 4))
    with pytest.raises(FusegraphError, match="cannot share") as error:
        lower(net(op("dropout", op("linear", x, out=3, key="h"), key="h")))
    assert _code(error) == "E713"


@pytest.mark.parametrize("name", ["linear", "layer_norm", "parameter"])
def test_weights_of_unknown_size_are_refused(name: str) -> None:
    x = input_node("x", f32(N, T))
    attrs = {"linear": {"out": 2}, "layer_norm": {}, "parameter": {"shape": (N, T)}}[name]
    inputs = [] if name == "parameter" else [x]
    with pytest.raises(FusegraphError, match="known only at run time") as error:
        lower(net(op(name, *inputs, key="h", **attrs)))
    assert _code(error) == "E714"


def test_size_that_no_input_tells_is_refused() -> None:
    with pytest.raises(FusegraphError, match="`T` is needed") as error:
        lower(net(op("concat", input_node("x", f32(N, 4)), op("zeros", shape=(N, T)))))
    assert _code(error) == "E715"


def test_weights_without_a_key_are_refused() -> None:
    with pytest.raises(FusegraphError, match="no key") as error:
        lower(net(op("linear", input_node("x", f32(N, 4)), out=2)))
    assert _code(error) == "E716"


def test_cells_read_like_their_source() -> None:
    x, y = input_node("x", f32(N, 4, 6)), input_node("y", f32(N, 4, 6))
    source = lower(net(fusion(x, y, "c[1]"))).source
    headings = [line.strip() for line in source.splitlines() if line.strip().startswith("#")]
    assert headings == ["# attention", "# c[1].s[2]: linear_glu", "# c[1]: fusion"]
