"""The picture of a graph as Mermaid and DOT text, for documents that draw for themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ..ir.decisions import Setting
from ..ir.graph import Graph
from .labels import text_of_runs
from .scene import Box, Scene
from .svg import Expand, picture_of
from .text import clean


@dataclass(frozen=True, slots=True)
class _Line:
    source: str
    target: str
    label: str
    candidate: bool


def mermaid(
    graph: Graph, *, expand: Expand = False, taken: Mapping[str, Setting] | None = None
) -> str:
    """The graph as a Mermaid flow chart; what is open has dashed lines and the class `open`."""
    scene = picture_of(graph, expand=expand, taken=taken)
    lines = [
        "flowchart LR",
        "  classDef open fill:#fffbeb,stroke:#d97706,color:#b45309,stroke-dasharray:4 3",
        "  classDef input fill:#edf3fb,stroke:#3b6fb6",
        "  classDef output fill:#ecfdf8,stroke:#0f766e",
    ]
    _mermaid_boxes(scene, "n", 1, lines)
    for line in _lines(scene, "n"):
        arrow = "-.->" if line.candidate else "-->"
        label = f'|"{_mermaid_text(line.label)}"|' if line.label else ""
        lines.append(f"  {line.source} {arrow}{label} {line.target}")
    return "\n".join(lines) + "\n"


def dot(graph: Graph, *, expand: Expand = False, taken: Mapping[str, Setting] | None = None) -> str:
    """The graph in the language of Graphviz; what is open is dashed."""
    scene = picture_of(graph, expand=expand, taken=taken)
    lines = [
        f"digraph {_dot_text(clean(graph.name))} {{",
        "  rankdir=LR;",
        '  node [shape=box, style="rounded,filled", fillcolor="#f8fafc", color="#94a3b8", '
        'fontname="Helvetica", fontsize=11];',
        '  edge [color="#94a3b8", arrowsize=0.6, fontname="Helvetica", fontsize=9];',
    ]
    _dot_boxes(scene, "n", 1, lines)
    for line in _lines(scene, "n"):
        attrs = ['style="dashed"', 'color="#d97706"'] if line.candidate else []
        attrs += [f"label={_dot_text(line.label)}"] if line.label else []
        told = f" [{', '.join(attrs)}]" if attrs else ""
        lines.append(f"  {line.source} -> {line.target}{told};")
    return "\n".join([*lines, "}"]) + "\n"


def _words(box: Box) -> list[str]:
    """The lines of text of a box."""
    words = [box.text] if box.text else []
    if box.caption and box.kind != "port":
        words.append(box.caption)
    if box.chips:
        words.append(" | ".join(chip.text for chip in box.chips))
    if box.asks is not None:
        words += _words(box.asks)
        words += [" · ".join(text_of_runs(list(runs)) for runs in box.after)] if box.after else []
    return words or ["•"]


def _is_open(box: Box) -> bool:
    return box.open or (box.asks is not None and box.asks.open)


# ── lines, with the insides of composites joined to their outsides ───────────────────────────────


def _name(prefix: str, index: int) -> str:
    return f"{prefix}{index}"


def _entry(scene: Scene, prefix: str, index: int, operand: int) -> str:
    """The name of what a line into a box ends at."""
    inner = scene.boxes[index].inner
    if inner is None:
        return _name(prefix, index)
    formals = [at for at, box in enumerate(inner.boxes) if box.kind == "formal"]
    return _name(f"{_name(prefix, index)}_", formals[operand])


def _exit(scene: Scene, prefix: str, index: int) -> str:
    """The name of what a line out of a box starts at."""
    inner = scene.boxes[index].inner
    if inner is None:
        return _name(prefix, index)
    port = len(inner.boxes) - 1
    while inner.boxes[port].kind != "port":
        port -= 1
    return _name(f"{_name(prefix, index)}_", port)


def _lines(scene: Scene, prefix: str) -> Iterator[_Line]:
    for link in scene.links:
        yield _Line(
            _exit(scene, prefix, link.source),
            _entry(scene, prefix, link.target, link.operand),
            link.label,
            link.candidate,
        )
    for index, box in enumerate(scene.boxes):
        if box.inner is not None:
            yield from _lines(box.inner, f"{_name(prefix, index)}_")


def _boxes(
    scene: Scene,
    prefix: str,
    depth: int,
    lines: list[str],
    plain: Callable[[str, Box], str],
    opened: Callable[[str, Box], str],
    closing: str,
) -> None:
    for index, box in enumerate(scene.boxes):
        name = _name(prefix, index)
        if box.inner is None:
            lines.append("  " * depth + plain(name, box))
        else:
            lines.append("  " * depth + opened(name, box))
            _boxes(box.inner, f"{name}_", depth + 1, lines, plain, opened, closing)
            lines.append("  " * depth + closing)


# ── Mermaid ──────────────────────────────────────────────────────────────────────────────────────

_PLAIN = re.compile(r"[^\w .,:/×·…•=+\-]")


def _mermaid_text(text: str) -> str:
    """Text in which everything that may be syntax is an entity code."""
    return _PLAIN.sub(lambda found: f"#{ord(found.group())};", clean(text))


_SHAPES = {"input": ("([", "])"), "output": ("([", "])"), "choice": ("{{", "}}")}


def _mermaid_boxes(scene: Scene, prefix: str, depth: int, lines: list[str]) -> None:
    def plain(name: str, box: Box) -> str:
        opening, closing = _SHAPES.get(box.kind, ("[", "]"))
        text = "<br/>".join(map(_mermaid_text, _words(box)))
        css = "open" if _is_open(box) or box.kind == "bus" else box.kind
        known = f":::{css}" if css in ("open", "input", "output") else ""
        return f'{name}{opening}"{text}"{closing}{known}'

    def opened(name: str, box: Box) -> str:
        return f'subgraph {name}["{_mermaid_text(" ".join(_words(box)))}"]'

    _boxes(scene, prefix, depth, lines, plain, opened, "end")


# ── DOT ──────────────────────────────────────────────────────────────────────────────────────────


def _dot_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _dot_boxes(scene: Scene, prefix: str, depth: int, lines: list[str]) -> None:
    def plain(name: str, box: Box) -> str:
        attrs = [f"label={_dot_text(chr(10).join(map(clean, _words(box))))}"]
        if _is_open(box):
            attrs += ['style="rounded,filled,dashed"', 'color="#d97706"', 'fillcolor="#fffbeb"']
        if box.kind in ("bus", "port"):
            attrs += ["shape=point"]
        return f"{name} [{', '.join(attrs)}];"

    def opened(name: str, box: Box) -> str:
        label = _dot_text(clean(" ".join(_words(box))))
        return f"subgraph cluster_{name} {{ label={label};"

    _boxes(scene, prefix, depth, lines, plain, opened, "}")
