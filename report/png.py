"""PNG files of drawings and charts, by resvg, which needs no library of the system."""

from __future__ import annotations

from functools import cache

from ..ir.diagnostics import Diagnostic, FusegraphError
from .style import opening

_TEXT = '<text x="4" y="24">fuse</text>'


def png(svg: str, *, scale: float = 2.0) -> bytes:
    """The PNG of an SVG text at `scale` pixels a unit, in the light scheme.

    Raises FusegraphError: E730 without the extra `png`, E731 where the machine has no fonts.
    """
    render = _renderer()
    if not _has_fonts():
        raise FusegraphError(
            Diagnostic(
                code="E731",
                message="this machine has no fonts, so a PNG would show no text",
                help="install a font such as DejaVu Sans, or write an .svg file",
            )
        )
    return bytes(render(svg_string=svg, zoom=scale))


def _renderer():
    try:
        from resvg_py import svg_to_bytes
    except ImportError:
        raise FusegraphError(
            Diagnostic(
                code="E730",
                message="PNG files need the package resvg-py, which is not installed",
                help='pip install "fusegraph[png]", or write an .svg file',
            )
        ) from None
    return svg_to_bytes


@cache
def _has_fonts() -> bool:
    """Whether a word leaves a trace: resvg leaves text out where it finds no font."""
    render = _renderer()
    empty = opening(60, 40, "")
    return render(svg_string=f"{empty}</svg>") != render(svg_string=f"{empty}{_TEXT}</svg>")
