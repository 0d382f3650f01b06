"""`levels`: what holds for every levelled graph, and the paper's figures."""

from __future__ import annotations

import copy
import itertools
import re
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusegraph.backends.torch import lower
from fusegraph.compiler.connections import connections
from fusegraph.compiler.cost import cost
from fusegraph.compiler.count import Count, count
from fusegraph.compiler.explore import cross, enumerate_genotypes, mutate, sample
from fusegraph.compiler.pipeline import network
from fusegraph.compiler.requirements import satisfied
from fusegraph.compiler.specialise import Unmakeable, specialise
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import format_genotype, load, load_genotype, loads, parse_genotype
from fusegraph.ir.dsl.flat import parse_graph, print_graph
from fusegraph.ir.dsl.format import format_text
from fusegraph.ir.genotype import Genotype
from fusegraph.ir.graph import Graph
from fusegraph.ir.levels import LevelGraph, LevelNode, Levels, listing
from fusegraph.ir.levels.arranging import arranged
from fusegraph.ir.levels.counting import counted
from fusegraph.ir.levels.listing import ListingTooLong, listed
from fusegraph.ir.levels.rewrites import (
    Rewrite,
    change,
    changeable,
    guided,
    merge,
    mergeable,
    mutated,
    prune,
    rewire,
    split,
    splittable,
    steps,
)
from fusegraph.searchers.unseen import NoneFound, unseen
from levelled_programs import levelled_programs
from repository import ROOT

ASSEMBLENET = ROOT / "examples" / "assemblenet"
FEW = settings(max_examples=25)


def _levels(space: Graph) -> Levels:
    (levels,) = (d for d in space.decisions.values() if isinstance(d, Levels))
    return levels


@pytest.fixture(scope="module")
def full() -> Levels:
    return _levels(load(ASSEMBLENET / "space.fuse").graph)


def _parameters(space: Graph, genotype: Genotype) -> int:
    found = cost(network(space, genotype)).parameters
    assert isinstance(found, int)
    return found


def _relabelled(graph: LevelGraph, rng: Random) -> list[LevelNode]:
    """The same graph with its nodes in another order."""
    order = list(range(len(graph.nodes)))
    rng.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    return [
        LevelNode(n.level, n.width, tuple([place[i] for i in n.inputs]), n.attributes)
        for n in [graph.nodes[old] for old in order]
    ]


# ── the paper ────────────────────────────────────────────────────────────────────────────────────


def test_table_4_is_a_genotype_of_the_space_and_the_same_network() -> None:
    program, genotype = load_genotype(ASSEMBLENET / "table4_found.fuse")
    found = network(program.graph, genotype)
    written = network(load(ASSEMBLENET / "table4.fuse").graph)
    assert cost(found).parameters == 33_289_781
    assert found.digest == written.digest


def test_the_digits_fused_by_hand_are_a_network_of_their_space() -> None:
    program = load(ASSEMBLENET / "moving_digits.fuse")
    text = """fuse 1
genotype of "moving_digits.fuse"
v[0][1] { width = 8, source = rgb, rate = 1 }
v[0][2] { width = 8, source = flow, rate = 1 }
v[1][1] { width = 8, from = {v[0][1]}, rate = 1 }
v[1][2] { width = 8, from = {v[0][2]}, rate = 1 }
v[2][1] { width = 8, from = {v[1][1], v[1][2]}, rate = 2 }
"""
    found = network(program.graph, parse_genotype(text, program))
    assert found.digest == network(load(ASSEMBLENET / "moving_digits_fused.fuse").graph).digest


def test_initial_graphs_are_the_papers(full: Levels) -> None:
    rng = Random(3)
    stems: set[int] = set()
    for _ in range(200):
        graph = full.graph_of(full.sample(rng))
        assert not list(full.flaws(graph.nodes))
        assert graph.depth == 5
        nodes = [graph.nodes[i] for i in graph.on(0)]
        stems.add(len(nodes))
        sources = [dict(n.attributes)["source"] for n in nodes]
        assert sources.count((0,)) == sources.count((1,))
        blocks = len(graph.nodes) - len(nodes)
        assert 7 + 1 <= blocks <= 7 + 5
    assert stems == {2, 4}


def test_learned_weights_of_connections_are_found_in_the_network(full: Levels) -> None:
    small = {"frames": "2", "side": "32", "base": "4", "modules": "(1, 1, 1, 1)"}
    space = load(ASSEMBLENET / "space.fuse", small).graph
    levels = _levels(space)
    for seed in range(3):
        genotype = sample(space, Random(seed))
        graph = levels.graph_of(genotype.settings["v"])
        made = network(space, genotype)
        found = connections(made, levels, graph)
        weighed = {e for e in graph.edges if len(graph.nodes[e[1]].inputs) > 1}
        assert set(found) == weighed
        names = dict(lower(made).named_parameters())
        keys = set(found.values())
        assert len(keys) == len(weighed)
        assert sum(p.numel() == 1 for p in names.values()) == len(weighed)


# ── every levelled graph ─────────────────────────────────────────────────────────────────────────


@FEW
@given(levelled_programs(), st.integers(0, 2**32))
def test_a_genotype_is_read_as_it_is_written(text: str, seed: int) -> None:
    program = loads(text)
    genotype = sample(program.graph, Random(seed))
    written = format_genotype(genotype, program)
    assert parse_genotype(written, program) == genotype
    assert format_text(written) == written


@FEW
@given(levelled_programs())
def test_a_space_is_the_same_object_after_printing_pickling_and_formatting(text: str) -> None:
    space = loads(text).graph
    assert parse_graph(print_graph(space)) is space
    assert copy.deepcopy(space) is space
    assert loads(format_text(text)).graph is space
    assert loads("# a comment\n" + text).graph.digest == space.digest


@FEW
@given(levelled_programs(), st.integers(0, 2**32))
def test_every_genotype_runs_and_costs_what_its_module_has(text: str, seed: int) -> None:
    space = loads(text).graph
    made = network(space, sample(space, Random(seed)))
    module = lower(made)
    output = module(**{n["name"]: torch.ones(2, int(str(n.type.shape[1]))) for n in made.inputs})
    assert output.shape == (2, 2)
    assert cost(made).parameters == sum(p.numel() for p in module.parameters())


@FEW
@given(levelled_programs(), st.integers(0, 2**32))
def test_relabelled_graphs_are_one_setting_and_one_network(text: str, seed: int) -> None:
    space = loads(text).graph
    levels, rng = _levels(space), Random(seed)
    genotype = sample(space, rng)
    graph = levels.graph_of(genotype.settings["v"])
    for _ in range(5):
        told = levels.told(arranged(_relabelled(graph, rng))[0])
        assert told == genotype.settings["v"]


@settings(max_examples=15)
@given(levelled_programs(), st.integers(0, 2**32))
def test_mutants_and_children_are_valid(text: str, seed: int) -> None:
    space = loads(text).graph
    levels, rng = _levels(space), Random(seed)
    first, second = sample(space, rng), sample(space, rng)
    for _ in range(30):
        first, second = mutate(space, first, rng), cross(space, first, second, rng)
        for genotype in (first, second):
            assert levels.admits(genotype.settings["v"])
    assert specialise(space, second).settled


def test_no_mutation_of_many_is_invalid(full: Levels) -> None:
    rng = Random(0)
    graph = full.graph_of(full.sample(rng))
    for _ in range(1_000):
        weights = {edge: rng.random() for edge in graph.edges}
        rewrites: list[Rewrite] = [
            mutated(full, graph, rng),
            guided(full, graph, weights, rng),
            prune(full, graph, weights, rng.random()),
        ]
        for rewrite in rewrites:
            assert not list(full.flaws(rewrite.graph.nodes)), rewrite.words
            assert arranged(rewrite.graph.nodes)[0] == rewrite.graph
        graph = rewrites[rng.randrange(3)].graph


def test_relabelled_graphs_of_full_size_share_a_digest(full: Levels) -> None:
    rng = Random(1)
    graph = full.graph_of(full.sample(rng))
    for _ in range(300):
        graph = mutated(full, graph, rng).graph
        assert arranged(_relabelled(graph, rng))[0] == graph


def test_symmetric_graphs_are_put_in_one_order() -> None:
    """Rings over several levels, in which no node differs from another of its level."""
    for size in (3, 4, 6):
        nodes: list[LevelNode] = []
        for level in range(3):
            for i in range(size):
                below = (level - 1) * size
                inputs = () if not level else (below + i, below + (i + 1) % size)
                nodes.append(LevelNode(level, 2, tuple(sorted(inputs))))
        graph = arranged(nodes)[0]
        for seed in range(20):
            assert arranged(_relabelled(LevelGraph(tuple(nodes)), Random(seed)))[0] == graph


def test_different_graphs_differ() -> None:
    """Two rings of three and one of six have the same numbers of edges everywhere."""

    def rings(sizes: tuple[int, ...]) -> LevelGraph:
        lower = [LevelNode(0, 1) for _ in range(sum(sizes))]
        upper: list[LevelNode] = []
        start = 0
        for size in sizes:
            for i in range(size):
                upper.append(LevelNode(1, 1, tuple(sorted((start + i, start + (i + 1) % size)))))
            start += size
        return arranged([*lower, *upper])[0]

    assert rings((3, 3)) != rings((6,))


# ── rewrites ─────────────────────────────────────────────────────────────────────────────────────


def test_a_split_keeps_edges_and_shares_and_merging_undoes_it(full: Levels) -> None:
    rng = Random(5)
    for _ in range(50):
        graph = full.graph_of(full.sample(rng))
        for node in splittable(full, graph):
            halves = split(full, graph, node)
            one, two = [i for i, from_ in enumerate(halves.origins) if from_ == (node,)]
            nodes = halves.graph.nodes
            assert nodes[one].width == nodes[two].width == graph.nodes[node].width // 2
            assert nodes[one].inputs == nodes[two].inputs
            assert nodes[one].attributes == nodes[two].attributes == graph.nodes[node].attributes
            assert merge(full, halves.graph, one, two, rng).graph == graph


def test_a_merge_unites_edges_and_takes_either_nodes_rate(full: Levels) -> None:
    rng = Random(6)
    rates: set[bool] = set()
    for _ in range(100):
        graph = full.graph_of(full.sample(rng))
        for first, second in mergeable(graph):
            merged = merge(full, graph, first, second, rng)
            (node,) = [i for i, from_ in enumerate(merged.origins) if from_ == (first, second)]
            parents = graph.nodes[first], graph.nodes[second]
            kept = merged.graph.nodes[node]
            assert kept.attributes in [p.attributes for p in parents]
            if parents[0].attributes != parents[1].attributes:
                rates.add(kept.attributes == parents[0].attributes)
            inputs = {merged.origins[i] for i in kept.inputs}
            assert inputs == {(i,) for p in parents for i in p.inputs}
    assert rates == {True, False}


def test_a_change_is_of_a_rate_and_of_nothing_else(full: Levels) -> None:
    rng = Random(7)
    graph = full.graph_of(full.sample(rng))
    for node in changeable(full, graph):
        changed = change(full, graph, node, rng)
        assert sorted(changed.origins) == [(i,) for i in range(len(graph.nodes))]
        for i, (from_,) in enumerate(changed.origins):
            before, after = graph.nodes[from_], changed.graph.nodes[i]
            differing = {k for k, v in after.attributes if dict(before.attributes)[k] != v}
            assert differing == ({"rate"} if from_ == node else set())


def test_guided_rewiring_keeps_strong_edges_and_the_number_of_edges(full: Levels) -> None:
    """Equation 2: what is over B stays, and as many new edges come as went, on the average."""
    rng = Random(8)
    graph = full.graph_of(full.sample(rng))
    weights = {edge: rng.random() for edge in graph.edges}
    strong = {edge for edge, weight in weights.items() if weight > 0.5}
    sizes: list[int] = []
    for _ in range(1_000):
        child = guided(full, graph, weights, rng, threshold=0.5)
        old = {(child.origins[i][0], child.origins[j][0]) for i, j in child.graph.edges}
        assert strong <= old
        sizes.append(len(old))
    assert abs(np.mean(sizes) - len(graph.edges)) < 1.5


def test_random_rewiring_replaces_a_third(full: Levels) -> None:
    rng = Random(9)
    graph = full.graph_of(full.sample(rng))
    gone: list[float] = []
    for _ in range(1_000):
        child = rewire(full, graph, rng)
        old = {(child.origins[i][0], child.origins[j][0]) for i, j in child.graph.edges}
        gone.append(len(set(graph.edges) - old) / len(graph.edges))
    assert abs(np.mean(gone) - 1 / 3) < 0.05


def test_pruning_leaves_every_node_its_strongest_edges(full: Levels) -> None:
    rng = Random(10)
    for _ in range(50):
        graph = full.graph_of(full.sample(rng))
        weights = {edge: rng.random() for edge in graph.edges}
        pruned = prune(full, graph, weights, threshold=1.0)
        best = {max((weights[e], e) for e in graph.edges if e[1] == j)[1]
                for j in {j for _, j in graph.edges}}  # fmt: skip
        kept = {(pruned.origins[i][0], pruned.origins[j][0]) for i, j in pruned.graph.edges}
        assert best <= kept < set(graph.edges)


@FEW
@given(levelled_programs(most_levels=3, most_parts=2), st.integers(0, 2**32))
def test_every_step_is_one_away_and_can_be_undone(text: str, seed: int) -> None:
    levels = _levels(loads(text).graph)
    graph = levels.graph_of(levels.sample(Random(seed)))
    for step in steps(levels, graph):
        assert not list(levels.flaws(step.graph.nodes))
        back = {rewrite.graph for rewrite in steps(levels, step.graph)}
        assert graph in back or step.words.startswith("merged")


# ── counting ─────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=8)
@given(levelled_programs(most_levels=3, most_parts=2))
def test_graphs_are_counted_as_they_are_listed(text: str) -> None:
    levels = _levels(loads(text).graph)
    found = list(listed(levels, most=1_000_000))
    assert len(set(found)) == len(found)
    assert counted(levels) == (len(found), len(found))


@pytest.mark.parametrize(("lower", "upper"), [(4, 2), (2, 4)])
def test_graphs_of_up_to_four_nodes_a_level_are_counted_as_they_are_listed(
    lower: int, upper: int
) -> None:
    text = f"""fuse 1
space s {{
  dim N
  input a: f32[N, 3]
  levels v {{
    level 0 width {lower} least 1 {{ linear(a, out=width) }}
    level 1 width {upper} least 1 {{ linear(concat(?from some of v[<1]), out=width) }}
  }}
  output y = concat(v[1][*])
}}"""
    space = loads(text).graph
    found = list(enumerate_genotypes(space))
    assert count(space) == Count(len(set(found)))
    assert len({specialise(space, g).digest for g in found}) == len(found)


def test_the_full_space_is_counted_exactly() -> None:
    """As the sum over permutations has it; the identity alone bounds it from below."""
    space = load(ASSEMBLENET / "space.fuse").graph
    least, most = _levels(space).bounds()
    assert count(space) == Count(least)
    assert least == most > 2**150


def test_what_is_too_much_to_count_has_bounds() -> None:
    text = (ASSEMBLENET / "space.fuse").read_text().replace("least base // 2", "least base // 8")
    text = text.replace("least base {", "least base // 4 {")
    found = count(loads(text).graph)
    assert found.bound
    assert 1 < found.least < found.genotypes


# ── together with what else is open ──────────────────────────────────────────────────────────────

TIED = """fuse 1
space s {
  dim N
  let act = ?act of {relu, sigmoid}
  input a: f32[N, 3]
  levels v {
    level 0 width 2 least 1 { act(linear(a, out=width)) }
    level 1 width 2 least 2 { linear(concat(?from some of v[<1]), out=width) }
  }
  output y = linear(concat(v[1][*]), out=?out of {2, 3})
  require parameters <= 30
}"""


def test_decisions_outside_are_tied_and_required_sizes_hold() -> None:
    space = loads(TIED).graph
    assert set(space.decisions) == {"v", "act", "y.out"}
    found = list(enumerate_genotypes(space))
    assert count(space) == Count(len(found))
    assert {g.settings["act"] for g in found} == {(0,), (1,)}
    assert all(_parameters(space, g) <= 30 for g in found)
    assert all(_parameters(space, sample(space, Random(i))) <= 30 for i in range(5))


def test_a_setting_of_another_program_is_no_setting() -> None:
    levels = _levels(loads(TIED).graph)
    for setting in [(), (1,), (1, 0, 2, 0, 0), (2, 0, 2, 0, 0, 1, 2, 1, 5, 0), (9,) * 40]:
        assert not levels.admits(setting)
    with pytest.raises(ValueError, match="no level"):
        levels.setting_of(LevelGraph((LevelNode(7, 2),)))


def test_a_graph_that_cannot_be_made_is_told_when_the_file_is_loaded() -> None:
    """Nodes of unequal widths cannot be added; of two equal ones nothing would be said."""
    text = TIED.replace("concat(?from some of v[<1])", "sum(?from some of v[<1])")
    text = text.replace("level 0 width 2 least 1", "level 0 width 8 least 2")
    with pytest.raises(FusegraphError) as caught:
        loads(text)
    assert caught.value.diagnostics[0].span is not None
    assert caught.value.diagnostics[0].span.line == 8


def test_a_genotypes_numbers_say_nothing() -> None:
    program = loads(TIED)
    other = 'genotype of "s.fuse"\nv[1][7] { from = {v[0][9], v[0][4]}, width = 2 }\n'
    text = (
        f"fuse 1\n{other}v[0][9] {{ width = 1 }}\nv[0][4] {{ width = 1 }}\nact = relu\ny.out = 2\n"
    )
    genotype = parse_genotype(text, program)
    assert isinstance(genotype, Genotype)
    assert "v[1][1] { width = 2, from = {v[0][1], v[0][2]} }" in format_genotype(genotype, program)


# ── graphs that cannot be made, and texts that are not what they say ─────────────────────────────

GROUPS = """fuse 1
space s {
  dim N
  input a: f32[N, 16, 4]
  levels v {
    level 0 width 16 least 4 { conv(a, out=width, kernel=1) }
    level 1 width 16 least 8 {
      conv(concat(?from some of v[<1]), out=width, kernel=1, groups=LIMIT)
    }
  }
  output y = linear(flatten(concat(v[1][*])), out=2)
  output z = linear(flatten(a), out=3)
}"""


def test_a_width_that_the_least_share_cannot_have_is_told_when_loading() -> None:
    with pytest.raises(FusegraphError) as caught:
        loads(GROUPS.replace("LIMIT", "8"))
    assert any("4 at level 0" in note for note in caught.value.diagnostics[0].notes)


def test_a_graph_that_cannot_be_made_fails_what_is_required_and_says_what_it_is() -> None:
    """No witness has three nodes on a level."""
    text = GROUPS.replace("out=width, kernel=1, groups=LIMIT", "out=width, kernel=1")
    text = text.replace("concat(v[1][*])", "odd(v[1][*])").replace(
        "space s", "cell odd(x[*]) { require count(x[*]) != 3 return concat(x[*]) }\nspace s"
    )
    text = text.replace("width 16 least 8", "width 16 least 4").replace(
        "\n}", "\n  require parameters <= 100000\n}"
    )
    space = loads(text).graph
    levels = _levels(space)
    tops = [LevelNode(1, width, (0,)) for width in (8, 4, 4)]
    setting = levels.setting_of(LevelGraph((LevelNode(0, 16), *tops)))
    with pytest.raises(Unmakeable) as caught:
        specialise(space, {"v": setting})
    (found,) = caught.value.diagnostics
    assert found.span is None
    assert "at level 1" in found.notes[-1]
    assert not satisfied(space, {"v": setting})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('output "z"', 'output "w"'),
        ('  output "z" = %3\n', ""),
        ('output "y"', 'output "x"'),
    ],
)
def test_a_flat_space_with_levels_is_that_of_its_program(old: str, new: str) -> None:
    text = print_graph(loads(GROUPS.replace(", groups=LIMIT", "")).graph)
    changed = (
        re.sub(old.replace("%3", r"%\d+"), new, text) if "%" in old else text.replace(old, new)
    )
    assert changed != text
    with pytest.raises(FusegraphError) as caught:
        parse_graph(changed)
    assert caught.value.diagnostics[0].code == "E107"


def test_deep_narrow_spaces_have_different_initial_graphs() -> None:
    levels = "\n".join(
        f"level {n} width 1 {{ linear(concat({taken}), out=width) }}"
        for n, taken in enumerate(["a", *[f"?from some of v[<{n}]" for n in range(1, 16)]])
    )
    text = f"fuse 1\nspace s {{ dim N input a: f32[N, 2] levels v {{ {levels} }}"
    decision = _levels(loads(f"{text} output y = concat(v[15][*]) }}").graph)
    drawn = {decision.sample(Random(seed)) for seed in range(6)}
    assert len(drawn) == 6
    assert all(decision.graph_of(setting).depth == 16 for setting in drawn)


def test_a_block_changes_its_kind_too_and_a_stem_its_number_alone() -> None:
    made = "(?kind of {relu, tanh})(linear(linear(TAKEN, out=?h of {2, 3}), out=width))"
    text = f"""fuse 1
space s {{
  dim N
  input a: f32[N, 3]
  levels v {{
    level 0 width 2 least 2 {{ {made.replace("TAKEN", "a")} }}
    level 1 width 2 least 2 {{ {made.replace("TAKEN", "concat(?from some of v[<1])")} }}
  }}
  output y = concat(v[1][*])
}}"""
    levels = _levels(loads(text).graph)
    rng = Random(0)
    graph = levels.graph_of(levels.sample(rng))
    before = [dict(node.attributes)["kind"] for node in graph.nodes]
    kinds: set[tuple[tuple[int, ...], ...]] = set()
    for _ in range(60):
        graph = mutated(levels, graph, rng).graph
        kinds.add(tuple(dict(node.attributes)["kind"] for node in graph.nodes))
    assert {kind[0] for kind in kinds} == {before[0]}
    assert {kind[1] for kind in kinds} == {(0,), (1,)}


def test_a_genotype_of_nodes_with_families_of_their_own_is_read_as_it_is_written() -> None:
    program = loads("""fuse 1
cell grid(x; out: int) {
  for i in 1..2 { for j in 1..2 { w[i][j] = linear(x, out=?h of {2, 3}) } }
  return linear(concat(w[1][1], w[1][2], w[2][1], w[2][2]), out=out)
}
space s {
  dim N
  input a: f32[N, 3]
  levels v { level 0 width 2 { grid(a, out=width) } }
  output y = concat(v[0][*])
}""")
    genotype = sample(program.graph, Random(0))
    assert parse_genotype(format_genotype(genotype, program), program) == genotype


def _stems(nodes: int) -> Graph:
    return loads(f"""fuse 1
space s {{
  dim N
  input a: f32[N, 3]
  input b: f32[N, 2]
  levels v {{ level 0 width {nodes} least 1 {{ linear(?source of {{a, b}}, out=width) }} }}
  output y = concat(v[0][*])
}}""").graph


def test_nodes_that_are_alike_are_listed_in_one_numbering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_TRIED", 968)
    space = _stems(16)
    assert len(list(enumerate_genotypes(space))) == count(space).genotypes == 968


def test_a_list_that_is_given_up_leaves_counts_as_bounds_and_ends_searches_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "MOST_TRIED", 5)
    space = _stems(8)
    with pytest.raises(ListingTooLong):
        list(listed(_levels(space)))
    required = loads(TIED).graph
    exact = count(required)
    monkeypatch.setattr(listing, "MOST_TRIED", 1)
    assert count(required).bound
    assert count(required).genotypes >= exact.genotypes
    monkeypatch.setattr(listing, "MOST_TRIED", 5)
    seen = {genotype.digest for genotype in itertools.islice(enumerate_genotypes(space), 5)}
    with pytest.raises(NoneFound, match="no new network was found in 200 draws"):
        unseen(seen, lambda: None, lambda: enumerate_genotypes(space), Random(0))


def test_wide_levels_are_listed_from_the_first_graph_on() -> None:
    """Their numbers of sets of inputs, and of ways to share widths out, are astronomical."""
    levels = "\n".join(
        f"level {n} width 64 least 1 {{ linear(concat({f'?from some of v[<{n}]' if n else 'a'}), "
        "out=width) }"
        for n in range(5)
    )
    text = f"fuse 1\nspace s {{ dim N\ninput a: f32[N, 3]\nlevels v {{\n{levels}\n}}\n"
    space = loads(text + "output y = concat(v[4][*])\n}").graph
    assert len(next(iter(listed(_levels(space)))).nodes) == 5
