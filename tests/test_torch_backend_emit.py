"""Emitted files: what people read, and that they need nothing but torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from fusegraph.backends.torch import emit, lower
from fusegraph.ir.graph import Graph, graph
from fusegraph.ir.node import input_node
from fusegraph.ir.types import tensor
from repository import ROOT
from torch_backend_networks import N, T, batch_for, bm_nas, f32, mfas, net, op

GOLDEN = ROOT / "tests" / "golden" / "emit"


def everything() -> Graph:
    """A network with each form that generated code can take."""
    x = input_node("clip[1].x", f32(N, 4, T, 6))
    words = input_node("words", tensor("i64", (N, 5)))
    h = op("conv", x, out=8, kernel=(3, 1), pad=((2, 0), 0), bias=False, key="stem.conv")
    h = op("batch_norm", h, gamma=0.0, key="stem.type")
    h = op("max_pool", h, kernel=(2, 3), stride=(1, 3), pad=((1, 0), 0))
    h = op("drop_path", h, p=0.1, key="stem.path")
    h = op("linear", h, out=4, axis=1, key="stem")
    gate = op("parameter", shape=(1, 4, 1, 1), init="truncated_normal", key="stem[2].gate")
    gated = op("mul", h, op("sigmoid", gate))
    flat = op("reshape", gated, shape=(N, 4, 2 * T))
    pooled = op("mean", op("slice", flat, axis=2, start=T // 2, step=2), axis=2)
    told = op("flatten", op("embedding", words, rows=9, out=2, key="words"))
    joined = op("concat", pooled, told, op("zeros", shape=(N, 2)))
    many = op("sum", *[op("scale", joined, by=0.5 + i) for i in range(9)])
    logits = op("linear", many, out=3, key="a layer's name")
    return net({"logits": logits, "class": op("log_softmax", logits)}, "every form")


NETWORKS = {"mfas_ntu": mfas(), "bm_nas_tiny": bm_nas(), "every_form": everything()}
_by_name = pytest.mark.parametrize("name", list(NETWORKS))


def loaded(text: str, folder: Path) -> ModuleType:
    """The file as a module."""
    module = ModuleType("emitted")
    file = folder / "emitted.py"
    file.write_text(text, encoding="utf-8")
    exec(compile(text, str(file), "exec"), module.__dict__)  # noqa: S102  (what is under test)
    return module


@_by_name
def test_emitted_file_reads_as_before(name: str) -> None:
    assert emit(NETWORKS[name]) == (GOLDEN / f"{name}.py.txt").read_text(encoding="utf-8")


@_by_name
def test_emitted_class_takes_the_weights_and_computes_the_same(name: str, tmp_path: Path) -> None:
    network = lower(NETWORKS[name], seed=0).eval()
    with torch.no_grad():
        for weight in network.parameters():  # gates and scales may start at zero
            weight.uniform_(-0.5, 0.5)
    made = loaded(emit(NETWORKS[name], "Found"), tmp_path).Found()
    assert isinstance(made, nn.Module)
    made.load_state_dict(network.state_dict(), strict=True)
    batch = batch_for(network.graph)
    inputs = [batch[i["name"]] for i in network.graph.inputs]
    torch.testing.assert_close(made.eval()(*inputs), network(*inputs), rtol=0, atol=0)


@_by_name
def test_emitted_weights_start_as_the_lowered_ones(name: str, tmp_path: Path) -> None:
    module = loaded(emit(NETWORKS[name], "Found"), tmp_path)
    torch.manual_seed(1)
    made = module.Found()
    torch.manual_seed(1)
    network = lower(NETWORKS[name])
    assert list(made.state_dict()) == list(network.state_dict())
    torch.testing.assert_close(made.state_dict(), network.state_dict(), rtol=0, atol=0)


@_by_name
def test_emitted_text_is_formatted_and_free_of_lint(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.py"
    file.write_text(emit(NETWORKS[name]), encoding="utf-8")
    for command in (["format", "--diff"], ["check", "--select", "E,F,I,W,B,UP"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated", "--line-length", "100", file],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_emitted_file_imports_nothing_but_torch() -> None:
    for network in NETWORKS.values():
        lines = [line for line in emit(network).splitlines() if "import " in line]
        assert not [line for line in lines if "fusegraph" in line]
        modules = {line.split()[1].split(".")[0] for line in lines}
        assert modules <= {"__future__", "torch", "functools", "math"}


def test_emitting_needs_no_torch() -> None:
    code = (
        "import sys; from fusegraph.backends.torch import emit; "
        "assert callable(emit); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("long", [1, 3, 5, 8, 20])
def test_long_lines_are_broken_as_the_formatter_does(long: int, tmp_path: Path) -> None:
    names = [f"feature_{i}_{'of_some_backbone' * (i % 3)}" for i in range(long)]
    xs = [input_node(name, f32(N, 2, T)) for name in names]
    outputs = {
        "joined": op("concat", *xs),
        "summed": op("sum", *xs[:8]),
        "folded": op("sum", *xs),
        "shaped": op("reshape", op("concat", *xs), shape=(N, long, 2, T)),
        "layer" * 8: op("conv", xs[0], out=3, kernel=5, pad=((3, 1),), key="layer.conv" * 5),
        "x" * 40: op("div", xs[0], xs[-1]),
    }
    text = emit(net(outputs, "long"))
    file = tmp_path / "long.py"
    file.write_text(text, encoding="utf-8")
    command = ["format", "--diff", "--isolated", "--line-length", "100"]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert max(map(len, text.splitlines())) <= 100


HOSTILE = [
    '"""\nraise SystemExit\n"""', "\\", "class", "", "x'); import os; ('", "N\nassert False",
    "naïve", "\x00", "{x}", "nn", "Scope", "Learned",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_text_of_a_user_becomes_code(text: str, tmp_path: Path) -> None:
    x = input_node(text, f32(N, 2))
    gate = op("parameter", shape=(1, 2), key="gate")
    h = op("mul", op("linear", x, out=2, key=text or "h"), gate)
    network = graph(text, [x], [(text, h), ("N", op("relu", h))])
    for name in (None, text):
        source = emit(network, name)
        module = loaded(source, tmp_path)
        (made,) = [
            value
            for label, value in vars(module).items()
            if isinstance(value, type)
            and issubclass(value, nn.Module)
            and label not in ("Scope", "Learned")
        ]
        assert list(made()(torch.ones(3, 2))) == [text, "N"]


def test_class_takes_the_name_that_is_given() -> None:
    assert "class FoundByMfas(nn.Module):" in emit(mfas(), "found by-mfas")
    assert "class MfasNtu(nn.Module):" in emit(mfas())
