"""What networks are measured by: figures of the graph alone, and figures of a machine.

`latency` takes a machine and a runtime, which this package knows nothing of. Whoever has them
*lends* a meter for as long as it is needed; what is asked without one says so (E508).
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.dims import Static, symbols_in
from ..ir.graph import Graph
from ..ir.numbers import Number
from ..ir.settling import bind
from .cost import cost


class Meter(Protocol):
    """Measures what the graph alone does not tell."""

    def latency(self, network: Graph) -> float:
        """Milliseconds for one batch; for the same network always the same answer."""
        ...


_lent: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextmanager
def lending(meter: Meter) -> Generator[None]:
    """Within this block `latency` is what this meter measures."""
    before = _lent.set(meter)
    try:
        yield
    finally:
        _lent.reset(before)


def lent_meter() -> Meter | None:
    """The meter that is lent at present."""
    return _lent.get()


def counted(network: Graph) -> dict[str, Number]:
    """Parameters, multiply-adds, FLOPs and bytes of activations; every named size being 1."""
    total = cost(network)
    macs = _of_one(total.macs)
    return {
        "parameters": _of_one(total.parameters),
        "macs": macs,
        "flops": 2 * macs,
        "activation_bytes": _of_one(total.activation_bytes),
    }


def latency(network: Graph) -> float:
    """A network's latency by the lent meter. Raises FusegraphError E508 where there is none."""
    meter = _lent.get()
    if meter is None:
        raise FusegraphError(
            Diagnostic(
                code="E508",
                message=f"`{network.name}` requires a latency, and nothing measures it here",
                notes=("a latency is that of a machine and a runtime, not of the graph alone",),
                help="in Python, call it within `lending(LatencyMeter(Timing()))` of "
                "`fusegraph.backends.latency`; `fusegraph sample` and `search` measure by "
                "themselves",
            )
        )
    return meter.latency(network)


def _of_one(value: Static) -> Any:
    return bind(value, dict.fromkeys(symbols_in(value), 1))
