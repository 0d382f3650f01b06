"""What networks cost, in a search: priced scores, required and reported latencies, resumed runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fusegraph.backends import latency as timing
from fusegraph.backends.latency import Latency, Timing
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.graph import Graph
from fusegraph.pipeline.events import LatencyMeasured, RunEvent
from fusegraph.pipeline.price import LEAST_SHARE, missed_target, priced
from fusegraph.pipeline.search import search_task
from fusegraph.pipeline.tasks import check_task
from fusegraph.searchers.protocol import PLAIN_SCORE, TrialFinished
from fusegraph.searchers.store import TrialRecord, TrialStore
from fusegraph.tasks.key_table import key_table
from fusegraph.tasks.schema import LatencySection, PriceSection
from fusegraph.tasks.task_file import load_task
from small_task import SPACE, TASK, write_task


def _task(folder: Path, search: str, searcher: str = "random", require: str = "") -> Path:
    """The small task with more lines in `[search]`, and a searcher that draws six networks."""
    file = write_task(folder)
    text = TASK.replace('searcher = "mfas"', f'searcher = "{searcher}"\nbudget = 6')
    text = text.replace("options = { candidates = 2, iterations = 1 }\n", "")
    file.write_text(text.replace("[search]\n", f"[search]\n{search}\n"))
    (folder / "space.fuse").write_text(SPACE.replace("  let W = 8", f"  {require}\n  let W = 8"))
    return file


def _trials(run: Path) -> list[TrialRecord]:
    return list(TrialStore.open(run, read_only=True).trials().values())


# ── the target of a search by gradients ──────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("found", "said"),
    [(0.85e6, ""), (0.9e6, ""), (0.8e6, "0.8 million"), (1.234e6, "1.234 million")],
)
def test_a_network_outside_its_target_is_told(found: float, said: str) -> None:
    target = {"measure": "macs", "least": 0.85e6, "most": 0.9e6, "found": found}
    told = missed_target({"target": target})
    assert bool(told) == bool(said)
    if said:
        assert told.startswith("outside the target of 0.85 to 0.9 million macs: ")
        assert told.endswith(said)


@pytest.mark.parametrize("results", [{}, {"target": None}])
def test_without_a_target_nothing_is_missed(results: dict[str, None]) -> None:
    assert missed_target(results) == ""


# ── the score after its price ────────────────────────────────────────────────────────────────────


def test_a_linear_price_begins_at_the_target() -> None:
    price = PriceSection(measure="macs", target=100, weight=0.5)
    assert [priced(0.9, m, price) for m in (0, 50, 100)] == [0.9] * 3
    assert priced(0.9, 150, price) == pytest.approx(0.9 - 0.25)
    assert priced(-2.0, 300, price) == pytest.approx(-3.0)


def test_a_product_is_mnasnets_soft_constraint() -> None:
    # Tan et al. 2019, section 3: doubling the latency is worth 5 % of relative accuracy.
    price = PriceSection(measure="latency", target=80, form="product")
    assert priced(0.5, 80, price) == 0.5
    assert priced(0.5, 160, price) == pytest.approx(0.5 * (160 / 80) ** -0.07)
    assert priced(0.5, 40, price) / priced(0.5 * 1.05, 80, price) == pytest.approx(1, abs=2e-3)
    assert priced(0.5, 0, price) == priced(0.5, 80 * LEAST_SHARE, price)


def test_each_trial_is_scored_after_its_price_and_keeps_the_plain_score(tmp_path: Path) -> None:
    # The space is searched at W = 8 and trained at W = 12: the price is that of the former.
    text = 'price = { measure = "macs", target = 100, weight = 0.2 }'
    found = search_task(load_task(_task(tmp_path, text)), tmp_path / "run", finals=3)
    price = PriceSection(measure="macs", target=100, weight=0.2)
    records = {record.digest: record for record in _trials(tmp_path / "run")}
    for record in records.values():
        assert record.score == priced(record.metrics[PLAIN_SCORE], record.metrics["macs"], price)
    assert len({record.metrics["macs"] for record in records.values()}) > 2
    finals = found.results["finals"]
    assert [f["score"] for f in finals] == sorted([f["score"] for f in finals], reverse=True)
    searched = {scored.trial: scored for scored in found.outcome.best}
    for scored, final in zip(found.finals, finals, strict=True):
        macs = records[scored.genotype.digest].metrics["macs"]
        assert final["score"] == scored.score == priced(final["valid"], macs, price)
        assert final["macs"] > macs
        assert final["search_score"] in {s.score for s in searched.values()}
    best = finals[0]
    assert found.results["valid"] == best["valid"]
    assert found.results["price"]["score"] == best["score"]
    assert {n: found.results[n] for n in ("parameters", "macs", "activation_bytes")} == {
        n: best[n] for n in ("parameters", "macs", "activation_bytes")
    }
    assert PLAIN_SCORE not in found.results
    page = (tmp_path / "run" / "report.html").read_text()
    for shown in ("less its price", "before its price", "Score against multiply-adds"):
        assert shown in page
    assert "score - 0.2 * max(0, macs / 100 - 1)" in page
    assert "latency, ms" not in page


def test_mfas_takes_priced_scores_that_its_surrogate_cannot_predict(tmp_path: Path) -> None:
    file = _task(tmp_path, 'price = { measure = "macs", target = 10, weight = 9.0 }', "mfas")
    options = "options = { candidates = 2, iterations = 1 }"
    file.write_text(file.read_text().replace("budget = 6", options))
    found = search_task(load_task(file), tmp_path / "run", finals=1)
    assert all((record.score or 0) < 0 for record in _trials(tmp_path / "run"))
    assert found.results["valid"] > 0 > found.results["price"]["score"]


def test_a_product_of_a_loss_is_told_at_its_line(tmp_path: Path) -> None:
    text = 'price = { measure = "macs", target = 100, form = "product" }'
    file = _task(tmp_path, text)
    file.write_text(file.read_text().replace("batch = 40 }", 'batch = 40, metric = "loss" }', 1))
    with pytest.raises(FusegraphError, match=r"E603.*form = .linear") as error:
        load_task(file)
    assert error.value.diagnostics[0].span is not None


def test_a_price_for_a_searcher_that_learns_by_gradients_is_told_at_its_key(tmp_path: Path) -> None:
    file = _task(tmp_path, 'price = { measure = "macs", target = 100 }', "bm_nas")
    space = (tmp_path / "space.fuse").read_text()
    space = re.sub(r"f32\[N, \d\]", "f32[N, 6]", space).replace(
        "x[*], ?y of y[*], h[1]", "x[*], h[1]"
    )
    space = space.replace("?depth of h[*]", "h[2]")
    (tmp_path / "space.fuse").write_text(space)
    with pytest.raises(FusegraphError, match="E818") as error:
        check_task(_without_features(file))
    span = error.value.diagnostics[0].span
    assert span is not None
    assert file.read_text().splitlines()[span.line - 1].startswith("price")


def _without_features(file: Path) -> Path:
    file.write_text(file.read_text().replace('features = "features"', 'hook = "m:f"'))
    return file


def test_the_keys_of_a_price_and_of_latencies_are_in_the_table() -> None:
    table = key_table()
    for name, model in (("price", PriceSection), ("latency", LatencySection)):
        section = table[table.index(f"### `[search.{name}]`") :].split("###")[1]
        assert [f"| `{key}` |" in section for key in model.model_fields] == [True] * len(
            model.model_fields
        )


# ── latencies ────────────────────────────────────────────────────────────────────────────────────


def test_a_latency_is_a_figure_of_every_trial_and_of_the_finals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[RunEvent] = []
    monkeypatch.setattr(timing, "latency_of", lambda *_: Latency(2.5, 2.0, 3.0))
    task = load_task(_task(tmp_path, "latency = { threads = 2 }"))
    found = search_task(task, tmp_path / "run", finals=2, on_event=told.append)
    assert {record.metrics["latency"] for record in _trials(tmp_path / "run")} == {2.5}
    assert [final["latency"] for final in found.results["finals"]] == [2.5, 2.5]
    assert found.results["latency"] == 2.5
    measured = [event for event in told if isinstance(event, LatencyMeasured)]
    assert {event.upper for event in measured} == {3.0}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "latency, ms" in page
    assert "2 threads" in page
    assert "Score against latency" not in page  # all have the same


class _Killed(BaseException):
    pass


def _six_trials(run: Path) -> list[tuple[str, float | None, Any]]:
    return [(r.digest, r.score, r.metrics["latency"]) for r in _trials(run)]


@pytest.mark.parametrize("after", [1, 4, 6])
def test_a_killed_search_under_a_required_latency_resumes_to_the_same_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    # One candidate a program, so that the search can be killed between any two.
    text = 'side_by_side = 1\nprice = { measure = "latency", target = 1, weight = 0.1 }'
    task = load_task(_task(tmp_path, text, require="require latency <= 3.0"))
    _machine(monkeypatch)
    whole = search_task(task, tmp_path / "whole").results
    asked = _machine(monkeypatch)
    finished: list[int] = []

    def kill(event: RunEvent) -> None:
        if isinstance(event, TrialFinished) and not event.replayed:
            finished.append(event.proposal.trial)
            if len(finished) == after:
                raise _Killed

    with pytest.raises(_Killed):
        search_task(task, tmp_path / "run", on_event=kill)
    resumed = search_task(task, tmp_path / "run", resume=True).results
    assert len(set(asked)) == len(asked)
    assert _six_trials(tmp_path / "run") == _six_trials(tmp_path / "whole")
    assert len(_six_trials(tmp_path / "run")) == 6
    assert all(latency <= 3.0 for _, _, latency in _six_trials(tmp_path / "run"))
    assert resumed["finals"] == whole["finals"]


def _machine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine of which every third network is too slow, and each a bit slower than the one
    before, so that no network takes as long when it is asked again; what it measured.
    """
    asked: list[str] = []

    def measure(network: Graph, _: Timing) -> Latency:
        asked.append(network.digest)
        found = 1.0 + int(network.digest, 16) % 3 + 1e-3 * len(asked)
        return Latency(found, found, found)

    monkeypatch.setattr(timing, "latency_of", measure)
    return asked
