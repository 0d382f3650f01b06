"""One comparison: backbones, late fusion, random search, MFAS and BM-NAS on the same features.

All that needs no Python here is done by the command line, as a user would do it; each command is
printed before it runs. Random search runs beside MFAS and BM-NAS, one thread each.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from backbones import build_features
from data import Pairing
from numpy.typing import NDArray
from unimodal import unfused

from fusegraph.pipeline.infer import infer
from fusegraph.tasks.features import FeatureFolder, open_features

HERE = Path(__file__).parent
FILES = ("av_digits.fuse", "bm_nas.fuse", "late_fusion.fuse", "late_fusion.toml")
SEARCHES = {"random search": "random", "MFAS": "mfas", "BM-NAS": "bm_nas"}
"""The task, and run folder, of each."""

METHODS = (
    "image alone",
    "audio alone",
    "late fusion, log-probabilities summed",
    "late fusion, last taps concatenated",
    "random search",
    "MFAS",
    "MFAS and both backbones, summed",
    "BM-NAS",
)


@dataclass(frozen=True, slots=True)
class Compared:
    """Test accuracies of METHODS, in their order; parameters and seconds where they are known."""

    accuracy: dict[str, float]
    parameters: dict[str, int]
    seconds: dict[str, float]
    later_rounds: dict[str, float]
    """Mean validation accuracy of random search's and MFAS's candidates with 2 layers and more."""


def prepare(folder: Path, pairing: Pairing, seed: int) -> FeatureFolder:
    """The task files and the feature folder in `folder`; features that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    suffix = "" if pairing == "label" else "_sum"
    for name in FILES:
        shutil.copy(HERE / name, folder / name)
    for name in SEARCHES.values():
        shutil.copy(HERE / f"{name}{suffix}.toml", folder / f"{name}.toml")
    features = folder / "features"
    if (features / "manifest.json").is_file():
        print(f"{features}: the features are there already", flush=True)
        return open_features(features)
    # Replaced is what an interrupted extraction left; it takes a second.
    return build_features(
        features, pairing, seed, lambda line: print(line, flush=True), replace=True
    )


def fusegraph(folder: Path, *arguments: str) -> list[str]:
    """The call of a command, told to whoever watches."""
    print(f"\n$ cd {shlex.quote(str(folder))} && fusegraph {shlex.join(arguments)}", flush=True)
    return [sys.executable, "-m", "fusegraph", *arguments]


def run(folder: Path, *arguments: str) -> None:
    """Run a command to its end. Raises CalledProcessError where it fails."""
    subprocess.run(fusegraph(folder, *arguments), cwd=folder, check=True, env=_one_thread())


def _one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def compare(folder: Path, pairing: Pairing = "label", seed: int = 0) -> Compared:
    """Everything, in `folder`; a search that was interrupted there goes on."""
    features = prepare(folder, pairing, seed)
    run(
        folder, "train", "late_fusion.toml", "--out", "late_fusion", *_resume(folder, "late_fusion")
    )
    seeded = ("--seed", str(seed))
    other = fusegraph(
        folder, "search", "random.toml", "--out", "random", *seeded, *_resume(folder, "random")
    )
    log = folder / "random.log"
    with log.open("w") as out:
        beside = subprocess.Popen(
            other, cwd=folder, env=_one_thread(), stdout=out, stderr=subprocess.STDOUT
        )
        print(f"(beside the next command; its output goes to {log})")
        try:
            for name in ("mfas", "bm_nas"):
                run(
                    folder, "search", f"{name}.toml", "--out", name, *seeded, *_resume(folder, name)
                )
            if beside.wait() != 0:
                raise RuntimeError(log.read_text())
        except BaseException:
            beside.terminate()
            beside.wait()
            raise
    return _collected(folder, features)


def _resume(folder: Path, run_name: str) -> Sequence[str]:
    return ("--resume",) if (folder / run_name / "run.json").is_file() else ()


def results(folder: Path, run_name: str) -> dict[str, Any]:
    """What a run has found."""
    found: dict[str, Any] = json.loads((folder / run_name / "results.json").read_text())
    return found


def _collected(folder: Path, features: FeatureFolder) -> Compared:
    alone = unfused(features)
    runs = {
        "late fusion, last taps concatenated": results(folder, "late_fusion"),
        **{name: results(folder, task) for name, task in SEARCHES.items()},
    }
    mfas = infer(folder / "mfas" / "model.onnx", folder / "features")
    summed = _log_softmax(mfas.logits)
    for tap in ("image_logits", "audio_logits"):
        summed = summed + _log_softmax(features.array(tap, "test"))
    accuracy = {
        "image alone": alone.image,
        "audio alone": alone.audio,
        "late fusion, log-probabilities summed": alone.late_fusion,
        "MFAS and both backbones, summed": float(np.mean(summed.argmax(axis=1) == mfas.labels)),
        **{name: float(found["test"]["accuracy"]) for name, found in runs.items()},
    }
    return Compared(
        {name: accuracy[name] for name in METHODS},
        {name: int(found["parameters"]) for name, found in runs.items()},
        {name: _seconds(folder / task) for name, task in SEARCHES.items()},
        {
            name: _mean_score(folder / run)
            for name, run in (("random search", "random"), ("MFAS", "mfas"))
        },
    )


def _log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _trials(run: Path) -> list[dict[str, Any]]:
    from fusegraph.searchers.store import TrialStore

    return [
        {"score": record.score, "seconds": record.seconds, "text": record.genotype}
        for record in TrialStore.open(run).trials().values()
        if record.score is not None
    ]


def _seconds(run: Path) -> float:
    return sum(trial["seconds"] for trial in _trials(run))


def _mean_score(run: Path) -> float:
    scores = [t["score"] for t in _trials(run) if "depth = h[1]" not in t["text"]]
    return float(np.mean(scores))
