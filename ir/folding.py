"""Sizes that are the same under every setting, such as that after `conv(x, kernel=k, pad=k//2)`."""

from __future__ import annotations

from functools import lru_cache

from .decisions import Decision
from .dims import Expr, Static, decisions_in
from .settling import assignments, settle

MOST_DECISIONS = 8
MOST_SETTINGS = 256
"""Of one decision, and of all together where they are tried together."""
LONGEST = 2_000
"""Characters of an expression. What is beyond these limits stays open: it is right, but longer."""


def folded(size: Static) -> Static:
    """`size` without the decisions that change nothing in it; equal to it under every setting.

    All sizes of types are folded, so that deep chains of open kernels do not pile up decisions.
    """
    if not isinstance(size, Expr) or not size.open or len(size.text) > LONGEST:
        return size
    return _folded(size)


@lru_cache(maxsize=4096)
def _folded(size: Expr) -> Static:
    decisions = decisions_in(size)
    if len(decisions) > MOST_DECISIONS:
        return size
    result: Static = size
    try:
        for decision in decisions.values():
            result = _without(result, decision)
        joint = assignments([result], MOST_SETTINGS)
        if joint is not None:
            first, *others = [settle(result, settings) for settings in joint]
            if all(other is first or other == first for other in others):
                result = first
    except (ArithmeticError, ValueError):
        return size  # it has no value under some setting, which its op will tell
    return result if isinstance(result, (int, Expr)) else size


def _without(size: Static, decision: Decision) -> Static:
    """`size` where `decision` is settled, if all its settings give the same, else as it is."""
    if decision.key not in decisions_in(size) or decision.count() > MOST_SETTINGS:
        return size
    first: Static | None = None
    for setting in decision.settings():
        settled = settle(size, {decision.key: setting})
        if first is None:
            first = settled
        elif not (settled is first or settled == first):
            return size
    return size if first is None else first
