"""What a line of a genotype settles a decision as."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from ..decisions import Decision, KOf, Setting, SomeOf, UnknownLabel
from ..diagnostics import Diagnostic, Edit, Label, Span
from ..support.names import nearest
from . import syntax as s

_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")

MOST_SHOWN = 12
"""Candidates that a message lists."""
_MOST_LETTERS = 60
"""Of what a file says, in a message."""


def in_short(text: str) -> str:
    """What a file says, as a message repeats it."""
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"


def items_of(entry: s.Entry) -> Sequence[s.Expression]:
    """The names that an entry gives, in braces or one alone."""
    return entry.value.items if isinstance(entry.value, s.Labels) else (entry.value,)


def chosen(
    decision: Decision, key: str, entry: s.Entry, where: Span | None, errors: list[Diagnostic]
) -> Setting | None:
    """The setting that the entry gives; None where it gives none: `errors` has why (E403, E404).

    `key` is what the file calls the decision, `where` the place in the space that opens it.
    """
    trees = items_of(entry)
    labels = [_as_offered(s.label_of(tree), decision) for tree in trees]
    offered = ", ".join(decision.labels[:MOST_SHOWN])
    causes = (Label(where, f"offers {offered}"),) if where else ()
    try:
        setting = decision.parse(labels)
    except UnknownLabel as error:
        label = str(error)
        span = trees[labels.index(label)].span
        close = nearest(label, decision.labels)
        errors.append(
            Diagnostic(
                code="E403",
                message=f"`{key}` does not offer `{in_short(label)}`",
                span=span,
                label=f"did you mean `{close}`?" if close else "not a candidate",
                causes=causes,
                help=f"write one of {offered}",
                edit=Edit(span, close) if close else None,
            )
        )
        return None
    if decision.admits(setting):
        return setting
    errors.append(
        Diagnostic(
            code="E404",
            message=f"`{key}` cannot be settled as {{{in_short(', '.join(labels))}}}",
            span=entry.value.span,
            label=f"{len(labels)} given",
            causes=causes,
            help=f"it takes {_wants(decision)}",
        )
    )
    return None


def _as_offered(label: str, decision: Decision) -> str:
    """The label of a number that is written otherwise: `3.0` where 3 is offered."""
    if label not in decision.labels and _NUMBER.fullmatch(label):
        for offered in decision.labels:
            if _NUMBER.fullmatch(offered) and Fraction(offered) == Fraction(label):
                return offered
    return label


def _wants(decision: Decision) -> str:
    if isinstance(decision, KOf):
        return f"{decision.take} candidates{'' if decision.repeats else ', all different'}"
    return "one or more candidates, each once" if isinstance(decision, SomeOf) else "one candidate"
