"""Keys become names of weights, and no two of them the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fusegraph.backends.names import RESERVED, state_name, weight_name


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("h[1].linear", "h.1.linear"),
        ("logits", "logits"),
        ("c[1].s[2].linear_glu", "c.1.s.2.linear_glu"),
        ("c[1].type", "c.1.type_"),
        ("c.type_", "c.type__"),
        ("half.weight", "half_.weight_"),
        ("class", "class_"),
        ("esc_a", "esc_esc__a"),
        ("a b", "esc_a_20_b"),
    ],
)
def test_a_key_becomes_a_path_of_modules(key: str, name: str) -> None:
    assert state_name(key) == name
    assert weight_name(key, "bias") == f"{name}.bias"


@pytest.mark.parametrize(
    "layer",
    [nn.Module(), nn.Linear(1, 1), nn.Conv1d(1, 1, 1), nn.BatchNorm1d(1), nn.LayerNorm(1)],
    ids=lambda layer: type(layer).__name__,
)
def test_no_attribute_of_a_torch_module_is_free(layer: nn.Module) -> None:
    public = {name for name in dir(layer) if not name.startswith("_")}
    assert public <= RESERVED
    for attribute in dir(layer):
        layer.add_module(state_name(attribute), nn.Identity())


_keys = st.lists(
    st.sampled_from(["h", "h[1]", "type", "type_", "type__", "requires_grad_", "requires_grad__"])
    | st.sampled_from(["if", "if_", "_x", "esc_a", "a b", "a__b"]),
    min_size=1,
    max_size=2,
).map(".".join)


@given(_keys, _keys)
def test_different_keys_have_different_names(first: str, second: str) -> None:
    assert (state_name(first) == state_name(second)) == (first == second)
