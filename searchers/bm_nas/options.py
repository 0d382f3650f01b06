"""What can be set of a search over a supernet, with the paper's values as defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from ...compiler.discretise import Rule
from ...compiler.policies import NAMED, Policies, PolicyName
from ...ir.graph import Graph
from ...training.bilevel import Alternate, ArchitectureSettings
from ..errors import search_error
from ..options import WrongValue, expect_range


@dataclass(frozen=True, slots=True)
class BmNasOptions:
    """Options of BM-NAS. The default is Algorithm 1 with the values of its appendix A.2. `epochs`
    of `[search.train]` and `side_by_side` say nothing to it: it trains one supernet.

    epochs: passes over the training split, and genotypes derived; `--budget` sets it. Table 9 has
        30 for NTU, 7 for EgoGesture, 12 for MM-IMDB.
    warmup: epochs at the start in which the weights learn alone; their genotypes are never chosen.
        0 in the paper. Before a supernet has learned anything, its validation loss says nothing of
        its architecture, and what computes least is preferred.
    alternate: "step" takes an architecture step after each weight step (Algorithm 1 as printed,
        DARTS), "epoch" all training batches and then all validation batches (release). With the
        latter the architecture takes only as many steps as the validation split has batches, at
        the same small learning rate, and hardly moves.
    policies: what decisions become. "bm_nas" has gated edges and a softmax over ops, "darts" a
        softmax for every decision, "assemblenet" a sigmoid for every edge.
    pairs: what the two inputs of a cell or step become. "sum" is one gated sum for both (release),
        "slots" weights of their own for each, "policy" is what the policies have.
    rules: decisions with another policy, as "*.depth = softmax"; the first that fits holds.
    derive: how genotypes follow from weights. "paper" is eq. 3 and 11, "release" its public
        implementation's way, "argmax" takes for each decision what weighs most.
    arch_learning_rate: of the architecture's Adam.
    arch_betas: its two decays.
    arch_weight_decay: L2 on the architecture.
    compiled: compile the supernet; pays for long searches only, as it compiles for one to two
        minutes first.
    """

    epochs: int = 30
    warmup: int = 0
    alternate: Alternate = "step"
    policies: Literal["bm_nas", "darts", "assemblenet"] = "bm_nas"
    pairs: Literal["policy", "sum", "slots"] = "policy"
    rules: tuple[str, ...] = ()
    derive: Rule = "paper"
    arch_learning_rate: float = 3e-4
    arch_betas: tuple[float, ...] = (0.5, 0.999)
    arch_weight_decay: float = 1e-3
    compiled: bool = False

    def __post_init__(self) -> None:
        expect_range(self, "epochs", least=1)
        expect_range(self, "warmup", least=0, below=self.epochs)
        expect_range(self, "arch_learning_rate", above=0)
        expect_range(self, "arch_weight_decay", least=0)
        if len(self.arch_betas) != 2 or not all(0 <= beta < 1 for beta in self.arch_betas):
            found = ", ".join(map(str, self.arch_betas))
            raise WrongValue("arch_betas", f"is two numbers from 0 to below 1, not [{found}]")
        for rule in self.rules:
            _parsed(rule)

    @property
    def of_architecture(self) -> ArchitectureSettings:
        """How architecture parameters are learned."""
        first, second = self.arch_betas
        return ArchitectureSettings(
            self.arch_learning_rate, (first, second), self.arch_weight_decay
        )

    @property
    def relaxation(self) -> Policies:
        """The policies with their changes."""
        chosen = replace(NAMED[self.policies], rules=tuple([_parsed(rule) for rule in self.rules]))
        return chosen if self.pairs == "policy" else replace(chosen, pairs=self.pairs)


def _parsed(rule: str) -> tuple[str, PolicyName]:
    pattern, _, name = [part.strip() for part in rule.partition("=")]
    policies: dict[str, PolicyName] = {policy: policy for policy in get_args(PolicyName)}
    if not pattern or name not in policies:
        raise ValueError(f"a rule is `PATTERN = {' | '.join(policies)}`, not `{rule}`")
    return pattern, policies[name]


def within_budget(space: Graph, options: Mapping[str, Any], budget: int) -> dict[str, Any]:
    """The options with as many epochs as the budget: each derives one genotype.

    Raises FusegraphError E812 where a warm-up leaves none of them.
    """
    warmup = options.get("warmup", 0)
    if isinstance(warmup, int) and warmup >= budget:
        raise search_error(
            "E812",
            f"a budget of {budget} epochs leaves none behind a warm-up of {warmup}",
            place="searcher bm_nas",
            help=f"give a budget of {warmup + 1} or more, or a shorter `warmup`",
        )
    return {**options, "epochs": budget}
