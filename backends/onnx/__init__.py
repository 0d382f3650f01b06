"""A network as an ONNX file, lowered directly from the graph.

`lower` builds the model, `export` also checks, compares and writes it, `load` and `run` put it to
work. The names are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .exporting import ExportReport as ExportReport
    from .exporting import export as export
    from .inference import Model as Model
    from .inference import load as load
    from .inference import run as run
    from .lowering import lower as lower
    from .metadata import Metadata as Metadata
    from .parity import difference as difference

_HOME = {
    "ExportReport": ".exporting",
    "Metadata": ".metadata",
    "Model": ".inference",
    "difference": ".parity",
    "export": ".exporting",
    "load": ".inference",
    "lower": ".lowering",
    "run": ".inference",
}

__all__ = [*_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value
