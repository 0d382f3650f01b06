"""BM-NAS's spaces: published sizes part by part, the closed formula, the release's arithmetic."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import comb
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bm_nas_release import Release, labels_of
from cli_calls import call, good
from fusegraph.backends.onnx import export
from fusegraph.backends.torch import lower
from fusegraph.compiler.cost import cost, cost_lines
from fusegraph.compiler.count import count
from fusegraph.compiler.explore import sample
from fusegraph.compiler.specialise import specialise
from fusegraph.ir.cells import expand
from fusegraph.ir.decisions import KOf
from fusegraph.ir.dsl import Program, is_genotype, load, load_genotype
from fusegraph.ir.genotype import Genotype
from fusegraph.ir.graph import Graph
from fusegraph.ir.node import everything
from fusegraph.tasks.pooling import first_axis_pool, grid_pool
from generators import some
from repository import ROOT
from torch_backend_networks import batch_for

FOLDER = ROOT / "examples" / "bm_nas"
FILES = sorted(FOLDER.glob("*.fuse"))
GENOTYPES = [file for file in FILES if is_genotype(file.read_text(encoding="utf-8"))]
SPACES = [file for file in FILES if file not in GENOTYPES]
FOUND = [file for file in GENOTYPES if "_found_" in file.name]
STRATEGIES = ("sum", "concat_fc", "two_heads", "aoa", "searched")
SIZES = {"N": 2}


def _name(file: Path) -> str:
    return file.stem


def _settled(file: Path) -> Graph:
    program, genotype = load_genotype(file)
    return specialise(program.graph, genotype)


# ── Table 9 ──────────────────────────────────────────────────────────────────────────────────────

PARTS = {
    # aligns, cells, norm, classifier: the facts' three networks first
    "ntu_found_2": (1_181_952, (135_936, 135_936), 8_192, 245_820),
    "ego_gesture_found_1": (328_832, (51_584, 51_584), 4_096, 170_067),
    "mm_imdb_found_1": (111_744, (154_752, 229_056), 12_288, 141_335),
    "ntu_found_1": (590_976, (167_808, 39_296), 4_096, 122_940),
    "ntu_found_3": (590_976, (103_552, 39_296), 4_096, 122_940),
    "ntu_found_4": (1_248_256, (135_936, 271_872, 271_872, 135_936), 16_384, 491_580),
    "ego_gesture_found_2": (262_912, (4_096, 4_096), 4_096, 170_067),
    "ego_gesture_found_3": (296_064, (308_928, 305_856), 6_144, 255_059),
    "ego_gesture_found_4": (394_944, (78_912, 227_520, 301_824), 13_824, 573_779),
}

TABLE_9 = {
    "ntu_found_2": 1.71,
    "ntu_found_4": 2.57,
    "ego_gesture_found_1": 0.61,
    "ego_gesture_found_2": 0.45,
    "ego_gesture_found_3": 1.17,
    "ego_gesture_found_4": 1.59,
    "mm_imdb_found_1": 0.65,
}
"""Millions. NTU 1 and 3 are left out: both rows say 0.98 M, which neither found network has."""


@pytest.mark.parametrize("file", FOUND, ids=_name)
def test_a_found_network_has_the_parameters_of_its_parts(file: Path) -> None:
    network = _settled(file)
    aligns, cells, norm, classifier = PARTS[file.stem]
    lines = [line for line in cost_lines(network) if line.depth == 0]
    found = {line.key: line.cost.parameters for line in lines if line.op == "fusion"}
    assert [found[f"c[{n + 1}]"] for n in range(len(found))] == list(cells)
    assert sum([x.cost.parameters for x in lines if x.op.startswith("align")]) == aligns
    assert [x.cost.parameters for x in lines if x.key == "logits.layer_norm"] == [norm]
    assert [x.cost.parameters for x in lines if x.key == "logits"] == [classifier]
    assert cost(network).parameters == aligns + sum(cells) + norm + classifier
    module = lower(network)
    assert sum(p.numel() for p in module.parameters()) == cost(network).parameters


@pytest.mark.parametrize("name", TABLE_9)
def test_a_found_network_has_the_size_of_table_9(name: str) -> None:
    total = cost(_settled(FOLDER / f"{name}.fuse")).parameters
    assert isinstance(total, int)
    assert round(total / 1e6, 2) == TABLE_9[name]


# ── the closed formula ───────────────────────────────────────────────────────────────────────────

CHANNELS = {
    **{f"video[{i + 1}]": c for i, c in enumerate((512, 1024, 2048, 2048))},
    **{f"skeleton[{i + 1}]": c for i, c in enumerate((128, 256, 1024, 512))},
    **{f"{m}[{i + 1}]": c for m in ("rgb", "depth") for i, c in enumerate((512, 1024, 2048, 2048))},
    **{f"image[{i + 1}]": 512 for i in range(4)},
    "text[1]": 64,
    "text[2]": 128,
}


def _formula(taken: Mapping[str, tuple[str, ...]], given: Mapping[str, int], release: bool) -> int:
    """The parameters of a genotype, from its lines alone."""
    c, length = given["C"], given["L"]
    features: set[str] = set()
    total = 0
    for n in range(1, given["cells"] + 1):
        x, y = taken[f"c[{n}].inputs"]
        steps = {m: f"c[{n}].s[{m}]" for m in range(1, given["steps"] + 1)}
        for key in [key for key in steps.values() if f"{key}.op" in taken]:
            total += _step(taken[f"{key}.op"][0], c, length, release)
        used = [taken.get(f"{key}.{side}") for key in steps.values() for side in ("left", "right")]
        features |= {f for f in ((x, y) if ("y",) in used else (x,)) if f in CHANNELS}
        if release and given["multiplier"] > 1:
            total += given["multiplier"] * c * c + 3 * c
        elif not release:
            total += given["steps"] * c * c + c
        total += 2 * c * length
    total += sum(CHANNELS[f] * c + 3 * c for f in features)
    wide = given["cells"] * c * length
    return total + 2 * wide + wide * given["classes"] + given["classes"]


def _step(op: str, c: int, length: int, release: bool) -> int:
    if release:
        return {"sum": 0, "attention": 2 * c * length, "glu": 4 * c**2 + 6 * c}.get(
            op, 2 * c**2 + 3 * c
        )
    return {"linear_glu": 2 * c**2, "concat_fc": 2 * c**2 + c}.get(op, 0)


@st.composite
def _constants(draw: st.DrawFn) -> tuple[Path, dict[str, int]]:
    file = draw(st.sampled_from(SPACES))
    length = st.integers(1, 4).map(lambda n: n * n) if "imdb" in file.name else st.integers(1, 16)
    drawn = {
        "C": draw(st.integers(1, 20)),
        "L": draw(length),
        "cells": draw(st.integers(1, 4)),
        "steps": draw(st.integers(1, 4)),
        "classes": draw(st.integers(2, 9)),
    }
    if "release" in file.name:
        drawn["multiplier"] = draw(st.integers(1, 5))
    return file, drawn


@some(60)
@given(_constants(), st.integers(0, 2**20))
def test_every_genotype_has_the_parameters_of_the_closed_formula(
    at: tuple[Path, dict[str, int]], seed: int
) -> None:
    file, given_ = at
    space = load(file, {name: str(value) for name, value in given_.items()}).graph
    genotype = sample(space, Random(seed))
    release = "release" in file.name
    expected = _formula(labels_of(space, genotype), given_, release)
    assert cost(specialise(space, genotype)).parameters == expected


@pytest.mark.parametrize("file", SPACES, ids=_name)
def test_a_space_has_as_many_networks_as_its_choices_multiply_to(file: Path) -> None:
    taps, steps = (6, 1) if "imdb" in file.name else (8, 3 if "ego" in file.name else 2)
    pairs = comb(taps, 2) * comb(taps + 1, 2)
    cell = 1
    for m in range(steps):
        # four ops of two operands each; the paper's Zero has none
        cell *= 4 * (2 + m) ** 2 + (0 if "release" in file.name else 1)
    assert count(load(file).graph).genotypes == pairs * cell**2


# ── both variants run and export, with other constants than the file's ───────────────────────────


@pytest.mark.parametrize("file", SPACES, ids=_name)
def test_a_drawn_network_runs_and_exports_under_other_constants(file: Path, tmp_path: Path) -> None:
    rng = Random(file.stem)
    given_ = {"C": "6", "L": "9", "cells": "3", "steps": "3", "classes": "5"}
    if "release" in file.name:
        given_["multiplier"] = "2"
    space = load(file, given_).graph
    for at in range(2):
        network = specialise(space, sample(space, rng))
        module = lower(network, seed=at).eval()
        found = module.run(batch_for(network, sizes=SIZES))
        assert isinstance(found, Tensor)
        assert found.shape == (2, 5)
        report = export(module, None, tmp_path / f"{at}.onnx", seed=at)
        assert report.difference <= 1e-5


# ── the release's arithmetic, written with torch alone ───────────────────────────────────────────


OF_THE_SPACE = {
    "ntu": {"cells": 2, "steps": 2, "multiplier": 2, "L": 8},
    "ego_gesture": {"cells": 2, "steps": 3, "multiplier": 3, "L": 8},
    "mm_imdb": {"cells": 2, "steps": 1, "multiplier": 2, "L": 16},
}


def _given(file: Path) -> dict[str, str]:
    """What stands behind `with` in a genotype's file."""
    found = re.search(r" with (.*) @", file.read_text(encoding="utf-8"))
    return dict([pair.split("=") for pair in found[1].split(", ")]) if found else {}


@pytest.mark.parametrize("file", FOUND, ids=_name)
def test_a_found_network_computes_what_the_release_does(file: Path) -> None:
    program, genotype = load_genotype(file)
    network = specialise(program.graph, genotype)
    module = lower(network, seed=0).double().eval()
    torch.manual_seed(1)
    reference = Release(module, program, genotype)
    batch = batch_for(network, double=True, sizes=SIZES)
    constants = OF_THE_SPACE[file.stem.partition("_found_")[0]]
    given_ = {name: int(value) for name, value in _given(file).items() if name in constants}
    expected = reference.run(batch, constants | given_)
    torch.testing.assert_close(module.run(batch), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("file", FOUND, ids=_name)
def test_taps_that_were_pooled_beforehand_give_the_same_network(file: Path) -> None:
    program, genotype = load_genotype(file)
    name, given_ = file.stem.partition("_found_")[0], _given(file)
    pooled = load(FOLDER / f"{name}_release.fuse", {**given_, "taps": "2"}).graph
    network, small = (specialise(s, genotype.settings) for s in (program.graph, pooled))
    length = int(given_.get("L", OF_THE_SPACE[name]["L"]))
    pool = grid_pool if name == "mm_imdb" else first_axis_pool
    module, other = lower(network, seed=0).eval(), lower(small, seed=1).eval()
    other.load_state_dict(module.state_dict())
    batch = batch_for(network, sizes=SIZES)
    found = other.run({key: pool(value, length) for key, value in batch.items()})
    torch.testing.assert_close(found, module.run(batch))


def test_dropout_is_a_tenth_in_attention_and_that_of_the_table_elsewhere() -> None:
    space = expand(load(FOLDER / "ntu_release.fuse", {"drop": "0.25"}).graph)
    dropouts = [node for node in everything(space.roots) if node.op.name == "dropout"]
    within = {node["p"] for node in dropouts if ".attention." in node.key}
    elsewhere = {node["p"] for node in dropouts if ".attention." not in node.key}
    assert (within, elsewhere) == ({0.1}, {0.25})


@pytest.mark.parametrize("file", SPACES, ids=_name)
def test_a_vector_is_repeated_by_expand(file: Path) -> None:
    space = expand(load(file).graph)
    vectors = [node for node in space.inputs if node.type.rank == 2]
    assert len([n for n in everything(space.roots) if n.op.name == "expand"]) == len(vectors)


# ── Fig. 3 ───────────────────────────────────────────────────────────────────────────────────────


def _strategies() -> Iterator[tuple[str, Program, Genotype]]:
    for name in STRATEGIES:
        yield (name, *load_genotype(FOLDER / f"ntu_{name}.fuse"))


def test_the_strategies_are_genotypes_of_one_space_over_the_same_features() -> None:
    found = {name: (program, genotype) for name, program, genotype in _strategies()}
    space = load(FOLDER / "ntu.fuse").graph
    ops: dict[str, list[str]] = {}
    for name, (program, genotype) in found.items():
        assert program.graph is space
        taken = labels_of(space, genotype)
        assert taken["c[1].inputs"] == ("video[3]", "skeleton[4]")
        assert taken["c[2].inputs"] == ("video[3]", "video[4]")
        ops[name] = [taken[f"c[{n}].s[{m}].op"][0] for n in (1, 2) for m in (1, 2)]
    assert ops == {
        "sum": ["sum", "zero"] * 2,
        "concat_fc": ["concat_fc", "zero"] * 2,
        "two_heads": ["attention"] * 4,
        "aoa": ["attention", "linear_glu"] * 2,
        "searched": ["linear_glu", "linear_glu", "attention", "attention"],
    }


def test_the_searched_strategy_takes_what_the_found_network_takes() -> None:
    (program, genotype), (other, found) = (
        load_genotype(FOLDER / f"ntu_{name}.fuse") for name in ("searched", "found_1")
    )
    named = {"glu": "linear_glu", "fc": "concat_fc"}
    expected = {
        key: tuple([named.get(label, label) for label in labels])
        for key, labels in labels_of(other.graph, found).items()
    }
    assert labels_of(program.graph, genotype) == expected


def test_a_cell_may_read_an_earlier_cell() -> None:
    for file in SPACES:
        inputs = load(file).graph.decisions["c[2].inputs"]
        assert isinstance(inputs, KOf)
        assert inputs.labels[-1] == "c[1]"


# ── the command line ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_the_commands_work_on_every_file(file: Path, tmp_path: Path) -> None:
    good("check", file)
    good("fmt", "--check", file)
    good("show", file, "-o", tmp_path / "drawn.svg")
    sampled = () if file in GENOTYPES else ("--sample", "1")
    assert "FLOPs" in good("cost", file, *sampled)


@pytest.mark.parametrize("constant", ["cells", "steps", "multiplier"])
def test_a_constant_of_nothing_is_refused(constant: str) -> None:
    answer = call("check", FOLDER / "ntu_release.fuse", "--set", f"{constant}=0")
    assert answer.code == 1
    assert "E502" in answer.err
    assert "`min(cells, steps, multiplier) >= 1` does not hold" in answer.err


def test_a_length_that_is_no_square_is_refused_for_a_grid() -> None:
    answer = call("check", FOLDER / "mm_imdb_release.fuse", "--set", "L=8")
    assert answer.code == 1
    assert "`side * side == length` does not hold" in answer.err
