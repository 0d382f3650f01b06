"""Lowered, checked, run, compared, and only then written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx

from ...ir.diagnostics import FusegraphError
from ...ir.graph import Graph
from ...ir.support.files import write_whole
from .builder import Array
from .lowering import OPSET, lower
from .metadata import Metadata
from .parity import Reference, difference, random_inputs, sizes_for
from .problems import problem
from .session import Device, Refused, open_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from ..torch import Network

TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported and how far it was checked.

    `difference` is the largest over outputs and batch sizes of max|a - b| / max(1, max|a|), with
    `a` from torch and `b` from onnxruntime; `differences` has it per output. `providers` are
    those that the session really ran on. `seconds` is the time of the whole export, `lowering`
    that of building the model alone.
    """

    path: str
    digest: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    nodes: int
    bytes: int
    opset: int
    difference: float
    differences: Mapping[str, float]
    tolerance: float
    batch_sizes: tuple[int, ...]
    sizes: Mapping[str, int]
    providers: tuple[str, ...]
    lowering: float
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The stable keys that `--json` prints: those of the fields."""
        return asdict(self)


def export(
    network: Graph | Network,
    weights: Mapping[str, Any] | None,
    path: str | PathLike[str],
    *,
    metadata: Metadata | None = None,
    batch_sizes: Sequence[int] = (1, 3),
    sizes: Mapping[str, int] | None = None,
    tolerance: float = TOLERANCE,
    device: Device = "cpu",
    seed: int = 0,
    reference: Reference | None = None,
) -> ExportReport:
    """Write the network to `path` as ONNX, if it computes there what it computes in torch.

    `weights` are arrays or torch tensors by the names of the `state_dict`; None for those of a
    torch network. `batch_sizes` are what axis 0 of the inputs is bound to, one run each; `sizes`
    gives numbers for other named sizes (16 where it does not). `reference` is what to compare
    with, the torch backend where it is None.

    Raises FusegraphError: E720-E722 where the network cannot be lowered (see `lower`), E723 where
    ONNX's checker or onnxruntime refuses the model, E724 where a difference is above `tolerance`,
    E728 where the file cannot be written. Nothing is left behind then.
    """
    began = perf_counter()
    graph = network if isinstance(network, Graph) else network.graph
    arrays = arrays_of(_state(network) if weights is None else weights)
    model = lower(graph, arrays, metadata)
    lowered = perf_counter()
    content = _checked(model, str(path))
    session = _session(content, device, str(path))
    compute = reference or torch_reference(network, arrays)
    worst: dict[str, float] = {}
    bound: dict[str, int] = {}
    for batch in batch_sizes:
        bound = sizes_for(graph, batch, sizes or {})
        inputs = random_inputs(graph, bound, seed + batch)
        for name, gap in _compare(session, compute, inputs, bound, str(path)).items():
            worst[name] = max(gap, worst.get(name, 0.0))
    _within(worst, tolerance, str(path))
    _write(Path(path), content)
    return ExportReport(
        path=str(path),
        digest=graph.digest,
        inputs={node["name"]: node.type.text for node in graph.inputs},
        outputs={name: node.type.text for name, node in graph.outputs},
        nodes=len(model.graph.node),
        bytes=len(content),
        opset=OPSET,
        difference=max(worst.values(), default=0.0),
        differences=worst,
        tolerance=tolerance,
        batch_sizes=tuple(batch_sizes),
        sizes=bound,
        providers=tuple(session.get_providers()),
        lowering=lowered - began,
        seconds=perf_counter() - began,
    )


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        raise problem(
            "E728",
            f"the file cannot be written: {error.strerror or error}",
            str(path),
            help="give a path in a folder that exists and that you may write to",
        ) from error


def arrays_of(weights: Mapping[str, Any]) -> dict[str, Array]:
    """Weights as arrays; torch tensors are detached and brought to the CPU."""
    return {
        name: value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
        for name, value in weights.items()
    }


def _state(network: Graph | Network) -> Mapping[str, Any]:
    if isinstance(network, Graph):
        raise TypeError("a graph has no weights of its own: give them")
    return cast("Mapping[str, Any]", network.state_dict())


def _checked(model: onnx.ModelProto, place: str) -> bytes:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise problem("E723", f"ONNX's checker refuses the model: {_line(error)}", place) from error
    return model.SerializeToString()


def _session(content: bytes, device: Device, place: str) -> InferenceSession:
    try:
        return open_session(content, device)
    except Refused as error:
        raise problem("E723", f"onnxruntime refuses the model: {error}", place) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def torch_reference(network: Graph | Network, weights: Mapping[str, Array]) -> Reference:
    """The torch backend's outputs for inputs, at inference, with these weights."""
    import torch

    from ..torch import lower as lower_to_torch

    module = lower_to_torch(network if isinstance(network, Graph) else network.graph)
    state = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
    # Counters of batches, which inference has no use for, may be left out of `weights`.
    missing = {n: v for n, v in module.state_dict().items() if n.endswith("num_batches_tracked")}
    module.load_state_dict({**missing, **state})
    module.eval()

    def compute(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        with torch.no_grad():
            found = module.run({name: torch.from_numpy(a) for name, a in inputs.items()})
        outputs = found if isinstance(found, dict) else {module.graph.outputs[0][0]: found}
        return {name: value.detach().numpy() for name, value in outputs.items()}

    return compute


def _compare(
    session: InferenceSession,
    compute: Reference,
    inputs: Mapping[str, Array],
    sizes: Mapping[str, int],
    place: str,
) -> dict[str, float]:
    names = [output.name for output in session.get_outputs()]
    at = " at " + ", ".join(f"{name} = {size}" for name, size in sizes.items()) if sizes else ""
    try:
        expected = compute(inputs)
        found = session.run(names, dict(inputs))
    except FusegraphError:
        raise
    except Exception as error:  # of either runtime, which raise what they like
        raise problem(
            "E723",
            f"the network cannot be run{at}: {_line(error)}",
            place,
            help="give sizes that fit the network",
        ) from error
    return {
        name: difference(np.asarray(expected[name]), np.asarray(value))
        for name, value in zip(names, found, strict=True)
    }


def _within(worst: Mapping[str, float], tolerance: float, place: str) -> None:
    far = {name: gap for name, gap in worst.items() if not gap <= tolerance}
    if far:
        name = max(far, key=lambda n: far[n])
        undefined = far[name] == float("inf")
        raise problem(
            "E724",
            f"`{name}` holds numbers that are not finite, or that only one side finds"
            if undefined
            else f"`{name}` differs by {far[name]:.2g} between torch and onnxruntime, "
            f"and at most {tolerance:.2g} is allowed",
            place,
            "the difference is max|a - b| / max(1, max|a|)",
            help="look for weights that are NaN: the training may have diverged"
            if undefined
            else "f16 and long sums of large numbers differ more: allow for it where that is "
            "the cause, and report it where it is not",
        )
