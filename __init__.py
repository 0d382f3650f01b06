"""fusegraph: fusion architectures as typed graphs, written, searched, trained and exported.

The names below are loaded when first used (PEP 562): `import fusegraph` costs milliseconds, and
only what needs torch pays for torch. To add a name, write one import under `TYPE_CHECKING` and
one line in `_HOME`; `tests/test_layout.py` checks that the two agree.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .backends.torch import emit as emit
    from .backends.torch import lower as lower
    from .compiler.cost import cost as cost
    from .compiler.count import count as count
    from .compiler.explore import cross as cross
    from .compiler.explore import mutate as mutate
    from .compiler.explore import sample as sample
    from .compiler.pipeline import network as network
    from .compiler.simplify import simplify as simplify
    from .compiler.specialise import specialise as specialise
    from .ir.cells import expand as expand
    from .ir.diagnostics import Diagnostic as Diagnostic
    from .ir.diagnostics import FusegraphError as FusegraphError
    from .ir.dsl import Program as Program
    from .ir.dsl import format_genotype as format_genotype
    from .ir.dsl import load as load
    from .ir.dsl import load_genotype as load_genotype
    from .ir.dsl import loads as loads
    from .ir.dsl import parse_genotype as parse_genotype
    from .ir.genotype import Genotype as Genotype
    from .ir.graph import Graph as Graph

__version__ = "0.1.0"

_HOME = {
    "emit": ".backends.torch",
    "lower": ".backends.torch",
    "cost": ".compiler.cost",
    "count": ".compiler.count",
    "cross": ".compiler.explore",
    "mutate": ".compiler.explore",
    "sample": ".compiler.explore",
    "network": ".compiler.pipeline",
    "simplify": ".compiler.simplify",
    "specialise": ".compiler.specialise",
    "expand": ".ir.cells",
    "Diagnostic": ".ir.diagnostics",
    "FusegraphError": ".ir.diagnostics",
    "Program": ".ir.dsl",
    "format_genotype": ".ir.dsl",
    "load": ".ir.dsl",
    "load_genotype": ".ir.dsl",
    "loads": ".ir.dsl",
    "parse_genotype": ".ir.dsl",
    "Genotype": ".ir.genotype",
    "Graph": ".ir.graph",
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
