"""The page of a searcher: its options with their defaults, made from the options' class."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints


def _random() -> type[Any]:
    from .random_search import RandomOptions

    return RandomOptions


def _mfas() -> type[Any]:
    from .mfas.options import MfasOptions

    return MfasOptions


def _evolution() -> type[Any]:
    from .evolution.options import EvolutionOptions

    return EvolutionOptions


def _bm_nas() -> type[Any]:
    from .bm_nas.options import BmNasOptions

    return BmNasOptions


def _parsec() -> type[Any]:
    from .parsec.options import ParsecOptions

    return ParsecOptions


def _perturbation() -> type[Any]:
    from .once.options import PerturbationOptions

    return PerturbationOptions


def _constrained_evolution() -> type[Any]:
    from .once.evolution_options import ConstrainedEvolutionOptions

    return ConstrainedEvolutionOptions


OPTIONS: Mapping[str, Callable[[], type[Any]]] = {
    "random": _random,
    "mfas": _mfas,
    "evolution": _evolution,
    "bm_nas": _bm_nas,
    "parsec": _parsec,
    "perturbation": _perturbation,
    "constrained_evolution": _constrained_evolution,
}
"""The options' class of each searcher; a function, since some need torch."""


def option_page(searcher: str) -> str:
    """The options of a searcher as Markdown: name, values, default, meaning.

    The meanings are those of the class's docstring, which has `name: meaning` for each, and of
    the docstrings of the classes that it inherits options from.
    """
    kind = OPTIONS[searcher]()
    hints = get_type_hints(kind)
    head, meanings = "", dict[str, str]()
    for base in reversed([base for base in kind.__mro__ if is_dataclass(base)]):
        head, found = _meanings(inspect.getdoc(base) or "")
        meanings |= found
    rows = [
        f"| `{field.name}` | {_values(hints[field.name])} | `{_toml(field.default)}` "
        f"| {meanings[field.name]} |"
        for field in fields(kind)
    ]
    return "\n".join(
        [
            f"# The searcher `{searcher}`\n",
            f"{head}\n",
            "| option | values | default | meaning |",
            "|---|---|---|---|",
            *rows,
            f'\nIn a task file: `searcher = "{searcher}"` and `options = {{ … }}` in `[search]`.\n',
        ]
    )


def _meanings(doc: str) -> tuple[str, dict[str, str]]:
    head, _, rest = doc.partition("\n\n")
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", rest):
        name, _, meaning = entry.partition(":")
        found[name] = " ".join(meaning.split()).removesuffix(".")
    return " ".join(head.split()), found


def _values(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return ", ".join(f'`"{value}"`' for value in get_args(hint))
    if get_origin(hint) is tuple:
        return f"list of {_values(get_args(hint)[0])}"
    if is_dataclass(hint):
        return "table of " + ", ".join(f"`{field.name}`" for field in fields(hint))
    return {int: "integer", float: "number", str: "text", bool: "`true`, `false`"}[hint]


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
