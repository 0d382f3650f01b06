"""fusegraph: fusion architectures as typed graphs, written, searched, trained and exported.

The names below are loaded when first used (PEP 562): `import fusegraph` costs milliseconds, and
only what needs torch pays for torch. To add a name, write one import under `TYPE_CHECKING` and
one line in `_HOME`; `tests/test_layout.py` checks that the two agree.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .ir.diagnostics import Diagnostic as Diagnostic
    from .ir.diagnostics import FusegraphError as FusegraphError

__version__ = "0.1.0"

_HOME = {
    "Diagnostic": ".ir.diagnostics",
    "FusegraphError": ".ir.diagnostics",
}

__all__ = ["__version__", *_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


if not TYPE_CHECKING:  # type checkers read the imports above, and so see a misspelt name

    def __getattr__(name: str) -> object:
        home = _HOME.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(home, __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
