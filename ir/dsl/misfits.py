"""What an op cannot take, told at the places of the file that have to do with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ..decisions import Setting
from ..diagnostics import Diagnostic, Edit, Label, Span
from ..dims import Expr, Static, text_of
from ..node import Node
from ..ops import PRIMITIVES, Misfit, Op
from ..settling import settle
from ..types import tensor
from . import syntax as s
from .context import Candidate, Elaboration, Problem

_MOST_CAUSES = 4
_MOST_LABELS = 4


@dataclass(frozen=True, slots=True)
class Mend:
    """A size that is not as it should be, and what to write for the right one."""

    have: Static
    wanted: Static
    text: str


def whole(op: Op, inputs: Sequence[Node], attrs: Mapping[str, Any], misfit: Misfit) -> Misfit:
    """The same Misfit, with inputs counted as they are written and every failing setting.

    Inputs of commutative ops are put in order before they are checked, and an op stops at the
    first pair of sizes that does not fit.
    """
    types = [node.type for node in inputs]
    if op.commutative and misfit.inputs:
        try:
            op.infer(types, {})
        except Misfit as written:
            misfit = written
    if not misfit.witness or misfit.code != "E302":
        return misfit
    known = {attr.name: attr.accept(attrs.get(attr.name, attr.default)) for attr in op.attrs}
    complete = op.complete(types, known)
    failed = list(misfit.failed)
    passed: list[Mapping[str, Setting]] = []
    for settings in misfit.passed:
        settled = [tensor(t.dtype, _settled(t.shape, settings), t.maybe) for t in types]
        try:
            op.infer(settled, {name: _settled(value, settings) for name, value in complete.items()})
        except Misfit as other:
            # With a witness it is for decisions beyond these to fail.
            (passed if other.witness else failed).append(settings)
        else:
            passed.append(settings)
    failed.sort(key=lambda settings: tuple(settings.values()))
    return Misfit(
        misfit.message,
        code=misfit.code,
        inputs=misfit.inputs,
        failed=failed,
        passed=passed,
        help=misfit.help,
    )


def _settled(value: Any, settings: Mapping[str, Setting]) -> Any:
    if isinstance(value, tuple):
        return tuple([_settled(item, settings) for item in cast("tuple[Any, ...]", value)])
    return settle(value, settings) if isinstance(value, Expr) else value


def misfit_problem(
    world: Elaboration,
    misfit: Misfit,
    callee: str,
    span: Span,
    inputs: Sequence[Node] = (),
    call: s.Call | None = None,
) -> Problem:
    """The diagnostic of a Misfit raised by the call of `callee` at `span`."""
    if misfit.witness:
        return Problem(open_misfit(world, misfit, callee, span))
    if misfit.code in ("E304", "E205"):
        return Problem(_wrong_attribute(world, misfit, callee, span, inputs, call))
    causes: list[Label] = []
    blamed = misfit.inputs or ()
    for place in dict.fromkeys(blamed):
        if place < len(inputs) and len(causes) < _MOST_CAUSES:
            node = inputs[place]
            where = world.spans.get(node)
            if where is not None and not _within(where, span):
                causes.append(Label(where, f"this is {node.type.pretty}"))
    return Problem(
        Diagnostic(
            code=misfit.code,
            message=f"`{callee}` does not fit: {misfit.message}",
            span=span,
            label=_types_label(inputs, blamed),
            causes=(*causes, *world.call_causes()),
            help=misfit.help or _HELP.get(misfit.code, ""),
        )
    )


_HELP = {
    "E301": "change a size where it is made, or bring the inputs to one size first",
    "E303": "bring the inputs to one dtype and one number of axes, for example with `reshape`",
    "E505": "bring the candidates to one size first, for example with a `linear` of their own",
}


def _wrong_attribute(
    world: Elaboration,
    misfit: Misfit,
    callee: str,
    span: Span,
    inputs: Sequence[Node],
    call: s.Call | None,
) -> Diagnostic:
    """What is given by name, or is missing: told at the keyword, with the op's signature."""
    keyword = next(
        (k for k in (call.keywords if call else ()) if f"`{k.name.id}`" in misfit.message), None
    )
    if keyword is None and call is not None and "axis" in misfit.message:
        keyword = next((k for k in call.keywords if k.name.id in ("axis", "axes")), None)
    op = PRIMITIVES.get(callee)
    prefix = "" if f"`{callee}`" in misfit.message else f"`{callee}`: "
    return Diagnostic(
        code=misfit.code,
        message=prefix + misfit.message,
        span=keyword.value.span if keyword is not None else span,
        label=_types_label(inputs, ()),
        causes=world.call_causes(),
        help=misfit.help or (f"it is {op.signature}" if op is not None else "see docs/language.md"),
    )


def _types_label(inputs: Sequence[Node], blamed: tuple[int, ...]) -> str:
    shown = [inputs[place] for place in blamed if place < len(inputs)] or list(inputs)
    texts = list(dict.fromkeys(node.type.pretty for node in shown))[:3]
    return f"given {' and '.join(texts)}" if texts else ""


def kinds_problem(world: Elaboration, tree: s.Decide, candidates: Sequence[Candidate]) -> Problem:
    """Candidates of different dtypes or numbers of axes (E305): the fewer are to blame."""
    groups: dict[tuple[str, int], list[Candidate]] = {}
    for candidate in candidates:
        type = candidate.value.type
        groups.setdefault((type.dtype, type.rank), []).append(candidate)
    most = max(groups.values(), key=len)
    odd = [candidate for group in groups.values() if group is not most for candidate in group]
    dtype, rank = most[0].value.type.dtype, most[0].value.type.rank
    labels = compressed([candidate.label for candidate in odd])
    types = list(dict.fromkeys(candidate.value.type.pretty for candidate in odd))[:2]
    return Problem(
        Diagnostic(
            code="E305",
            message=f"`?{tree.name.id}` offers tensors of different kinds",
            span=_joined(candidates, odd) or tree.source.span,
            label=f"{labels} {'are' if len(odd) > 1 else 'is'} {' and '.join(types)}; "
            f"the others are {dtype} with {rank} axes",
            causes=tuple(_where_made(world, odd)),
            help="bring them to one dtype and one number of axes first, for example by pooling",
        )
    )


def _within(inner: Span, outer: Span) -> bool:
    """Whether the one span lies inside the other."""
    if inner.file != outer.file:
        return False
    starts = (outer.line, outer.column) <= (inner.line, inner.column)
    return starts and (inner.end_line, inner.end_column) <= (outer.end_line, outer.end_column)


# ── errors that only some settings of the decisions meet ─────────────────────────────────────────


def open_misfit(
    world: Elaboration, misfit: Misfit, callee: str, span: Span, mend: Mend | None = None
) -> Diagnostic:
    """Which candidates are to blame, where they are made, and one setting that fails."""
    keys = list(misfit.witness)
    blamed_by_key = {key: _blamed(misfit, key) for key in keys}
    key = next((k for k in keys if blamed_by_key[k]), keys[0])
    name = key.rsplit(".", 1)[-1]
    where = world.decision_spans.get(key, span)
    blamed = [world.candidates[key][index] for index in blamed_by_key[key]]
    if not blamed:
        return _correlated(world, misfit, callee, span)
    primary = _joined(world.candidates[key], blamed) or where
    total = len(world.candidates[key])
    causes = _where_made(world, blamed)
    # A cause that holds the primary span shows the same line again and says little.
    causes += [
        label
        for label in (Label(span, f"`{callee}` takes it here"), *world.call_causes())
        if not _within(primary, label.span) and label.span not in {c.span for c in causes}
    ]
    labels = compressed([candidate.label for candidate in blamed])
    many = len(blamed)
    offer = f"`{labels}`, which" if many == 1 else f"{many} {_noun(blamed)} that"
    helped, edit = _mended(world, blamed, mend)
    return Diagnostic(
        code="E302",
        message=f"`?{name}` offers {offer} `{callee}` cannot take",
        span=primary,
        label=f"{many} of {total} candidates {_failing_text(misfit, mend)}",
        causes=tuple(causes),
        notes=(_count_note(world, misfit),),
        help=helped or misfit.help or _help_for(blamed, labels, everything=many == total),
        edit=edit,
    )


def _noun(blamed: Sequence[Candidate]) -> str:
    return "features" if isinstance(blamed[0].value, Node) else "candidates"


def _help_for(blamed: Sequence[Candidate], labels: str, everything: bool) -> str:
    if everything:
        return "bring all of them to the size that is needed, or change what needs it"
    out = f"leave {'it' if len(blamed) == 1 else 'them'} out"
    if not isinstance(blamed[0].value, Node):
        return f"{out}, or change the sizes around"
    return f"bring {labels} to the shape of the others, or {out}"


def _failing_text(misfit: Misfit, mend: Mend | None) -> str:
    if mend is not None:
        return f"have {misfit.message}"
    return f"do not fit: {misfit.message}"


def _joined(candidates: Sequence[Candidate], blamed: Sequence[Candidate]) -> Span | None:
    """The part of the source that names the blamed candidates, where it names no others."""
    spans = list(dict.fromkeys(candidate.span for candidate in candidates))
    places = sorted({spans.index(candidate.span) for candidate in blamed})
    first, last = spans[places[0]], spans[places[-1]]
    if places != list(range(places[0], places[-1] + 1)) or first.line != last.end_line:
        return None
    return Span(first.file, first.line, first.column, last.end_line, last.end_column)


def _correlated(world: Elaboration, misfit: Misfit, callee: str, span: Span) -> Diagnostic:
    """No candidate is to blame alone: it is the combination of several decisions that fails."""
    keys = list(misfit.witness)
    names = " and ".join(f"`?{key.rsplit('.', 1)[-1]}`" for key in keys[:3])
    causes = [
        Label(where, f"one of {compressed(world.decisions[key].labels)}")
        for key in keys[:_MOST_CAUSES]
        if (where := world.decision_spans.get(key)) is not None and where != span
    ]
    ever = "can be settled so" if misfit.passed else "can only be settled so"
    return Diagnostic(
        code="E302",
        message=f"{names} {ever} that `{callee}` does not fit",
        span=span,
        label=misfit.message,
        causes=(*causes, *[c for c in world.call_causes() if not _within(span, c.span)]),
        notes=(_count_note(world, misfit),),
        help=misfit.help or "bring the candidates to one shape, or tie the decisions with `let`",
    )


def _count_note(world: Elaboration, misfit: Misfit) -> str:
    keys = list(misfit.witness)
    options = [world.decisions[key].format(misfit.witness[key]) for key in keys]
    shown = [f"{key} = {option}" for key, option in zip(keys, options, strict=True)]
    witness = options[0] if len(keys) == 1 else ", ".join(shown)
    of = " and ".join(keys)
    fail = "fails" if misfit.failing == 1 else "fail"
    return f"{misfit.failing} of the {misfit.total} options of {of} {fail}, for example {witness}"


def _blamed(misfit: Misfit, key: str) -> list[int]:
    """The candidates that occur in failing settings and in no passing one."""
    if not misfit.passed and len(misfit.failed[0][key]) > 1:
        return []  # every combination of several fails: it is not for one of them to give way
    failing = {index for settings in misfit.failed for index in settings[key]}
    passing = {index for settings in misfit.passed for index in settings[key]}
    return sorted(failing - passing)


def _where_made(world: Elaboration, blamed: Sequence[Candidate]) -> list[Label]:
    """One cause for each place that makes candidates, with their names and types together."""
    groups: dict[Span, dict[str, list[str]]] = {}
    for candidate in blamed:
        value = candidate.value
        span = world.spans.get(value) if isinstance(value, Node) else None
        if span is not None and not _within(span, candidate.span):
            types = groups.setdefault(span, {})
            types.setdefault(value.type.pretty, []).append(candidate.label)
    return [Label(span, _types_text(types)) for span, types in list(groups.items())[:_MOST_CAUSES]]


def _types_text(types: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(
        f"{compressed(labels)} {'are' if len(labels) > 1 else 'is'} {type}"
        for type, labels in list(types.items())[:_MOST_LABELS]
    )


_INDEXED = re.compile(r"(.*)\[(-?[0-9]+)\]")


def compressed(labels: Sequence[str]) -> str:
    """Labels in few words: `skeleton[1..4], c[1]`."""
    runs: list[tuple[str, int | None, int]] = []
    for label in labels:
        found = _INDEXED.fullmatch(label)
        if found is None:
            runs.append((label, None, 0))
            continue
        base, index = found[1], int(found[2])
        if runs and runs[-1][0] == base and runs[-1][1] is not None and runs[-1][2] == index - 1:
            runs[-1] = (base, runs[-1][1], index)
        else:
            runs.append((base, index, index))
    texts = [_run_text(*run) for run in runs]
    return ", ".join(texts[:_MOST_LABELS]) + (", …" if len(texts) > _MOST_LABELS else "")


def _run_text(base: str, first: int | None, last: int) -> str:
    if first is None:
        return base
    return f"{base}[{first}]" if first == last else f"{base}[{first}..{last}]"


# ── the edit ─────────────────────────────────────────────────────────────────────────────────────


def _mended(
    world: Elaboration, blamed: Sequence[Candidate], mend: Mend | None
) -> tuple[str, Edit | None]:
    if mend is None or not all(isinstance(candidate.value, Node) for candidate in blamed):
        return "", None
    return mended(world, [candidate.value for candidate in blamed], mend)


def mended(world: Elaboration, nodes: Sequence[Node], mend: Mend) -> tuple[str, Edit | None]:
    """What to write where the nodes are made, if one attribute of one call is plainly the cause."""
    calls = {call.span: call for node in nodes if (call := world.call_trees.get(node)) is not None}
    if len(calls) != 1 or len({world.call_trees.get(node) for node in nodes}) != 1:
        return "", None
    (call,) = calls.values()
    wrong = [k for k in _keywords(call) if _says(k.value, mend.have)]
    if len(wrong) != 1:
        return "", None
    edit = Edit(wrong[0].value.span, mend.text)
    like = "make them as wide as the others" if len(nodes) > 1 else "make it as wide"
    return f"{like}: `{wrong[0].name.id}={mend.text}`", edit


def _keywords(call: s.Call) -> list[s.Keyword]:
    """Those of the call and of the calls inside it."""
    found: list[s.Keyword] = []
    pending: list[s.Tree] = [call]
    while pending:
        part = pending.pop()
        if isinstance(part, s.Keyword):
            found.append(part)
        pending += part.parts()
    return found


def _says(tree: s.Expression, value: Static) -> bool:
    return isinstance(tree, s.Number) and tree.text == text_of(value)
