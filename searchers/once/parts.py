"""A decision that is settled part by part: candidate by candidate, member by member.

What a selection by perturbation needs of a decision: the candidates of its next part; a draw of the
decision without one of them; and what is left when one is kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...ir.decisions import OneOf, Setting
from ..parsec.laws import Categorical, Draw, Law, NonEmpty


class Part(ABC):
    """What is settled of a decision so far. Draws are by its law given what is settled."""

    @property
    @abstractmethod
    def candidates(self) -> Sequence[int]:
        """Those of the next part, by numbers; none where all is settled."""

    @abstractmethod
    def without(self, candidate: int) -> Draw | None:
        """The decision without this candidate; None where nothing is left."""

    @abstractmethod
    def keeping(self, candidate: int) -> Part:
        """The decision with this candidate."""

    @abstractmethod
    def drawing(self) -> Draw:
        """The decision as far as it is settled."""

    @property
    @abstractmethod
    def probabilities(self) -> Sequence[float]:
        """How probable each candidate is by the law alone, by its number."""

    @abstractmethod
    def admits(self, setting: Setting) -> bool:
        """Whether the setting agrees with what is settled."""

    @property
    @abstractmethod
    def setting(self) -> Setting:
        """What is settled."""


@dataclass(frozen=True, slots=True)
class Several(Part):
    """One of several, or k of them: candidates are kept until there are as many as are taken."""

    law: Categorical
    taken: Setting = ()

    @property
    def candidates(self) -> Sequence[int]:
        """Those that some setting has besides what is taken."""
        decision = self.law.decision
        if len(self.taken) == decision.slots:
            return ()
        if isinstance(decision, OneOf):
            return range(len(decision.labels))
        taken = Counter(self.taken)
        left = [Counter(setting) - taken for setting in self._settings()]
        return sorted({candidate for besides in left for candidate in besides})

    def without(self, candidate: int) -> Draw | None:
        """Drawn among the settings that do not have it, or not once more than it was taken."""
        if isinstance(self.law.decision, OneOf):
            left = [s for s in self.law.decision.settings() if s != (candidate,)]
        else:
            more = self.keeping(candidate)
            left = [setting for setting in self._settings() if not more.admits(setting)]
        return self.law.drawing(left) if left else None

    def keeping(self, candidate: int) -> Several:
        """One more is taken."""
        return replace(self, taken=tuple(sorted((*self.taken, candidate))))

    def drawing(self) -> Draw:
        """Drawn among the settings that have what is taken."""
        return self.law.drawing(self._settings())

    @property
    def probabilities(self) -> Sequence[float]:
        """That each is taken at all."""
        return self.law.weights()

    def admits(self, setting: Setting) -> bool:
        """Whether it has all that is taken."""
        return Counter(self.taken) <= Counter(setting)

    @property
    def setting(self) -> Setting:
        """What is taken."""
        return self.taken

    def _settings(self) -> list[Setting]:
        return [setting for setting in self.law.decision.settings() if self.admits(setting)]


_LEFT_OUT, _TAKEN = 0, 1


@dataclass(frozen=True, slots=True)
class Members(Part):
    """A subset: of one member after the other it is settled whether it is in.

    The two candidates of a part are that its member is in, and that it is left out.
    """

    law: NonEmpty
    inside: Setting = ()
    at: int = 0

    @property
    def candidates(self) -> Sequence[int]:
        """Both, or none after the last member."""
        return (_TAKEN, _LEFT_OUT) if self.at < self._count else ()

    def without(self, candidate: int) -> Draw | None:
        """With the member, or without it."""
        other = self.keeping(_TAKEN if candidate == _LEFT_OUT else _LEFT_OUT)
        return other.drawing() if other.inside or other.at < self._count else None

    def keeping(self, candidate: int) -> Members:
        """The member is in, or left out."""
        inside = (*self.inside, self.at) if candidate == _TAKEN else self.inside
        return replace(self, inside=inside, at=self.at + 1)

    def drawing(self) -> Draw:
        """The members that are not settled yet by the law, given that the subset is not empty."""
        return self.law.drawing(range(self.at, self._count), self.inside)

    @property
    def probabilities(self) -> Sequence[float]:
        """That the member is left out, and that it is in."""
        taken = self.law.weights()[self.at]
        return 1 - taken, taken

    def admits(self, setting: Setting) -> bool:
        """Whether it has the same members as far as they are settled."""
        return tuple([index for index in setting if index < self.at]) == self.inside

    @property
    def setting(self) -> Setting:
        """The members that are in."""
        return self.inside

    @property
    def _count(self) -> int:
        return len(self.law.decision.labels)


def whole(law: Law) -> Part:
    """The decision of a law, of which nothing is settled yet."""
    if isinstance(law, NonEmpty):
        return Members(law)
    assert isinstance(law, Categorical)
    return Several(law)
