"""Lowered networks against the same networks written by hand: building, running, training.

`python benchmarks/bench_torch.py`. Medians on one thread, both sides in turn in one run. Then a
table of deep chains, which shows that lowering takes time linear in the number of nodes.
"""

from __future__ import annotations

import argparse
import copy
import pickle
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fusegraph.backends.torch import Network, lower
from fusegraph.ir.dims import symbol
from fusegraph.ir.dsl import loads
from fusegraph.ir.graph import Graph, graph
from fusegraph.ir.node import build, input_node
from fusegraph.ir.ops import op_named
from fusegraph.ir.types import tensor

MFAS = """fuse 1
space mfas_ntu_{number} {{
  dim N
  input skeleton[2]: f32[N, 256]
  input skeleton[3]: f32[N, 1024]
  input skeleton[4]: f32[N, 512]
  input video[1]: f32[N, 512]
  input video[2]: f32[N, 1024]
  input video[3]: f32[N, 2048]
  h[1] = relu(linear(concat(skeleton[3], video[3]), out={width}))
  h[2] = sigmoid(linear(concat(skeleton[2], video[1], h[1]), out={width}))
  h[3] = relu(linear(concat(skeleton[4], video[3], h[2]), out={width}))
  h[4] = sigmoid(linear(concat(skeleton[4], video[2], h[3]), out={width}))
  output logits = linear(h[4], out=60)
}}
"""

BM_NAS = """fuse 1
use "std/bm_nas": align, attention, linear_glu, concat_fc
space bm_nas_{number} {{
  dim N
  let C = {width}
  let L = 8
  input video[1]: f32[N, 512, 8]
  input video[2]: f32[N, 1024, 8]
  input skeleton[1]: f32[N, 256, 8]
  for i in 1..2 {{
    a[i] = align(video[i], channels=C, length=L)
  }}
  a[3] = align(skeleton[1], channels=C, length=L)
  cell fusion(x: f32[N, C, L], y: f32[N, C, L]) -> f32[N, C, L] {{
    s[1] = attention(x, y)
    s[2] = linear_glu(s[1], y)
    return layer_norm(concat_fc(s[1], s[2]) + x)
  }}
  c[1] = fusion(a[1], a[3])
  c[2] = fusion(a[2], c[1])
  output logits = linear(flatten(relu(layer_norm(concat(c[1], c[2])))), out=60)
}}
"""


class Mfas(nn.Module):
    """The published NTU network as one would write it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [1024 + 2048, 256 + 512 + width, 512 + 2048 + width, 512 + 1024 + width]
        self.layers = nn.ModuleList([nn.Linear(size, width) for size in sizes])
        self.logits = nn.Linear(width, 60)

    def forward(
        self, skeleton2: Tensor, skeleton3: Tensor, skeleton4: Tensor,
        video1: Tensor, video2: Tensor, video3: Tensor,
    ) -> Tensor:  # fmt: skip
        h = F.relu(self.layers[0](torch.cat((skeleton3, video3), 1)))
        h = torch.sigmoid(self.layers[1](torch.cat((skeleton2, video1, h), 1)))
        h = F.relu(self.layers[2](torch.cat((skeleton4, video3, h), 1)))
        h = torch.sigmoid(self.layers[3](torch.cat((skeleton4, video2, h), 1)))
        return self.logits(h)


class Align(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, width, 1)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(F.adaptive_max_pool1d(x, 8))))


class Fusion(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = width**-0.5
        self.value = nn.Conv1d(width, width, 1, bias=False)
        self.gate = nn.Conv1d(width, width, 1, bias=False)
        self.fc = nn.Conv1d(2 * width, width, 1)
        self.norm = nn.LayerNorm([width, 8])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        scores = torch.softmax(x.transpose(1, 2) @ y * self.scale, -1)
        s1 = (scores @ y.transpose(1, 2)).transpose(1, 2)
        s2 = self.value(s1) * torch.sigmoid(self.gate(y))
        return self.norm(F.relu(self.fc(torch.cat((s1, s2), 1))) + x)


class BmNas(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.aligns = nn.ModuleList([Align(channels, width) for channels in (512, 1024, 256)])
        self.cells = nn.ModuleList([Fusion(width), Fusion(width)])
        self.norm = nn.LayerNorm([2 * width, 8])
        self.logits = nn.Linear(2 * width * 8, 60)

    def forward(self, video1: Tensor, video2: Tensor, skeleton1: Tensor) -> Tensor:
        a1, a2, a3 = [f(x) for f, x in zip(self.aligns, (video1, video2, skeleton1), strict=True)]
        c1 = self.cells[0](a1, a3)
        c2 = self.cells[1](a2, c1)
        return self.logits(F.relu(self.norm(torch.cat((c1, c2), 1))).flatten(1))


@dataclass(frozen=True)
class Pair:
    """A network as text, and as a class written by hand, for one width and batch."""

    name: str
    text: str
    by_hand: Callable[[int], nn.Module]
    width: int
    batch: int

    def graph(self, number: int = 0) -> Graph:
        return loads(self.text.format(number=number, width=self.width)).graph


PAIRS = (
    Pair("MFAS, NTU", MFAS, Mfas, 16, 64),
    Pair("MFAS, NTU", MFAS, Mfas, 256, 64),
    Pair("BM-NAS, two cells", BM_NAS, BmNas, 128, 96),
)


def paired(
    ours: Callable[[], object], theirs: Callable[[], object], runs: int
) -> tuple[float, float]:
    """The median times of both in milliseconds, run in turn, after three unmeasured runs."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(runs + 3):
        for work, taken in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            work()
            if run >= 3:
                taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[0]), statistics.median(times[1])


def _row(what: str, ours: float, theirs: float) -> None:
    print(f"  {what:<34}{ours:>10.3f}{theirs:>12.3f}{ours / theirs:>9.2f}")


def compare(pair: Pair, runs: int) -> None:
    """Print the times of one network, lowered and by hand."""
    print(f"\n{pair.name}, width {pair.width}, batch {pair.batch}")
    print(f"  {'ms':<34}{'lowered':>10}{'by hand':>12}{'ratio':>9}")
    fresh = iter([pair.graph(number) for number in range(runs + 3)])  # code is made once a graph
    _row("to module, a network never seen", *paired(
        lambda: lower(next(fresh)), lambda: pair.by_hand(pair.width), runs
    ))  # fmt: skip
    seen = pair.graph()
    network: Network = lower(seen, seed=0)
    _row("to module, the same again", *paired(
        lambda: lower(seen), lambda: pair.by_hand(pair.width), runs
    ))  # fmt: skip
    hand = pair.by_hand(pair.width)
    x = [
        torch.randn(pair.batch, *[size for size in node.type.shape[1:] if isinstance(size, int)])
        for node in seen.inputs
    ]
    network.eval()
    hand.eval()
    with torch.no_grad():
        _row("forward", *paired(lambda: network(*x), lambda: hand(*x), runs))
    network.train()
    hand.train()
    _row("forward and backward", *paired(
        lambda: network(*x).sum().backward(), lambda: hand(*x).sum().backward(), runs
    ))  # fmt: skip
    few = [part[:1] for part in x]
    network.eval()
    hand.eval()
    with torch.no_grad():
        _row("forward, batch 1", *paired(lambda: network(*few), lambda: hand(*few), runs))


def chain(length: int) -> Graph:
    """A network as deep as it has nodes."""
    node = input_node("x", tensor("f32", (symbol("N"), 4)))
    start = node
    for level in range(length // 2):
        node = build(op_named("linear"), [node], {"out": 4}, f"h[{level}].linear")
        node = build(op_named("relu"), [node])
    return graph(f"chain_{length}", [start], [("y", node)])


def linearity(sizes: tuple[int, ...]) -> None:
    """Print the times of chains of these sizes."""
    print("\na chain of linear and relu, s")
    columns = ("lower", "forward+backward", "deepcopy", "pickle", "unpickle")
    print(f"  {'nodes':>7}" + "".join(f"{name:>18}" for name in columns))
    x = torch.randn(2, 4)
    for size in sizes:
        network, held = chain(size), []
        works: tuple[Callable[[], object], ...] = (
            lambda: held.append(lower(network)),  # noqa: B023
            lambda: held[0](x).sum().backward(),  # noqa: B023
            lambda: copy.deepcopy(held[0]),  # noqa: B023
            lambda: held.append(pickle.dumps(held[0])),  # noqa: B023
            lambda: pickle.loads(held[1]),  # noqa: B023, S301
        )
        taken: list[float] = []
        for work in works:
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
        print(f"  {size:>7}" + "".join(f"{seconds:>18.3f}" for seconds in taken))


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60, help="runs of each measurement")
    runs = parser.parse_args().runs
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for pair in PAIRS:
        compare(pair, runs)
    linearity((1250, 2500, 5000, 10_000, 20_000))


if __name__ == "__main__":
    main()
