"""The part of a genotype that settles `levels`: a scope a node, in any numbering.

v[1][2] { width = 64, from = {v[0][1], v[0][3]}, rate = 4 }
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..decisions import Decision, Setting
from ..diagnostics import Diagnostic, Edit, Label, Span
from ..levels import Level, LevelNode, Levels
from ..levels.arranging import arranged
from ..support.names import nearest
from . import syntax as s
from .choosing import MOST_SHOWN, chosen, in_short, items_of
from .levels import WIDTH

_NODE = re.compile(r"([^.\[]+)\[([0-9]{1,6})\]\[([0-9]{1,6})\]\.([^.].*)")
LEVELS_KEY = re.compile(r"[^.\[]+")
"""The beginning of a key, as of `v[1][2].rate`."""
_Place = tuple[int, int]


def owner_of(key: str, decisions: Mapping[str, Decision]) -> Levels | None:
    """The `levels` to one of whose nodes this key belongs."""
    match = _NODE.fullmatch(key)
    found = decisions.get(match[1]) if match else None
    return found if isinstance(found, Levels) else None


@dataclass(slots=True)
class _Written:
    """A node as a file has it."""

    entries: dict[str, s.Entry] = field(default_factory=dict[str, s.Entry])

    @property
    def span(self) -> Span:
        """From its first entry to its last on the same line."""
        first, *more = [entry.span for entry in self.entries.values()]
        for span in more:
            if (span.file, span.end_line) == (first.file, first.line):
                first = replace(first, end_column=max(first.end_column, span.end_column))
        return first


class LevelsReader:
    """Reads the nodes of one `levels` from the entries of a file; errors are gathered."""

    def __init__(self, levels: Levels, tree: s.GenotypeTree, spans: Mapping[str, Span]) -> None:
        self._levels = levels
        self._tree = tree
        self._spans = spans
        self._nodes: dict[_Place, _Written] = {}
        self.errors: list[Diagnostic] = []

    def add(self, key: str, entry: s.Entry) -> None:
        """One more entry that belongs to a node."""
        match = _NODE.fullmatch(key)
        assert match is not None
        place, name = (int(match[2]), int(match[3])), match[4]
        node = self._nodes.setdefault(place, _Written())
        if name in node.entries:
            self._error(
                "E406", f"`{key}` is settled twice", entry.span, "",
                "keep one of the lines", first=node.entries[name].span,
            )  # fmt: skip
        node.entries.setdefault(name, entry)

    def no_node(self, key: str, entry: s.Entry) -> None:
        """An entry that stands for the levels, or for one of them, and for no node."""
        self._error(
            "E402", f"`{in_short(key)}` is no decision of a node", entry.path.span,
            "not open there", f"settle the nodes one by one, {self._example}",
        )  # fmt: skip

    @property
    def _example(self) -> str:
        level = self._levels.levels[0]
        key = self._levels.key
        return f"such as `{key}[{level.number}][1] {{ {WIDTH} = {level.width}, … }}`"

    def setting(self) -> Setting | None:
        """The setting, or None where there are errors."""
        levels = self._levels
        if self.errors:
            return None
        if not self._nodes:
            self._error(
                "E405", f"`{levels.key}` is not settled", self._tree.space.span,
                "in this genotype", f"add its nodes, {self._example}",
            )  # fmt: skip
            return None
        places = sorted(self._nodes)
        nodes = [self._node(place, places) for place in places]
        if self.errors:
            return None
        made = [node for node in nodes if node is not None]
        for level in levels.levels:
            self._check_width(level, made, places)
        for flaw in levels.flaws(made) if not self.errors else ():
            assert flaw.node is not None
            label = self._label(places[flaw.node])
            self._error(
                "E408", f"nothing takes `{label}`", self._nodes[places[flaw.node]].span,
                "this node", "let a node of a higher level take it, or leave it out and share the "
                f"width of level {flaw.level} out among the others",
            )  # fmt: skip
        return None if self.errors else self._arranged(made)

    def _arranged(self, nodes: Sequence[LevelNode]) -> Setting | None:
        """The setting of nodes without a flaw."""
        try:
            return self._levels.told(arranged(nodes)[0])
        except ValueError:
            self._error(
                "E501", f"too many nodes of `{self._levels.key}` are alike to put them in order",
                self._tree.space.span, "in this genotype",
                "let nodes differ in width, in what they take, or in their own decisions",
            )  # fmt: skip
            return None

    def _check_width(
        self, level: Level, nodes: Sequence[LevelNode], places: Sequence[_Place]
    ) -> None:
        """The shares of a level are its width."""
        here = [place for place in places if place[0] == level.number]
        widths = [node.width for node in nodes if node.level == level.number]
        key = f"{self._levels.key}[{level.number}]"
        if not here:
            self._error(
                "E405", f"`{key}` has no node", self._tree.space.span, "in this genotype",
                f"add one or more, such as `{key}[1] {{ {WIDTH} = {level.width}, … }}`",
            )  # fmt: skip
        elif sum(widths) != level.width:
            first = self._nodes[here[0]].entries[WIDTH]
            self._error(
                "E404",
                f"the widths of `{key}` add up to {sum(widths)}, and the level has {level.width}",
                first.value.span, f"{' + '.join(map(str, widths))} = {sum(widths)}",
                f"share {level.width} out among its nodes, to the last channel",
            )  # fmt: skip

    def _label(self, place: _Place) -> str:
        return f"{self._levels.key}[{place[0]}][{place[1]}]"

    def _node(self, place: _Place, places: Sequence[_Place]) -> LevelNode | None:
        written, label = self._nodes[place], self._label(place)
        try:
            level = self._levels.level(place[0])
        except KeyError:
            have = ", ".join(str(level.number) for level in self._levels.levels)
            self._error(
                "E402", f"`{self._levels.key}` has no level {place[0]}", written.span,
                f"`{label}` stands for a node of it", f"its levels are {have}",
            )  # fmt: skip
            return None
        if self._unknown(level, label, written):
            return None
        entries = dict(written.entries)
        width = self._width(level, entries.pop(WIDTH, None), label, written)
        taken = entries.pop(level.edges, None) if level.takes else None
        inputs = self._inputs(level, taken, label, written, places)
        attributes = self._attributes(level, entries, label, written)
        if width is None or inputs is None or attributes is None:
            return None
        return LevelNode(level.number, width, inputs, attributes)

    def _unknown(self, level: Level, label: str, written: _Written) -> bool:
        """Whether the node has entries that are none of its decisions."""
        known = [WIDTH, *([level.edges] if level.takes else [])]
        known += [decision.key for decision in level.attributes.decisions]
        for name, entry in written.entries.items():
            if name not in known:
                close = nearest(name, known)
                help = f"a node of level {level.number} has {', '.join(known)}"
                self._error(
                    "E402", f"`{label}` has no decision `{in_short(name)}`", entry.path.span,
                    f"did you mean `{close}`?" if close else "not open there",
                    f"write `{close}`" if close else help,
                    edit=Edit(entry.path.span, close)
                    if close is not None and entry.path.text == name
                    else None,
                )  # fmt: skip
        return not written.entries.keys() <= set(known)

    def _width(
        self, level: Level, entry: s.Entry | None, label: str, written: _Written
    ) -> int | None:
        shares = ", ".join(map(str, level.shares))
        if entry is None:
            self._error(
                "E405", f"`{label}.{WIDTH}` is not settled", written.span, "this node",
                f"add `{WIDTH} = …`, one of {shares}",
            )  # fmt: skip
            return None
        text = s.unparse(entry.value)
        if text not in [str(share) for share in level.shares]:
            self._error(
                "E403", f"`{label}` cannot have the width {in_short(text)}", entry.value.span,
                f"no share of level {level.number}", f"write one of {shares}: the width of the "
                "level, or half of it, or a quarter, …",
            )  # fmt: skip
            return None
        return int(text)

    def _inputs(
        self,
        level: Level,
        entry: s.Entry | None,
        label: str,
        written: _Written,
        places: Sequence[_Place],
    ) -> tuple[int, ...] | None:
        if not level.takes:
            return ()
        offered = {self._label(p): at for at, p in enumerate(places) if p[0] in level.takes}
        if entry is None:
            self._error(
                "E405", f"`{label}.{level.edges}` is not settled", written.span, "this node",
                f"add `{level.edges} = {{…}}`, some of {', '.join(offered) or 'the lower nodes'}",
            )  # fmt: skip
            return None
        trees = items_of(entry)
        found: list[int] = []
        for tree in trees:
            name = s.unparse(tree)
            if name not in offered:
                self._error(
                    "E403", f"`{label}` cannot take `{in_short(name)}`", tree.span,
                    self._why_not(name, level), f"write some of {', '.join(offered)}",
                )  # fmt: skip
            elif offered[name] in found:
                self._error(
                    "E404", f"`{label}` takes `{name}` twice", tree.span, "again here",
                    "name each node once",
                )  # fmt: skip
            else:
                found.append(offered[name])
        if not trees:
            self._error(
                "E404", f"`{label}` takes no node", entry.span, "none given",
                f"write some of {', '.join(offered)}",
            )  # fmt: skip
        return None if len(found) < len(trees) else tuple(sorted(found))

    def _why_not(self, name: str, level: Level) -> str:
        match = _NODE.fullmatch(f"{name}.{WIDTH}")
        if match is None or match[1] != self._levels.key:
            return f"no node of `{self._levels.key}`"
        if (int(match[2]), int(match[3])) not in self._nodes:
            return "this genotype has no such node"
        numbers = ", ".join(map(str, level.takes))
        return f"level {level.number} takes nodes of level{'s' * (len(level.takes) > 1)} {numbers}"

    def _attributes(
        self, level: Level, entries: Mapping[str, s.Entry], label: str, written: _Written
    ) -> tuple[tuple[str, Setting], ...] | None:
        before = len(self.errors)
        given: dict[str, Setting] = {}
        for name, entry in entries.items():
            where = self._spans.get(f"{self._levels.key}[{level.number}][1].{name}")
            decision = level.attributes.named(name)
            setting = chosen(decision, f"{label}.{name}", entry, where, self.errors)
            if setting is not None:
                given[name] = setting
        if len(self.errors) > before:
            return None
        missing: list[Decision] = []

        def known_or_missing(decision: Decision) -> Setting:
            if decision.key not in given:
                missing.append(decision)
                return next(decision.settings())
            return given[decision.key]

        reached = level.attributes.skeleton.walk(known_or_missing)
        for decision in missing:
            self._error(
                "E405", f"`{label}.{decision.key}` is not settled", written.span, "this node",
                f"add `{decision.key} = …`, one of {', '.join(decision.labels[:MOST_SHOWN])}",
            )  # fmt: skip
        for name in given if not missing else ():
            if name not in reached:
                self._error(
                    "E408", f"`{label}.{name}` is settled, but nothing reaches it",
                    entries[name].span, "decides nothing in this network",
                    "remove it, or settle what leads there",
                )  # fmt: skip
        return None if len(self.errors) > before else tuple(reached.items())

    def _error(
        self,
        code: str,
        message: str,
        span: Span,
        label: str,
        help: str,
        *,
        first: Span | None = None,
        edit: Edit | None = None,
    ) -> None:
        causes = (Label(first, "first here"),) if first is not None else ()
        self.errors.append(
            Diagnostic(
                code=code,
                message=message,
                span=span,
                label=label,
                causes=causes,
                help=help,
                edit=edit,
            )
        )


def format_levels(levels: Levels, setting: Setting) -> Iterator[str]:
    """A line a node, in the one numbering."""
    graph = levels.graph_of(setting)
    for label, node in zip(graph.labels, graph.nodes, strict=True):
        level = levels.level(node.level)
        parts = [f"{WIDTH} = {node.width}"]
        if level.takes:
            inputs = ", ".join(f"{levels.key}{graph.labels[i]}" for i in node.inputs)
            parts.append(f"{level.edges} = {{{inputs}}}")
        parts += [f"{k} = {level.attributes.named(k).format(v)}" for k, v in node.attributes]
        yield f"{levels.key}{label} {{ {', '.join(parts)} }}"
