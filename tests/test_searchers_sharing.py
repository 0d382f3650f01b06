"""The bank of shared weights: what is inherited, and by whom."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fusegraph.ir.genotype import Genotype
from fusegraph.searchers.protocol import Proposal, SharedLayer
from fusegraph.searchers.sharing import InheritedWeights, ParentWeights, WeightBank


def proposal(*layers: str, variant: str = "") -> Proposal:
    genotype = Genotype.of("space", {})
    return Proposal(0, 0, genotype, 0, tuple(SharedLayer(path, variant) for path in layers))


def layer(width: int, value: float, name: str = "h.1.linear") -> dict[str, NDArray[np.float32]]:
    return {
        f"{name}.weight": np.full((4, width), value, np.float32),
        f"{name}.bias": np.full(4, value, np.float32),
    }


def shapes(width: int, name: str = "h.1.linear") -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (4, width), f"{name}.bias": (4,)}


def test_the_last_trained_weights_of_a_layer_win() -> None:
    bank = WeightBank()
    bank.record(proposal("h[1]"), layer(8, 1.0))
    bank.record(proposal("h[1]"), layer(8, 2.0))
    found = bank.view(proposal("h[1]")).matching(shapes(8))
    assert {name: float(array.flat[0]) for name, array in found.items()} == {
        "h.1.linear.weight": 2.0,
        "h.1.linear.bias": 2.0,
    }


def test_layers_of_other_sizes_inherit_nothing_not_even_a_bias_of_the_same_size() -> None:
    bank = WeightBank()
    bank.record(proposal("h[1]"), layer(8, 1.0))
    assert bank.view(proposal("h[1]")).matching(shapes(9)) == {}


def test_sizes_are_remembered_side_by_side() -> None:
    bank = WeightBank()
    bank.record(proposal("h[1]"), layer(8, 1.0))
    bank.record(proposal("h[1]"), layer(9, 2.0))
    assert bank.view(proposal("h[1]")).matching(shapes(8))["h.1.linear.bias"][0] == 1.0


@pytest.mark.parametrize("other", ["h.2.linear", "h.10.linear", "logits", "h.1_.linear"])
def test_layers_inherit_only_from_their_own_level(other: str) -> None:
    bank = WeightBank()
    bank.record(proposal("h[1]"), layer(8, 1.0))
    assert bank.view(proposal("h[1]", "h[2]")).matching(shapes(8, other)) == {}


def test_weights_outside_the_shared_layers_are_not_kept() -> None:
    bank = WeightBank()
    bank.record(proposal("h[1]"), layer(8, 1.0, "logits"))
    assert len(bank) == 0


def test_variants_do_not_share() -> None:
    bank = WeightBank()
    bank.record(proposal("h[1]", variant="relu"), layer(8, 1.0))
    assert bank.view(proposal("h[1]", variant="sigmoid")).matching(shapes(8)) == {}
    assert bank.view(proposal("h[1]", variant="relu")).matching(shapes(8)) != {}


def test_names_may_be_keys_or_those_of_a_state_dict() -> None:
    bank = WeightBank()
    bank.record(proposal("h[1]"), layer(8, 1.0, "h[1].linear"))
    assert bank.view(proposal("h[1]")).matching(shapes(8, "h[1].linear")) != {}
    # `half` is a method of every torch module, so the backend calls the path `half_`.
    bank.record(proposal("half[1]"), layer(8, 3.0, "half_.1.linear"))
    assert bank.view(proposal("half[1]")).matching(shapes(8, "half_.1.linear")) != {}


def test_a_view_does_not_change_while_its_candidate_trains() -> None:
    bank = WeightBank()
    bank.record(proposal("h[1]"), layer(8, 1.0))
    view = bank.view(proposal("h[1]"))
    bank.record(proposal("h[1]"), layer(8, 2.0))
    assert view.matching(shapes(8))["h.1.linear.bias"][0] == 1.0


def test_without_a_bank_nothing_is_inherited() -> None:
    assert InheritedWeights().matching(shapes(8)) == {}


def parent(
    weights: dict[str, NDArray[np.float32]], *renamed: tuple[str, tuple[str, ...]]
) -> ParentWeights:
    return ParentWeights(lambda: weights, renamed)


def test_a_child_starts_from_its_parents_weights_of_the_same_name_and_shapes() -> None:
    weights = layer(8, 1.0) | layer(8, 2.0, "h.2.linear")
    found = parent(weights).matching(shapes(8) | shapes(9, "h.2.linear") | shapes(8, "h.3.linear"))
    assert {name: float(array.flat[0]) for name, array in found.items()} == {
        "h.1.linear.weight": 1.0,
        "h.1.linear.bias": 1.0,
    }


def test_a_module_is_inherited_whole_or_not_at_all() -> None:
    weights = layer(8, 1.0)
    assert parent(weights).matching(shapes(9)) == {}
    assert parent(weights).matching({**shapes(8), "h.1.linear.more": (1,)}) == {}


def test_nodes_start_from_the_first_fitting_of_those_that_they_continue() -> None:
    weights = layer(8, 1.0, "v.1.1.linear") | layer(9, 2.0, "v.1.2.linear")
    renamed = (
        ("v[1][1]", ("v[1][2]", "v[1][1]")),
        ("v[1][2]", ()),
        ("v[1][2].half", ("v[1][1]",)),
    )
    wanted = shapes(8, "v.1.1.linear") | shapes(9, "v.1.2.linear")
    wanted |= shapes(8, "v.1.2.half_.linear")
    found = parent(weights, *renamed).matching(wanted)
    assert {name: float(array.flat[0]) for name, array in found.items()} == {
        "v.1.1.linear.weight": 1.0,
        "v.1.1.linear.bias": 1.0,
        "v.1.2.half_.linear.weight": 1.0,
        "v.1.2.half_.linear.bias": 1.0,
    }


def test_a_node_renamed_is_told_from_one_whose_number_begins_alike() -> None:
    weights = layer(8, 1.0, "v.1.10.linear")
    found = parent(weights, ("v[1][1]", ())).matching(shapes(8, "v.1.10.linear"))
    assert len(found) == 2
