"""A search on its data: what is made when it begins, and moved on epoch by epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...backends.torch.network import lower
from ...backends.torch.sampled import SampledNetworks
from ...compiler.fusion.prefix import split_prefix
from ...ir.cells import expand
from ...ir.decisions import Setting
from ...ir.graph import Graph
from ...tasks.sources import TaskData
from ...training.settings import TrainSettings
from ...training.steps import choose_device, own_randomness
from ..epochs import DIGITS
from ..prepared import Prefix, prepared
from ..protocol import Array, Epoch
from ..randomness import derive
from .learner import Learned, Learner, Place
from .options import ParsecOptions
from .plan import Part, Plan, shown_weights
from .prior import Prior
from .state import load_state, save_state

_SEEDS = 1 << 31
_RATE, _BATCH = 0.4, 256
"""The learning rate of the supplement's first phase, and its batch (Table 2, section 3.1)."""
_DECAY = 5e-5
"""Section 3.1."""


@dataclass(frozen=True, slots=True)
class Done:
    """An epoch: what was learned, its genotype's settings and what these are like; `weights` and
    `entropies` as in `ArchitectureEpoch`.
    """

    learned: Learned
    settings: dict[str, Setting]
    valid_loss: float
    valid_score: float
    cost: float
    weights: dict[str, tuple[tuple[float, ...], ...]]
    entropies: dict[str, float]


class Run:
    """Prior, weights and both splits; resumes from the file `state` where it is there."""

    def __init__(
        self,
        space: Graph,
        plan: Plan,
        options: ParsecOptions,
        seed: int,
        data: TaskData,
        settings: TrainSettings,
        state: Path | None,
    ) -> None:
        self._space = space
        self._plan = plan
        self._options = options
        self._state = state
        self._settings = _of_the_search(settings, seed)
        self._device = device = choose_device(settings.device)
        self.prior = Prior(space)
        first, rest = split_prefix(expand(space))
        prefix = Prefix(lower(first).to(device))
        names = list(prefix.prefix.parameter_names)
        self._train, self._valid = [
            prepared(prefix, data.source(split, names, batch=settings.batch, device=device))
            for split in ("train", "valid")
        ]
        networks = SampledNetworks(rest, derive(seed, "networks")).to(device)
        self.learner = Learner(
            self.prior,
            networks,
            options,
            self._settings,
            device,
            seed,
            kind=data.kind,
            positive_weight=data.positive_weight() if settings.balance else None,
        )
        what = {
            "settings": self._settings.model_dump(mode="json"),
            "options": asdict(options),
            "batches": [len(self._train), len(self._valid)],
            "space": space.digest,
        }
        # As the file will hold it: tuples are lists there.
        self._what: dict[str, Any] = json.loads(json.dumps(what))

    def restored(self) -> tuple[Epoch, ...]:
        """The epochs that are done, with everything as it was after them."""
        if self._state is None or not self._state.exists():
            return ()
        return load_state(self._state, self._what, self._space, self.learner)

    def save(self, epochs: Sequence[Epoch]) -> None:
        """Keep all that the next epoch needs."""
        if self._state is not None:
            save_state(self._state, self._what, epochs, self.learner)

    def epoch(self, number: int) -> Done:
        """The epoch with this number, from 1."""
        place = self._place(number)
        with own_randomness(self._device):
            learned = self.learner.epoch(place, self._train)
            settings = self.learner.most_probable(place, learned.drawn)
            loss, score = self.learner.validate(settings, self._valid, number)
        cost = self.learner.figure(settings)
        given = self._plan.fixed(self.prior, self._plan.parts[-1])
        settled = {key: given[key] for key in self._plan.never_searched(self._space)}
        weights, entropies = shown_weights(self.prior, settled, DIGITS)
        return Done(learned, settings, loss, score, cost, weights, entropies)

    def weights_of(self, settings: Mapping[str, Setting]) -> dict[str, Array]:
        """The weights of a network by its own names, copied."""
        found = self.learner.weights_of(settings)
        return {name: value.detach().cpu().numpy().copy() for name, value in found.items()}

    def _place(self, number: int) -> Place:
        part = self._plan.part_of(number)
        within = number - part.first
        return Place(
            number,
            within,
            _of_the_phase(self._settings, part),
            part.phase.arch_learning_rate,
            self._plan.fixed(self.prior, part),
            within < part.warmup,
        )


def _of_the_search(settings: TrainSettings, seed: int) -> TrainSettings:
    asked = settings.model_fields_set
    default = {
        "optimiser": "sgd",
        "weight_decay": _DECAY,
        "learning_rate": _RATE * settings.batch / _BATCH,
        "schedule": "cosine",
    }
    if "optimiser" in asked:
        # The decay and the rate above are SGD's.
        default = {"schedule": "cosine"}
    changes: dict[str, Any] = {key: value for key, value in default.items() if key not in asked}
    changes |= {"schedule_step": "batch", "seed": derive(seed, "training") % _SEEDS}
    return settings.model_copy(update=changes)


def _of_the_phase(settings: TrainSettings, part: Part) -> TrainSettings:
    rate = part.phase.learning_rate or settings.learning_rate
    return settings.model_copy(update={"epochs": part.phase.epochs, "learning_rate": rate})
