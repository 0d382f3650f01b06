"""From published files to a feature folder: batches, pooling, weights, backbones, the command."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import fusegraph
from cli_calls import call
from fusegraph.ir.diagnostics import Diagnostic, FusegraphError
from fusegraph.pipeline.tasks import input_shapes
from fusegraph.tasks import pooling
from fusegraph.tasks.datasets import errors
from fusegraph.tasks.datasets.opening import open_dataset
from fusegraph.tasks.datasets.samples import Dataset, DatasetBatches, Example, LeftOut
from fusegraph.tasks.features import open_features
from fusegraph.tasks.manifest import LabelKind
from fusegraph.tasks.sources import FeatureData
from fusegraph.tasks.weights import load_weights
from fusegraph.training.loop import fit
from fusegraph.training.settings import TrainSettings
from published_files import ntu_name, write_ego_gesture, write_mm_imdb, write_ntu
from repository import ROOT

BACKBONES = '''"""Tiny backbones with the taps of BM-NAS's kinds."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        torch.manual_seed(0)
        self.convs = nn.ModuleDict({name: conv for name, conv in inputs.items()})
        self.taps = {f"{name}_tap[1]": f"convs.{name}" for name in inputs}

    def forward(self, batch):
        return {name: conv(batch[name]) for name, conv in self.convs.items()}


def ntu():
    return Net({"rgb": nn.Conv3d(3, 4, 3, padding=1), "skeleton": nn.Conv2d(3, 5, 1)}, 60)


class Joints(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 5, 1)

    def forward(self, batch):
        return self.conv(batch["skeleton"])


def joints():
    torch.manual_seed(0)
    return Joints()


def both():
    torch.manual_seed(0)
    net = Net({"rgb": nn.Conv3d(3, 4, 3, padding=1), "skeleton": nn.Conv3d(3, 5, 1)}, 60)
    return net


def ego():
    return Net({"rgb": nn.Conv3d(3, 4, 3, padding=1), "depth": nn.Conv3d(1, 4, 3, padding=1)}, 83)


def films():
    return Net({"image": nn.Conv2d(3, 4, 3, padding=1), "text": nn.Linear(5, 6)}, 3)
'''


def _finding(run: Callable[[], Any]) -> Diagnostic:
    with pytest.raises(FusegraphError) as raised:
        run()
    assert len(raised.value.diagnostics) == 1
    return raised.value.diagnostics[0]


# batches


class Numbers:
    """Samples 0, 1, 2 …; some are not there, some are broken."""

    def __init__(self, count: int, left: tuple[int, ...] = (), broken: tuple[int, ...] = ()):
        self.count, self.left, self.broken = count, left, broken
        self.lock = threading.Lock()
        self.under_way = self.most = self.reads = 0

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return f"number {index}"

    def read(self, index: int) -> Example | LeftOut:
        with self.lock:
            self.reads += 1
        if index in self.left:
            return LeftOut(self.name(index), "not there")
        if index in self.broken:
            raise errors.undecodable(Path("a.avi"), "expected a video")
        return Example({"x": np.array([index], dtype=np.float32)}, index % 3)


def _rows(batches: DatasetBatches) -> list[list[int]]:
    return [[int(value) for value in batch.inputs["x"][:, 0]] for batch in batches]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_order_does_not_depend_on_the_number_of_threads(threads: int) -> None:
    batches = DatasetBatches("train", Numbers(11), 4, threads)
    assert _rows(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert len(batches) == 3
    shuffled = [
        [float(v) for b in batches.epoch(torch.Generator().manual_seed(1)) for v in b.inputs["x"]]
        for _ in range(2)
    ]
    assert shuffled[0] == shuffled[1] != sorted(shuffled[0])
    assert sorted(shuffled[0]) == list(range(11))


@pytest.mark.parametrize(
    ("count", "batch", "sizes"),
    [(9, 4, [4, 5]), (8, 4, [4, 4]), (10, 4, [4, 4, 2]), (1, 4, [1]), (5, 4, [5]), (3, 1, [1] * 3)],
)
def test_a_last_sample_joins_the_batch_before(count: int, batch: int, sizes: list[int]) -> None:
    batches = DatasetBatches("train", Numbers(count), batch)
    assert [len(rows) for rows in _rows(batches)] == sizes
    assert len(batches) == len(sizes)


def test_only_a_few_samples_are_read_ahead() -> None:
    reader = Numbers(1000)
    stream = DatasetBatches("train", reader, 2, threads=2).epoch(None)
    next(stream)
    assert reader.reads <= 2 + 1 + 1 + 3 * 2
    stream.close()  # type: ignore[attr-defined]
    assert reader.reads < 20


def test_samples_that_are_left_out_leave_no_gap_and_are_told() -> None:
    batches = DatasetBatches("train", Numbers(6, left=(1, 4)), 2)
    assert _rows(batches) == [[0, 2], [3, 5]]
    assert batches.left_out == [LeftOut("number 1", "not there"), LeftOut("number 4", "not there")]
    assert len(list(batches)) == 2
    assert len(batches.left_out) == 2


def test_a_broken_sample_ends_the_pass_unless_it_may_be_skipped() -> None:
    assert (
        _finding(lambda: list(DatasetBatches("train", Numbers(4, broken=(2,)), 2))).code == "E644"
    )
    skipping = DatasetBatches("train", Numbers(4, broken=(2,)), 2, skip_broken=True)
    assert _rows(skipping) == [[0, 1, 3]]
    assert skipping.left_out == [LeftOut("number 2", "expected a video (a.avi)")]


def test_an_empty_split_is_told_before_and_after_reading() -> None:
    kind = LabelKind(kind="single", classes=3)
    opened = Dataset("numbers", kind, {"train": Numbers(0)}, ("5 samples are left out",))
    wrong = _finding(lambda: opened.batches("train", batch=2))
    assert wrong.code == "E642"
    assert "empty: expected samples, found none (5 samples are left out)" in wrong.message
    assert "no split `trian`" in _finding(lambda: opened.batches("trian", batch=2)).message
    wrong = _finding(lambda: list(DatasetBatches("valid", Numbers(2, left=(0, 1)), 2)))
    assert "all 2 were left out (number 0: not there; number 1: not there)" in wrong.message


def test_a_backbone_is_trained_on_a_data_set_as_on_any_source(tmp_path: Path) -> None:
    names = [ntu_name(who, action) for who in (1, 2) for action in (1, 2, 3)]
    write_ntu(tmp_path, names, video=False)
    opened = open_dataset("ntu", tmp_path, {"inputs": "skeleton", "frames": 4})
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 25 * 2, 60))
    result = fit(
        network,
        opened.batches("train", batch=2),
        opened.batches("valid", batch=2),
        TrainSettings(epochs=2, device="cpu"),
        forward=lambda module, inputs: module(inputs["skeleton"]),
    )
    assert len(result.history) == 2


def test_a_library_that_is_missing_is_told_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    wrong = _finding(lambda: open_dataset("mm_imdb", "multimodal_imdb.hdf5"))
    assert wrong.code == "E641"
    assert "fusegraph[datasets]" in wrong.help
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert _finding(lambda: open_dataset("ntu", ".")).code == "E641"


# pooling


def test_windows_run_over_all_positions_and_rows_over_the_first_axis() -> None:
    maps = torch.arange(2 * 3 * 4 * 2 * 2, dtype=torch.float32).reshape(2, 3, 4, 2, 2)
    windows = pooling.window_pool(maps, 8)
    assert windows.shape == (2, 3, 8)
    assert windows[0, 0].tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
    first = pooling.first_axis_pool(maps, 2)
    assert first.shape == (2, 3, 2, 1, 1)
    assert first[0, 0].flatten().tolist() == [7, 15]
    assert pooling.first_axis_pool(maps, 8)[0, 0].flatten().tolist() == [3, 3, 7, 7, 11, 11, 15, 15]
    plane = torch.arange(32.0).reshape(1, 1, 8, 4)
    assert pooling.grid_pool(plane, 4).flatten().tolist() == [13, 15, 29, 31]


@pytest.mark.parametrize("name", ["windows:4", "first:4", "grid:4", "mean"])
def test_pooling_twice_is_pooling_once_and_vectors_stay(name: str) -> None:
    pool = pooling.pool_named(name)
    assert pool is not None
    maps = torch.randn(2, 3, 8, 6)
    assert torch.equal(pool(pool(maps)), pool(maps))
    vectors = torch.randn(2, 3)
    assert pool(vectors) is vectors


@pytest.mark.parametrize(
    ("cell", "name"), [("align", "windows:8"), ("align_frames", "first:8"), ("align", "none")]
)
def test_what_is_cached_is_aligned_as_the_whole_map_would_be(cell: str, name: str) -> None:
    shape = (16, 4, 6)
    pool = pooling.pool_named(name)
    maps = torch.randn(3, 5, *shape)
    cached = maps if pool is None else pool(maps)
    answers: list[Tensor] = []
    for given in (maps, cached):
        sizes = ", ".join(map(str, given.shape[1:]))
        text = (
            f'fuse 1\nuse "std/bm_nas": {cell}\nspace s {{\n  dim N\n'
            f"  input x: f32[N, {sizes}]\n"
            f"  output y = {cell}(x, channels=4, length=8)\n}}\n"
        )
        network = fusegraph.lower(fusegraph.loads(text).graph, seed=0)
        answers.append(network(x=given))
    torch.testing.assert_close(answers[0], answers[1])


@pytest.mark.parametrize("name", ["max", "windows", "windows:0", "windows:-2", "grid:8", "mean:3"])
def test_an_unknown_pooling_is_a_wrong_call(name: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        pooling.pool_named(name)


# weights


def _save(kind: str, state: dict[str, Any], file: Path) -> Path:
    if kind == "safetensors":
        save_file(state, file.with_suffix(".safetensors"))
        return file.with_suffix(".safetensors")
    torch.save({"epoch": 3, "state_dict": state} if kind == "wrapped" else state, file)
    return file


@pytest.mark.parametrize("kind", ["safetensors", "plain", "wrapped"])
@pytest.mark.parametrize("before", ["", "module."])
def test_weights_are_loaded_into_a_part(tmp_path: Path, kind: str, before: str) -> None:
    torch.manual_seed(1)
    state = {f"{before}{name}": value for name, value in nn.Linear(3, 2).state_dict().items()}
    file = _save(kind, state, tmp_path / "weights.pt")
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    untouched = first.weight.clone()
    load_weights(nn.Sequential(first, second), file, "1")
    assert torch.equal(second.weight, state[f"{before}weight"])
    assert torch.equal(first.weight, untouched)


class _Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("trap").touch, ())


def test_weights_that_do_not_fit_or_hold_code_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network = nn.Linear(3, 2)
    wrong = _finding(lambda: load_weights(network, "none.safetensors"))
    assert wrong.code == "E646"
    torch.save({"weight": torch.zeros(4, 4), "scale": torch.zeros(1)}, "a.pt")
    wrong = _finding(lambda: load_weights(network, "a.pt"))
    assert "3 of 3 names differ" in wrong.message
    assert wrong.notes == (
        "weight: expected [2, 3], found [4, 4]; bias: not in the file; scale: not in the module",
    )
    torch.save({"weight": _Trap()}, "b.pt")
    assert _finding(lambda: load_weights(network, "b.pt")).code == "E646"
    assert not Path("trap").exists()
    Path("c.safetensors").write_bytes(b"12")
    Path("c.pt").write_bytes(b"PK12")
    for name in ("c.safetensors", "c.pt"):
        assert _finding(lambda name=name: load_weights(network, name)).code == "E646"
    torch.save({"weight": 3}, "d.pt")
    assert "found int as `weight`" in _finding(lambda: load_weights(network, "d.pt")).message
    assert _finding(lambda: load_weights(network, "a.pt", "part")).code == "E621"


# the backbones of the example


@pytest.fixture(scope="module")
def backbones() -> ModuleType:
    file = ROOT / "examples" / "bm_nas" / "backbones.py"
    found = importlib.util.spec_from_file_location("bm_nas_backbones", file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("ntu", {"rgb": (3, 8, 256, 256), "skeleton": (3, 32, 25, 2)}),
        ("ego_gesture", {"rgb": (3, 32, 112, 112), "depth": (1, 32, 112, 112)}),
        ("mm_imdb", {"image": (3, 256, 160), "text": (300,)}),
    ],
)
def test_the_papers_backbones_have_the_taps_that_the_spaces_read(
    backbones: ModuleType, name: str, inputs: dict[str, tuple[int, ...]]
) -> None:
    with torch.device("meta"):
        network = getattr(backbones, name)().eval()
        batch = {given: torch.empty(2, *shape) for given, shape in inputs.items()}
    seen: dict[str, list[tuple[int, ...]]] = {tap: [] for tap in network.taps}
    for tap, part in network.taps.items():
        network.get_submodule(part).register_forward_hook(
            lambda _m, _i, answer, tap=tap: seen[tap].append(tuple(answer.shape[1:]))
        )
    logits = network(batch)
    space = fusegraph.load(ROOT / "examples" / "bm_nas" / f"{name}.fuse").graph
    assert seen == {tap: [shape] for tap, shape in input_shapes(space).items()}
    pool = pooling.pool_named("grid:16" if name == "mm_imdb" else "first:8")
    assert pool is not None
    pooled = {
        tap: tuple(pool(torch.empty(1, *shape, device="meta")).shape[1:])
        for tap, (shape,) in seen.items()
    }
    beforehand = fusegraph.load(ROOT / "examples" / "bm_nas" / f"{name}.fuse", {"taps": "2"})
    assert pooled == input_shapes(beforehand.graph)
    classes = {"ntu": 60, "ego_gesture": 83, "mm_imdb": 23}[name]
    assert {tuple(value.shape) for value in logits.values()} == {(2, classes)}


def test_the_image_taps_are_activations_and_the_last_pooling(backbones: ModuleType) -> None:
    with torch.device("meta"):
        network = backbones.mm_imdb()
    tapped = [network.get_submodule(network.taps[f"image_tap[{n}]"]) for n in range(1, 5)]
    assert [type(part) for part in tapped] == [nn.ReLU, nn.ReLU, nn.ReLU, nn.MaxPool2d]


def test_the_co_occurrence_network_does_not_mind_the_order_of_bodies(
    backbones: ModuleType,
) -> None:
    torch.manual_seed(0)
    network = backbones.CoOccurrence().eval()
    skeleton = torch.randn(2, 3, 32, 25, 2)
    with torch.no_grad():
        torch.testing.assert_close(network(skeleton), network(skeleton.flip(4)))
        assert not torch.allclose(network(skeleton), network(skeleton.flip(2)))


# the command


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tiny.py").write_text(BACKBONES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny", raising=False)
    return tmp_path


def _extract(*words: str, function: str, dataset: str, root: str = "data") -> Any:
    fixed = ("--out", "features", "--allow-hook", "--batch", "2", "--device", "cpu")
    call_words = ("extract", f"tiny:{function}", "--dataset", dataset, "--root", root)
    return call(*call_words, *fixed, *words)


NTU_OPTIONS = ("--option", "size=16", "--option", "clip=4", "--option", "frames=8")


def test_ntu_goes_from_its_files_to_a_task_that_trains(work: Path) -> None:
    people = {1: 3, 4: 2, 2: 3, 3: 4}
    names = [ntu_name(who, action) for who, n in people.items() for action in range(1, n + 1)]
    write_ntu(work / "data", names, people={ntu_name(4, 2): 0})
    answer = _extract("--pool", "first:4", *NTU_OPTIONS, "--json", function="both", dataset="ntu")
    assert (answer.code, answer.err) == (0, "")
    assert answer.json["splits"] == {"train": 4, "valid": 3, "test": 4}
    assert answer.json["taps"] == {"rgb_tap[1]": [4, 4, 1, 1], "skeleton_tap[1]": [5, 4, 1, 1]}
    reason = "its skeleton file holds no body"
    left = {"train": [{"sample": ntu_name(4, 2), "reason": reason}], "valid": [], "test": []}
    assert answer.json["left_out"] == left
    data = FeatureData(open_features("features"))
    assert data.folder.labels("train").tolist() == [0, 1, 2, 0]
    taps = ["rgb_tap[1]", "skeleton_tap[1]"]
    train, valid = (
        data.source(split, taps, batch=2, device=torch.device("cpu"))
        for split in ("train", "valid")
    )
    network = nn.Linear(16 + 20, 60)
    settings = TrainSettings(epochs=1, device="cpu", metric="accuracy")
    forward = lambda m, i: m(torch.cat([i[tap].flatten(1) for tap in taps], dim=1))  # noqa: E731
    assert 0 <= fit(network, train, valid, settings, forward=forward).best_score <= 1


def test_cached_values_are_what_the_backbone_says_of_the_samples(work: Path) -> None:
    write_ntu(work / "data", [ntu_name(1), ntu_name(1, 2), ntu_name(2), ntu_name(3)])
    state = {"weight": torch.randn(5, 3, 1, 1, 1), "bias": torch.randn(5)}
    save_file(state, "joints.safetensors")
    words = ("--weights", "conv=joints.safetensors", "--tap", "x[1]=conv", "--pool", "none")
    answer = _extract(
        *words,
        "--option",
        "inputs=skeleton",
        "--option",
        "frames=8",
        function="joints",
        dataset="ntu",
    )
    assert answer.code == 0, answer.err
    opened = open_dataset("ntu", "data", {"inputs": "skeleton", "frames": 8})
    sample = opened.splits["train"].read(1)
    assert isinstance(sample, Example)
    expected = nn.functional.conv3d(
        torch.from_numpy(sample.inputs["skeleton"])[None], state["weight"], state["bias"]
    )[0]
    found = open_features("features").array("x[1]", "train")[1]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert open_features("features").manifest.source == "tiny:joints ntu inputs=skeleton frames=8"


def test_ego_gesture_goes_from_its_files_to_a_feature_folder(work: Path) -> None:
    rows = {(3, 1, 1): ["7,1,8", "8,3,6"], (1, 1, 1): ["2,1,12"], (2, 1, 1): ["3,1,12", "4,,"]}
    write_ego_gesture(work / "data", rows)
    options = ("--option", "frames=4", "--option", "size=12")
    answer = _extract("--pool", "none", *options, function="ego", dataset="ego_gesture")
    assert answer.code == 0, answer.err
    assert "left out: 1 rows of label files, which name no frames" in answer.out
    assert "train: 2 samples" in answer.out
    folder = open_features("features")
    assert folder.manifest.taps["depth_tap[1]"].shape == (4, 4, 12, 12)
    assert folder.labels("train").tolist() == [6, 7]


def test_mm_imdb_goes_from_its_file_to_a_multi_label_task(work: Path) -> None:
    write_mm_imdb(work / "multimodal_imdb.hdf5", {"train": 6, "valid": 4, "test": 4})
    answer = _extract("--pool", "grid:4", function="films", dataset="mm_imdb", root=".")
    assert answer.code == 0, answer.err
    data = FeatureData(open_features("features"))
    assert (data.kind, data.class_names) == ("multi", ("Drama", "Comedy", "War"))
    assert data.folder.manifest.taps["image_tap[1]"].shape == (4, 2, 2)
    assert data.folder.manifest.taps["text_tap[1]"].shape == (6,)
    cpu = torch.device("cpu")
    train, valid = (
        data.source(s, ["text_tap[1]"], batch=2, device=cpu) for s in ("train", "valid")
    )
    for metric in ("weighted_f1", "macro_f1"):
        settings = TrainSettings(epochs=1, device="cpu", metric=metric)
        result = fit(
            nn.Linear(6, 3),
            train,
            valid,
            settings,
            kind="multi",
            forward=lambda m, i: m(i["text_tap[1]"]),
        )
        assert 0 <= result.best_score <= 1


def test_a_broken_file_ends_the_command_or_is_left_out(work: Path) -> None:
    write_ntu(work / "data", [ntu_name(who, a) for who in (1, 2, 3) for a in (1, 2)])
    broken = work / "data" / "nturgb+d_rgb" / f"{ntu_name(2, 2)}_rgb.avi"
    broken.write_bytes(b"cut off")
    answer = _extract(*NTU_OPTIONS, function="both", dataset="ntu")
    assert answer.code == 1
    assert "error[E644]" in answer.err
    assert broken.name in answer.err
    assert not Path("features").exists()
    assert "what was done is kept; to go on: the same call with --resume" in answer.err
    go_on = ("--skip-broken", "--resume")
    answer = _extract(*NTU_OPTIONS, *go_on, function="both", dataset="ntu")
    assert answer.code == 0, answer.err
    assert f"valid: 1 sample, 1 left out ({ntu_name(2, 2)}: expected a video" in answer.out


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--dataset", "ntu", "--data", "tiny:batches"), "give one of --data and --dataset"),
        ((), "give one of --data and --dataset"),
        (("--dataset", "ntu"), "--dataset needs the folder of its files"),
        (("--dataset", "ntu", "--root", ".", "--classes", "3"), "a data set knows its classes"),
        (("--data", "tiny:batches"), "--data needs the number of classes"),
        (("--dataset", "ntu", "--root", ".", "--class-names", "a,b"), "knows its classes"),
        (("--data", "tiny:b", "--classes", "3", "--root", "."), "are for --dataset"),
        (("--data", "tiny:b", "--classes", "3", "--option", "a=1"), "are for --dataset"),
        (("--dataset", "nut", "--root", "."), "nut"),
        (("--dataset", "ntu", "--root", ".", "--pool", "max"), "expected one of mean, none"),
        (("--dataset", "ntu", "--root", ".", "--option", "clip=0"), "option `clip`"),
    ],
)
def test_a_wrong_call_is_told_as_one(work: Path, words: tuple[str, ...], found: str) -> None:
    answer = call("extract", "tiny:both", "--out", "features", "--allow-hook", *words)
    assert answer.code == 2
    assert found in " ".join(answer.err.split()).replace("│ ", "").replace(" │", "")


def test_a_module_without_taps_needs_them_given(work: Path) -> None:
    write_ntu(work / "data", [ntu_name(who) for who in (1, 2, 3)], video=False)
    answer = _extract("--option", "inputs=skeleton", function="joints", dataset="ntu")
    assert answer.code == 2
    assert "--tap" in answer.err
