"""Examples whose published size is too large to run in a test, by constants that make them small.

What runs every example takes them from here. Their published sizes are checked, counted and
costed by tests of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fusegraph.compiler.specialise import specialise
from fusegraph.ir.dsl import Program, load, load_genotype
from fusegraph.ir.graph import Graph
from repository import ROOT

CONSTANTS: Mapping[str, Mapping[str, str]] = {
    "two_stream/x3d.fuse": {
        "frames": "4", "side": "33", "width": "1", "depth": "0.5", "hidden": "16", "classes": "5",
    },
    "two_stream/slowfast.fuse": {
        "frames": "8", "alpha": "4", "kernel": "7", "side": "33", "width": "16",
        "blocks": "(1, 2, 1, 1)", "classes": "5",
    },
    "two_stream/space.fuse": {
        "sparse_frames": "2", "alpha": "2", "side": "33", "unit": "1", "depth": "0.5",
        "hidden": "16", "classes": "5",
    },
    **{
        f"two_stream/{name}.fuse": {"side": "33", "hidden": "16", "classes": "5"}
        for name in ("apart_s", "lateral_s", "lateral_m", "lateral_l")
    },
    "assemblenet/table4.fuse": {
        "frames": "3", "side": "36", "width": "4", "modules": "(2, 3, 1, 2)", "classes": "5",
    },
    **{
        f"assemblenet/{name}.fuse": {
            "frames": "3", "side": "36", "width": "4", "modules": "(2, 3, 1, 2)", "classes": "5",
        }
        for name in (
            "two_stream_late", "two_stream_level_4", "two_stream_fully", "four_stream_fully",
            "flow_to_rgb",
        )
    },
    "assemblenet/space.fuse": {
        "frames": "3", "side": "36", "base": "4", "modules": "(2, 3, 1, 2)", "classes": "5",
    },
    "assemblenet/release.fuse": {
        "frames": "3", "side": "36", "stem": "2", "widths": "(2, 4, 8, 16)",
        "spatial": "(4, 6, 8, 10)", "modules": "(2, 3, 1, 2)", "classes": "5",
    },
    "elastic/autoformer_t.fuse": {
        "side": "48", "embed": "12", "heads": "(1, 2)", "ratios": "(3.5, 2)", "classes": "5",
    },
    **{
        f"elastic/{name}.fuse": {
            "side": "48", "embeds": "(8, 12)", "heads": "(1, 2)", "fewest": "1", "most": "3",
            "classes": "5",
        }
        for name in ("tiny", "small", "base")
    },
    "elastic/tiny_published.fuse": {"side": "48", "classes": "5"},
}  # fmt: skip


def small_constants(path: Path) -> Mapping[str, str]:
    """The constants under which this file runs within a second; none for most."""
    return CONSTANTS.get(path.relative_to(ROOT / "examples").as_posix(), {})


def load_small(path: Path) -> Program:
    """The program of an example, small enough to run."""
    return load(path, small_constants(path))


def small_network(path: Path) -> Graph:
    """The network of a genotype's file, small enough to run: its settings in a smaller space."""
    program, genotype = load_genotype(path)
    small = small_constants(path)
    if small:
        program = load(program.file, {**program.overrides, **small})
    return specialise(program.graph, genotype.settings)
