"""What pydantic found wrong, told as: key path, expected, found, nearest known key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ..ir.support.names import likely

EXPECTED = {
    "model_type": "a table",
    "dict_type": "a table",
    "list_type": "a list",
    "tuple_type": "a list",
    "string_type": "a text",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "an integer of fewer digits",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "path_type": "a path",
    "literal_error": "{expected}",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number greater than or equal to {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number less than or equal to {le}",
    "string_too_short": "a text that is not empty",
    "string_too_long": "a text of at most {max_length} characters",
    "string_pattern_mismatch": "a text of the pattern `{pattern}`",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
}
"""What pydantic's kinds of errors expect, in the words of a task file; else its own are told."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong key: its dotted path, the message, and what the unknown key may have meant."""

    path: str
    message: str
    unknown: str = ""
    known: tuple[str, ...] = ()


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean ...?`, or the list of what there is, or nothing where nothing was asked."""
    if not name:
        return ""
    names = list(known)
    close = likely(name, names, 2)
    if close:
        return "did you mean " + " or ".join(f"`{c}`" for c in close) + "?"
    shown = ", ".join(f"`{n}`" for n in names[:12]) + (", ..." if len(names) > 12 else "")
    return f"known are {shown}" if names else ""


@dataclass(frozen=True, slots=True)
class _Place:
    """A location of pydantic's in a file's own words."""

    path: str
    item: str
    """` as item 2` in a list, else nothing."""
    keys: tuple[str, ...]
    """Those that the last table on the way may have."""


def _members(annotation: object) -> tuple[object, ...]:
    """What a value may be, besides nothing; more than one type of a union."""
    origin = get_origin(annotation)
    arguments = cast("tuple[object, ...]", get_args(annotation))
    if origin is Annotated:
        return _members(arguments[0])
    if origin in (Union, UnionType):
        return tuple(m for a in arguments if a is not NoneType for m in _members(a))
    return (annotation,)


def _place(model: type[BaseModel], location: tuple[int | str, ...]) -> _Place:
    members: tuple[object, ...] = (model,)
    steps: list[str] = []
    item = ""
    keys = tuple(model.model_fields)
    for step in location:
        if len(members) > 1:  # pydantic's name of a member, which no file has
            members = ()
            continue
        (kind,) = members or (None,)
        within = cast("tuple[object, ...]", get_args(kind))
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys = tuple(kind.model_fields)
            field = kind.model_fields.get(str(step))
            members = _members(field.annotation) if field is not None else ()
        elif get_origin(kind) is dict:
            members = () if step == "[key]" else _members(within[1])
        elif isinstance(step, int):
            members = _members(within[0]) if within else ()
            item = f" as item {step + 1}"
            continue
        if step != "[key]":
            steps.append(str(step))
    return _Place(".".join(steps), item, keys)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 10**60:  # Python refuses to write very long ones
        return "a number of more than 60 digits"
    text = "a table" if isinstance(value, dict) else repr(cast("Any", value))
    return text if len(text) <= 60 else text[:57] + "..."


def _expected(item: ErrorDetails) -> str:
    known = EXPECTED.get(item["type"])
    if known is None:
        return item["msg"].removeprefix("Input should be ")
    return known.format(**item.get("ctx", {}))


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """One `Problem` for each thing that pydantic found, with key paths in the file's own words."""
    problems: dict[object, Problem] = {}
    wanted: dict[object, list[str]] = {}
    for item in error.errors(include_url=False):
        location = item["loc"]
        place = _place(model, location)
        name = str(location[-1]) if location else ""
        if item["type"] == "extra_forbidden":
            unknown = f"unknown key `{name}`"
            problems[location] = Problem(place.path, unknown, name, place.keys)
        elif item["type"] == "missing":
            problems[location] = Problem(place.path, f"the key `{name}` is missing")
        elif item["type"] in ("value_error", "json_invalid"):
            problems[location] = Problem(place.path, item["msg"].removeprefix("Value error, "))
        else:
            # What the members of a union expect stands together: "an integer or a number".
            found = _shown(item["input"])
            where = (place.path, place.item, found)
            wanted.setdefault(where, []).append(_expected(item))
            expected = " or ".join(dict.fromkeys(wanted[where]))
            message = f"expected {expected}{place.item}, found {found}"
            problems[where] = Problem(place.path, message)
    return list(problems.values())
