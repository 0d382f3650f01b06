"""The flat form: any graph as text that gives the same object back.

`print_graph` writes one node a line with every attribute and key, composites as blocks;
`parse_graph(print_graph(g)) is g`. People write spaces (`load`); checkpoints, exports and pickles
carry this form. It is data: reading it builds nodes and checks them, and runs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, cast

import lark

from ..decisions import Decision, KOf, OneOf, OpenNumber, SomeOf
from ..diagnostics import Diagnostic, FusegraphError, Span
from ..dims import Expr, call, divide, floordiv, mod, pick, present, symbol, text_of
from ..graph import Graph, Requirement, graph
from ..node import Node, build, cell, choice, formal, input_node, maybe, topological
from ..numbers import FUNCTIONS
from ..ops import CELL, CHOICE, FORMAL, INPUT, LEVELS, MAYBE, PRIMITIVES, Misfit
from ..types import DTYPES, Type, tensor
from .load import open_space

# ── printing ─────────────────────────────────────────────────────────────────────────────────────


def print_graph(space: Graph) -> str:
    """The graph as text, one node a line."""
    lines = ["fuse 1", f"graph {json.dumps(space.name)} {{"]
    ours = {d.key for node in space.roots if node.op is LEVELS for d in _of_program(node)}
    for decision in [d for key, d in space.decisions.items() if key not in ours]:
        labels = ", ".join(map(json.dumps, decision.labels))
        lines.append(f"  decision {json.dumps(decision.key)} = {_kind_text(decision)} {{{labels}}}")
    numbers: dict[Node, int] = {}
    for node in space.inputs:
        _print_node(node, numbers, lines, "  ")
    _print_nodes(space.roots, numbers, lines, "  ")
    lines += [f"  require {requirement.text}" for requirement in space.requires]
    lines += [f"  output {json.dumps(name)} = %{numbers[node]}" for name, node in space.outputs]
    return "\n".join([*lines, "}"]) + "\n"


def _of_program(node: Node) -> tuple[Decision, ...]:
    """The decisions that the program of a levelled output tells."""
    return (node.decision, *node["outer"].decisions)


def _kind_text(decision: Decision) -> str:
    if isinstance(decision, KOf):
        return f"{decision.take} of repeats" if decision.repeats else f"{decision.take} of"
    return decision.keyword


def _print_nodes(
    roots: Sequence[Node], numbers: dict[Node, int], lines: list[str], indent: str
) -> None:
    for node in topological(roots):
        if node not in numbers:
            _print_node(node, numbers, lines, indent)


def _print_node(node: Node, numbers: dict[Node, int], lines: list[str], indent: str) -> None:
    number = numbers[node] = len(numbers) + 1
    refs = ", ".join([f"%{numbers[i]}" for i in node.inputs])
    key = f" @ {json.dumps(node.key)}" if node.key else ""
    head = f"{indent}%{number} = "
    if node.op is INPUT or node.op is FORMAL:
        type: Type = node["type"]
        optional = ""
        if type.maybe is not None:
            optional = f" maybe({json.dumps(type.maybe[0].key)}, {type.maybe[1]})"
        lines.append(f"{head}{node.op.name} {json.dumps(node['name'])}: {type.text}{optional}")
    elif node.op is CHOICE or node.op is MAYBE:
        place = node["slot"] if node.op is CHOICE else node["index"]
        lines.append(f"{head}{node.op.name}({refs}; {json.dumps(node.decision.key)}, {place})")
    elif node.op is LEVELS:
        program, output = json.dumps(node["program"]), json.dumps(node["output"])
        lines.append(f"{head}levels({program}, {output})")
    elif node.op is CELL:
        attrs = ", ".join([f"{name}={_value_text(value)}" for name, value in node["bound"]])
        tail = f"; {attrs}" if attrs else ""
        lines.append(f"{head}cell {json.dumps(node['name'])}({refs}{tail}){key} {{")
        inner: dict[Node, int] = {}
        for operand in node["formals"]:
            _print_node(operand, inner, lines, indent + "  ")
        _print_nodes([node["body"]], inner, lines, indent + "  ")
        lines.append(f"{indent}  return %{inner[node['body']]}")
        lines.append(f"{indent}}}")
    else:
        attrs = ", ".join([f"{n}={_value_text(v)}" for n, v in node.attributes.items()])
        tail = f"; {attrs}" if attrs else ""
        lines.append(f"{head}{node.op.name}({refs}{tail}){key}")


def _value_text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, tuple):
        items = [_value_text(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    return text_of(value)


# ── parsing ──────────────────────────────────────────────────────────────────────────────────────


def parse_graph(text: str, file: str = "<graph>") -> Graph:
    """The graph that the text describes. Raises FusegraphError (E107) where it is none."""
    try:
        tree = cast("Any", _parser()).parse(text)
        return _Reader().read(tree)
    except lark.UnexpectedInput as error:
        line = max(1, int(getattr(error, "line", 1)))
        column = max(1, int(getattr(error, "column", 1)))
        span = Span(file, line, column, line, column + 1)
        raise FusegraphError(_broken("this is not the flat form of a graph", span)) from None
    except FusegraphError as error:
        why = error.diagnostics[0].message
        span = Span(file, 1, 1, 1, 2)
        raise FusegraphError(_broken(f"the graph does not hold together: {why}", span)) from None
    except (_Broken, Misfit, KeyError, ValueError, TypeError, IndexError, RecursionError) as error:
        span = Span(file, 1, 1, 1, 2)
        raise FusegraphError(_broken(f"the graph does not hold together: {error}", span)) from None


def _broken(message: str, span: Span) -> Diagnostic:
    return Diagnostic(
        code="E107",
        message=message,
        span=span,
        help="this form is written by fusegraph and not by hand; write it anew",
    )


class _Broken(Exception):
    """Text that parses and makes no graph."""


@cache
def _parser() -> lark.Lark:
    grammar = (files(__package__ or __name__) / "flat.lark").read_text(encoding="utf-8")
    return lark.Lark(grammar, parser="lalr", maybe_placeholders=True)


def _string(token: Any) -> str:
    return cast("str", json.loads(str(token)))


class _Reader:
    """Trees to nodes: a method a rule for expressions, nodes in the order of the lines."""

    def __init__(self) -> None:
        self.decisions: dict[str, Decision] = {}
        self.symbols: dict[str, Expr] = {}
        self.whole: Graph | None = None

    def read(self, tree: Any) -> Graph:
        version, name, *lines = tree.children
        if str(version) != "1":
            raise _Broken(f"version {version} is not known here")
        nodes: dict[str, Node] = {}
        inputs: list[Node] = []
        outputs: list[tuple[str, Node]] = []
        requires: list[Requirement] = []
        for line in lines:
            if line.data == "decision":
                self._decision(*line.children)
            elif line.data == "output":
                outputs.append((_string(line.children[0]), nodes[line.children[1]]))
            elif line.data == "require":
                left, relation, right = line.children
                requires.append(Requirement(self.value(left), str(relation), self.value(right)))
            else:
                node = self._node(line, nodes)
                if node.op is INPUT:
                    inputs.append(node)
        made = graph(_string(name), inputs, outputs, requires)
        if self.whole is not None and made is not self.whole:
            raise _Broken("a space with levels is that of its program, and nothing else")
        return made

    def _decision(self, key: Any, kind: Any, *labels: Any) -> None:
        words = " ".join(map(str, kind.children))
        name, known = _string(key), tuple([_string(label) for label in labels if label is not None])
        if words == "one of":
            made: Decision = OneOf(name, known)
        elif words == "number of":
            made = OpenNumber(name, known)
        elif words == "some of":
            made = SomeOf(name, known)
        else:
            take, *rest = words.split(" ", 1)
            if rest not in (["of"], ["of repeats"]) or not take.isdigit():
                raise _Broken(f"`{words}` is no kind of decision")
            made = KOf(name, known, int(take), rest == ["of repeats"])
        self.decisions[name] = made

    def _node(self, line: Any, nodes: dict[str, Node]) -> Node:
        if line.data == "whole":
            name, node = self._cell(line, nodes)
        else:
            name, made, key = line.children
            path = "" if key is None else _string(key.children[0])
            node = self._made(made, nodes, path)
        nodes[str(name)] = node
        return node

    def _cell(self, line: Any, nodes: dict[str, Node]) -> tuple[str, Node]:
        name, title, refs, attrs, key, *body = line.children
        inner: dict[str, Node] = {}
        formals: list[Node] = []
        for part in body[:-1]:
            node = self._node(part, inner)
            if node.op is FORMAL:
                formals.append(node)
        path = "" if key is None else _string(key.children[0])
        inputs = self._refs(refs, nodes)
        bound = tuple(self._attrs(attrs).items())
        return name, cell(_string(title), formals, inner[str(body[-1])], inputs, bound, path)

    def _made(self, made: Any, nodes: dict[str, Node], key: str) -> Node:
        parts = made.children
        match made.data:
            case "made_input":
                return input_node(_string(parts[0]), self._type(parts[1]))
            case "made_formal":
                return formal(_string(parts[0]), self._type(parts[1]))
            case "made_choice":
                refs, decision, slot = parts
                return choice(self.decisions[_string(decision)], int(slot), self._refs(refs, nodes))
            case "made_maybe":
                ref, decision, index = parts
                return maybe(self.decisions[_string(decision)], int(index), nodes[str(ref)])
            case "made_levels":
                self.whole = open_space(_string(parts[0]))
                return dict(self.whole.outputs)[_string(parts[1])]
            case _:
                name, refs, attrs = parts
                op = PRIMITIVES[str(name)]
                if bool(key) != op.keyed:
                    raise _Broken(f"`{name}` {'needs a' if op.keyed else 'has no'} key")
                return build(op, self._refs(refs, nodes), self._attrs(attrs), key)

    def _refs(self, refs: Any, nodes: dict[str, Node]) -> list[Node]:
        return [] if refs is None else [nodes[str(ref)] for ref in refs.children]

    def _attrs(self, attrs: Any) -> dict[str, Any]:
        if attrs is None:
            return {}
        return {str(a.children[0]): self.value(a.children[1]) for a in attrs.children}

    def _type(self, tree: Any) -> Type:
        dtype, *rest = tree.children
        *sizes, decision, index = rest
        if str(dtype) not in DTYPES:
            raise _Broken(f"`{dtype}` is no dtype")
        optional = None
        if decision is not None:
            subset = self.decisions[_string(decision)]
            if not isinstance(subset, SomeOf):
                raise _Broken(f"`{subset.key}` is no subset")
            optional = (subset, int(index))
        shape = tuple([self.value(size) for size in sizes if size is not None])
        return tensor(str(dtype), shape, optional)

    def value(self, tree: Any) -> Any:
        """The value of an attribute or a size."""
        return getattr(self, f"_{tree.data}")(*tree.children)

    def _whole(self, token: Any) -> int:
        return int(token)

    def _real(self, token: Any) -> float:
        return float(token)

    def _word(self, token: Any) -> Any:
        constants = {"true": True, "false": False, "none": None}
        name = str(token)
        if name in constants:
            return constants[name]
        return self.symbols.setdefault(name, symbol(name))

    def _string(self, token: Any) -> str:
        return _string(token)

    def _tuple(self, *items: Any) -> tuple[Any, ...]:
        return tuple([self.value(item) for item in items])

    def _add(self, a: Any, b: Any) -> Any:
        return self.value(a) + self.value(b)

    def _subtract(self, a: Any, b: Any) -> Any:
        return self.value(a) - self.value(b)

    def _multiply(self, a: Any, b: Any) -> Any:
        return self.value(a) * self.value(b)

    def _negative(self, a: Any) -> Any:
        return -self.value(a)

    def _floordiv(self, a: Any, b: Any) -> Any:
        return floordiv(self.value(a), self.value(b))

    def _mod(self, a: Any, b: Any) -> Any:
        return mod(self.value(a), self.value(b))

    def _divide(self, a: Any, b: Any) -> Any:
        return divide(self.value(a), self.value(b))

    def _power_of(self, a: Any, b: Any) -> Any:
        return call("pow", self.value(a), self.value(b))

    def _pick(self, key: Any, slot: Any, *options: Any) -> Any:
        decision = self.decisions[_string(key)]
        return pick(decision, int(slot), [self.value(option) for option in options])

    def _present(self, key: Any, index: Any) -> Any:
        subset = self.decisions[_string(key)]
        if not isinstance(subset, SomeOf):
            raise _Broken(f"`{subset.key}` is no subset")
        return present(subset, int(index))

    def _function(self, name: Any, *arguments: Any) -> Any:
        if str(name) not in FUNCTIONS:
            raise _Broken(f"`{name}` is no function")
        return call(str(name), *[self.value(a) for a in arguments])
