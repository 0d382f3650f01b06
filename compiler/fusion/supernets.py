"""The passes that a supernet goes through, in their order."""

from __future__ import annotations

from ..relax import Supernet
from .attention import attention
from .blends import blends
from .commute import commute
from .fold import fold
from .gates import gates
from .rows import rows
from .siblings import norms, stack, tails
from .stages import Fused, owners, through


def fused(supernet: Supernet) -> Fused:
    """The supernet's graph, fused: the same function, gradients and running statistics.

    A supernet in which batch norms share their weights stays as it is: each use moves the running
    statistics on from where the one before it left them, and fusion keeps no order of the uses.
    """
    if any(
        nodes[0].op.name == "batch_norm" and nodes[1:] for nodes in owners(supernet.graph).values()
    ):
        return through(supernet.graph, [])
    scope = f"{supernet.scope}_gates"
    return through(
        supernet.graph,
        [
            lambda network: gates(network, scope),
            rows,
            commute,
            fold,
            norms,
            stack,
            tails,
            attention,
            blends,
        ],
    )
