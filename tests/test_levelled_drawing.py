"""Levelled graphs are drawn as in Fig. 1 of AssembleNet: a row a level, a box a node or a level."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusegraph.compiler.explore import sample
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.dsl import loads
from fusegraph.ir.graph import Graph
from fusegraph.ir.levels import LevelGraph, Levels
from fusegraph.ir.levels.rewrites import split, splittable
from fusegraph.report.data import ReportData, WinnerSection
from fusegraph.report.levelled import levelled_scene, levels_of
from fusegraph.report.page import render_report
from fusegraph.report.placing import Placed, place
from fusegraph.report.scene import Scene
from fusegraph.report.svg import draw
from fusegraph.report.text_forms import mermaid
from levelled_programs import levelled_programs
from repository import ROOT

GOLDEN = ROOT / "tests" / "golden" / "drawings"

SPACE = """fuse 1
space fused {
  dim N
  input video[1]: f32[N, 32]
  input video[2]: f32[N, 16]
  input sound: f32[N, 8]
  levels v {
    level 0 width 16 least 4 { linear(?source of {video[*], sound}, out=width) }
    level 1 width 16 least 4 {
      linear(concat(?from some of v[<1]), out=width) * ?scale of {1, 2}
    }
    level 2 width 16 { relu(linear(concat(?from some of v[<2]), out=width)) }
  }
  output logits = linear(concat(v[2][*], video[1]), out=10)
}
"""
SEEDS = st.integers(0, 10_000)


def levels_in(space: Graph) -> Levels:
    levels = levels_of(space)
    assert levels is not None
    return levels


def a_network(space: Graph, seed: int) -> tuple[dict[str, tuple[int, ...]], LevelGraph]:
    taken = dict(sample(space, Random(seed)).settings)
    levels = levels_in(space)
    return taken, levels.graph_of(taken[levels.key])


def weights_for(levels: Levels, chosen: LevelGraph, rng: Random) -> dict[str, float]:
    """One for each edge into a node that takes several."""
    return {
        f"{levels.label(chosen, j)} <- {levels.label(chosen, i)}": rng.random()
        for i, j in chosen.edges
        if len(chosen.nodes[j].inputs) > 1
    }


def edges_of(scene: Scene) -> set[tuple[str, str]]:
    return {(scene.boxes[link.source].text, scene.boxes[link.target].text) for link in scene.links}


def apart(placed: Placed) -> bool:
    """Whether no two boxes overlap, and every row lies below the one before."""
    boxes = [(b.x, b.y, b.x + b.sized.width, b.y + b.sized.height) for b in placed.boxes]
    for (ax, ay, aa, ab), (bx, by, ba, bb) in combinations(boxes, 2):
        if aa > bx + 0.01 and ba > ax + 0.01 and ab > by + 0.01 and bb > ay + 0.01:
            return False
    rows: dict[int, list[tuple[float, float]]] = {}
    for box, (_, top, _, bottom) in zip(placed.boxes, boxes, strict=True):
        rows.setdefault(box.box.row, []).append((top, bottom))
    ordered = [rows[row] for row in sorted(rows)]
    return all(
        max(bottom for _, bottom in upper) < min(top for top, _ in lower)
        for upper, lower in pairwise(ordered)
    )


@given(levelled_programs(), SEEDS)
def test_a_network_has_a_box_for_each_node_and_a_line_for_each_edge(text: str, seed: int) -> None:
    space = loads(text).graph
    levels = levels_in(space)
    taken, chosen = a_network(space, seed)
    scene = levelled_scene(space, taken)
    labels = [levels.label(chosen, at) for at in range(len(chosen.nodes))]
    assert [box.text for box in scene.boxes if box.kind == "node"] == labels
    drawn = {(a, b) for a, b in edges_of(scene) if a in labels and b in labels}
    assert drawn == {(labels[i], labels[j]) for i, j in chosen.edges}
    numbers = [level.number for level in levels.levels]
    rows = [box.row for box in scene.boxes if box.kind == "node"]
    assert rows == [1 + numbers.index(node.level) for node in chosen.nodes]
    assert apart(place(scene, "down"))


@given(levelled_programs())
def test_a_space_has_a_box_for_each_level_and_a_line_for_what_it_may_take(text: str) -> None:
    space = loads(text).graph
    levels = levels_in(space)
    scene = levelled_scene(space, {})
    boxes = {box.row: place for place, box in enumerate(scene.boxes) if box.kind == "level"}
    row = {level.number: 1 + place for place, level in enumerate(levels.levels)}
    wanted = {
        (boxes[row[taken]], boxes[row[level.number]])
        for level in levels.levels
        for taken in level.takes
    }
    among = set(boxes.values())
    drawn = {(k.source, k.target) for k in scene.links}
    assert {(a, b) for a, b in drawn if a in among and b in among} == wanted
    assert apart(place(scene, "down"))


@given(SEEDS)
def test_inputs_lead_to_the_stems_that_read_them_and_to_outputs(seed: int) -> None:
    space = loads(SPACE).graph
    levels = levels_in(space)
    taken, chosen = a_network(space, seed)
    drawn = edges_of(levelled_scene(space, taken))
    for at, node in enumerate(chosen.nodes):
        if node.level == 0:
            source = levels.levels[0].attributes.named("source")
            label = source.format(dict(node.attributes)["source"])
            fed = {a for a, b in drawn if b == levels.label(chosen, at)}
            assert fed == {label}
    assert ("video[1]", "logits") in drawn


@given(SEEDS)
def test_a_node_that_sees_one_family_of_inputs_has_its_colour(seed: int) -> None:
    space = loads(SPACE).graph
    taken, _ = a_network(space, seed)
    scene = levelled_scene(space, taken)
    families: dict[int, set[str]] = {}
    for at, box in enumerate(scene.boxes):
        if box.kind == "input":
            families[at] = {box.text.split("[")[0]}
        elif box.kind == "node":
            below = [families[k.source] for k in scene.links if k.target == at]
            families[at] = set[str]().union(*below)
            assert (box.hue >= 0) == (len(families[at]) == 1)


@given(levelled_programs(), SEEDS)
def test_the_larger_a_learned_weight_the_darker_its_line(text: str, seed: int) -> None:
    space = loads(text).graph
    taken, chosen = a_network(space, seed)
    weights = weights_for(levels_in(space), chosen, Random(seed))
    svg = draw(space, taken=taken, weights=weights)
    heads = re.findall(
        r"learned weight ([\d.]+)</title><path class=\"weighed-line\" style=\"opacity:([\d.]+)%",
        svg,
    )
    assert len(heads) == len(weights)
    found = sorted((float(weight), float(opacity)) for weight, opacity in heads)
    assert [opacity for _, opacity in found] == sorted(opacity for _, opacity in found)


def test_a_weight_is_as_dark_in_every_picture() -> None:
    space = loads(SPACE).graph
    taken, chosen = a_network(space, 2)
    weights = weights_for(levels_in(space), chosen, Random(2))
    shown: set[str] = set()
    for others in (0.1, 0.5, 0.9):
        first, *rest = weights
        svg = draw(space, taken=taken, weights={first: 0.5, **dict.fromkeys(rest, others)})
        shown |= set(
            re.findall(r"weight 0.500</title><path class=\"[^\"]+\" style=\"([^\"]+)", svg)
        )
    assert shown == {"opacity:58%;stroke-width:1.9"}


def test_a_network_of_the_papers_size_fits_on_a_page() -> None:
    """20 nodes: four at each level, each of which takes all below."""
    text = (ROOT / "examples" / "assemblenet" / "space.fuse").read_text(encoding="utf-8")
    space = loads(text).graph
    levels = levels_in(space)
    taken, _ = a_network(space, 0)
    chosen = levels.graph_of(taken[levels.key])
    while able := splittable(levels, chosen):
        chosen = split(levels, chosen, able[-1]).graph
    assert len(chosen.nodes) == 20
    taken[levels.key] = levels.setting_of(chosen)
    scene = levelled_scene(space, taken)
    assert len(scene.boxes) == 2 + 20 + 1
    assert place(scene, "down").width < 1_600


def test_the_page_shows_the_winner_by_its_levels() -> None:
    space = loads(SPACE).graph
    taken, chosen = a_network(space, 1)
    weights = weights_for(levels_in(space), chosen, Random(1))
    winner = WinnerSection(
        specialise(space, taken), space=space, taken=taken, connections=weights
    )  # fmt: skip
    page = render_report(ReportData("Run", winner=winner))
    assert f"{len(chosen.nodes)} nodes at 3 levels" in page
    assert page.count("learned weight") >= len(weights)


@pytest.mark.parametrize("name", ["levels", "levels_network"])
def test_small_levels_are_drawn_as_the_golden_files_show(name: str) -> None:
    golden = GOLDEN / f"{name}.svg"
    assert _pictures()[name] == golden.read_text(encoding="utf-8")


def test_levels_as_text_are_as_the_golden_file_shows() -> None:
    golden = GOLDEN / "levels.mmd"
    assert mermaid(loads(SPACE).graph) == golden.read_text(encoding="utf-8")


def _pictures() -> dict[str, str]:
    space = loads(SPACE).graph
    taken, chosen = a_network(space, 2)
    weights = weights_for(levels_in(space), chosen, Random(2))
    return {"levels": draw(space), "levels_network": draw(space, taken=taken, weights=weights)}


def accept() -> None:
    """Write the golden files anew, to be looked at before they are committed."""
    for name, svg in _pictures().items():
        (GOLDEN / f"{name}.svg").write_text(svg, encoding="utf-8")
    (GOLDEN / "levels.mmd").write_text(mermaid(loads(SPACE).graph), encoding="utf-8")


if __name__ == "__main__":
    accept()
