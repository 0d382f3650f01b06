"""Statements: what they define, in which scope, under which key."""

from __future__ import annotations

from typing import Any

from ..diagnostics import Diagnostic, Label, Span
from ..dims import Expr, Static, Symbol, symbol, symbols_in, text_of
from ..graph import MEASURES, Requirement
from ..node import Node, input_node
from ..numbers import Number
from . import syntax as s
from .composites import evaluate_type
from .context import MOST_STATEMENTS, Elaboration, Problem, Silent, problem
from .expressions import Place, bounds, evaluate, spread
from .kinds import kind_of, static_of, tensor_of, whole_of
from .levels import run_levels
from .values import POISON, CellDef, Family, OpRef, Scope


def run(world: Elaboration, statements: tuple[s.Statement, ...], scope: Scope) -> None:
    """Carry the statements out, each on its own: an error in one leaves the others standing."""
    for statement in statements:
        world.count_statement(statement.span)
        try:
            _run_one(world, statement, scope)
        except Problem as error:
            world.report(error.diagnostic)
            _spoil(statement, scope)
        except ArithmeticError as error:
            world.report(_too_large(statement, error))
            _spoil(statement, scope)
        except Silent:
            _spoil(statement, scope)


def _too_large(statement: s.Statement, error: ArithmeticError) -> Diagnostic:
    """A size that only arises inside an op, such as the product of sizes in `flatten`."""
    return Diagnostic(
        code="E501",
        message=f"a size in this statement cannot be computed: {error}",
        span=statement.span,
        label="arises here",
        help="keep sizes small, and divide by something else than zero",
    )


def run_cell_body(world: Elaboration, written: s.CellTree, scope: Scope) -> tuple[Node, Span]:
    """The tensor that the body returns, and where. Errors inside end the call."""
    _declare_families(written.body, scope)
    for statement in written.body:
        world.count_statement(statement.span)
        if isinstance(statement, s.Return):
            place = Place(scope.prefix, False)
            value = evaluate(world, statement.value, scope, place)
            node = tensor_of(value, statement.value)
            world.note_span(node, statement.value.span)
            return node, statement.value.span
        _run_one(world, statement, scope)
    raise problem(
        "E207",
        f"`{written.name.id}` returns nothing",
        written.name,
        help="end it with `return …`",
    )


def run_space_body(world: Elaboration, written: s.SpaceTree, scope: Scope) -> None:
    """Carry out a space: its outputs, inputs and requirements are then in `world`."""
    _declare_families(written.body, scope)
    run(world, written.body, scope)


def _declare_families(statements: tuple[s.Statement, ...], scope: Scope) -> None:
    """Names with an index are known from the start, so that `c[<1]` is empty and not unknown."""
    for statement in statements:
        if isinstance(statement, (s.Let, s.Share, s.CellTree, s.LevelsTree)):
            scope.later.setdefault(statement.name.id, statement.name.span)
        elif isinstance(statement, s.Dim):
            for name in statement.names:
                scope.later.setdefault(name.id, name.span)
        elif isinstance(statement, (s.Assign, s.Input)) and not statement.target.indices:
            scope.later.setdefault(statement.target.name.id, statement.target.span)
        if isinstance(statement, s.For):
            _declare_families(statement.body, scope)
        elif isinstance(statement, (s.Assign, s.Input)) and statement.target.indices:
            name = statement.target.name.id
            if not isinstance(scope.values.get(name), Family):
                scope.values[name] = Family(name)
                scope.spans[name] = statement.target.span


def _spoil(statement: s.Statement, scope: Scope) -> None:
    """Using what an error left undefined is no second error."""
    if isinstance(statement, s.For):
        for inner in statement.body:
            _spoil(inner, scope)
    elif isinstance(statement, s.Dim):
        for name in statement.names:
            scope.values.setdefault(name.id, POISON)
    elif isinstance(statement, s.LevelsTree):
        scope.values[statement.name.id] = POISON
    elif isinstance(statement, (s.Let, s.Share, s.CellTree)):
        scope.values.setdefault(statement.name.id, POISON)
    elif isinstance(statement, (s.Assign, s.Input)):
        name = statement.target.name.id
        if statement.target.indices:
            scope.home.values[name] = POISON
        else:
            scope.values.setdefault(name, POISON)


def _run_one(world: Elaboration, statement: s.Statement, scope: Scope) -> None:
    match statement:
        case s.Assign():
            _assign(world, statement, scope)
        case s.Let():
            _let(world, statement, scope)
        case s.For():
            _loop(world, statement, scope)
        case s.Input():
            _input(world, statement, scope)
        case s.Output():
            _output(world, statement, scope)
        case s.Dim():
            for name in statement.names:
                _define(scope, name, symbol(name.id))
        case s.Share():
            _share(world, statement, scope)
        case s.CellTree():
            _define(scope, statement.name, CellDef(statement, scope))
        case s.Require():
            _require(world, statement, scope)
        case s.LevelsTree():
            run_levels(world, statement, scope)
        case s.Return():
            raise problem(
                "E212", "only a cell returns", statement, help="write `output name = …` in a space"
            )


def _define(scope: Scope, name: s.Name, value: Any) -> None:
    if name.id in scope.values:
        _refuse_redefinition(scope, name)
    scope.values[name.id] = value
    scope.spans[name.id] = name.span


def _refuse_redefinition(scope: Scope, name: s.Name) -> None:
    if scope.values.get(name.id) is POISON:
        raise Silent
    first = scope.spans.get(name.id)
    raise problem(
        "E202",
        f"`{name.id}` is defined twice",
        name,
        "again here",
        causes=(Label(first, "first here"),) if first is not None else (),
        help="give one of them another name",
    )


def _let(world: Elaboration, statement: s.Let, scope: Scope) -> None:
    name = statement.name
    if scope.kind == "space" and name.id in world.overrides:
        value = world.overrides[name.id]
    else:
        target = scope.prefix
        if scope.suffix:
            target = scope.path(f"{name.id}{scope.suffix}")
        value = evaluate(world, statement.value, scope, Place(target, False))
    if scope.kind == "space":
        world.constants[name.id] = value
    if isinstance(value, Node):
        world.note_span(value, statement.value.span)
    _define(scope, name, value)


def _share(world: Elaboration, statement: s.Share, scope: Scope) -> None:
    value = evaluate(world, statement.value, scope, Place(scope.prefix, False))
    if not isinstance(value, OpRef):
        raise problem(
            "E210",
            f"`share` names an op whose weights are shared, not {kind_of(value)}",
            statement.value,
            help="write an op with its attributes and without inputs, such as `linear(out=64)`",
        )
    key = world.claim(scope.path(statement.name.id + scope.suffix))
    _define(scope, statement.name, OpRef(value.callee, value.attrs, key))


def _indices(world: Elaboration, target: s.Target, scope: Scope) -> list[int]:
    place = Place(scope.prefix, False)
    return [whole_of(evaluate(world, index, scope, place), index) for index in target.indices]


def _label(target: s.Target, indices: list[int]) -> str:
    return target.name.id + "".join(f"[{index}]" for index in indices)


def _bind(scope: Scope, target: s.Target, indices: list[int], value: Any) -> None:
    if not indices:
        _define(scope, target.name, value)
        return
    home = scope.home
    name = target.name
    family = home.values.get(name.id)
    if family is POISON:
        return
    if not isinstance(family, Family):
        _refuse_redefinition(home, name)
    assert isinstance(family, Family)
    for place, index in enumerate(indices[:-1]):
        label = _label(target, indices[: place + 1])
        inner = family.members.setdefault(index, Family(label))
        if not isinstance(inner, Family):
            _refuse_redefinition(home, name)
        family = inner
    if indices[-1] in family.members:
        raise problem(
            "E202",
            f"`{_label(target, indices)}` is defined twice",
            target,
            "again here",
            causes=_first_here(home, _label(target, indices), target),
            help="check the indices of the loops around",
        )
    family.members[indices[-1]] = value
    home.spans[_label(target, indices)] = target.span


def _first_here(home: Scope, label: str, again: s.Target) -> tuple[Label, ...]:
    first = home.spans.get(label)
    return (Label(first, "first here"),) if first is not None and first != again.span else ()


def _assign(world: Elaboration, statement: s.Assign, scope: Scope) -> None:
    target = statement.target
    indices = _indices(world, target, scope)
    label = _label(target, indices) + ("" if indices else scope.suffix)
    value = evaluate(world, statement.value, scope, Place(scope.path(label), True))
    if not isinstance(value, Node):
        value = tensor_of(value, statement.value)
    world.note_span(value, statement.value.span)
    _bind(scope, target, indices, value)


def _input(world: Elaboration, statement: s.Input, scope: Scope) -> None:
    if scope.home.kind != "space":
        raise problem(
            "E212", "only a space has inputs", statement, help="give the cell an operand instead"
        )
    indices = _indices(world, statement.target, scope)
    type = evaluate_type(world, statement.type, scope)
    node = input_node(_label(statement.target, indices), type)
    world.note_span(node, statement.span)
    _bind(scope, statement.target, indices, node)
    world.inputs.append(node)


def _output(world: Elaboration, statement: s.Output, scope: Scope) -> None:
    if scope.home.kind != "space":
        raise problem("E212", "only a space has outputs", statement, help="a cell returns")
    name = statement.name.id + scope.suffix
    if name in world.outputs:
        raise problem(
            "E202", f"the output `{name}` is defined twice", statement.name, "again here",
            causes=(Label(world.output_spans[name], "first here"),),
            help="give one of them another name",
        )  # fmt: skip
    world.output_spans[name] = statement.name.span
    value = evaluate(world, statement.value, scope, Place(scope.path(name), True))
    node = tensor_of(value, statement.value)
    world.note_span(node, statement.value.span)
    world.outputs[name] = node


def _loop(world: Elaboration, statement: s.For, scope: Scope) -> None:
    if isinstance(statement.values, s.Interval):
        first, last = bounds(world, statement.values, scope)
        if last - first >= MOST_STATEMENTS:
            raise problem(
                "E501",
                f"this loop runs {last - first + 1} times, more than {MOST_STATEMENTS}",
                statement.values,
                help="check its bounds",
            )
        values: list[Any] = list(range(first, last + 1))
    else:
        trees: list[s.Expression] = []
        for item in statement.values.items:
            if isinstance(item, s.Labelled):
                raise problem(
                    "E210", "the values of a loop have no labels", item,
                    help=f"write `{s.unparse(item.value)}`",
                )  # fmt: skip
            if not isinstance(item, s.Interval):
                trees.append(item)
        values = [v for _, v in spread(world, tuple(trees), scope, Place(scope.prefix, False))]
        values = list(dict.fromkeys([static_of(value, statement.values) for value in values]))
    for value in values:
        world.count_statement(statement.span)
        suffix = f"{scope.suffix}[{text_of(value)}]"
        inner = Scope("for", scope.file, scope, scope.prefix, suffix)
        _define(inner, statement.name, value)
        if scope.home.kind == "space":
            run(world, statement.body, inner)
        else:
            for part in statement.body:
                world.count_statement(part.span)
                _run_one(world, part, inner)


def _require(world: Elaboration, statement: s.Require, scope: Scope) -> None:
    inner = Scope("for", scope.file, scope, scope.prefix, scope.suffix)
    for measure in MEASURES:
        if scope.find(measure) is None:
            inner.values[measure] = symbol(measure)
    place = Place(scope.prefix, False)

    def side(tree: s.Expression) -> Any:
        return static_of(evaluate(world, tree, inner, place), tree)

    left, right = side(statement.left), side(statement.right)
    if statement.last is None:
        wanted = [Requirement(left, statement.relation, right)]
    else:
        wanted = [
            Requirement(left, ">=", right),
            Requirement(left, "<=", side(statement.last)),
        ]
    for requirement in wanted:
        if isinstance(requirement.left, Expr) or isinstance(requirement.right, Expr):
            if _holds(requirement) or requirement in world.requires:
                continue
            named = (symbols_in(left) | symbols_in(requirement.right)) - set(MEASURES)
            if named:
                raise problem(
                    "E502",
                    f"`{_written(statement)}` cannot be decided before the network runs",
                    statement,
                    f"{', '.join(sorted(named))} is known only at run time",
                    causes=world.call_causes(),
                    help="require it of sizes that the file knows, or declare the input with "
                    "a size that shows it, such as `4 * T`",
                )
            world.requires.append(requirement)
        elif not _holds(requirement):
            raise problem(
                "E502",
                f"`{_written(statement)}` does not hold",
                statement,
                f"the left side is {text_of(left)}, and it should be "
                f"{requirement.relation} {text_of(requirement.right)}",
                causes=world.call_causes(),
                help="change the sizes, or what is required of them",
            )


def _written(statement: s.Require) -> str:
    left, right = s.unparse(statement.left), s.unparse(statement.right)
    if statement.last is not None:
        return f"{left} in {right} .. {s.unparse(statement.last)}"
    return f"{left} {statement.relation} {right}"


def _least(value: Static) -> Number | None:
    """The least value, each named size being 1 or more; None where this does not tell."""
    if not isinstance(value, Expr):
        return value
    for monomial, factor in value.terms:
        if monomial and (factor < 0 or not all(isinstance(a, Symbol) for a in monomial)):
            return None
    return sum(factor for _, factor in value.terms)


def _measured(value: Static) -> bool:
    """Whether a measure is in it: that may be nought, or a part of one."""
    return not symbols_in(value).isdisjoint(MEASURES)


def _holds(requirement: Requirement) -> bool:
    """Whether it holds already, whatever is decided."""
    left, right = requirement.left, requirement.right
    if isinstance(left, Expr) or isinstance(right, Expr):
        if left is right:
            return requirement.relation in ("==", "<=", ">=")
        if requirement.relation in ("<", "<="):
            left, right = right, left
        least = None if _measured(left) or _measured(right) else _least(left - right)
        at_least = requirement.relation in ("<=", ">=")
        sided = requirement.relation not in ("==", "!=")
        return sided and least is not None and (least > 0 or (at_least and least == 0))
    return {
        "==": left == right, "!=": left != right, "<": left < right,
        "<=": left <= right, ">": left > right, ">=": left >= right,
    }[requirement.relation]  # fmt: skip
