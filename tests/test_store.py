"""The store of trials: what it keeps, what it survives, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.searchers.lease import Lease
from fusegraph.searchers.store import JOURNAL, TrialStore, read_weights, write_weights

WEIGHTS = {"h.1.linear.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}

Open = Callable[[], TrialStore]


@pytest.fixture(params=["journal", "database"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same store again, as another process would."""
    url = None if request.param == "journal" else f"sqlite:///{tmp_path / 'trials.db'}"
    return lambda: TrialStore.open(tmp_path / "run", url=url)


def finish(store: TrialStore, trial: int, score: float = 0.5) -> None:
    store.claim("search", trial, f"d{trial}", "x = a")
    store.complete("search", trial, score, seconds=1.5, metrics={"loss": 2.0}, weights=WEIGHTS)


def code_of(error: pytest.ExceptionInfo[FusegraphError]) -> str:
    return error.value.diagnostics[0].code


def test_a_complete_trial_is_read_back_whole(reopen: Open) -> None:
    finish(reopen(), 0, score=0.75)
    store = reopen()
    record = store.trials()[0]
    assert (record.trial, record.digest, record.genotype) == (0, "d0", "x = a")
    assert (record.state, record.score, record.seconds) == ("complete", 0.75, 1.5)
    assert record.metrics == {"loss": 2.0}
    assert record.started <= record.finished
    np.testing.assert_array_equal(
        store.weights(record)["h.1.linear.weight"], WEIGHTS["h.1.linear.weight"]
    )


def test_a_failed_trial_keeps_its_reason(reopen: Open) -> None:
    store = reopen()
    store.claim("search", 0, "d0", "x = a")
    store.fail("search", 0, "out of memory", seconds=0.1)
    record = reopen().trials()[0]
    assert (record.state, record.score, record.reason) == ("failed", None, "out of memory")


def test_stages_are_numbered_apart(reopen: Open) -> None:
    store = reopen()
    finish(store, 0)
    store.claim("final", 0, "d0", "x = a")
    store.complete("final", 0, 0.9, seconds=1, weights=WEIGHTS)
    assert store.trials("search")[0].score == 0.5
    assert store.trials("final")[0].score == 0.9
    assert store.weights_path("search", 0).exists()
    assert store.weights_path("final", 0).exists()


def test_an_orphan_is_claimed_again_under_its_number(reopen: Open) -> None:
    reopen().claim("search", 0, "d0", "x = a")
    store = reopen()
    assert store.trials()[0].state == "claimed"
    finish(store, 0)
    assert [r.state for r in reopen().trials().values()] == ["complete"]


def test_a_finished_trial_is_not_claimed_again(reopen: Open) -> None:
    finish(reopen(), 0)
    with pytest.raises(FusegraphError, match="is taken by") as error:
        reopen().claim("search", 0, "d0", "x = a")
    assert code_of(error) == "E807"


def test_a_trial_of_a_living_process_is_not_claimed(reopen: Open, tmp_path: Path) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        mine = Lease.mine()
        born = Path(f"/proc/{sleeper.pid}/stat")
        if not born.exists():
            pytest.skip("leases of this machine are told apart by /proc")
        start = born.read_text().rpartition(")")[2].split()[19]
        other = Lease(mine.host, sleeper.pid, start, time.time())
        store = reopen()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Lease, "mine", classmethod(lambda _: other))
            store.claim("search", 0, "d0", "x = a")
        with pytest.raises(FusegraphError, match=f"process {sleeper.pid}") as error:
            reopen().claim("search", 0, "d0", "x = a")
        assert code_of(error) == "E807"
    finally:
        sleeper.communicate(b"\n")
    reopen().claim("search", 0, "d0", "x = a")  # it is gone: an orphan


def test_a_lease_outlives_neither_its_process_nor_its_time() -> None:
    mine = Lease.mine()
    assert not mine.held_by_another()
    assert not Lease(mine.host, mine.process, "another start", mine.taken).held_by_another()
    elsewhere = Lease("elsewhere", 1, "", time.time())
    assert elsewhere.held_by_another()
    assert not Lease("elsewhere", 1, "", time.time() - 1e6).held_by_another()


def test_two_claims_in_the_same_moment_leave_one_trial(
    reopen: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = reopen(), reopen()
    finish(first, 0)
    find = TrialStore._find  # pyright: ignore[reportPrivateUsage]
    blind = iter([True])

    def late(self: TrialStore, stage: str, trial: int) -> object:
        return None if next(blind, False) else find(self, stage, trial)  # type: ignore[arg-type]

    monkeypatch.setattr(TrialStore, "_find", late)
    with pytest.raises(FusegraphError) as error:
        second.claim("search", 0, "d0", "x = a")
    assert code_of(error) == "E807"
    assert [r.score for r in reopen().trials().values()] == [0.5]


def test_a_store_belongs_to_one_search(reopen: Open) -> None:
    reopen().bind({"seed": 0, "options": {"trials": 5}})
    reopen().bind({"seed": 0, "options": {"trials": 5}})
    with pytest.raises(FusegraphError) as error:
        reopen().bind({"seed": 1, "options": {"trials": 6}})
    assert code_of(error) == "E805"
    assert error.value.diagnostics[0].notes == (
        "options.trials was 5 and is 6",
        "seed was 0 and is 1",
    )


def test_a_running_search_can_be_watched(tmp_path: Path) -> None:
    writer = TrialStore.open(tmp_path)
    finish(writer, 0)
    writer.claim("search", 1, "d1", "x = b")
    watcher = TrialStore.open(tmp_path, read_only=True)
    assert [r.state for r in watcher.trials().values()] == ["complete", "claimed"]
    writer.complete("search", 1, 0.1, seconds=1)
    assert [r.state for r in watcher.trials().values()] == ["complete", "complete"]


def test_watching_does_not_repair_what_is_being_written(tmp_path: Path) -> None:
    finish(TrialStore.open(tmp_path), 0)
    journal = tmp_path / JOURNAL
    with open(journal, "ab") as file:
        file.write(b'{"op_code": 4, "half')
    before = journal.read_bytes()
    assert len(TrialStore.open(tmp_path, read_only=True).trials()) == 1
    assert journal.read_bytes() == before


def test_there_must_be_something_to_watch(tmp_path: Path) -> None:
    with pytest.raises(FusegraphError) as error:
        TrialStore.open(tmp_path, read_only=True)
    assert code_of(error) == "E806"
    assert not list(tmp_path.iterdir())


def test_a_torn_last_line_is_dropped_wherever_it_was_torn(tmp_path: Path) -> None:
    store = TrialStore.open(tmp_path)
    for trial in range(3):
        finish(store, trial)
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    last = whole[whole.rfind(b"\n", 0, -1) + 1 :]
    for length in range(1, len(last), 7):
        journal.write_bytes(whole[: len(whole) - len(last) + length])
        reopened = TrialStore.open(tmp_path)
        assert f"torn ({length} bytes)" in reopened.repaired
        assert [r.state for r in reopened.trials().values()] == ["complete", "complete", "claimed"]
        finish(reopened, 2)
        assert TrialStore.open(tmp_path).repaired == ""


def test_garbage_with_a_line_end_is_dropped_too(tmp_path: Path) -> None:
    finish(TrialStore.open(tmp_path), 0)
    with open(tmp_path / JOURNAL, "ab") as file:
        file.write(b"\x00\x00\x00\n")
    store = TrialStore.open(tmp_path)
    assert "torn (4 bytes)" in store.repaired
    assert len(store.trials()) == 1


def test_damage_before_the_last_line_is_an_error(tmp_path: Path) -> None:
    finish(TrialStore.open(tmp_path), 0)
    journal = tmp_path / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], b"{nonsense\n", *lines[2:]]))
    with pytest.raises(FusegraphError) as error:
        TrialStore.open(tmp_path)
    assert code_of(error) == "E808"


@pytest.mark.parametrize("text", ["[1, 2]\n[3]\n", '{"some": "json"}\n{"more": 1}\n'])
def test_a_file_of_another_kind_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / JOURNAL).write_text(text)
    with pytest.raises(FusegraphError) as error:
        TrialStore.open(tmp_path)
    assert code_of(error) == "E808"


def test_a_database_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FusegraphError) as error:
        TrialStore.open(tmp_path, url=f"sqlite:///{tmp_path}/no/such/folder/trials.db")
    assert code_of(error) == "E808"


def test_what_is_gathered_is_there_at_once_and_synced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TrialStore.open(tmp_path)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with store.gathered():
        for trial in range(3):
            store.claim("search", trial, "abc", "a = b")
            store.fail("search", trial, "diverged", seconds=1.0)
        assert synced == []
        read = TrialStore.open(tmp_path, read_only=True).trials()
        assert [record.state for record in read.values()] == ["failed"] * 3
    assert len(synced) == 1
    with pytest.raises(ValueError, match="claimed"), store.gathered():
        store.complete("search", 5, 0.5, seconds=1.0)
    assert len(synced) == 2
    store.claim("search", 3, "abc", "a = b")
    assert len(synced) == 3


def test_weights_are_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights" / "0.safetensors"
    write_weights(path, WEIGHTS)
    before = path.read_bytes()

    def power_cut(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", power_cut)
    with pytest.raises(OSError, match="no space"):
        write_weights(path, {"h.1.linear.weight": np.zeros((500, 500), np.float32)})
    assert path.read_bytes() == before
    assert list(read_weights(path)) == ["h.1.linear.weight"]


def test_weights_that_are_gone_are_an_error(tmp_path: Path) -> None:
    store = TrialStore.open(tmp_path)
    finish(store, 0)
    path = store.weights_path("search", 0)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(FusegraphError) as error:
        store.weights(store.trials()[0])
    assert code_of(error) == "E809"
    path.unlink()
    with pytest.raises(FusegraphError):
        store.weights(store.trials()[0])


WORKER = """
import sys
from pathlib import Path
import numpy as np
from fusegraph.searchers.store import TrialStore

store = TrialStore.open(Path(sys.argv[1]))
done = store.trials()
for trial in range(10_000):
    if trial in done and done[trial].state != "claimed":
        continue
    store.claim("search", trial, f"d{trial}", "x = a")
    weights = {"w": np.full(2_000, trial, np.float32)}
    store.complete("search", trial, trial / 10_000, seconds=0, weights=weights)
    print(trial, flush=True)
"""


def test_nothing_is_lost_or_doubled_by_kill_9(tmp_path: Path) -> None:
    acknowledged: list[int] = []
    for kill_after in (5, 23, 40):
        worker = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WORKER), str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdout is not None
        for _ in range(kill_after):
            acknowledged.append(int(worker.stdout.readline()))
        os.kill(worker.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in worker.stdout.read().split()]
        worker.wait()
        worker.stdout.close()
        store = TrialStore.open(tmp_path)
        records = store.trials()
        # One that was recorded may not have been told; none that was told is missing or twice.
        complete = [r.trial for r in records.values() if r.state == "complete"]
        assert len(acknowledged) == len(set(acknowledged))
        assert set(acknowledged) <= set(complete)
        assert complete == list(range(len(complete)))
        assert len(records) - len(complete) <= 1
        for record in records.values():
            if record.state == "complete":
                assert record.score == record.trial / 10_000
                assert store.weights(record)["w"][0] == record.trial
    lines = (tmp_path / JOURNAL).read_bytes().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
