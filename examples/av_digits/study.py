"""Three seeds of both pairings: the table of this example's README, from real runs.

`python examples/av_digits/study.py runs/study` measures what is not there yet, prints the table
and writes it as JSON; interrupted, it goes on.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any, get_args

from comparing import METHODS, compare
from data import Pairing
from strategies import TITLES, compare_strategies


def main() -> None:
    """Measures, prints, writes `study.json` into the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pairing", choices=get_args(Pairing))
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    pairings: tuple[Pairing, ...] = get_args(Pairing)
    for pairing in pairings:
        if arguments.pairing not in (None, pairing):
            continue
        for seed in range(arguments.seeds):
            folder = arguments.folder / f"{pairing}-{seed}"
            kept = folder / "compared.json"
            if not kept.is_file():
                measured = asdict(compare(folder, pairing, seed))
                if pairing == "sum":
                    measured["strategies"] = compare_strategies(folder, "bm_nas.toml", "bm_nas")
                kept.write_text(json.dumps(measured, indent=1))
            found.setdefault(pairing, []).append(json.loads(kept.read_text()))
    (arguments.folder / "study.json").write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Mean test accuracy in per cent ± standard error, in Markdown."""
    lines = [
        "| test accuracy, % | " + " | ".join(f"av_{pairing}" for pairing in found) + " |",
        "|---|" + "---|" * len(found),
    ]
    for name in METHODS:
        cells = [_cell([run["accuracy"][name] for run in runs]) for runs in found.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name in ("random search", "MFAS"):
        cells = [_cell([run["later_rounds"][name] for run in runs]) for runs in found.values()]
        lines.append(
            f"| {name}: candidates of 2-4 layers, mean, validation | {' | '.join(cells)} |"
        )
    if "sum" in found:
        lines += ["", "| av_sum, the deepest taps fused by | test accuracy, % |", "|---|---|"]
        for name, title in TITLES.items():
            lines.append(
                f"| {title} | {_cell([run['strategies'][name] for run in found['sum']])} |"
            )
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{100 * mean(values):.1f} ± {100 * error:.1f}"


if __name__ == "__main__":
    main()
