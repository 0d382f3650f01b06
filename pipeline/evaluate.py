"""The evaluator: trains a genotype on a task's data and measures it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from ..backends.torch import Network, lower
from ..compiler.pipeline import network as network_of
from ..ir.diagnostics import FusegraphError
from ..ir.dsl import Program
from ..ir.genotype import Genotype
from ..ir.graph import Graph
from ..searchers.protocol import PLAIN_SCORE, Array, Evaluation, Inherited, Proposal
from ..searchers.randomness import derive
from ..tasks.schema import PriceSection
from ..tasks.sources import TaskData
from ..training.batches import BatchSource
from ..training.events import BatchEnded, TrainingEvent
from ..training.loop import FitResult, choose_device, fit
from ..training.settings import TrainSettings
from ..training.side_by_side import Trainee, fit_side_by_side
from ..training.together import together
from .heads import DataHead, heads_of, valid_figures, valid_of_each
from .learned import learned_connections
from .price import figures, measure_of, priced
from .problems import problem
from .run_folder import RunFolder
from .sources import carry_over
from .tasks import Prepared

SEEDS = 2**31
"""Training takes seeds below this."""


@dataclass(frozen=True)
class TaskEvaluator:
    """Trains each proposal for the epochs of `settings` and answers its validation score.

    With a `price` the score is what is left after it, that of the network as it is searched; the
    validation score is then among the figures, as PLAIN_SCORE. Of several data sets it is the mean
    of theirs, which are among the figures, too.

    Candidates are genotypes of `searched`; where `trained` is given they are carried over to that
    first (MFAS trains its best five at a larger width). With `folder` each training keeps its
    state there after every epoch, under `stage` and the trial's number, and goes on from it.

    With `order_seed` all proposals see the training data in one order; without, each in that of its
    own seed. Candidates that are trained `together`, as one program, always see one order.

    With `weights_of` a candidate starts from these weights of its genotype, and where it is to
    `keep` them it is measured with them and not trained.
    """

    searched: Program
    data: TaskData
    settings: TrainSettings
    trained: Program | None = None
    folder: RunFolder | None = None
    stage: str = "search"
    order_seed: int | None = None
    together: int = 1
    price: PriceSection | None = None
    weights_of: Callable[[Genotype], Mapping[str, Array]] | None = None
    keep: bool = False
    on_event: Callable[[TrainingEvent], None] | None = None

    def evaluate(self, proposal: Proposal, inherited: Inherited) -> Evaluation:
        """See `Evaluator.evaluate`: a pure function of the proposal and what it inherits."""
        network, module = self._lowered(proposal)
        shared = inherited.matching(_shapes(module))
        module.load_state_dict({**module.state_dict(), **tensors_of(shared)})
        if self.weights_of is not None:
            module.load_state_dict(tensors_of(self.weights_of(proposal.genotype)))
        settings = self.settings.model_copy(update={"seed": proposal.seed % SEEDS})
        name = f"{self.stage}-{proposal.trial}"
        if self.keep:
            score, told = measured(module, self.data, settings)
            return self._evaluation(proposal, network, score, told, module.state_dict())
        result = train_module(
            module,
            self.data,
            settings,
            folder=self.folder,
            name=name,
            order_seed=self.order_seed,
            on_event=self.on_event,
        )
        told = {**outcome(result), **valid_of_each(module, self.data, settings)}
        return self._evaluation(proposal, network, result.best_score, told, module.state_dict())

    def weight_shapes(self, proposal: Proposal) -> dict[str, tuple[int, ...]]:
        """See `WaveEvaluator.weight_shapes`."""
        return _shapes(self._lowered(proposal)[1])

    def evaluate_together(
        self, proposals: Sequence[Proposal], inherited: Sequence[Inherited]
    ) -> list[Evaluation | Exception]:
        """See `WaveEvaluator.evaluate_together`."""
        made = [self._trainee(*pair) for pair in zip(proposals, inherited, strict=True)]
        pairs = zip(proposals, made, strict=True)
        ended = iter(self._trained([(p, t) for p, t in pairs if isinstance(t, Trainee)]))
        return [next(ended) if isinstance(trainee, Trainee) else trainee for trainee in made]

    def _trainee(self, proposal: Proposal, inherited: Inherited) -> Trainee | Exception:
        try:
            network, module = self._lowered(proposal)
        except Exception as error:
            return error
        shared = tensors_of(inherited.matching(_shapes(module)))
        return Trainee(network, shared, proposal.seed % SEEDS)

    def _trained(
        self, proposed: Sequence[tuple[Proposal, Trainee]]
    ) -> list[Evaluation | Exception]:
        if not proposed:
            return []
        trainees = [trainee for _, trainee in proposed]
        inputs = dict.fromkeys(node["name"] for t in trainees for node in t.network.inputs)
        device = choose_device(self.settings.device)
        train, valid = [
            self.data.source(split, list(inputs), batch=self.settings.batch, device=device)
            for split in ("train", "valid")
        ]
        trained = fit_side_by_side(
            trainees,
            train,
            valid,
            self.settings,
            kind=self.data.kind,
            positive_weight=self.data.positive_weight() if self.settings.balance else None,
            order_seed=0 if self.order_seed is None else self.order_seed,
        )
        return [
            self._evaluated(proposal, trainee.network, ended.result, ended.weights)
            if ended.result is not None
            else ended.failure or RuntimeError("a candidate has neither a result nor a failure")
            for (proposal, trainee), ended in zip(proposed, trained, strict=True)
        ]

    def _evaluated(
        self, proposal: Proposal, network: Graph, result: FitResult, weights: Mapping[str, Tensor]
    ) -> Evaluation | FusegraphError:
        try:
            return self._evaluation(proposal, network, result.best_score, outcome(result), weights)
        except FusegraphError as error:  # its latency cannot be measured, which is its own fault
            return error

    def _evaluation(
        self,
        proposal: Proposal,
        network: Graph,
        score: float,
        told: Mapping[str, float],
        weights: Mapping[str, Tensor],
    ) -> Evaluation:
        """The weights are copies: a module's own memory may be reused by the next candidate."""
        arrays = {name: np.array(value.detach().cpu().numpy()) for name, value in weights.items()}
        told, price = {**figures(network), **told}, self.price
        if price is not None:
            searched = network_of(self.searched.graph, proposal.genotype)
            told[PLAIN_SCORE] = score
            score = priced(score, measure_of(searched, price.measure), price)
        learned = learned_connections(self.searched.graph, proposal.genotype, network, arrays)
        return Evaluation(score, told, arrays, learned)

    def _lowered(self, proposal: Proposal) -> tuple[Graph, Network]:
        """The network of a proposal, as it starts without inheriting."""
        genotype, program = proposal.genotype, self.searched
        if self.trained is not None:
            genotype = carry_over(genotype, program, self.trained)
            program = self.trained
        network = network_of(program.graph, genotype)
        return network, lower(network, seed=proposal.seed % SEEDS)


def evaluator_of(prepared: Prepared) -> TaskEvaluator:
    """Trains the candidates of a search, all with the training data in one order of its seed."""
    section = prepared.task.settings.search
    return TaskEvaluator(
        prepared.searched,
        prepared.data,
        section.train,
        order_seed=derive(section.seed, "order") % SEEDS,
        together=section.side_by_side,
        price=section.price,
    )


def train_module(
    module: Network,
    data: TaskData,
    settings: TrainSettings,
    *,
    folder: RunFolder | None,
    name: str,
    order_seed: int | None = None,
    both_splits: bool = False,
    on_event: Callable[[TrainingEvent], None] | None = None,
) -> FitResult:
    """Train on the training split, choose the epoch by the validation split; only the inputs that
    the network has are read. With `both_splits` train on both, and keep the last epoch. Several
    data sets train together, and the mean of their scores chooses the epoch.

    With `folder` an interrupted training goes on, and the epochs are written at the end. The order
    of the batches is that of `order_seed`, or of the settings' seed.
    """

    def training(head: DataHead) -> BatchSource:
        train = head.source("train", settings)
        return together(train, head.source("valid", settings)) if both_splits else train

    main, *others = heads_of(module, data)
    state = None if folder is None else folder.state(name)
    result = fit(
        module,
        training(main),
        main.source("valid", settings),
        settings,
        kind=main.data.kind,
        forward=main.forward,
        positive_weight=main.positive_weight(settings),
        others=[head.trains(training(head), settings) for head in others],
        order_seed=order_seed,
        keep="last" if both_splits else "best",
        on_event=None if on_event is None else _without_batches(on_event),
        state=state,
    )
    if folder is not None and state is not None:
        folder.write(
            folder.history(name),
            {"epochs": [asdict(epoch) for epoch in result.history], "best": result.best_epoch},
        )
    return result


def measured(
    module: Network, data: TaskData, settings: TrainSettings
) -> tuple[float, dict[str, float]]:
    """The validation score of a network as it is, the mean over the data sets, and what else a
    trial of it has.

    Raises FusegraphError E701 where its loss is not finite.
    """
    judged = {head.output: head.judge(module, settings) for head in heads_of(module, data)}
    loss, score = [sum(each) / len(judged) for each in zip(*judged.values(), strict=True)]
    if not math.isfinite(loss):
        raise problem(
            "E701",
            "the network cannot be measured with the weights that it has: expected a finite loss, "
            f"found {loss} in validation",
            "validation",
            help="where they are the search's, lower `learning_rate` in `[search.train]`, or train "
            'from new weights by `inherit = "no"` in `[train]`',
        )
    told = {"epochs": 0.0, "best_epoch": 0.0, "valid_loss": loss}
    return score, {**told, **valid_figures({output: own for output, (_, own) in judged.items()})}


def outcome(result: FitResult) -> dict[str, float]:
    """How a training went, in numbers."""
    last = result.history[-1]
    return {
        "epochs": float(len(result.history)),
        "best_epoch": float(result.best_epoch),
        "train_loss": last.train_loss,
        "valid_loss": last.valid_loss,
    }


def _shapes(module: Network) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def tensors_of(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    """Copies of weights, as torch has them."""
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def _without_batches(
    on_event: Callable[[TrainingEvent], None],
) -> Callable[[TrainingEvent], None]:
    def told(event: TrainingEvent) -> None:
        if not isinstance(event, BatchEnded):
            on_event(event)

    return told
