"""Composites: their boundary against what they are given, their attributes, their body."""

from __future__ import annotations

from typing import Any

from ..diagnostics import Label, Span
from ..dims import Static, text_of
from ..node import Node, cell, formal
from ..ops import Misfit
from ..ops.base import require_equal, require_positive
from ..settling import pretty
from ..types import DTYPES, Type, tensor
from . import syntax as s
from .context import DEEPEST_CELLS, Elaboration, Problem, problem, unknown
from .expressions import Place, evaluate
from .kinds import is_static, kind_of, static_of
from .misfits import Mend, mended, misfit_problem, open_misfit
from .values import CellDef, Family, OpChoice, OpRef, Scope

KINDS = ("int", "number", "bool", "text", "ints", "op")
"""What an attribute of a composite may be."""


def apply_cell(
    world: Elaboration,
    definition: CellDef,
    inputs: list[Node],
    given: dict[str, Any],
    key: str,
    tree: s.Call,
) -> Node:
    """The composite as a node: its boundary checked, its body elaborated under `key`."""
    written = definition.tree
    if any(outer is written for outer, _ in world.calls):
        raise problem(
            "E501",
            f"`{definition.name}` contains itself",
            tree,
            "called in its own body",
            causes=(Label(written.name.span, "defined here"),),
            help="write the repetition with `for`; there is no recursion",
        )
    if len(world.calls) >= DEEPEST_CELLS:
        raise problem(
            "E501",
            f"composites are nested more than {DEEPEST_CELLS} deep",
            tree,
            f"`{definition.name}` is called here",
            help="flatten some of them",
        )
    scope = Scope("cell", definition.scope.file, definition.scope, prefix=key)
    actual = _operands(world, definition, inputs, given, tree)
    bound = _attributes(world, definition, given, scope, tree)
    formals: list[Node] = []
    clashes: list[_Clash] = []
    for operand, nodes in zip(written.operands, actual, strict=True):
        if operand.type is not None:
            for node in nodes:
                at = _argument(tree, inputs, node)
                clashes += _unify(world, operand, operand.type, node, scope, definition, at)
        made = [_formal(operand, index, node) for index, node in enumerate(nodes, 1)]
        for node in made:
            world.note_span(node, operand.span)
        formals += made
        members = dict(enumerate(made, 1))
        name = operand.name.id
        scope.values[name] = Family(name, members) if operand.variadic else made[0]
        scope.spans[name] = operand.span
    if clashes:
        raise _joint_clash(world, clashes, definition, tree)
    world.calls.append((written, tree.span))
    try:
        from .statements import run_cell_body

        body, place_of_return = run_cell_body(world, written, scope)
        if written.result is not None:
            _check_result(world, written.result, body, scope, definition, place_of_return)
    finally:
        world.calls.pop()
    flat = [node for nodes in actual for node in nodes]
    return cell(definition.name, formals, body, flat, bound, key)


def _formal(operand: s.Operand, index: int, node: Node) -> Node:
    name = operand.name.id
    return formal(f"{name}[{index}]" if operand.variadic else name, node.type)


def _operands(
    world: Elaboration, definition: CellDef, inputs: list[Node], given: dict[str, Any], tree: s.Call
) -> list[list[Node]]:
    """The inputs for each operand: by place, then by name; the rest for the variadic one."""
    operands = definition.tree.operands
    rest = list(inputs)
    actual: list[list[Node]] = []
    for operand in operands:
        name = operand.name.id
        if operand.variadic:
            actual.append(rest)
            rest = []
        elif name in given and isinstance(given[name], Node):
            actual.append([given.pop(name)])
        elif rest:
            actual.append([rest.pop(0)])
        else:
            actual.append([])
        if not actual[-1]:
            signature = ", ".join(f"{o.name.id}[*]" if o.variadic else o.name.id for o in operands)
            raise problem(
                "E205",
                f"`{definition.name}` is not given its operand `{name}`",
                tree,
                f"{len(inputs)} given",
                causes=(Label(operand.span, "asked for here"),),
                help=f"it takes ({signature})",
            )
    if rest:
        raise problem(
            "E205",
            f"`{definition.name}` takes {len(operands)} inputs, not {len(inputs)}",
            tree,
            causes=(Label(definition.tree.name.span, "defined here"),),
            help="leave the others out; numbers are given by name",
        )
    for operand, nodes in zip(operands, actual, strict=True):
        for node in [] if operand.variadic else nodes:
            if node.type.maybe is not None:
                where = world.decision_spans.get(node.type.maybe[0].key)
                asked = Label(operand.span, "one feature is asked for here")
                raise problem(
                    "E309",
                    f"`{operand.name.id}` of `{definition.name}` is one feature, "
                    "and a subset is any number of them",
                    tree,
                    causes=(asked, Label(where, "the subset")) if where is not None else (asked,),
                    help="take the subset into an op of any number of inputs first, such as "
                    f"`sum`, or declare the operand as `{operand.name.id}[*]`",
                )
    return actual


def _attributes(
    world: Elaboration, definition: CellDef, given: dict[str, Any], scope: Scope, tree: s.Call
) -> tuple[tuple[str, Any], ...]:
    known = {a.name.id for a in definition.tree.attributes}
    spans = {keyword.name.id: keyword.name for keyword in tree.keywords}
    for name in given:
        if name not in known:
            where = spans.get(name) or s.Name(tree.span, name)
            raise unknown(
                "E205",
                f"`{definition.name}` has no attribute `{name}`",
                where,
                known,
                f"it has {', '.join(sorted(known))}" if known else "it has no attributes",
            )
    bound: list[tuple[str, Any]] = []
    for attribute in definition.tree.attributes:
        name = attribute.name.id
        if attribute.kind.id not in KINDS:
            raise unknown(
                "E204",
                f"there is no kind of attribute `{attribute.kind.id}`",
                attribute.kind,
                KINDS,
                f"write one of {', '.join(KINDS)}",
            )
        if name in given:
            value = given[name]
        elif attribute.default is not None:
            value = evaluate(world, attribute.default, scope, Place(scope.prefix, False))
        else:
            raise problem(
                "E205",
                f"`{definition.name}` needs its attribute `{name}`",
                tree,
                causes=(Label(attribute.span, "asked for here"),),
                help=f"write `{name}=…`",
            )
        if not _is_kind(value, attribute.kind.id):
            raise problem(
                "E304",
                f"`{name}` of `{definition.name}` takes {attribute.kind.id}, not {kind_of(value)}",
                spans.get(name, attribute),
                causes=(Label(attribute.span, "asked for here"),),
                help=f"write a value of kind {attribute.kind.id}",
            )
        scope.values[name] = value
        scope.spans[name] = attribute.span
        bound.append((name, value if not isinstance(value, (OpRef, OpChoice)) else _op_text(value)))
    return tuple(bound)


def _op_text(value: OpRef | OpChoice) -> str:
    return value.name if isinstance(value, OpRef) else f"?{value.decision.key}"


def _is_kind(value: Any, kind: str) -> bool:
    if kind in ("int", "number"):
        return is_static(value)
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "text":
        return isinstance(value, str)
    if kind == "ints":
        return is_static(value) or isinstance(value, tuple)
    return isinstance(value, (OpRef, OpChoice))


def evaluate_type(world: Elaboration, tree: s.TypeTree, scope: Scope) -> Type:
    """A written type whose names are all known."""
    _check_dtype(tree)
    place = Place(scope.prefix, False)
    sizes = [static_of(evaluate(world, size, scope, place), size) for size in tree.sizes]
    for size, where in zip(sizes, tree.sizes, strict=True):
        try:
            require_positive(size, "this size")
        except Misfit as misfit:
            raise problem(
                misfit.code if misfit.code == "E505" else "E304",
                f"a size is a whole number from 1 on, not {pretty(size)}",
                where,
                help="write another size",
            ) from None
    return tensor(tree.dtype.id, tuple(sizes))  # pyright: ignore[reportArgumentType]


def _check_dtype(tree: s.TypeTree) -> None:
    if tree.dtype.id not in DTYPES:
        raise unknown(
            "E204",
            f"there is no dtype `{tree.dtype.id}`",
            tree.dtype,
            DTYPES,
            f"write one of {', '.join(DTYPES)}",
        )


_Clash = tuple[Misfit, Mend]
"""Settings under which a size is not the one that the boundary asks for, and that size."""


def _argument(tree: s.Call, inputs: list[Node], node: Node) -> Span:
    """Where the call gives this input; the whole call where arguments and inputs are not pairs."""
    if len(tree.arguments) == len(inputs):
        for argument, given in zip(tree.arguments, inputs, strict=True):
            if given is node:
                return argument.span
    return tree.span


def _unify(
    world: Elaboration,
    operand: s.Operand,
    declared: s.TypeTree,
    node: Node,
    scope: Scope,
    definition: CellDef,
    at: Span,
) -> list[_Clash]:
    """Bind the names of sizes that are not known yet; all others must agree.

    What only some settings of decisions meet is returned, so that all operands are counted
    together. Raises Problem (E306) where a size can never fit.
    """
    _check_dtype(declared)
    type = node.type
    what = f"`{operand.name.id}` of `{definition.name}`"
    if type.dtype != declared.dtype.id or type.rank != len(declared.sizes):
        message = f"{what} is {s.unparse(declared)}, not {type.pretty}"
        raise _boundary(world, message, node, operand, at)
    clashes: list[_Clash] = []
    for axis, (size, have) in enumerate(zip(declared.sizes, type.shape, strict=True)):
        if isinstance(size, s.Name) and scope.find(size.id) is None:
            scope.values[size.id] = have
            scope.spans[size.id] = size.span
            continue
        expected = static_of(evaluate(world, size, scope, Place(scope.prefix, False)), size)
        pairs: list[tuple[Static, Static]] = []

        def told(a: Static, b: Static, pairs: list[tuple[Static, Static]] = pairs) -> str:
            pairs.append((a, b))
            return ""

        try:
            require_equal(have, expected, told)
        except Misfit as misfit:
            if not pairs:
                raise misfit_problem(world, misfit, definition.name, at, [node]) from None
            mend = Mend(*pairs[0], _size_text(size, pairs[0][1], definition))
            name = size.id if isinstance(size, s.Name) else ""
            have_text, wanted_text = text_of(mend.have), text_of(mend.wanted)
            found = f"{name} = {have_text}" if name else f"{have_text} on axis {axis}"
            misfit.message = f"{found}, not {wanted_text}"
            if misfit.witness:
                clashes.append((misfit, mend))
                continue
            causes = _bound_here(scope, name, mend.wanted) if name else ()
            raise _boundary(
                world, f"{what} has {misfit.message}", node, operand, at, mend, causes
            ) from None
    return clashes


def _bound_here(scope: Scope, name: str, wanted: Static) -> tuple[Label, ...]:
    span = scope.span_of(name)
    return (Label(span, f"{name} is {text_of(wanted)} by this"),) if span is not None else ()


def _size_text(size: s.Expression, wanted: Static, definition: CellDef) -> str:
    """How the caller writes the size: by name where the cell takes the name from around it."""
    if isinstance(size, s.Name) and definition.scope.find(size.id) is wanted:
        return size.id
    return text_of(wanted)


def _joint_clash(
    world: Elaboration, clashes: list[_Clash], definition: CellDef, tree: s.Call
) -> Problem:
    """One diagnostic for the operands that fail under settings of the same decisions."""
    first, mend = clashes[0]
    failed = list(first.failed)
    for other, _ in clashes[1:]:
        if other.witness.keys() == first.witness.keys():
            failed += [settings for settings in other.failed if settings not in failed]
    passed = [settings for settings in first.passed if settings not in failed]
    failed.sort(key=lambda settings: tuple(settings.values()))
    joint = Misfit(first.message, code="E302", failed=failed, passed=passed)
    return Problem(open_misfit(world, joint, definition.name, tree.span, mend))


def _boundary(
    world: Elaboration,
    message: str,
    node: Node,
    operand: s.Operand,
    at: Span,
    mend: Mend | None = None,
    more: tuple[Label, ...] = (),
) -> Problem:
    helped, edit = mended(world, [node], mend) if mend is not None else ("", None)
    causes = [Label(operand.span, "asked for here"), *more]
    where = world.spans.get(node)
    if where is not None and where != at:
        causes.append(Label(where, f"this is {node.type.pretty}"))
    return problem(
        "E306",
        message,
        at,
        f"given {node.type.pretty}",
        causes=(*causes, *world.call_causes()),
        help=helped or "bring the input to the shape that is asked for",
        edit=edit,
    )


def _check_result(
    world: Elaboration,
    declared: s.TypeTree,
    body: Node,
    scope: Scope,
    definition: CellDef,
    where: Span,
) -> None:
    _check_dtype(declared)
    wrong = body.type.dtype != declared.dtype.id or body.type.rank != len(declared.sizes)
    if not wrong:
        for size, have in zip(declared.sizes, body.type.shape, strict=True):
            if isinstance(size, s.Name) and scope.find(size.id) is None:
                scope.values[size.id] = have
                continue
            expected = static_of(evaluate(world, size, scope, Place(scope.prefix, False)), size)
            try:
                require_equal(have, expected, lambda a, b: f"{text_of(a)}, not {text_of(b)}")
            except Misfit:
                wrong = True
    if wrong:
        raise problem(
            "E307",
            f"`{definition.name}` returns {body.type.pretty}, not {s.unparse(declared)}",
            where,
            f"this is {body.type.pretty}",
            causes=(Label(declared.span, "declared here"), *world.call_causes()),
            help="change the declared result, or what is returned",
        )
