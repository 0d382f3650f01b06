"""Task files, hooks, extraction: what works, and what is told when it does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fusegraph.ir.diagnostics import Diagnostic, FusegraphError, codes
from fusegraph.tasks.extract import Extracted, extract
from fusegraph.tasks.feature_writer import FeatureWriter
from fusegraph.tasks.features import open_features
from fusegraph.tasks.key_table import key_table
from fusegraph.tasks.manifest import LabelKind
from fusegraph.tasks.pooling import grid_pool, mean_pool
from fusegraph.tasks.schema import TaskSettings
from fusegraph.tasks.sources import open_data
from fusegraph.tasks.task_file import load_task
from fusegraph.training.batches import Batch
from fusegraph.training.loop import fit
from fusegraph.training.settings import TrainSettings
from fusegraph.training.tensors import tensor_batches

TASK = """
[task]
name = "digits"
space = "../digits.fuse"
set = {W = 16}

[data]
features = "features"

[search]
searcher = "mfas"
budget = 60
options = {samples = 15}

[search.train]
epochs = 2
schedule = "warm_restarts"

[train]
epochs = 20
betas = [0.9, 0.99]

[export]
onnx = "model.onnx"
class_names = ["zero", "one"]
"""

CPU = torch.device("cpu")


def _write(folder: Path, text: str) -> Path:
    file = folder / "task.toml"
    file.write_text(text)
    return file


def _findings(file: Path) -> tuple[Diagnostic, ...]:
    with pytest.raises(FusegraphError) as raised:
        load_task(file)
    return raised.value.diagnostics


# the task file


def test_a_task_file_is_read_with_paths_relative_to_itself(tmp_path: Path) -> None:
    task = load_task(_write(tmp_path, TASK))
    assert task.space == tmp_path / "../digits.fuse"
    assert task.features == tmp_path / "features"
    assert task.genotype is None
    assert task.settings.search.train.epochs == 2
    assert task.settings.train.betas == (0.9, 0.99)
    assert task.settings.search.options == {"samples": 15}


@pytest.mark.parametrize(
    ("old", "new", "code", "line", "parts"),
    [
        ("budget = 60", "bugdet = 60", "E602", 12, ["search.bugdet: unknown key", "`budget`"]),
        ("[search.train]", "[search.trian]", "E602", 15, ["search.trian", "`train`"]),
        ("epochs = 2\n", "epoch = 2\n", "E602", 16, ["search.train.epoch", "`epochs`"]),
        ("epochs = 20", 'epochs = "20"', "E603", 20, ["train.epochs", "integer", "'20'"]),
        ("epochs = 20", "epochs = 0", "E603", 20, ["greater than or equal to 1", "found 0"]),
        ('"warm_restarts"', '"warm"', "E603", 17, ["'cosine'", "found 'warm'"]),
        ('name = "digits"', "", "E603", 2, ["task.name: the key `name` is missing"]),
        ('features = "features"', "", "E603", 7, ["exactly one of", "found neither"]),
        (
            'features = "features"',
            'features = "f"\nhook = "m:f"',
            "E603",
            7,
            ["exactly one of", "found both"],
        ),
        ('features = "features"', 'hook = "os.system(1)"', "E603", 8, ["data.hook", "pattern"]),
        ('"model.onnx"', '"../../model.onnx"', "E603", 23, ["below the run folder"]),
        ('"model.onnx"', '"/etc/model.onnx"', "E603", 24, ["export.onnx", "pattern"]),
        ("[search]", "[joint.still]\n[search]", "E603", 10, ["joint.still", "found neither"]),
        ("[search]", "[joint.still]\nfeature = 1\n[search]", "E602", 11, ["`features`"]),
        ("[search]", '[joint.logits]\nhook = "m:f"\n[search]', "E603", 10, ["`[data]` trains"]),
        ("[train]", '[train]\nrefit = true\ninherit = "keep"', "E603", 19, ["refit = false"]),
    ],
)
def test_a_wrong_key_is_told_with_its_line_and_path(
    tmp_path: Path, old: str, new: str, code: str, line: int, parts: list[str]
) -> None:
    assert old in TASK
    (found,) = _findings(_write(tmp_path, TASK.replace(old, new, 1)))
    assert found.code == code
    for part in parts:
        assert part in found.message + found.help
    assert found.span is not None
    assert (found.span.file, found.span.line) == (str(tmp_path / "task.toml"), line)


def test_all_wrong_keys_are_told_at_once(tmp_path: Path) -> None:
    text = TASK.replace("budget", "bugdet").replace("epochs", "epoch")
    assert [d.code for d in _findings(_write(tmp_path, text))] == ["E602"] * 3


@pytest.mark.parametrize("text", ["[task", "a = = 1", "\x00", "x = " + "[" * 5000])
def test_what_is_not_toml_is_told_with_its_place(tmp_path: Path, text: str) -> None:
    (found,) = _findings(_write(tmp_path, text))
    assert found.code == "E601"
    assert found.span is not None


def test_a_missing_or_huge_task_file_is_told(tmp_path: Path) -> None:
    for file in (tmp_path / "none.toml", tmp_path, _write(tmp_path, "#" * (1 << 21))):
        (found,) = _findings(file)
        assert found.code == "E601"
        assert found.place == str(file)


def test_candidates_are_trained_for_the_two_epochs_of_mfas_unless_the_task_says_else(
    tmp_path: Path,
) -> None:
    settings = load_task(
        _write(tmp_path, TASK.replace("[search.train]\nepochs = 2\n", "[search.train]\n"))
    ).settings
    assert settings.search.train.epochs == 2
    assert TrainSettings().epochs == 20
    assert "`epochs` is 2 if not set" in key_table()


def test_every_key_of_a_task_file_is_documented_in_the_table() -> None:
    table = key_table()
    for name, field in TaskSettings.model_fields.items():
        model: Any = field.annotation
        if get_origin(model) is dict:
            name, (_, model) = f"{name}.NAME", get_args(model)
        assert f"### `[{name}]`" in table
        for key, entry in model.model_fields.items():
            assert entry.description, f"{name}.{key}"
            assert f"| `{key}` |" in table
    assert "| `epochs` | integer ≥ 1 | `20` |" in table
    assert "| `space` | text | required |" in table


# feature folders and hooks as data


def _features(folder: Path, classes: int = 3) -> None:
    rng = np.random.default_rng(0)
    with FeatureWriter(folder, LabelKind(kind="single", classes=classes)) as writer:
        for split in ("train", "valid"):
            x = rng.normal(5.0, 2.0, (40, 3)).astype(np.float32)
            writer.add(split, {"x": x, "y": x * 2}, x.argmax(axis=1))


def test_a_feature_folders_inputs_are_standardised_and_shared_between_networks(
    tmp_path: Path,
) -> None:
    _features(tmp_path / "features")
    data = open_data(load_task(_write(tmp_path, TASK)), {"x": (3,), "y": (None,)})
    first = next(data.source("train", ["x"], batch=40, device=CPU).epoch(None))
    both = next(data.source("train", ["x", "y"], batch=40, device=CPU).epoch(None))
    assert set(first.inputs) == {"x"}
    assert set(both.inputs) == {"x", "y"}
    torch.testing.assert_close(first.inputs["x"].mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    assert first.inputs["x"].data_ptr() == both.inputs["x"].data_ptr()


def test_a_multi_label_folder_gives_the_weights_that_balance_it(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "features", LabelKind(kind="multi", classes=2)) as writer:
        for split in ("train", "valid"):
            labels = np.array([[1, 0], [0, 0], [0, 1], [0, 1]])
            writer.add(split, {"x": np.ones((4, 1), dtype=np.float32)}, labels)
    data = open_data(load_task(_write(tmp_path, TASK)))
    weight = data.positive_weight()
    assert weight is not None
    assert weight.tolist() == [3.0, 1.0]


def test_a_folder_that_does_not_fit_the_space_is_told_before_training(tmp_path: Path) -> None:
    _features(tmp_path / "features")
    task = load_task(_write(tmp_path, TASK))
    with pytest.raises(FusegraphError) as raised:
        open_data(task, {"x": (4,), "y": (3, 1), "yy": (3,)})
    messages = [(d.code, d.message) for d in raised.value.diagnostics]
    assert [code for code, _ in messages] == ["E608", "E608", "E619"]
    assert "tap `x` does not fit" in messages[0][1]
    assert "expected [4] a sample, found [3]" in messages[0][1]


HOOK = TASK.replace('features = "features"', 'hook = "own_data:batches"')
OWN_DATA = """
import torch

def batches(split, seed):
    generator = torch.Generator().manual_seed(0 if seed is None else seed)
    for _ in range(3):
        x = torch.randn(8, 3, generator=generator)
        yield {"x": x, "labels": x.argmax(dim=1)}

def other(split, seed):
    yield %s

def seeded(split, seed):
    return [torch.Generator().manual_seed(seed)]

def late(split, seed):
    yield {"x": torch.ones(2, 3), "labels": torch.zeros(2)}
    raise KeyError("moved")

def nothing(split, seed):
    return None

not_a_function = 3
"""


def _hook_task(folder: Path, reference: str, answer: str = "{}") -> Any:
    # A module is imported once a process, so every test brings one of its own.
    name = f"own_data_{abs(hash(str(folder) + answer))}"
    (folder / f"{name}.py").write_text(OWN_DATA % answer)
    text = HOOK.replace("own_data:batches", reference.replace("own_data", name))
    return load_task(_write(folder, text))


def test_a_hook_is_refused_unless_it_was_allowed(tmp_path: Path) -> None:
    task = _hook_task(tmp_path, "own_data:batches")
    with pytest.raises(FusegraphError, match=r"E604.*--allow-hook"):
        open_data(task)


def test_an_allowed_hook_trains_a_network(tmp_path: Path) -> None:
    class Linear(nn.Linear):
        def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:  # type: ignore[override]
            return super().forward(inputs["x"])

    data = open_data(_hook_task(tmp_path, "own_data:batches"), allow_hooks=True)
    sources = [data.source(split, ["x"], batch=8, device=CPU) for split in ("train", "valid")]
    assert len(sources[0]) == 3
    first, second = (
        next(sources[0].epoch(torch.Generator().manual_seed(seed))).inputs["x"] for seed in (0, 1)
    )
    assert not torch.equal(first, second)
    settings = load_task(tmp_path / "task.toml").settings.train
    torch.manual_seed(0)
    assert fit(Linear(3, 3), sources[0], sources[1], settings).best_score > 0.3


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("no_such_module:batches", "ModuleNotFoundError"),
        ("own_data:bathces", "did you mean `batches`?"),
        ("own_data:not_a_function", "is int"),
        ("own_data:__nam__", "known are"),
    ],
)
def test_a_hook_that_cannot_be_loaded_is_told(tmp_path: Path, reference: str, found: str) -> None:
    task = _hook_task(tmp_path, reference)
    before = list(sys.path)
    with pytest.raises(FusegraphError) as raised:
        open_data(task, allow_hooks=True)
    assert sys.path == before
    assert raised.value.diagnostics[0].code == "E605"
    assert found in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("[1]", "expected a mapping of tensors, found list"),
        ("{'x': torch.ones(2, 3)}", "expected `labels`"),
        ("{'X': 1, 'labels': torch.zeros(2)}", "expected `x`"),
        ("{'x': 1, 'labels': torch.zeros(2)}", "expected a tensor as `x`, found int"),
        ("{'x': torch.ones(3), 'labels': torch.zeros(2)}", "one number of samples"),
    ],
)
def test_a_hook_that_yields_something_else_is_told(tmp_path: Path, answer: str, found: str) -> None:
    data = open_data(_hook_task(tmp_path, "own_data:other", answer), allow_hooks=True)
    with pytest.raises(FusegraphError) as raised:
        next(data.source("train", ["x"], batch=1, device=CPU).epoch(None))
    assert raised.value.diagnostics[0].code == "E606"
    assert raised.value.diagnostics[0].place == "data.hook: train, batch 1"
    assert found in str(raised.value)


@pytest.mark.parametrize(
    ("name", "code", "found", "line"),
    [
        ("seeded", "E605", "called as `('train', None)`: RuntimeError", "manual_seed(seed)"),
        ("late", "E605", "KeyError: 'moved'", 'raise KeyError("moved")'),
        ("nothing", "E606", "expected batches, found NoneType", ""),
    ],
)
def test_a_fault_of_the_hooks_own_code_is_told_with_its_line(
    tmp_path: Path, name: str, code: str, found: str, line: str
) -> None:
    data = open_data(_hook_task(tmp_path, f"own_data:{name}"), allow_hooks=True)
    for read in (lambda s: list(s.epoch(None)), len):
        with pytest.raises(FusegraphError) as raised:
            read(data.source("train", ["x"], batch=1, device=CPU))
        (diagnostic,) = raised.value.diagnostics
        assert diagnostic.code == code
        assert found in diagnostic.message
        if line:
            file, _, number = diagnostic.place.rpartition(":")
            assert line in Path(file).read_text().splitlines()[int(number) - 1]
            assert line in diagnostic.notes[0]


# extraction


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
        self.twice = nn.ReLU()
        self.pair = _Pair()
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        x = self.twice(self.twice(self.stem(inputs["image"])))
        return self.head(self.pair(x)[0].mean(dim=(2, 3)))


class _Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


LABELS = LabelKind(kind="single", classes=3)


def _images(samples: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(samples)
    return rng.normal(size=(samples, 1, 6, 6)).astype(np.float32), rng.integers(0, 3, samples)


def _splits() -> dict[str, Iterator[Batch]]:
    made = {"train": 10, "valid": 6}
    return {
        split: tensor_batches({"image": _images(n)[0]}, _images(n)[1], batch=4).epoch(None)
        for split, n in made.items()
    }


def test_extracted_taps_are_what_the_parts_answer(tmp_path: Path) -> None:
    backbone = Backbone()
    seen: list[Extracted] = []
    taps = {"image[1]": "stem.0", "image_logits": ""}
    folder = extract(
        backbone, taps, _splits(), tmp_path / "f", LABELS, source="a test", on_batch=seen.append
    )
    image = torch.from_numpy(_images(10)[0])
    with torch.no_grad():
        maps, logits = backbone.stem[0](image), backbone({"image": image})
    expected = maps.mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(folder.array("image[1]", "train"), expected, atol=1e-6)
    np.testing.assert_allclose(folder.array("image_logits", "train"), logits, atol=1e-6)
    np.testing.assert_array_equal(folder.labels("valid"), _images(6)[1])
    assert [(e.split, e.samples) for e in seen] == [
        ("train", 4),
        ("train", 8),
        ("train", 10),
        ("valid", 4),
        ("valid", 6),
    ]
    assert not backbone.stem[0]._forward_hooks  # pyright: ignore[reportPrivateUsage]
    assert open_features(tmp_path / "f").manifest.source == "a test"


def test_unpooled_taps_keep_their_shape(tmp_path: Path) -> None:
    folder = extract(Backbone(), {"x": "stem"}, _splits(), tmp_path / "f", LABELS, pool=None)
    assert folder.manifest.taps["x"].shape == (4, 4, 4)


def test_one_part_may_be_tapped_twice_and_pooled_in_two_ways(tmp_path: Path) -> None:
    taps = {"image[1]": "stem", "image_map[1]": "stem", "logits": ""}
    pools = {"image[1]": mean_pool, "image_map[1]": partial(grid_pool, length=4)}
    folder = extract(Backbone(), taps, _splits(), tmp_path / "f", LABELS, pool=pools)
    shapes = {tap: found.shape for tap, found in folder.manifest.taps.items()}
    assert shapes == {"image[1]": (4,), "image_map[1]": (4, 2, 2), "logits": (3,)}


def test_pooling_leaves_linear_taps_as_they_are() -> None:
    vectors = torch.randn(2, 5)
    assert mean_pool(vectors) is vectors
    assert mean_pool(torch.randn(2, 5, 3, 4, 4)).shape == (2, 5)


@pytest.mark.parametrize(
    ("part", "code", "found"),
    [
        ("stem.conv", "E621", "no part `stem.conv`"),
        ("haed", "E621", "did you mean `head`?"),
        ("twice", "E622", "it ran 2 times"),
        ("pair", "E622", "it answered tuple"),
    ],
)
def test_a_part_that_cannot_be_tapped_is_told_and_leaves_nothing(
    tmp_path: Path, part: str, code: str, found: str
) -> None:
    with pytest.raises(FusegraphError) as raised:
        extract(Backbone(), {"x": part}, _splits(), tmp_path / "f", LABELS)
    assert raised.value.diagnostics[0].code == code
    assert found in str(raised.value)
    assert list(tmp_path.iterdir()) == []


# pages


def test_every_code_that_tasks_and_training_use_has_a_page() -> None:
    root = Path(__file__).parent.parent
    used: set[str] = set()
    for folder in ("tasks", "training"):
        for file in (root / folder).glob("*.py"):
            used |= {word for word in file.read_text().split('"') if word[:2] in ("E6", "E7")}
    used = {word for word in used if len(word) == 4}
    assert len(used) > 20
    assert used <= codes().keys()
