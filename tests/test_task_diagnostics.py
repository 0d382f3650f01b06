"""Every error of tasks and training as a person reads it, and as its page shows it.

The golden files are in `golden/tasks/`. After a change that is meant,
`python tests/test_task_diagnostics.py` writes them again; read the difference before it is kept.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fusegraph.ir.diagnostics import FusegraphError, explain, render
from fusegraph.tasks.datasets import errors
from fusegraph.tasks.datasets.opening import open_dataset
from fusegraph.tasks.datasets.skeleton import read_skeleton
from fusegraph.tasks.datasets.video import read_video
from fusegraph.tasks.extract import extract
from fusegraph.tasks.feature_writer import FeatureWriter
from fusegraph.tasks.features import open_features
from fusegraph.tasks.manifest import LabelKind
from fusegraph.tasks.sources import check_fits, open_data
from fusegraph.tasks.task_file import load_task
from fusegraph.tasks.weights import load_weights
from fusegraph.training.checkpoints import CheckpointHeader, load_checkpoint, save_checkpoint
from fusegraph.training.loop import Diverged, choose_device, fit
from fusegraph.training.settings import TrainSettings
from fusegraph.training.tensors import TensorBatches, tensor_batches
from published_files import bodies, skeleton_text, write_mm_imdb
from repository import ROOT

GOLDEN = ROOT / "tests" / "golden" / "tasks"
HEAD = '[task]\nname = "digits"\nspace = "digits.fuse"\n\n'
DATA = '[data]\nfeatures = "features"\n\n'
THREE = LabelKind(kind="single", classes=3)


def _task(text: str) -> Any:
    Path("task.toml").write_text(text)
    return load_task("task.toml")


def _features(tap: str = "image[1]", width: int = 4) -> Path:
    rng = np.random.default_rng(0)
    with FeatureWriter("features", THREE) as writer:
        for split, samples in (("train", 12), ("valid", 4)):
            features = rng.normal(size=(samples, width)).astype(np.float32)
            writer.add(split, {tap: features}, rng.integers(0, 3, samples))
    return Path("features")


def _spoil(name: str, array: np.ndarray[Any, Any]) -> None:
    np.save(_features() / "train" / f"{name}.npy", array, allow_pickle=False)
    open_features("features")


def _manifest(change: Callable[[dict[str, Any]], None]) -> None:
    file = _features() / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))
    open_features("features")


def _not_finite() -> None:
    features = np.zeros((12, 4), dtype=np.float32)
    features[3, 1], features[9, 0] = np.nan, np.inf
    _spoil("image[1]", features)


def _truncated() -> None:
    file = _features() / "train" / "image[1].npy"
    file.write_bytes(file.read_bytes()[:-8])
    open_features("features")


def _missing() -> None:
    (_features() / "train" / "image[1].npy").unlink()
    open_features("features")


def _hook(reference: str, *, allow: bool) -> None:
    Path("my_data.py").write_text(
        "def batches(split, seed):\n    yield 'images', 'labels'\n", encoding="utf-8"
    )
    data = open_data(_task(HEAD + f'[data]\nhook = "{reference}"\n'), allow_hooks=allow)
    next(data.source("train", ["x"], batch=1, device=torch.device("cpu")).epoch(None))


def _writer() -> None:
    with FeatureWriter("features", THREE) as writer:
        writer.add("train", {"image[1]": np.ones((5, 4), np.float32)}, [0] * 5)
        writer.add("train", {"image[1]": np.ones((7, 4), np.float32)}, [0] * 5)


class _Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Linear(3, 2)
        self.lstm = nn.LSTM(2, 2)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.lstm(self.layer1(inputs["x"]))[0]


def _extract(part: str, tap: str, *, resume: bool = False) -> None:
    batches = _batches(4, 3).epoch(None)
    extract(_Backbone(), {tap: part}, {"train": batches}, "features", THREE, resume=resume)


class _Interrupted(_Backbone):
    """Ctrl-C comes in the third batch."""

    batches = 0

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        self.batches += 1
        if self.batches == 3:
            raise KeyboardInterrupt
        return self.layer1(inputs["x"])


def _go_on(tap: str = "image[1]", **options: Any) -> None:
    """An extraction that is interrupted, and the one after it."""
    batches = tensor_batches({"x": np.ones((12, 3), np.float32)}, np.zeros(12), batch=4)
    for given in ({}, options):
        torch.manual_seed(0)
        with suppress(KeyboardInterrupt):
            stream = {"train": batches.epoch(None)}
            name = tap if given else "image[1]"
            extract(_Interrupted(), {name: "layer1"}, stream, "features", THREE, **given)


def _damaged_progress() -> None:
    with suppress(FusegraphError):
        _go_on()
    file = Path(".features.part/progress.json")
    file.write_text(file.read_text().replace('"samples":8', '"samples":-8'))
    _extract("layer1", "image[1]", resume=True)


def _one_sample() -> None:
    network = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))
    alone = tensor_batches({"x": np.ones((1, 2), np.float32)}, np.zeros(1), batch=4)
    fit(network, alone, alone, TrainSettings(device="cpu"), forward=lambda m, x: m(x["x"]))


def _batches(samples: int, classes: int) -> TensorBatches:
    x = np.ones((samples, 3), dtype=np.float32)
    return tensor_batches({"x": x}, np.arange(samples) % classes, batch=32)


class _Linear(nn.Linear):
    def forward(self, inputs: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(inputs["x"])


def _fit(classes: int = 3, **changes: Any) -> None:
    settings = TrainSettings.model_validate({"epochs": 1, "device": "cpu", **changes})
    batches = _batches(32, 10 if classes == 9 else 3)
    fit(_Linear(3, classes), batches, batches, settings, state=Path("state.safetensors"))


def _resume() -> None:
    _fit()
    _fit(seed=1)


def _diverged() -> None:
    raise Diverged(2, 4, float("nan"))


def _foreign_checkpoint() -> None:
    save_file({"x": torch.zeros(1)}, "model.safetensors")
    load_checkpoint("model.safetensors")


def _other_checkpoint() -> None:
    header = CheckpointHeader(genotype="fuse 1\n…", network_digest="bb22")
    save_checkpoint("best.safetensors", nn.Linear(2, 2), header)
    load_checkpoint("best.safetensors", network_digest="cc33")


def _no_library() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(errors, "import_module", _not_installed)
        open_dataset("mm_imdb", "multimodal_imdb.hdf5")


def _not_installed(name: str) -> None:
    raise ModuleNotFoundError(f"No module named {name!r}")


def _packed() -> None:
    Path("ntu_rgbd.zip").touch()
    open_dataset("ntu", "ntu_rgbd.zip")


def _cut_skeleton() -> None:
    file = Path("S001C001P001R001A001.skeleton")
    file.write_text("".join(skeleton_text(bodies(1)).splitlines(keepends=True)[:28]))
    read_skeleton(file)


def _no_video() -> None:
    file = Path("S001C001P001R001A001_rgb.avi")
    file.write_bytes(b"not a video!")
    read_video(file, 8, 256)


def _renamed() -> None:
    file = Path("multimodal_imdb.hdf5")
    write_mm_imdb(file, {"train": 2, "valid": 1, "test": 1})
    with h5py.File(file, "a") as made:
        del made["imdb_ids"]
        made.move("features", "text")
    open_dataset("mm_imdb", file)


def _other_weights() -> None:
    save_file(nn.Linear(4, 4).state_dict(), "other.safetensors")
    load_weights(_Backbone(), "other.safetensors", "layer1")


CASES: dict[str, Callable[[], Any]] = {
    "E601": lambda: _task("[task\n" + HEAD[7:]),
    "E602": lambda: _task(HEAD + DATA + "[search]\nbugdet = 60\n"),
    "E603": lambda: _task(HEAD + DATA + '[train]\nepochs = "20"\n'),
    "E604": lambda: _hook("my_data:batches", allow=False),
    "E605": lambda: _hook("my_data:bathces", allow=True),
    "E606": lambda: _hook("my_data:batches", allow=True),
    "E608": lambda: check_fits(open_features(_features(width=8)), {"image[1]": (16,)}),
    "E610": lambda: open_features("faetures"),
    "E611": lambda: _manifest(lambda m: m.update(tap={})),
    "E612": _missing,
    "E613": _truncated,
    "E614": lambda: _spoil("image[1]", np.zeros((12, 5), dtype=np.float32)),
    "E615": lambda: _spoil("image[1]", np.zeros((12, 4))),
    "E616": lambda: _spoil("labels", np.zeros(11, dtype=np.int64)),
    "E617": lambda: _spoil("labels", np.array([1, 2, 3] + [0] * 9, dtype=np.int64)),
    "E618": _not_finite,
    "E619": lambda: check_fits(open_features(_features()), {"imge[1]": (4,)}),
    "E620": _writer,
    "E621": lambda: _extract("layr1", "image[1]"),
    "E622": lambda: _extract("lstm", "text[1]"),
    "E623": _go_on,
    "E624": lambda: _go_on("image[2]", resume=True),
    "E625": _damaged_progress,
    "E640": lambda: open_dataset("ntu", ".", {"trian": "1,4,8"}),
    "E641": _no_library,
    "E642": _packed,
    "E643": _cut_skeleton,
    "E644": _no_video,
    "E645": _renamed,
    "E646": _other_weights,
    "E701": _diverged,
    "E702": _foreign_checkpoint,
    "E703": _other_checkpoint,
    "E704": lambda: tensor_batches({"x": np.ones((3, 1))}, np.zeros(4), batch=2),
    "E705": _resume,
    "E706": lambda: _fit(classes=9),
    "E707": lambda: choose_device("mps"),
    "E708": lambda: _one_sample(),
}


def _printed(code: str, folder: Path) -> str:
    before = Path.cwd()
    os.chdir(folder)
    try:
        CASES[code]()
    except FusegraphError as error:
        return render(error.diagnostics)
    finally:
        os.chdir(before)
    raise AssertionError(f"{code}: nothing was wrong")


def _one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("code", CASES)
def test_an_error_reads_as_its_golden_file(code: str, tmp_path: Path) -> None:
    if code == "E707" and torch.backends.mps.is_available():
        pytest.skip("this machine has the device")
    printed = _printed(code, tmp_path)
    assert f"error[{code}]" in printed
    assert printed == (GOLDEN / f"{code}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", CASES)
def test_the_message_that_a_page_shows_is_the_one_that_is_printed(code: str) -> None:
    page = explain(code)
    assert page is not None
    shown = re.search(r"```text\n(error.*?)\n *-->", page, re.DOTALL)
    assert shown is not None
    golden = (GOLDEN / f"{code}.txt").read_text(encoding="utf-8")
    assert _one_line(shown[1]) in _one_line(golden)


def test_every_code_of_tasks_and_training_has_a_golden_file() -> None:
    used: set[str] = set()
    for folder in ("tasks", "training"):
        for file in (ROOT / folder).rglob("*.py"):
            used |= set(re.findall(r'"(E\d{3})"', file.read_text(encoding="utf-8")))
    assert used == CASES.keys() == {file.stem for file in GOLDEN.glob("*.txt")}


def _write_golden_files() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for code in CASES:
        with tempfile.TemporaryDirectory() as folder:
            (GOLDEN / f"{code}.txt").write_text(_printed(code, Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    _write_golden_files()
