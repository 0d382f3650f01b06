"""Which errors say that the memory is too small."""

from __future__ import annotations


def out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the machine or of its GPU was too small."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and ("out of memory" in words or "can't allocate memory" in words)
    )
