"""Drawings show everything, cover nothing, and are the same each time."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusegraph.ir.decisions import OneOf, Setting
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dims import symbol
from fusegraph.ir.dsl import load, loads
from fusegraph.ir.graph import Graph, graph
from fusegraph.ir.node import build, choice, input_node
from fusegraph.ir.ops import op_named
from fusegraph.ir.types import tensor
from fusegraph.report.boxes import line_width
from fusegraph.report.layout import Item, Net, Target, layered
from fusegraph.report.placing import Direction, Placed, inset, place
from fusegraph.report.png import png
from fusegraph.report.svg import draw, picture_of
from fusegraph.report.text import clean, escape, width_of
from fusegraph.report.text_forms import dot, mermaid
from random_graphs import grown, spaces
from repository import ROOT

GOLDEN = ROOT / "tests" / "golden" / "drawings"

NETWORK = """fuse 1
space two_streams {
  dim N
  input image: f32[N, 32]
  input audio: f32[N, 16]
  output digit = linear(relu(linear(concat(image, audio), out=24)), out=10)
}
"""
SPACE = """fuse 1
space small {
  dim N
  let W = ?width of {16, 32}
  input image[1]: f32[N, 32]
  input image[2]: f32[N, 64]
  input audio[1]: f32[N, 16]
  input audio[2]: f32[N, 8]
  h[1] = ?act of {relu, sigmoid}(linear(concat(?x of image[*], ?y of audio[*]), out=W))
  h[2] = ?act of {relu, sigmoid}(linear(concat(?x of image[*], ?y of audio[*], h[1]), out=W))
  output digit = linear(?depth of h[*], out=10)
}
"""
SMALL = {"network": NETWORK, "space": SPACE}
DIRECTIONS: tuple[Direction, ...] = ("right", "down")


def ntu() -> Graph:
    return load(ROOT / "examples" / "mfas" / "ntu.fuse").graph


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def words(svg: str) -> list[str]:
    """The text of every line, tooltips apart."""
    return ["".join(e.itertext()) for e in parsed(svg).iter("{http://www.w3.org/2000/svg}text")]


Rectangle = tuple[float, float, float, float]


def rectangles(
    placed: Placed, direction: Direction, x: float = 0.0, y: float = 0.0
) -> Iterator[list[Rectangle]]:
    """The boxes of each level of nesting."""
    yield [(x + b.x, y + b.y, b.sized.width, b.sized.height) for b in placed.boxes]
    for box in placed.boxes:
        if box.inside is not None:
            shift = 0.0 if direction == "right" else inset(box.sized, box.inside)
            yield from rectangles(box.inside, direction, x + box.x + shift, y + box.y + 28.0)


def overlap(first: Rectangle, second: Rectangle) -> bool:
    (ax, ay, aw, ah), (bx, by, bw, bh) = first, second
    return (
        ax + aw > bx + 0.01 and bx + bw > ax + 0.01 and ay + ah > by + 0.01 and by + bh > ay + 0.01
    )


@pytest.mark.parametrize("name", SMALL)
def test_small_graphs_are_drawn_as_the_golden_files_show(name: str) -> None:
    golden = GOLDEN / f"{name}.svg"
    assert draw(loads(SMALL[name]).graph) == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("form", [mermaid, dot], ids=["mermaid", "dot"])
def test_text_forms_are_as_the_golden_files_show(form: object) -> None:
    write = mermaid if form is mermaid else dot
    golden = GOLDEN / ("space.mmd" if form is mermaid else "space.dot")
    assert write(loads(SPACE).graph) == golden.read_text(encoding="utf-8")


@given(spaces(), st.sampled_from(DIRECTIONS), st.booleans())
def test_no_two_boxes_overlap(space: Graph, direction: Direction, expand: bool) -> None:
    placed = place(picture_of(space, expand=expand), direction)
    for level in rectangles(placed, direction):
        assert not [pair for pair in combinations(level, 2) if overlap(*pair)]


@given(spaces(), st.sampled_from(DIRECTIONS))
def test_the_inside_of_a_composite_lies_inside(space: Graph, direction: Direction) -> None:
    for box in place(picture_of(space, expand=True), direction).boxes:
        if box.inside is not None:
            assert box.inside.width <= box.sized.width + 0.01
            assert box.inside.height + 28.0 <= box.sized.height + 0.01


@given(spaces(), st.sampled_from(DIRECTIONS))
def test_no_line_crosses_a_box_on_its_way(space: Graph, direction: Direction) -> None:
    placed = place(picture_of(space), direction)
    boxes = next(rectangles(placed, direction))
    for net in placed.nets:
        for path in net.paths:
            # The curve stays between the two points; the straight parts run beside the boxes.
            for (x0, y0), (x1, y1) in ((path.start, path.left), (path.right, path.end)):
                line = (min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0))
                assert not [box for box in boxes if overlap(box, line)]
            (x0, y0), (x1, y1) = path.left, path.right
            gap = (x0, min(y0, y1), x1 - x0, abs(y1 - y0))
            if direction == "down":
                gap = (min(x0, x1), y0, abs(x1 - x0), y1 - y0)
            assert not [box for box in boxes if overlap(box, gap)]


@given(spaces(), st.booleans())
def test_text_fits_into_its_box(space: Graph, expand: bool) -> None:
    placed = place(picture_of(space, expand=expand), "right")
    for box in placed.boxes:
        widest = max([line_width(line) for line in box.sized.lines], default=0.0)
        assert widest <= box.sized.width
        assert width_of(box.sized.caption, 10.5) <= box.sized.width
        asks = box.sized.asks or box.sized
        chips = [(chip.x, chip.y, chip.width, 19.0) for chip in asks.chips]
        assert not [pair for pair in combinations(chips, 2) if overlap(*pair)]
        assert all(x >= 0 and x + width <= asks.width for x, _, width, _ in chips)
        assert all(y >= 0 and y + height <= asks.height for _, y, _, height in chips)


@given(spaces(), st.sampled_from(DIRECTIONS), st.booleans())
def test_drawings_are_well_formed(space: Graph, direction: Direction, expand: bool) -> None:
    parsed(draw(space, direction=direction, expand=expand))


@given(spaces())
def test_the_same_graph_gives_the_same_bytes(space: Graph) -> None:
    assert draw(space) == draw(space)


@given(spaces(), st.randoms(use_true_random=False))
def test_a_genotype_is_drawn_over_its_space(space: Graph, rng: random.Random) -> None:
    taken = {key: decision.sample(rng) for key, decision in space.decisions.items()}
    parsed(draw(space, taken=taken, expand=True))


def test_open_decisions_are_dashed_and_named() -> None:
    svg = draw(loads(SPACE).graph)
    assert {"?act", "?x", "?y", "?depth", "?width"} <= set(words(svg))
    assert 'class="r choice dash"' in svg
    assert "one of 2" in words(svg)


def test_open_sizes_show_what_they_may_be() -> None:
    assert any("linear 16|32" in line for line in words(draw(loads(SPACE).graph)))


def test_settled_networks_have_nothing_dashed() -> None:
    svg = draw(loads(NETWORK).graph)
    body = svg[svg.index("</style>") :]
    assert "dash" not in body
    assert "open-line" not in body


def test_chains_of_ops_share_a_box() -> None:
    assert "concat · linear 24 · relu" in words(draw(loads(NETWORK).graph))


def test_candidates_that_are_small_functions_are_chips() -> None:
    boxes = picture_of(loads(SPACE).graph).boxes
    asked = [box.asks for box in boxes if box.asks is not None]
    assert [[chip.text for chip in box.chips] for box in asked] == [["relu", "sigmoid"]] * 2


def test_cheap_ops_after_a_choice_stay_in_its_box() -> None:
    text = SPACE.replace("h[1] = ?act", "h[1] = dropout(?act").replace(
        "?y of audio[*]), out=W))\n", "?y of audio[*]), out=W)), p=0.5)\n", 1
    )
    boxes = picture_of(loads(text).graph).boxes
    after = ["".join(run.text for run in runs) for box in boxes for runs in box.after]
    assert after == ["dropout"]
    assert any(line == "dropout" for line in words(draw(loads(text).graph)))


def test_layers_that_a_depth_chooses_between_keep_their_boxes() -> None:
    layers = NETWORK.replace(
        "linear(relu(linear(concat(image, audio), out=24)), out=10)", "?depth of h[*]"
    )
    layers = layers.replace(
        "  output", "  h[1] = linear(image, out=10)\n  h[2] = linear(h[1], out=10)\n  output"
    )
    boxes = picture_of(loads(layers).graph).boxes
    assert [box.text for box in boxes if box.kind == "op"] == ["linear 10", "linear 10"]
    assert not any(box.chips for box in boxes)


def test_candidates_of_several_choices_meet_in_a_bus() -> None:
    scene = picture_of(ntu())
    buses = [index for index, box in enumerate(scene.boxes) if box.kind == "bus"]
    coming = [sum(link.target == bus for link in scene.links) for bus in buses]
    going = [sum(link.source == bus for link in scene.links) for bus in buses]
    assert (coming, going) == ([4, 4], [4, 4])


def test_the_candidates_of_a_bus_are_named_as_the_decision_names_them() -> None:
    text = """fuse 1
space small {
  dim N
  for i in 1..3 { input x[i]: f32[N, 8] }
  for i in 1..3 { wide[i] = dropout(linear(x[i], out=8), p=0.1) }
  for n in 1..2 { h[n] = linear(?taken of wide[*], out=8) }
  output logits = linear(concat(h[*]), out=10)
}
"""
    scene = picture_of(loads(text).graph)
    (tooltip,) = {link.tooltip for link in scene.links if link.tooltip.startswith("candidates")}
    assert tooltip == "candidates: wide[1], wide[2], wide[3]"
    assert [box.tooltip for box in scene.boxes if box.kind == "bus"] == [
        "one of wide[1], wide[2], wide[3]"
    ]


def test_every_candidate_can_be_followed_to_its_choice() -> None:
    space = loads(SPACE).graph
    scene = picture_of(space)
    reached = {(scene.boxes[link.source].text, link.target) for link in scene.links}
    for index, box in enumerate(scene.boxes):
        if box.kind == "choice" and box.text == "?x":
            sources = {link.source for link in scene.links if link.target == index}
            buses = {s for s in sources if scene.boxes[s].kind == "bus"}
            found = {text for text, target in reached if target in {index, *buses}}
            assert {"image[1]", "image[2]"} <= found


def test_what_a_genotype_takes_stands_out_and_the_rest_fades() -> None:
    taken: dict[str, Setting] = dict.fromkeys(loads(SPACE).graph.decisions, (0,))
    scene = picture_of(loads(SPACE).graph, taken=taken)
    state = {box.text: box.state for box in scene.boxes if box.kind == "input"}
    assert state == {
        "image[1]": "plain", "image[2]": "faded", "audio[1]": "plain", "audio[2]": "faded",
    }  # fmt: skip
    chips = [chip for box in scene.boxes if box.asks for chip in box.asks.chips]
    # The depth is 1: nothing of the second layer is taken.
    assert [chip.state for chip in chips] == ["taken", "faded", "faded", "faded"]
    assert any("linear 16" in box.text and "|" not in box.text for box in scene.boxes)


def test_composites_are_whole_and_tell_what_is_open_inside() -> None:
    space = grown(["cell"], [0])
    cells = [box for box in picture_of(space).boxes if box.kind == "cell"]
    assert [(box.open, box.inner, box.caption) for box in cells] == [(True, None, "v[0] · ?side")]


def test_expand_opens_composites() -> None:
    space = grown(["cell", "cell"], [0])
    opened = picture_of(space, expand=lambda node: node.key == "v[0]")
    insides = {box.caption.split(" ")[0]: box.inner for box in opened.boxes if box.kind == "cell"}
    assert insides["v[1]"] is None
    inside = insides["v[0]"]
    assert inside is not None
    assert [box.text for box in inside.boxes if box.kind == "formal"] == ["x", "y"]


def test_composites_stay_whole_where_the_picture_would_be_too_large() -> None:
    space = grown(["cell"] * 150, list(range(3, 153)))
    scene = picture_of(space, expand=True)
    assert all(box.inner is None for box in scene.boxes)
    assert any("shown whole" in line for line in words(draw(space, expand=True)))


HOSTILE = [
    "</text><script>alert(1)</script>",
    '"><svg onload="alert(1)">',
    "]]>&lt;&#0;&bogus;",
    "a\x00b\x1b[31m\ufffe",
    "\u202egnp.exe\u2069",
    "new\nline\ttab",
    "長い名前" * 40,
    "W" * 4000,
    "",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_text_and_nothing_else(name: str) -> None:
    wide = tensor("f32", (symbol("N"), 8))
    inputs = [input_node(name + end, wide) for end in ("", "x")]
    picked = choice(OneOf(f"a.{name}", (name, name + "x")), 0, inputs)
    body = build(op_named("linear"), [picked], {"out": 8}, f"{name}.w")
    space = graph(name, inputs, [(name, body)])
    root = parsed(draw(space))
    tags = {element.tag.rsplit("}", 1)[-1] for element in root.iter()}
    assert tags <= {"svg", "title", "style", "rect", "text", "tspan", "g", "path"}
    assert not [key for element in root.iter() for key in element.attrib if key.startswith("on")]
    assert float(root.get("width", "0")) < 4000
    for text in (mermaid(space), dot(space)):
        assert "\x00" not in text
        assert "<script" not in text.replace('\\"', "") or text.startswith("digraph")


def test_text_that_no_xml_can_hold_is_replaced() -> None:
    assert clean("a\ud800b\x00c") == "a\ufffdb\ufffdc"
    assert escape('\x07<"&>') == "\ufffd&lt;&quot;&amp;&gt;"


def test_mermaid_escapes_what_is_syntax() -> None:
    space = graph(
        'a"b', [i := input_node('x"]; click n0 "javascript:1', tensor("f32", (1,)))], [("o", i)]
    )
    assert 'n0(["x#34;#93;#59; click n0 #34;javascript:1' in mermaid(space)


def test_dot_escapes_quotes() -> None:
    space = graph('a"b\\', [i := input_node('x"];', tensor("f32", (1,)))], [("o", i)])
    assert 'digraph "a\\"b\\\\" {' in dot(space)
    assert 'label="x\\"];' in dot(space)


@given(
    st.lists(st.tuples(st.floats(1, 90), st.floats(1, 90)), min_size=2, max_size=40),
    st.lists(st.tuples(st.integers(0, 999), st.integers(0, 999)), max_size=80),
)
def test_layouts_of_random_rectangles_keep_them_apart(
    sizes: list[tuple[float, float]], pairs: list[tuple[int, int]]
) -> None:
    items = [Item(length, breadth) for length, breadth in sizes]
    ends = [sorted({a % len(items), b % len(items)}) for a, b in pairs]
    nets = [Net(pair[0], (Target(pair[1]),)) for pair in ends if len(pair) == 2]
    layout = layered(items, nets)
    placed = [
        (*corner, i.length, i.breadth) for corner, i in zip(layout.corners, items, strict=True)
    ]
    assert not [pair for pair in combinations(placed, 2) if overlap(*pair)]
    for net, paths in zip(nets, layout.paths, strict=True):
        source = layout.corners[net.source][0] + items[net.source].length
        assert any(path.arrow == 0 for path in paths)
        assert all(path.start[0] >= source - 0.01 for path in paths)
        assert all(path.end[0] <= layout.corners[net.targets[0].item][0] + 0.01 for path in paths)
    for x, y, width, height in placed:
        assert -0.01 <= x <= layout.length - width + 0.01
        assert -0.01 <= y <= layout.breadth - height + 0.01


def test_a_cycle_is_refused() -> None:
    items = [Item(1.0, 1.0), Item(1.0, 1.0)]
    with pytest.raises(ValueError, match="without cycles"):
        layered(items, [Net(0, (Target(1),)), Net(1, (Target(0),))])


def test_png_is_an_image_of_the_size_of_the_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resvg_py")
    svg = draw(loads(NETWORK).graph)
    monkeypatch.setattr("fusegraph.report.png._has_fonts", lambda: True)
    image = png(svg, scale=2.0)
    found = re.search(r'width="(\d+)" height="(\d+)"', svg)
    assert found is not None
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    size = tuple(int.from_bytes(image[at : at + 4], "big") for at in (16, 20))
    assert size == tuple(2 * int(side) for side in found.groups())


DEJAVU = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")


@pytest.mark.skipif(not DEJAVU.is_file(), reason="DejaVu Sans is not installed")
def test_png_finds_the_font_of_linux_systems() -> None:
    pytest.importorskip("resvg_py")
    assert png(draw(loads(NETWORK).graph))[:8] == b"\x89PNG\r\n\x1a\n"


def test_png_without_fonts_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resvg_py")
    monkeypatch.setattr("fusegraph.report.png._has_fonts", lambda: False)
    with pytest.raises(FusegraphError) as caught:
        png("<svg/>")
    assert [d.code for d in caught.value.diagnostics] == ["E731"]


def test_png_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "resvg_py", None)
    with pytest.raises(FusegraphError) as caught:
        png("<svg/>")
    assert [d.code for d in caught.value.diagnostics] == ["E730"]
    assert "fusegraph[png]" in str(caught.value)


def accept() -> None:
    """Write the golden files anew, to be looked at before they are committed."""
    for name, text in SMALL.items():
        (GOLDEN / f"{name}.svg").write_text(draw(loads(text).graph), encoding="utf-8")
    (GOLDEN / "space.mmd").write_text(mermaid(loads(SPACE).graph), encoding="utf-8")
    (GOLDEN / "space.dot").write_text(dot(loads(SPACE).graph), encoding="utf-8")


if __name__ == "__main__":
    accept()
