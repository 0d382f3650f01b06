"""A network in torch, ready to be timed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

import torch

from ...ir.graph import Graph
from ..onnx.parity import random_inputs
from .network import lower


@contextmanager
def prepared(
    network: Graph, sizes: Mapping[str, int], threads: int
) -> Generator[Callable[[], object]]:
    """Within it a call runs the network once on the CPU, for inference, on random inputs.

    So many threads work on one operator; afterwards as many as before.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.device("cpu"), torch.inference_mode():
            module = lower(network, seed=0).eval()
            arrays = random_inputs(network, sizes, seed=0)
            inputs = [torch.from_numpy(arrays[name]) for name in module.parameter_names]
            yield lambda: module(*inputs)
    finally:
        torch.set_num_threads(before)
