"""Direct ONNX export against torch's exporter, and onnxruntime against torch in inference.

`python benchmarks/bench_onnx.py`. Medians, all in one run on one thread unless told; the network
is two BM-NAS cells of 128 channels and 8 positions. Needs onnxscript (in the `dev` extra) for
torch's exporter.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch

from fusegraph.backends.onnx import export, load, lower
from fusegraph.backends.onnx.exporting import arrays_of
from fusegraph.backends.onnx.parity import random_inputs
from fusegraph.backends.torch import Network
from fusegraph.backends.torch import lower as lower_to_torch
from fusegraph.ir.dsl import loads
from fusegraph.ir.graph import Graph, graph
from fusegraph.ir.node import Node, build, input_node
from fusegraph.ir.ops import op_named

CELLS = """fuse 1
use "std/bm_nas": align, attention, linear_glu, concat_fc

space bm_nas_two_cells {
  dim N
  let C = 128
  let L = 8
  for i in 1..2 {
    input rgb[i]: f32[N, 512, 8]
    input pose[i]: f32[N, 256, 8]
    video[i] = align(rgb[i], channels=C, length=L)
    skeleton[i] = align(pose[i], channels=C, length=L)
  }
  cell fusion(x: f32[N, C, L], y: f32[N, C, L]) -> f32[N, C, L] {
    s[1] = attention(x, y)
    s[2] = linear_glu(s[1], y)
    return layer_norm(sum(concat_fc(s[1], s[2]), x))
  }
  c[1] = fusion(video[1], skeleton[2])
  c[2] = fusion(video[2], skeleton[1])
  output logits = linear(flatten(relu(layer_norm(concat(c[1], c[2])))), out=60)
}
"""


def seconds(work: Callable[[], object], runs: int, times: int = 1) -> float:
    """The median time of one call, over `runs` runs of `times` calls each, after one unmeasured."""
    work()
    taken: list[float] = []
    for _ in range(runs):
        start = time.perf_counter()
        for _ in range(times):
            work()
        taken.append((time.perf_counter() - start) / times)
    return statistics.median(taken)


def exporting(network: Network, folder: Path, runs: int) -> None:
    """Building a model; building, checking and writing it; torch's exporter; our whole export."""
    g, state = network.graph, dict(network.state_dict())
    inputs = tuple([torch.from_numpy(a) for a in random_inputs(g, {"N": 3}, 0).values()])
    batch = torch.export.Dim("N")

    def ours() -> onnx.ModelProto:
        return lower(g, arrays_of(state))

    def checked() -> None:
        model = ours()
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, folder / "ours.onnx")

    def theirs() -> None:
        torch.onnx.export(
            network,
            inputs,
            folder / "theirs.onnx",
            dynamo=True,
            dynamic_shapes=tuple([{0: batch} for _ in inputs]),
            external_data=False,
            verbose=False,
        )

    direct = seconds(ours, runs=15, times=10)
    whole = seconds(checked, runs=15)
    traced = seconds(theirs, runs=runs)
    verified = seconds(lambda: export(network, None, folder / "ours.onnx"), runs=5)
    nodes = [len(onnx.load(folder / f"{name}.onnx").graph.node) for name in ("ours", "theirs")]
    print(f"export ({nodes[0]} ONNX nodes, {nodes[1]} by torch's exporter)")
    print(f"  built directly                         {1e3 * direct:9.2f} ms")
    print(f"  built, checked in full, written        {1e3 * whole:9.2f} ms")
    print(f"  and run, compared with torch (export)  {1e3 * verified:9.2f} ms")
    print(f"  torch.onnx.export(dynamo=True)         {1e3 * traced:9.2f} ms")
    print(f"  ratio: {traced / direct:.0f} built, {traced / whole:.0f} written (goal 10)")


def inferring(network: Network, path: Path, threads: int) -> None:
    """Both runtimes on the same arrays, one thread each."""
    model = load(path, "cpu", threads)
    print(f"inference, {threads} thread{'s' if threads > 1 else ''}, {model.providers[0]}")
    for batch in (1, 96):
        arrays = random_inputs(network.graph, {"N": batch}, 0)
        tensors = {name: torch.from_numpy(a) for name, a in arrays.items()}
        with torch.inference_mode():
            eager = seconds(lambda t=tensors: network.run(t), runs=30, times=10)
        fast = seconds(lambda a=arrays: model.run(a), runs=30, times=10)
        session = seconds(lambda a=arrays: model.session.run(None, a), runs=30, times=10)
        print(
            f"  batch {batch:3}: torch eager {1e6 * eager:8.0f} µs, "
            f"onnxruntime {1e6 * fast:8.0f} µs ({1e6 * session:.0f} µs without our checks), "
            f"ratio {eager / fast:.2f}"
        )


def chain(length: int) -> Graph:
    """Linear and ReLU in turn, `length` nodes."""
    first = loads("fuse 1\nspace s { dim N\n input x: f32[N, 8]\n output y = relu(x) }\n").graph
    node: Node = input_node("x", first.inputs[0].type)
    inputs = [node]
    for i in range(length // 2):
        node = build(op_named("linear"), [node], {"out": 8}, f"h[{i}]")
        node = build(op_named("relu"), [node])
    return graph("chain", inputs, [("y", node)])


def growing() -> None:
    """Lowering must be linear in the size of the graph."""
    print("lowering chains of linear and relu")
    for length in (1_000, 2_000, 4_000, 8_000, 16_000):
        g = chain(length)
        g.digest  # noqa: B018  (computed once, not part of the lowering)
        weights = {
            f"h.{i}.{name}": np.ones(shape, np.float32)
            for i in range(length // 2)
            for name, shape in (("weight", (8, 8)), ("bias", (8,)))
        }
        taken = seconds(lambda g=g, w=weights: lower(g, w), runs=3)
        print(f"  {length:6} nodes {1e3 * taken:9.1f} ms, {1e6 * taken / length:5.1f} µs a node")


def main() -> None:
    """Print all figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--runs", type=int, default=3, help="of torch's exporter")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")  # torch's exporter deprecates parts of itself
    network = lower_to_torch(loads(CELLS).graph, seed=0).eval()
    with tempfile.TemporaryDirectory() as folder:
        exporting(network, Path(folder), options.runs)
        inferring(network, Path(folder) / "ours.onnx", options.threads)
    growing()


if __name__ == "__main__":
    main()
