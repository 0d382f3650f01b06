"""From a graph to what its picture shows: boxes and links, without places.

Readable pictures show less than the graph holds. So
1. a chain of ops, each the only user of the one before, is one box with at most one weighted op;
2. `?act of {relu(h), sigmoid(h)}` is one box with a chip for each candidate;
3. the k values of one decision are one box;
4. candidates that several choices share meet in a bus, one line from each and one to each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..ir.decisions import SomeOf
from ..ir.graph import Graph
from ..ir.node import Node, everything, topological
from ..ir.ops import CELL, CHOICE, FORMAL, INPUT, MAYBE
from .buses import with_buses
from .labels import Run, Settings, kind_text, op_runs, short_name, tooltip, type_text
from .pills import Pill, find_pills, fold
from .scene import Box, Chip, Kind, Legend, Link, Scene, State
from .text import clean


def scene_of(graph: Graph, opened: Callable[[Node], bool], taken: Settings) -> Scene:
    """The scene of a whole graph. Composites for which `opened` holds show their inside."""
    inside = _Region(graph.outputs, graph.inputs, opened, taken, _alive(graph.roots, taken))
    return replace(inside.scene(), legend=legend_of(graph))


def legend_of(graph: Graph) -> tuple[Legend, ...]:
    """The open decisions, those that look the same together, in the order of the graph."""
    groups: dict[str, dict[tuple[str, tuple[str, ...]], int]] = {}
    for decision in graph.decisions.values():
        labels = tuple([clean(label) for label in decision.labels])
        sorts = groups.setdefault(short_name(decision), {})
        sort = (kind_text(decision), labels)
        sorts[sort] = sorts.get(sort, 0) + 1
    return tuple(
        [
            Legend(name, tuple([(n, kind, labels) for (kind, labels), n in sorts.items()]))
            for name, sorts in groups.items()
        ]
    )


def _alive(roots: Sequence[Node], taken: Settings) -> frozenset[Node]:
    """What the outputs reach once the settings are taken, in the bodies of composites too."""
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op is CHOICE and node.decision.key in taken:
            stack.append(node.inputs[taken[node.decision.key][node["slot"]]])
        elif node.op is MAYBE and node.decision.key in taken:
            if node["index"] in taken[node.decision.key]:
                stack.extend(node.inputs)
        else:
            stack.extend(node.inputs)
            if node.op is CELL:
                stack.append(node["body"])
    return frozenset(seen)


class _Region:
    """Works out the scene of one graph, or of one body, step by step."""

    def __init__(
        self,
        outputs: Sequence[tuple[str, Node]],
        inputs: Sequence[Node],
        opened: Callable[[Node], bool],
        taken: Settings,
        alive: frozenset[Node],
    ) -> None:
        self.outputs, self.inputs = outputs, inputs
        self.opened, self.taken, self.alive = opened, taken, alive
        self.order = topological([node for _, node in outputs])
        self.users: dict[Node, list[Node | None]] = {node: [] for node in self.order}
        for node in self.order:
            for i in dict.fromkeys(node.inputs):
                self.users[i].append(node)
        for _, node in outputs:
            self.users[node].append(None)
        pills = find_pills(self.order, self.users)
        self.pill_of = {node: pill for pill in pills for node in pill.nodes}
        self.folded, self.chips = fold(pills, self.users, opened)
        self.chain_of = self._find_chains()
        self.boxes: list[Box] = []
        self.place: dict[Node, int] = {}
        self.port: dict[Node, int] = {}

    # ── choices ──────────────────────────────────────────────────────────────────────────────

    def _chip(self, pill: Pill, index: int) -> Chip:
        text = clean(pill.decision.labels[pill.indices[index]])
        tip = tooltip(pill.candidates[index], self.taken)
        return Chip(text, tip, self._state_of(pill, index))

    def _state_of(self, pill: Pill, index: int) -> State:
        setting = self.taken.get(pill.decision.key)
        if setting is None:
            return "plain"
        return "taken" if self._is_taken(pill, index) else "faded"

    def _is_taken(self, pill: Pill, index: int) -> bool:
        setting = self.taken[pill.decision.key]
        if not any(node in self.alive for node in pill.nodes):
            return False
        if isinstance(pill.decision, SomeOf):
            return pill.indices[index] in setting
        slots = [setting[node["slot"]] for node in pill.nodes]
        return pill.indices[index] in slots

    # ── chains ───────────────────────────────────────────────────────────────────────────────

    def _find_chains(self) -> dict[Node, list[Node]]:
        """The chain of each primitive that has a box: nodes in the order of computation."""
        chains: dict[Node, list[Node]] = {}
        for node in self.order:
            if node.op.structural or node in self.chips:
                continue
            below = set(node.inputs)
            chain = chains.get(next(iter(below))) if len(below) == 1 else None
            alone = chain is not None and self.users[chain[-1]] == [node]
            weighted = node.op.macs is not None
            if (
                chain is not None
                and alone
                and not (weighted and any(other.op.macs is not None for other in chain))
            ):
                chain.append(node)
                chains[node] = chain
            else:
                chains[node] = [node]
        return chains

    # ── the scene ────────────────────────────────────────────────────────────────────────────

    def scene(self) -> Scene:
        """Boxes in the order of computation, then the links between them."""
        self._add_inputs()
        for node in self.order:
            self._add(node)
        links = self._links()
        for name, node in self.outputs:
            kind: Kind = "output" if name else "port"
            text = type_text(node.type, self.taken)
            runs = (Run(clean(name), "name"),)
            box = Box(kind, (runs,) if name else (), text, tooltip(node, self.taken))
            self.boxes.append(box)
            links.append(self._link(node, len(self.boxes) - 1))
        links = with_buses(self.boxes, links)
        return Scene(tuple(self.boxes), tuple(links))

    def _add_inputs(self) -> None:
        hues: dict[str, int] = {}
        for node in self.inputs:
            if node not in self.users:
                continue
            family = str(node["name"]).split("[", 1)[0]
            self.place[node] = len(self.boxes)
            kind: Kind = "input" if node.op is INPUT else "formal"
            self.boxes.append(
                Box(
                    kind,
                    ((Run(clean(node["name"]), "name"),),),
                    type_text(node.type, self.taken) if kind == "input" else "",
                    tooltip(node, self.taken),
                    hue=hues.setdefault(family, len(hues)),
                    state=self._life(node),
                )
            )

    def _life(self, node: Node) -> State:
        return "plain" if not self.taken or node in self.alive else "faded"

    def _add(self, node: Node) -> None:
        if node in self.place or node in self.chips:
            return
        index = len(self.boxes)
        if (pill := self.pill_of.get(node)) is not None:
            for slot, member in enumerate(pill.nodes):
                self.place[member] = index
                self.port[member] = slot if node.op is CHOICE else 0
            before = self._chain_that_asks(pill)
            if before is None:
                self.boxes.append(self._pill_box(pill))
            else:
                self.place.update(dict.fromkeys(pill.nodes, before))
                self.boxes[before] = replace(self.boxes[before], asks=self._pill_box(pill))
        elif node.op is CELL:
            self.place[node] = index
            self.boxes.append(self._cell_box(node))
        else:
            chain = self.chain_of[node]
            if node is not chain[-1]:
                return
            parts = tuple([tuple(op_runs(member, self.taken)) for member in chain])
            tip = "\n".join(tooltip(member, self.taken) for member in chain)
            caption = _shape_caption(node, self.taken)
            is_open = any(run.style == "open" for runs in parts for run in runs)
            before = self._box_that_goes_on(chain)
            if before is not None:
                self.place.update(dict.fromkeys(chain, before))
                box = self.boxes[before]
                tip = f"{box.tooltip}\n{tip}"
                self.boxes[before] = replace(box, after=parts, caption=caption, tooltip=tip)
                return
            self.place.update(dict.fromkeys(chain, index))
            self.boxes.append(Box("op", parts, caption, tip, open=is_open, state=self._life(node)))

    def _box_that_goes_on(self, chain: Sequence[Node]) -> int | None:
        """The box whose choice only this chain of cheap ops uses."""
        before, *more = dict.fromkeys(chain[0].inputs) or [chain[0]]
        pill = self.pill_of.get(before)
        if more or pill is None or len(pill.nodes) > 1 or self.users[before] != [chain[0]]:
            return None
        place = self.place[before]
        cheap = all(node.op.macs is None and node.op.weights is None for node in chain)
        return place if cheap and self.boxes[place].asks is not None else None

    def _chain_that_asks(self, pill: Pill) -> int | None:
        """The box of a chain whose value only the chips of this choice use."""
        common = self.folded.get(pill, ())
        if len(common) != 1 or common[0].op.structural:
            return None
        alone = all(
            user in pill.nodes or self.chips.get(user) is pill  # pyright: ignore[reportArgumentType]
            for user in self.users[common[0]]
        )
        return self.place.get(common[0]) if alone else None

    def _pill_box(self, pill: Pill) -> Box:
        name = (Run(f"?{short_name(pill.decision)}", "name"),)
        chips: tuple[Chip, ...] = ()
        if pill in self.folded:
            chips = tuple([self._chip(pill, index) for index in range(len(pill.candidates))])
        shown = [clean(label) for label in pill.decision.labels[:32]]
        more = " …" if len(pill.decision.labels) > 32 else ""
        tip = f"{clean(pill.decision.key)}: {kind_text(pill.decision)}: {', '.join(shown)}{more}"
        state: State = "plain"
        caption = kind_text(pill.decision)
        if self.taken:
            alive = any(node in self.alive for node in pill.nodes)
            state = "plain" if alive else "faded"
            setting = self.taken.get(pill.decision.key)
            if alive and setting is not None:
                state = "taken"
                if not chips:
                    caption = ", ".join(clean(pill.decision.labels[index]) for index in setting)
        return Box("choice", (name,), caption, tip, chips, open=True, state=state)

    def _cell_box(self, node: Node) -> Box:
        name = (tuple(op_runs(node, self.taken)),)
        caption = clean(node.key) if node.key else ""
        decisions = _decisions_inside(node)
        inner = None
        if self.opened(node):
            inner = _Region(
                [("", node["body"])], node["formals"], self.opened, self.taken, self.alive
            ).scene()
        elif decisions:
            asked = ", ".join(f"?{short}" for short in decisions)
            caption = f"{caption} · {asked}" if caption else asked
        return Box(
            "cell",
            name,
            caption,
            tooltip(node, self.taken),
            open=bool(decisions),
            state=self._life(node),
            inner=inner,
        )

    # ── links ────────────────────────────────────────────────────────────────────────────────

    def _link(self, source: Node, target: int, operand: int = -1) -> Link:
        text = f"{self.boxes[self.place[source]].text}: {type_text(source.type, self.taken)}"
        return Link(
            self.place[source],
            target,
            candidate=source.op is MAYBE and source.decision.key not in self.taken,
            port=self.port.get(source, 0),
            operand=operand,
            tooltip=text,
            state=self._life(source),
        )

    def _links(self) -> list[Link]:
        links: list[Link] = []
        done: set[int] = set()
        for node in self.order:
            if node in self.chips or (node in self.place and self.place[node] in done):
                continue
            target = self.place.get(node)
            if target is None or node.op is INPUT or node.op is FORMAL:
                continue
            done.add(target)
            if (pill := self.pill_of.get(node)) is not None:
                links += self._pill_links(pill, target)
            elif node.op is CELL:
                opened = self.opened(node)
                for place, i in enumerate(node.inputs):
                    links.append(self._link(i, target, place if opened else -1))
            else:
                for i in dict.fromkeys(self.chain_of[node][0].inputs):
                    links.append(self._link(i, target))
        # The values of a subset come from one box to one box: they are one line.
        return list({(k.source, k.port, k.target, k.operand): k for k in links}.values())

    def _pill_links(self, pill: Pill, target: int) -> list[Link]:
        if pill in self.folded:
            return [self._link(i, target) for i in self.folded[pill]]
        labels: dict[Node, list[str]] = {}
        states: dict[Node, State] = {}
        for index, candidate in enumerate(pill.candidates):
            label = clean(pill.decision.labels[pill.indices[index]])
            labels.setdefault(candidate, []).append(label)
            state = self._state_of(pill, index)
            if states.get(candidate) != "taken":
                states[candidate] = state
        links: list[Link] = []
        for candidate, names in labels.items():
            link = self._link(candidate, target)
            box = self.boxes[link.source]
            told = {box.text, box.caption, *box.caption.split(" · ")}
            label = ", ".join(name for name in names if name not in told)
            state = states[candidate]
            if self.taken and link.state == "faded" and state == "plain":
                state = "faded"
            links.append(
                replace(link, candidate=True, label=label, state=state, candidates=tuple(names))
            )
        return links


def _shape_caption(node: Node, taken: Settings) -> str:
    """The sizes of a value without dtype and batch: `60`, `128×8`."""
    text = type_text(node.type, taken)
    return text[text.index("[") :]


def _decisions_inside(node: Node) -> list[str]:
    """The short names of the decisions in the body of a composite."""
    if node["body"].settled:
        return []
    found: dict[str, None] = {}
    for inner in everything([node["body"]]):
        if inner.op is CHOICE or inner.op is MAYBE:
            found.setdefault(short_name(inner.decision))
    return list(found)
