"""X3D, SlowFast, Auto-TSNet's fusion ops: published sizes, closed formulas, torch's functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as f

from cli_calls import good
from fusegraph.backends.torch import lower
from fusegraph.compiler.cost import cost, cost_lines
from fusegraph.compiler.explore import sample
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dims import Static
from fusegraph.ir.dsl import load, loads
from fusegraph.ir.graph import Graph
from fusegraph.ir.settling import bind
from generators import some
from repository import ROOT
from small_examples import load_small
from torch_backend_networks import batch_for
from video_networks import Layers, doubled, onnx_difference, weighted

FOLDER = ROOT / "examples" / "two_stream"
X3D, SLOWFAST = FOLDER / "x3d.fuse", FOLDER / "slowfast.fuse"
M = {"frames": "16", "side": "224"}
L = {"frames": "16", "side": "312", "depth": "5"}


def _network(file: Path, **constants: object) -> Graph:
    return load(file, {name: str(value) for name, value in constants.items()}).graph


def _parameters(network: Graph) -> dict[str, Static]:
    """Of each part of the space, by key."""
    return {line.key: line.cost.parameters for line in cost_lines(network) if line.depth == 0}


# ── published figures ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("file", "constants", "parameters", "giga"),
    [
        (X3D, {}, 3_794_322, 1.9629),
        (X3D, M, 3_794_322, 4.7325),
        (X3D, {"frames": "4"}, 3_794_322, 0.6053),
        (X3D, L, 6_153_432, 18.3677),
        (X3D, {**L, "side": "356"}, 6_153_432, 24.7640),  # the paper's test crop: 24.8
        (X3D, {**L, "width": "2.9"}, 11_095_904, 35.8376),
        (X3D, {**L, "width": "2.9", "side": "356"}, 11_095_904, 48.4068),  # its test crop: 48.4
        # Auto-TSNet's supplement, Table 4, has 81, 186 and 744 G for 30 views: 2.7, 6.2 and 24.8.
        (X3D, {"side": "182"}, 3_794_322, 2.7219),
        (X3D, {"frames": "16", "side": "256"}, 3_794_322, 6.1806),
        (SLOWFAST, {}, 34_480_216, 27.6387),
        (SLOWFAST, {"alpha": "4", "kernel": "7"}, 34_566_488, 50.3086),
        (SLOWFAST, {"alpha": "4", "blocks": "(3, 4, 23, 3)"}, 62_826_968, 96.3966),
    ],
    ids=[
        "S",
        "M",
        "XS",
        "L",
        "L-test",
        "XL",
        "XL-test",
        "S-182",
        "M-256",
        "4x16",
        "8x8",
        "R101-8x8",
    ],
)
def test_a_published_network_has_its_parameters_and_multiply_adds(
    file: Path, constants: Mapping[str, str], parameters: int, giga: float
) -> None:
    total = cost(load(file, constants).graph)
    assert total.parameters == parameters
    assert round(float(str(bind(total.macs, {"N": 1}))) / 1e9, 4) == giga


def test_the_parts_of_x3d_are_those_of_the_release() -> None:
    network = load(X3D).graph
    parts = _parameters(network)
    stages = [parts[f"res[{i}]"] for i in range(1, 6)]
    assert stages == [816, 15_418, 73_248, 569_256, 1_347_440]
    lines = {line.key: line.cost.parameters for line in cost_lines(network)}
    assert lines["logits.wide.conv"] + lines["logits.wide.batch_norm"] == 83_808
    assert lines["logits.vector.linear"] == 884_736
    assert lines["logits.linear"] == 819_600


def test_the_laterals_of_slowfast_are_those_of_the_release() -> None:
    parts = _parameters(load(SLOWFAST).graph)
    assert [parts[f"both[{i}]"] for i in range(2, 6)] == [672, 10_368, 41_216, 164_352]


@pytest.mark.parametrize("file", [X3D, SLOWFAST], ids=lambda path: path.stem)
def test_the_digest_is_blind_to_layout_and_sees_every_constant(file: Path) -> None:
    network = load(file).graph
    text = "\n".join(line.split("#")[0] for line in file.read_text("utf-8").splitlines())
    assert loads(text).graph.digest == network.digest == load(file).graph.digest
    others = [load(file, {"classes": "401"}), load(file, {"side": "64"}), load_small(file)]
    assert len({network.digest, *[other.graph.digest for other in others]}) == 4


# ── closed formulas ──────────────────────────────────────────────────────────────────────────────


def _round8(value: Fraction) -> int:
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < Fraction(9, 10) * value else rounded


def _x3d_parameters(
    width: Fraction, depth: Fraction, expansion: Fraction, hidden: int, classes: int
) -> int:
    widths = [_round8(c * width) for c in (12, 24, 48, 96)]
    total = 27 * widths[0] + 5 * widths[0] + 2 * widths[0]
    before = widths[0]
    for c, basis in zip(widths, (1, 2, 5, 3), strict=True):
        inner = math.floor(expansion * c)
        squeezed = _round8(Fraction(inner, 16))
        for block in range(math.ceil(basis * depth)):
            come = c if block else before
            total += come * inner + 27 * inner + inner * c + 4 * inner + 2 * c
            total += 0 if block % 2 else 2 * inner * squeezed + inner + squeezed
            total += 0 if block else come * c + 2 * c
        before = c
    inner = math.floor(expansion * widths[-1])
    return total + widths[-1] * inner + 2 * inner + inner * hidden + hidden * classes + classes


@some(20)
@given(
    st.integers(3, 30),
    st.integers(1, 25),
    st.integers(4, 16),
    st.integers(1, 40),
    st.integers(1, 9),
)
def test_x3d_has_the_parameters_of_the_closed_formula(
    width: int, depth: int, expansion: int, hidden: int, classes: int
) -> None:
    network = _network(
        X3D, width=width / 10, depth=depth / 10, expansion=expansion / 4, hidden=hidden,
        classes=classes, side=32, frames=2,
    )  # fmt: skip
    expected = _x3d_parameters(
        Fraction(width, 10), Fraction(depth, 10), Fraction(expansion, 4), hidden, classes
    )
    assert cost(network).parameters == expected


def _slowfast_parameters(blocks: tuple[int, ...], width: int, kernel: int, classes: int) -> int:
    def stage(come: int, inner: int, time: int, count: int) -> int:
        own = 9 * inner**2 + 4 * inner**2 + 4 * inner + 8 * inner
        rest = (count - 1) * (4 * inner * inner * time + own)
        return come * inner * time + own + 4 * come * inner + 8 * inner + rest

    slow, fast = width, width // 8
    total = 3 * 49 * slow + 2 * slow + 5 * 3 * 49 * fast + 2 * fast
    for level, count in enumerate(blocks):
        lateral = 2 * fast
        total += kernel * fast * lateral + 2 * lateral
        inner = width * 2**level
        total += stage(slow + lateral, inner, 1 if level < 2 else 3, count)
        total += stage(fast, inner // 8, 3, count)
        slow, fast = 4 * inner, inner // 2
    return total + (slow + fast) * classes + classes


@some(15)
@given(
    st.tuples(*[st.integers(1, 4)] * 4),
    st.integers(1, 5),
    st.sampled_from((1, 3, 5, 7)),
    st.integers(1, 9),
)
def test_slowfast_has_the_parameters_of_the_closed_formula(
    blocks: tuple[int, ...], eighth: int, kernel: int, classes: int
) -> None:
    network = _network(
        SLOWFAST, blocks=blocks, width=8 * eighth, kernel=kernel, classes=classes, side=32
    )
    assert cost(network).parameters == _slowfast_parameters(blocks, 8 * eighth, kernel, classes)


# ── what they compute ────────────────────────────────────────────────────────────────────────────


def _x3d(w: Layers, clip: Tensor, blocks: tuple[int, ...]) -> Tensor:
    x = w.conv("res.1.space", clip, (1, 2, 2), (0, 1, 1))
    x = w.conv("res.1.time", x, pad=(2, 0, 0), groups=x.shape[1])
    x = w.norm("res.1.batch_norm", x).relu()
    for stage, count in enumerate(blocks, 2):
        for block in range(1, count + 1):
            at = f"res.{stage}.h.{block}"
            stride = (1, 2, 2) if block == 1 else (1, 1, 1)
            h = w.norm(f"{at}.wide.batch_norm", w.conv(f"{at}.wide.conv", x)).relu()
            h = w.conv(f"{at}.filtered", h, stride, (1, 1, 1), groups=h.shape[1])
            h = w.norm(f"{at}.gated.batch_norm", h)
            if block % 2:
                gate = f"{at}.gated.squeeze_excite"
                squeezed = f.adaptive_avg_pool3d(h, 1)
                squeezed = w.conv(f"{gate}.squeezed.conv", squeezed).relu()
                h = h * w.conv(f"{gate}.conv", squeezed).sigmoid()
            h = w.norm(f"{at}.narrow", w.conv(f"{at}.narrow.conv", h * h.sigmoid()))
            if block == 1:
                x = w.conv(f"{at}.project.conv", x, stride)
                x = w.norm(f"{at}.project.batch_norm", x)
            x = (x + h).relu()
    x = w.norm("logits.wide.batch_norm", w.conv("logits.wide.conv", x)).relu()
    x = w.linear("logits.vector.linear", x.flatten(2).mean(2)).relu()
    return w.linear("logits.linear", x)


def test_x3d_computes_what_torch_says(tmp_path: Path) -> None:
    module = weighted(load_small(X3D).graph)
    layers, batch, found = doubled(module)
    torch.testing.assert_close(found, _x3d(layers, batch["clip"], (1, 1, 3, 2)))
    assert found.std(0).min() > 1e-3
    assert onnx_difference(module, tmp_path) < 1e-4


def _pathway(w: Layers, key: str, x: Tensor, stage: int, blocks: int, time: int) -> Tensor:
    for block in range(1, blocks + 1):
        at = f"{key}.{stage}.h.{block}"
        side = 2 if block == 1 and stage > 2 else 1
        h = w.conv(f"{at}.narrow.conv", x, pad=(time // 2, 0, 0))
        h = w.norm(f"{at}.narrow.batch_norm", h).relu()
        h = w.conv(f"{at}.filtered", h, (1, side, side), (0, 1, 1))
        h = w.conv(f"{at}.wide", w.norm(f"{at}.wide.batch_norm", h).relu())
        h = w.norm(f"{at}.batch_norm", h)
        if block == 1:
            x = w.conv(f"{at}.project.conv", x, (1, side, side))
            x = w.norm(f"{at}.project.batch_norm", x)
        x = (x + h).relu()
    return x


def _slowfast(w: Layers, slow: Tensor, fast: Tensor, blocks: tuple[int, ...]) -> Tensor:
    alpha = fast.shape[2] // slow.shape[2]
    streams: list[Tensor] = []
    for key, x, time in (("s", slow, 0), ("f", fast, 2)):
        x = w.conv(f"{key}.1.filtered", x, (1, 2, 2), (time, 3, 3))
        x = w.norm(f"{key}.1.batch_norm", x).relu()
        streams.append(f.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1)))
    s, q = streams
    for stage, count in enumerate(blocks, 2):
        brought = w.conv(f"both.{stage}.brought", q, (alpha, 1, 1), (3, 0, 0))
        brought = w.norm(f"both.{stage}.batch_norm", brought).relu()
        s = _pathway(w, "s", torch.cat((s, brought), 1), stage, count, 1 if stage < 4 else 3)
        q = _pathway(w, "f", q, stage, count, 3)
    vector = torch.cat((s.flatten(2).mean(2), q.flatten(2).mean(2)), 1)
    return w.linear("logits.linear", vector)


def test_slowfast_computes_what_torch_says(tmp_path: Path) -> None:
    module = weighted(load_small(SLOWFAST).graph)
    layers, batch, found = doubled(module)
    torch.testing.assert_close(found, _slowfast(layers, batch["slow"], batch["fast"], (1, 2, 1, 1)))
    assert found.std(0).min() > 1e-3
    assert onnx_difference(module, tmp_path) < 1e-4


def test_blocks_start_as_their_shortcuts() -> None:
    for file in (X3D, SLOWFAST):
        state = lower(load_small(file).graph, seed=0).state_dict()
        last = "narrow.weight" if file is X3D else "h.1.batch_norm.weight"
        found = [value for name, value in state.items() if name.endswith(last)]
        assert found
        assert not any(value.any() for value in found if value.ndim == 1)


# ── fusion ops ───────────────────────────────────────────────────────────────────────────────────

FUSING = """fuse 1
use "std/two_stream": skip, strided_conv, strided_sample, time_to_channel
space fusing {{
  dim N, T
  input dense: f32[N, 3, {alpha} * T, 4, 5]
  input sparse: f32[N, 6, T, 4, 5]
  output y = sparse + ?fuse of {{skip, strided_conv, strided_sample, time_to_channel}}(
    dense, sparse
  )
}}
"""
OPS = ("skip", "strided_conv", "strided_sample", "time_to_channel")


def _fused(op: str, alpha: int) -> Graph:
    space = loads(FUSING.format(alpha=alpha)).graph
    return specialise(space, {"y.fuse": (OPS.index(op),)})


def test_the_four_fusion_ops_have_one_type_at_any_number_of_frames() -> None:
    space = loads(FUSING.format(alpha=4)).graph
    assert space.outputs[0][1].type.pretty == "f32[N, 6, T, 4, 5]"


@pytest.mark.parametrize("alpha", [1, 2, 4])
@pytest.mark.parametrize("op", OPS[1:])
def test_a_fusion_op_has_its_parameters_and_computes_what_the_supplement_says(
    op: str, alpha: int, tmp_path: Path
) -> None:
    network = _fused(op, alpha)
    point_wise = (alpha if op == "time_to_channel" else 1) * 3 * 6 + 6
    in_time = 5 * 3 * 3 + 3 if op == "strided_conv" else 0
    assert cost(network).parameters == in_time + point_wise
    module = weighted(network)
    w, batch, found = doubled(module)
    dense, sparse = batch["dense"], batch["sparse"]
    if op == "strided_conv":
        brought = w.conv(f"y.{op}.mid", dense, (alpha, 1, 1), (2, 0, 0))
    elif op == "strided_sample":
        brought = dense[:, :, ::alpha]
    else:
        brought = torch.cat([dense[:, :, step::alpha] for step in range(alpha)], 1)
    torch.testing.assert_close(found, sparse + w.conv(f"y.{op}.conv", brought))
    assert onnx_difference(module, tmp_path) < 1e-4


def test_skip_adds_nothing_and_needs_no_dense_stream() -> None:
    network = _fused("skip", 4)
    assert [node["name"] for node in network.inputs] == ["sparse"]
    _, batch, found = doubled(weighted(network))
    torch.testing.assert_close(found, batch["sparse"])


@pytest.mark.parametrize("op", OPS[1:])
def test_frames_that_the_sparse_stream_does_not_divide_are_an_error(op: str) -> None:
    text = f"""fuse 1
use "std/two_stream": {op}
space fusing {{
  dim N
  input dense: f32[N, 3, 7, 4, 5]
  input sparse: f32[N, 6, 2, 4, 5]
  output y = sparse + {op}(dense, sparse)
}}
"""
    with pytest.raises(FusegraphError, match=r"`TD % TS == 0` does not hold"):
        loads(text)


# ── the command line ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", [X3D, SLOWFAST], ids=lambda path: path.stem)
def test_the_files_can_be_checked_costed_drawn_and_emitted_at_full_size(
    file: Path, tmp_path: Path
) -> None:
    assert "network" in good("check", file)
    assert good("cost", file)
    good("show", file, "-o", tmp_path / "net.svg")
    good("fmt", file, "--check")
    good("emit", file, "-o", tmp_path / "net.py")
    names: dict[str, object] = {}
    exec((tmp_path / "net.py").read_text("utf-8"), names)  # noqa: S102  (what is under test)
    assert "torch" in names


def test_a_space_of_fusion_blocks_samples_runs_and_exports(tmp_path: Path) -> None:
    space = loads(FUSING.format(alpha=2)).graph
    for seed in range(3):
        module = weighted(specialise(space, sample(space, Random(seed))), seed)
        assert isinstance(module.run(batch_for(module.graph)), Tensor)
        assert onnx_difference(module, tmp_path) < 1e-4
