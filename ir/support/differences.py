"""What differs between two records, such as what a folder was begun with and what is asked now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """One line for each value that differs, with the keys that lead to it; what lacks is None."""
    return _below(old, new, "")


def _below(old: object, new: object, path: str) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        before, after = cast("Mapping[str, object]", old), cast("Mapping[str, object]", new)
        for key in sorted({*before, *after}):
            inner = f"{path}.{key}" if path else key
            yield from _below(before.get(key), after.get(key), inner)
    elif old != new:
        yield f"{path} was {old!r} and is {new!r}"
