"""AssembleNet's space: the published networks are in it, and the networks of its graphs have the
counts of the closed formulas.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemblenet_published import BASELINES, TABLE_4, released
from assemblenet_tables import Row, Rows, multiply_adds, parameters
from fusegraph.compiler.cost import cost
from fusegraph.compiler.explore import sample
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.dsl import load, parse_genotype
from fusegraph.ir.levels import LevelGraph, Levels
from fusegraph.ir.settling import bind
from generators import some
from repository import ROOT

FOLDER = ROOT / "examples" / "assemblenet"
SPACE = load(FOLDER / "space.fuse")
PUBLISHED = {"table4": TABLE_4, "release": released(256, 512), **BASELINES}


def _lines(rows: Rows) -> Iterator[str]:
    """The settings of a genotype that makes a table's network."""
    labels: list[str] = []
    for row in rows:
        number = 1 + sum(label.startswith(f"v[{row.level}]") for label in labels)
        labels.append(f"v[{row.level}][{number}]")
        parts = [f"width = {row.width}"]
        if row.level:
            parts.append(f"from = {{{', '.join(labels[int(i)] for i in row.inputs)}}}")
        else:
            parts.append(f"source = {row.inputs[0]}")
        if row.inputs != ("flow",):
            parts.append(f"rate = {row.rate}")
        yield f"{labels[-1]} {{ {', '.join(parts)} }}"


def _rows(graph: LevelGraph, levels: Levels) -> Rows:
    """A graph of the space as a table."""
    rows: list[Row] = []
    for node in graph.nodes:
        own = levels.level(node.level).attributes
        chosen = {name: own.named(name).labels[setting[0]] for name, setting in node.attributes}
        inputs = node.inputs or (chosen["source"],)
        rows.append(Row(node.level, inputs, node.width, int(chosen.get("rate", "1"))))
    return tuple(rows)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_network_is_in_the_space(name: str) -> None:
    text = "\n".join(["fuse 1", 'genotype of "space.fuse"', *_lines(PUBLISHED[name])])
    genotype = parse_genotype(text, SPACE)
    found = specialise(SPACE.graph, genotype)
    assert found.digest == load(FOLDER / f"{name}.fuse").graph.digest


@some(8)
@given(st.integers(0, 2**20))
def test_every_graph_of_the_space_has_the_counts_of_the_closed_formulas(seed: int) -> None:
    (levels,) = SPACE.graph.decisions.values()
    assert isinstance(levels, Levels)
    genotype = sample(SPACE.graph, Random(seed))
    rows = _rows(levels.graph_of(genotype.settings["v"]), levels)
    total = cost(specialise(SPACE.graph, genotype))
    assert total.parameters == parameters(rows)
    assert int(str(bind(total.macs, {"N": 1}))) == multiply_adds(rows)
