"""A network in onnxruntime, ready to be timed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

from ...ir.graph import Graph
from .exporting import arrays_of
from .lowering import lower
from .parity import random_inputs
from .problems import problem
from .session import Refused, open_session


@contextmanager
def prepared(
    network: Graph, sizes: Mapping[str, int], threads: int
) -> Generator[Callable[[], object]]:
    """Within it a call runs the network once on the CPU, with random weights, on random inputs.

    Raises FusegraphError E720-E722 where it cannot be lowered, E723 where onnxruntime refuses it,
    E727 where that is missing.
    """
    from ..torch.network import start_of

    model = lower(network, arrays_of(start_of(network, seed=0)))
    try:
        session = open_session(model.SerializeToString(), "cpu", threads)
    except Refused as error:
        raise problem("E723", f"onnxruntime refuses the model: {error}", network.name) from error
    inputs = random_inputs(network, sizes, seed=0)
    yield lambda: session.run(None, inputs)
