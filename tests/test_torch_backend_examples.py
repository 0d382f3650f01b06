"""Networks of every example: they run, and cost what the graph says (P2, P4, P7)."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fusegraph.backends.torch import emit, lower
from fusegraph.compiler.cost import cost
from fusegraph.compiler.explore import sample
from fusegraph.compiler.simplify import simplify
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.dsl import is_genotype, loads
from fusegraph.ir.graph import Graph
from fusegraph.ir.settling import bind
from repository import ROOT
from small_examples import load_small, small_network
from torch_backend_networks import batch_for, shape_of

FILES = sorted((ROOT / "examples").rglob("*.fuse"))
SPACES = [file for file in FILES if not is_genotype(file.read_text(encoding="utf-8"))]
GENOTYPES = [file for file in FILES if file not in SPACES]

BM_NAS = """fuse 1
use "std/bm_nas": align, align_vector, attention, linear_glu, concat_fc, zero
space bm_nas {
  dim N
  let C = 8
  let L = 4
  input rgb[1]: f32[N, 6, 2, 3, 3]
  input rgb[2]: f32[N, 5]
  input pose[1]: f32[N, 6, 4, 4]
  input pose[2]: f32[N, 7]
  a[1] = align(rgb[1], channels=C, length=L)
  a[2] = align_vector(rgb[2], channels=C, length=L)
  a[3] = align(pose[1], channels=C, length=L)
  a[4] = align_vector(pose[2], channels=C, length=L)
  cell fusion(x: f32[N, C, L], y: f32[N, C, L]) -> f32[N, C, L] {
    for m in 1..2 {
      s[m] = ?op of {zero, sum, attention, linear_glu, concat_fc}(
        ?left of {x, y, s[<m]}, ?right of {x, y, s[<m]}
      )
    }
    return layer_norm(sum(linear(concat(s[*]), out=C, axis=1), x))
  }
  for n in 1..2 { c[n] = fusion(?inputs 2 of {a[*], c[<n]}) }
  output logits = linear(flatten(relu(layer_norm(concat(c[*])))), out=6)
}
"""


def _drawn() -> list[tuple[str, Graph]]:
    """Three networks of each space, drawn at random."""
    spaces = {f"{f.parent.name}/{f.stem}": load_small(f).graph for f in SPACES}
    spaces |= {"bm_nas": loads(BM_NAS).graph}
    return [
        (f"{name}-{seed}", specialise(space, sample(space, Random(seed))))
        for name, space in spaces.items()
        for seed in range(3)
    ]


DRAWN = _drawn()
_each = pytest.mark.parametrize("network", [g for _, g in DRAWN], ids=[name for name, _ in DRAWN])


@_each
def test_network_costs_what_the_graph_says(network: Graph) -> None:
    module = lower(network, seed=0).eval()
    counted = cost(network)
    assert sum(p.numel() for p in module.parameters()) == counted.parameters
    batch = batch_for(network)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        found = module.run(batch)
    assert counter.get_total_flops() == bind(counted.flops, {"N": 3})
    outputs = {"": found} if isinstance(found, torch.Tensor) else found
    for value, (_, node) in zip(outputs.values(), network.outputs, strict=True):
        assert tuple(value.shape) == shape_of(node.type)
        assert value.isfinite().all()


@_each
def test_simplified_network_computes_the_same(network: Graph) -> None:
    module, plain = lower(simplify(network), seed=0).eval(), lower(network, seed=0).eval()
    batch = batch_for(network)
    torch.testing.assert_close(module.run(batch), plain.run(batch), rtol=1e-5, atol=1e-6)


@_each
def test_network_is_emitted_as_it_is_lowered(network: Graph) -> None:
    forward = lower(network).source.split("\n", 1)[1]
    assert forward in emit(network)


@pytest.mark.parametrize("file", GENOTYPES, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_published_genotypes_train(file: Path) -> None:
    network = small_network(file)
    module = lower(network, seed=0)
    found = module.run(batch_for(network))
    assert isinstance(found, torch.Tensor)
    found.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
