"""A search, from a task to a trained, measured and exported network, in a run folder.

It can end at any instant and be resumed to the result of an uninterrupted run: trials and their
weights are in the store, unfinished trainings keep their state, and all that is written after them
is a function of those.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..compiler.pipeline import network as network_of
from ..ir.dsl import format_genotype
from ..ir.genotype import Genotype
from ..searchers.driver import Outcome, run_finals, run_search
from ..searchers.gradient import run_gradient_search
from ..searchers.protocol import (
    Array,
    Finishing,
    GradientSearcher,
    Inheriting,
    Scored,
    Searcher,
    owns_a_loop,
)
from ..searchers.registry import trial_of
from ..searchers.store import TrialStore
from ..tasks.task_file import Task
from .evaluate import TaskEvaluator, evaluator_of
from .events import EventLog, OnRunEvent, RunEvent, StageStarted, ignore
from .export import export_best
from .files import write_file
from .joint import joint_identity, others_of, valid_of
from .price import COSTS, figures, measuring, target_of
from .problems import problem
from .run_folder import RunFolder, begin_run
from .searcher import searcher_of
from .sources import carry_over
from .summary import write_run_report
from .tasks import Prepared, prepare
from .train import finish_network, refit_network, whole


@dataclass(frozen=True, slots=True)
class SearchResult:
    """How a search ended. `finals` are the fully trained ones, best first; `results` is what
    `results.json` holds.
    """

    folder: RunFolder
    outcome: Outcome
    finals: tuple[Scored, ...]
    results: Mapping[str, Any]


def with_search(
    task: Task,
    *,
    searcher: str | None = None,
    budget: int | None = None,
    seed: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Task:
    """The task with other settings of its `[search]`; options are those of another searcher's."""
    section = task.settings.search
    changes: dict[str, Any] = {}
    if searcher is not None and searcher != section.searcher:
        # What was set for one searcher means nothing to another.
        changes |= {"searcher": searcher, "options": {}}
    changes |= {} if budget is None else {"budget": budget}
    changes |= {} if seed is None else {"seed": seed}
    changes |= {} if options is None else {"options": dict(options)}
    search = section.model_copy(update=changes)
    keys = task.changed | {f"search.{name}" for name in changes}
    return Task(task.file, task.settings.model_copy(update={"search": search}), keys)


def search_task(
    task: Task,
    out: str | Path,
    *,
    resume: bool = False,
    allow_hooks: bool = False,
    store_url: str | None = None,
    finals: int | None = None,
    on_event: OnRunEvent = ignore,
) -> SearchResult:
    """Search a task's space, train the best to completion, measure, export; all in `out`.

    `finals` are so many, where it is not to be as the task says.

    Raises FusegraphError: what is wrong with the task, E630 and E635 for a folder of another run,
    E636 where not one candidate could be trained. KeyboardInterrupt is passed on when all that was
    done is on record; `resume` then goes on.
    """
    prepared = prepare(task, allow_hooks=allow_hooks)
    finals = task.settings.train.finals if finals is None else finals
    searcher = searcher_of(task, prepared.searched, prepared.trained)
    # A database is opened first: what is wrong with it must not leave half a run behind.
    database = None if store_url is None else _database(Path(out), store_url, searcher)
    folder, _ = begin_run(
        out, identity_of(prepared, finals), prepared.trained, task.file, resume=resume
    )
    store = TrialStore.open(folder.path) if database is None else database
    with EventLog(folder.events) as log:

        def tell(event: RunEvent) -> None:
            log(event)
            on_event(event)

        name = task.settings.search.searcher
        space, section = prepared.searched.graph, task.settings.search
        with measuring(section, space, folder.latencies, tell):
            tell(StageStarted("search", searcher.planned, name, trial_of(name)))
            outcome = _searched(prepared, searcher, folder, store, tell)
            if outcome.interrupted:
                raise KeyboardInterrupt
            if not outcome.best:
                raise _nothing_found(searcher, outcome, folder, store)
            trained = _finals(prepared, searcher, outcome, folder, store, finals, tell)
        results = _finish(prepared, searcher, outcome, trained, folder, store, tell)
    return SearchResult(folder, outcome, trained, results)


def _searched(
    prepared: Prepared,
    searcher: Searcher | GradientSearcher,
    folder: RunFolder,
    store: TrialStore,
    tell: OnRunEvent,
) -> Outcome:
    """Run the searcher, each sort by its driver."""
    space, settings = prepared.searched.graph, prepared.task.settings.search.train
    if not owns_a_loop(searcher):
        return run_search(space, searcher, evaluator_of(prepared), store, tell)

    def figures_of(genotype: Genotype) -> Mapping[str, float]:
        return figures(network_of(space, genotype))

    return run_gradient_search(
        searcher, prepared.data, settings, store, folder.supernet, tell, figures=figures_of
    )


def _nothing_found(
    searcher: Searcher | GradientSearcher, outcome: Outcome, folder: RunFolder, store: TrialStore
) -> Exception:
    if owns_a_loop(searcher):
        return problem(
            "E636",
            f"none of the {outcome.trials} genotypes that were derived satisfies the `require` of "
            "the space",
            folder.path,
            notes=_reasons(store),
            help="widen what is required, search for more epochs, or take a searcher that draws "
            "networks, such as `random`",
        )
    return problem(
        "E636",
        f"none of {outcome.trials} candidates could be trained",
        folder.path,
        notes=_reasons(store),
        help="look at the reasons: often the learning rate of `[search.train]` is too high",
    )


def _database(out: Path, url: str, searcher: Searcher | GradientSearcher) -> TrialStore:
    """The store of trials in a database; of a new run it must be this search's, or empty."""
    store = TrialStore.open(out, url=url)
    if not RunFolder(out).identity.is_file():
        store.bind(searcher.identity)
    return store


def identity_of(prepared: Prepared, finals: int) -> dict[str, Any]:
    """What a search is a function of; the export may change between resumptions."""
    settings = prepared.task.settings.model_dump(mode="json", exclude={"export"})
    manifest = None if prepared.features is None else prepared.features.manifest
    return {
        "kind": "search",
        "settings": settings,
        "searched": prepared.searched.graph.digest,
        "trained": prepared.trained.graph.digest,
        "splits": None if manifest is None else dict(manifest.splits),
        "classes": None if manifest is None else manifest.labels.classes,
        "finals": finals,
        **joint_identity(prepared),
    }


def _reasons(store: TrialStore) -> tuple[str, ...]:
    reasons = [record.reason for record in store.trials().values() if record.reason]
    return tuple(dict.fromkeys(reasons))[:3]


def _finals(
    prepared: Prepared,
    searcher: Searcher | GradientSearcher,
    outcome: Outcome,
    folder: RunFolder,
    store: TrialStore,
    finals: int,
    tell: OnRunEvent,
) -> tuple[Scored, ...]:
    """The best of the search, as the searcher finishes them, trained to completion; best first."""
    candidates = outcome.best[:finals]
    if isinstance(searcher, Finishing):
        candidates = [replace(found, genotype=searcher.finished(found)) for found in candidates]
    settings = prepared.task.settings
    inherit = settings.train.inherit
    metric = ("mean " if prepared.others else "") + settings.train.metric
    metric += ", less its price" if settings.search.price else ""
    stage = "kept" if inherit == "keep" else "final"
    note = "from the weights of the search" if inherit == "start" else ""
    tell(StageStarted(stage, len(candidates), note, metric=metric))
    evaluator = TaskEvaluator(
        prepared.searched,
        prepared.data,
        settings.train,
        trained=prepared.trained,
        folder=folder,
        stage="final",
        price=settings.search.price,
        weights_of=_ended_with(searcher) if inherit != "no" else None,
        keep=inherit == "keep",
        on_event=tell,
    )
    found = run_finals(
        prepared.searched.graph, candidates, evaluator, store, tell, seed=settings.search.seed
    )
    if not found:
        failed = [r.reason for r in store.trials("final").values() if r.reason]
        kept = inherit == "keep"
        done, at = ("measured", "search.train") if kept else ("trained to completion", "train")
        raise problem(
            "E636",
            f"none of the best {len(candidates)} networks could be {done}",
            folder.path,
            notes=tuple(dict.fromkeys(failed))[:3],
            help=f"look at the reasons: often the learning rate of `[{at}]` is too high",
        )
    return tuple(found)


def _ended_with(
    searcher: Searcher | GradientSearcher,
) -> Callable[[Genotype], Mapping[str, Array]]:
    if not isinstance(searcher, Inheriting):
        raise TypeError("`searcher_of` refuses it")
    return searcher.weights_of


def _finish(
    prepared: Prepared,
    searcher: Searcher | GradientSearcher,
    outcome: Outcome,
    finals: tuple[Scored, ...],
    folder: RunFolder,
    store: TrialStore,
    tell: OnRunEvent,
) -> dict[str, Any]:
    """Genotype files, checkpoint, test, export and `results.json`."""
    for rank, scored in enumerate(finals, start=1):
        genotype = carry_over(scored.genotype, prepared.searched, prepared.trained)
        text = format_genotype(genotype, prepared.trained, f"../space/{folder.space.name}")
        write_file(folder.genotypes / f"rank-{rank}.fuse", text)
    best = finals[0]
    genotype = carry_over(best.genotype, prepared.searched, prepared.trained)
    records = store.trials("final")
    record = records[best.trial]
    weights: Mapping[str, Any] = store.weights(record)
    train = prepared.task.settings.train
    if train.refit:
        start = None if train.inherit == "no" else _ended_with(searcher)(best.genotype)
        weights = refit_network(prepared, folder, genotype, f"final-{best.trial}", tell, start)
    network = finish_network(
        prepared,
        folder,
        genotype,
        weights,
        score=best.score,
        figures=record.metrics,
        tell=tell,
    )
    exported = export_best(folder, prepared.task, tell)
    results = {
        "task": prepared.task.settings.task.name,
        "searcher": prepared.task.settings.search.searcher,
        "trials": outcome.trials,
        "failed": outcome.failed,
        "ending": outcome.ending,
        **network,
        "price": _price(prepared.task, outcome.best[best.trial].score, best.score),
        "target": target_of(searcher.identity, network_of(prepared.searched.graph, best.genotype)),
        "best_trial": outcome.best[best.trial].trial,
        "final": f"final-{best.trial}",
        "finals": [
            {
                "rank": rank,
                "search_score": outcome.best[scored.trial].score,
                "valid": valid_of(scored.score, records[scored.trial].metrics),
                "score": scored.score,
                "final": f"final-{scored.trial}",
                **_costs(records[scored.trial].metrics),
                **_joint(records[scored.trial].metrics),
            }
            for rank, scored in enumerate(finals, start=1)
        ],
        "export": exported,
    }
    folder.write(folder.results, results)
    write_run_report(folder, store=store)
    shutil.rmtree(folder.path / "states", ignore_errors=True)
    return results


def _price(task: Task, search_score: float, score: float) -> dict[str, Any] | None:
    """What was priced, and the scores of the best that are left after it; None without a price."""
    price = task.settings.search.price
    if price is None:
        return None
    return {**price.model_dump(mode="json"), "search_score": search_score, "score": score}


def _joint(metrics: Mapping[str, float]) -> dict[str, Any]:
    others = others_of(metrics)
    return {"joint": others} if others else {}


def _costs(metrics: Mapping[str, float]) -> dict[str, int | float]:
    """What a network costs, of all that is on record of its trial."""
    return {name: whole(metrics[name]) for name in COSTS if name in metrics}
