"""Options of searchers from plain data, such as a table of a task file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from ..ir.support.names import nearest
from .errors import search_error

T = TypeVar("T")


class WrongValue(ValueError):
    """A value that an option does not take: the option, and what it is in place of that."""

    def __init__(self, option: str, words: str) -> None:
        super().__init__(f"`{option}` {words}")
        self.option = option
        self.words = words


def expect_range(
    options: object,
    name: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> None:
    """Raises WrongValue where the option of this name is not in its range."""
    value = getattr(options, name)
    fits = (
        (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )
    if fits:
        return
    if most is None and below is None:
        words = f"at least {least}" if above is None else f"above {above}"
    else:
        low = f"{least}" if above is None else f"above {above}"
        words = f"from {low} to {most}" if below is None else f"from {low} to below {below}"
    raise WrongValue(name, f"is {words}, not {value}")


def read_options(kind: type[T], data: Mapping[str, Any], searcher: str) -> T:
    """The options dataclass `kind` from data; what is not given takes its default.

    Raises FusegraphError E802 for an unknown option or a value that it does not take.
    """
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)]  # pyright: ignore[reportArgumentType]
    for name in data:
        if name not in known:
            near = nearest(name, known)
            raise search_error(
                "E802",
                f"the searcher `{searcher}` has no option `{name}`",
                place=f"searcher {searcher}",
                notes=(f"its options are {', '.join(known)}",),
                help=f"write `{near}`" if near else "leave it out",
            )
    for field in fields(kind):  # pyright: ignore[reportArgumentType]
        if field.name not in data and field.default is MISSING:
            raise search_error(
                "E802",
                f"the searcher `{searcher}` misses `{field.name}`, {_words(hints[field.name])}",
                place=f"searcher {searcher}",
                notes=(f"options are {', '.join(known)}",),
                help=f"give `{field.name}`",
            )
    values = {name: _accept(searcher, name, hints[name], value) for name, value in data.items()}
    page = f"see `fusegraph explain {searcher}` for what each option means"
    try:
        return kind(**values)
    except WrongValue as error:
        raise search_error(
            "E802",
            f"the option `{error.option}` of the searcher `{searcher}` {error.words}",
            place=f"searcher {searcher}",
            help=page,
        ) from error
    except ValueError as error:
        raise search_error(
            "E802",
            f"the searcher `{searcher}` cannot take these options: {error}",
            place=f"searcher {searcher}",
            help=page,
        ) from error


def _accept(searcher: str, name: str, hint: Any, value: Any) -> Any:
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        expected = "one of " + ", ".join(repr(v) for v in get_args(hint))
    elif get_origin(hint) is tuple:
        item = get_args(hint)[0]
        if isinstance(value, list | tuple):
            return tuple(_accept(searcher, name, item, v) for v in value)
        expected = f"a list of {_words(item).removeprefix('a ')}s"
    elif is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, hint):
            return value
        if isinstance(value, Mapping):
            return read_options(hint, cast("Mapping[str, Any]", value), searcher)
        expected = _words(hint)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) <= sys.float_info.max:
            return float(value)
        expected = "a finite number"
    elif (
        isinstance(hint, type)
        and isinstance(value, hint)
        and not (isinstance(value, bool) and hint is not bool)
    ):
        return value
    else:
        expected = _words(hint)
    raise search_error(
        "E802",
        f"the option `{name}` of the searcher `{searcher}` takes {expected}, not {_shown(value)}",
        place=f"searcher {searcher}",
        help=f"write {expected}",
    )


def _words(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    if is_dataclass(hint):
        return "a table of " + ", ".join(f"`{field.name}`" for field in fields(hint))
    return names.get(hint, str(hint))


def _shown(value: object) -> str:
    """As a task file has it."""
    return str(value).lower() if isinstance(value, bool) else repr(value)
