"""`.fuse` text with its words told apart, for HTML."""

from __future__ import annotations

import re

from markupsafe import Markup

from .text import escape

_KEYWORDS = (
    "fuse|use|space|cell|dim|let|share|input|output|for|in|return|require|of|some|repeats|"
    "genotype|with|levels|level|width"
)
_TOKENS = re.compile(
    r"(?P<comment>#[^\n]*)"
    r'|(?P<string>"[^"\n]*"?)'
    r"|(?P<open>\?[A-Za-z_]\w*)"
    rf"|(?P<keyword>\b(?:{_KEYWORDS})\b)"
    r"|(?P<number>\b\d[\d_]*(?:\.\d+)?(?:e[+-]?\d+)?\b)"
)


def highlighted(text: str) -> Markup:
    """The text, escaped, with a `span` around comments, strings, keywords, numbers and `?names`."""
    out: list[str] = []
    end = 0
    for token in _TOKENS.finditer(text):
        out.append(escape(text[end : token.start()]))
        out.append(f'<span class="{token.lastgroup}">{escape(token.group())}</span>')
        end = token.end()
    out.append(escape(text[end:]))
    return Markup("".join(out))
