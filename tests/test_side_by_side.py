"""Networks merged into one program compute what each computes by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fusegraph.backends.names import weight_name
from fusegraph.backends.torch import Network, emit, lower
from fusegraph.backends.torch.packing import pack, unpack
from fusegraph.compiler.explore import sample
from fusegraph.compiler.fusion.side_by_side import SideBySide, name_of, side_by_side
from fusegraph.compiler.pipeline import network
from fusegraph.ir.dsl import Program, loads
from fusegraph.ir.graph import Graph
from generators import SIZES, programs, some
from repository import ROOT
from small_examples import load_small
from torch_backend_networks import batch_for


def prepared(graph: Graph, seed: int, *, training: bool) -> Network:
    """In float64 with nothing random; norms and biases away from where they start."""
    module = lower(graph, seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in module.parameters():
            tensor += 0.1 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
    module.train(training)
    without_chance(module)
    return module


def without_chance(module: Network) -> None:
    for part in module.modules():
        if "Drop" in type(part).__name__:
            part.training = False  # itself alone: a dropout may hold the modules below its key


def results(module: Network, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = module.run(batch)
    return found if isinstance(found, dict) else {module.graph.outputs[0][0]: found}


def weigh(outputs: Mapping[str, Tensor]) -> Tensor:
    """A number that depends on every element of every output, each in its own way."""
    total = torch.zeros((), dtype=torch.float64)
    for tensor in outputs.values():
        by = torch.linspace(0.5, 1.5, tensor.numel(), dtype=torch.float64)
        total = total + (tensor.reshape(-1) * by).sum()
    return total


def joined(fused: SideBySide, modules: Sequence[Network], *, training: bool) -> Network:
    """The fused module with the weights of the plain ones."""
    module = lower(fused.graph).double().train(training)
    without_chance(module)
    state = {name_of(k, n): v for k, m in enumerate(modules) for n, v in m.state_dict().items()}
    module.load_state_dict(pack(fused.packing, state, module.state_dict()))
    return module


def of_one(
    outputs: Mapping[str, Tensor], place: int, alone: Mapping[str, Tensor]
) -> dict[str, Any]:
    """The outputs of the network at this place."""
    return {
        name: outputs[name][place] if name in outputs else outputs[f"n[{place}].{name}"]
        for name in alone
    }


def check(networks: Sequence[Graph], seed: int = 0, *, training: bool = False) -> SideBySide:
    """Outputs, gradients and running statistics of the program are those of the networks."""
    fused = side_by_side(networks, weight_name)
    modules = [prepared(each, seed + k, training=training) for k, each in enumerate(networks)]
    program = joined(fused, modules, training=training)
    batch = batch_for(fused.graph, double=True)
    for module in modules:
        batch.update(
            {n: v for n, v in batch_for(module.graph, double=True).items() if n not in batch}
        )
    together = results(program, batch)
    total = torch.zeros((), dtype=torch.float64)
    for place, module in enumerate(modules):
        alone = results(module, batch)
        mine = of_one(together, place, alone)
        for name, tensor in alone.items():
            torch.testing.assert_close(mine[name], tensor, rtol=1e-10, atol=1e-10)
        total = total + weigh(mine)
        if any(p.requires_grad for p in module.parameters()):
            weigh(alone).backward()
    if total.requires_grad:
        total.backward()
    grads = {
        n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in program.named_parameters()
    }
    grads.update(dict(program.named_buffers()))
    for place, module in enumerate(modules):
        wanted = {
            n: torch.zeros_like(p) if p.grad is None else p.grad
            for n, p in module.named_parameters()
        }
        wanted.update(dict(module.named_buffers()))
        like = {name_of(place, name): value for name, value in wanted.items()}
        found = unpack(fused.packing, grads, like)
        assert found.keys() == like.keys()
        for name, value in like.items():
            torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-10)
    return fused


def count(fused: SideBySide, name: str) -> int:
    return sum(node.op.name == name for node in fused.graph.order)


def networks_of(text: str, many: int = 4, seed: int = 0) -> list[Graph]:
    space, rng = loads(text).graph, Random(seed)
    return [network(space, sample(space, rng)) for _ in range(many)]


# ── for every set of networks ────────────────────────────────────────────────────────────────────


@some(60)
@given(programs(), st.integers(0, 2**20), st.integers(1, 5), st.booleans())
def test_genotypes_of_one_space_compute_what_they_did(
    program: Program, seed: int, count: int, training: bool
) -> None:
    rng = Random(seed)
    check(
        [network(program.graph, sample(program.graph, rng)) for _ in range(count)],
        seed,
        training=training,
    )


@some(30)
@given(programs(), programs(), st.booleans())
def test_networks_that_share_nothing_still_work(
    one: Program, other: Program, training: bool
) -> None:
    rng = Random(0)
    pair = [network(p.graph, sample(p.graph, rng)) for p in (one, other)]
    types = [{node["name"]: node.type for node in each.inputs} for each in pair]
    if all(types[1].get(name, type) is type for name, type in types[0].items()):
        check(pair, training=training)
    else:
        with pytest.raises(ValueError, match="in one network and"):
            side_by_side(pair, weight_name)


@pytest.mark.parametrize("file", ["mfas/av_mnist.fuse", "mfas/ntu.fuse", "mfas/mm_imdb.fuse"])
def test_a_round_of_mfas_is_one_bank_and_a_stack_a_layer(file: str) -> None:
    space = load_small(ROOT / "examples" / file).graph
    rng = Random(0)
    fused = check([network(space, sample(space, rng)) for _ in range(6)])
    assert count(fused, "linear_bank") == 1
    assert count(fused, "linear") == 0


_EXAMPLES = (
    "av_digits/av_digits.fuse",
    "bm_nas/mm_imdb.fuse",
    "bm_nas/ego_gesture_release.fuse",
    "elastic/autoformer_t.fuse",
    "two_stream/x3d.fuse",
)


@pytest.mark.parametrize("file", _EXAMPLES)
@pytest.mark.parametrize("training", [False, True])
def test_networks_of_the_examples_compute_what_they_did(file: str, training: bool) -> None:
    space, rng = load_small(ROOT / "examples" / file).graph, Random(0)
    check([network(space, sample(space, rng)) for _ in range(3)], training=training)


# ── what becomes of what ─────────────────────────────────────────────────────────────────────────

_LAYERS = """fuse 1
space layers {
  dim N
  for i in 1..3 { input x[i]: f32[N, 2 * i] }
  h[1] = ?a of {relu, tanh}(linear(concat(?x of x[*], ?y of x[*]), out=4))
  h[2] = ?b of {relu, tanh}(batch_norm(linear(concat(h[1], ?z of x[*], ?w of x[*]), out=4)))
  output logits = linear(layer_norm(?depth of h[*]), out=3)
}
"""


def test_layers_over_one_input_are_one_product_at_any_depth() -> None:
    fused = check(networks_of(_LAYERS), training=True)
    assert count(fused, "linear_bank") == 1
    assert count(fused, "linear") == 0
    assert count(fused, "batch_norm") <= 1


def test_sums_of_a_bank_and_a_layer_are_folded_into_the_layer() -> None:
    text = _LAYERS.replace("?depth of h[*]", "h[2]").replace("batch_norm", "tanh")
    fused = check(networks_of(text))
    assert count(fused, "sum") == 0


def test_networks_of_different_depth_end_together() -> None:
    text = """fuse 1
space depths {
  dim N
  input x: f32[N, 4]
  h[0] = tanh(linear(x, out=4))
  for i in 1..5 { h[i] = tanh(linear(h[i - 1], out=4)) }
  output logits = linear(?depth of h[*], out=3)
}
"""
    networks = networks_of(text, 6, seed=3)
    assert len({len(each.order) for each in networks}) > 2
    fused = check(networks)
    classifiers = [n for n in fused.graph.order if n.op.name == "stacked_linear" and n["out"] == 3]
    assert len(classifiers) == 1


def test_maps_are_stacked_too() -> None:
    text = """fuse 1
use "std/bm_nas": attention, linear_glu, concat_fc
space maps {
  dim N
  input x: f32[N, 4, 6, 5]
  input y: f32[N, 4, 6, 5]
  a = max_pool(relu(group_norm(conv(?p of {x, y}, out=8, kernel=3, pad=1), groups=2)), kernel=2)
  b = adaptive_avg_pool(batch_norm(conv(a, out=4, kernel=2, groups=2)), size=(2, 3))
  c = reshape(b, shape=(N, 4, 6))
  s = ?op of {attention, linear_glu, concat_fc}(c, tanh(c))
  t = pad(slice(s, axis=2, start=1), pad=1) * parameter(shape=(1, 4, 7), init="normal")
  u = softmax(transpose(mean(t, axis=2, keep=true)), axis=2)
  output logits = linear(concat(flatten(u), amax(t, axis=2)), out=3)
}
"""
    fused = check(networks_of(text), training=True)
    assert count(fused, "conv") < 4


def test_tied_weights_stay_one() -> None:
    text = """fuse 1
space tied {
  dim N
  input x: f32[N, 4]
  input y: f32[N, 4]
  share half = linear(out=3)
  output logits = linear(concat(half(?p of {x, y}), half(y)), out=2)
}
"""
    fused = check(networks_of(text))
    assert not any(len(pieces) > 4 for pieces in fused.packing.pieces.values())


def test_what_has_no_stack_is_computed_one_by_one() -> None:
    text = """fuse 1
space words {
  dim N
  input w: i64[N]
  output logits = drop_path(linear(embedding(w, rows=5, out=3), out=2), p=0.1)
}
"""
    fused = check(networks_of(text))
    assert count(fused, "embedding") == count(fused, "drop_path") == 4
    assert count(fused, "stacked_linear") == 1


def test_one_network_alone_is_no_special_case() -> None:
    check(networks_of(_LAYERS, 1))


def test_equal_networks_have_weights_of_their_own() -> None:
    (one,) = networks_of(_LAYERS, 1)
    fused = check([one, one, one])
    assert len({source for source in fused.packing.sources if source.startswith("2:")}) > 2


def test_outputs_of_different_types_stay_apart() -> None:
    text = """fuse 1
space widths {
  dim N
  input x: f32[N, 4]
  h = relu(linear(x, out=?w of {2, 3}))
  output hidden = h
  output logits = linear(h, out=2)
}
"""
    fused = check(networks_of(text, 5))
    names = [name for name, _ in fused.graph.outputs]
    assert names == ["logits", *[f"n[{k}].hidden" for k in range(5)]]


def test_an_operand_is_shared_only_where_all_share_it() -> None:
    text = """fuse 1
space gated {
  dim N
  input x: f32[N, 4]
  input y: f32[N, 4]
  output logits = ?p of {x, y} * tanh(linear(x, out=4))
}
"""
    space = loads(text).graph
    of_x, of_y = [network(space, {"logits.p": (place,)}) for place in (0, 1)]
    check([of_x, of_y, of_x])
    assert count(check([of_x, of_x, of_x]), "stack") == 0


def test_dropout_draws_a_mask_for_each_network() -> None:
    text = (
        "fuse 1\nspace s { dim N\n input x: f32[N, 64]\n output o = dropout(linear(x, out=64)) }\n"
    )
    (one,) = networks_of(text, 1)
    fused = side_by_side([one, one], weight_name)
    module = lower(fused.graph).train()
    first, second = results(module, {"x": torch.randn(SIZES["N"], 64)})["o"]
    assert not torch.equal(first.eq(0), second.eq(0))


@pytest.mark.parametrize(
    ("cuts", "splits"),
    [
        (((0, 2), (2, 3), (3, 6)), 1),
        (((3, 6), (0, 3)), 1),
        (((0, 2), (2, 4)), 0),
        (((0, 4), (3, 6)), 0),
        (((1, 3), (3, 6)), 0),
    ],
)
def test_slices_that_share_out_a_tensor_are_one_split(
    cuts: Sequence[tuple[int, int]], splits: int
) -> None:
    parts = ", ".join([f"tanh(slice(h, axis=1, start={a}, stop={b}))" for a, b in cuts])
    text = (
        "fuse 1\nspace s { dim N\n input x: f32[N, 4]\n h = relu(linear(x, out=6))\n"
        f" output o = concat({parts}) }}\n"
    )
    module = lower(loads(text).graph, 0).double()
    assert module.source.count("split_with_sizes") == splits
    x = torch.randn(3, 4, dtype=torch.float64)
    weights = list(module.state_dict().values())
    h = torch.relu(torch.nn.functional.linear(x, *weights))
    expected = torch.cat([torch.tanh(h[:, a:b]) for a, b in cuts], 1)
    torch.testing.assert_close(module(x), expected)


def test_the_program_is_emitted_with_the_helpers_that_it_needs() -> None:
    fused = side_by_side(networks_of(_LAYERS), weight_name)
    module = lower(fused.graph, 0).eval()
    space: dict[str, Any] = {}
    exec(compile(emit(fused.graph, "together"), "together.py", "exec"), space)  # noqa: S102
    other = space["Together"]().eval()
    other.load_state_dict(module.state_dict())
    batch = batch_for(fused.graph)
    positional = [batch[name] for name in module.parameter_names]
    torch.testing.assert_close(other(*positional), module(*positional))
