"""Text in pictures: how wide it is, how it is cut, how it is made safe for XML."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape as _escape

# Advance widths of Helvetica and Arial in thousandths of an em, from the space to the tilde.
_WIDTHS = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
)  # fmt: skip

# The font stack of the picture begins with whatever the system has. The widest of these, DejaVu
# Sans of many Linux systems, is wider than Arial by the first factor, and its bold by both.
_OTHER_FONTS = 1.13
_BOLD = 1.13

# What XML 1.0 cannot hold, and the marks that would turn the reading direction around.
_UNFIT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\u202a-\u202e\u2066-\u2069]"
)


_MOST_DIGITS = 30


def rounded(value: int) -> str:
    """`about 2.84e53` for a number with more digits than anybody reads, else all of them."""
    digits = str(value)
    if len(digits) <= _MOST_DIGITS:
        return f"{value:,}"
    return f"about {digits[0]}.{digits[1:3]}e{len(digits) - 1}"


def printable(text: str) -> str:
    """`text` with what XML cannot hold shown as a replacement mark."""
    return _UNFIT.sub("\ufffd", text)


def clean(text: str) -> str:
    """`text` on one line, with what XML cannot hold shown as a replacement mark."""
    return " ".join(_UNFIT.sub("\ufffd", text).split())


def escape(text: str) -> str:
    """`text` for the inside of an XML element or of an attribute in double quotes."""
    return _escape(_UNFIT.sub("\ufffd", text), {'"': "&quot;"})


def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """An estimate of the width in pixels of `text` set at `size` pixels, on the wide side."""
    thousandths = 0
    for character in text:
        place = ord(character) - 32
        if 0 <= place < len(_WIDTHS):
            thousandths += _WIDTHS[place]
        else:
            thousandths += 1000 if ord(character) >= 0x2E80 else 600
    return thousandths / 1000 * size * _OTHER_FONTS * (_BOLD if bold else 1.0)


def fit(text: str, size: float, width: float, *, bold: bool = False) -> str:
    """`text`, or as much of it as `width` pixels hold, with an ellipsis."""
    if width_of(text, size, bold=bold) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if width_of(text[:middle] + "…", size, bold=bold) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…"
