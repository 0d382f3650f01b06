"""The table of this example's README: PARSEC at growing beta, random networks, single streams.

    python examples/two_stream/study.py runs/two_stream

Measures what is not there yet, prints the table in Markdown and writes the figures as JSON;
interrupted, it goes on. What needs no Python is done by the command line, as a user would do it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from fusegraph.examples.commands import run
from fusegraph.searchers.store import TrialStore

HERE = Path(__file__).parent
DATA = HERE.parent / "assemblenet" / "moving_digits.py"
TASK = "moving_digits.toml"
BETA = "beta = 0.2"
"""As the task has it."""
BETAS = (0.0, 0.05, 0.1, 0.2)
ALONE = {
    "moving_digits_sparse": "frames alone",
    "moving_digits_flow": "flow alone",
    "moving_digits_apart": "both streams, no fusion",
}
"""Tasks in which nothing is searched, and what they are."""
RANDOM = "moving_digits_random"


def main() -> None:
    """Measures, prints, writes `study.json` into the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--betas", type=float, nargs="+", default=BETAS)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    prepare(folder)
    found: dict[str, dict[str, Any]] = {}
    for beta in arguments.betas:
        task = f"beta_{beta:g}.toml"
        text = (HERE / TASK).read_text("utf-8")
        (folder / task).write_text(text.replace(BETA, f"beta = {beta}"), "utf-8")
        found[f"PARSEC, beta {beta:g}"] = searched(folder, task, arguments.seed)
    drawn = searched(folder, f"{RANDOM}.toml", arguments.seed)
    found["best of 16 random networks"] = drawn
    for name, title in ALONE.items():
        run(folder, "train", f"{name}.toml", "--out", name)
        found[title] = results(folder, name)
    kept = {title: _figures(figures) for title, figures in found.items()}
    scores = random_scores(folder)
    kept["16 random networks"] = {"valid": mean(scores), "each": scores}
    (folder / "study.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    print(table(kept))


def prepare(folder: Path) -> None:
    """The task files, and the feature folder where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*HERE.glob("moving_digits*.fuse"), *HERE.glob("moving_digits*.toml")):
        shutil.copy(file, folder / file.name)
    features = folder / "features"
    if not (features / "manifest.json").is_file():
        taps = ("--taps", "flow", "sparse", "--replace")
        subprocess.run([sys.executable, str(DATA), str(features), *taps], check=True)


def searched(folder: Path, task: str, seed: int) -> dict[str, Any]:
    """What a search has found; one that was interrupted goes on."""
    name = task.removesuffix(".toml")
    run(folder, "search", task, "--out", name, "--seed", str(seed))
    return results(folder, name)


def results(folder: Path, name: str) -> dict[str, Any]:
    """The figures of a run."""
    found: dict[str, Any] = json.loads((folder / name / "results.json").read_text("utf-8"))
    return found


def random_scores(folder: Path) -> list[float]:
    """The validation accuracies of the random networks, each trained to completion."""
    trials = TrialStore.open(folder / RANDOM).trials().values()
    return [trial.score for trial in trials if trial.score is not None]


def _figures(found: dict[str, Any]) -> dict[str, Any]:
    test = found["test"]["accuracy"]
    return {
        "macs": found["macs"],
        "parameters": found["parameters"],
        "valid": found["valid"],
        "test": test,
    }


def table(kept: dict[str, dict[str, Any]]) -> str:
    """Multiply-adds and accuracies in per cent, in Markdown."""
    lines = ["| network | multiply-adds | validation | test |", "|---|---|---|---|"]
    for title, found in kept.items():
        macs = f"{found['macs'] / 1e6:.2f} M" if "macs" in found else "0.55-0.60 M"
        test = f"{100 * found['test']:.1f}" if "test" in found else ""
        lines.append(f"| {title} | {macs} | {100 * found['valid']:.1f} | {test} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
