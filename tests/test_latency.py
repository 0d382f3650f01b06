"""Measured latencies: how they are taken, kept and asked for; nothing here looks at a clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from fusegraph.backends import latency as timing
from fusegraph.backends.latency import Latency, LatencyMeter, Timing, latency_of, timed
from fusegraph.compiler.count import Count, count
from fusegraph.compiler.explore import MOST_RUN, cross, mutate, sample
from fusegraph.compiler.measures import lending, lent_meter
from fusegraph.compiler.pipeline import network
from fusegraph.compiler.requirements import satisfied, unmeasured_violations, violations
from fusegraph.ir.diagnostics import FusegraphError, codes
from fusegraph.ir.dsl import loads
from fusegraph.ir.graph import Graph

WIDTHS = range(1, 9)


def space(requires: str = "require latency <= 3") -> Graph:
    return loads(
        f"""fuse 1
space example {{
  dim N, T
  input x: f32[N, 4, T]
  let w = ?w of {{{", ".join(map(str, WIDTHS))}}}
  output y = mean(linear(x, out=w, axis=1), axis=2)
  {requires}
}}"""
    ).graph


class WideIsSlow:
    """A meter that takes a millisecond for each channel of the output."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def latency(self, network: Graph) -> float:
        width = int(str(network.roots[0].type.shape[1]))
        self.asked.append(width)
        return float(width)


# ── require ──────────────────────────────────────────────────────────────────────────────────────


def test_what_is_drawn_satisfies_a_required_latency() -> None:
    example, rng = space(), Random(0)
    with lending(WideIsSlow()):
        drawn = [sample(example, rng) for _ in range(20)]
        drawn += [mutate(example, drawn[0], rng) for _ in range(20)]
        drawn += [cross(example, drawn[0], drawn[1], rng) for _ in range(20)]
    assert {g.settings["w"][0] + 1 for g in drawn} == {1, 2, 3}


def test_without_a_meter_a_required_latency_is_one_error() -> None:
    example = space()
    with lending(WideIsSlow()):
        genotype = sample(example, Random(0))
    assert lent_meter() is None
    with pytest.raises(FusegraphError, match="E508"):
        satisfied(example, genotype.settings)


def test_networks_are_run_only_where_all_else_holds() -> None:
    example, meter = space("require latency <= 3\n  require parameters <= 25"), WideIsSlow()
    with lending(meter):
        for _ in range(40):
            sample(example, Random(len(meter.asked)))
    assert set(meter.asked) == {1, 2, 3, 4, 5}  # 5 parameters a channel


def test_a_latency_that_nothing_reaches_is_given_up_after_some_runs() -> None:
    meter = WideIsSlow()
    with lending(meter), pytest.raises(FusegraphError, match="E503") as error:
        sample(space("require latency < 1"), Random(0))
    assert len(meter.asked) <= 2 * MOST_RUN  # and once more for what is told
    notes = error.value.diagnostics[0].notes
    assert f"{MOST_RUN} of their networks were run" in notes
    assert "`latency < 1`: the nearest that was reached is 1 against 1" in notes


def test_counting_and_checking_run_nothing() -> None:
    example = space("require latency <= 3\n  require parameters <= 25")
    assert count(example) == Count(len(WIDTHS), bound=True)
    wide = network(example, {"w": (7,)})
    assert [r.text for r, _, _ in unmeasured_violations(wide)] == ["parameters <= 25"]
    with lending(WideIsSlow()):
        assert [r.text for r, _, _ in violations(wide)] == ["latency <= 3", "parameters <= 25"]


@pytest.mark.parametrize("bound", ["latency > 1/2", "0 < macs", "parameters >= 1"])
def test_a_measure_may_be_below_one(bound: str) -> None:
    example = loads(
        f"""fuse 1
space s {{
  dim N
  input x: f32[N, 4]
  require {bound}
  output y = relu(x)
}}"""
    ).graph
    assert len(example.requires) == 1


# ── the meter ────────────────────────────────────────────────────────────────────────────────────

QUICK = Timing(warm_ups=1, runs=3, sizes={"T": 5})


def narrow(width: int = 2) -> Graph:
    return network(space(), {"w": (width - 1,)})


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_a_network_is_timed_by_each_runtime(runtime: timing.Runtime) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    found = latency_of(narrow(), replace(QUICK, runtime=runtime))
    assert 0 < found.lower <= found.median <= found.upper
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_size_without_a_number_is_told() -> None:
    assert "E637" in codes()
    with pytest.raises(FusegraphError, match=r"E637.*`T`"):
        latency_of(narrow(), replace(QUICK, sizes={}))


def test_warm_ups_are_not_timed_and_the_rest_is() -> None:
    calls: list[int] = []
    found = timed(lambda: calls.append(1), warm_ups=2, runs=5)
    assert len(calls) == 7
    assert found.lower <= found.median <= found.upper
    single = timed(lambda: None, warm_ups=0, runs=1)
    assert single.lower == single.median == single.upper


@pytest.fixture
def counted_runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The digests of networks that were really measured, each a millisecond slower."""
    found: list[str] = []

    def measure(network: Graph, _: Timing) -> Latency:
        found.append(network.digest)
        return Latency(float(len(found)), 0.5, 9.0)

    monkeypatch.setattr(timing, "latency_of", measure)
    return found


def test_a_network_is_measured_once_even_by_the_next_process(
    tmp_path: Path, counted_runs: list[str]
) -> None:
    file = tmp_path / "run" / "latency.jsonl"
    first = LatencyMeter(QUICK, file)
    assert [first.latency(narrow(w)) for w in (2, 3, 2)] == [1.0, 2.0, 1.0]
    second = LatencyMeter(QUICK, file)
    assert [second.latency(narrow(w)) for w in (3, 2, 4)] == [2.0, 1.0, 3.0]
    assert second.measured(narrow(3)) == Latency(2.0, 0.5, 9.0)
    assert len(counted_runs) == 3


def test_whoever_watches_is_told_of_what_is_measured_now(counted_runs: list[str]) -> None:
    told: list[str] = []
    meter = LatencyMeter(QUICK, None, lambda digest, _: told.append(digest))
    for width in (2, 3, 2):
        meter.latency(narrow(width))
    assert told == counted_runs == [narrow(2).digest, narrow(3).digest]


def test_a_torn_last_line_is_measured_again(tmp_path: Path, counted_runs: list[str]) -> None:
    file = tmp_path / "latency.jsonl"
    meter = LatencyMeter(QUICK, file)
    before = [meter.latency(narrow(w)) for w in (2, 3)]
    whole = file.read_bytes()
    for cut in range(len(whole) - 60, len(whole)):
        file.write_bytes(whole[:cut])
        again = LatencyMeter(QUICK, file)
        assert again.latency(narrow(2)) == before[0]
        again.latency(narrow(4))
        assert [json.loads(line) for line in file.read_text().splitlines()]
    assert len(counted_runs) == 2 + 60


Change = Callable[[Path], Timing]


def _another_processor(file: Path) -> Timing:
    file.write_text(file.read_text().replace('"processor": "', '"processor": "Other '))
    return QUICK


def _another_timing(_: Path) -> Timing:
    return replace(QUICK, threads=2)


def _with_line(line: str) -> Change:
    def damage(file: Path) -> Timing:
        head, *rest = file.read_text().splitlines()
        file.write_text("\n".join([head, line, *rest]) + "\n")
        return QUICK

    return damage


def _with_head(head: str) -> Change:
    def damage(file: Path) -> Timing:
        _, *rest = file.read_text().splitlines()
        file.write_text("\n".join([head, *rest]) + "\n")
        return QUICK

    return damage


DEEP = "[" * 200_000
NO_TIMES = ("NaN", "-1.0", "Infinity", "1e999", '"1.0"', "true", DEEP)
CHANGES: Mapping[str, Change] = {
    "another processor": _another_processor,
    "another timing": _another_timing,
    "no times": _with_line('{"network": "1"}'),
    "no text": _with_line('{"network": 1, "median": 1.0, "lower": 1.0, "upper": 1.0}'),
    "nested without end": _with_line(DEEP),
    "a head that is nested without end": _with_head(DEEP),
    **{
        f"a median of {value[:8]}": _with_line(
            f'{{"network": "1", "median": {value}, "lower": 1.0, "upper": 1.0}}'
        )
        for value in NO_TIMES
    },
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_does_not_compare_is_refused(
    tmp_path: Path, counted_runs: list[str], change: Change
) -> None:
    file = tmp_path / "latency.jsonl"
    LatencyMeter(QUICK, file).latency(narrow())
    with pytest.raises(FusegraphError, match="E638"):
        LatencyMeter(change(file), file)
    assert len(counted_runs) == 1
