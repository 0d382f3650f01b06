"""Relaxation: promise P6, and what each policy makes of each kind of decision."""

from __future__ import annotations

from random import Random

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from fusegraph.backends.torch import lower
from fusegraph.compiler.explore import sample
from fusegraph.compiler.pipeline import network
from fusegraph.compiler.policies import ASSEMBLENET, BM_NAS, DARTS, Policies, weights_of
from fusegraph.compiler.relax import Supernet, relax
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import Program, loads
from fusegraph.ir.graph import Graph
from generators import SIZES, programs, some
from relaxing import (
    batch_of,
    inherited,
    lowered,
    outputs_of,
    random_state,
    set_architecture,
)

FUSION = """fuse 1
use "std/bm_nas": zero, attention, linear_glu, concat_fc
space fusion {
  dim N
  for i in 1..3 { input f[i]: f32[N, 4, 3] }
  cell fusion(x: f32[N, C, L], y: f32[N, C, L]) -> f32[N, C, L] {
    for m in 1..2 {
      s[m] = ?op of {zero, sum, attention, linear_glu, concat_fc}(
        ?left of {x, y, s[<m]}, ?right of {x, y, s[<m]}
      )
    }
    return layer_norm(s[2] + x)
  }
  for n in 1..2 { c[n] = fusion(?inputs 2 of {f[*], c[<n]}) }
  output logits = linear(flatten(concat(c[*])), out=5)
}
"""


def _space(body: str) -> Graph:
    inputs = "for i in 1..3 { input f[i]: f32[N, 4] }"
    return loads(f"fuse 1\nspace s {{ dim N\n{inputs}\n{body}\n}}\n").graph


SLOTS = (
    DARTS,
    ASSEMBLENET,
    Policies(pairs="slots"),
    Policies(ops="gate", edges="sigmoid", subsets="gate", pairs="slots"),
    Policies(ops="sigmoid", edges="softmax", pairs="slots"),
)


def _check_one_hot(space: Graph, supernet: Supernet, seed: int) -> None:
    genotype = sample(space, Random(seed))
    settled = network(space, genotype)
    state = random_state(lower(supernet.graph, 0).double(), seed)
    set_architecture(state, supernet.one_hot(genotype.settings))
    relaxed = lowered(supernet.graph, state)
    plain = lowered(settled, inherited(supernet, genotype.settings, settled, state))
    batch = batch_of(space, SIZES, seed)
    for training in (False, True):
        torch.manual_seed(0)
        ours = outputs_of(relaxed.train(training), batch)
        torch.manual_seed(0)
        expected = outputs_of(plain.train(training), batch)
        if training and any(node.op.random for node in supernet.graph.order):
            continue  # the two draw different numbers
        for name, value in expected.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-9, atol=1e-9)


@some(100)
@given(programs(), st.sampled_from(SLOTS), st.integers(0, 2**20))
def test_a_one_hot_supernet_is_the_network_with_inherited_weights(
    program: Program, policies: Policies, seed: int
) -> None:
    try:
        supernet = relax(program.graph, policies)
    except FusegraphError:
        assume(False)
    else:
        assert supernet.graph.settled
        _check_one_hot(program.graph, supernet, seed)


@pytest.mark.parametrize("policies", SLOTS)
def test_a_one_hot_bm_nas_supernet_is_the_network(policies: Policies) -> None:
    space = loads(FUSION).graph
    supernet = relax(space, policies)
    for seed in range(5):
        _check_one_hot(space, supernet, seed)


def test_variants_of_an_op_have_weights_of_their_own() -> None:
    space = loads(
        """fuse 1
        space s {
          dim N
          input x: f32[N, 4, 6]
          let k = ?k of {1, 3, 5}
          output y = relu(conv(x, out=4, kernel=k, pad=k // 2))
        }"""
    ).graph
    supernet = relax(space)
    assert sorted(supernet.variants) == ["y.conv.k[1]", "y.conv.k[2]", "y.conv.k[3]"]
    for seed in range(3):
        _check_one_hot(space, supernet, seed)


# ── policies ─────────────────────────────────────────────────────────────────────────────────────


def _shapes(space: Graph, policies: Policies) -> dict[str, tuple[str, tuple[int, ...]]]:
    supernet = relax(space, policies)
    return {name: (r.policy, r.shape) for name, r in supernet.relaxed.items()}


def test_bm_nas_has_gates_on_edges_and_a_softmax_over_ops() -> None:
    supernet = relax(loads(FUSION).graph, BM_NAS)
    found = {name: (r.policy, r.shape) for name, r in supernet.relaxed.items()}
    assert found["c[1].inputs"] == ("gate", (3, 2))
    assert found["c[2].inputs"] == ("gate", (4, 2))
    assert found["c[1].s[2].left"] == ("gate", (3, 2))
    assert found["c[1].s[1].op"] == ("softmax", (5,))
    left, right = supernet.relaxed["c[1].s[2].left"], supernet.relaxed["c[1].s[2].right"]
    assert left.key == right.key == "architecture.c[1].s[2].left"
    assert left.tied == right.tied == ("c[1].s[2].left", "c[1].s[2].right")


def test_the_places_of_a_pair_may_have_weights_of_their_own() -> None:
    found = _shapes(loads(FUSION).graph, Policies(pairs="slots"))
    assert found["c[1].inputs"] == ("gate", (2, 3, 2))
    supernet = relax(loads(FUSION).graph, Policies(pairs="slots"))
    assert len({r.key for r in supernet.relaxed.values()}) == len(supernet.relaxed)


def test_darts_has_a_softmax_everywhere() -> None:
    found = _shapes(loads(FUSION).graph, DARTS)
    assert {policy for policy, _ in found.values()} == {"softmax"}
    assert found["c[2].inputs"][1] == (2, 4)


def test_a_rule_goes_before_the_sort_of_a_decision() -> None:
    rules = Policies(rules=(("c[[]1].*", "sigmoid"), ("op", "gate")))
    found = _shapes(loads(FUSION).graph, rules)
    assert found["c[1].inputs"][0] == "sigmoid"
    assert found["c[2].inputs"][0] == "gate"
    assert found["c[2].s[1].op"][0] == "gate"


def test_a_subset_has_sigmoids() -> None:
    found = _shapes(_space("output y = sum(?taps some of f[*])"), BM_NAS)
    assert found["y.taps"] == ("sigmoid", (3,))


def test_a_choice_among_layers_of_a_chain_is_of_edges() -> None:
    body = """h[1] = relu(linear(f[1], out=4))
      for l in 2..3 { h[l] = relu(linear(concat(f[l], h[l - 1]), out=4)) }
      output y = linear(?depth of h[*], out=2)"""
    assert _shapes(_space(body), BM_NAS)["y.depth"] == ("gate", (3, 2))


def test_the_weights_of_a_policy_are_those_of_its_definition() -> None:
    assert weights_of("softmax", (0.0, 0.0)) == (0.5, 0.5)
    assert weights_of("gate", ((0.0, 0.0), (-1e4, 1e4))) == (0.5, 1.0)
    assert weights_of("sigmoid", (0.0, 800.0, -800.0)) == (0.5, 1.0, 0.0)


def test_the_supernet_computes_with_the_weights_that_are_told() -> None:
    space = _space("output y = sum(?one of f[*], ?two 2 of f[*])")
    supernet = relax(space, DARTS)
    state = random_state(lower(supernet.graph, 0).double(), 1)
    values = {r.key: state[f"architecture.y.{n}.weight"].tolist() for n, r in
              (("one", supernet.relaxed["y.one"]), ("two", supernet.relaxed["y.two"]))}  # fmt: skip
    told = supernet.weights(values)
    batch = batch_of(space, {"N": 3})
    rows = [told["y.one"][0], *told["y.two"]]
    expected = sum(w * batch[f"f[{i + 1}]"] for row in rows for i, w in enumerate(row))
    module = lowered(supernet.graph, state)
    torch.testing.assert_close(outputs_of(module, batch)["y"], expected)


def test_an_architecture_scope_that_the_space_uses_is_left_to_it() -> None:
    body = "architecture = linear(f[1], out=4)\noutput y = sum(architecture, ?one of f[*])"
    supernet = relax(_space(body))
    assert supernet.scope == "architecture_"
    lower(supernet.graph, 0)


def test_gradients_of_the_supernet_are_those_of_finite_differences() -> None:
    space = loads(FUSION).graph
    supernet = relax(space, Policies(pairs="slots"))
    module = lower(supernet.graph, 0).double()
    module.load_state_dict(random_state(module, 3))
    names = [name for name, p in module.named_parameters() if p.numel() < 40]
    batch = batch_of(space, {"N": 2}, 1)
    inputs = [batch[name] for name in module.parameter_names]
    kept = dict(module.named_parameters())

    def logits(*values: torch.Tensor) -> torch.Tensor:
        state = {**kept, **dict(zip(names, values, strict=True))}
        return torch.func.functional_call(module, state, tuple(inputs))

    assert any(name.startswith("architecture") for name in names)
    assert torch.autograd.gradcheck(logits, [kept[name] for name in names], fast_mode=True)
