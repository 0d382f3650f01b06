"""Checks of a whole program, once every statement has been carried out."""

from __future__ import annotations

from ..diagnostics import Diagnostic, Label
from ..dims import symbols_in
from ..node import Node, everything, topological
from ..ops import FORMAL, INPUT
from ..sizes import sizes_named, sizes_told
from .context import Elaboration


def check_weights(world: Elaboration) -> None:
    """Weights have one shape wherever they are used (E308), and one that is known (E310)."""
    owners: dict[str, Node] = {}
    for node in everything(world.outputs.values()):
        if not node.key or node.op.weights is None:
            continue
        first = owners.setdefault(node.key, node)
        if first is node:
            _check_known(world, node)
        elif first.op is not node.op or first.weights != node.weights:
            _report_shared(world, first, node)


def _report_shared(world: Elaboration, first: Node, node: Node) -> None:
    where = world.spans.get(first)
    world.report(
        Diagnostic(
            code="E308",
            message=f"the shared weights of `{node.key}` cannot serve both of its uses",
            span=world.spans.get(node),
            label=_weights_text(node),
            causes=(Label(where, _weights_text(first)),) if where is not None else (),
            help="bring both inputs to one size, or use two ops with weights of their own",
        )
    )


def _weights_text(node: Node) -> str:
    shapes = ", ".join(f"{w.name} ({', '.join(map(str, w.shape))})" for w in node.weights)
    return f"`{node.op.name}` with {shapes}"


def _check_known(world: Elaboration, node: Node) -> None:
    names = sorted({n for w in node.weights for size in w.shape for n in symbols_in(size)})
    if not names:
        return
    weight = next(w for w in node.weights if any(symbols_in(size) for size in w.shape))
    shape = ", ".join(map(str, weight.shape))
    where = world.spans.get(node.inputs[0]) if node.inputs else None
    cause = f"this is {node.inputs[0].type.pretty}" if node.inputs else ""
    world.report(
        Diagnostic(
            code="E310",
            message=f"the weights of `{node.op.name}` would change their size with `{names[0]}`",
            span=world.spans.get(node),
            label=f"{weight.name} would be ({shape}), and {names[0]} is known only at run time",
            causes=(Label(where, cause),) if where is not None else (),
            help=f"reduce the axis of size `{names[0]}` first, for example with `mean`, "
            "or write its size as a number",
        )
    )


def check_sizes(world: Elaboration) -> None:
    """Each named size that a network needs is told by an input that the outputs reach (E311)."""
    told = {name for node in world.inputs for name in sizes_told(node.type)}
    untold = sizes_named(topological(world.outputs.values())) - told
    for name in sorted(untold):
        user = next(
            node
            for node in everything(world.outputs.values())
            if name in node.kernel.symbols and node.op is not INPUT and node.op is not FORMAL
        )
        world.report(
            Diagnostic(
                code="E311",
                message=f"no input tells the size `{name}`",
                span=world.spans.get(user),
                label=f"`{name}` is needed here",
                help=f"give an input an axis of size `{name}`, or write a number in its place",
            )
        )
