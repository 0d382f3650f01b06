"""Text to syntax tree, by lark; what does not parse becomes a diagnostic."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, cast

import lark
from lark.tree import Meta

from ..diagnostics import Diagnostic, Edit, FusegraphError, Span
from . import syntax as s
from .syntax_errors import blanked, syntax_error

VERSION = 1
LONGEST_FILE = 1_000_000
"""Characters in a file."""
DEEPEST = 100
"""Levels of nesting in an expression or of blocks."""


@cache
def _parser() -> lark.Lark:
    grammar = (files(__package__ or __name__) / "grammar.lark").read_text(encoding="utf-8")
    return lark.Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=True)


def parse(text: str, file: str = "<text>") -> s.File:
    """The syntax tree of a `.fuse` file. Raises FusegraphError (E101 to E105)."""
    if len(text) > LONGEST_FILE:
        raise FusegraphError(
            Diagnostic(
                code="E103",
                message=f"the file has {len(text)} characters, more than {LONGEST_FILE}",
                place=file,
                help="split it with `use`, or write repeated parts with `for`",
            )
        )
    _refuse_deep_nesting(text, file)
    try:
        tree: lark.Tree[Any] = _parser().parse(text)  # pyright: ignore[reportUnknownMemberType]
    except lark.UnexpectedInput as error:
        raise FusegraphError(syntax_error(error, text, file)) from None
    result = cast("s.File", _built(tree, file))
    _refuse_long_chains(result)
    version = result.version
    if version.text != str(VERSION):
        raise FusegraphError(
            Diagnostic(
                code="E102",
                message=f"this file is of version {version.text}; version {VERSION} is known here",
                span=version.span,
                label=f"expected {VERSION}",
                help="install a fusegraph that knows this version, or write `fuse 1`",
                edit=Edit(version.span, str(VERSION)),
            )
        )
    return result


def _refuse_deep_nesting(text: str, file: str) -> None:
    """Brackets deeper than DEEPEST are refused before the parser meets them."""
    depth = 0
    for number, line in enumerate(blanked(text).split("\n"), 1):
        for column, character in enumerate(line, 1):
            if character in "([{":
                depth += 1
                if depth > DEEPEST:
                    raise _too_deep(Span(file, number, column, number, column + 1), "brackets")
            elif character in ")]}":
                depth -= 1


def _refuse_long_chains(tree: s.File) -> None:
    """Signs, powers and chains such as `1 - 1 - 1` nest without brackets: E104 beyond DEEPEST."""
    level: list[s.Tree] = [tree]
    for _ in range(2 * DEEPEST):
        level = [part for parent in level for part in parent.parts()]
        if not level:
            return
    raise _too_deep(level[0].span, "operators")


def _too_deep(span: Span, what: str) -> FusegraphError:
    return FusegraphError(
        Diagnostic(
            code="E104",
            message=f"{what} are nested more than {DEEPEST} deep",
            span=span,
            label="this is too deep",
            help="give the inner parts names of their own; long sums are `sum(a, b, c)`",
        )
    )


def _built(tree: lark.Tree[Any], file: str) -> Any:
    """The syntax of the whole file, made bottom up and without recursion."""
    builder = _Builder(file)
    done: dict[int, Any] = {}
    for part in tree.iter_subtrees():
        children = [done.get(id(child), child) for child in part.children]
        done[id(part)] = builder.build(part, children)
    return done[id(tree)]


class _Builder:
    """Rules to syntax: one method a rule, named after it."""

    def __init__(self, file: str) -> None:
        self._file = file

    def build(self, tree: lark.Tree[Any], children: list[Any]) -> Any:
        return getattr(self, f"on_{tree.data}")(self._span(tree.meta), *children)

    def _span(self, meta: Meta) -> Span:
        if meta.empty:
            return Span(self._file, 1, 1, 1, 1)
        return Span(self._file, meta.line, meta.column, meta.end_line, meta.end_column)

    def _name(self, token: lark.Token) -> s.Name:
        return s.Name(self._token_span(token), str(token))

    def _string(self, token: lark.Token) -> s.String:
        return s.String(self._token_span(token), str(token)[1:-1])

    def _token_span(self, token: Any) -> Span:
        return Span(self._file, token.line, token.column, token.end_line, token.end_column)

    def on_start(self, span: Span, version: lark.Token, *items: Any) -> s.File:
        number = s.Number(self._token_span(version), str(version))
        return s.File(span, number, items)

    def on_use(self, span: Span, path: lark.Token, *names: lark.Token) -> s.Use:
        return s.Use(span, self._string(path), tuple(map(self._name, names)))

    def on_space(self, span: Span, name: lark.Token, body: Any) -> s.SpaceTree:
        return s.SpaceTree(span, self._name(name), body)

    def on_cell(
        self, span: Span, name: lark.Token, operands: Any, attributes: Any, result: Any, body: Any
    ) -> s.CellTree:
        return s.CellTree(span, self._name(name), operands or (), attributes or (), result, body)

    def on_operands(self, span: Span, *items: Any) -> tuple[Any, ...]:
        return items

    def on_operand(self, span: Span, name: lark.Token, star: Any, type: Any) -> s.Operand:
        return s.Operand(span, self._name(name), star is not None, type)

    def on_star(self, span: Span, *_: Any) -> bool:
        return True

    def on_attributes(self, span: Span, *items: Any) -> tuple[Any, ...]:
        return items

    def on_attribute(
        self, span: Span, name: lark.Token, kind: lark.Token, default: Any
    ) -> s.Attribute:
        return s.Attribute(span, self._name(name), self._name(kind), default)

    def on_type(self, span: Span, dtype: lark.Token, *sizes: Any) -> s.TypeTree:
        return s.TypeTree(span, self._name(dtype), sizes)

    def on_block(self, span: Span, *statements: Any) -> tuple[Any, ...]:
        return statements

    def on_dim(self, span: Span, *names: lark.Token) -> s.Dim:
        return s.Dim(span, tuple(map(self._name, names)))

    def on_let(self, span: Span, name: lark.Token, value: Any) -> s.Let:
        return s.Let(span, self._name(name), value)

    def on_share(self, span: Span, name: lark.Token, value: Any) -> s.Share:
        return s.Share(span, self._name(name), value)

    def on_input(self, span: Span, target: Any, type: Any) -> s.Input:
        return s.Input(span, target, type)

    def on_output(self, span: Span, name: lark.Token, value: Any) -> s.Output:
        return s.Output(span, self._name(name), value)

    def on_for(self, span: Span, name: lark.Token, values: Any, body: Any) -> s.For:
        return s.For(span, self._name(name), values, body)

    def on_levels(self, span: Span, name: lark.Token, *levels: Any) -> s.LevelsTree:
        return s.LevelsTree(span, self._name(name), levels)

    def on_level(
        self, span: Span, number: Any, width: Any, least: Any, template: Any
    ) -> s.LevelTree:
        return s.LevelTree(span, number, width, least, template)

    def on_range(self, span: Span, first: Any, last: Any) -> s.Interval:
        return s.Interval(span, first, last)

    def on_return(self, span: Span, value: Any) -> s.Return:
        return s.Return(span, value)

    def on_require(self, span: Span, left: Any, relation: lark.Token, right: Any) -> s.Require:
        return s.Require(span, left, str(relation), right, None)

    def on_require_range(self, span: Span, left: Any, first: Any, last: Any) -> s.Require:
        return s.Require(span, left, "in", first, last)

    def on_assign(self, span: Span, target: Any, value: Any) -> s.Assign:
        return s.Assign(span, target, value)

    def on_target(self, span: Span, name: lark.Token, *indices: Any) -> s.Target:
        return s.Target(span, self._name(name), indices)

    def on_binary(self, span: Span, left: Any, operator: lark.Token, right: Any) -> s.Binary:
        return s.Binary(span, str(operator), left, right)

    def on_negative(self, span: Span, _: lark.Token, value: Any) -> s.Negative:
        return s.Negative(span, value)

    def on_call(self, span: Span, function: Any, arguments: Any) -> s.Call:
        given: tuple[Any, ...] = arguments or ()
        plain = tuple([a for a in given if not isinstance(a, s.Keyword)])
        return s.Call(span, function, plain, tuple([a for a in given if isinstance(a, s.Keyword)]))

    def on_arguments(self, span: Span, *items: Any) -> tuple[Any, ...]:
        return items

    def on_keyword(self, span: Span, name: lark.Token, value: Any) -> s.Keyword:
        return s.Keyword(span, self._name(name), value)

    def on_index(self, span: Span, base: Any, selector: Any) -> s.Index:
        return s.Index(span, base, selector)

    def on_all(self, span: Span, *_: Any) -> s.All:
        return s.All(span)

    def on_below(self, span: Span, limit: Any) -> s.Below:
        return s.Below(span, limit)

    def on_span(self, span: Span, first: Any, last: Any) -> s.Interval:
        return s.Interval(span, first, last)

    def on_interval(self, span: Span, first: Any, last: Any) -> s.Interval:
        return s.Interval(span, first, last)

    def on_labelled(self, span: Span, name: lark.Token, value: Any) -> s.Labelled:
        return s.Labelled(span, self._name(name), value)

    def on_number(self, span: Span, token: lark.Token) -> s.Number:
        return s.Number(span, str(token))

    def on_string(self, span: Span, token: lark.Token) -> s.String:
        return self._string(token)

    def on_name(self, span: Span, token: lark.Token) -> s.Name:
        return self._name(token)

    def on_group(self, span: Span, value: Any) -> s.Group:
        return s.Group(span, value)

    def on_tuple(self, span: Span, *items: Any) -> s.Tuple:
        return s.Tuple(span, tuple([item for item in items if item is not None]))

    def on_candidates(self, span: Span, *items: Any) -> s.Candidates:
        return s.Candidates(span, items)

    def on_family(self, span: Span, name: lark.Token, *selectors: Any) -> s.Expression:
        tree: s.Expression = self._name(name)
        for selector in selectors:
            tree = s.Index(span, tree, selector)
        return tree

    def on_decide(self, span: Span, name: lark.Token, source: Any, repeats: Any) -> s.Decide:
        return s.Decide(span, self._name(name), None, source, repeats is not None)

    def on_decide_some(self, span: Span, name: lark.Token, source: Any) -> s.Decide:
        return s.Decide(span, self._name(name), "some", source, False)

    def on_decide_k(
        self, span: Span, name: lark.Token, take: Any, source: Any, repeats: Any
    ) -> s.Decide:
        return s.Decide(span, self._name(name), take, source, repeats is not None)

    def on_bare(self, span: Span, name: lark.Token) -> s.Bare:
        return s.Bare(span, self._name(name))

    def on_take(self, span: Span, token: lark.Token) -> s.Expression:
        if token.type == "INT":
            return s.Number(span, str(token))
        return self._name(token)

    def on_repeats(self, span: Span, *_: Any) -> bool:
        return True

    def on_genotype(self, span: Span, space: lark.Token, *rest: Any) -> s.GenotypeTree:
        settings = tuple([r for r in rest if isinstance(r, s.Keyword)])
        pins = [r for r in rest if isinstance(r, lark.Token)]
        entries = tuple([r for r in rest if isinstance(r, (s.Entry, s.ScopeTree))])
        pin = self._string(pins[0]) if pins else None
        return s.GenotypeTree(span, self._string(space), settings, pin, entries)

    def on_setting(self, span: Span, name: lark.Token, value: Any) -> s.Keyword:
        return s.Keyword(span, self._name(name), value)

    def on_scope(self, span: Span, path: Any, *entries: Any) -> s.ScopeTree:
        return s.ScopeTree(span, path, entries)

    def on_entry(self, span: Span, path: Any, value: Any) -> s.Entry:
        return s.Entry(span, path, value)

    def on_labels(self, span: Span, *items: Any) -> s.Labels:
        return s.Labels(span, tuple([item for item in items if item is not None]))

    def on_path(self, span: Span, *steps: str) -> s.Path:
        return s.Path(span, ".".join(steps))

    def on_step(self, span: Span, name: lark.Token, *indices: lark.Token) -> str:
        return str(name) + "".join(f"[{i}]" for i in indices)
