"""What pydantic found wrong, told as: key path, expected, found, nearest known key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ..ir.support.names import likely

EXPECTED = {
    "model_type": "a table",
    "dict_type": "a table",
    "list_type": "a list",
    "tuple_type": "a list",
    "string_type": "a text",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_too_short": "a text that is not empty",
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


def _model_within(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    arguments = cast("tuple[object, ...]", get_args(annotation))
    # Of a table of equal entries the second argument counts, of a union every one.
    candidates = arguments[1:] if get_origin(annotation) is dict else arguments
    return next((m for a in candidates if (m := _model_within(a)) is not None), None)


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[str, ...]:
    """The keys that the table at this place may have."""
    current = model
    for step in location:
        field = current.model_fields.get(str(step))
        if field is None:  # the name inside a table of equal entries, or a list's index
            continue
        below = _model_within(field.annotation)
        if below is None:
            return ()
        current = below
    return tuple(current.model_fields)


def _shown(value: object) -> str:
    text = "a table" if isinstance(value, dict) else repr(cast("Any", value))
    return text if len(text) <= 60 else text[:57] + "..."


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """One `Problem` for each thing that pydantic found, with key paths in the file's own words."""
    problems: list[Problem] = []
    for item in error.errors(include_url=False, include_context=False):
        location = item["loc"]
        path = ".".join(str(step) for step in location)
        name = str(location[-1]) if location else ""
        if item["type"] == "extra_forbidden":
            known = _keys_at(model, location[:-1])
            problems.append(Problem(path, f"unknown key `{name}`", name, known))
        elif item["type"] == "missing":
            problems.append(Problem(path, f"the key `{name}` is missing"))
        elif item["type"] == "value_error":
            problems.append(Problem(path, item["msg"].removeprefix("Value error, ")))
        else:
            expected = EXPECTED.get(item["type"], item["msg"].removeprefix("Input should be "))
            found = _shown(item["input"])
            problems.append(Problem(path, f"expected {expected}, found {found}"))
    return problems
