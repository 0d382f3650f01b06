"""Configurations of one length as a trie, so that what they share is computed once.

A *configuration* is a sequence of levels, each a tuple of 1-based integers: the triplet
(first modality, second modality, activation) of MFAS, section 3.1, or whatever the decisions of a
level are in another space. Candidates that were unfolded from K prefixes differ only in their last
level, so a recurrent network needs to read K prefixes and not K·(M·N·P) whole sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..progression import Configuration, Level


@dataclass(frozen=True, slots=True)
class Rank:
    """The distinct prefixes of one length.

    `symbol[i]` is the row of `Trie.symbols` that prefix i ends with, `parent[i]` the prefix of the
    rank before that it continues. Both are int64 of shape (prefixes).
    """

    symbol: Tensor
    parent: Tensor


@dataclass(frozen=True, slots=True)
class Trie:
    """Distinct configurations of one length.

    `symbols` holds the distinct levels, int64 of shape (symbols, decisions of a level); the last
    of `ranks` holds the configurations themselves, `leaf[i]` the place there of the i-th one given.
    """

    symbols: Tensor
    ranks: tuple[Rank, ...]
    leaf: Tensor

    @classmethod
    def of(cls, configurations: Sequence[Configuration]) -> Trie:
        """Build the trie of configurations that all have the same, positive number of levels."""
        symbols: dict[Level, int] = {}
        ranks: list[Rank] = []
        place = [0] * len(configurations)
        for depth in range(len(configurations[0])):
            known: dict[tuple[int, Level], int] = {}
            symbol: list[int] = []
            parent: list[int] = []
            for index, configuration in enumerate(configurations):
                step = (place[index], configuration[depth])
                row = known.setdefault(step, len(known))
                if row == len(symbol):
                    parent.append(step[0])
                    symbol.append(symbols.setdefault(step[1], len(symbols)))
                place[index] = row
            ranks.append(Rank(torch.tensor(symbol), torch.tensor(parent)))
        return cls(torch.tensor(list(symbols)), tuple(ranks), torch.tensor(place))
