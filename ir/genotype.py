"""A genotype: the settings of the decisions that a network reaches, pinned to their space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from .decisions import Setting


@dataclass(frozen=True)
class Genotype:
    """Settings by decision key, only of decisions that are reached, in the order of the space.

    Two genotypes of a space are equal exactly when they reach and settle the same decisions, so
    the number of genotypes is the size of the space.
    """

    space: str
    items: tuple[tuple[str, Setting], ...]

    @classmethod
    def of(
        cls, space: str, settings: Mapping[str, Setting] | Iterable[tuple[str, Setting]]
    ) -> Genotype:
        """The genotype of these settings for the space with this digest."""
        return cls(space, tuple(dict(settings).items()))

    @cached_property
    def settings(self) -> Mapping[str, Setting]:
        """The setting of each decision that is reached, by key."""
        return dict(self.items)

    @cached_property
    def digest(self) -> str:
        """12 hexadecimal digits that name the space and the settings."""
        text = f"{self.space}:{self.items!r}"
        return blake2b(text.encode(), digest_size=6).hexdigest()
