"""Sessions of onnxruntime, which is imported when the first one is opened."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .problems import problem

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

Device = Literal["cpu", "gpu", "auto"] | Sequence[str]
"""Where to run: `auto` is a GPU where there is one; or the names of execution providers."""


class Refused(Exception):
    """onnxruntime does not take the model, and why."""


_FATAL = 4  # what goes wrong is raised; onnxruntime would print it as well


def open_session(model: bytes | Path, device: Device = "cpu", threads: int = 0) -> InferenceSession:
    """A session on a serialised model or a file; `session.get_providers()` tells what it runs on.

    `threads` is how many may work on one operator, 0 for as many as there are cores.
    Raises FusegraphError E727 where onnxruntime or the device is missing, Refused where the model
    is wrong.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise problem(
            "E727",
            "onnxruntime is not installed",
            help='install one of the extras: pip install "fusegraph[runtime]", or '
            '"fusegraph[gpu]" where there is an NVIDIA GPU',
        ) from error
    wanted = _providers(device, onnxruntime.get_available_providers())
    if CUDA in wanted:
        onnxruntime.preload_dlls()
    # Without TF32, which rounds f32 products to 10 bits: results must be those that were compared.
    chosen = [(CUDA, {"use_tf32": "0"}) if name == CUDA else name for name in wanted]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads
    content = model if isinstance(model, bytes) else str(model)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=chosen)
    except Exception as error:
        # Each of onnxruntime's errors is a class of its own, derived from Exception.
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise Refused(" ".join(str(error).split())) from error
    if device == "gpu" and CUDA not in session.get_providers():
        raise problem(
            "E727",
            "onnxruntime was asked for the GPU and could only start on the CPU",
            help="compare the CUDA version of the driver with that of onnxruntime-gpu, "
            "or run on the CPU",
        )
    return session


def _providers(device: Device, available: Sequence[str]) -> list[str]:
    if device == "cpu":
        return [CPU]
    if device == "auto":
        # The GPU build lists CUDA on machines without a GPU, and complains when it is asked for.
        return [CUDA, CPU] if CUDA in available and has_driver() else [CPU]
    wanted = [CUDA, CPU] if device == "gpu" else list(device)
    missing = [name for name in wanted if name not in available]
    if missing:
        raise problem(
            "E727",
            f"this onnxruntime has no {', '.join(missing)}; it has {', '.join(available)}",
            help='for an NVIDIA GPU: uninstall onnxruntime, then pip install "fusegraph[gpu]"',
        )
    return wanted


def has_driver() -> bool:
    """Whether an NVIDIA driver is seen."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
