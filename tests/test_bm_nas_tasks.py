"""The task files of BM-NAS's data sets: they fit their spaces, and a search could begin."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from cli_calls import call
from fusegraph.ir.dsl import load
from fusegraph.ir.node import Node
from fusegraph.tasks.feature_writer import FeatureWriter
from fusegraph.tasks.manifest import LabelKind
from repository import ROOT

BM_NAS = ROOT / "examples" / "bm_nas"


def _features(space: Path, folder: Path, *, multi: bool) -> None:
    """Random features of the pooled taps, four samples a split."""
    graph = load(space, {"taps": "2"}).graph
    classes = graph.roots[0].type.shape[-1]
    assert isinstance(classes, int)
    labels = LabelKind(kind="multi" if multi else "single", classes=classes)
    rng = np.random.default_rng(0)
    with FeatureWriter(folder, labels) as writer:
        for split in ("train", "valid", "test"):
            taps = {
                node["name"]: rng.normal(size=_shape(node)).astype(np.float32)
                for node in graph.inputs
            }
            shape = (4, classes) if multi else (4,)
            writer.add(split, taps, rng.integers(0, 2, shape))


def _shape(node: Node) -> tuple[int, ...]:
    return (4, *[int(str(size)) for size in node.type.shape[1:]])


@pytest.mark.parametrize("name", ["ntu", "ego_gesture", "mm_imdb"])
def test_a_search_of_the_papers_data_sets_could_begin(name: str, tmp_path: Path) -> None:
    for file in (f"{name}.toml", f"{name}_release.fuse"):
        shutil.copy(BM_NAS / file, tmp_path / file)
    space = tmp_path / f"{name}_release.fuse"
    _features(space, tmp_path / "features", multi=name == "mm_imdb")
    answer = call("search", str(tmp_path / f"{name}.toml"), "--dry-run")
    assert answer.code == 0, answer.err
    assert "bm_nas" in answer.out + answer.err
