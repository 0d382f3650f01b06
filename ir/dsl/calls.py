"""Calls: primitives, composites, and open choices among them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..diagnostics import Diagnostic, Edit, Label, Span
from ..dims import call as call_scalar
from ..node import Node, build, choice
from ..ops import Misfit, Op
from . import syntax as s
from .arithmetic import SCALAR_FUNCTIONS, computed
from .composites import apply_cell
from .context import Elaboration, Problem, problem, unknown
from .expressions import Place, evaluate, spread
from .kinds import is_static, kind_of, tensor_of
from .misfits import misfit_problem, whole
from .values import CellDef, Many, OpChoice, OpRef, Scope


def evaluate_call(world: Elaboration, tree: s.Call, scope: Scope, place: Place) -> Any:
    """The value of a call: a tensor, a number, or an op with some attributes given."""
    arguments = spread(world, tree.arguments, scope, place.inner)
    function = tree.function
    if isinstance(function, s.Name) and scope.find(function.id) is None:
        scalar = function.id in SCALAR_FUNCTIONS and arguments and not tree.keywords
        if scalar and all(is_static(value) for _, value in arguments):
            return _scalar(world, function, [value for _, value in arguments], tree)
        if function.id == "size":
            return _size(tree, arguments)
        if function.id == "count" and not tree.keywords:
            return len(arguments)
    callee = evaluate(world, function, scope, place.inner)
    keywords: dict[str, Any] = {}
    for keyword in tree.keywords:
        if keyword.name.id in keywords:
            first = next(k for k in tree.keywords if k.name.id == keyword.name.id)
            raise problem(
                "E205",
                f"`{keyword.name.id}` is given twice",
                keyword,
                "again here",
                causes=(Label(first.span, "first here"),),
                help="leave one of them out",
            )
        keywords[keyword.name.id] = evaluate(world, keyword.value, scope, place.inner)
    if isinstance(callee, OpRef):
        tensors = any(isinstance(value, Node) for value in keywords.values())
        if not arguments and not tensors and callee.takes_inputs:
            return OpRef(callee.callee, (*callee.attrs, *keywords.items()), callee.share)
        inputs = _tensors(arguments, tree, callee)
        return apply(world, callee, inputs, keywords, place, tree)
    if isinstance(callee, OpChoice):
        inputs = _tensors(arguments, tree, callee.candidates[0])
        return _apply_choice(world, callee, inputs, keywords, place, tree)
    where = scope.span_of(function.id) if isinstance(function, s.Name) else None
    raise problem(
        "E204",
        f"`{s.unparse(function)}` is not an op: it is {kind_of(callee)}",
        function,
        "called here",
        causes=(Label(where, "defined here"),) if where is not None else (),
        help="call an op or a composite",
    )


def _scalar(world: Elaboration, name: s.Name, values: Sequence[Any], tree: s.Call) -> Any:
    expected = SCALAR_FUNCTIONS[name.id]
    if expected and len(values) != expected:
        raise problem(
            "E205", f"`{name.id}` takes {expected} number, not {len(values)}", tree, help="give one"
        )
    return computed(world, lambda: call_scalar(name.id, *values), tree)


def _size(tree: s.Call, arguments: list[tuple[str, Any]]) -> Any:
    """`size(x, axis)`: a size of a tensor, as a static number; of several tensors one each."""
    if len(arguments) < 2 or tree.keywords:
        raise problem("E205", "`size` takes tensors and an axis", tree, help="write `size(x, 1)`")
    sizes: list[tuple[str, Any]] = []
    axis = arguments[-1][1]
    trees = tree.arguments if len(tree.arguments) == len(arguments) else None
    for place, (label, value) in enumerate(arguments[:-1]):
        node = tensor_of(value, trees[place] if trees else tree.arguments[0])
        if not isinstance(axis, int) or not -node.type.rank <= axis < node.type.rank:
            raise problem(
                "E304",
                f"there is no such axis in {node.type.pretty}",
                tree.arguments[-1],
                help=f"its axes are 0 to {node.type.rank - 1}",
            )
        sizes.append((label, node.type.shape[axis]))
    return sizes[0][1] if len(sizes) == 1 else Many(tuple(sizes))


def _tensors(arguments: list[tuple[str, Any]], tree: s.Call, callee: OpRef) -> list[Node]:
    """The arguments as tensors; the span to blame is the argument's where it is one tree."""
    trees = tree.arguments if len(tree.arguments) == len(arguments) else None
    nodes: list[Node] = []
    for place, (_, value) in enumerate(arguments):
        where = trees[place] if trees else tree
        try:
            nodes.append(tensor_of(value, where))
        except Problem as error:
            name = _attribute_at(callee, place) if trees and not isinstance(value, Node) else ""
            if not name or any(keyword.name.id == name for keyword in tree.keywords):
                raise
            start = Span(
                where.span.file, where.span.line, where.span.column,
                where.span.line, where.span.column,
            )  # fmt: skip
            raise Problem(
                replace(
                    error.diagnostic,
                    help=f"attributes are given by name: `{name}={s.unparse(where)}`",
                    edit=Edit(start, f"{name}="),
                )
            ) from None
    return nodes


def _attribute_at(callee: OpRef, place: int) -> str:
    """The attribute that was probably meant by an argument beyond the inputs."""
    if isinstance(callee.callee, CellDef):
        tree = callee.callee.tree
        inputs, names = len(tree.operands), [a.name.id for a in tree.attributes]
        variadic = any(operand.variadic for operand in tree.operands)
    else:
        op = callee.callee
        inputs, names, variadic = len(op.inputs), list(op.names), op.variadic
    after = place - inputs
    return names[after] if not variadic and 0 <= after < len(names) else ""


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
        node = apply_cell(world, callee, inputs, attrs, world.claim(key), tree)
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
                "E205",
                f"`{op.name}` has no attribute `{keyword.name.id}`",
                keyword.name,
                known,
                f"it is {op.signature}",
            )
    _refuse_absent(world, op, inputs, tree)
    try:
        return build(op, inputs, attrs, world.claim(key) if op.keyed else "")
    except Misfit as misfit:
        found = whole(op, inputs, attrs, misfit)
        raise misfit_problem(world, found, op.name, tree.span, inputs, call=tree) from None


def _refuse_absent(world: Elaboration, op: Op, inputs: list[Node], tree: s.Call) -> None:
    """Only ops of any number of inputs take what a subset may leave out (E309)."""
    for node in inputs:
        if node.type.maybe is not None and not op.variadic:
            where = world.decision_spans.get(node.type.maybe[0].key)
            raise problem(
                "E309",
                f"`{op.name}` takes {len(op.inputs)} input{'s' * (len(op.inputs) > 1)}, "
                "and a subset is any number of them",
                tree,
                causes=(Label(where, "the subset"),) if where is not None else (),
                help="take the subset into an op of any number of inputs first, such as `sum`",
            )


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
        raise Problem(_choice_diagnostic(open_op, failed, tree.span))
    try:
        return choice(decision, 0, nodes)
    except Misfit as misfit:
        name = decision.key.rsplit(".", 1)[-1]
        raise misfit_problem(world, misfit, f"?{name}", tree.span, nodes) from None


def _choice_diagnostic(
    open_op: OpChoice, failed: list[tuple[str, Diagnostic]], span: Span
) -> Diagnostic:
    """The ops that an open choice offers and that cannot take what they are given."""
    decision = open_op.decision
    name = decision.key.rsplit(".", 1)[-1]
    labels = [f"`{label}`" for label, _ in failed]
    notes: list[str] = []
    for label, found in failed[:4]:
        prefix = "" if found.message.startswith(f"`{label}`") else f"`{label}`: "
        notes.append(prefix + found.message)
        notes += found.notes[:1]
    several = " and ".join([", ".join(labels[:-1]), labels[-1]]) if len(labels) > 1 else labels[0]
    return Diagnostic(
        code="E302",
        message=f"`?{name}` offers {several}, which cannot take these inputs",
        span=span,
        label=f"{len(failed)} of {decision.count()} candidates fail here",
        causes=failed[0][1].causes,
        notes=tuple(notes),
        help=f"leave {'it' if len(labels) == 1 else 'them'} out, or change what is given",
    )
