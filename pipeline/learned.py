"""What a training says about the connections of a levelled graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..backends.names import weight_name
from ..compiler.connections import connections
from ..ir.genotype import Genotype
from ..ir.graph import Graph
from ..ir.levels import Levels
from ..searchers.evolution.edges import edge_names
from ..searchers.protocol import Array


def learned_connections(
    space: Graph, genotype: Genotype, network: Graph, weights: Mapping[str, Array]
) -> dict[str, float]:
    """W_e = sigmoid(w_e) of each edge that has a learned weight, as `v[1][2] <- v[0][1]`.

    `network` is that of the genotype, and `weights` what it was trained to. An edge into a node
    that takes no other has no weight (Ryoo et al. 2020, section 3.1, and the release).
    """
    found: dict[str, float] = {}
    for key, setting in genotype.items:
        decision = space.decisions[key]
        if isinstance(decision, Levels):
            graph = decision.graph_of(setting)
            names = edge_names(decision, graph)
            for edge, parameter in connections(network, decision, graph).items():
                value = weights[weight_name(parameter, "weight")]
                found[names[edge]] = float(np.mean(1.0 / (1.0 + np.exp(-value.astype(float)))))
    return found
