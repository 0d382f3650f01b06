"""Genotypes of the example spaces agree between torch and onnxruntime within 1e-5."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from fusegraph.backends.onnx import export
from fusegraph.backends.torch import lower
from fusegraph.compiler.explore import sample
from fusegraph.compiler.specialise import specialise
from small_examples import load_small

FOLDER = Path(__file__).parent.parent / "examples"


def _spaces() -> list[Path]:
    return [p for p in sorted(FOLDER.rglob("*.fuse")) if "\nspace " in p.read_text()]


@pytest.mark.parametrize("path", _spaces(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_sampled_genotypes_agree(path: Path, tmp_path: Path) -> None:
    space = load_small(path).graph
    rng = Random(path.stem)
    for at in range(4):
        found = specialise(space, sample(space, rng))
        report = export(lower(found, seed=at), None, tmp_path / f"{at}.onnx", seed=at)
        assert report.difference <= 1e-5
        assert report.digest == found.digest
