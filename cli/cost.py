"""`fusegraph cost`: what a network costs, from the graph alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import AsJson, FuseFile, Settings, pairs
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
    size: Annotated[
        list[str] | None,
        typer.Option("--size", metavar="NAME=N", help="Another named size, such as T=16."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count parameters, multiply-adds and activation memory.

    In all, for each node and for each composite. Figures are those of one sample unless --batch
    says otherwise. One multiply-add is two FLOPs; linear, convolution and matrix multiplication are
    counted. Sizes that stay named, such as T, stay in the figures until --size settles them. A
    composite stands above its parts, marked +.

    \b
    Example:
      fusegraph cost genotype.fuse --batch 32

    \b
    With --json: `parameters`, `macs`, `flops`, `activation_bytes` (numbers, or a text where a size
    stays named), `sizes`, `symbolic` (the same figures with every size named), and `nodes`, each
    with `key`, `op`, `type`, `depth`, `composite`, and those figures. Composites repeat the sum
    of their parts: the nodes that are none add up to the total.
    """
    from ..compiler.cost import cost as cost_of
    from ..compiler.cost import cost_lines
    from ..pipeline.sources import open_source

    source = open_source(file, pairs(settings))
    graph = source.drawn(sample) if sample is not None else source.network
    sizes = _sizes(graph, batch, pairs(size, "--size"))
    total, lines = cost_of(graph), cost_lines(graph)
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
        print_json(
            {
                **_figures(total, sizes),
                "sizes": dict(sizes),
                "symbolic": {k: str(v) for k, v in _figures(total, {}).items()},
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
        if not text.isdigit() or int(text) < 1:
            raise typer.BadParameter(f"{name}={text} is no size", param_hint="'--size'")
        sizes[name] = int(text)
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
