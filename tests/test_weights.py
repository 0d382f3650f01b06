"""Files of weights come from anywhere: what is wrong with one is told as E646, and no other way."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fusegraph.ir.diagnostics import Diagnostic, FusegraphError
from fusegraph.tasks.weights import load_weights

GOOD = {"weight": torch.ones(2, 2), "bias": torch.ones(2)}


def refused(module: nn.Module, file: Path) -> Diagnostic:
    with pytest.raises(FusegraphError) as caught:
        load_weights(module, file)
    found = caught.value.diagnostics[0]
    assert found.code == "E646"
    return found


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({0: torch.ones(2)}, "found int as a name"),
        ({**GOOD, (1, 2): torch.ones(2)}, "found tuple as a name"),
        ([1], "found list"),
        ({"state_dict": {}}, "found dict"),
        ({**GOOD, "weight": torch.ones(2, 2).to_sparse()}, "`weight` of layout sparse_coo"),
        ({**GOOD, "weight": torch.ones(2, 2, device="meta")}, "`weight` without values"),
    ],
)
def test_what_is_no_plain_tensor_by_name_is_refused(
    held: object, said: str, tmp_path: Path
) -> None:
    torch.save(held, tmp_path / "a.pt")
    assert said in refused(nn.Linear(2, 2), tmp_path / "a.pt").message


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (torch.ones(2, 2, dtype=torch.complex64), "floating-point numbers, found complex64"),
        (torch.ones(2, 2, dtype=torch.int64), "floating-point numbers, found integers"),
        (torch.full((2, 2), torch.nan), "finite numbers, found nan"),
        (torch.full((2, 2), 1e300, dtype=torch.float64), "finite numbers, found inf"),
    ],
)
def test_numbers_that_are_no_weights_are_refused(weight: Tensor, said: str, tmp_path: Path) -> None:
    torch.save({**GOOD, "weight": weight}, tmp_path / "a.pt")
    network = nn.Linear(2, 2)
    before = network.weight.clone()
    assert refused(network, tmp_path / "a.pt").notes == (f"weight: expected {said}",)
    assert torch.equal(network.weight, before)


def test_other_precisions_and_masks_that_are_infinite_are_taken(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    network.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    held = {**GOOD, "weight": torch.full((2, 2), 0.5).half(), "mask": network.mask}
    torch.save(held, tmp_path / "a.pt")
    load_weights(network, tmp_path / "a.pt")
    assert torch.equal(network.weight, torch.full((2, 2), 0.5))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_file_is_taken_or_refused_with_its_name(zipped: bool, tmp_path: Path) -> None:
    rng, file = random.Random(0), tmp_path / "a.pt"
    network = nn.Linear(2, 2)
    torch.save(GOOD, file, _use_new_zipfile_serialization=zipped)
    whole = file.read_bytes()
    codes: list[str] = []
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        cut = rng.randrange(len(damaged)) if rng.random() < 0.3 else len(damaged)
        file.write_bytes(damaged[:cut])
        try:
            load_weights(network, file)
        except FusegraphError as error:
            codes.append(error.diagnostics[0].code)
    assert len(codes) > 50
    assert set(codes) == {"E646"}
