"""Which entries of the widest axis an open axis has: what elastic weights are cut by.

Where sizes are open, networks of a space share one weight of the largest shape, and each takes a
part of it. Every entry must keep its meaning there: the column of a linear layer that reads the
third channel of the second operand of a `concat` must do so however wide the first operand is. So
an axis is more than its size. Its *roles* are one of

* `Stretch`: a run of entries, of which a smaller axis has the first;
* `Joined`: one after the other, as `concat` puts them;
* `Crossed`: all pairs of an outer and an inner entry, as `flatten` and heads of channels have them;
* `Either`: those of the candidate that a decision takes;
* `Centred`: a run of which a smaller axis has the middle, as the kernels of convolutions.

Ops declare how their axes and those of their weights come about (`Op.roles`). Two axes that have to
agree, as the operands of a sum, are made `same`: a stretch of which nothing else is known takes the
other's roles. So the channels of a linear layer become whole heads where a later `reshape` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..decisions import Decision, SomeOf
from ..dims import Static
from ..types import Type

if TYPE_CHECKING:
    from .base import Attrs, Weight


@dataclass(eq=False, slots=True)
class Stretch:
    """A run of entries, of which a smaller axis has the first; or, once it is known, `bound`."""

    size: Static
    bound: Roles | None = None


@dataclass(eq=False, slots=True)
class Centred:
    """A run of entries, of which a smaller axis has the middle (Cai et al. 2020, section 3.2)."""

    size: Static


@dataclass(eq=False, slots=True)
class Joined:
    """Parts one after the other; one with `there` only where that subset holds that index."""

    size: Static
    parts: tuple[Roles, ...]
    there: tuple[tuple[SomeOf, int] | None, ...]


@dataclass(eq=False, slots=True)
class Crossed:
    """All combinations of entries of the parts, those of the last one next to each other."""

    size: Static
    parts: tuple[Roles, ...]


@dataclass(eq=False, slots=True)
class Either:
    """The roles of the candidate that `decision` takes at `slot`."""

    size: Static
    decision: Decision
    slot: int
    parts: tuple[Roles, ...]


Roles = Stretch | Centred | Joined | Crossed | Either
Axes = tuple[Roles, ...]
"""Of a tensor, axis by axis."""


@dataclass(frozen=True, slots=True)
class Given:
    """What an op meets: types and axes of its inputs, its attributes, its result, its weights."""

    types: Sequence[Type]
    inputs: Sequence[Axes]
    attrs: Attrs
    type: Type
    weights: Sequence[Weight] = field(default=())


@dataclass(frozen=True, slots=True)
class Assigned:
    """The axes of an op's result, and those of each of its weights."""

    out: Axes
    weights: tuple[Axes, ...] = ()


Rule = Callable[[Given], Assigned]


# ── what is known of two axes that agree ─────────────────────────────────────────────────────────


def resolved(roles: Roles) -> Roles:
    """The roles themselves, where a stretch was found to have others."""
    while isinstance(roles, Stretch) and roles.bound is not None:
        roles = roles.bound
    return roles


def same(a: Roles, b: Roles) -> bool:
    """Make two axes have the same roles; whether they can. What does not agree stays as it is."""
    a, b = resolved(a), resolved(b)
    if a is b:
        return True
    if not equal(a.size, b.size):
        return False
    if isinstance(a, Stretch):
        return _bound(a, b)
    if isinstance(b, Stretch):
        return _bound(b, a)
    if isinstance(a, Centred) or isinstance(b, Centred) or not _alike(a, b):
        return False
    agree = True
    for x, y in zip(a.parts, b.parts, strict=True):
        agree = same(x, y) and agree
    return agree


def _bound(stretch: Stretch, other: Roles) -> bool:
    if _within(stretch, other):
        return False
    stretch.bound = other
    return True


def _alike(a: Joined | Crossed | Either, b: Joined | Crossed | Either) -> bool:
    """Whether they are of one kind, with as many parts; what these are is not looked at."""
    if isinstance(a, Joined):
        return isinstance(b, Joined) and a.there == b.there
    if isinstance(a, Either):
        return isinstance(b, Either) and a.decision is b.decision and a.slot == b.slot
    return isinstance(b, Crossed) and len(a.parts) == len(b.parts)


def equal(a: Static, b: Static) -> bool:
    """Whether two sizes are equal under every setting."""
    return a is b or (isinstance(a, int | float) and isinstance(b, int | float) and a == b)


def _within(stretch: Stretch, roles: Roles) -> bool:
    roles = resolved(roles)
    if isinstance(roles, Stretch | Centred):
        return roles is stretch
    return any(_within(stretch, part) for part in roles.parts)


def stretches(shape: Sequence[Any]) -> Axes:
    """Axes of which nothing is known but their sizes."""
    return tuple([Stretch(size) for size in shape])


def joined(size: Static, parts: Sequence[Roles], types: Sequence[Type]) -> Roles:
    """Parts one after the other, of operands of these types."""
    if len(parts) == 1 and types[0].maybe is None:
        return parts[0]
    return Joined(size, tuple(parts), tuple([type.maybe for type in types]))


def part_of(roles: Roles, start: Static, stop: Static) -> Roles | None:
    """The entries from `start` up to `stop`, where parts of the axis end there, or may.

    So what takes the halves of an axis by slices keeps them apart, however long they are.
    """
    pieces = _pieces(roles)
    at: Static = 0
    for place, piece in enumerate(pieces):
        if equal(at, start):
            return _first_of(pieces[place:], stop - start)
        at = at + piece.size
    if len(pieces) == 1 and isinstance(pieces[0], Stretch):
        return _first_of([_cut(pieces[0], start)[1]], stop - start)
    return None


def _pieces(roles: Roles) -> list[Roles]:
    roles = resolved(roles)
    if isinstance(roles, Joined) and not any(roles.there):
        return [piece for part in roles.parts for piece in _pieces(part)]
    return [roles]


def _first_of(pieces: Sequence[Roles], size: Static) -> Roles | None:
    """The first so many entries."""
    have: Static = 0
    for end, piece in enumerate(pieces, start=1):
        have = have + piece.size
        if equal(have, size):
            return piece if end == 1 else Joined(size, tuple(pieces[:end]), (None,) * end)
    if len(pieces) == 1 and isinstance(pieces[0], Stretch):
        return _cut(pieces[0], size)[0]
    return None


def _cut(stretch: Stretch, size: Static) -> tuple[Stretch, Stretch]:
    halves = Stretch(size), Stretch(stretch.size - size)
    stretch.bound = Joined(stretch.size, halves, (None, None))
    return halves


def crossed(size: Static, parts: Sequence[Roles]) -> Roles:
    """All combinations; parts of one entry add nothing."""
    more = [part for part in parts if not equal(part.size, 1)]
    if len(more) == 1:
        return more[0]
    return Crossed(size, tuple(more)) if more else Stretch(size)


# ── rules that many ops have ─────────────────────────────────────────────────────────────────────


def follow(given: Given) -> Assigned:
    """Each axis is that of all inputs that have it in this size; another one is by itself."""
    out: list[Roles] = []
    for place, size in enumerate(given.type.shape):
        found: Roles | None = None
        for type, axes in zip(given.types, given.inputs, strict=True):
            if type.rank != given.type.rank or not equal(axes[place].size, size):
                continue
            if found is None:
                found = axes[place]
            else:
                same(found, axes[place])
        out.append(Stretch(size) if found is None else found)
    return Assigned(tuple(out), tuple([stretches(weight.shape) for weight in given.weights]))


def regrouped(given: Given) -> Assigned:
    """The elements in their order under another shape: axes are merged, and split."""
    [type], [axes] = given.types, given.inputs
    before = [(axis, size) for axis, size in zip(axes, type.shape, strict=True) if size != 1]
    places = [place for place, size in enumerate(given.type.shape) if size != 1]
    sizes = [given.type.shape[place] for place in places]
    found: list[Roles] = []
    while len(found) < len(sizes):
        i, j = _group([size for _, size in before], sizes[len(found) :])
        merged, split = [axis for axis, _ in before[:i]], sizes[len(found) : len(found) + j]
        new = stretches(split)
        if j == 1:
            new = (crossed(split[0], merged),)
        elif i == 1:
            same(merged[0], Crossed(merged[0].size, new))
        before = before[i:]
        found += new
    out: list[Roles] = [Stretch(1) for _ in given.type.shape]
    for place, roles in zip(places, found, strict=True):
        out[place] = roles
    return Assigned(tuple(out))


def _group(before: Sequence[Static], after: Sequence[Static]) -> tuple[int, int]:
    """How many axes of each side have the same product, fewest first; all, where none have."""
    for total in range(2, len(before) + len(after)):
        for i in range(max(1, total - len(after)), min(total, len(before) + 1)):
            if equal(_product(before[:i]), _product(after[: total - i])):
                return i, total - i
    return len(before), len(after)


def _product(sizes: Sequence[Static]) -> Static:
    total: Static = 1
    for size in sizes:
        total = size * total
    return total


def along(place: int) -> Rule:
    """As its inputs; each weight is along the axis `place` of the first."""

    def rule(given: Given) -> Assigned:
        axes = given.inputs[0]
        weights = tuple([(axes[place],) if w.shape else () for w in given.weights])
        return Assigned(follow(given).out, weights)

    return rule
