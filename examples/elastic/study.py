"""Do inherited weights tell which network is better? The table of this example's README.

    python examples/elastic/study.py runs/elastic [--epochs 6]

Trains the supernet of `digits.toml`, draws networks of its space, scores each with the weights that
it inherits, and trains it from scratch, on both data sets; prints a table in Markdown and how the
two rank the networks alike, and writes the figures as JSON. Interrupted, it goes on. What needs no
Python is done by the command line, as a user would do it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import torch
from scipy.stats import kendalltau, spearmanr

from fusegraph.backends.torch import lower
from fusegraph.compiler.explore import sample
from fusegraph.compiler.pipeline import network
from fusegraph.examples.commands import run
from fusegraph.ir.dsl import Program, format_genotype, load
from fusegraph.ir.genotype import Genotype
from fusegraph.ir.graph import Graph
from fusegraph.pipeline.heads import heads_of
from fusegraph.pipeline.run_folder import RunFolder
from fusegraph.pipeline.searcher import searcher_of
from fusegraph.pipeline.tasks import Prepared, prepare
from fusegraph.searchers.protocol import Inheriting, owns_a_loop
from fusegraph.tasks.task_file import load_task

HERE = Path(__file__).parent
TASK = "digits.toml"
LIMIT = "set = { limit = 20000 }"
"""As the task has it; networks are drawn without it, so that they differ more."""
EPOCHS = "epochs = 12 # of"
"""As `[train]` of the task has it."""
SEARCH = "search"
Accuracies = Mapping[str, float]
"""By output, on the validation splits."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A network: what it is, and its accuracies with inherited weights and with its own."""

    genotype: str
    parameters: int
    inherited: Accuracies
    alone: Accuracies


def main() -> None:
    """Measures, prints, writes `study-EPOCHS.json` into the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=12, help="of each network by itself")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    epochs: int = arguments.epochs
    prepare_folder(folder, epochs)
    run(folder, "search", TASK, "--out", SEARCH)
    program = load(folder / "digits.fuse")
    drawn = list(genotypes(program.graph, arguments.networks, arguments.seed))
    inherited = inherited_accuracies(folder, drawn)
    found: list[Measured] = []
    for number, genotype in enumerate(drawn, start=1):
        parameters, alone = alone_accuracies(
            folder, number, format_genotype(genotype, program), epochs
        )
        found.append(
            Measured(described(program, genotype), parameters, inherited[number - 1], alone)
        )
    kept = {"networks": [asdict(each) for each in found], "correlation": correlations(found)}
    (folder / f"study-{epochs}.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    print(table(found))


def prepare_folder(folder: Path, epochs: int) -> None:
    """The space, the task with and without its limit, and the data where they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "digits.fuse", folder)
    text = (HERE / TASK).read_text("utf-8")
    (folder / TASK).write_text(text, "utf-8")
    alone = text.replace(LIMIT, "").replace(EPOCHS, f"epochs = {epochs} # of")
    (folder / f"alone-{epochs}.toml").write_text(alone, "utf-8")
    if not (folder / "digits" / "moving" / "manifest.json").is_file():
        data = [sys.executable, str(HERE / "digits.py"), str(folder / "digits"), "--replace"]
        subprocess.run(data, check=True)


def genotypes(space: Graph, many: int, seed: int) -> Iterator[Genotype]:
    """So many different ones, by lot."""
    rng, seen = Random(seed), set[Genotype]()
    while len(seen) < many:
        drawn = sample(space, rng)
        if drawn not in seen:
            seen.add(drawn)
            yield drawn


def inherited_accuracies(folder: Path, drawn: Sequence[Genotype]) -> list[Accuracies]:
    """With the weights that the search has ended with."""
    task = load_task(folder / TASK)
    prepared = prepare(task)
    searcher = searcher_of(task, prepared.searched, prepared.trained)
    assert owns_a_loop(searcher)
    assert isinstance(searcher, Inheriting)
    settings, state = task.settings.search.train, RunFolder(folder / SEARCH).supernet
    searcher.begin(prepared.data, settings, state)
    graph = load(folder / "digits.fuse").graph
    return [
        accuracies(prepared, network(graph, genotype), searcher.weights_of(genotype))
        for genotype in drawn
    ]


def accuracies(prepared: Prepared, graph: Graph, weights: Mapping[str, object]) -> Accuracies:
    """Of a network with these weights."""
    module = lower(graph)
    module.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()})
    settings = prepared.task.settings.train
    heads = heads_of(module, prepared.data)
    return {head.output: head.judge(module, settings)[1] for head in heads}


def alone_accuracies(folder: Path, number: int, text: str, epochs: int) -> tuple[int, Accuracies]:
    """Parameters and accuracies of a network that is trained from scratch by `[train]`."""
    file, name = f"network-{number}.fuse", f"network-{number}-{epochs}"
    (folder / file).write_text(text, "utf-8")
    run(folder, "train", f"alone-{epochs}.toml", "--genotype", file, "--out", name)
    found = json.loads((folder / name / "results.json").read_text("utf-8"))
    joint = {output: own["valid"] for output, own in found["joint"].items()}
    return found["parameters"], {"logits": found["valid"], **joint}


def described(program: Program, genotype: Genotype) -> str:
    """Embedding, then heads and ratio of each layer: `24: 3 x 2, 4 x 1`."""
    said = {key: program.graph.decisions[key].format(value) for key, value in genotype.items}
    depth = int(said["trunk.depth"].removeprefix("h[").removesuffix("]"))
    layers = [f"trunk.h[{layer}]" for layer in range(1, depth + 1)]
    blocks = [f"{said[f'{layer}.heads']} x {said[f'{layer}.ratio']}" for layer in layers]
    return f"{said['embed']}: {', '.join(blocks)}"


def correlations(found: Sequence[Measured]) -> dict[str, dict[str, float]]:
    """Spearman's rho and Kendall's tau (b) between inherited and own accuracies.

    Of each data set, and of the means over them, which a search goes by.
    """
    told: dict[str, dict[str, float]] = {}
    for output in ("mean", *found[0].alone):
        inherited, alone = [
            [_of(each, output) for each in side]
            for side in ([each.inherited for each in found], [each.alone for each in found])
        ]
        rho: Any = spearmanr(inherited, alone)
        tau: Any = kendalltau(inherited, alone)
        told[output] = {"spearman": float(rho.statistic), "kendall": float(tau.statistic)}
    return told


def _of(accuracy: Accuracies, output: str) -> float:
    return mean(accuracy.values()) if output == "mean" else accuracy[output]


def table(found: Sequence[Measured]) -> str:
    """Accuracies in per cent, in Markdown: the best by itself first."""
    lines = [
        "| embedding: heads x ratio of each layer | parameters | inherited: mean, still, moving "
        "| by itself: mean, still, moving |",
        "|---|---|---|---|",
    ]
    for each in sorted(found, key=lambda one: -_of(one.alone, "mean")):
        told = [
            ", ".join([f"{100 * _of(side, name):.1f}" for name in ("mean", "digits", "logits")])
            for side in (each.inherited, each.alone)
        ]
        lines.append(f"| {each.genotype} | {each.parameters:,} | {told[0]} | {told[1]} |")
    lines += ["", "| | Spearman | Kendall |", "|---|---|---|"]
    names = {"mean": "mean", "digits": "still digits", "logits": "moving digits"}
    for output, own in correlations(found).items():
        lines.append(f"| {names[output]} | {own['spearman']:.2f} | {own['kendall']:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
