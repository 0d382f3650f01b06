"""A search on its data: the supernet, the selection, and the file that both are kept in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...ir.decisions import Setting
from ...ir.graph import Graph
from ...tasks.sources import TaskData
from ...training.settings import TrainSettings
from ...training.state import below, damaged
from ...training.steps import choose_device, own_randomness
from ..epoch_state import read_state, write_state
from ..parsec.prior import Prior
from ..protocol import Array, Epoch
from ..randomness import derive
from .heads import heads_of
from .options import OnceOptions, PerturbationOptions
from .selection import Selection, Settings, Shown
from .supernet import SEEDS, Judged, Learned, Supernet
from .topology import Topology

_HOLDS = "state of a search over an elastic supernet"
_DECAY = 5e-2
"""Table 10, of ImageNet."""


@dataclass(frozen=True, slots=True)
class Done:
    """An epoch of the supernet or a step of the selection: what was learned, the network that is
    chosen and what it is judged, and what the candidates weigh. `arch_loss` of a step is the mean
    validation loss of the networks that it scored; None where it scored none.
    """

    learned: Learned | None
    arch_loss: float | None
    settings: Settings
    judged: Judged
    shown: Shown


class Run:
    """Weights, alpha, selection and the data; resumes from the file `state` where it is there."""

    def __init__(
        self,
        searcher: str,
        space: Graph,
        options: OnceOptions,
        seed: int,
        prior: Prior,
        selection: Selection,
        data: TaskData,
        settings: TrainSettings,
        state: Path | None,
    ) -> None:
        self._space = space
        self._options = options
        self._state = state
        self._settings = _of_the_search(settings, options, seed)
        self._device = device = choose_device(settings.device)
        self._prior = prior
        self._selection = selection
        self._topology: Topology | None = None
        if isinstance(options, PerturbationOptions):
            self._topology = Topology(prior, options)
        self._heads = heads_of(space, data, self._settings, device)
        self._supernet = Supernet(
            searcher, space, self._heads, options, self._settings, device, seed, self._topology
        )
        batches = {head.output: [len(head.train), len(head.valid)] for head in self._heads}
        what = {
            "settings": self._settings.model_dump(mode="json"),
            "options": asdict(options),
            "batches": batches,
            "space": space.digest,
        }
        # As the file will hold it: tuples are lists there.
        self._what: dict[str, Any] = json.loads(json.dumps(what))

    def epoch(self, number: int) -> Done:
        """An epoch of the supernet, or after the last one a step of the selection."""
        learned: Learned | None = None
        scored: list[Judged] = []

        def score(settings: Mapping[str, Setting]) -> float:
            scored.append(self._supernet.judge(settings, number))
            return scored[-1].score

        with own_randomness(self._device):
            if number <= self._options.epochs:
                learned = self._supernet.epoch(number)
            else:
                self._selection.step(number - self._options.epochs, score)
            settings = self._selection.chosen()
            judged = self._supernet.judge(settings, number)
        arch_loss = None if learned is None else learned.arch_loss
        if scored:
            arch_loss = sum([judged.loss for judged in scored]) / len(scored)
        return Done(learned, arch_loss, settings, judged, self._selection.shown())

    def weights_of(self, settings: Mapping[str, Setting]) -> dict[str, Array]:
        """The weights of a network by its own names, copied."""
        found = self._supernet.networks.state_of(settings)
        return {name: value.detach().cpu().numpy().copy() for name, value in found.items()}

    # ── the file ─────────────────────────────────────────────────────────────────────────────────

    def save(self, epochs: Sequence[Epoch]) -> None:
        """Keep all that the next epoch needs."""
        if self._state is None:
            return
        networks = self._supernet.networks
        tensors = {f"now/{name}": value for name, value in networks.state_dict().items()}
        optimiser = self._supernet.optimiser
        tensors |= {f"weights/{name}": value for name, value in optimiser.state_dict().items()}
        tensors |= {f"alpha/{key}": alpha for key, alpha in self._prior.alphas().items()}
        kept = {
            "baselines": {} if self._topology is None else self._topology.baselines,
            "selection": self._selection.state(),
        }
        write_state(self._state, _HOLDS, self._what, epochs, tensors, kept)

    def restored(self) -> tuple[Epoch, ...]:
        """The epochs that are done, with everything as it was after them.

        Raises FusegraphError E702 and E705 as `read_state` does.
        """
        file = self._state
        if file is None or not file.exists():
            return ()
        epochs, tensors, kept = read_state(file, _HOLDS, self._what, self._space)
        try:
            self._supernet.networks.load_state_dict(below(tensors, "now/"))
            self._supernet.optimiser.load_state_dict(below(tensors, "weights/"))
            self._prior.restore(below(tensors, "alpha/"))
            if self._topology is not None:
                self._topology.restore(kept["baselines"])
            steps = max(0, len(epochs) - self._options.epochs)
            self._selection.restore(kept["selection"], steps)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise damaged(file, error) from None
        return epochs


def _of_the_search(settings: TrainSettings, options: OnceOptions, seed: int) -> TrainSettings:
    asked = settings.model_fields_set
    default: dict[str, Any] = {"schedule": "cosine"}
    if "optimiser" not in asked:
        default |= {"optimiser": "adamw", "weight_decay": _DECAY}
    changes = {key: value for key, value in default.items() if key not in asked}
    changes |= {
        "epochs": options.epochs,
        "schedule_step": "batch",
        "seed": derive(seed, "training") % SEEDS,
    }
    return settings.model_copy(update=changes)
