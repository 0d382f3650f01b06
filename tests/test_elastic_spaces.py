"""The T, S and B spaces of elastic transformers: their sizes, the published network, P2."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import pytest

from cli_calls import call
from fusegraph.compiler.cost import cost
from fusegraph.compiler.count import count
from fusegraph.compiler.explore import complete, enumerate_genotypes, sample
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.decisions import Decision, Setting
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import load, load_genotype, parse_genotype
from fusegraph.ir.genotype import Genotype
from fusegraph.ir.graph import Graph
from fusegraph.ir.settling import bind
from repository import ROOT
from small_examples import load_small, small_constants
from video_networks import doubled, onnx_difference, weighted
from vit_formulas import Ratio, vit_macs, vit_parameters

FOLDER = ROOT / "examples" / "elastic"
README = (FOLDER / "README.md").read_text("utf-8")
PUBLISHED = FOLDER / "tiny_published.fuse"

Offer = tuple[tuple[int, ...], tuple[int, ...], tuple[Ratio, ...], range]
"""Widths of the embedding, heads, ratios, layers."""

SPACES: dict[str, Offer] = {
    "tiny": ((192, 216, 240), (3, 4), (3.5, 4), range(12, 15)),
    "small": ((320, 384, 448), (5, 6, 7), (3, 3.5, 4), range(12, 15)),
    "base": ((528, 576, 624), (9, 10), (3, 3.5, 4), range(14, 17)),
}
_each = pytest.mark.parametrize("name", list(SPACES))


@cache
def _space(name: str) -> Graph:
    return load(FOLDER / f"{name}.fuse").graph


def _first(_: Decision) -> Setting:
    return (0,)


def _last(decision: Decision) -> Setting:
    return (len(decision.labels) - 1,)


def _figures(network: Graph) -> tuple[int, int]:
    """Parameters and multiply-adds of one sample."""
    counted = cost(network)
    return int(str(counted.parameters)), int(str(bind(counted.macs, {"N": 1})))


def _genotypes(offer: Offer) -> int:
    embeds, heads, ratios, depths = offer
    return len(embeds) * sum((len(heads) * len(ratios)) ** depth for depth in depths)


def _row(file: str) -> str:
    row = re.search(rf"^\| `{file}`.*$", README, re.MULTILINE)
    assert row is not None
    return row[0]


# ── how large they are ───────────────────────────────────────────────────────────────────────────


@_each
def test_a_space_has_the_genotypes_of_the_closed_formula(name: str) -> None:
    found = count(_space(name))
    assert not found.bound
    assert found.genotypes == _genotypes(SPACES[name])
    assert f"| {found.genotypes:,} |" in _row(f"{name}.fuse")


def test_a_count_is_that_of_trying_all() -> None:
    path = FOLDER / "small.fuse"
    space = load(path, {**small_constants(path), "most": "2"}).graph
    found = list(enumerate_genotypes(space))
    offer: Offer = ((8, 12), (1, 2), (3, 3.5, 4), range(1, 3))
    assert count(space).genotypes == len(found) == len(set(found)) == _genotypes(offer)


@_each
@pytest.mark.parametrize("pick", [min, max])
def test_the_smallest_and_the_largest_network_are_those_of_the_closed_formulas(
    name: str, pick: Callable[..., int]
) -> None:
    embeds, heads, ratios, depths = SPACES[name]
    # Layers add up, so that of all networks of one depth some with equal layers are outermost.
    equal = [
        (embed, (h,) * depth, (ratio,) * depth)
        for embed in embeds for h in heads for ratio in ratios for depth in depths
    ]  # fmt: skip
    space = _space(name)
    genotype = complete(space, {}, _first if pick is min else _last)
    parameters, macs = _figures(specialise(space, genotype.settings))
    assert parameters == pick(vit_parameters(*sizes) for sizes in equal)
    assert macs == pick(vit_macs(*sizes) for sizes in equal)
    assert f"| {parameters:,}, {macs / 1e9:.4f} G |" in _row(f"{name}.fuse")


def _sizes(space: Graph, genotype: Genotype) -> tuple[int, list[int], list[float]]:
    """Embedding, heads and ratios that a genotype says in words."""
    said = {key: space.decisions[key].format(setting) for key, setting in genotype.items}
    depth = int(said["logits.depth"].removeprefix("h[").removesuffix("]"))
    layers = range(1, depth + 1)
    assert len(said) == 2 + 2 * depth
    return (
        int(said["embed"]),
        [int(said[f"h[{layer}].heads"]) for layer in layers],
        [float(said[f"h[{layer}].ratio"]) for layer in layers],
    )


@_each
def test_a_random_network_costs_what_the_closed_formulas_say(name: str) -> None:
    space = _space(name)
    genotype = sample(space, Random(name))
    embed, heads, ratios = _sizes(space, genotype)
    assert len(set(heads)) > 1
    assert len(set(ratios)) > 1
    assert _figures(specialise(space, genotype.settings)) == (
        vit_parameters(embed, heads, ratios),
        vit_macs(embed, heads, ratios),
    )


# ── the published T network ──────────────────────────────────────────────────────────────────────


def test_the_published_network_is_a_genotype_where_ratios_of_3_are_offered() -> None:
    program, genotype = load_genotype(PUBLISHED)
    network = specialise(program.graph, genotype.settings)
    parameters, macs = _figures(network)
    assert parameters == 5_867_944
    assert f"{parameters:,} | {macs / 1e9:.4f} G" in _row(PUBLISHED.name)
    assert network.digest == load(FOLDER / "autoformer_t.fuse").graph.digest


def _asked_of_the_t_space() -> str:
    return re.sub(r'"small\.fuse" with .*', '"tiny.fuse"', PUBLISHED.read_text("utf-8"))


def test_the_t_space_says_where_it_does_not_offer_the_published_ratios() -> None:
    with pytest.raises(FusegraphError) as raised:
        parse_genotype(_asked_of_the_t_space(), load(FOLDER / "tiny.fuse"))
    found = raised.value.diagnostics
    assert [(d.code, d.message, d.help) for d in found] == [
        ("E403", f"`h[{layer}].ratio` does not offer `3`", "write one of 3.5, 4")
        for layer in (3, 5, 6)
    ]
    lines = (FOLDER / "tiny.fuse").read_text("utf-8").splitlines()
    (cause,) = found[0].causes
    assert lines[cause.span.line - 1][cause.span.column - 1 :].startswith("?ratio")


def test_the_readme_shows_what_the_t_space_says(tmp_path: Path) -> None:
    (tmp_path / "tiny.fuse").write_text((FOLDER / "tiny.fuse").read_text("utf-8"), "utf-8")
    asked = tmp_path / "asked.fuse"
    asked.write_text(_asked_of_the_t_space(), "utf-8")
    answer = call("check", asked)
    assert answer.code == 1
    first = (answer.out + answer.err).replace(f"{tmp_path}/", "").split("\n\n")[0]
    assert f"```text\n{first.rstrip()}\n```" in README


# ── what they compute ────────────────────────────────────────────────────────────────────────────


@_each
@pytest.mark.parametrize("seed", range(2))
def test_random_networks_agree_with_onnxruntime(name: str, seed: int, tmp_path: Path) -> None:
    space = load_small(FOLDER / f"{name}.fuse").graph
    genotype = sample(space, Random(f"{name} {seed}"))
    module = weighted(specialise(space, genotype.settings), seed)
    embed, heads, ratios = _sizes(space, genotype)
    expected = vit_parameters(embed, heads, ratios, side=3, classes=5)
    assert sum(p.numel() for p in module.parameters()) == expected
    assert onnx_difference(module, tmp_path) < 1e-4
    _, _, found = doubled(module)
    assert found.std(0).min() > 1e-4
