"""An extraction that is interrupted anywhere and resumed is one that never was, byte for byte."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cli_calls import call, command
from fusegraph.ir.diagnostics import Diagnostic, FusegraphError
from fusegraph.tasks import feature_writer, growing_array, unfinished
from fusegraph.tasks.datasets.errors import undecodable
from fusegraph.tasks.datasets.samples import DatasetBatches, Example, LeftOut
from fusegraph.tasks.extract import Extracted, extract
from fusegraph.tasks.extract_identity import SkippingBatches
from fusegraph.tasks.features import FeatureFolder, open_features
from fusegraph.tasks.manifest import LabelKind
from fusegraph.tasks.pooling import grid_pool, mean_pool
from fusegraph.tasks.unfinished import Mark, is_unfinished, part_of
from fusegraph.training.batches import Batch
from repository import ROOT

KIND = LabelKind(kind="single", classes=3)
SAMPLES = {"train": 13, "valid": 5, "test": 4}


class Pictures:
    """Samples of a split by number; some are left out, one may be broken."""

    def __init__(
        self,
        split: str,
        broken: int | None = None,
        name: str = "",
        left: tuple[int, ...] = (2, 5, 12),
    ) -> None:
        self.split, self.broken, self.left = split, broken, left
        self.prefix = name or split
        self.reads: list[int] = []

    def __len__(self) -> int:
        return SAMPLES[self.split]

    def name(self, index: int) -> str:
        return f"{self.prefix}-{index}"

    def read(self, index: int) -> Example | LeftOut:
        self.reads.append(index)
        if index in self.left:
            return LeftOut(self.name(index), "not there")
        if index == self.broken:
            raise undecodable(Path("a.png"), "expected a picture")
        rng = np.random.default_rng((index, len(self.split)))
        return Example({"x": rng.normal(2.0, 3.0, (1, 5, 5)).astype(np.float32)}, index % 3)


def sources(**more: Any) -> dict[str, DatasetBatches]:
    return {s: DatasetBatches(s, Pictures(s, **more), 2, threads=1) for s in SAMPLES}


class Stream:
    """What can only be read from its beginning."""

    def __init__(self, split: str, *, shift: int = 0, most: int = 99) -> None:
        self.split, self.shift, self.most = split, shift, most

    def __iter__(self) -> Iterator[Batch]:
        for number, batch in enumerate(sources()[self.split]):
            if number < self.most:
                yield Batch(batch.inputs, (batch.labels + self.shift) % 3)


class Net(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(1, 4, 2)
        self.norm = nn.BatchNorm2d(4)
        self.stop_at: int | None = None
        self.runs = 0

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        self.runs += 1
        if self.runs == self.stop_at:
            raise KeyboardInterrupt
        return self.norm(self.conv(inputs["x"]))


TAPS = {"a[1]": "conv", "b[1]": "norm"}
POOLS = {"a[1]": mean_pool, "b[1]": partial(grid_pool, length=4)}


def run(folder: Path, data: Any = None, module: Net | None = None, **more: Any) -> FeatureFolder:
    given: dict[str, Any] = {"pool": POOLS, "source": "a test", **more}
    taps = given.pop("taps", TAPS)
    return extract(module or Net(), taps, data or sources(), folder, KIND, **given)


def stop(folder: Path, at: int, data: Any = None, **more: Any) -> None:
    """Ctrl-C in a batch, counted from 1 over all splits."""
    module = Net()
    module.stop_at = at
    with pytest.raises(KeyboardInterrupt):
        run(folder, data, module, **more)


def content(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def refused(folder: Path, *words: Any, **more: Any) -> Diagnostic:
    before = content(part_of(folder))
    with pytest.raises(FusegraphError) as raised:
        run(folder, *words, **more)
    assert content(part_of(folder)) == before
    assert not folder.exists()
    return raised.value.diagnostics[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The folder of a run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "f"
    run(folder)
    return content(folder)


@pytest.mark.parametrize("at", [2, 5, 6, 7, 8])
@pytest.mark.parametrize("kind", ["data set", "stream"])
def test_ctrl_c_in_any_batch_leaves_what_resumes_to_the_same_folder(
    at: int, kind: str, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    folder = tmp_path / "f"
    made = sources if kind == "data set" else lambda: {s: Stream(s) for s in SAMPLES}
    stop(folder, at, made())
    assert [f.name for f in tmp_path.iterdir()] == [".f.part"]
    stop(folder, 1, made(), resume=True)
    run(folder, made(), resume=True)
    assert content(folder) == whole
    assert [f.name for f in tmp_path.iterdir()] == ["f"]


def test_ctrl_c_in_the_first_batch_leaves_nothing(tmp_path: Path) -> None:
    stop(tmp_path / "f", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["synced each batch", "synced once"])
def test_kill_9_at_any_write_leaves_what_resumes_to_the_same_folder(
    seconds: float,
    tmp_path: Path,
    whole: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What lies on the disk at each point is copied, in the middle of each write as well."""
    work, copies = tmp_path / "work", tmp_path / "copies"
    work.mkdir()
    write_all, write_whole = growing_array.write_all, unfinished.write_whole
    rename = Path.rename

    def copy() -> None:
        shutil.copytree(work, copies / str(len(list(copies.glob("*")))))

    def in_halves(stream: BinaryIO, data: bytes | memoryview) -> None:
        half = len(data) // 2
        write_all(stream, data[:half])
        copy()
        write_all(stream, data[half:])

    def around(path: Path, data: bytes) -> None:
        copy()
        write_whole(path, data)
        copy()

    def renamed(path: Path, target: Path) -> Path:
        if path.parent == part_of(work / "f"):
            copy()
        return rename(path, target)

    copies.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(feature_writer, "SECONDS_BETWEEN_SYNCS", seconds)
        patch.setattr(growing_array, "write_all", in_halves)
        for module in (unfinished, feature_writer):
            patch.setattr(module, "write_whole", around)
        patch.setattr(Path, "rename", renamed)
        run(work / "f", on_batch=lambda _: copy())
    assert content(work / "f") == whole
    killed = sorted(copies.iterdir())
    assert len(killed) > 50
    assert sum(is_unfinished(folder / "f") for folder in killed) > len(killed) - 12
    for folder in killed:
        run(folder / "f", resume=True)
        assert content(folder / "f") == whole, folder
        assert [f.name for f in folder.iterdir()] == ["f"]


def test_an_older_folder_is_there_whenever_the_new_one_is_not(
    tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "f"
    run(folder, source="older")
    older = content(folder)
    stop(folder, 6, replace=True)
    assert content(folder) == older
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.name == unfinished.FEATURES:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            run(folder, resume=True)  # between the two renames
    assert not folder.exists()
    copied = shutil.copytree(tmp_path, tmp_path / "copied")
    run(folder, resume=True)
    assert content(folder) == whole
    stop(copied / "f", 1, replace=True)
    assert content(copied / "f") == older


def test_samples_that_are_done_are_not_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    stop(folder, 4)
    data = sources()
    seen: list[Extracted] = []
    run(folder, data, resume=True, on_batch=seen.append)
    reader = data["train"].reader
    assert isinstance(reader, Pictures)
    assert reader.reads == [8, 9, 10, 11, 12]  # 2 and 5 were left out
    assert [(e.split, e.batches, e.samples, e.of_batches) for e in seen] == [
        ("train", 4, 8, 6),
        ("train", 5, 10, 6),
        ("valid", 1, 2, 2),
        ("valid", 2, 4, 2),
        ("test", 1, 3, 2),
    ]
    left = [out.sample for out in data["train"].left_out]
    assert left == ["train-2", "train-5", "train-12"]


def test_splits_that_are_done_still_say_what_they_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    stop(folder, 8)
    data = sources()
    run(folder, data, resume=True)
    reader = data["train"].reader
    assert isinstance(reader, Pictures)
    assert reader.reads == []
    assert [out.sample for out in data["train"].left_out] == ["train-2", "train-5", "train-12"]


@pytest.mark.parametrize("left", [(), (2, 5, 12), (3, 9), (0, 1, 8), (11, 12)])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_data_set_goes_on_after_any_of_its_batches(left: tuple[int, ...], batch: int) -> None:
    made = lambda: DatasetBatches("train", Pictures("train", left=left), batch, 1)  # noqa: E731
    whole_pass = [batch.labels.tolist() for batch in made()]
    data = made()
    assert isinstance(data, SkippingBatches)
    samples = 0
    for number, found in enumerate(data, start=1):
        samples += len(found.labels)
        mark = Mark.model_validate_json(data.mark().model_dump_json())
        assert mark.sample == samples + len(mark.left_out)
        resumed = made()
        assert [batch.labels.tolist() for batch in resumed.after(mark)] == whole_pass[number:]
        assert [out.sample for out in resumed.left_out] == [f"train-{index}" for index in left]


def test_what_is_not_whole_is_cut_off(tmp_path: Path, whole: dict[str, bytes]) -> None:
    folder = tmp_path / "f"
    stop(folder, 8)
    for split in ("valid", "train"):
        with (part_of(folder) / "features" / split / "a[1].npy").open("ab") as stream:
            stream.write(bytes(1000))
    run(folder, resume=True)
    assert content(folder) == whole


def test_an_error_keeps_what_is_done_and_broken_samples_may_then_be_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    with pytest.raises(FusegraphError, match="E644"):
        run(folder, sources(broken=9))
    data = sources(broken=9)
    for batches in data.values():
        batches.skip_broken = True
    run(folder, data, resume=True)
    run(tmp_path / "g", data)
    assert content(folder) == content(tmp_path / "g")


def test_nothing_to_resume_is_a_beginning_and_a_whole_folder_is_left_alone(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    run(tmp_path / "f", resume=True)
    assert content(tmp_path / "f") == whole
    with pytest.raises(FusegraphError, match=r"E620.*there already, and there is nothing to res"):
        run(tmp_path / "f", resume=True)


def test_a_leftover_is_told_and_replaced_only_on_demand(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    folder = tmp_path / "f"
    stop(folder, 7)
    found = refused(folder)
    assert found.code == "E623"
    assert "10 samples of train, 2 samples of valid are kept" in found.message
    assert "--resume" in found.help
    assert "--replace" in found.help
    run(folder, replace=True)
    assert content(folder) == whole


def _batch_of_three() -> dict[str, DatasetBatches]:
    return {s: DatasetBatches(s, Pictures(s), 3, threads=1) for s in SAMPLES}


def _without_test() -> dict[str, DatasetBatches]:
    return {split: batches for split, batches in sources().items() if split != "test"}


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        (lambda: {"module": Net(seed=1)}, "weights was '"),
        (lambda: {"taps": {"a[1]": "conv", "b[1]": "conv"}}, "taps.b[1] was 'norm' and is 'conv'"),
        (lambda: {"pool": mean_pool}, "was 'grid_pool(length=4)' and is 'mean_pool'"),
        (lambda: {"data": _batch_of_three()}, "data.test.batch was 2 and is 3"),
        (lambda: {"data": sources(name="other")}, "data.test.names was '"),
        (lambda: {"data": _without_test()}, "splits was ['train', 'valid', 'test'] and is ["),
        (lambda: {"source": "another"}, "source was 'a test' and is 'another'"),
        (lambda: {"settings": {"options": {"size": "16"}}}, "settings.options was None and is {"),
        (lambda: {"data": {s: Stream(s) for s in SAMPLES}}, "data.test was {"),
    ],
)
def test_another_extraction_is_not_resumed(
    changes: Callable[[], dict[str, Any]], note: str, tmp_path: Path
) -> None:
    folder = tmp_path / "f"
    stop(folder, 4)
    found = refused(folder, resume=True, **changes())
    assert found.code == "E624"
    assert any(note in said for said in found.notes), found.notes


@pytest.mark.parametrize(
    ("made", "note"),
    [
        (partial(Stream, shift=1), "the labels of train, batch 1, differ"),
        (partial(Stream, most=2), "train had at least 3 batches and has 2"),
    ],
)
def test_batches_that_are_read_past_have_to_be_those_that_were(
    made: Callable[[str], Stream], note: str, tmp_path: Path
) -> None:
    folder = tmp_path / "f"
    stop(folder, 4, {s: Stream(s) for s in SAMPLES})
    with pytest.raises(FusegraphError) as raised:
        run(folder, {s: made(s) for s in SAMPLES}, resume=True)
    found = raised.value.diagnostics[0]
    assert (found.code, found.notes) == ("E624", (note,))
    assert is_unfinished(folder)


def _edit(*path: str | int, value: Any) -> Callable[[Path], None]:
    def change(part: Path) -> None:
        file = part / "progress.json"
        found = json.loads(file.read_text())
        inner = found
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        file.write_text(json.dumps(found))

    return change


def _text(text: str) -> Callable[[Path], None]:
    def change(part: Path) -> None:
        (part / "progress.json").write_text(text)

    return change


def _cut(part: Path) -> None:
    file = part / "features" / "train" / "a[1].npy"
    file.write_bytes(file.read_bytes()[:150])


def _flipped(part: Path) -> None:
    file = part / "features" / "train" / "b[1].npy"
    data = bytearray(file.read_bytes())
    data[140] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (_text("{"), "Invalid JSON"),
        (_text("[" * 100_000), "Invalid JSON"),
        (_edit("format", value=2), "format"),
        (_edit("more", value=2), "more: unknown key"),
        (_edit("splits", "train", "samples", value=5), "its bytes are not those"),
        (_edit("splits", "train", "samples", value=10**6), "are not all there"),
        (_edit("splits", "train", "samples", value=10**30), "are not all there"),
        (_edit("splits", "train", "samples", value="6"), "splits.train.samples"),
        (_edit("splits", "train", "mark", "sample", value=9), "not where its samples end"),
        (_edit("splits", "train", "checksums", value={}), "other taps than in"),
        (_edit("taps", "a[1]", "shape", value=[5]), "moments.a[1]: expected 5 numbers"),
        (_edit("taps", "../a", value={"shape": [4], "dtype": "float32"}), "taps"),
        (_edit("splits", "../a", value={}), "splits"),
        (
            _edit("moments", "a[1]", "mean", 0, value=float("nan")),
            "moments.a[1].mean: expected a finite",
        ),
        (_edit("moments", value={}), "other taps than in"),
        (_cut, "are not all there"),
        (_flipped, "its bytes are not those that were written"),
    ],
)
def test_what_is_kept_is_checked_before_it_is_gone_on_with(
    change: Callable[[Path], None], found: str, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    folder = tmp_path / "f"
    stop(folder, 4)
    change(part_of(folder))
    with pytest.raises(FusegraphError) as raised:
        run(folder, resume=True)
    told = raised.value.diagnostics[0]
    assert told.code == "E625"
    assert "--replace" in told.help
    assert found in told.message
    run(folder, replace=True)
    assert content(folder) == whole


def test_two_processes_do_not_write_one_folder(tmp_path: Path) -> None:
    def another(_: Extracted) -> None:
        for resume, replace in ((True, False), (False, True), (False, False)):
            with pytest.raises(FusegraphError, match=r"E620.*another process"):
                run(tmp_path / "f", resume=resume, replace=replace)

    run(tmp_path / "f", on_batch=another)
    open_features(tmp_path / "f")


# the command

SLOW = '''"""A backbone that takes its time, and its data."""

import time

import torch
from torch import nn


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(2, 6)
        self.taps = {"x[1]": "first"}

    def forward(self, inputs):
        time.sleep(PAUSE)
        return self.first(inputs["signal"])


def batches(split, seed):
    generator = torch.Generator().manual_seed(len(split))
    for _ in range(40):
        labels = torch.randint(0, 3, (5,), generator=generator)
        yield {"signal": torch.randn(5, 2, generator=generator), "labels": labels}
'''


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_the_command_is_killed_and_goes_on(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    file = tmp_path / "slow.py"
    words = ["extract", "slow:Backbone", "--data", "slow:batches", "--classes", "3"]
    words += ["--split", "train", "--split", "valid", "--allow-hook", "--device", "cpu", "--out"]
    file.write_text(SLOW.replace("PAUSE", "0.05"))
    with subprocess.Popen(
        command(*words, "f"), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as running:
        array = tmp_path / ".f.part" / "features" / "train" / "x[1].npy"
        end = time.monotonic() + 60
        while not (array.is_file() and array.stat().st_size > 128 + 3 * 120):
            assert time.monotonic() < end
            time.sleep(0.02)
        running.send_signal(number)
        _, said = running.communicate(timeout=60)
    assert running.returncode == code
    if number == signal.SIGINT:
        assert said == "interrupted; to go on: the same call with --resume\n"
    file.write_text(SLOW.replace("PAUSE", "0"))
    words += [str(tmp_path / "f"), "--path", str(tmp_path)]
    answer = call(*words)
    assert answer.code == 1
    assert "error[E623]" in answer.err
    answer = call(*words, "--resume", "--pool", "none")
    assert answer.code == 1
    assert "pool.x[1] was 'mean_pool' and is 'none'" in answer.err
    assert call(*words, "--resume").code == 0
    words[words.index("--out") + 1] = str(tmp_path / "g")
    assert call(*words).code == 0
    assert content(tmp_path / "f") == content(tmp_path / "g")


def test_the_pages_say_what_the_command_offers() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert "--resume" in page[page.index("fusegraph extract") : page.index("fusegraph search TASK")]
