"""Vision transformers: the published size, the closed formula, torch's functions, elastic sizes."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from math import isqrt
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
from fusegraph.compiler.count import count
from fusegraph.compiler.explore import sample
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.diagnostics import FusegraphError
from fusegraph.ir.dsl import load, loads
from fusegraph.ir.graph import Graph
from fusegraph.ir.settling import bind
from generators import some
from repository import ROOT
from small_examples import load_small
from torch_backend_networks import batch_for
from video_networks import Layers, doubled, onnx_difference, weighted
from vit_formulas import vit_macs, vit_parameters

FILE = ROOT / "examples" / "elastic" / "autoformer_t.fuse"
HEADS = (3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 3, 3)
RATIOS = (3.5, 3.5, 3.0, 3.5, 3.0, 3.0, 4.0, 4.0, 3.5, 4.0, 3.5, 4.0, 3.5)


# ── published figures, closed formula ────────────────────────────────────────────────────────────


def test_the_published_t_network_has_its_parameters() -> None:
    assert cost(load(FILE).graph).parameters == 5_867_944 == vit_parameters(192, HEADS, RATIOS)


def test_its_layers_have_four_tables_of_30_by_64() -> None:
    lines = cost_lines(load(FILE).graph)
    tables = [line for line in lines if line.op == "parameter" and line.cost.parameters == 30 * 64]
    layers = Counter(line.key.split(".")[0] for line in tables)
    assert layers == {f"h[{layer}]": 4 for layer in range(1, 14)}


@some(15)
@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(1, 3), st.integers(2, 9)), min_size=1, max_size=3),
    st.integers(1, 4),
    st.integers(1, 9),
)
def test_every_network_costs_what_the_closed_formulas_say(
    embed: int, layers: list[tuple[int, int]], side: int, classes: int
) -> None:
    heads = tuple([h for h, _ in layers])
    ratios = tuple([Fraction(r, 2) for _, r in layers])
    constants = {
        "embed": embed, "side": 16 * side, "classes": classes,
        "heads": f"({', '.join(map(str, heads))},)",
        "ratios": f"({', '.join(str(float(r)) for r in ratios)},)",
    }  # fmt: skip
    network = load(FILE, {name: str(value) for name, value in constants.items()}).graph
    found = cost(network)
    assert found.parameters == vit_parameters(embed, heads, ratios, side, classes=classes)
    assert bind(found.macs, {"N": 1}) == vit_macs(embed, heads, ratios, side, classes=classes)


def test_the_digest_is_blind_to_layout_and_sees_every_ratio() -> None:
    text = "\n".join(line.split("#")[0] for line in FILE.read_text("utf-8").splitlines())
    network = load(FILE).graph
    assert loads(text).graph.digest == network.digest
    assert loads(text.replace("3.5, 3.5, 3.0", "3.5, 3.5, 3.5")).graph.digest != network.digest


def test_stochastic_depth_grows_linearly() -> None:
    module = lower(load(FILE).graph)
    rates = [m.p for m in module.modules() if type(m).__name__ == "DropPath"]
    assert rates == pytest.approx([0.1 * layer / 12 for layer in range(13) for _ in range(2)])


# ── what they compute ────────────────────────────────────────────────────────────────────────────


def _near(w: Layers, at: str, frames: int, side: int, reach: int) -> Tensor:
    """As in the release: rows of the tables looked up by distances, row 0 for the class token."""
    place = torch.arange(frames * side * side)
    coordinates = {
        "height": place // side % side,
        "across": place % side,
        "time.2": place // (side * side),
    }
    found = torch.zeros(())
    for name in ("height", "across", *(["time.2"] if frames > 1 else [])):
        where = coordinates[name]
        index = (where[None, :] - where[:, None]).clamp(-reach, reach) + reach + 1
        index = f.pad(index, (1, 0, 1, 0), value=0)
        found = found + w.weights[f"{at}.{name}.weight"][index]
    return found


def _norm(w: Layers, at: str, x: Tensor) -> Tensor:
    return f.layer_norm(x, x.shape[-1:], w.weights[f"{at}.weight"], w.weights[f"{at}.bias"])


def _transformer(w: Layers, at: str, x: Tensor, heads: int, frames: int, reach: int) -> Tensor:
    side = isqrt((x.shape[1] - 1) // frames)
    own = f"{at}.attended"
    given = _norm(w, f"{at}.first", x)
    q, k, v = [w.linear(f"{own}.{name}", given).unflatten(-1, (heads, -1)) for name in "qkv"]
    near_key = _near(w, f"{own}.near_key", frames, side, reach)
    near_value = _near(w, f"{own}.near_value", frames, side, reach)
    scores = torch.einsum("nihd,njhd->nhij", q, k) + torch.einsum("nihd,ijd->nhij", q, near_key)
    weights = (scores / q.shape[-1] ** 0.5).softmax(-1)
    mixed = torch.einsum("nhij,njhd->nihd", weights, v)
    mixed = mixed + torch.einsum("nhij,ijd->nihd", weights, near_value)
    x = x + w.linear(f"{own}.linear", mixed.flatten(2))
    inner = w.linear(f"{at}.mlp.linear", _norm(w, f"{at}.second", x))
    return x + w.linear(f"{at}.mlp.linear_2", f.gelu(inner))


def test_the_published_network_computes_what_torch_says(tmp_path: Path) -> None:
    module = weighted(load_small(FILE).graph)
    w, batch, found = doubled(module)
    x = f.conv2d(
        batch["image"], w.weights["h.0.patches.squares.weight"],
        w.weights["h.0.patches.squares.bias"], 16,
    )  # fmt: skip
    token = w.weights["h.0.class_token.token.weight"].expand(len(x), 1, -1)
    x = torch.cat((token, x.flatten(2).mT), 1) + w.weights["h.0.parameter.weight"]
    x = _transformer(w, "h.1", x, 1, 1, 14)
    x = _transformer(w, "h.2", x, 2, 1, 14)
    expected = w.linear("logits.linear", _norm(w, "logits.layer_norm", x[:, 0]))
    torch.testing.assert_close(found, expected)
    assert found.std(0).min() > 1e-3
    assert onnx_difference(module, tmp_path) < 1e-4


BLOCK = """fuse 1
use "std/vit": transformer
space block {{
  dim N
  input x: f32[N, {tokens}, 6]
  output y = transformer(x, heads=2, ratio=1.5, frames={frames}, width=4, reach={reach})
}}
"""


@pytest.mark.parametrize(
    ("frames", "side", "reach"), [(1, 1, 0), (1, 3, 2), (1, 3, 14), (2, 2, 3), (4, 3, 3), (3, 1, 2)]
)
def test_a_block_computes_what_torch_says(
    frames: int, side: int, reach: int, tmp_path: Path
) -> None:
    tokens = 1 + frames * side * side
    network = loads(BLOCK.format(tokens=tokens, frames=frames, reach=reach)).graph
    tables = 2 * (2 if frames == 1 else 3)
    own = 3 * 7 * 8 + 9 * 6 + tables * (2 * reach + 2) * 4 + 4 * 6 + 7 * 9 + 10 * 6
    assert cost(network).parameters == own
    module = weighted(network)
    w, batch, found = doubled(module)
    torch.testing.assert_close(found, _transformer(w, "y", batch["x"], 2, frames, reach))
    assert onnx_difference(module, tmp_path) < 1e-4


@pytest.mark.parametrize(
    ("tokens", "frames", "reach", "message"),
    [
        (11, 1, 14, r"`frames \* side \* side == L - 1` does not hold"),
        (10, 2, 14, r"`frames \* side \* side == L - 1` does not hold"),
        (17, 1, 2, r"`length <= middle` does not hold"),
        (5, 4, 2, r"`length <= middle` does not hold"),
    ],
    ids=["no square", "no frames", "too wide", "too long"],
)
def test_tokens_that_no_grid_or_table_has_are_an_error(
    tokens: int, frames: int, reach: int, message: str
) -> None:
    with pytest.raises(FusegraphError, match=message):
        loads(BLOCK.format(tokens=tokens, frames=frames, reach=reach))


EMBEDDED = """fuse 1
use "std/vit": patches, places, tubelets
space embedded {{
  dim N
  input clip: f32[N, 3, {frames}, 8, 12]
  output y = {made}
}}
"""


def _embedded(made: str, frames: int = 1) -> Graph:
    return loads(EMBEDDED.format(made=made, frames=frames)).graph


def test_an_image_is_a_clip_of_one_frame() -> None:
    of_image = lower(
        _embedded("patches(reshape(clip, shape=(N, 3, 8, 12)), out=5, patch=4)"), seed=0
    )
    of_clip = lower(_embedded("tubelets(clip, out=5, patch=4)"), seed=1)
    for mine, other in zip(of_clip.parameters(), of_image.parameters(), strict=True):
        mine.data.copy_(other.data.reshape(mine.shape))
    batch = batch_for(of_clip.graph)
    found, expected = of_clip.run(batch), of_image.run(batch)
    assert isinstance(found, Tensor)
    assert found.shape == (3, 6, 5)
    torch.testing.assert_close(found, expected)


def test_tubelets_come_row_by_row_frame_by_frame() -> None:
    module = weighted(_embedded("tubelets(clip, out=5, patch=4, frames=2)", 6))
    w, batch, found = doubled(module)
    weight = w.weights["y.blocks.weight"].flatten(1)
    tokens = [
        batch["clip"][:, :, t : t + 2, y : y + 4, x : x + 4].flatten(1) @ weight.T
        for t in (0, 2, 4)
        for y in (0, 4)
        for x in (0, 4, 8)
    ]
    torch.testing.assert_close(found, torch.stack(tokens, 1) + w.weights["y.blocks.bias"])


def test_places_are_those_of_an_image_in_every_frame_and_a_time() -> None:
    made = "places(tubelets(clip, out=5, patch=4), frames={})"
    module = weighted(_embedded(made.format(3), 3))
    w, batch, found = doubled(module)
    weight, bias = w.weights["y.tubelets.blocks.weight"], w.weights["y.tubelets.blocks.bias"]
    tokens = f.conv3d(batch["clip"], weight, bias, (1, 4, 4)).flatten(3).permute(0, 2, 3, 1)
    place, time = w.weights["y.at.1.weight"], w.weights["y.at.2.weight"]
    assert (place.shape, time.shape) == ((1, 1, 6, 5), (1, 3, 1, 5))
    torch.testing.assert_close(found, (tokens + place + time).flatten(1, 2))
    assert "y.at.2.weight" not in lower(_embedded(made.format(1))).state_dict()


@pytest.mark.parametrize(
    "made",
    [
        "places(tubelets(clip, out=5, patch=4), frames=5)",
        "tubelets(clip, out=5, patch=4, frames=4)",
        "tubelets(clip, out=5, patch=3)",
        "patches(reshape(clip, shape=(N, 18, 8, 12)), out=5, patch=8)",
    ],
)
def test_pixels_that_do_not_fill_whole_patches_are_an_error(made: str) -> None:
    with pytest.raises(FusegraphError, match="does not hold"):
        _embedded(made, 6)


def test_it_trains() -> None:
    module = lower(load_small(FILE).graph, seed=0).train()
    torch.manual_seed(0)
    found = module.run(batch_for(module.graph))
    assert isinstance(found, Tensor)
    found.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


# ── open sizes ───────────────────────────────────────────────────────────────────────────────────

OPEN = """fuse 1
use "std/vit": class_token, head, positions, transformer, tubelets
space open {
  dim N
  let C = ?embed of {6, 8, 10}
  input clip: f32[N, 3, 4, 8, 8]
  h[0] = positions(class_token(tubelets(clip, out=C, patch=4, frames=2)))
  for l in 1..3 {
    h[l] = transformer(
      h[l - 1], heads=?heads of {1, 2, 3}, ratio=?ratio of {1.5, 2}, frames=2, width=4, reach=2
    )
  }
  output logits = head(?depth of h[2..3], classes=5)
}
"""


def test_width_heads_ratios_and_depth_may_be_open(tmp_path: Path) -> None:
    space = loads(OPEN).graph
    assert count(space).genotypes == 3 * (6**2 + 6**3)
    for seed in range(4):
        network = specialise(space, sample(space, Random(seed)))
        module = weighted(network, seed)
        assert sum(p.numel() for p in module.parameters()) == cost(network).parameters
        assert onnx_difference(module, tmp_path) < 1e-4


# ── the command line ─────────────────────────────────────────────────────────────────────────────


def test_the_file_can_be_checked_costed_drawn_and_emitted_at_full_size(tmp_path: Path) -> None:
    assert "network" in good("check", FILE)
    assert "5867944" in good("cost", FILE)
    good("show", FILE, "-o", tmp_path / "net.svg")
    good("fmt", FILE, "--check")
    good("emit", FILE, "-o", tmp_path / "net.py")
    assert (tmp_path / "net.py").is_file()
