"""Fused supernets compute what plain ones do: outputs, gradients, running statistics."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from fusegraph.backends.torch import kernels
from fusegraph.backends.torch.supernet import lower_supernet
from fusegraph.compiler.policies import ASSEMBLENET, BM_NAS, DARTS, Policies
from fusegraph.compiler.relax import Supernet, relax
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import Program, load, loads
from fusing import both, check_same, close, step
from generators import SIZES, programs, some
from relaxing import batch_of

EXAMPLES = Path(__file__).parents[1] / "examples" / "bm_nas"
SPACES = [f"{data}{variant}" for data in ("ntu", "ego_gesture", "mm_imdb")
          for variant in ("", "_release")]  # fmt: skip
MANY = (
    BM_NAS,
    DARTS,
    ASSEMBLENET,
    Policies(ops="gate", edges="sigmoid", subsets="gate", pairs="slots"),
)


def _example(name: str, **overrides: str) -> Supernet:
    return relax(load(EXAMPLES / f"{name}.fuse", {"C": "6", **overrides}).graph)


def _ntu() -> Supernet:
    return _example("ntu_release", taps="2", L="4")


@pytest.mark.parametrize("drop", ["0.0", "0.2"])
@pytest.mark.parametrize("name", SPACES)
def test_the_supernets_of_the_examples_are_fused_exactly(name: str, drop: str) -> None:
    check_same(_example(name, drop=drop), {"N": 5}, 1)


@pytest.mark.parametrize("multiplier", ["1", "2", "3"])
def test_cells_that_join_one_step_several_times(multiplier: str) -> None:
    supernet = _example("ntu_release", taps="2", L="4", steps="2", multiplier=multiplier)
    check_same(supernet, {"N": 4}, 2)


@pytest.mark.parametrize("policies", MANY)
def test_every_policy(policies: Policies) -> None:
    space = load(EXAMPLES / "ntu.fuse", {"C": "6", "taps": "2", "L": "4"}).graph
    check_same(relax(space, policies), {"N": 4}, 3)


@some(150)
@given(programs(), st.sampled_from(MANY), st.integers(0, 2**20))
def test_generated_supernets_are_fused_exactly(
    program: Program, policies: Policies, seed: int
) -> None:
    try:
        supernet = relax(program.graph, policies)
    except FusegraphError:
        assume(False)
    else:
        check_same(supernet, SIZES, seed)


NETWORKS = {
    "tied layers stay tied": """
      for i in 1..2 { input f[i]: f32[N, 4, 3] }
      w = linear(f[1], out=4, axis=1)
      output y = sum(relu(w), ?one of f[*])""",
    "a norm over one axis": """
      input f: f32[N, 4, 3]
      output y = layer_norm(linear(f, out=4, axis=1), axis=2)""",
    "maps of several axes": """
      input f: f32[N, 4, 2, 3]
      h = relu(batch_norm(linear(f, out=5, axis=1)))
      output y = linear(flatten(layer_norm(h)), out=3)""",
    "a grid that is expanded": """
      input f: f32[N, 4, 1, 1]
      g = expand(expand(f, axis=2, size=2), axis=3, size=3)
      output y = linear(flatten(batch_norm(linear(g, out=5, axis=1))), out=3)""",
    "a short axis that is pooled longer": """
      input f: f32[N, 4, 2]
      output y = relu(batch_norm(linear(adaptive_avg_pool(f, size=6), out=5, axis=1)))""",
    "a short axis that is pooled unevenly": """
      input f: f32[N, 4, 4]
      output y = relu(batch_norm(linear(adaptive_max_pool(f, size=6), out=5, axis=1)))""",
    "layers over one input with and without norms": """
      input f: f32[N, 4]
      a = batch_norm(linear(f, out=3))
      b = linear(f, out=3, bias=false)
      c = linear(f, out=3)
      d = batch_norm(linear(f, out=3, bias=false))
      output y = sum(relu(a) * sigmoid(b), c, sigmoid(d))
      output z = concat(b, c)""",
    "a layer that is read whole and in parts": """
      input f: f32[N, 4]
      h = batch_norm(linear(f, out=6))
      gated = slice(h, axis=1, stop=3) * sigmoid(slice(h, axis=1, start=3))
      output y = concat(gated, relu(h), slice(h, axis=1, start=1, stop=4))""",
    "a gate that is an output": """
      input f: f32[N, 4]
      h = linear(f, out=6)
      g = sigmoid(slice(h, axis=1, start=3))
      output y = slice(h, axis=1, stop=3) * g
      output z = g""",
    "a layer gated by itself whose gate is an output": """
      input f: f32[N, 4]
      h = linear(f, out=4)
      g = sigmoid(h)
      output y = h * g
      output z = g""",
    "a gate that is read elsewhere too": """
      input f: f32[N, 4]
      h = batch_norm(linear(f, out=6))
      g = sigmoid(slice(h, axis=1, start=3))
      output y = slice(h, axis=1, stop=3) * g
      output z = concat(tanh(g), slice(f, axis=1, stop=2))""",
    "a map along the axis of rows": """
      input f: f32[N, 4]
      t = parameter(shape=(3, 4), init="normal")
      output y = matmul(f, transpose(relu(linear(t, out=5, axis=0))))
      output z = sum(?x of {f, relu(f)}, linear(f, out=4))""",
    "mixed columns that overlap": """
      input f: f32[N, 4]
      h = linear(f, out=3)
      output y = ?x of {slice(h, axis=1, stop=2), slice(h, axis=1, start=1),
                       slice(f, axis=1, stop=2)}""",
    "tied norms": """
      input f: f32[N, 4, 3]
      share norm = batch_norm()
      a = norm(linear(f, out=4, axis=1))
      output z = sum(norm(f), norm(a), ?p of {norm(norm(f)), a})
      output y = norm(linear(f, out=4, axis=1))""",
    "a concatenation with some equal parts": """
      for i in 1..2 { input f[i]: f32[N, 4] }
      output y = relu(linear(concat(f[1], f[2], f[1]), out=3))""",
    "attention over other features": """
      for i in 1..3 { input f[i]: f32[N, 4, 3] }
      a = linear(f[1], out=4, axis=1)
      scores = softmax(matmul(transpose(a), f[2]) / 2, axis=-1)
      output y = transpose(matmul(scores, transpose(f[3])))""",
    "attention whose scores are read too": """
      input f: f32[N, 4, 3]
      a = linear(f, out=4, axis=1)
      scores = softmax(matmul(transpose(a), a), axis=-1)
      output y = matmul(scores, transpose(a))
      output z = scores""",
    "flattened features through dropout": """
      input f: f32[N, 4, 3]
      h = relu(linear(f, out=4, axis=1))
      output y = linear(dropout(flatten(h), p=0.5), out=2)""",
    "a norm of copies, before any layer": """
      input v: f32[N, 4]
      wide = batch_norm(expand(reshape(v, shape=(N, 4, 1)), axis=2, size=3), momentum=0.3)
      output y = relu(linear(wide, out=4, axis=1))""",
    "copies of copies": """
      input f: f32[N, 4, 2]
      wide = adaptive_max_pool(adaptive_avg_pool(f, size=4), size=8)
      output y = batch_norm(relu(batch_norm(linear(wide, out=3, axis=1))))""",
    "a vector at all positions, mixed and dropped": """
      input v: f32[N, 4]
      input f: f32[N, 4, 3]
      wide = expand(reshape(v, shape=(N, 4, 1)), axis=2, size=3)
      a = relu(batch_norm(linear(wide, out=4, axis=1)))
      b = relu(batch_norm(linear(f, out=4, axis=1)))
      m = sum(?x of {a, b, f}, a)
      output y = layer_norm(sum(m, dropout(a, p=0.2)))""",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_pass_has_to_look_at(name: str) -> None:
    text = f"fuse 1\nspace s {{ dim N\n{NETWORKS[name]}\n}}\n"
    check_same(relax(loads(text).graph), {"N": 5}, 4)


# ── the module ───────────────────────────────────────────────────────────────────────────────────


def test_a_search_steps_few_parameters() -> None:
    module, plain = lower_supernet(_ntu(), 0), lower_supernet(_ntu(), 0, fused=False)
    assert 6 * len(module.weight_parameters()) < len(plain.weight_parameters())
    assert len(module.architecture_parameters()) == 2
    sizes = [p.numel() for p in plain.parameters()]
    assert sum(p.numel() for p in module.parameters()) == sum(sizes)


def test_both_modules_start_alike() -> None:
    plain, fused = lower_supernet(_ntu(), 5, fused=False), lower_supernet(_ntu(), 5)
    close(fused.plain_state(), plain.plain_state())
    assert fused.architecture() == plain.architecture()


def test_the_architecture_can_be_set() -> None:
    supernet = _ntu()
    for fused in (False, True):
        module = lower_supernet(supernet, 5, fused=fused)
        weights = module.weight_parameters()[0].detach().clone()
        values = {key: supernet.one_hot({})[key] for key in module.architecture()}
        module.set_architecture(values)
        assert module.architecture() == values
        assert torch.equal(weights, module.weight_parameters()[0])


def test_adam_does_the_same_to_fused_weights() -> None:
    plain, fused = both(_ntu(), 7)
    batch = batch_of(_ntu().graph, {"N": 6}, 7)
    for module in (plain, fused):
        optimiser = torch.optim.Adam(module.weight_parameters(), lr=1e-2, weight_decay=0.1)
        for _ in range(3):
            optimiser.zero_grad()
            logits = module.eval().run(batch)
            assert isinstance(logits, torch.Tensor)
            logits.square().sum().backward()
            optimiser.step()
    expected = plain.plain_state()
    for name, value in fused.plain_state().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-8)


def test_copies_and_pickles_run_alike() -> None:
    supernet = _ntu()
    module = lower_supernet(supernet, 3).double().eval()
    batch = batch_of(supernet.graph, {"N": 2})
    expected = module.run(batch)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):  # noqa: S301
        found = twin.run(batch)
        assert isinstance(found, torch.Tensor)
        assert isinstance(expected, torch.Tensor)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_what_was_prepared_runs_alike() -> None:
    supernet = _example("ntu_release", L="4")
    batch = batch_of(supernet.graph, {"N": 3}, 3)
    for fused in (False, True):
        module = lower_supernet(supernet, 3, fused=fused).double().eval()
        kept = module.prepare(batch)
        assert all(len(value) == 3 for value in kept.values())
        assert sum(v.numel() for v in kept.values()) < sum(v.numel() for v in batch.values()) / 50
        again = {name: value[[2, 0]] for name, value in kept.items()}
        expected, found = module.run(batch), module.run_prepared(again)
        assert isinstance(found, torch.Tensor)
        assert isinstance(expected, torch.Tensor)
        torch.testing.assert_close(found, expected[[2, 0]], rtol=1e-10, atol=1e-10)


def test_the_architecture_step_computes_no_gradient_of_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = lower_supernet(_ntu(), 3)
    batch = batch_of(_ntu().graph, {"N": 3}, dtype=torch.float32)
    counted: list[str] = []
    gradient = kernels.weight_gradient

    def counting(*inputs: torch.Tensor) -> torch.Tensor:
        counted.append("weight")
        return gradient(*inputs)

    monkeypatch.setattr("fusegraph.backends.torch.dense.weight_gradient", counting)
    monkeypatch.setattr("fusegraph.backends.torch.kernels.weight_gradient", counting)
    for on in (True, False):
        for parameter in module.weight_parameters():
            parameter.requires_grad_(on)
            parameter.grad = None
        for parameter in module.architecture_parameters():
            parameter.requires_grad_(not on)
            parameter.grad = None
        counted.clear()
        logits = module.run(batch)
        assert isinstance(logits, torch.Tensor)
        logits.sum().backward()
        assert bool(counted) == on
        assert all((p.grad is not None) == on for p in module.weight_parameters())
    assert all(p.grad is not None for p in module.architecture_parameters())


def test_a_seed_settles_all_dropout() -> None:
    module = lower_supernet(_ntu(), 3)
    batch = batch_of(_ntu().graph, {"N": 3}, dtype=torch.float32)
    found: list[torch.Tensor] = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        logits = module.run(batch)
        assert isinstance(logits, torch.Tensor)
        found.append(logits)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_two_steps_draw_different_masks() -> None:
    module = lower_supernet(_ntu(), 3)
    batch = batch_of(_ntu().graph, {"N": 3}, dtype=torch.float32)
    first, second = step(module, batch, 0)[0][""], step(module, batch, 0)[0][""]
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", ["ntu", "ntu_release"])
def test_what_is_compiled_computes_and_draws_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    supernet = _example(name, taps="2", L="4")
    fused = lower_supernet(supernet, 3).double()
    monkeypatch.setattr(torch.nn.Module, "compile", _not_compiled)
    traceable = lower_supernet(supernet, 3, compiled=True).double()
    batch = batch_of(supernet.graph, {"N": 6}, 3)
    for training in (False, True):
        found: list[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]] = []
        for module in (traceable, fused):
            torch.manual_seed(1)
            found.append(step(module.train(training), batch, 1))
        for ours, theirs in zip(*found, strict=True):
            close(ours, theirs)
        close(traceable.plain_state(), fused.plain_state())


def _not_compiled(module: torch.nn.Module, **options: object) -> None:
    """The traceable kit is tested as it is: to compile it takes a minute."""


def test_a_supernet_that_reads_no_input_trains() -> None:
    body = 'p = parameter(shape=(1, 4), init="normal")\noutput y = sum(?x of {p, tanh(p)})'
    supernet = relax(loads(f"fuse 1\nspace s {{ dim N\ninput x: f32[N, 4]\n{body} }}\n").graph)
    found = lower_supernet(supernet, 0).train().run({"x": torch.ones(2, 4)})
    assert isinstance(found, torch.Tensor)
    assert found.shape == (1, 4)
