"""Exported files: compared with torch, whole or not there, and fed only with what fits."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fusegraph import FusegraphError
from fusegraph.backends.onnx import Metadata, Model, difference, export, load, run
from fusegraph.backends.torch import lower as lower_to_torch
from fusegraph.ir.graph import Graph
from onnx_oracle import given, network, op, random_inputs, random_weights


def _network() -> Graph:
    image, audio = given("image[1]", "N 1 8 8"), given("audio", "N 12 T")
    seen = op("conv", image, out=4, kernel=3, key="h[1].conv")
    seen = op("relu", op("batch_norm", seen, key="h[1].norm"))
    heard = op("linear", op("mean", audio, axis=-1), out=4, key="h[2]")
    both = op("dropout", op("concat", op("mean", seen, axis=(2, 3)), heard), key="h[3]")
    return network({"logits": op("linear", both, out=3, key="logits"), "heard": heard})


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Graph, dict[str, np.ndarray], Path]:
    g = _network()
    weights = random_weights(g)
    path = tmp_path / "model.onnx"
    export(g, weights, path, metadata=Metadata(classes=("a", "b", "c")))
    return g, weights, path


def _raises(code: str, call: Any) -> str:
    with pytest.raises(FusegraphError) as caught:
        call()
    (found,) = caught.value.diagnostics
    assert found.code == code
    return found.message


# ── export ───────────────────────────────────────────────────────────────────────────────────────


def test_the_report_says_what_was_checked(tmp_path: Path) -> None:
    g, path = _network(), tmp_path / "model.onnx"
    report = export(g, random_weights(g), path, batch_sizes=(1, 2, 5), sizes={"T": 7})
    assert report.inputs == {"image[1]": "f32[N, 1, 8, 8]", "audio": "f32[N, 12, T]"}
    assert report.outputs == {"logits": "f32[N, 3]", "heard": "f32[N, 4]"}
    assert report.digest == g.digest
    assert report.providers == ("CPUExecutionProvider",)
    assert report.bytes == path.stat().st_size
    assert report.nodes == len(onnx.load(path).graph.node) == 8
    assert report.sizes == {"N": 5, "T": 7}
    assert report.difference == max(report.differences.values()) < 1e-5
    assert report.as_json()["difference"] == report.difference


def test_a_torch_network_brings_its_own_weights(tmp_path: Path) -> None:
    module = lower_to_torch(_network(), seed=1)
    report = export(module, None, tmp_path / "model.onnx")
    assert report.difference < 1e-5
    (bias,) = [
        onnx.numpy_helper.to_array(i)
        for i in onnx.load(report.path).graph.initializer
        if i.name == "logits.bias"
    ]
    np.testing.assert_array_equal(bias, module.state_dict()["logits.bias"].numpy())


def test_whole_numbers_are_drawn_within_their_tables(tmp_path: Path) -> None:
    words = op("embedding", given("words", "N T", "i64"), rows=3, out=4, key="table")
    g = network(op("mean", words, axis=1))
    assert export(g, random_weights(g), tmp_path / "model.onnx").difference < 1e-5


def test_an_output_may_be_a_weight(tmp_path: Path) -> None:
    g = network(op("parameter", shape=(2, 3), key="gates"))
    assert export(g, random_weights(g), tmp_path / "model.onnx").difference == 0.0


def test_a_difference_above_the_tolerance_writes_nothing(tmp_path: Path) -> None:
    g = _network()

    def shifted(inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        n = len(inputs["audio"])
        return {"logits": np.zeros((n, 3)), "heard": np.zeros((n, 4))}

    def attempt() -> None:
        export(g, random_weights(g), tmp_path / "model.onnx", reference=shifted)

    assert "differs by" in _raises("E724", attempt)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_are_told(tmp_path: Path) -> None:
    g = _network()
    weights = random_weights(g)
    weights["h.2.bias"][1] = np.nan
    message = _raises("E724", lambda: export(g, weights, tmp_path / "model.onnx"))
    assert "not finite" in message
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_the_runtime_lacks_kernels_for_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    g = network(op("silu", op("conv", given("x", "N 2 4", "f64"), out=2, kernel=1, key="c")))
    message = _raises("E723", lambda: export(g, random_weights(g), tmp_path / "model.onnx"))
    assert "onnxruntime refuses the model" in message
    assert capfd.readouterr() == ("", "")


def test_a_model_that_breaks_a_rule_of_onnx_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fusegraph.backends.onnx import lowering

    broken = {**lowering.LOWERINGS, "relu": lambda b, node, x: b.emit("Relu", x[0], x[0])}
    monkeypatch.setattr(lowering, "LOWERINGS", broken)
    g = network(op("relu", given("x", "N 2")))
    message = _raises("E723", lambda: export(g, {}, tmp_path / "model.onnx"))
    assert "checker refuses the model" in message


def test_sizes_that_do_not_fit_the_network_are_told(tmp_path: Path) -> None:
    g = network(op("conv", given("x", "N 2 T"), out=2, kernel=3, key="c"))
    path, weights = tmp_path / "model.onnx", random_weights(g)
    message = _raises("E723", lambda: export(g, weights, path, sizes={"T": 2}))
    assert message.startswith("the network cannot be run at N = 1, T = 2")


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    g = network(op("relu", given("x", "N 2")))
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (tmp_path / "missing" / "model.onnx", folder):
        assert "cannot be written" in _raises("E728", lambda path=path: export(g, {}, path))
    assert list(tmp_path.iterdir()) == [folder]


def test_an_older_file_is_replaced_and_nothing_else_is_left(exported: Any) -> None:
    g, weights, path = exported
    export(g, {**weights, "logits.bias": np.ones(3, np.float32)}, path)
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]
    values = {i.name: i for i in onnx.load(path).graph.initializer}
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(values["logits.bias"]), np.ones(3))


@pytest.mark.parametrize(
    ("reference", "found", "expected"),
    [
        ([0.1, 0.2], [0.1, 0.3], 0.1),
        ([100.0, 0.2], [100.0, 0.3], 0.001),
        ([-200.0], [-202.0], 0.01),
        ([np.inf, 1.0], [np.inf, 1.0], 0.0),
        ([np.inf], [1.0], np.inf),
        ([np.nan], [np.nan], np.inf),
        ([1.0], [[1.0]], np.inf),
        ([], [], 0.0),
    ],
)
def test_the_difference_is_relative_above_one(
    reference: list[float], found: Any, expected: float
) -> None:
    assert difference(np.array(reference), np.array(found)) == pytest.approx(expected)


# ── inference ────────────────────────────────────────────────────────────────────────────────────


def test_a_file_runs_in_batches_as_it_runs_whole(exported: Any) -> None:
    g, _, path = exported
    inputs = random_inputs(g, {"N": 10, "T": 5})
    seen: list[tuple[int, int]] = []
    model = load(path)
    parts = model.run(inputs, batch=4, progress=lambda done, all: seen.append((done, all)))
    whole = run(path, inputs)
    assert seen == [(4, 10), (8, 10), (10, 10)]
    assert list(parts) == ["logits", "heard"]
    for name, array in whole.items():
        np.testing.assert_allclose(parts[name], array, rtol=1e-5, atol=1e-6)


def test_samples_that_meet_are_not_separated(tmp_path: Path) -> None:
    x = given("x", "N 3")
    g = network(op("softmax", x, axis=0))
    export(g, {}, tmp_path / "model.onnx")
    inputs = random_inputs(g, {"N": 10})
    found = run(tmp_path / "model.onnx", inputs, batch=4)["out"]
    np.testing.assert_allclose(found.sum(0), np.ones(3), rtol=1e-5)


def test_a_file_tells_what_it_is(exported: Any) -> None:
    g, _, path = exported
    model = load(path)
    assert isinstance(model, Model)
    assert [f"{p.name}: {p.text}" for p in model.inputs] == [
        "image[1]: f32[N, 1, 8, 8]",
        "audio: f32[N, 12, T]",
    ]
    assert model.metadata.digest == g.digest
    assert model.metadata.classes == ("a", "b", "c")
    assert model.providers[-1] == "CPUExecutionProvider"


def test_loading_and_running_print_nothing(
    exported: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    g, _, path = exported
    run(path, random_inputs(g, {"N": 2, "T": 3}))
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    _raises("E726", lambda: load(tmp_path / "broken.onnx"))
    pool = onnx.helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[1], pads=[2, 2])
    ends = [onnx.helper.make_tensor_value_info(n, 1, [1, 1, s]) for n, s in (("x", 3), ("y", 7))]
    refused = onnx.helper.make_model(onnx.helper.make_graph([pool], "g", ends[:1], ends[1:]))
    refused.ir_version, refused.opset_import[0].version = 8, 18
    onnx.save(refused, tmp_path / "refused.onnx")
    _raises("E726", lambda: load(tmp_path / "refused.onnx"))
    assert capfd.readouterr() == ("", "")


_EXPECTED = "expected `image[1]`: f32[N, 1, 8, 8], `audio`: f32[N, 12, T]"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"audio": None},
            f"the input `audio` is missing: {_EXPECTED}, found `image[1]`",
        ),
        ({"sound": np.zeros(1)}, f"there is no input `sound`: {_EXPECTED}"),
        (
            {"audio": np.zeros((2, 12, 5))},
            "expected f32[N, 12, T], found numbers of type float64",
        ),
        (
            {"audio": np.zeros((2, 11, 5), np.float32)},
            "expected f32[N, 12, T], found an array of shape [2, 11, 5]",
        ),
        (
            {"audio": np.zeros((2, 12), np.float32)},
            "expected f32[N, 12, T], found an array of shape [2, 12]",
        ),
        ({"audio": np.zeros((3, 12, 5), np.float32)}, "`N` is 3 here and 2 in `image[1]`"),
        (
            {"audio": np.zeros((2, 12, 0), np.float32)},
            "expected f32[N, 12, T], found an empty array",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_told(
    exported: Any, change: dict[str, np.ndarray | None], message: str
) -> None:
    g, _, path = exported
    given = {**random_inputs(g, {"N": 2, "T": 5}), **change}
    arrays = {name: array for name, array in given.items() if array is not None}
    assert _raises("E725", lambda: run(path, arrays)) == message


def test_files_that_are_not_ours_are_told(exported: Any, tmp_path: Path) -> None:
    _, _, path = exported
    assert _raises("E726", lambda: load(tmp_path / "none.onnx")) == "there is no such file"
    text = tmp_path / "space.fuse"
    text.write_text("fuse 1\n")
    assert "cannot read this file as ONNX" in _raises("E726", lambda: load(text))
    truncated = tmp_path / "truncated.onnx"
    truncated.write_bytes(path.read_bytes()[:-200])
    _raises("E726", lambda: load(truncated))
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    assert "not exported by fusegraph" in _raises("E726", lambda: load(tmp_path / "foreign.onnx"))
    onnx.helper.set_model_props(model, {"fusegraph.digest": "0", "fusegraph.classes": "{"})
    onnx.save(model, tmp_path / "damaged.onnx")
    assert "metadata" in _raises("E726", lambda: load(tmp_path / "damaged.onnx"))


def test_a_missing_runtime_or_device_is_told(
    exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, path = exported
    assert "has no Tpu" in _raises("E727", lambda: load(path, device=["Tpu"]))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert _raises("E727", lambda: load(path)) == "onnxruntime is not installed"
