"""Identifiers of generated code: whatever a file calls things, as names of Python.

Keys as paths of modules are the same in every backend: see `backends/names.py`.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable
from functools import lru_cache
from keyword import kwlist

_LONGEST = 48


@lru_cache(maxsize=65_536)
def identifier(text: str) -> str:
    """Some plain name that reminds of `text`; `image[1]` gives `image_1`."""
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_")[:_LONGEST]
    return name if name and not name[0].isdigit() else f"x{name}"


def class_name(text: str) -> str:
    """`mfas_ntu` as the name of a class, `MfasNtu`."""
    words = [word for word in identifier(text).split("_") if word]
    name = "".join([word[0].upper() + word[1:] for word in words])
    return f"{name}Network" if name in {"False", "None", "True", "Tensor", *HELPERS} else name


HELPERS = (
    *("Scope", "Pointwise", "Learned", "DropPath", "round8", "mix"),
    *("StackedLinear", "StackedLayerNorm", "LinearBank"),
    *("stacked_linear", "stacked_layer_norm", "gather", "linear_bank", "bank_plan"),
)
"""What generated code may name beside the network."""

_USED = frozenset(
    {"self", "torch", "nn", "F", "math", "functools", "Tensor", "Network", *HELPERS, *kwlist}
)
_CALLED = frozenset({"abs", "dict", "getattr", "int", "max", "min", "str", "super"})
_BUILTIN = frozenset(dir(builtins))


class Namer:
    """Hands out identifiers, each once: `h_1`, `h_1_2`, `h_1_3`."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def parameter(self, text: str) -> str:
        """A name for a parameter; it may hide a builtin that generated code does not call."""
        name = identifier(text)
        return self._new(f"{name}_" if name in _USED or name in _CALLED else name)

    def variable(self, text: str) -> str:
        """A name for a variable."""
        name = identifier(text)
        return self._new(f"{name}_" if name in _USED or name in _BUILTIN else name)

    def _new(self, name: str) -> str:
        chosen = name
        while chosen in self._taken:
            count = self._next[name] = self._next.get(name, 1) + 1
            chosen = f"{name}_{count}"
        self._taken.add(chosen)
        return chosen
