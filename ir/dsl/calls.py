"""Calls: primitives, composites, and open choices among them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..diagnostics import Diagnostic, Label, Span
from ..dims import call as call_scalar
from ..dims import Static, symbols_in, text_of
from ..graph import Node, build, cell, choice, formal
from ..ops import Misfit, Op
from ..ops.base import require_equal, require_positive
from ..types import DTYPES, Type, tensor
from . import syntax as s
from .context import DEEPEST_CELLS, Elaboration, Problem, Silent, problem, unknown
from .expressions import (
    SCALAR_FUNCTIONS,
    Place,
    computed,
    evaluate,
    is_static,
    kind_of,
    label_of,
    spread,
    static_of,
    tensor_of,
)
from .misfits import Mend, mended, misfit_problem
from .values import CellDef, Family, OpChoice, OpRef, Scope

KINDS = ("int", "number", "bool", "text", "ints", "op")
"""What an attribute of a composite may be."""


def evaluate_call(world: Elaboration, tree: s.Call, scope: Scope, place: Place) -> Any:
    """The value of a call: a tensor, a number, or an op with some attributes given."""
    arguments = spread(world, tree.arguments, scope, place.inner)
    function = tree.function
    if isinstance(function, s.Name) and scope.find(function.id) is None:
        if function.id in SCALAR_FUNCTIONS and arguments and not tree.keywords:
            if all(is_static(value) for _, value in arguments):
                return _scalar(world, function, [value for _, value in arguments], tree)
        if function.id == "size":
            return _size(world, tree, arguments, scope)
    callee = evaluate(world, function, scope, place.inner)
    keywords: dict[str, Any] = {}
    for keyword in tree.keywords:
        if keyword.name.id in keywords:
            raise problem(
                "E205", f"`{keyword.name.id}` is given twice", keyword, help="leave one of them out"
            )
        keywords[keyword.name.id] = evaluate(world, keyword.value, scope, place.inner)
    if isinstance(callee, OpRef):
        tensors = any(isinstance(value, Node) for value in keywords.values())
        if not arguments and not tensors and callee.takes_inputs:
            return OpRef(callee.callee, (*callee.attrs, *keywords.items()), callee.share)
        return apply(world, callee, _tensors(arguments, tree), keywords, place, tree)
    if isinstance(callee, OpChoice):
        return _apply_choice(world, callee, _tensors(arguments, tree), keywords, place, tree)
    raise problem(
        "E204",
        f"`{s.unparse(function)}` is not an op: it is {kind_of(callee)}",
        function,
        help="call an op or a composite",
    )


def _scalar(world: Elaboration, name: s.Name, values: Sequence[Any], tree: s.Call) -> Any:
    expected = SCALAR_FUNCTIONS[name.id]
    if expected and len(values) != expected:
        raise problem(
            "E205", f"`{name.id}` takes {expected} number, not {len(values)}", tree, help="give one"
        )
    return computed(world, lambda: call_scalar(name.id, *values), tree)


def _size(
    world: Elaboration, tree: s.Call, arguments: list[tuple[str, Any]], scope: Scope
) -> Any:
    """`size(x, axis)`: a size of a tensor, as a static number."""
    if len(arguments) != 2 or tree.keywords:
        raise problem(
            "E205", "`size` takes a tensor and an axis", tree, help="write `size(x, 1)`"
        )
    node = tensor_of(arguments[0][1], tree.arguments[0])
    axis = arguments[1][1]
    if not isinstance(axis, int) or not -node.type.rank <= axis < node.type.rank:
        raise problem("E304", f"there is no such axis in {node.type.pretty}", tree, help="see its axes")
    return node.type.shape[axis]


def _tensors(arguments: list[tuple[str, Any]], tree: s.Call) -> list[Node]:
    """The arguments as tensors; the span to blame is the argument's where it is one tree."""
    trees = tree.arguments if len(tree.arguments) == len(arguments) else None
    nodes: list[Node] = []
    for place, (_, value) in enumerate(arguments):
        nodes.append(tensor_of(value, trees[place] if trees else tree))
    return nodes


# ── applying ─────────────────────────────────────────────────────────────────────────────────────


def apply(
    world: Elaboration,
    reference: OpRef,
    inputs: list[Node],
    keywords: Mapping[str, Any],
    place: Place,
    tree: s.Call,
) -> Node:
    """The tensor that an op or a composite gives of these inputs."""
    attrs = {**dict(reference.attrs), **keywords}
    if reference.share is None:
        return _apply_one(world, reference, inputs, attrs, place.key(reference.name), tree)
    kept, world.claims = world.claims, set()
    world.shared += 1
    try:
        return _apply_one(world, reference, inputs, attrs, reference.share, tree)
    finally:
        world.shared -= 1
        world.claims = kept


def _apply_one(
    world: Elaboration,
    reference: OpRef,
    inputs: list[Node],
    attrs: dict[str, Any],
    key: str,
    tree: s.Call,
) -> Node:
    callee = reference.callee
    if isinstance(callee, CellDef):
        node = _apply_cell(world, callee, inputs, attrs, world.claim(key), tree)
    else:
        node = _apply_primitive(world, callee, inputs, attrs, key, tree)
    world.note_span(node, tree.span)
    world.call_trees.setdefault(node, tree)
    return node


def _apply_primitive(
    world: Elaboration, op: Op, inputs: list[Node], attrs: dict[str, Any], key: str, tree: s.Call
) -> Node:
    known = {attr.name for attr in op.attrs}
    for keyword in tree.keywords:
        if keyword.name.id not in known:
            raise unknown(
                "E205", f"attribute of `{op.name}`", keyword.name, known, f"it is {op.signature}"
            )
    try:
        return build(op, inputs, attrs, world.claim(key) if op.keyed else "")
    except Misfit as misfit:
        raise misfit_problem(world, misfit, op.name, tree.span, inputs) from None


def key_part(label: str) -> str:
    """A label as a part of a key: `conv(kernel=3)` becomes `conv_kernel_3`."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", label).strip("_") or "op"


def _apply_choice(
    world: Elaboration,
    open_op: OpChoice,
    inputs: list[Node],
    keywords: Mapping[str, Any],
    place: Place,
    tree: s.Call,
) -> Node:
    decision = open_op.decision
    nodes: list[Node] = []
    failed: list[tuple[str, Diagnostic]] = []
    for label, candidate in zip(decision.labels, open_op.candidates, strict=True):
        at = Place(place.target, False, key_part(label))
        try:
            nodes.append(apply(world, candidate, inputs, keywords, at, tree))
        except Problem as error:
            failed.append((label, error.diagnostic))
    if failed:
        name = decision.key.rsplit(".", 1)[-1]
        labels = ", ".join(f"`{label}`" for label, _ in failed)
        first = failed[0][1]
        raise Problem(
            Diagnostic(
                code="E302",
                message=f"`?{name}` offers {labels}, which cannot take these inputs",
                span=tree.span,
                label=f"{len(failed)} of {decision.count()} candidates do not fit",
                causes=first.causes,
                notes=tuple([f"{label}: {diagnostic.message}" for label, diagnostic in failed[:4]]),
                help="leave the op out, or change what it is given",
            )
        )
    try:
        return choice(decision, 0, nodes)
    except Misfit as misfit:
        raise misfit_problem(world, misfit, f"?{decision.key}", tree.span, nodes) from None


# ── composites ───────────────────────────────────────────────────────────────────────────────────


def _apply_cell(
    world: Elaboration,
    definition: CellDef,
    inputs: list[Node],
    given: dict[str, Any],
    key: str,
    tree: s.Call,
) -> Node:
    if len(world.calls) >= DEEPEST_CELLS:
        raise problem(
            "E501",
            f"composites are nested more than {DEEPEST_CELLS} deep",
            tree,
            f"`{definition.name}` is called here",
            help="a composite cannot contain itself",
        )
    written = definition.tree
    scope = Scope("cell", definition.scope.file, definition.scope, prefix=key)
    actual = _operands(definition, inputs, given, tree)
    bound = _attributes(world, definition, given, scope, tree)
    formals: list[Node] = []
    clashes: list[_Clash] = []
    for operand, nodes in zip(written.operands, actual, strict=True):
        if operand.type is not None:
            for node in nodes:
                clashes += _unify(world, operand, operand.type, node, scope, definition, tree)
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
    world.calls.append((definition.name, tree.span))
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
    definition: CellDef, inputs: list[Node], given: dict[str, Any], tree: s.Call
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
            signature = ", ".join(
                f"{o.name.id}[*]" if o.variadic else o.name.id for o in operands
            )
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
    if any(n.type.maybe is not None for o, ns in zip(operands, actual, strict=True) if not o.variadic for n in ns):
        raise problem(
            "E309",
            f"an input of `{definition.name}` may be absent",
            tree,
            help="give a subset to an operand of any number of inputs, `x[*]`",
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
                f"attribute of `{definition.name}`",
                where,
                known,
                f"it has {', '.join(sorted(known))}" if known else "it has no attributes",
            )
    bound: list[tuple[str, Any]] = []
    for attribute in definition.tree.attributes:
        name = attribute.name.id
        if attribute.kind.id not in KINDS:
            raise unknown("E204", "kind of attribute", attribute.kind, KINDS, f"one of {', '.join(KINDS)}")
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
                f"a size is a whole number from 1 on: {misfit.message}",
                where,
                help="write another size",
            ) from None
    return tensor(tree.dtype.id, tuple(sizes))  # pyright: ignore[reportArgumentType]


def _check_dtype(tree: s.TypeTree) -> None:
    if tree.dtype.id not in DTYPES:
        raise unknown("E204", "dtype", tree.dtype, DTYPES, f"one of {', '.join(DTYPES)}")


_Clash = tuple[Misfit, Mend]
"""Settings under which a size is not the one that the boundary asks for, and that size."""


def _unify(
    world: Elaboration,
    operand: s.Operand,
    declared: s.TypeTree,
    node: Node,
    scope: Scope,
    definition: CellDef,
    tree: s.Call,
) -> list[_Clash]:
    """Bind the names of sizes that are not known yet; all others must agree.

    What only some settings of decisions meet is returned, so that all operands are counted
    together. Raises Problem (E306) where a size can never fit.
    """
    _check_dtype(declared)
    type = node.type
    what = f"`{operand.name.id}` of `{definition.name}`"
    if type.dtype != declared.dtype.id or type.rank != len(declared.sizes):
        raise _boundary(world, f"{what} is {s.unparse(declared)}, not {type.pretty}", node, operand, tree)
    clashes: list[_Clash] = []
    for axis, (size, have) in enumerate(zip(declared.sizes, type.shape, strict=True)):
        if isinstance(size, s.Name) and scope.find(size.id) is None:
            scope.values[size.id] = have
            scope.spans[size.id] = size.span
            continue
        expected = static_of(evaluate(world, size, scope, Place(scope.prefix, False)), size)
        pairs: list[tuple[Static, Static]] = []

        def told(a: Static, b: Static, axis: int = axis, pairs: Any = pairs) -> str:
            pairs.append((a, b))
            return f"axis {axis} is {text_of(a)}, not {text_of(b)}"

        try:
            require_equal(have, expected, told)
        except Misfit as misfit:
            mend = Mend(*pairs[0], _size_text(size, pairs[0][1], definition)) if pairs else None
            if misfit.witness and mend is not None:
                clashes.append((misfit, mend))
            elif misfit.code == "E505":
                raise misfit_problem(world, misfit, definition.name, tree.span, [node]) from None
            else:
                raise _boundary(
                    world, f"{what}: {misfit.message}", node, operand, tree, mend
                ) from None
    return clashes


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
    return misfit_problem(world, joint, definition.name, tree.span, mend=mend)


def _boundary(
    world: Elaboration,
    message: str,
    node: Node,
    operand: s.Operand,
    tree: s.Call,
    mend: Mend | None = None,
) -> Problem:
    helped, edit = mended(world, [node], mend) if mend is not None else ("", None)
    causes = [Label(operand.span, "asked for here")]
    where = world.spans.get(node)
    if where is not None and where != tree.span:
        causes.append(Label(where, f"this is {node.type.pretty}"))
    return problem(
        "E306",
        message,
        tree,
        f"given {node.type.pretty}",
        causes=(*causes, *[c for c in world.call_causes() if c.span != tree.span]),
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


__all__ = ["KINDS", "Silent", "apply", "evaluate_call", "evaluate_type", "label_of", "symbols_in"]
