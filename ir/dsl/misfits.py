"""What an op cannot take, told at the places of the file that have to do with it."""

from __future__ import annotations

from collections.abc import Sequence

from ..diagnostics import Diagnostic, Label, Span
from ..graph import Node
from ..ops import Misfit
from .context import Elaboration, Problem, grouped

_MOST_CAUSES = 4


def misfit_problem(
    world: Elaboration,
    misfit: Misfit,
    callee: str,
    span: Span,
    inputs: Sequence[Node] = (),
) -> Problem:
    """The diagnostic of a Misfit raised by the call at `span`."""
    causes = list(world.call_causes())
    if misfit.witness:
        return Problem(_open_misfit(world, misfit, callee, span, causes))
    blamed = misfit.inputs or ()
    for place in blamed:
        if place < len(inputs) and len(causes) < _MOST_CAUSES:
            node = inputs[place]
            where = world.spans.get(node)
            if where is not None and where != span:
                causes.append(Label(where, f"this is {node.type.pretty}"))
    verb = "is not complete" if misfit.code == "E205" else "does not fit"
    return Problem(
        Diagnostic(
            code=misfit.code,
            message=f"`{callee}` {verb}: {misfit.message}",
            span=span,
            label=_types_label(inputs, blamed),
            causes=tuple(causes),
            help=misfit.help or _HELP.get(misfit.code, ""),
        )
    )


_HELP = {
    "E301": "change a size where it is made, or bring the inputs to one size first",
    "E303": "bring the inputs to one dtype and one number of axes, for example with `reshape`",
    "E304": "see the op's attributes with `fusegraph explain ops`",
    "E205": "see the op's inputs and attributes with `fusegraph explain ops`",
    "E306": "give the composite what its boundary asks for, or widen the boundary",
}


def _types_label(inputs: Sequence[Node], blamed: tuple[int, ...]) -> str:
    shown = [inputs[place] for place in blamed if place < len(inputs)] or list(inputs)
    texts = list(dict.fromkeys(node.type.pretty for node in shown))[:3]
    return f"given {' and '.join(texts)}" if texts else ""


def _open_misfit(
    world: Elaboration, misfit: Misfit, callee: str, span: Span, causes: list[Label]
) -> Diagnostic:
    """An error that only some settings of the decisions meet: which candidates are to blame."""
    key = next(iter(misfit.witness))
    decision = world.decisions[key]
    name = key.rsplit(".", 1)[-1]
    blamed = _blamed(misfit, key)
    labels = [decision.labels[index] for index in blamed]
    candidates = world.candidates.get(key, ())
    places: dict[str, Span] = {}
    types: dict[str, str] = {}
    for index in blamed:
        value = candidates[index] if index < len(candidates) else None
        if isinstance(value, Node):
            types[decision.labels[index]] = value.type.pretty
            if value in world.spans:
                places[decision.labels[index]] = world.spans[value]
    for where, members in grouped(places).items():
        if len(causes) < _MOST_CAUSES:
            type = types[members[0]]
            causes.append(Label(where, f"{', '.join(members)}: {type}"))
    witness = ", ".join(
        f"{k} = {world.decisions[k].format(setting)}" for k, setting in misfit.witness.items()
    )
    many = len(blamed)
    if not blamed:
        message = f"`?{name}` can be settled so that `{callee}` does not fit"
    else:
        plural = "candidates" if many > 1 else "a candidate"
        message = f"`?{name}` offers {many if many > 1 else ''} {plural}".replace("  ", " ")
        message += f" that `{callee}` cannot take"
    where = world.decision_spans.get(key, span)
    if where != span:
        causes.append(Label(span, f"needed here by `{callee}`"))
    total = decision.count()
    only = len(misfit.witness) == 1
    note = f"{misfit.failing} of the {misfit.total if not only else total} options of "
    note += f"{' and '.join(misfit.witness)} fail, for example {witness}"
    return Diagnostic(
        code="E302",
        message=message,
        span=where,
        label=misfit.message,
        causes=tuple(causes),
        notes=(note,),
        help=misfit.help
        or (
            f"bring {', '.join(labels[:4])}{' …' if many > 4 else ''} to the shape of the others, "
            "or leave them out"
            if labels
            else "bring the candidates to one shape"
        ),
    )


def _blamed(misfit: Misfit, key: str) -> list[int]:
    """The candidates that occur in failing settings and in no passing one."""
    failing = {index for settings in misfit.failed for index in settings[key]}
    passing = {index for settings in misfit.passed for index in settings[key]}
    return sorted(failing - passing)
