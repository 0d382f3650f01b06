"""The curves of Fig. 4 on moving digits: guided evolution, evolution, random search.

    python examples/assemblenet/study.py runs/assemblenet [--seeds 0 1 2]

Searches with the same budget, each with several seeds, and trains hand-made networks as what was
found; prints both tables in Markdown and writes the figures as JSON. Interrupted, it goes on. It
searches as a user would, by the command line.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from fusegraph.examples.commands import run
from fusegraph.searchers.store import TrialStore

HERE = Path(__file__).parent
TASK = "moving_digits.toml"
OPTIONS = "options = { population = 6, tournament = 3 }"
"""As the task has them."""
ARMS: Mapping[str, tuple[str, str]] = {
    "guided evolution": ("evolution", OPTIONS),
    "evolution, random connections": (
        "evolution", OPTIONS.replace("}", ', connections = "random" }')
    ),
    "random search": ("random", "options = {}"),
}  # fmt: skip
EPOCHS = 2
"""Of a candidate, one fewer than the task has: after three nearly all ways to search end alike."""
ALONE = {
    "moving_digits_rgb": "RGB alone",
    "moving_digits_flow": "flow alone",
    "moving_digits_late": "late fusion",
    "moving_digits_fused": "fused by hand",
}
TRIALS = (6, 8, 10, 12, 14, 16)
"""After how many networks the pool is looked at."""


def main() -> None:
    """Measures what is not there yet, prints, and writes `study.json` into the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    seeds: Sequence[int] = arguments.seeds
    prepare(folder)
    for seed in seeds:
        for arm in ARMS:
            task = task_of(folder, arm)
            run(folder, "search", task, "--out", place(arm, seed), "--seed", f"{seed}")
    for seed in seeds:
        for name in ALONE:
            run(folder, "train", seeded(folder, name, seed), "--out", place(name, seed))
    found = {arm: [of_a_search(folder / place(arm, seed)) for seed in seeds] for arm in ARMS}
    alone = {
        title: [results(folder / place(name, seed))["test"]["accuracy"] for seed in seeds]
        for name, title in ALONE.items()
    }
    kept = {"searches": found, "networks": alone}
    (folder / "study.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    print(curves(found), "", accuracies(found, alone), sep="\n")


def prepare(folder: Path) -> None:
    """The task files, and the feature folder where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*HERE.glob("moving_digits*.fuse"), *HERE.glob("moving_digits*.toml")):
        shutil.copy(file, folder / file.name)
    if not (folder / "moving_digits" / "manifest.json").is_file():
        made = [sys.executable, str(HERE / "moving_digits.py"), str(folder / "moving_digits")]
        subprocess.run([*made, "--replace"], check=True)


def task_of(folder: Path, arm: str) -> str:
    """The task file of an arm: as the example's, with its searcher, its options and EPOCHS."""
    searcher, options = ARMS[arm]
    text = (HERE / TASK).read_text("utf-8").replace(OPTIONS, options)
    text = text.replace("epochs = 3", f"epochs = {EPOCHS}")
    name = f"{place(arm, 0)}.toml"
    (folder / name).write_text(text.replace('"evolution"', f'"{searcher}"'), "utf-8")
    return name


def seeded(folder: Path, name: str, seed: int) -> str:
    """The task file of a hand-made network, trained as what a search has found, by this seed."""
    text = (HERE / f"{name}.toml").read_text("utf-8")
    file = f"{place(name, seed)}.toml"
    (folder / file).write_text(text.replace("[train]", f"[train]\nseed = {seed}"), "utf-8")
    return file


def place(name: str, seed: int) -> str:
    """The run folder of an arm or a network."""
    return f"{name.replace(', ', '_').replace(' ', '_')}_{seed}"


def results(run: Path) -> dict[str, Any]:
    """The figures of a run."""
    found: dict[str, Any] = json.loads((run / "results.json").read_text("utf-8"))
    return found


def of_a_search(run: Path) -> dict[str, Any]:
    """The mean fitness of the three best networks after so many, and the found one's accuracy."""
    trials = TrialStore.open(run).trials()
    scores = [trials[number].score for number in sorted(trials)]
    three = [
        mean(sorted([s for s in scores[:count] if s is not None], reverse=True)[:3])
        for count in TRIALS
    ]
    return {"three_best": three, "test": results(run)["test"]["accuracy"]}


def spread(values: Sequence[float], scale: float = 1.0, digits: int = 2) -> str:
    """The mean, and the standard error where there are several."""
    text = f"{scale * mean(values):.{digits}f}"
    if len(values) > 1:
        text += f" +- {scale * stdev(values) / len(values) ** 0.5:.{digits}f}"
    return text


def curves(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Fig. 4 as a table: top-1 + top-5 of the three best by the number of networks trained."""
    lines = [f"| networks | {' | '.join(map(str, TRIALS))} |", "|---" * (len(TRIALS) + 1) + "|"]
    for arm, seeds in found.items():
        cells = [spread([s["three_best"][i] for s in seeds]) for i in range(len(TRIALS))]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def accuracies(
    found: Mapping[str, Sequence[Mapping[str, Any]]], alone: Mapping[str, Sequence[float]]
) -> str:
    """Test accuracies in per cent."""
    lines = ["| network | test % |", "|---|---|"]
    for title, values in alone.items():
        lines.append(f"| {title} | {spread(values, 100, 1)} |")
    for arm, seeds in found.items():
        lines.append(f"| found by {arm} | {spread([s['test'] for s in seeds], 100, 1)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
