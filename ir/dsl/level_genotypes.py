"""The part of a genotype that settles `levels`: a scope a node, in any numbering.

v[1][2] { width = 64, from = {v[0][1], v[0][3]}, rate = 4 }
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..decisions import Decision, Setting, UnknownLabel
from ..diagnostics import Diagnostic, Edit, Label, Span
from ..levels import Level, LevelNode, Levels
from ..levels.arranging import arranged
from ..support.names import nearest
from . import syntax as s

WIDTH = "width"
"""What a genotype calls a node's share."""

_NODE = re.compile(r"(.+)\[(\d+)\]\[(\d+)\]\.([^.].*)")
_Place = tuple[int, int]


def owner_of(key: str, decisions: Mapping[str, Decision]) -> Levels | None:
    """The `levels` to one of whose nodes this key belongs."""
    match = _NODE.fullmatch(key)
    found = decisions.get(match[1]) if match else None
    return found if isinstance(found, Levels) else None


@dataclass(slots=True)
class _Written:
    """A node as a file has it."""

    span: Span
    entries: dict[str, s.Entry] = field(default_factory=dict[str, s.Entry])


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
        node = self._nodes.setdefault(place, _Written(entry.span))
        if name in node.entries:
            self._error(
                "E406", f"`{key}` is settled twice", entry.span, "",
                "keep one of the lines", first=node.entries[name].span,
            )  # fmt: skip
        node.entries.setdefault(name, entry)

    def setting(self) -> Setting | None:
        """The setting, or None where there are errors."""
        levels = self._levels
        if not self._nodes:
            self._error(
                "E405", f"`{levels.key}` is not settled", self._tree.space.span,
                "in this genotype",
                f"add its nodes, such as `{levels.key}[{levels.levels[0].number}][1] "
                f"{{ width = {levels.levels[0].width} }}`",
            )  # fmt: skip
            return None
        places = sorted(self._nodes)
        nodes = [self._node(place, places) for place in places]
        if self.errors:
            return None
        made = [node for node in nodes if node is not None]
        for flaw in levels.flaws(made):
            if flaw.node is None:
                span = self._tree.space.span
                message, label = f"`{levels.key}`: {flaw.words}", "in this genotype"
            else:
                span = self._nodes[places[flaw.node]].span
                message, label = f"`{self._label(places[flaw.node])}`: {flaw.words}", ""
            code = "E408" if flaw.words.startswith("nothing") else "E404"
            self._error(code, message, span, label, flaw.help)
        return None if self.errors else levels.told(arranged(made)[0])

    def _label(self, place: _Place) -> str:
        return f"{self._levels.key}[{place[0]}][{place[1]}]"

    def _node(self, place: _Place, places: Sequence[_Place]) -> LevelNode | None:
        written, label = self._nodes[place], self._label(place)
        try:
            level = self._levels.level(place[0])
        except KeyError:
            have = ", ".join(str(level.number) for level in self._levels.levels)
            self._error(
                "E402", f"`{self._levels.key}` has no level {place[0]}", written.span, "",
                f"its levels are {have}",
            )  # fmt: skip
            return None
        entries = dict(written.entries)
        width = self._width(level, entries.pop(WIDTH, None), label, written)
        taken = entries.pop(level.edges, None) if level.takes else None
        inputs = self._inputs(level, taken, label, written, places)
        attributes = self._attributes(level, entries, label, written)
        if width is None or inputs is None or attributes is None:
            return None
        return LevelNode(level.number, width, inputs, attributes)

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
                "E403", f"`{label}` cannot have the width {text}", entry.value.span, "no share",
                f"shares of {level.width} are {shares}", cause=self._where(),
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
        trees: Sequence[s.Tree] = (
            entry.value.items if isinstance(entry.value, s.Labels) else (entry.value,)
        )
        found: list[int] = []
        for tree in trees:
            name = s.unparse(tree)
            if name not in offered:
                close = nearest(name, offered)
                self._error(
                    "E403", f"`{label}` cannot take `{name}`", tree.span,
                    f"did you mean `{close}`?" if close else "no node of a lower level",
                    f"write some of {', '.join(offered)}",
                    edit=Edit(tree.span, close) if close else None,
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

    def _attributes(
        self, level: Level, entries: Mapping[str, s.Entry], label: str, written: _Written
    ) -> tuple[tuple[str, Setting], ...] | None:
        before = len(self.errors)
        given: dict[str, Setting] = {}
        for name, entry in entries.items():
            try:
                decision = level.attributes.named(name)
            except KeyError:
                known = [WIDTH, *([level.edges] if level.takes else [])]
                known += [d.key for d in level.attributes.decisions]
                close = nearest(name, known)
                self._error(
                    "E402", f"`{label}` has no decision `{name}`", entry.path.span,
                    f"did you mean `{close}`?" if close else "not open there",
                    f"a node of level {level.number} has {', '.join(known)}",
                )  # fmt: skip
                continue
            setting = self._chosen(decision, entry, label)
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
                f"add `{decision.key} = …`, one of {', '.join(decision.labels[:12])}",
            )  # fmt: skip
        for name in given if not missing else ():
            if name not in reached:
                self._error(
                    "E408", f"`{label}.{name}` is settled, but nothing reaches it",
                    entries[name].span, "decides nothing in this network",
                    "remove it, or settle what leads there",
                )  # fmt: skip
        return None if len(self.errors) > before else tuple(reached.items())

    def _chosen(self, decision: Decision, entry: s.Entry, label: str) -> Setting | None:
        trees: Sequence[s.Tree] = (
            entry.value.items if isinstance(entry.value, s.Labels) else (entry.value,)
        )
        labels = [s.label_of(tree) for tree in trees]
        try:
            setting = decision.parse(labels)
        except UnknownLabel as error:
            name = str(error)
            span = trees[labels.index(name)].span
            close = nearest(name, decision.labels)
            self._error(
                "E403", f"`{label}.{decision.key}` does not offer `{name}`", span,
                f"did you mean `{close}`?" if close else "not a candidate",
                f"write one of {', '.join(decision.labels[:12])}", cause=self._where(),
                edit=Edit(span, close) if close else None,
            )  # fmt: skip
            return None
        if not decision.admits(setting):
            self._error(
                "E404",
                f"`{label}.{decision.key}` cannot be settled as {{{', '.join(labels)}}}",
                entry.value.span, f"{len(labels)} given", "settle it as its space offers it",
                cause=self._where(),
            )  # fmt: skip
            return None
        return setting

    def _where(self) -> Span | None:
        return self._spans.get(self._levels.key)

    def _error(
        self,
        code: str,
        message: str,
        span: Span,
        label: str,
        help: str,
        *,
        first: Span | None = None,
        cause: Span | None = None,
        edit: Edit | None = None,
    ) -> None:
        causes = [Label(first, "first here")] if first is not None else []
        causes += [Label(cause, "open here")] if cause is not None else []
        self.errors.append(
            Diagnostic(
                code=code,
                message=message,
                span=span,
                label=label,
                causes=tuple(causes),
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
