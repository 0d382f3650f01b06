"""The networks of AssembleNet's paper and of its release, as tables."""

from __future__ import annotations

from assemblenet_tables import Row, Rows

TABLE_4: Rows = (
    Row(0, ("rgb",), 32, 4),
    Row(0, ("rgb",), 32, 4),
    Row(0, ("flow",), 32, 1),
    Row(0, ("flow",), 32, 1),
    Row(1, (2, 3), 64, 4),
    Row(1, (0,), 64, 2),
    Row(2, (1, 4, 5), 64, 1),
    Row(2, (4, 5), 64, 8),
    Row(2, (4, 5), 64, 2),
    Row(2, (0, 1, 4, 5), 64, 8),
    Row(3, (0, 1, 5, 6, 9), 128, 4),
    Row(3, (6, 7, 8), 128, 1),
    Row(3, (5, 6, 8, 9), 128, 4),
    Row(3, (4, 5, 6, 8, 9), 128, 8),
    Row(4, (10, 11, 12, 13), 512, 4),
)
"""The paper's table; the stride is 4 at level 0, 1 at level 1, and 2 above."""


def released(level_3: int, level_4: int) -> Rows:
    """The graph of AssembleNet-50 and -101, `asn50_structure` of the release, by two widths."""
    return (
        *TABLE_4[:4],
        Row(1, (1,), 32, 1),
        Row(1, (0,), 32, 4),
        Row(1, (0, 1, 2, 3), 32, 1),
        Row(1, (2, 3), 32, 2),
        Row(2, (0, 4, 5, 6, 7), 64, 2),
        Row(2, (0, 2, 4, 7), 64, 1),
        Row(2, (0, 5, 7), 64, 4),
        Row(2, (0, 5), 64, 1),
        Row(3, (4, 8, 10, 11), level_3, 1),
        Row(3, (8, 9), level_3, 4),
        Row(4, (12, 13), level_4, 2),
    )


def two_streams(*inputs: tuple[int, ...], last: int = 512) -> Rows:
    """Two stems of 64 channels, then nodes two by two; `last` is the width of those at level 4."""
    widths = (64, 128, 256, last)
    nodes = [Row(1 + i // 2, given, widths[i // 2], 1) for i, given in enumerate(inputs)]
    return (Row(0, ("rgb",), 64, 1), Row(0, ("flow",), 64, 1), *nodes)


FOUR_STREAMS: Rows = (
    *[Row(0, (source,), 32, 1) for source in ("rgb", "rgb", "flow", "flow")],
    *[Row(1, (0, 1, 2, 3), 32, 1)] * 4,
    *[Row(2, (4, 5, 6, 7), 64, 1)] * 4,
    *[Row(3, (8, 9, 10, 11), 128, 1)] * 4,
    Row(4, (12, 13, 14, 15), 512, 1),
)


BASELINES: dict[str, Rows] = {
    "two_stream_late": two_streams((0,), (1,), (2,), (3,), (4,), (5,), (6,), (7,), last=256),
    "two_stream_level_4": two_streams((0,), (1,), (2,), (3,), (4,), (5,), (6, 7)),
    "two_stream_fully": two_streams((0, 1), (0, 1), (2, 3), (2, 3), (4, 5), (4, 5), (6, 7)),
    "four_stream_fully": FOUR_STREAMS,
    "flow_to_rgb": two_streams((0, 1), (1,), (2, 3), (3,), (4, 5), (5,), (6, 7)),
}
"""The hand-made networks of Table 3 and section 4.4."""
