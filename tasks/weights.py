"""Weights of backbones from files: safetensors, or torch's own format without code in it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import cast
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..ir.diagnostics import Diagnostic, FusegraphError
from .problems import nearest

WRAPPED = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the weights beside other things."""
PARALLEL = "module."
"""What `nn.DataParallel` puts before every name."""


def load_weights(module: nn.Module, file: str | Path, part: str = "") -> None:
    """Copies all weights of a file into the module, or into a part of it.

    Every weight of the part must be in the file, in its shape, and no other.

    Args:
        module: changed in place.
        file: `.safetensors`, or anything that `torch.load(weights_only=True)` takes.
        part: a name as in `module.named_modules()`; the empty name is the module itself.

    Raises:
        FusegraphError: E646 for a file that cannot be read or does not fit, E621 for a part that
            is not there.
    """
    path = Path(file)
    parts = dict(module.named_modules())
    if part not in parts:
        raise FusegraphError(
            Diagnostic(
                code="E621",
                message=f"the module has no part `{part}`, which weights are given for",
                place=f"{type(module).__name__}: {path}",
                help=nearest(part, [name for name in parts if name]),
            )
        )
    weights = _read(path)
    wanted = parts[part].state_dict()
    problems = [
        f"{name}: expected {list(value.shape)}, found {list(weights[name].shape)}"
        for name, value in wanted.items()
        if name in weights and weights[name].shape != value.shape
    ]
    problems += [f"{name}: not in the file" for name in wanted if name not in weights]
    problems += [f"{name}: not in the module" for name in weights if name not in wanted]
    if problems:
        raise _wrong(
            path,
            f"the weights do not fit `{part or type(module).__name__}`: {len(problems)} of "
            f"{len(wanted.keys() | weights.keys())} names differ",
            "; ".join(problems[:3]) + ("; ..." if len(problems) > 3 else ""),
        )
    parts[part].load_state_dict(weights)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        found: object = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (OSError, SafetensorError, BadZipFile) as error:
        raise _wrong(path, f"the weights cannot be read: {error}") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise _wrong(path, f"the weights cannot be read as plain tensors: {said}") from None
    for key in WRAPPED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = cast("Mapping[str, object]", found[key])
            break
    if not isinstance(found, Mapping) or not found:
        raise _wrong(path, f"expected tensors by name, found {type(found).__name__}")
    named = cast("Mapping[str, object]", found)
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    if len(tensors) != len(named):
        other = next(name for name in named if name not in tensors)
        raise _wrong(
            path, f"expected tensors by name, found {type(named[other]).__name__} as `{other}`"
        )
    if all(name.startswith(PARALLEL) for name in tensors):
        tensors = {name.removeprefix(PARALLEL): value for name, value in tensors.items()}
    return tensors


def _wrong(path: Path, message: str, note: str = "") -> FusegraphError:
    return FusegraphError(
        Diagnostic(
            code="E646",
            message=message,
            place=str(path),
            notes=(note,) if note else (),
            help="save `module.state_dict()` of that very part, as safetensors or with torch.save",
        )
    )
