"""Relaxation policies: what an open decision becomes while it is learned by gradients.

They are properties of the pass, not of the file: a space says what may vary, a policy how that is
searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import exp
from typing import Literal

PolicyName = Literal["softmax", "gate", "sigmoid"]
"""How the numbers of one decision become the weights of its candidates.

* `softmax`: alpha[n]; the weights are softmax(alpha). Candidates compete (DARTS; BM-NAS eq. 10).
* `gate`: alpha[n, 2]; each candidate has a softmax over (zero, identity) of its own, and its weight
  is that of the identity. Candidates do not compete (BM-NAS eq. 1).
* `sigmoid`: alpha[n]; the weights are sigmoid(alpha) (the edges of AssembleNet).
"""

Pairs = Literal["sum", "slots"]
"""What the values of one decision over k of several candidates become.

* `sum`: one gated sum of all candidates, given to every place alike. So BM-NAS's release has it
  for cells and steps; the order of operands is then undecided until the genotype is derived.
* `slots`: each place has weights of its own over the candidates, and each a sum of its own.
"""


@dataclass(frozen=True, slots=True)
class Policies:
    """Which policy each decision has, by its sort.

    `ops`: a choice of what is done to the same operands. `edges`: a choice among values that are
    there, one or k of them. `subsets`: `?x some of {…}`. `pairs` holds for edges with the policy
    `gate`, and for several choices among the same values that meet in one op, such as the left and
    the right operand of a step; edges with another policy always have slots. `rules` go first:
    pairs of a pattern for the decision's key, such as `*.depth`, and a policy.
    """

    ops: PolicyName = "softmax"
    edges: PolicyName = "gate"
    subsets: PolicyName = "sigmoid"
    pairs: Pairs = "sum"
    rules: tuple[tuple[str, PolicyName], ...] = ()

    def of(self, key: str, usual: PolicyName) -> PolicyName:
        """The policy of the decision with this key: the first rule that fits, else the usual."""
        for pattern, policy in self.rules:
            if fits(pattern, key):
                return policy
        return usual


BM_NAS = Policies()
"""Yin et al. 2022, section 3: gated edges that do not compete, a softmax over the ops of a step."""

DARTS = Policies(edges="softmax", pairs="slots")
"""Liu et al. 2019: a softmax over all candidates of every decision."""

ASSEMBLENET = Policies(edges="sigmoid", pairs="slots")
"""Ryoo et al. 2020, section 3.2: a sigmoid for each edge."""

NAMED = {"bm_nas": BM_NAS, "darts": DARTS, "assemblenet": ASSEMBLENET}
"""The sets of policies by the names that a task file gives them."""


def fits(pattern: str, key: str) -> bool:
    """Whether the pattern of a rule is for the decision with this key, or for its last part."""
    return fnmatchcase(key, pattern) or fnmatchcase(key.rpartition(".")[2], pattern)


def weights_of(policy: PolicyName, alpha: Sequence[float] | Sequence[Sequence[float]]) -> Weights:
    """The weights of the candidates under a policy, from the values of its parameter."""
    if policy == "gate":
        return tuple([_softmax(pair)[1] for pair in _rows(alpha)])
    numbers = [float(a) for a in alpha]  # pyright: ignore[reportArgumentType]
    if policy == "softmax":
        return tuple(_softmax(numbers))
    return tuple([_sigmoid(a) for a in numbers])


Weights = tuple[float, ...]


def _rows(alpha: Sequence[float] | Sequence[Sequence[float]]) -> list[list[float]]:
    return [[float(a) for a in row] for row in alpha]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType, reportUnknownArgumentType]


def _softmax(values: Sequence[float]) -> list[float]:
    most = max(values)
    parts = [exp(value - most) for value in values]
    whole = sum(parts)
    return [part / whole for part in parts]


def _sigmoid(value: float) -> float:
    if value >= 0:
        return 1 / (1 + exp(-value))
    return exp(value) / (1 + exp(value))
