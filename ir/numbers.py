"""Plain static numbers, and their functions that no polynomial can say."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

Number = int | float | Fraction

LARGEST_BITS = 256
"""Bits of a static number; beyond them OverflowError is raised."""


def bounded(value: Number) -> Number:
    """The number itself. Raises OverflowError where it is too large to mean anything."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise OverflowError("the number is too large")
    elif max(value.numerator.bit_length(), value.denominator.bit_length()) > LARGEST_BITS:
        raise OverflowError("the number is too large")
    return value


def plain(value: Number) -> Number:
    """Whole fractions as integers, so that each number has one form."""
    if isinstance(value, Fraction) and value.denominator == 1:
        return value.numerator
    return value


def _whole(value: Number) -> Number:
    return int(value) if value == int(value) else value


def _floor_quotient(a: Number, b: Number) -> Number:
    return _whole(a // b)


def _remainder(a: Number, b: Number) -> Number:
    return _whole(a % b)


def _quotient(a: Number, b: Number) -> Number:
    if isinstance(a, float) or isinstance(b, float):
        return a / b
    return plain(Fraction(a) / Fraction(b))


def _round(value: Number) -> Number:
    """Halves rounded up, as people do and Python does not."""
    return math.floor(value + Fraction(1, 2))


def _round8(value: Number) -> int:
    """Rounded to a multiple of 8, but never by more than a tenth downwards (X3D, MobileNet)."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


def _sqrt(value: Number) -> Number:
    """Exact for squares of whole numbers."""
    if isinstance(value, int) and value >= 0 and math.isqrt(value) ** 2 == value:
        return math.isqrt(value)
    return math.sqrt(value)


def _power(base: Number, exponent: Number) -> Number:
    if not isinstance(base, float) and exponent == int(exponent):
        digits = max(base.numerator.bit_length(), base.denominator.bit_length()) - 1
        if digits * abs(exponent) > LARGEST_BITS:
            raise OverflowError("the power is too large")
    power: Any = base**exponent
    if isinstance(power, complex):
        raise ValueError("a power of a negative number with a broken exponent")
    return power


def _absolute(value: Number) -> Number:
    return abs(value)


FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "sqrt": _sqrt,
    "ceil": math.ceil,
    "floor": math.floor,
    "round": _round,
    "round8": _round8,
    "abs": _absolute,
    "min": min,
    "max": max,
    "pow": _power,
    "floordiv": _floor_quotient,
    "mod": _remainder,
    "div": _quotient,
}
"""The functions of static numbers. They raise ValueError or ArithmeticError without a value."""
