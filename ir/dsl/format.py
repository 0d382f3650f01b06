"""The formatter: one layout, two spaces a level, lines of 100 characters, comments kept.

Comments stay with what they stand before or behind; those inside a statement move above it. One
blank line stays where there was at least one. Formatting twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import syntax as s
from .parse import parse

WIDTH = 100
INDENT = "  "


def format_text(text: str, file: str = "<text>") -> str:
    """The text in the one layout. Raises FusegraphError where it does not parse."""
    tree = parse(text, file)
    formatter = _Formatter(text)
    formatter.header(tree)
    formatter.items(tree.items, "")
    formatter.comments_before(len(formatter.source) + 2, "")
    return "\n".join(formatter.lines).rstrip("\n") + "\n"


def format_items(items: Sequence[s.Item]) -> str:
    """A file of these items in the one layout, without comments."""
    formatter = _Formatter("")
    formatter.lines.append("fuse 1")
    formatter.items(items, "")
    return "\n".join(formatter.lines) + "\n"


@dataclass(slots=True)
class _Comment:
    line: int
    text: str
    alone: bool


def _comments(text: str) -> list[_Comment]:
    found: list[_Comment] = []
    for number, line in enumerate(text.splitlines(), 1):
        quoted = False
        for column, character in enumerate(line):
            if character == '"':
                quoted = not quoted
            elif character == "#" and not quoted:
                content = line[column:].rstrip()
                found.append(_Comment(number, content, not line[:column].strip()))
                break
    return found


class _Formatter:
    def __init__(self, text: str) -> None:
        self.source = text.splitlines()
        self.pending = _comments(text)
        self.lines: list[str] = []
        self.last = 0  # the line of the source up to which all is written

    # ── comments and blank lines ─────────────────────────────────────────────────────────────────

    def _blank_before(self, line: int) -> None:
        """One blank line where the source has one between what is written and `line`."""
        between = self.source[self.last : line - 1]
        if any(not text.strip() for text in between) and self.lines and self.lines[-1]:
            opens = self.lines[-1].endswith("{") and not self.lines[-1].lstrip().startswith("#")
            if not opens:
                self.lines.append("")

    def comments_before(self, line: int, indent: str) -> None:
        """The comments of the source above `line`, each on a line of its own."""
        while self.pending and self.pending[0].line < line:
            comment = self.pending.pop(0)
            self._blank_before(comment.line)
            self.lines.append(indent + comment.text)
            self.last = max(self.last, comment.line)

    def _hoist(self, last: int, indent: str) -> None:
        """The comments inside a statement, above it."""
        while self.pending and self.pending[0].line < last:
            self.lines.append(indent + self.pending.pop(0).text)

    def _trail(self, line: int) -> None:
        """The comment behind what ends on `line`."""
        if self.pending and self.pending[0].line == line:
            self.lines[-1] += "  " + self.pending.pop(0).text

    # ── items and statements ─────────────────────────────────────────────────────────────────────

    def header(self, tree: s.File) -> None:
        line = tree.version.span.line
        self.comments_before(line, "")
        self.lines.append(f"fuse {tree.version.text}")
        self.last = line
        if not tree.items or tree.items[0].span.line > line:
            self._trail(line)

    def items(self, trees: Sequence[s.Tree], indent: str) -> None:
        for place, tree in enumerate(trees):
            following = trees[place + 1] if place + 1 < len(trees) else None
            self.comments_before(tree.span.line, indent)
            self._blank_before(tree.span.line)
            if isinstance(tree, s.GenotypeTree):
                self._genotype(tree)
            else:
                self._item(tree, indent)
            self.last = max(self.last, tree.span.end_line)
            if following is None or following.span.line > tree.span.end_line:
                self._trail(tree.span.end_line)

    def _item(self, tree: s.Tree, indent: str) -> None:
        match tree:
            case s.SpaceTree(name=name, body=body):
                self._block(tree, f"space {name.id} {{", body, indent)
            case s.CellTree(body=body):
                self._block(tree, None, body, indent)
            case s.For(name=name, values=values, body=body):
                head = f"for {name.id} in {s.unparse(values)} {{"
                if not self._on_one_line(tree, head, body, indent):
                    self._block(tree, head, body, indent)
            case s.LevelsTree(name=name, levels=levels):
                self._block(tree, f"levels {name.id} {{", levels, indent)
            case s.ScopeTree(path=path, entries=entries):
                if not self._on_one_line(tree, f"{path.text} {{", entries, indent):
                    self._block(tree, f"{path.text} {{", entries, indent)
            case _:
                self._hoist(tree.span.end_line, indent)
                self.lines += _statement(tree, indent)

    def _on_one_line(self, tree: s.Tree, head: str, body: Sequence[s.Tree], indent: str) -> bool:
        """Write a block on one line, where it is short and holds no comment."""
        if self.pending and self.pending[0].line < tree.span.end_line:
            return False
        most = 1 if isinstance(tree, s.For) else len(body)
        blocks = (s.For, s.CellTree, s.LevelsTree, s.ScopeTree)
        if len(body) > most or any(isinstance(b, blocks) for b in body):
            return False
        parts = [_statement(b, "") for b in body]
        if any(len(part) > 1 for part in parts):
            return False
        line = f"{indent}{head} {', '.join(part[0] for part in parts)} }}"
        if len(line) > WIDTH:
            return False
        self.lines.append(line if body else f"{indent}{head}}}")
        return True

    def _block(self, tree: s.Tree, head: str | None, body: Sequence[s.Tree], indent: str) -> None:
        first = body[0].span.line if body else tree.span.end_line
        heads = _cell_head(tree, indent) if isinstance(tree, s.CellTree) else [f"{indent}{head}"]
        self.lines += heads
        self.last = tree.span.line
        if first > tree.span.line and len(heads) == 1:
            self._trail(tree.span.line)
        self.items(body, indent + INDENT)
        self.comments_before(tree.span.end_line, indent + INDENT)
        if body or (len(self.lines[-1].strip()) > 1 and not self.lines[-1].endswith("{")):
            self.lines.append(indent + "}")
        else:
            self.lines[-1] += "}"

    def _genotype(self, tree: s.GenotypeTree) -> None:
        settings = ", ".join(s.unparse(setting) for setting in tree.settings)
        line = f'genotype of "{tree.space.value}"' + (f" with {settings}" if settings else "")
        if tree.pin is not None:
            line += f' @ "{tree.pin.value}"'
        self.lines.append(line)
        end = tree.pin.span.end_line if tree.pin is not None else tree.space.span.end_line
        self.last = end
        if not tree.entries or tree.entries[0].span.line > end:
            self._trail(end)
        self.items(tree.entries, "")


# ── statements as lines ──────────────────────────────────────────────────────────────────────────


def _statement(tree: s.Tree, indent: str) -> list[str]:
    match tree:
        case s.Use(path=path, names=names):
            return [f'{indent}use "{path.value}": {", ".join(name.id for name in names)}']
        case s.Dim(names=names):
            return [f"{indent}dim {', '.join(name.id for name in names)}"]
        case s.Let(name=name, value=value):
            return _laid_out(value, indent, f"let {name.id} = ")
        case s.Share(name=name, value=value):
            return _laid_out(value, indent, f"share {name.id} = ")
        case s.Output(name=name, value=value):
            return _laid_out(value, indent, f"output {name.id} = ")
        case s.Input(target=target, type=declared):
            return [f"{indent}input {s.unparse(target)}: {s.unparse(declared)}"]
        case s.Assign(target=target, value=value):
            return _laid_out(value, indent, f"{s.unparse(target)} = ")
        case s.Return(value=value):
            return _laid_out(value, indent, "return ")
        case s.Require(left=left, relation=relation, right=right, last=last):
            end = f" .. {s.unparse(last)}" if last is not None else ""
            return [f"{indent}require {s.unparse(left)} {relation} {s.unparse(right)}{end}"]
        case s.LevelTree(number=number, width=width, least=least, template=template):
            head = f"{indent}level {s.unparse(number)} width {s.unparse(width)}"
            head += f" least {s.unparse(least)} {{" if least is not None else " {"
            line = f"{head} {s.unparse(template)} }}"
            if len(line) <= WIDTH:
                return [line]
            return [head, *_laid_out(template, indent + INDENT), f"{indent}}}"]
        case s.Entry(path=path, value=value):
            return [f"{indent}{path.text} = {s.unparse(value)}"]
        case _:
            raise TypeError(f"{type(tree).__name__} is no statement")


def _cell_head(tree: s.CellTree, indent: str) -> list[str]:
    operands = [
        f"{o.name.id}{'[*]' if o.variadic else ''}"
        + (f": {s.unparse(o.type)}" if o.type is not None else "")
        for o in tree.operands
    ]
    attributes = [
        f"{a.name.id}: {a.kind.id}"
        + (f" = {s.unparse(a.default)}" if a.default is not None else "")
        for a in tree.attributes
    ]
    result = f" -> {s.unparse(tree.result)}" if tree.result is not None else ""
    inner = ", ".join(operands) + ("; " + ", ".join(attributes) if attributes else "")
    line = f"{indent}cell {tree.name.id}({inner}){result} {{"
    if len(line) <= WIDTH:
        return [line]
    lines = [f"{indent}cell {tree.name.id}("]
    deeper = indent + INDENT
    shown = [f"{deeper}{o}," for o in operands]
    if shown:
        shown[-1] = shown[-1][:-1] + (";" if attributes else "")
    shown += [f"{deeper}{a}," for a in attributes[:-1]] + [f"{deeper}{a}" for a in attributes[-1:]]
    return [*lines, *shown, f"{indent}){result} {{"]


def _laid_out(tree: s.Tree, indent: str, before: str = "", after: str = "") -> list[str]:
    """An expression on one line, or its outermost brackets opened over several."""
    line = f"{indent}{before}{s.unparse(tree)}{after}"
    if len(line) <= WIDTH:
        return [line]
    deeper = indent + INDENT
    match tree:
        case s.Call(function=function, arguments=arguments, keywords=keywords):
            head = _laid_out(function, indent, before, "(")
            return [*head, *_listed((*arguments, *keywords), deeper), f"{indent}){after}"]
        case s.Decide(source=s.Candidates(items=items)):
            head = s.unparse(tree).split("{", 1)[0]
            tail = " repeats" if tree.repeats else ""
            return [
                f"{indent}{before}{head}{{",
                *_listed(items, deeper),
                f"{indent}}}{tail}{after}",
            ]
        case s.Group(value=value):
            return [f"{indent}{before}(", *_laid_out(value, deeper), f"{indent}){after}"]
        case s.Tuple(items=items) if len(items) > 1:
            return [f"{indent}{before}(", *_listed(items, deeper), f"{indent}){after}"]
        case s.Keyword(name=name, value=value):
            return _laid_out(value, indent, f"{before}{name.id}=", after)
        case s.Labelled(name=name, value=value):
            return _laid_out(value, indent, f"{before}{name.id}: ", after)
        case s.Binary(operator=operator, left=left, right=right):
            first = _laid_out(left, indent, before, f" {operator}")
            return [*first, *_laid_out(right, deeper, "", after)]
        case s.Index(base=base, selector=selector):
            return _laid_out(base, indent, before, f"[{s.unparse(selector)}]{after}")
        case _:
            return [line]


def _listed(trees: Sequence[s.Tree], indent: str) -> list[str]:
    lines: list[str] = []
    for place, tree in enumerate(trees):
        comma = "," if place + 1 < len(trees) else ""
        lines += _laid_out(tree, indent, "", comma)
    return lines
