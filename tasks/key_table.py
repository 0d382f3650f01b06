"""The table of a task file's keys, in Markdown, made from the models: it cannot go stale."""

from __future__ import annotations

import re
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from .schema import TaskSettings


def key_table() -> str:
    """One table a section: key, type, default, meaning."""
    sections: list[str] = []
    for name, field in TaskSettings.model_fields.items():
        model = cast("type[BaseModel]", field.annotation)
        if get_origin(model) is dict:  # of sections by names
            _, named = get_args(model)
            sections.append(_section(f"{name}.NAME", _told(named), named))
            continue
        sections.append(_section(name, field.description or "", model))
        for key, inner in model.model_fields.items():
            optional = [t for t in get_args(inner.annotation) if _is_model(t)]
            sections += [_section(f"{name}.{key}", _told(t), t) for t in optional]
    return "\n\n".join(sections) + "\n"


def _section(name: str, told: str, model: type[BaseModel]) -> str:
    rows = [
        f"| `{key}` | {_type(entry)} | {_default(entry)} | {_cell(entry['description'])} |"
        for key, entry in _entries(model).items()
    ]
    head = f"### `[{name}]`: {told}\n\n| key | type | default | meaning |"
    return "\n".join([head, "|---|---|---|---|", *rows])


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _told(model: type[BaseModel]) -> str:
    """What a section within a section is for: the first line of its docstring."""
    line = (model.__doc__ or "").splitlines()[0].rstrip(".")
    return line[:1].lower() + line[1:]


def _entries(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    schema = model.model_json_schema()
    entries = cast("dict[str, dict[str, Any]]", schema["properties"])
    for key, field in model.model_fields.items():
        default = field.default
        entries[key]["description"] = field.description
        if field.is_required():
            entries[key]["default"] = ...
        elif default is not PydanticUndefined and not isinstance(default, BaseModel):
            entries[key]["default"] = default
        else:
            entries[key].pop("default", None)
    return entries


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _type(entry: dict[str, Any]) -> str:
    if "enum" in entry:
        return ", ".join(f"`{value}`" for value in entry["enum"])
    if "anyOf" in entry:
        kinds = [_type(e) for e in entry["anyOf"] if e.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in entry or entry.get("type") == "object":
        return "table"
    kind = {"integer": "integer", "number": "number", "boolean": "true or false", "array": "list"}
    return kind.get(entry.get("type", ""), "text") + _bounds(entry)


def _bounds(entry: dict[str, Any]) -> str:
    signs = {
        "minimum": "≥ {}",
        "exclusiveMinimum": "> {}",
        "exclusiveMaximum": "< {}",
        "maximum": "≤ {}",
    }
    found = [sign.format(_number(entry[k])) for k, sign in signs.items() if k in entry]
    return " " + ", ".join(found) if found else ""


def _number(value: float) -> str:
    return "2³¹" if value == 2**31 else f"{value:g}"


def _default(entry: dict[str, Any]) -> str:
    if "default" not in entry:
        return ""
    value = entry["default"]
    if value is ...:
        return "required"
    if value is None or value in ("", ()):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{re.sub(r'e-0', 'e-', f'{value:g}')}`"
    return f"`{list(value)}`" if isinstance(value, tuple) else f"`{value}`"
