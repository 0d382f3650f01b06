"""How the weights of a space are cut from shared ones, for each of its networks.

One walk over the open graph finds the roles of every axis, see `ir/ops/roles.py`. Each weight has
the shape that all its entries have together; the settings of a network say which of these it has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.cells import expand
from ..ir.decisions import Decision, Setting
from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.dims import Expr, Static, decisions_in, text_of
from ..ir.graph import Graph
from ..ir.node import Node
from ..ir.ops.base import Weight
from ..ir.ops.products import product
from ..ir.ops.roles import (
    Axes,
    Centred,
    Crossed,
    Either,
    Given,
    Joined,
    Roles,
    Stretch,
    resolved,
    same,
)
from ..ir.settling import assignments, settle

Entries = NDArray[np.int64]
"""The entries of an axis, in order, counted along the whole one."""


@dataclass(frozen=True, slots=True)
class Use:
    """A node that reads the weights of a key: each with its roles, and what decides these.

    `decisions` have a setting each, for networks that do not reach them: what such a network has
    was found to be `same` as what they decide on, so that any setting will do.
    """

    weights: tuple[Weight, ...]
    axes: tuple[Axes, ...]
    decisions: Mapping[str, Setting]

    def entries(self, settings: Mapping[str, Setting]) -> tuple[tuple[Entries, ...], ...]:
        """What a network with these settings has of each weight, along each of its axes."""
        settings = {**self.decisions, **settings}
        return tuple([tuple([entries(r, settings) for r in axes]) for axes in self.axes])


@dataclass(frozen=True, slots=True)
class ElasticWeights:
    """The weights of one key: the shape of each as a whole, and all that read them.

    `fan_in` is the most that any network sums up for one entry of a result.
    """

    dtype: str
    weights: tuple[Weight, ...]
    shapes: tuple[tuple[int, ...], ...]
    uses: tuple[Use, ...]
    fan_in: int


def elastic_weights(space: Graph) -> dict[str, ElasticWeights]:
    """What the networks of a space share, by key, in the order of the graph.

    Precondition: no weight has a size that is known at run time only, and those of one key have
    the same names and numbers of axes. Raises FusegraphError E505 where the sizes of an axis are
    too many to list.
    """
    found: dict[str, list[Reader]] = {}
    axes: dict[Node, Axes] = {}
    for node in expand(space).order:
        weights = node.weights
        types = [i.type for i in node.inputs]
        given = Given(types, [axes[i] for i in node.inputs], node.attributes, node.type, weights)
        assigned = node.op.roles(given)
        axes[node] = assigned.out
        if weights:
            found.setdefault(node.key, []).append((node, weights, assigned.weights))
    # First of all keys, as what agrees in one may be a part of what another one has.
    agreed = {key: _different(readers) for key, readers in found.items()}
    return {key: _as_a_whole(readers) for key, readers in agreed.items()}


Reader = tuple[Node, tuple[Weight, ...], tuple[Axes, ...]]


def _different(readers: Sequence[Reader]) -> list[Reader]:
    """Those that read the weights in different ways."""
    _, _, known = readers[0]
    found = [readers[0]]
    for node, weights, axes in readers[1:]:
        agree = [
            same(a, b)
            for one, other in zip(known, axes, strict=True)
            for a, b in zip(one, other, strict=True)
        ]
        if not all(agree):
            found.append((node, weights, axes))
    return found


def _as_a_whole(readers: Sequence[Reader]) -> ElasticWeights:
    node, weights, _ = readers[0]
    uses = [
        Use(weights, axes, {key: next(iter(d.settings())) for key, d in _decisions(axes).items()})
        for _, weights, axes in readers
    ]
    shapes = [
        tuple(
            [
                max([whole(use.axes[place][axis]) for use in uses])
                for axis in range(len(weight.shape))
            ]
        )
        for place, weight in enumerate(weights)
    ]
    fan_in = 0
    for _, each, _ in readers:
        most = _largest(product(each[0].shape[1:]))
        fan_in = max(fan_in, math.prod(shapes[0][1:]) if most is None else most)
    return ElasticWeights(node.type.dtype, weights, tuple(shapes), tuple(uses), fan_in)


# ── roles under settings ─────────────────────────────────────────────────────────────────────────


def entries(roles: Roles, settings: Mapping[str, Setting]) -> Entries:
    """The entries that a network with these settings has of an axis."""
    roles = resolved(roles)
    match roles:
        case Stretch(size):
            return np.arange(_size(size, settings))
        case Centred(size):
            have = _size(size, settings)
            return np.arange(have) + (whole(roles) - have) // 2
        case Either(decision=decision, slot=slot, parts=parts):
            return entries(parts[settings[decision.key][slot]], settings)
        case Crossed(parts=parts):
            found = np.zeros(1, np.int64)
            for part in parts:
                inner = entries(part, settings)
                found = (found[:, None] * whole(part) + inner).reshape(-1)
            return found
        case Joined(parts=parts, there=there):
            before, pieces = 0, [np.zeros(0, np.int64)]
            for part, maybe in zip(parts, there, strict=True):
                if maybe is None or maybe[1] in settings[maybe[0].key]:
                    pieces.append(entries(part, settings) + before)
                before += whole(part)
            return np.concatenate(pieces)


def whole(roles: Roles) -> int:
    """How many entries an axis has in all networks together. Raises FusegraphError E505."""
    roles = resolved(roles)
    match roles:
        case Stretch(size) | Centred(size):
            most = _largest(size)
            if most is None:
                raise _too_many(size)
            return most
        case Either(parts=parts):
            return max(map(whole, parts))
        case Crossed(parts=parts):
            total = 1
            for part in parts:
                total *= whole(part)
            return total
        case Joined(parts=parts):
            return sum(map(whole, parts))


def _size(size: Static, settings: Mapping[str, Setting]) -> int:
    found: Any = settle(size, settings)
    return int(found)


def _largest(size: Static) -> int | None:
    """The most that it may be; None where that takes too many settings to try."""
    if not isinstance(size, Expr):
        return int(size)
    joint = assignments([size])
    return None if joint is None else max([_size(size, settings) for settings in joint])


def _too_many(size: Static) -> FusegraphError:
    return FusegraphError(
        Diagnostic(
            code="E505",
            message="too many decisions meet in one open size to list what it may be",
            notes=(f"the size is {text_of(size)[:80]}",),
            help="bring the open sizes to a known one first",
        )
    )


def _decisions(axes: Sequence[Axes]) -> dict[str, Decision]:
    found: dict[str, Decision] = {}
    for roles in _parts(axes):
        match roles:
            case Stretch(size) | Centred(size):
                found.update(decisions_in(size))
            case Either(decision=decision):
                found[decision.key] = decision
            case Joined(there=there):
                found.update({maybe[0].key: maybe[0] for maybe in there if maybe is not None})
            case Crossed():
                pass
    return found


def _parts(axes: Sequence[Axes]) -> Iterator[Roles]:
    """All roles within these, themselves too."""
    pending = [roles for each in axes for roles in each]
    while pending:
        roles = resolved(pending.pop())
        yield roles
        if not isinstance(roles, Stretch | Centred):
            pending += roles.parts
