"""The one order of a levelled graph's nodes, for graphs with many symmetries."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import loads, parse_genotype
from fusegraph.ir.levels import LevelGraph, LevelNode, arranging
from fusegraph.ir.levels.arranging import arranged


def over(count: int, inputs: Callable[[int], set[int]]) -> list[LevelNode]:
    """Two levels of so many nodes, the upper ones with these inputs."""
    upper = [LevelNode(1, 1, tuple(sorted(inputs(j)))) for j in range(count)]
    return [*[LevelNode(0, 1)] * count, *upper]


def rings(sizes: list[int]) -> list[LevelNode]:
    """Rings through so many lower and upper nodes each."""
    following: dict[int, int] = {}
    for size in sizes:
        start = len(following)
        following |= {start + i: start + (i + 1) % size for i in range(size)}
    return over(len(following), lambda j: {j, following[j]})


def read_together(nodes: list[LevelNode]) -> list[LevelNode]:
    """The same with a node that takes all of the upper ones: it holds the parts together."""
    upper = tuple([i for i, node in enumerate(nodes) if node.level == 1])
    return [*nodes, LevelNode(2, 1, upper)]


def plane(order: int) -> list[LevelNode]:
    """The points and lines of the projective plane over a prime field."""
    values = range(order)
    points = [(1, x, y) for x in values for y in values]
    points += [*[(0, 1, y) for y in values], (0, 0, 1)]
    pairs = [
        {
            i
            for i, point in enumerate(points)
            if sum(a * b for a, b in zip(point, line, strict=True)) % order == 0
        }
        for line in points
    ]
    return over(len(points), lambda j: pairs[j])


def relabelled(nodes: list[LevelNode], rng: Random) -> list[LevelNode]:
    """The same graph with its nodes in another order."""
    order = list(range(len(nodes)))
    rng.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    return [
        LevelNode(n.level, n.width, tuple(sorted([place[i] for i in n.inputs])), n.attributes)
        for n in [nodes[old] for old in order]
    ]


SYMMETRIC = {
    "32 rings": rings([2] * 32),
    "21 rings of three": rings([3] * 21),
    "16 rings of four": rings([4] * 16),
    "unequal rings": rings([3, 5, 3, 4, 4, 5, 8, 6, 6]),
    "one ring": rings([64]),
    "a hypercube": over(64, lambda j: {j ^ 1 << k for k in range(6)}),
    "a plane": plane(3),
}


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric_graphs_have_one_order_that_takes_little_work(
    name: str, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arranging, "MOST_WORK", arranging.MOST_WORK // 10)
    nodes = read_together(SYMMETRIC[name]) if together else SYMMETRIC[name]
    graph, order = arranged(nodes)
    assert sorted(order) == list(range(len(nodes)))
    assert [n.level for n in graph.nodes] == sorted(n.level for n in nodes)
    place = {old: new for new, old in enumerate(order)}
    edges = {(place[i], place[j]) for j, node in enumerate(nodes) for i in node.inputs}
    assert set(graph.edges) == edges
    for seed in range(5):
        assert arranged(relabelled(nodes, Random(seed)))[0] == graph


def test_rings_of_other_sizes_are_other_graphs() -> None:
    sizes = [[3, 3, 6], [6, 6], [4, 4, 4], [3, 4, 5], [12], [3, 9]]
    for close in (lambda nodes: nodes, read_together):
        found: set[LevelGraph] = {arranged(close(rings(each)))[0] for each in sizes}
        assert len(found) == len(sizes)


def test_a_graph_whose_nodes_are_too_much_alike_is_told() -> None:
    """The plane of order seven has more than five million symmetries."""
    nodes = plane(7)
    with pytest.raises(ValueError, match="alike"):
        arranged(nodes)
    text = """fuse 1
space s {
  dim N
  input a: f32[N, 3]
  levels v {
    level 0 width 64 least 1 { linear(a, out=width) }
    level 1 width 64 least 1 { linear(concat(?from some of v[<1]), out=width) }
  }
  output y = linear(concat(v[1][*]), out=2)
}"""
    program = loads(text)
    lines = ["fuse 1", 'genotype of "s.fuse"']
    rest = [LevelNode(level, width, (114,) * level) for level in (0, 1) for width in (4, 2, 1)]
    for at, node in enumerate([*nodes, *rest]):
        inputs = ", ".join(f"v[0][{i}]" for i in node.inputs)
        taken = f", from = {{{inputs}}}" if inputs else ""
        lines.append(f"v[{node.level}][{at}] {{ width = {node.width}{taken} }}")
    lines[-1] = lines[-1].replace("v[0][114]", "v[0][114], v[0][115], v[0][116]")
    with pytest.raises(FusegraphError) as caught:
        parse_genotype("\n".join(lines), program)
    assert [d.code for d in caught.value.diagnostics] == ["E501"]
