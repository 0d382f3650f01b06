"""From a settled graph to an ONNX model, op by op and without tracing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from onnx import ModelProto, helper

from ... import __version__
from ...ir.cells import expand
from ...ir.graph import Graph
from ...ir.node import Node
from ...ir.ops import INPUT
from . import elementwise, mixing, products, reducing, shaping, stacking
from .builder import Array, Builder, value_info
from .elementwise import Lowering
from .metadata import Metadata
from .problems import listed, problem
from .samples import sample_axis
from .sizes import declare_inputs

OPSET = 18
"""Of the operators. The first with all that is needed here: onnxruntime reads it since 1.14."""

IR_VERSION = 8
"""Of the file format, the one that goes with the opset."""

LOWERINGS: Mapping[str, Lowering] = {
    **products.LOWERINGS,
    **mixing.LOWERINGS,
    **elementwise.LOWERINGS,
    **shaping.LOWERINGS,
    **reducing.LOWERINGS,
    **stacking.LOWERINGS,
}
"""How each primitive is lowered."""


def lower(
    graph: Graph, weights: Mapping[str, Array], metadata: Metadata | None = None
) -> ModelProto:
    """The network as an ONNX model.

    `weights` are named as in the torch backend's `state_dict` (see `backends.names`); those of
    normalisations include the running statistics. Inputs, outputs and initialisers keep their
    names; named sizes stay named, and where an op needs one, the model computes it. Dropout is
    left out and batch norm uses its running statistics: the model is for inference.

    Raises FusegraphError: E720 where decisions or names are open, E721 where ONNX needs a number
    that is known only at run time, E722 where the weights are not those of this network.
    """
    if graph.decisions:
        raise problem(
            "E720",
            f"{listed(list(graph.decisions))} {'is' if len(graph.decisions) == 1 else 'are'} "
            "still open, and only a network can be exported",
            graph.name,
            help="settle the space with a genotype first",
        )
    flat = expand(graph)
    b = Builder(weights, _names(flat))
    for node in flat.inputs:
        b.values[node] = node["name"]
    declare_inputs(b, flat.inputs)
    for node in flat.order:
        if node.op is not INPUT:
            b.values[node] = _lowered(b, node)
    _name_outputs(b, flat)
    _check_unused(weights, b.used)
    return _model(b, flat, metadata or Metadata())


def _names(graph: Graph) -> set[str]:
    inputs = {node["name"] for node in graph.inputs}
    outputs = {name for name, _ in graph.outputs}
    if both := sorted(inputs & outputs):
        raise problem(
            "E720",
            f"{listed(both)} is the name of an input and of an output",
            graph.name,
            help="give the output another name",
        )
    return inputs | outputs


def _lowered(b: Builder, node: Node) -> str:
    b.enter(node)
    value = LOWERINGS[node.op.name](b, node, [b.values[i] for i in node.inputs])
    b.leave(value)
    return value


def _name_outputs(b: Builder, graph: Graph) -> None:
    """Outputs get their names; one that is an input, a weight or another output too, a copy."""
    made = {step.output for step in b.steps}
    for name, node in graph.outputs:
        value = b.values[node]
        if value not in made:
            value = b.emit("Identity", value)
        made.discard(value)
        b.rename(value, name)


def _check_unused(weights: Mapping[str, Array], used: set[str]) -> None:
    unused = [
        name for name in weights if name not in used and not name.endswith(".num_batches_tracked")
    ]
    if unused:
        raise problem(
            "E722",
            f"the network has no {'weight' if len(unused) == 1 else 'weights'} {listed(unused)}",
            help="export the weights of this very network, not of another genotype",
        )


def _model(b: Builder, graph: Graph, metadata: Metadata) -> ModelProto:
    proto = helper.make_graph(
        b.nodes(),
        graph.name,
        [value_info(node["name"], node.type) for node in graph.inputs],
        [value_info(name, node.type) for name, node in graph.outputs],
        list(b.initialisers.values()),
    )
    model = helper.make_model(
        proto,
        producer_name="fusegraph",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    full = replace(
        metadata,
        space=metadata.space or graph.name,
        digest=graph.digest,
        version=__version__,
        batch=sample_axis(graph),
    )
    helper.set_model_props(model, full.as_properties())
    return model
