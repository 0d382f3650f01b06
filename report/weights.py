"""A supernet with its learnt weights, as BM-NAS's Fig. 8 has it: one picture for each composite.

At the left are the values that may be taken, at the right what takes them, with a bar for each
candidate's weight. The wider a line, the more weight; what the genotype takes is solid and amber.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .architecture import (
    ArchitectureSection,
    LearntEpoch,
    OpenDecision,
    alike_decisions,
    compete,
)
from .axes import n
from .labels import kind_text
from .style import SMALL_SIZE, opening
from .text import clean, escape, fit, width_of

_WIDTH, _EDGE = 540.0, 20.0
_GUTTER, _TAG = 84.0, 34.0
_LONGEST_NAME = 96.0
_ROW, _HEADING, _BOX_HEAD, _BOX_PAD, _BOX_GAP = 17.0, 22.0, 25.0, 18.0, 18.0
_VALUE, _VALUE_GAP = 20.0, 7.0
_MOST_CANDIDATES = 24
_MOST_PANELS = 24
_LEAST_LINE, _MORE_LINE = 0.7, 3.6


@dataclass(frozen=True, slots=True)
class Part:
    """Decisions that share their weights, or one slot of a decision.

    `takers` has, by candidate, the names of the decisions that take it; empty names where there is
    but one decision. `even` is the weight that all candidates have at the start.
    """

    title: str
    labels: tuple[str, ...]
    weights: tuple[float, ...]
    takers: Mapping[int, tuple[str, ...]]
    edges: bool
    even: float


@dataclass(frozen=True, slots=True)
class Panel:
    """A composite, or the upper level: what is decided in it, by owner. `scope` is its key."""

    scope: str
    title: str
    boxes: tuple[tuple[str, tuple[Part, ...]], ...]


def panels_of(section: ArchitectureSection, epoch: LearntEpoch) -> tuple[Panel, ...]:
    """The pictures of an epoch, those of composites after that of the upper level."""
    scopes: dict[str, dict[str, list[Part]]] = {}
    for alike in alike_decisions(section):
        first = alike[0]
        if len(first.decision.labels) < 2 or not epoch.weights.get(first.key):
            continue
        even = 1 / len(first.decision.labels) if compete(section.epochs, first.key) else 0.5
        boxes = scopes.setdefault(first.scope, {})
        boxes.setdefault(first.owner, []).extend(_parts(alike, epoch, even))
    ordered = sorted(scopes.items(), key=lambda item: item[0] != "")
    return tuple(
        [
            Panel(
                scope,
                scope or ("the upper level" if section.mixed else "the space"),
                tuple([(owner, tuple(parts)) for owner, parts in boxes.items()]),
            )
            for scope, boxes in ordered
        ][:_MOST_PANELS]
    )


def _parts(alike: Sequence[OpenDecision], epoch: LearntEpoch, even: float) -> list[Part]:
    first = alike[0]
    slots = epoch.weights[first.key]
    title = ", ".join(f"?{d.name}" for d in alike) + f"  {kind_text(first.decision)}"
    parts: list[Part] = []
    for slot, weights in enumerate(slots):
        takers: dict[int, tuple[str, ...]] = {}
        for d in alike:
            setting = epoch.taken.get(d.key, ())
            chosen = setting if len(slots) == 1 else setting[slot : slot + 1]
            for index in chosen:
                name = d.name if len(alike) > 1 else ""
                takers[index] = (*takers.get(index, ()), name)
        told = title if len(slots) == 1 else f"{title}, {slot + 1}."
        labels = tuple([clean(label) for label in first.decision.labels])
        parts.append(Part(told, labels, weights, takers, first.edges, even))
    return parts


@dataclass(frozen=True, slots=True)
class _Port:
    """Where a line ends: at a candidate's row, with its weight."""

    label: str
    y: float
    weight: float
    taken: bool


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where values end, and where boxes are."""

    values: float
    box: float
    bars: float
    right: float


def weights_chart(panel: Panel, *, number: int) -> str:
    """The picture of one composite after epoch `number`."""
    scope = panel.scope
    columns = _columns(panel)
    body: list[str] = []
    ports: list[_Port] = []
    values: dict[str, float] = {}
    outer = _outer_values(panel, scope)
    top = _EDGE + 34.0
    at = top + _VALUE / 2 + 4.0
    for label in outer:
        values[label] = at
        at += _VALUE + _VALUE_GAP
    results: list[tuple[str, float]] = []
    wanted = {label for _, parts in panel.boxes for p in parts if p.edges for label in p.labels}
    for owner, parts in panel.boxes:
        bottom = _write_box(_within(owner, scope), parts, columns, top, body, ports)
        name = _within(owner, scope)
        if name in wanted:
            at = max(at, bottom - _VALUE / 2 - 2.0)
            results.append((name, bottom - 9.0))
            values[name] = at
            at += _VALUE + _VALUE_GAP
        top = bottom + _BOX_GAP
    lines: list[str] = []
    for name, y in results:
        lines.append(_curve(columns.box, y, columns.values, values[name], "line", 1.4, 1.0))
    for port in sorted(ports, key=lambda port: (port.taken, port.weight)):
        lines.append(_line(port, values[port.label], columns))
    pills = [_pill(label, y, columns) for label, y in values.items()]
    bottom = max(top, at) + 6.0
    tail = _legend(bottom)
    title = f"{panel.title} after epoch {number}"
    head = opening(_WIDTH, bottom + 34.0, escape(clean(title)))
    shown = escape(fit(clean(title), 13.5, _WIDTH - 2 * _EDGE, bold=True))
    head += f'<text class="h n" x="{n(_EDGE)}" y="29">{shown}</text>'
    return head + "".join([*lines, *body, *pills, tail]) + "</svg>\n"


def weights_charts(section: ArchitectureSection) -> list[str]:
    """All pictures of the best epoch, or of the last where none may be taken."""
    if not section.epochs:
        return []
    epoch = section.best or section.epochs[-1]
    return [weights_chart(p, number=epoch.number) for p in panels_of(section, epoch)]


def _within(owner: str, scope: str) -> str:
    """The name of an owner inside its composite: `s[1]` of `c[1].s[1]` in `c[1]`."""
    inside = owner.removeprefix(f"{scope}.") if scope else owner
    return clean(inside) or "the space"


def _outer_values(panel: Panel, scope: str) -> list[str]:
    """The candidates that are no results of the boxes, in the order they come."""
    owners = {_within(owner, scope) for owner, _ in panel.boxes}
    labels = [label for _, parts in panel.boxes for p in parts if p.edges for label in p.labels]
    return [label for label in dict.fromkeys(labels) if label not in owners]


def _columns(panel: Panel) -> _Columns:
    parts = [part for _, parts in panel.boxes for part in parts]
    edges = [label for part in parts if part.edges for label in part.labels]
    values = _EDGE
    if edges:
        values += max(width_of(fit(e, SMALL_SIZE, _LONGEST_NAME), SMALL_SIZE) for e in edges) + 18.0
    box = values + (_GUTTER if edges else 0.0)
    named = max(
        width_of(fit(label, SMALL_SIZE, _LONGEST_NAME), SMALL_SIZE, bold=True)
        for part in parts
        for label in part.labels
    )
    return _Columns(values, box, box + 14.0 + named + 10.0, _WIDTH - _EDGE)


def _write_box(
    name: str,
    parts: Sequence[Part],
    columns: _Columns,
    top: float,
    out: list[str],
    ports: list[_Port],
) -> float:
    """What is decided about one thing. Returns where its box ends."""
    height = _BOX_HEAD + _BOX_PAD
    for part in parts:
        shown = min(len(part.labels), _MOST_CANDIDATES)
        height += _HEADING + _ROW * (shown + (shown < len(part.labels)))
    out.append(
        f'<rect class="r cell" x="{n(columns.box)}" y="{n(top)}" '
        f'width="{n(columns.right - columns.box)}" height="{n(height)}" rx="7"/>'
    )
    room = columns.right - columns.box - 24.0
    shown = escape(fit(name, 12.5, room, bold=True))
    out.append(f'<text class="n" x="{n(columns.box + 12)}" y="{n(top + 19)}">{shown}</text>')
    y = top + _BOX_HEAD
    for part in parts:
        title = escape(fit(part.title, SMALL_SIZE, room))
        out.append(f'<text class="s o" x="{n(columns.box + 12)}" y="{n(y + 14)}">{title}</text>')
        y += _HEADING
        for index in _candidates(part):
            _write_candidate(part, index, columns, y, out)
            if part.edges:
                taken = index in part.takers
                ports.append(_Port(part.labels[index], y + _ROW / 2, part.weights[index], taken))
            y += _ROW
        if len(part.labels) > _MOST_CANDIDATES:
            text = f"and {len(part.labels) - _MOST_CANDIDATES} with less weight"
            out.append(f'<text class="s" x="{n(columns.box + 12)}" y="{n(y + 12)}">{text}</text>')
            y += _ROW
    return top + height


def _candidates(part: Part) -> list[int]:
    """The candidates that are shown: all, or what is taken and what weighs most."""
    order = sorted(
        range(len(part.labels)), key=lambda i: (i not in part.takers, -part.weights[i], i)
    )
    return sorted(order[:_MOST_CANDIDATES])


def _write_candidate(part: Part, index: int, columns: _Columns, top: float, out: list[str]) -> None:
    label, weight = part.labels[index], part.weights[index]
    taken = index in part.takers
    full = columns.right - columns.bars - 2 * _TAG - 32.0
    middle = top + _ROW / 2
    css = "s n ink" if taken else "s"
    shown = escape(fit(label, SMALL_SIZE, _LONGEST_NAME))
    bar = "chosen" if taken else "fill-f bar"
    number = f"{weight:.2f}"
    tags = [name for name in part.takers.get(index, ()) if name]
    tag = fit(", ".join(tags), SMALL_SIZE, 2 * _TAG)
    tip = escape(f"{label}: weight {weight:.4f}{', taken' if taken else ''}")
    even, after = columns.bars + full * part.even, columns.bars + full + 6
    out.append(
        f"<g><title>{tip}</title>"
        f'<text class="{css}" x="{n(columns.box + 14)}" y="{n(middle + 3.6)}">{shown}</text>'
        f'<rect class="paper" x="{n(columns.bars)}" y="{n(middle - 4.5)}" width="{n(full)}" '
        f'height="9" rx="2"/>'
        f'<rect class="{bar}" x="{n(columns.bars)}" y="{n(middle - 4.5)}" '
        f'width="{n(max(full * weight, 0.6))}" height="9" rx="2"/>'
        f'<path class="whisker" d="M{n(even)} {n(middle - 6.5)}v13"/>'
        f'<text class="{css}" x="{n(after)}" y="{n(middle + 3.6)}">{number}</text>'
        f'<text class="s o" x="{n(after + 36)}" y="{n(middle + 3.6)}">'
        f"{escape(tag)}</text></g>"
    )


def _line(port: _Port, start: float, columns: _Columns) -> str:
    css = "chosen-line" if port.taken else "line"
    width = _LEAST_LINE + _MORE_LINE * port.weight
    opacity = 1.0 if port.taken else 0.15 + 0.75 * port.weight
    tip = f"<title>{escape(f'{port.label}: {port.weight:.4f}')}</title>"
    line = _curve(columns.values, start, columns.box, port.y, css, width, opacity)
    return f"<g>{tip}{line}</g>"


def _curve(
    x0: float, y0: float, x1: float, y1: float, css: str, width: float, opacity: float
) -> str:
    bend = (x0 + x1) / 2
    return (
        f'<path class="{css}" style="stroke-width:{width:.2f}" stroke-opacity="{opacity:.2f}" '
        f'd="M{n(x0)} {n(y0)}C{n(bend)} {n(y0)} {n(bend)} {n(y1)} {n(x1)} {n(y1)}"/>'
    )


def _pill(label: str, y: float, columns: _Columns) -> str:
    width = columns.values - _EDGE
    text = escape(fit(label, SMALL_SIZE, _LONGEST_NAME))
    return (
        f"<g><title>{escape(label)}</title>"
        f'<rect class="r in-a" x="{n(_EDGE)}" y="{n(y - _VALUE / 2)}" width="{n(width)}" '
        f'height="{n(_VALUE)}" rx="{n(_VALUE / 2)}"/>'
        f'<text class="s m ink" x="{n(_EDGE + width / 2)}" y="{n(y + 3.6)}">{text}</text></g>'
    )


def _legend(top: float) -> str:
    y = top + 10.0
    bar = f'y="{n(y - 5)}" width="16" height="9" rx="2"'
    text = f'y="{n(y + 3)}"'
    return (
        f'<rect class="chosen" x="{n(_EDGE)}" {bar}/>'
        f'<text class="s" x="{n(_EDGE + 22)}" {text}>taken by the genotype</text>'
        f'<rect class="fill-f bar" x="{n(_EDGE + 160)}" {bar}/>'
        f'<text class="s" x="{n(_EDGE + 182)}" {text}>not taken</text>'
        f'<path class="whisker" d="M{n(_EDGE + 258)} {n(y - 7)}v13"/>'
        f'<text class="s" x="{n(_EDGE + 266)}" {text}>the weight that all begin with</text>'
    )
