"""How long a network takes on this machine: the median of warm runs, in milliseconds a batch.

A latency is not a function of the network. It changes with the machine, with what else that does,
and from one time to the next. So whatever is measured is kept with what it was measured by and on,
and the same network is not measured twice: who asks again gets the same answer.
"""

from __future__ import annotations

import gc
import json
import os
import platform
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from math import inf
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter_ns
from typing import Any, Literal

from ..ir.diagnostics import Diagnostic, FusegraphError
from ..ir.dims import Expr, symbols_in
from ..ir.graph import Graph
from ..ir.support.differences import differences
from ..ir.support.files import write_whole

Runtime = Literal["torch", "onnx"]

Prepared = AbstractContextManager[Callable[[], object]]
"""Within it a call runs the network once, for nothing but the time that it takes."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How latencies are measured, on the CPU.

    `batch` is the size of the first axis; `threads` how many work on one operator; `warm_ups` the
    runs before any is timed; `runs` those that are; `sizes` has a number for each other named size.
    """

    runtime: Runtime = "torch"
    batch: int = 1
    threads: int = 1
    warm_ups: int = 5
    runs: int = 30
    sizes: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def text(self) -> str:
        """In a few words, for people."""
        threads = f"{self.threads} thread" + ("s" if self.threads > 1 else "")
        sizes = "".join(f", {name} = {size}" for name, size in self.sizes.items())
        return (
            f"median of {self.runs} warm runs of {self.runtime}, a batch of {self.batch}, "
            f"{threads}{sizes}"
        )


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds for one batch: the median of the runs, and their quartiles."""

    median: float
    lower: float
    upper: float


OnMeasured = Callable[[str, Latency], None]
"""Called with the digest of each network that was measured now, and what it takes."""


def latency_of(network: Graph, timing: Timing) -> Latency:
    """Measure a settled network with weights as they start, on random inputs.

    Raises FusegraphError E637 where a named size has no number, and what the runtime's backend
    raises where it cannot take the network: E71x of torch, E72x of ONNX.
    """
    sizes = sizes_of(network, timing)
    with _prepared(network, timing, sizes) as call:
        return timed(call, timing.warm_ups, timing.runs)


def sizes_of(network: Graph, timing: Timing) -> dict[str, int]:
    """A number for each named size of the inputs: the batch for the first axis.

    Raises FusegraphError E637 where the timing has none for a size.
    """
    found: dict[str, int] = {}
    for node in network.inputs:
        for place, size in enumerate(node.type.shape):
            for name in symbols_in(size) if isinstance(size, Expr) else ():
                if place == 0:
                    found[name] = timing.batch
                elif name in timing.sizes:
                    found.setdefault(name, timing.sizes[name])
    named = {n for node in network.inputs for size in node.type.shape for n in symbols_in(size)}
    missing = sorted(named - found.keys())
    if missing:
        raise _problem(
            "E637",
            f"the latency of `{network.name}` depends on the size `{missing[0]}`, which has no "
            "number",
            "",
            f"say how large it is: `--size {missing[0]}=16`, or `latency = {{ sizes = "
            f"{{ {missing[0]} = 16 }} }}` in `[search]`",
        )
    return found


def timed(call: Callable[[], object], warm_ups: int, runs: int) -> Latency:
    """The quartiles of so many runs after so many that do not count; nothing is collected in them.

    A single run is all three quartiles.
    """
    for _ in range(warm_ups):
        call()
    taken: list[float] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(runs):
            before = perf_counter_ns()
            call()
            taken.append((perf_counter_ns() - before) / 1e6)
    finally:
        if collecting:
            gc.enable()
    if len(taken) == 1:
        return Latency(taken[0], taken[0], taken[0])
    lower, _, upper = quantiles(taken, n=4, method="inclusive")
    return Latency(median(taken), lower, upper)


def machine_of(runtime: Runtime) -> dict[str, str]:
    """What a latency depends on besides the network and the timing."""
    packages = ("torch",) if runtime == "torch" else ("onnxruntime", "onnxruntime-gpu")
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    processor = _processor() or platform.processor() or platform.machine()
    return {
        "processor": processor,
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        **found,
    }


class LatencyMeter:
    """A `compiler.measures.Meter`: measures each network once, by its digest, and remembers.

    With a file it remembers beyond this process: what was measured is on the disk before anyone
    hears of it, so that whatever followed from it can be followed again. Raises FusegraphError
    E638 where the file holds what another machine, another runtime or another timing measured.
    """

    def __init__(
        self, timing: Timing, file: Path | None = None, on_measured: OnMeasured | None = None
    ) -> None:
        self.timing = timing
        self._file = file
        self._on_measured = on_measured
        self._known: dict[str, Latency] = {} if file is None else _opened(file, timing)

    def latency(self, network: Graph) -> float:
        """Milliseconds for one batch, the median."""
        return self.measured(network).median

    def measured(self, network: Graph) -> Latency:
        """The median and the quartiles."""
        digest = network.digest
        known = self._known.get(digest)
        if known is not None:
            return known
        found = latency_of(network, self.timing)
        if self._file is not None:
            _append(self._file, {"network": digest, **asdict(found)})
        self._known[digest] = found
        if self._on_measured is not None:
            self._on_measured(digest, found)
        return found


# ── the network ──────────────────────────────────────────────────────────────────────────────────


def _prepared(network: Graph, timing: Timing, sizes: Mapping[str, int]) -> Prepared:
    if timing.runtime == "onnx":
        from .onnx.latency import prepared as prepared_for_onnx

        return prepared_for_onnx(network, sizes, timing.threads)
    from .torch.latency import prepared

    return prepared(network, sizes, timing.threads)


# ── the file ─────────────────────────────────────────────────────────────────────────────────────


def _opened(file: Path, timing: Timing) -> dict[str, Latency]:
    """What the file remembers; a new one where there is none. A torn last line is dropped."""
    head = {"machine": machine_of(timing.runtime), "timing": asdict(timing)}
    lines = _lines(file)
    if not lines:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, (json.dumps(head) + "\n").encode())
        return {}
    changed = tuple(differences(lines[0], head))
    if changed:
        raise _problem(
            "E638",
            "the latencies on record were measured on another machine, or in another way",
            str(file),
            "go on where the run began, with the versions that it began with, or begin another",
            changed,
        )
    found: dict[str, Latency] = {}
    for line in lines[1:]:
        found[line["network"]] = Latency(line["median"], line["lower"], line["upper"])
    return found


def _lines(file: Path) -> list[dict[str, Any]]:
    """The objects of the file. Raises FusegraphError E638 where one but the last is damaged."""
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8", errors="replace")
    whole, _, torn = text.rpartition("\n")
    if torn:
        write_whole(file, (whole + "\n" if whole else "").encode())
    found: list[dict[str, Any]] = []
    try:
        for number, line in enumerate(whole.splitlines()):
            entry: Any = json.loads(line)
            keys = ("median", "lower", "upper")
            if number and not (
                isinstance(entry["network"], str) and all(_is_time(entry[key]) for key in keys)
            ):
                raise ValueError("no latency")
            found.append(entry)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _problem(
            "E638",
            f"line {len(found) + 1} of the latencies on record is damaged",
            str(file),
            "restore the file, or begin another run",
        ) from None
    return found


def _is_time(value: object) -> bool:
    return isinstance(value, float) and 0 <= value < inf


def _append(file: Path, entry: Mapping[str, object]) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _processor() -> str:
    """The processor's name where Linux tells it; Python knows only its kind."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    names = [line.partition(":")[2] for line in text.splitlines() if line.startswith("model name")]
    return names[0].strip() if names else ""


def _problem(
    code: str, message: str, place: str, help: str, notes: tuple[str, ...] = ()
) -> FusegraphError:
    return FusegraphError(
        Diagnostic(code=code, message=message, place=place, notes=notes, help=help)
    )
