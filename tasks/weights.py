"""Weights of backbones from files: safetensors, or torch's own format without code in it."""

from __future__ import annotations

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
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def load_weights(module: nn.Module, file: str | Path, part: str = "") -> None:
    """Copies all weights of a file into the module, or into a part of it.

    Every weight of the part must be in the file, in its shape, of its kind of number, finite, and
    no other. Precision may differ. What is infinite in the module, such as a mask, may be so in
    the file.

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
        f"{name}: {problem}"
        for name, value in wanted.items()
        if name in weights and (problem := _unlike(value, weights[name]))
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


def _unlike(wanted: Tensor, found: Tensor) -> str:
    """What keeps a tensor from taking the place of another; empty where nothing does."""
    if found.shape != wanted.shape:
        return f"expected {list(wanted.shape)}, found {list(found.shape)}"
    if _kind(found.dtype) != _kind(wanted.dtype):
        return f"expected {_kind(wanted.dtype)}, found {_kind(found.dtype)}"
    if found.dtype.is_floating_point:
        own = wanted.detach().cpu()
        value = found.to(own.dtype)  # as it will be: float64 has numbers that float32 has not
        odd = value[~value.isfinite() & (value != own)]
        if len(odd):
            return f"expected finite numbers, found {odd[0].item()}"
    return ""


def _kind(dtype: torch.dtype) -> str:
    if dtype.is_floating_point:
        return "floating-point numbers"
    if dtype in _INTEGERS:
        return "integers"
    return str(dtype).removeprefix("torch.")


def _read(path: Path) -> dict[str, Tensor]:
    try:
        found: object = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (OSError, SafetensorError, BadZipFile) as error:
        raise _wrong(path, f"the weights cannot be read: {error}") from None
    except Exception as error:  # torch's reader meets a damaged file with errors of any kind
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise _wrong(path, f"the weights cannot be read as plain tensors: {said}") from None
    for key in WRAPPED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = cast("Mapping[str, object]", found[key])
            break
    if not isinstance(found, Mapping) or not found:
        raise _wrong(path, f"expected tensors by name, found {type(found).__name__}")
    named = cast("Mapping[object, object]", found)
    tensors: dict[str, Tensor] = {}
    for name, value in named.items():
        if not isinstance(name, str):
            raise _wrong(path, f"expected tensors by name, found {type(name).__name__} as a name")
        if not isinstance(value, Tensor):
            raise _wrong(
                path, f"expected tensors by name, found {type(value).__name__} as `{name}`"
            )
        if layout := _not_plain(value):
            raise _wrong(path, f"expected plain tensors, found `{name}` {layout}")
        tensors[name] = value
    if all(name.startswith(PARALLEL) for name in tensors):
        tensors = {name.removeprefix(PARALLEL): value for name, value in tensors.items()}
    return tensors


def _not_plain(value: Tensor) -> str:
    """What a tensor is where it is no block of numbers in memory."""
    if value.is_meta:
        return "without values, on the device meta"
    if value.is_nested:
        return "nested"
    if value.layout is not torch.strided:
        return f"of layout {str(value.layout).removeprefix('torch.')}"
    return ""


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
