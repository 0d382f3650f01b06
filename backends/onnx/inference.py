"""Exported networks at work: loaded, fed with checked arrays, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .builder import NUMPY, Array
from .metadata import Metadata, from_properties
from .problems import problem
from .session import Device, Refused, open_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

BATCH = 256

Progress = Callable[[int, int], None]
"""Called with the samples that are done and those that there are."""

_DTYPES = {
    "tensor(float)": "f32",
    "tensor(double)": "f64",
    "tensor(float16)": "f16",
    "tensor(int64)": "i64",
    "tensor(int32)": "i32",
    "tensor(bool)": "bool",
}


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a file: its name, dtype and sizes, named where they are open."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @property
    def text(self) -> str:
        """In the language's own syntax: `f32[N, 64]`."""
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Model:
    """An exported network, ready to run. Made by `load`."""

    path: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Metadata
    session: InferenceSession

    @property
    def providers(self) -> tuple[str, ...]:
        """What the session really runs on, the preferred one first."""
        return tuple(self.session.get_providers())

    def run(
        self, arrays: Mapping[str, Array], batch: int = BATCH, progress: Progress | None = None
    ) -> dict[str, Array]:
        """The outputs by name, for inputs by name.

        At most `batch` samples are computed at once, where the samples do not depend on one
        another; all at once where they do. Raises FusegraphError E725 where a name, a dtype or a
        shape is not as the file declares it.
        """
        sizes = _check(self, arrays)
        feed = {port.name: np.asarray(arrays[port.name]) for port in self.inputs}
        names = [port.name for port in self.outputs]
        total = sizes.get(self.metadata.batch, 1)  # without an axis to split, all is one
        step = max(1, batch)
        parts: list[list[Array]] = []
        for start in range(0, total, step):
            part = feed
            if step < total:
                part = {name: array[start : start + step] for name, array in feed.items()}
            parts.append([np.asarray(value) for value in self.session.run(names, part)])
            if progress is not None:
                progress(min(start + step, total), total)
        joined = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        return dict(zip(names, joined, strict=True))


def load(path: str | PathLike[str], device: Device = "auto", threads: int = 0) -> Model:
    """The network in a file that `export` wrote.

    Raises FusegraphError E726 where the file is missing, is no ONNX, or not ours; E727 where
    onnxruntime or the device is missing.
    """
    place = str(path)
    if not Path(path).is_file():
        raise problem("E726", "there is no such file", place, help="check the path")
    try:
        session = open_session(Path(path), device, threads)
    except Refused as error:
        raise problem(
            "E726",
            "onnxruntime cannot read this file as ONNX",
            place,
            str(error),
            help="export the network again with `fusegraph export`",
        ) from error
    metadata = from_properties(session.get_modelmeta().custom_metadata_map, place)
    inputs = tuple([_port(node) for node in session.get_inputs()])
    outputs = tuple([_port(node) for node in session.get_outputs()])
    return Model(place, inputs, outputs, metadata, session)


def run(
    path: str | PathLike[str],
    arrays: Mapping[str, Array],
    *,
    batch: int = BATCH,
    device: Device = "auto",
    progress: Progress | None = None,
) -> dict[str, Array]:
    """The outputs of the network in a file, by name, for inputs by name: `load`, `Model.run`."""
    return load(path, device).run(arrays, batch, progress)


def _port(node: Any) -> Port:
    """The port of a `NodeArg`, as onnxruntime calls it."""
    sizes = [size if isinstance(size, int) else size or "?" for size in node.shape]
    return Port(node.name, _DTYPES.get(node.type, str(node.type)), tuple(sizes))


# ── checks ───────────────────────────────────────────────────────────────────────────────────────


def _check(model: Model, arrays: Mapping[str, Array]) -> dict[str, int]:
    """The named sizes that the arrays settle."""
    declared = {port.name: port for port in model.inputs}
    expected = ", ".join(f"`{port.name}`: {port.text}" for port in model.inputs)
    if missing := [name for name in declared if name not in arrays]:
        given = ", ".join(f"`{name}`" for name in arrays) or "nothing"
        raise problem(
            "E725",
            f"the input `{missing[0]}` is missing: expected {expected}, found {given}",
            model.path,
            help=f"give an array for `{missing[0]}`",
        )
    if unknown := [name for name in arrays if name not in declared]:
        raise problem(
            "E725",
            f"there is no input `{unknown[0]}`: expected {expected}",
            model.path,
            help=f"leave `{unknown[0]}` out, or give it the name of an input",
        )
    sizes: dict[str, int] = {}
    settled_by: dict[str, str] = {}
    for port in model.inputs:
        _check_array(model, port, np.asarray(arrays[port.name]), sizes, settled_by)
    return sizes


def _check_array(
    model: Model, port: Port, array: Array, sizes: dict[str, int], settled_by: dict[str, str]
) -> None:
    place = f"{model.path}: input `{port.name}`"
    wanted = np.dtype(NUMPY[port.dtype])
    if array.dtype != wanted:
        raise problem(
            "E725",
            f"expected {port.text}, found numbers of type {array.dtype}",
            place,
            help=f"convert it first: `.astype(numpy.{wanted.name})`",
        )
    fits = array.ndim == len(port.shape) and all(
        isinstance(want, str) or want == have
        for want, have in zip(port.shape, array.shape, strict=True)
    )
    if not fits:
        raise problem(
            "E725",
            f"expected {port.text}, found an array of shape {list(array.shape)}",
            place,
            help="bring it to that shape as the data of the training had it",
        )
    for want, have in zip(port.shape, array.shape, strict=True):
        if have == 0:
            raise problem("E725", f"expected {port.text}, found an empty array", place)
        if isinstance(want, str) and want.isidentifier():
            if sizes.setdefault(want, have) != have:
                raise problem(
                    "E725",
                    f"`{want}` is {have} here and {sizes[want]} in `{settled_by[want]}`",
                    place,
                    help=f"give arrays that agree on `{want}`",
                )
            settled_by.setdefault(want, port.name)
