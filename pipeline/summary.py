"""What a run folder tells, as the data of the report page. Works while the run goes on, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..compiler.count import count
from ..ir.diagnostics import FusegraphError
from ..ir.dsl import Program, load
from ..ir.graph import Graph
from ..report.curves import Series
from ..report.data import (
    Chart,
    ComparisonSection,
    DataSection,
    Final,
    Pairs,
    RepeatSection,
    ReportData,
    SearchSection,
    SpaceSection,
    Split,
    Tap,
    Trial,
)
from ..report.page import write_report
from ..report.text import rounded
from ..searchers.protocol import PLAIN_SCORE
from ..searchers.registry import mixes, trial_of
from ..searchers.store import TrialStore
from .architecture import architecture_of
from .events import read_events
from .price import missed_target, settings_of_costs
from .run_folder import RunFolder
from .winner import PERCENT, export_of, joint_of_results, winner_of


def write_run_report(
    folder: RunFolder,
    *,
    store: TrialStore | None = None,
    comparison: ComparisonSection | None = None,
) -> Path:
    """Write `report.html` into a run folder; its path. `store` is for trials in a database."""
    return write_report(folder.path, summarise(folder, store=store, comparison=comparison))


def summarise(
    folder: RunFolder,
    *,
    store: TrialStore | None = None,
    comparison: ComparisonSection | None = None,
) -> ReportData:
    """All sections for which the run has something to tell.

    Raises FusegraphError E632 where the folder is damaged.
    """
    identity = folder.read(folder.identity)
    settings: Any = identity["settings"]
    results = folder.read(folder.results) if folder.results.is_file() else {}
    searched = identity["kind"] == "search"
    overrides = {k: repr(v) for k, v in settings["task"]["set"].items()}
    trained = load(folder.space, overrides)
    space = trained
    if searched:
        found_in = {k: repr(v) for k, v in settings["search"]["set"].items()}
        space = load(folder.space, {**overrides, **found_in})
    events = read_events(folder.events)
    search = _search(folder, settings, space, events, store, results) if searched else None
    counted = _count(space.graph)
    return ReportData(
        title=settings["task"]["name"],
        subtitle=_subtitle(identity, results),
        facts=_facts(counted, results),
        space=SpaceSection(
            graph=space.graph,
            text=folder.space.read_text(encoding="utf-8"),
            file=folder.space.name,
            genotypes=counted,
            notes=_constants(space, trained),
        ),
        data=_data(results),
        search=search,
        comparison=comparison,
        winner=winner_of(folder, trained, results) if results else None,
        export=export_of(folder, results) if results else None,
        repeat=_repeat(folder, identity),
    )


def _count(space: Graph) -> int | None:
    try:
        return count(space).genotypes
    except FusegraphError:
        return None


def _subtitle(identity: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    what = "A training"
    if identity["kind"] == "search":
        what = f"A search by `{identity['settings']['search']['searcher']}`"
    return what if results else f"{what}, not finished yet"


def _facts(counted: int | None, results: Mapping[str, Any]) -> Pairs:
    facts: list[tuple[str, str]] = []
    if counted is not None and counted > 1:
        facts.append(("genotypes", rounded(counted)))
    if "trials" in results:
        facts.append((f"{trial_of(results['searcher'])}s tried", f"{results['trials']:,}"))
    if results:
        metric = results["metric"]
        facts.append((f"{metric}, validation", _shown(metric, results["valid"])))
        for output, told in (("", results), *joint_of_results(results).items()):
            of = f"{output}: " if output else ""
            if output:
                facts.append((f"{of}{metric}, validation", _shown(metric, told["valid"])))
            for name in (metric, "accuracy"):
                if name in told["test"]:
                    facts.append((f"{of}{name}, test", _shown(name, told["test"][name])))
                    break
        facts.append(("parameters", f"{results['parameters']:,}"))
        facts.append(("multiply-adds", f"{results['macs']:,}"))
        if "latency" in results:
            facts.append(("latency", f"{results['latency']:.3g} ms"))
    return tuple(facts)


def _shown(metric: str, value: float) -> str:
    return f"{100 * value:.1f} %" if metric in PERCENT else f"{value:.4g}"


def _constants(space: Program, trained: Program) -> tuple[str, ...]:
    if space.graph is trained.graph:
        return ()
    changed = [
        f"{name} = {value} while searching, {trained.constants[name]} when trained"
        for name, value in space.constants.items()
        if trained.constants.get(name) != value
    ]
    return tuple(changed)


def _data(results: Mapping[str, Any]) -> DataSection | None:
    joint = joint_of_results(results)
    main = _data_of(results, "logits" if joint else "")
    others = [found for output, told in joint.items() if (found := _data_of(told, output))]
    if main is None:
        return DataSection(others=tuple(others)) if others else None
    return replace(main, others=tuple(others))


def _data_of(told: Mapping[str, Any], output: str) -> DataSection | None:
    data: Any = told.get("data")
    if not data:
        return None
    return DataSection(
        splits=tuple([Split(name, samples) for name, samples in data["splits"].items()]),
        taps=tuple([Tap(name, text, data["source"]) for name, text in data["taps"].items()]),
        classes=tuple(data["classes"]),
        output=output,
    )


# ── the search ───────────────────────────────────────────────────────────────────────────────────


def _search(
    folder: RunFolder,
    settings: Mapping[str, Any],
    space: Program,
    events: list[dict[str, Any]],
    store: TrialStore | None,
    results: Mapping[str, Any],
) -> SearchSection | None:
    if store is None:
        try:
            store = TrialStore.open(folder.path, read_only=True)
        except FusegraphError:
            return None
    records = store.trials("search")
    rounds = {
        event["proposal"]["trial"]: f"round {event['proposal']['round'] + 1}"
        for event in events
        if event.get("event") == "TrialStarted" and event.get("stage") == "search"
    }
    trials = [
        Trial(
            number=record.trial,
            genotype=record.genotype.replace("\n", ", "),
            score=record.score,
            parameters=_int(record.metrics.get("parameters")),
            macs=_int(record.metrics.get("macs")),
            seconds=record.seconds or None,
            round=rounds.get(record.trial, ""),
            failure=record.reason if record.state == "failed" else "",
            activation_bytes=_int(record.metrics.get("activation_bytes")),
            latency=record.metrics.get("latency"),
            plain=record.metrics.get(PLAIN_SCORE),
        )
        for record in records.values()
        if record.state != "claimed"
    ]
    section: Any = settings["search"]
    metric, price = section["train"]["metric"], section.get("price")
    final: Any = settings["train"]["metric"]
    joint = bool(settings.get("joint"))
    told = [(name, _text(value)) for name, value in section["options"].items()]
    told += [(f"constant {name}", _text(value)) for name, value in section["set"].items()]
    # The epochs of candidates mean nothing where each trial is an epoch.
    names = ("batch", "learning_rate")
    names = names if trial_of(section["searcher"]) == "epoch" else ("epochs", *names)
    told += [(name, _text(section["train"][name])) for name in names]
    told += settings_of_costs(section)
    return SearchSection(
        searcher=section["searcher"],
        metric=f"mean {metric} on the validation splits"
        if joint
        else f"{metric} on the validation split",
        trials=tuple(trials),
        settings=(("seed", str(section["seed"])), *told),
        charts=_charts(events, metric),
        percent=metric in PERCENT,
        seconds=sum(record.seconds for record in records.values()),
        notes=(missed,) if (missed := missed_target(results)) else (),
        architecture=architecture_of(space.graph, events, mixed=mixes(section["searcher"])),
        finals=tuple([_final(entry, bool(price)) for entry in results.get("finals", ())]),
        final_metric="" if final == metric and not joint else f"{final} on the validation split",
        final_percent=final in PERCENT,
        kept=settings["train"].get("inherit") == "keep",
    )


def _final(entry: Mapping[str, Any], priced: bool) -> Final:
    return Final(
        rank=entry["rank"],
        search_score=entry["search_score"],
        valid=entry["valid"],
        score=entry["score"] if priced else None,
        parameters=entry["parameters"],
        macs=entry["macs"],
        activation_bytes=entry["activation_bytes"],
        latency=entry.get("latency"),
        joint=tuple(joint_of_results(entry).items()),
    )


def _charts(events: list[dict[str, Any]], metric: str) -> tuple[Chart, ...]:
    """The surrogate's losses, where the searcher has a surrogate; the pool's scores, if a pool."""
    return (*_surrogate(events), *_pool(events, metric))


def _pool(events: list[dict[str, Any]], metric: str) -> tuple[Chart, ...]:
    """AssembleNet, Fig. 4: "the average fitness score of the three top-performing models"."""
    # A resumed search tells again what it told before.
    told = {e["round"]: e for e in events if e.get("event") == "PoolChanged"}
    if len(told) < 2:
        return ()
    rounds = [float(number + 1) for number in sorted(told)]
    names = {"best": "best", "three_best": "mean of the three best", "worst": "worst"}
    series = [
        Series(name, rounds, [float(told[number][key]) for number in sorted(told)])
        for key, name in names.items()
    ]
    return (Chart("Scores in the pool", "round", metric, tuple(series)),)


def _surrogate(events: list[dict[str, Any]]) -> tuple[Chart, ...]:
    # A resumed search fits again what it fitted before.
    fits = {e["round"]: e for e in events if e.get("event") == "SurrogateFitted"}
    if len(fits) < 2:
        return ()
    rounds = [float(number + 1) for number in sorted(fits)]
    first = [float(fits[number]["first_loss"]) for number in sorted(fits)]
    last = [float(fits[number]["last_loss"]) for number in sorted(fits)]
    series = (Series("before the fit", rounds, first), Series("after the fit", rounds, last))
    return (Chart("Loss of the surrogate", "round", "mean squared error", series),)


def _repeat(folder: RunFolder, identity: Mapping[str, Any]) -> RepeatSection:
    processes: Any = folder.read(folder.machine)["processes"]
    last = processes[-1]
    settings: Any = identity["settings"]
    searched = identity["kind"] == "search"
    command = "fusegraph search task.toml"
    if searched:
        command += (
            f" --searcher {settings['search']['searcher']} --seed {settings['search']['seed']}"
        )
        if settings["search"]["budget"] is not None:
            command += f" --budget {settings['search']['budget']}"
    else:
        command = "fusegraph train task.toml --genotype genotypes/best.fuse"
    seed = settings["search"]["seed"] if searched else settings["train"]["seed"]
    versions = [("fusegraph", last["fusegraph"]), ("Python", last["python"])]
    versions += list(last["packages"].items())
    notes = ("the run folder has copies of the task's file and of the space",)
    return RepeatSection(
        commands=(command,),
        seeds=(int(seed),),
        versions=tuple(versions),
        machine=(("platform", last["platform"]), ("processor", last["processor"])),
        notes=notes,
    )


def _int(value: float | None) -> int | None:
    return None if value is None else int(value)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
