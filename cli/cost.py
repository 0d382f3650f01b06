"""`fusegraph cost`: what a network costs, from the graph alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .cost_range import range_of_costs
from .options import AsJson, FuseFile, Settings, Sizes, pairs, whole_size
from .output import grouped, plain, print_json, print_table, say

if TYPE_CHECKING:
    from ..compiler.cost import Cost
    from ..ir.dims import Static
    from ..ir.graph import Graph


def cost(
    file: FuseFile,
    settings: Settings = None,
    sample: Annotated[
        int | None,
        typer.Option("--sample", metavar="SEED", help="Draw a genotype where decisions are open."),
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Samples: the size of the first axis.")
    ] = 1,
    size: Sizes = None,
    latency: Annotated[
        bool, typer.Option("--latency", help="Run it, too, and say how long that takes.")
    ] = False,
    runtime: Annotated[
        Literal["torch", "onnx"],
        typer.Option("--runtime", help="What runs it on the CPU, for --latency."),
    ] = "torch",
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="That work on one operator, for --latency.")
    ] = 1,
    runs: Annotated[
        int, typer.Option("--runs", min=1, help="Of which the median is taken, for --latency.")
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """Count parameters, multiply-adds and activation memory; measure latency.

    In all, for each node and for each composite. Figures are those of one sample unless --batch
    says otherwise. One multiply-add is two FLOPs; linear, convolution and matrix multiplication are
    counted. Sizes that stay named, such as T, stay in the figures until --size settles them. A
    composite stands above its parts, marked +. Of a space with open decisions: the least, mean and
    greatest cost of its genotypes, of all of them or, where they are many, of some that are drawn.

    \b
    Example:
      fusegraph cost genotype.fuse --batch 32 --latency

    \b
    With --json: `parameters`, `macs`, `flops`, `activation_bytes` (numbers, or a text where a size
    stays named), `sizes`, `symbolic` (the same figures with every size named), and `nodes`, each
    with `key`, `op`, `type`, `depth`, `composite`, and those figures. Composites repeat the sum
    of their parts: the nodes that are none add up to the total. With --latency also `latency`:
    `median`, `lower` and `upper` quartile in ms, `timing` and `machine`. Of a space: `least`,
    `mean` and `greatest`, each with those figures, `genotypes`, how many were looked at, and
    `all`, whether that is all of them.
    """
    from ..backends.latency import Timing, latency_of, machine_of
    from ..compiler.cost import cost as cost_of
    from ..compiler.cost import cost_lines
    from ..pipeline.sources import open_source

    source = open_source(file, pairs(settings))
    given = pairs(size, "--size")
    if sample is None and not source.graph.settled:
        space = source.graph
        settled = _sizes(space, batch, given)
        timing = Timing(runtime, batch, threads, runs=runs, sizes=settled)
        range_of_costs(space, settled, timing if latency else None, as_json=as_json)
        return
    graph = source.drawn(sample) if sample is not None else source.network
    sizes = _sizes(graph, batch, given)
    total, lines = cost_of(graph), cost_lines(graph)
    timing = Timing(runtime, batch, threads, runs=runs, sizes=sizes)
    taken = latency_of(graph, timing) if latency else None
    if as_json:
        nodes = [
            {
                "key": line.key,
                "op": line.op,
                "type": line.type,
                "depth": line.depth,
                "composite": line.whole,
                **_figures(line.cost, sizes),
            }
            for line in lines
        ]
        measured: dict[str, Any] = {}
        if taken is not None:
            told = {"timing": asdict(timing), "machine": machine_of(timing.runtime)}
            measured = {"latency": {**asdict(taken), **told}}
        print_json(
            {
                **_figures(total, sizes),
                "sizes": dict(sizes),
                "symbolic": {k: str(v) for k, v in _figures(total, {}).items()},
                **measured,
                "name": graph.name,
                "digest": graph.digest,
                "nodes": nodes,
            }
        )
        return
    rows = [
        _row("  " * line.depth + ("+ " if line.whole else "") + line.op, line.key, line.cost, sizes)
        for line in lines
    ]
    rows.append(_row("total", "", total, sizes))
    print_table(
        ["op", "key", "parameters", "multiply-adds", "activation bytes"], rows, right=[2, 3, 4]
    )
    say(f"{grouped(_figures(total, sizes)['flops'])} FLOPs, {_of(sizes)}")
    if taken is not None:
        say(f"{taken.median:.3g} ms ({taken.lower:.3g} to {taken.upper:.3g}), {timing.text}")


def _sizes(graph: Graph, batch: int, given: dict[str, str]) -> dict[str, int]:
    """The named sizes that are settled: the samples' axis, and those of `--size`."""
    from ..ir.dims import Expr, Symbol, symbols_in

    known = {name for node in graph.inputs for d in node.type.shape for name in symbols_in(d)}
    sizes: dict[str, int] = {}
    first = graph.inputs[0].type.shape[0] if graph.inputs and graph.inputs[0].type.shape else 1
    if isinstance(first, Expr) and first.terms == (((Symbol(first.text),), 1),):
        sizes[first.text] = batch
    for name, text in given.items():
        if name not in known:
            raise typer.BadParameter(
                f"`{graph.name}` has no named size {name}; it has {', '.join(sorted(known))}",
                param_hint="'--size'",
            )
        sizes[name] = whole_size(name, text)
    return sizes


def _figures(cost: Cost, sizes: Mapping[str, Static]) -> dict[str, Any]:
    from ..ir.settling import bind

    return {
        "parameters": plain(bind(cost.parameters, sizes)),
        "macs": plain(bind(cost.macs, sizes)),
        "flops": plain(bind(cost.flops, sizes)),
        "activation_bytes": plain(bind(cost.activation_bytes, sizes)),
    }


def _row(op: str, key: str, cost: Cost, sizes: Mapping[str, Static]) -> list[str]:
    figures = _figures(cost, sizes)
    names = ("parameters", "macs", "activation_bytes")
    return [op, key, *[grouped(figures[name]) for name in names]]


def _of(sizes: Mapping[str, int]) -> str:
    if not sizes:
        return "at the sizes of the file"
    return "at " + ", ".join(f"{name} = {size}" for name, size in sizes.items())
