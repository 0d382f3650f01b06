"""`?name of …`: an open decision among numbers, ops or tensors."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from ..decisions import Decision, KOf, OneOf, OpenNumber, SomeOf
from ..diagnostics import Label
from ..dims import pick
from ..node import Node, choice, maybe
from ..ops import Misfit
from . import syntax as s
from .context import Candidate, Elaboration, problem
from .expressions import Place, bounds, evaluate, spread
from .kinds import is_static, kind_of, needs_index, whole_of
from .levels import taken_inputs
from .misfits import kinds_problem, misfit_problem
from .values import Family, Many, OpChoice, OpRef, Scope

_ITEMS = frozenset(("use", "space", "cell", "genotype"))

MOST_CANDIDATES = 4096
"""As many as joint settings are tried where open sizes meet."""


def decide(world: Elaboration, tree: s.Decide, scope: Scope, place: Place) -> Any:
    """The open value. A decision that leaves nothing open is none, and gives its only value."""
    candidates = _offered(world, tree, scope, place)
    inputs = taken_inputs(world, tree, candidates)
    if inputs is not None:
        return inputs
    labels = tuple([candidate.label for candidate in candidates])
    values = tuple([candidate.value for candidate in candidates])
    _check_labels(tree, candidates)
    kind = _common_kind(tree, values, labels)
    if tree.take is None:
        if len(values) == 1:
            return values[0]
        number = kind in ("number", "tuple")
        key = _key(place, tree.name.id)
        decision: Decision = OpenNumber(key, labels) if number else OneOf(key, labels)
        return _one(world, _register(world, decision, tree, candidates), tree, kind, values)
    if kind != "tensor":
        raise problem(
            "E210",
            f"`?{tree.name.id}` takes several of its candidates, which must be tensors",
            tree,
            f"these are {kind}s",
            help="take one of them",
        )
    if tree.take == "some":
        return _some(world, tree, place, candidates)
    return _several(world, tree, scope, place, candidates)


def _key(place: Place, name: str) -> str:
    return f"{place.target}.{name}" if place.target else name


def _offered(
    world: Elaboration, tree: s.Decide, scope: Scope, place: Place
) -> tuple[Candidate, ...]:
    """The candidates; only here may a template name the nodes of lower levels."""
    template = world.levels.template if world.levels is not None else None
    if template is None:
        return _candidates(world, tree, scope, place)
    before, template.offering = template.offering, True
    try:
        return _candidates(world, tree, scope, place)
    finally:
        template.offering = before


def _candidates(
    world: Elaboration, tree: s.Decide, scope: Scope, place: Place
) -> tuple[Candidate, ...]:
    source = tree.source
    found: list[Candidate] = []
    many = 0
    if not isinstance(source, s.Candidates):
        value = evaluate(world, source, scope, place.inner)
        if isinstance(value, Family):
            raise needs_index(value, source)
        if not isinstance(value, Many):
            raise problem(
                "E210",
                f"`{s.unparse(source)}` is one value, not several",
                source,
                help="write the candidates in braces, or a family with `[*]`",
            )
        found += [Candidate(label, item, source.span) for label, item in value.items]
    else:
        for item in source.items:
            if isinstance(item, s.Interval):
                first, last = bounds(world, item, scope)
                many += max(0, last - first + 1)
                if many <= MOST_CANDIDATES:
                    numbers = range(first, last + 1)
                    found += [Candidate(str(number), number, item.span) for number in numbers]
            elif isinstance(item, s.Labelled):
                value = evaluate(world, item.value, scope, place.inner)
                found.append(Candidate(item.name.id, value, item.span))
                many += 1
            else:
                values = spread(world, (item,), scope, place.inner)
                found += [Candidate(label, value, item.span) for label, value in values]
                many += len(values)
            if many > MOST_CANDIDATES:
                raise problem(
                    "E501",
                    f"`?{tree.name.id}` has more than {MOST_CANDIDATES} candidates",
                    item,
                    "the limit was met here",
                    help="offer fewer, for example in coarser steps",
                )
    if not found:
        raise problem(
            "E211",
            f"`?{tree.name.id}` has no candidates",
            source,
            "nothing is defined here yet",
            help="name at least one candidate",
        )
    return tuple(found)


def _check_labels(tree: s.Decide, candidates: tuple[Candidate, ...]) -> None:
    seen: dict[str, Candidate] = {}
    for candidate in candidates:
        first = seen.setdefault(candidate.label, candidate)
        if first is not candidate:
            causes = (Label(first.span, "first here"),) if first.span != candidate.span else ()
            raise problem(
                "E211",
                f"`?{tree.name.id}` offers `{candidate.label}` twice",
                candidate.span,
                "again here",
                causes=causes,
                help="leave one of them out",
            )


def _common_kind(tree: s.Decide, values: tuple[Any, ...], labels: tuple[str, ...]) -> str:
    kinds = [_kind(value) for value in values]
    for kind, label, value in zip(kinds, labels, values, strict=True):
        if not kind or kind != kinds[0]:
            what = kind_of(value)
            raise problem(
                "E210",
                f"the candidates of `?{tree.name.id}` are not of one kind",
                tree.source,
                f"`{label}` is {what}"
                + (f", `{labels[0]}` is {kind_of(values[0])}" if kind else ""),
                help="offer numbers, ops or tensors, not a mixture",
            )
    return kinds[0]


def _kind(value: Any) -> str:
    if is_static(value):
        return "number"
    if isinstance(value, Node):
        return "tensor"
    if isinstance(value, OpRef):
        return "op"
    return "tuple" if isinstance(value, tuple) else ""


def _register(
    world: Elaboration, decision: Decision, tree: s.Decide, candidates: tuple[Candidate, ...]
) -> Decision:
    first = next((n for n in re.findall(r"[A-Za-z_]\w*", decision.key) if n in _ITEMS), None)
    if first is not None:
        raise problem(
            "E211",
            f"a genotype cannot name `{decision.key}`",
            _name_span(tree),
            f"`{first}` begins an item of a file",
            help=f"call what is called `{first}` otherwise",
        )
    known = world.decisions.get(decision.key)
    if known is not None and (known != decision or not world.shared):
        raise problem(
            "E202",
            f"there are two decisions `{decision.key}`",
            _name_span(tree),
            "named again here",
            causes=(Label(world.decision_spans[decision.key], "first here"),),
            help="give one of them another name",
        )
    world.decisions[decision.key] = decision
    world.decision_spans.setdefault(decision.key, _name_span(tree))
    world.candidates[decision.key] = candidates
    return decision


def _name_span(tree: s.Decide) -> Any:
    return replace(tree.name.span, column=tree.name.span.column - 1)


def _one(
    world: Elaboration, decision: Decision, tree: s.Decide, kind: str, values: tuple[Any, ...]
) -> Any:
    if kind == "op":
        return OpChoice(decision, values)
    if kind == "number":
        return pick(decision, 0, values)
    if kind == "tuple":
        sizes = {len(value) for value in values}
        if len(sizes) > 1 or not all(is_static(item) for value in values for item in value):
            raise problem(
                "E210",
                f"the tuples that `?{tree.name.id}` offers must be numbers, equally many in each",
                tree.source,
                help="write tuples of one length",
            )
        return tuple([pick(decision, 0, column) for column in zip(*values, strict=True)])
    return _choice(world, decision, 0, tree)


def _choice(world: Elaboration, decision: Decision, slot: int, tree: s.Decide) -> Node:
    candidates = world.candidates[decision.key]
    try:
        node = choice(decision, slot, [candidate.value for candidate in candidates])
    except Misfit as misfit:
        if misfit.code == "E305":
            raise kinds_problem(world, tree, candidates) from None
        name, where = f"?{tree.name.id}", tree.source.span
        raise misfit_problem(world, misfit, name, where) from None
    world.note_span(node, tree.span)
    return node


def _several(
    world: Elaboration,
    tree: s.Decide,
    scope: Scope,
    place: Place,
    candidates: tuple[Candidate, ...],
) -> Any:
    labels = tuple([candidate.label for candidate in candidates])
    values = tuple([candidate.value for candidate in candidates])
    assert tree.take is not None
    assert not isinstance(tree.take, str)
    take = whole_of(evaluate(world, tree.take, scope, place.inner), tree.take)
    if take < 1 or (take > len(values) and not tree.repeats):
        raise problem(
            "E211",
            f"`?{tree.name.id}` cannot take {take} of {len(values)} candidates",
            tree,
            help="take fewer, offer more, or allow `repeats`",
        )
    if take == len(values) and not tree.repeats:
        return Many(tuple(zip(labels, values, strict=True)))
    key = _key(place, tree.name.id)
    decision = _register(world, KOf(key, labels, take, tree.repeats), tree, candidates)
    items = [
        (f"{tree.name.id}.{slot}", _choice(world, decision, slot, tree)) for slot in range(take)
    ]
    return Many(tuple(items))


def _some(
    world: Elaboration, tree: s.Decide, place: Place, candidates: tuple[Candidate, ...]
) -> Any:
    if len(candidates) == 1:
        return Many(((candidates[0].label, candidates[0].value),))
    labels = tuple([candidate.label for candidate in candidates])
    decision = SomeOf(_key(place, tree.name.id), labels)
    _register(world, decision, tree, candidates)
    items: list[tuple[str, Any]] = []
    for index, candidate in enumerate(candidates):
        node = maybe(decision, index, candidate.value)
        world.note_span(node, tree.span)
        items.append((candidate.label, node))
    return Many(tuple(items))
