"""`make demo`: from raw digits to a network that is searched, trained, exported and run."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

from comparing import METHODS, Compared, compare, run

from fusegraph.pipeline.run_folder import open_run
from fusegraph.pipeline.summary import write_run_report
from fusegraph.report.data import ComparisonSection, Method


def main() -> int:
    """Runs the comparison for one seed and prints where everything is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairing", choices=("label", "sum"), default="label")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the folder; a new one below runs/ by default")
    arguments = parser.parse_args()
    folder = arguments.out or _new_folder(f"av_digits-{arguments.pairing}")
    start = time.perf_counter()
    try:
        compared = compare(folder, arguments.pairing, arguments.seed)
        run(folder, "run", "mfas/model.onnx", "features", "--split", "test")
    except KeyboardInterrupt:
        print(f"\nstopped; go on with: {sys.executable} {__file__} --out {folder}")
        return 130
    except subprocess.CalledProcessError as error:
        return error.returncode
    report = write_run_report(open_run(folder / "mfas"), comparison=_section(compared))
    _print_table(compared)
    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(f"\n{time.perf_counter() - start:.0f} s, largest process {peak / 1024:.0f} MB")
    print(f"the report: {report}")
    print(f"the model:  {folder / 'mfas' / 'model.onnx'}")
    return 0


def _new_folder(name: str) -> Path:
    number = 1
    while (folder := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return folder


def _section(compared: Compared) -> ComparisonSection:
    return ComparisonSection(
        "test accuracy",
        tuple(
            Method(
                name,
                (compared.accuracy[name],),
                parameters=compared.parameters.get(name),
                seconds=compared.seconds.get(name),
                strong=name in ("MFAS", "BM-NAS"),
            )
            for name in METHODS
        ),
        notes=(
            "One seed. Paired at random by label, the modalities are independent given the label, "
            "so summed log-probabilities are close to the best that can be done; study.py measures "
            "three seeds, and the pairing where no sum can work.",
        ),
    )


def _print_table(compared: Compared) -> None:
    print("\ntest accuracy")
    for name in METHODS:
        parameters = compared.parameters.get(name)
        size = f"{parameters:10,} parameters" if parameters is not None else ""
        print(f"  {name:40} {compared.accuracy[name]:6.1%} {size}".rstrip())


if __name__ == "__main__":
    sys.exit(main())
