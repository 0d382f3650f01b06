"""The table of the backend: every primitive of the language with its lowering."""

from __future__ import annotations

from collections.abc import Mapping

from . import elementwise, mixing, products, reducing, shaping, stacking
from .lowering import Lowering

LOWERINGS: Mapping[str, Lowering] = {
    **products.LOWERINGS,
    **mixing.LOWERINGS,
    **elementwise.LOWERINGS,
    **shaping.LOWERINGS,
    **reducing.LOWERINGS,
    **stacking.LOWERINGS,
}
"""By the name of the op. The lowering of an op is in the file named as the op's own in ir/ops."""
