"""Sampled networks compute together what each computes alone, with the same weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from fusegraph.backends.torch import Network, lower, sampled_build
from fusegraph.backends.torch.modules import DropPath
from fusegraph.backends.torch.sampled import SampledNetworks
from fusegraph.compiler.explore import sample
from fusegraph.compiler.pipeline import network
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import Program, loads
from fusegraph.ir.graph import Graph
from generators import programs, some
from repository import ROOT
from small_examples import load_small
from torch_backend_networks import batch_for


def alone(shared: SampledNetworks, graph: Graph) -> Network:
    """The network lowered by itself, on the very tensors of the shared weights."""
    module = lower(graph)
    for name, value in shared.state_of(graph).items():
        path, _, leaf = name.rpartition(".")
        owner = module.get_submodule(path)
        if isinstance(value, nn.Parameter):
            setattr(owner, leaf, value)
        else:
            owner.register_buffer(leaf, value)
    return module.train(shared.training)


def weigh(outputs: Mapping[str, Tensor]) -> Tensor:
    """A number that depends on every element of every output, each in its own way."""
    total = torch.zeros((), dtype=torch.float64)
    for tensor in outputs.values():
        by = torch.linspace(0.5, 1.5, tensor.numel(), dtype=torch.float64)
        total = total + (tensor.reshape(-1) * by).sum() / tensor.numel()
    return total


def batch_of(networks: Sequence[Graph]) -> dict[str, Tensor]:
    batch: dict[str, Tensor] = {}
    for each in networks:
        found = batch_for(each, double=True)
        batch.update({name: value for name, value in found.items() if name not in batch})
    return batch


def check(space: Graph, networks: Sequence[Graph], *, training: bool) -> SampledNetworks:
    """Outputs, gradients and running statistics are those of one network after the other."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (nn.Dropout, DropPath):
            patch.setattr(kind, "forward", lambda self, x: x)
        together = SampledNetworks(space, 0).double().train(training)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for tensor in together.parameters():
                tensor += 0.1 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        apart = copy.deepcopy(together)
        batch = batch_of(networks)
        outputs = together.run(networks, batch)
        total = torch.zeros((), dtype=torch.float64)
        for place, (graph, mine) in enumerate(zip(networks, outputs, strict=True)):
            found = alone(apart, graph).run(batch)
            theirs = found if isinstance(found, dict) else {graph.outputs[0][0]: found}
            assert list(mine) == list(theirs)
            for name, value in theirs.items():
                torch.testing.assert_close(mine[name], value, rtol=1e-12, atol=1e-12)
            total = total + (place + 1) * weigh(mine)
            loss = (place + 1) * weigh(theirs)
            if loss.requires_grad:
                loss.backward()
        if total.requires_grad:
            total.backward()
    wanted = dict(apart.named_parameters())
    for name, parameter in together.named_parameters():
        theirs = wanted[name].grad
        assert (parameter.grad is None) == (theirs is None), name
        if theirs is not None:
            torch.testing.assert_close(parameter.grad, theirs, rtol=1e-9, atol=1e-12)
    buffers = dict(apart.named_buffers())
    for name, buffer in together.named_buffers():
        torch.testing.assert_close(buffer, buffers[name], rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        together.eval()
        assert [list(each) for each in together.run(networks, batch)] == [*map(list, outputs)]
    return together


def drawn(space: Graph, many: int, seed: int = 0) -> list[Graph]:
    rng = Random(seed)
    return [network(space, sample(space, rng)) for _ in range(many)]


# ── for every set of networks ────────────────────────────────────────────────────────────────────


@some(60)
@given(programs(), st.integers(0, 2**20), st.integers(1, 5), st.booleans())
def test_genotypes_of_one_space_compute_what_they_do_alone(
    program: Program, seed: int, count: int, training: bool
) -> None:
    check(program.graph, drawn(program.graph, count, seed), training=training)


_EXAMPLES = (
    "mfas/ntu.fuse",
    "mfas/av_mnist.fuse",
    "mfas/mm_imdb.fuse",
    "bm_nas/ntu.fuse",
    "bm_nas/mm_imdb.fuse",
    "elastic/autoformer_t.fuse",
)


@pytest.mark.parametrize("file", _EXAMPLES)
@pytest.mark.parametrize("training", [False, True])
def test_networks_of_the_examples_compute_what_they_do_alone(file: str, training: bool) -> None:
    space = load_small(ROOT / "examples" / file).graph
    networks = drawn(space, 5)
    check(space, [*networks, networks[1]], training=training)


# ── batch norms ──────────────────────────────────────────────────────────────────────────────────


_NORMS = """fuse 1
space norms {
  dim N
  input x: f32[N, 4]
  input y: f32[N, 4]
  share norm = batch_norm(momentum=0.3)
  a = norm(?p of {x, y})
  b = norm(?q of {a, x, y})
  output logits = linear(batch_norm(b), out=2)
}
"""


def test_statistics_are_of_each_network_and_updated_in_their_order() -> None:
    space = loads(_NORMS).graph
    networks = drawn(space, 4, seed=1)
    one = check(space, networks, training=True)
    other = check(space, networks[::-1], training=True)
    mine, theirs = dict(one.named_buffers()), dict(other.named_buffers())
    assert any(not torch.equal(mine[name], theirs[name]) for name in mine)


_MIXED = """fuse 1
space mixed {
  dim N
  input x: f32[N, 16]
  input y: f32[N, 8]
  let h = relu(batch_norm(linear(x, out=?h of {8, 16})))
  output logits = linear(?k of {p: h, q: batch_norm(linear(y, out=12))}, out=4)
}
"""


@pytest.mark.parametrize("training", [False, True])
def test_under_autocast_networks_compute_what_they_do_alone(training: bool) -> None:
    space = loads(_MIXED).graph
    networks = [*dict.fromkeys(drawn(space, 8))]
    generator = torch.Generator().manual_seed(0)
    shapes = {"x": (16, 16), "y": (16, 8)}
    batch = {n: torch.randn(shape, generator=generator) for n, shape in shapes.items()}
    together = SampledNetworks(space, 0).train(training)
    apart = copy.deepcopy(together)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = together.run(networks, batch)
        for graph, mine in zip(networks, outputs, strict=True):
            theirs = alone(apart, graph).run(batch)
            assert isinstance(theirs, Tensor)
            assert torch.equal(mine["logits"], theirs)
    buffers = dict(apart.named_buffers())
    for name, buffer in together.named_buffers():
        torch.testing.assert_close(buffer, buffers[name], rtol=1e-6, atol=1e-7)


# ── small layers ─────────────────────────────────────────────────────────────────────────────────


_SMALL = """fuse 1
space small {
  dim N
  for i in 1..3 { input x[i]: f32[N, 2 * i] }
  for i in 1..2 { input z[i]: f32[N, 4] }
  share tied = linear(out=5)
  h[1] = ?act of {relu, tanh}(tied(concat(?x of z[*], x[1])))
  h[2] = linear(concat(h[1], ?x of x[*], h[1], ?y of x[*]), out=5, bias=false)
  h[3] = ?act of {sigmoid, leaky_relu, softplus}(linear(concat(h[2], h[1]), out=5, bias=false))
  k = relu(linear(concat(?z of x[*], x[3], x[3]), out=2))
  output side = ?side of {h[2], h[3]}
  output logits = linear(concat(layer_norm(?depth of h[*]), k), out=?out of {3, 4})
  output more = linear(?more of h[*], out=5) + tied(concat(x[1], z[1]))
}
"""


@some(40)
@given(st.integers(0, 2**20), st.integers(1, 8), st.sampled_from([0, 12, 30, 4096]))
def test_small_layers_of_any_arrangement_and_of_any_size(seed: int, many: int, small: int) -> None:
    space = loads(_SMALL).graph
    with pytest.MonkeyPatch.context() as patch:
        # What is small for these layers of 10 to 60 numbers: nothing, some parts, some, all.
        patch.setattr(sampled_build, "SMALL", small)
        check(space, drawn(space, many, seed), training=True)


@pytest.mark.parametrize("small", [0, 4096])
def test_what_layers_make_of_one_input_is_computed_once(
    small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampled_build, "SMALL", small)
    space = loads("""fuse 1
space towers {
  dim N
  input x: f32[N, 24]
  h = ?act of {relu, tanh, sigmoid}(linear(x, out=5))
  output logits = linear(concat(x, h), out=3)
}
""").graph
    networks = [*dict.fromkeys(drawn(space, 9))]
    assert len(networks) == 3
    shared = SampledNetworks(space, 0).double()
    with FlopCounterMode(display=False) as counter:
        shared.run(networks, batch_of(networks))
    samples = 2 * len(batch_of(networks)["x"])
    assert counter.get_total_flops() == samples * (24 * 5 + 24 * 3 + 3 * 5 * 3)


_OPEN_OUTPUT = """fuse 1
space heads {
  dim N
  input x: f32[N, 6]
  h = ?act of {relu, tanh, sigmoid}(linear(x, out=5))
  output logits = linear(h, out=?out of {3, 4})
  output more = layer_norm(h)
}
"""


def test_outputs_of_equal_shapes_are_stacked() -> None:
    for text, sets in ((_OPEN_OUTPUT, 2), (_OPEN_OUTPUT.replace("?out of {3, 4}", "4"), 1)):
        space = loads(text).graph
        networks = drawn(space, 9)
        shared = SampledNetworks(space, 0).double()
        batch = batch_of(networks)
        apart = shared.run(networks, batch)
        found = shared.stacked(networks, batch)
        assert len(found) == sets
        assert sorted([place for places, _ in found for place in places]) == [*range(9)]
        for places, outputs in found:
            for name, stack in outputs.items():
                assert torch.equal(stack, torch.stack([apart[place][name] for place in places]))


def test_a_stack_learns_as_its_networks_do() -> None:
    space = load_small(ROOT / "examples" / "mfas" / "av_mnist.fuse").graph
    networks = [*dict.fromkeys(drawn(space, 6))]
    together = SampledNetworks(space, 0).double()
    apart = copy.deepcopy(together)
    batch = batch_of(networks)
    [(_, outputs)] = together.stacked(networks, batch)
    weigh(outputs).backward()
    each = apart.run(networks, batch)
    weigh({"logits": torch.stack([found["logits"] for found in each])}).backward()
    for mine, theirs in zip(together.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-12, atol=1e-14)


def test_a_second_derivative_is_refused_and_not_wrong() -> None:
    space = load_small(ROOT / "examples" / "mfas" / "av_mnist.fuse").graph
    networks = drawn(space, 3)
    shared = SampledNetworks(space, 0).double()
    [(_, outputs)] = shared.stacked(networks, batch_of(networks))
    weight = shared.get_parameter("weights.logits.weight")
    loss = outputs["logits"].square().sum()
    [first] = torch.autograd.grad(loss, [weight], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.square().sum().backward()


def test_inputs_get_gradients_too() -> None:
    space = loads(_SMALL).graph
    shared = SampledNetworks(space, 0).double()
    networks = drawn(space, 3)
    batch = {name: value.requires_grad_() for name, value in batch_of(networks).items()}
    torch.stack([weigh(outputs) for outputs in shared.run(networks, batch)]).sum().backward()
    found = {name: value.grad for name, value in batch.items()}
    again = {name: value.detach().clone().requires_grad_() for name, value in batch.items()}
    for graph in networks:
        outputs = alone(shared, graph).run(again)
        assert isinstance(outputs, dict)
        weigh(outputs).backward()
    for name, value in again.items():
        torch.testing.assert_close(found[name], value.grad, rtol=1e-10, atol=1e-12)


class OneDevice(TorchDispatchMode):
    """Refuses what a GPU does: an op on tensors of two devices. Numbers without a shape may mix."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        devices = {tensor.device for tensor in given if tensor.ndim}
        assert len(devices) < 2, f"{func} on {devices}"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("width", [2, 900])
def test_all_of_a_step_is_where_the_batch_is(width: int) -> None:
    space = loads(_SMALL.replace("2 * i]", f"{width} * i]")).graph
    networks = drawn(space, 6)
    shared = SampledNetworks(space, 0).double().to("meta")
    batch = {name: value.to("meta") for name, value in batch_of(networks).items()}
    with OneDevice():
        outputs = shared.run(networks, batch)
        torch.stack([v.sum() for each in outputs for v in each.values()]).sum().backward()
    assert all(value.is_meta for each in outputs for value in each.values())
    assert any(parameter.grad is not None for parameter in shared.parameters())


# ── weights ──────────────────────────────────────────────────────────────────────────────────────


def test_weights_start_as_those_of_each_network() -> None:
    space = load_small(ROOT / "examples" / "mfas" / "ntu.fuse").graph
    shared = SampledNetworks(space, 7)
    for graph in drawn(space, 5):
        state = shared.state_of(graph)
        for name, value in lower(graph, 7).state_dict().items():
            assert torch.equal(state[name], value)


def test_shapes_that_open_numbers_change_have_weights_each() -> None:
    space = loads("""fuse 1
space widths {
  dim N
  let w = ?w of {2, 3}
  input x: f32[N, 4]
  output logits = linear(relu(linear(x, out=w)), out=5)
}
""").graph
    names = set(SampledNetworks(space, 0).state_dict())
    assert {name for name in names if name.endswith("bias")} == {
        *("weights.logits.linear:2x4.bias", "weights.logits.linear:3x4.bias"),
        *("weights.logits:5x2.bias", "weights.logits:5x3.bias"),
    }


def test_a_state_is_taken_over_and_goes_on_alike() -> None:
    space = loads(_NORMS).graph
    networks = drawn(space, 3)
    batch = {name: value.float() for name, value in batch_of(networks).items()}
    first, second = SampledNetworks(space, 0), SampledNetworks(space, 1)
    first.run(networks, batch)
    second.load_state_dict(first.state_dict())
    for one, other in zip(first.run(networks, batch), second.run(networks, batch), strict=True):
        assert torch.equal(one["logits"], other["logits"])


def test_what_no_network_reads_gets_no_gradient() -> None:
    space = loads(_SMALL).graph
    shared = SampledNetworks(space, 0).double()
    (graph,) = drawn(space, 1)
    weigh(shared.run([graph], batch_of([graph]))[0]).backward()
    read = {id(value) for value in shared.state_of(graph).values()}
    for name, parameter in shared.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in read), name


# ── what is wrong ────────────────────────────────────────────────────────────────────────────────


def of_linear(out: int, inputs: str = "x") -> Graph:
    return loads(f"""fuse 1
space small {{
  dim N
  input {inputs}: f32[N, 8]
  h = linear({inputs}, out={out})
  output logits = relu(h)
}}
""").graph


def told(shared: SampledNetworks, graph: Graph, batch: Mapping[str, Tensor]) -> str:
    with pytest.raises(FusegraphError) as caught:
        shared.run([graph], batch)
    return f"{caught.value.diagnostics[0].code}: {caught.value.diagnostics[0].message}"


def test_a_network_of_another_space_is_told() -> None:
    shared = SampledNetworks(of_linear(16), 0)
    assert told(shared, of_linear(8), {}) == (
        "E717: a network that has weight[8, 8], bias[8] for the key `h` is not of the space `small`"
    )
    assert told(shared, of_linear(16, "y"), {}) == (
        "E717: a network that reads an input `y` that the space has not is not of the space `small`"
    )


def test_a_space_and_a_batch_that_does_not_fit_are_told() -> None:
    space = loads(_NORMS).graph
    shared = SampledNetworks(space, 0)
    (graph,) = drawn(space, 1)
    assert told(shared, space, {}).startswith("E710")
    assert told(shared, graph, {}).startswith("E711")
    assert told(shared, graph, {"x": torch.zeros(2, 3), "y": torch.zeros(2, 3)}).startswith("E712")


def test_too_many_shapes_of_one_key_are_told() -> None:
    space = loads("""fuse 1
space many {
  dim N
  input x: f32[N, 4]
  for i in 1..13 { h[i] = linear(x, out=?w of {2, 3}) }
  output logits = linear(concat(h[*]), out=2)
}
""").graph
    with pytest.raises(FusegraphError) as caught:
        SampledNetworks(space, 0)
    assert caught.value.diagnostics[0].code == "E505"
