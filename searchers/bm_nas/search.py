"""BM-NAS's search: weights and architecture of a supernet learn in turn (Algorithm 1).

Yin et al. 2022, "BM-NAS: Bilevel Multimodal Neural Architecture Search", AAAI, section 3.4 and
appendix A.2; first order, as DARTS (Liu et al. 2019) with xi = 0. Where it departs:

* The supernet's score is measured in a pass of its own, after the last step of the epoch, so that
  it belongs to the genotype that is derived then. The release adds up the scores of the validation
  batches while the architecture still moves.
* The supernet stays as it is: "update the hypernet based on the genotype" (line 11) is read as the
  next epoch going on from the learnt parameters, as in the release.
* A genotype that fails a `require` of the space is never the best one.
* With `warmup`, an option, the weights learn alone at first.
* `alternate = "step"` is the default, see `options`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from ...backends.torch.supernet import SupernetModule, lower_supernet
from ...compiler.discretise import discretise
from ...compiler.policies import fits
from ...compiler.relax import Supernet, relax
from ...compiler.relaxations import Alpha
from ...ir.graph import Graph
from ...tasks.sources import TaskData
from ...training.bilevel import Bilevel, EpochLosses
from ...training.settings import TrainSettings
from ...training.steps import choose_device, own_randomness
from ..epochs import DIGITS, EpochSearcher, architecture_diverged, nothing_open
from ..errors import search_error
from ..genotypes import genotype_text
from ..prepared import prepared
from ..protocol import ArchitectureEpoch, Epoch, Scored
from ..randomness import derive
from .entropy import openness
from .options import BmNasOptions
from .state import load_state, save_state, shapes_of

_SEEDS = 1 << 31


@dataclass(frozen=True, slots=True)
class _Done:
    """An epoch: its losses, and the supernet's loss, score and architecture after it."""

    losses: EpochLosses
    valid_loss: float
    valid_score: float
    values: dict[str, Alpha]


class BmNasSearch(EpochSearcher[_Done]):
    """A gradient-based searcher, see `protocol.GradientSearcher`.

    Of the settings, the epochs are the searcher's own, and the schedule is one cosine over the
    whole search, moved on after every step, unless another one was asked for. The precision `auto`
    is float32 everywhere: the fused kernels compute in one dtype. Where bfloat16 is asked for, the
    supernet is the plain one.

    Raises FusegraphError: E506, E507 where the space cannot be relaxed, E813 where it has nothing
    to search, E802 where a rule of the options fits no decision.
    """

    def __init__(self, space: Graph, options: BmNasOptions, seed: int) -> None:
        if not any(len(decision.labels) > 1 for decision in space.decisions.values()):
            raise nothing_open("bm_nas", space)
        super().__init__("bm_nas", space, options, seed)
        self._options = options
        self._supernet = relax(space, options.relaxation)
        self._check_rules()

    @property
    def planned(self) -> int:
        """As many as there are epochs."""
        return self._options.epochs

    def best(self, count: int) -> list[Scored]:
        """The different genotypes of the epochs, each with its best score; best first.

        Lines 12 to 14 of Algorithm 1; those that fail a `require`, and those of epochs in which the
        architecture did not learn, are left out.
        """
        found: dict[str, Scored] = {}
        for epoch in self._epochs:
            score = epoch.event.valid_score
            known = found.get(epoch.genotype.digest)
            if _may_be_chosen(epoch.event) and (known is None or score > known.score):
                scored = Scored(epoch.genotype, score, epoch.event.epoch - 1)
                found[epoch.genotype.digest] = scored
        return sorted(found.values(), key=lambda s: (-s.score, s.trial))[:count]

    # ── the loop ─────────────────────────────────────────────────────────────────────────────────

    def _loop(self, data: TaskData, settings: TrainSettings, state: Path | None) -> _Run:
        return _Run(self._space, self._supernet, self._options, self._seed, data, settings, state)

    def _told(self, number: int, found: _Done, started: float) -> Epoch:
        losses, values, score = found.losses, found.values, found.valid_score
        genotype = discretise(self._supernet, values, self._options.derive)
        violated = self._violated(genotype)
        best = self.best(1)
        event = ArchitectureEpoch(
            epoch=number,
            epochs=self._options.epochs,
            genotype=genotype_text(self._space, genotype),
            digest=genotype.digest,
            weights=self._rounded(values),
            entropies=self._entropies(values),
            train_loss=losses.train_loss,
            arch_loss=losses.arch_loss,
            valid_loss=found.valid_loss,
            valid_score=score,
            learning_rate=losses.learning_rate,
            best=False,
            violated=violated,
            seconds=time.perf_counter() - started,
        )
        if _may_be_chosen(event) and (not best or score > best[0].score):
            event = replace(event, best=True)
        return Epoch(genotype, event)

    # ── beneath ──────────────────────────────────────────────────────────────────────────────────

    def _check_rules(self) -> None:
        keys = list(self._space.decisions)
        for pattern, _ in self._options.relaxation.rules:
            if not any(fits(pattern, key) for key in keys):
                raise search_error(
                    "E802",
                    f"the option `rules` of the searcher `bm_nas` has `{pattern}`, which fits no "
                    f"decision of `{self._space.name}`",
                    place="searcher bm_nas",
                    notes=(f"decisions are {', '.join(keys[:8])}",),
                    help="write a decision's key, its last part, or a pattern such as `*.op`",
                )

    def _rounded(self, values: Mapping[str, Alpha]) -> dict[str, tuple[tuple[float, ...], ...]]:
        return {
            key: tuple([tuple([round(weight, DIGITS) for weight in slot]) for slot in slots])
            for key, slots in self._supernet.weights(values).items()
        }

    def _entropies(self, values: Mapping[str, Alpha]) -> dict[str, float]:
        return {
            key: round(openness(self._supernet.relaxed[key].policy, slots), DIGITS)
            for key, slots in self._supernet.weights(values).items()
        }


def _may_be_chosen(event: ArchitectureEpoch) -> bool:
    return not event.violated and event.arch_loss is not None


class _Run:
    """The supernet on its data, with both optimisers."""

    def __init__(
        self,
        space: Graph,
        supernet: Supernet,
        options: BmNasOptions,
        seed: int,
        data: TaskData,
        settings: TrainSettings,
        state: Path | None,
    ) -> None:
        self._space = space
        self._options = options
        self._state = state
        self._supernet = supernet
        self.settings = _of_the_search(settings, options, seed)
        device = choose_device(settings.device)
        module = lower_supernet(
            supernet,
            derive(seed, "supernet"),
            fused=self.settings.precision == "float32",
            compiled=options.compiled,
        )
        self.module = module.to(device)
        names = list(module.parameter_names)
        self._train, self._valid = [
            prepared(self.module, data.source(split, names, batch=settings.batch, device=device))
            for split in ("train", "valid")
        ]
        self._device = device
        self.bilevel = Bilevel(
            self.module,
            module.weight_parameters(),
            module.architecture_parameters(),
            self.settings,
            options.of_architecture,
            device,
            kind=data.kind,
            forward=_forward,
            positive_weight=data.positive_weight() if settings.balance else None,
        )
        what = {
            "settings": self.settings.model_dump(mode="json"),
            "options": asdict(options),
            "batches": [len(self._train), len(self._valid)],
            "space": supernet.space.digest,
            "tensors": shapes_of(module.state_dict()),
        }
        # As the file will hold it: tuples are lists there.
        self._what: dict[str, Any] = json.loads(json.dumps(what))

    def restored(self) -> tuple[Epoch, ...]:
        """The epochs that are done, with everything as it was after them."""
        if self._state is None or not self._state.exists():
            return ()
        return load_state(self._state, self._what, self._space, self.bilevel)

    def save(self, epochs: Sequence[Epoch]) -> None:
        """Keep all that the next epoch needs."""
        if self._state is not None:
            save_state(self._state, self._what, epochs, self.bilevel)

    def epoch(self, number: int) -> _Done:
        """The epoch with this number, from 1."""
        with own_randomness(self._device):
            alternate = None if number <= self._options.warmup else self._options.alternate
            losses = self.bilevel.epoch(number, self._train, self._valid, alternate)
            loss, score = self.bilevel.validate(number, self._valid)
        return _Done(losses, loss, score, architecture_of(self.module, self._supernet))


def architecture_of(module: SupernetModule, supernet: Supernet) -> dict[str, Alpha]:
    """The values of all architecture parameters.

    Those that no output depends on, as of a decision with one candidate, are not in the module.
    Raises FusegraphError E701 where one is not finite.
    """
    known = module.architecture()
    for key, values in known.items():
        if not all(map(math.isfinite, _numbers(values))):
            raise architecture_diverged(key, "lower `arch_learning_rate` of the searcher's options")
    return {key: known.get(key, relaxed.even) for key, relaxed in supernet.architecture.items()}


def _of_the_search(settings: TrainSettings, options: BmNasOptions, seed: int) -> TrainSettings:
    asked = "schedule" in settings.model_fields_set
    changes: dict[str, Any] = {
        "epochs": options.epochs,
        "schedule": settings.schedule if asked else "cosine",
        "schedule_step": "batch",
        "precision": "float32" if settings.precision == "auto" else settings.precision,
        "seed": derive(seed, "training") % _SEEDS,
    }
    return settings.model_copy(update=changes)


def _forward(module: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """The output `logits`, or the only one."""
    assert isinstance(module, SupernetModule)
    found = module.run_prepared(inputs)
    return found["logits"] if isinstance(found, dict) else found


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, tuple):
        for item in cast("tuple[Any, ...]", value):
            yield from _numbers(item)
    else:
        yield value
