"""Each error of the torch backend reads as its page shows it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch

from fusegraph.backends.torch import lower
from fusegraph.backends.torch.elastic import slices_of
from fusegraph.backends.torch.sampled import SampledNetworks
from fusegraph.ir.decisions import OneOf
from fusegraph.ir.diagnostics import FusegraphError, codes, explain, render
from fusegraph.ir.node import choice, input_node
from repository import ROOT
from small_examples import load_small
from torch_backend_networks import N, T, f32, net, op


def _space() -> None:
    x = input_node("x", f32(N, 4))
    for level in range(1, 3):
        decision = OneOf(f"h[{level}].act", ("relu", "sigmoid"))
        x = choice(decision, 0, [op("relu", x), op("sigmoid", x)])
    lower(net(x, "tiny"))


def _two_inputs() -> dict[str, torch.Tensor]:
    return {"skeleton[1]": torch.zeros(3, 128), "video[2]": torch.zeros(3, 1024)}


def _two_taps(batch: dict[str, torch.Tensor]) -> None:
    taps = [input_node("skeleton[1]", f32(N, 128)), input_node("video[2]", f32(N, 1024))]
    lower(net(op("concat", *taps), "mfas_ntu")).run(batch)


def _missing() -> None:
    _two_taps({"skeleton[1]": torch.zeros(3, 128), "video[1]": torch.zeros(3, 512)})


def _misshapen() -> None:
    _two_taps({**_two_inputs(), "video[2]": torch.zeros(3, 7)})


def _mistied() -> None:
    h = op("linear", input_node("x", f32(N, 4)), out=3, key="h")
    lower(net(op("linear", h, out=3, key="h")))


def _over_time() -> None:
    lower(net(op("linear", input_node("x", f32(N, T)), out=2, key="h")))


def _untold() -> None:
    lower(net(op("concat", input_node("x", f32(N, 4)), op("zeros", shape=(N, T)))))


def _keyless() -> None:
    lower(net(op("linear", input_node("x", f32(N, 4)), out=2)))


def _of_another_space() -> None:
    """Weights of `small` with 8 channels, and a network of it with 16."""
    x = input_node("x", f32(N, 8))
    spaces = [net(op("linear", x, out=out, key="h"), "small") for out in (8, 16)]
    SampledNetworks(spaces[0], 0).run(spaces[1:], {"x": torch.zeros(2, 8)})


def _of_open_levels() -> None:
    slices_of(load_small(ROOT / "examples/assemblenet/moving_digits.fuse").graph)


WRONG: dict[str, Callable[[], None]] = {
    "E710": _space,
    "E711": _missing,
    "E712": _misshapen,
    "E713": _mistied,
    "E714": _over_time,
    "E715": _untold,
    "E716": _keyless,
    "E717": _of_another_space,
    "E718": _of_open_levels,
}


def test_every_error_of_the_backend_is_here() -> None:
    assert set(WRONG) == {code for code in codes() if code.startswith("E71")}


@pytest.mark.parametrize("code", list(WRONG))
def test_error_reads_as_its_page_shows_it(code: str) -> None:
    with pytest.raises(FusegraphError) as error:
        WRONG[code]()
    page = explain(code)
    assert page is not None
    shown = re.search(r"```\n(error.*?)```", page, re.DOTALL)
    assert shown is not None
    assert render(error.value.diagnostics) == shown[1]
