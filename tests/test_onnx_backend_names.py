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
        ("c[1].values", "c.1.values_"),
        ("c.values_", "c.values__"),
        ("type.weight", "type_.weight_"),
        ("class", "class_"),
        ("_modules", "_modules_"),
    ],
)
def test_a_key_becomes_a_path_of_modules(key: str, name: str) -> None:
    assert state_name(key) == name
    assert weight_name(key, "bias") == f"{name}.bias"


@pytest.mark.parametrize("kind", [nn.Module, nn.ModuleDict, nn.ModuleList])
def test_no_attribute_of_a_torch_module_is_free(kind: type[nn.Module]) -> None:
    public = {name.rstrip("_") for name in dir(kind()) if not name.startswith("_")}
    assert public <= RESERVED
    for attribute in dir(kind()):
        kind.add_module(kind(), state_name(attribute), nn.Identity())


_parts = st.sampled_from(["h", "values", "values_", "values__", "_x", "_", "__", "if", "if_"])


@given(st.lists(_parts, min_size=1, max_size=2), st.lists(_parts, min_size=1, max_size=2))
def test_different_keys_have_different_names(first: list[str], second: list[str]) -> None:
    a, b = ".".join(first), ".".join(second)
    assert (state_name(a) == state_name(b)) == (a == b)
