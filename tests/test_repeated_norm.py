"""A norm of rows that stand for copies does what the norm of the copies does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fusegraph.backends.torch.dense import RepeatedNorm

COPIES = 3


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_row_stands_for_its_copies(rows: int) -> None:
    """Outputs, gradients and running statistics, a batch of one sample included."""
    generator = torch.Generator().manual_seed(rows)
    short = RepeatedNorm(4, 1e-5, 0.1, COPIES).double()
    long = nn.BatchNorm1d(4, 1e-5, 0.1).double()
    with torch.no_grad():
        short.weight.copy_(torch.rand(4, generator=generator) + 0.5)
        short.bias.copy_(torch.randn(4, generator=generator))
    long.load_state_dict(short.state_dict())
    for _ in range(2):
        x = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
        one, all_ = x.clone().requires_grad_(), x.clone().requires_grad_()
        found = short(one)
        expected = long(all_[:, :, None].expand(-1, -1, COPIES))
        torch.testing.assert_close(found[:, :, None].expand_as(expected), expected)
        weights = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
        (found * weights).sum().backward()
        (expected * weights[:, :, None] / COPIES).sum().backward()
        torch.testing.assert_close(one.grad, all_.grad)
    for name, value in long.state_dict().items():
        torch.testing.assert_close(short.state_dict()[name], value)


def test_a_row_without_copies_is_refused_as_torch_does() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        RepeatedNorm(4, 1e-5, 0.1, 1)(torch.zeros(1, 4))
