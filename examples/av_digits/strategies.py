"""What the choice of fusion ops is worth: the paper's Table 7 on these data.

    python examples/av_digits/strategies.py TASK RUN

RUN is a search by BM-NAS that is done. Over the same features, the deepest taps of both modalities,
cells fuse by the strategies of the paper's Fig. 3 and by the steps that the search found; each is
trained as TASK says.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from comparing import results, run

from fusegraph.ir.decisions import Decision, Setting
from fusegraph.ir.dsl import Program, format_genotype, load_genotype
from fusegraph.ir.genotype import Genotype
from fusegraph.ir.reach import walk

Step = tuple[str, str, str]
"""Op, left and right."""

STRATEGIES: Mapping[str, tuple[Step, Step]] = {
    "sum": (("sum", "x", "y"), ("zero", "x", "y")),
    "concat_fc": (("concat_fc", "x", "y"), ("zero", "x", "y")),
    "two_heads": (("attention", "x", "y"), ("attention", "x", "y")),
    "aoa": (("attention", "x", "y"), ("linear_glu", "x", "s[1]")),
}
"""Fig. 3 a, b, d and c: the sum of DARTS, the layer of MFAS, two heads of attention, AoANet."""

FEATURES = {"c[1].inputs": ("audio[5]", "image[3]"), "c[2].inputs": ("audio[4]", "image[3]")}
"""What all strategies fuse."""

TITLES = {
    "sum": "Sum",
    "concat_fc": "ConcatFC",
    "two_heads": "attention, two heads",
    "aoa": "attention on attention",
    "searched": "the steps that were searched",
}


def with_strategy(found: Genotype, space: Program, name: str) -> Genotype:
    """A genotype over FEATURES, with this strategy in each cell, or with the steps of `found`."""
    wanted: dict[str, Sequence[str]] = dict(FEATURES)
    for number, step in enumerate(STRATEGIES.get(name, ()), start=1):
        for what, label in zip(("op", "left", "right"), step, strict=True):
            for key in space.graph.decisions:
                if key.endswith(f".s[{number}].{what}"):
                    wanted[key] = (label,)

    def choose(decision: Decision) -> Setting:
        if decision.key in wanted:
            return decision.parse(wanted[decision.key])
        # What the search did not reach, as behind a `zero`, may take anything.
        return found.settings.get(decision.key) or next(decision.settings())

    return Genotype.of(space.graph.digest, walk(space.graph, choose))


def compare_strategies(folder: Path, task: str, searched: str) -> dict[str, float]:
    """Test accuracy of each strategy, and of the search's own steps, by the names of TITLES.

    `folder` holds the task file and the run folder `searched`; runs that are there are kept.
    """
    space, found = load_genotype(folder / searched / "genotypes" / "best.fuse")
    accuracy: dict[str, float] = {}
    for name in TITLES:
        target = f"{searched}_{name}"
        if not (folder / target / "results.json").is_file():
            text = format_genotype(with_strategy(found, space, name), space, "bm_nas.fuse")
            (folder / f"{name}.fuse").write_text(text, encoding="utf-8")
            run(folder, "train", task, "--genotype", f"{name}.fuse", "--out", target)
        accuracy[name] = float(results(folder, target)["test"]["accuracy"])
    return accuracy


def main() -> None:
    """Trains what is not there yet, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("task", type=Path)
    parser.add_argument("run", help="the run folder of the search, beside the task")
    arguments = parser.parse_args()
    task: Path = arguments.task
    for name, accuracy in compare_strategies(task.parent, task.name, arguments.run).items():
        print(f"{TITLES[name]:24} {accuracy:6.1%}")


if __name__ == "__main__":
    main()
