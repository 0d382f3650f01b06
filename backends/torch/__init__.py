"""A network as an ordinary torch module with readable, generated Python.

`lower` builds the module, `emit` writes the same code as a stand-alone file. The names are loaded
when first used: `emit` needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .emit import emit as emit
    from .network import Network as Network
    from .network import lower as lower

_HOME = {
    "Network": ".network",
    "emit": ".emit",
    "lower": ".network",
}

__all__ = [*_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value
