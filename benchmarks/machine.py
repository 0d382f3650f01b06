"""What this machine does with matrices and vectors: `python benchmarks/machine.py [--threads 1 2]`.

Matrix products at the sizes of BM-NAS's supernets along every float32 path that torch has, forward
and backward; batched products; what an elementwise op, a norm, a dropout mask, a softmax cost; what
it costs to call an op at all. The best rate of the products is what the other benchmarks divide by
to say how near to the machine's own speed they are. Best of several runs: load only ever adds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Run = Callable[[], Any]

SHAPES = (  # rows, channels in, channels out
    (768, 128, 128),
    (768, 128, 512),
    (768, 256, 256),
    (768, 512, 128),
    (768, 2048, 128),
    (576, 1024, 128),
    (1536, 192, 768),
    (1536, 384, 384),
    (1536, 512, 192),
    (96, 2048, 128),
    (96, 1024, 60),
)
BATCHED = (((15, 64, 16), (15, 16, 16)), ((96, 8, 128), (96, 128, 8)), ((96, 8, 8), (96, 8, 128)))
ROWS, POSITIONS = 768, 8
ONEDNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
LOWEST_INT64 = -(2**63)


def seconds(run: Run, device: str = "cpu", budget: float = 0.05, repeats: int = 7) -> float:
    """The time of one call: the best of `repeats` averages that take `budget` seconds together."""

    def once(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            run()
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / calls

    once(3)
    calls = max(1, int(budget / repeats / max(once(1), 1e-7)))
    return min(once(calls) for _ in range(repeats))


def forward_paths(x: Tensor, weight: Tensor) -> dict[str, Run]:
    """x f32[rows, in] times weight f32[out, in], transposed, along every path there is."""
    rows, wide = x.shape
    out = weight.shape[0]
    pixels = x.view(1, 1, rows, wide).permute(0, 3, 1, 2)
    kernel = weight.view(out, wide, 1, 1)
    features = x.view(-1, POSITIONS, wide).transpose(1, 2).contiguous()
    paths: dict[str, Run] = {
        "mm": lambda: torch.mm(x, weight.t()),
        "linear": lambda: F.linear(x, weight),
        "conv2d": lambda: F.conv2d(pixels, kernel),
        "conv1d BCL": lambda: F.conv1d(features, kernel[..., 0]),
    }
    if ONEDNN is not None and x.device.type == "cpu":
        paths["oneDNN"] = lambda: onednn(x, weight)
    return paths


def backward_paths(x: Tensor, weight: Tensor, gradient: Tensor) -> dict[str, Run]:
    """Gradients of the same product: dX = dY W and dW = dYᵀ X; oneDNN's in either orientation."""
    rows, wide = x.shape
    out = weight.shape[0]

    def pixels(values: Tensor) -> Tensor:
        return values.view(1, 1, rows, -1).permute(0, 3, 1, 2)

    def convolution(*wanted: bool) -> Tensor:
        return torch.ops.aten.convolution_backward(
            *(pixels(gradient), pixels(x), weight.view(out, wide, 1, 1), [out]),
            *([1, 1], [0, 0], [1, 1], False, [0, 0], 1, list(wanted)),
        )

    paths: dict[str, Run] = {
        "dX mm": lambda: torch.mm(gradient, weight),
        "dX conv2d": lambda: convolution(True, False, False),
        "dW mm": lambda: torch.mm(gradient.t(), x),
        "dW conv2d": lambda: convolution(False, True, False),
    }
    if ONEDNN is not None and x.device.type == "cpu":
        paths["dX oneDNN"] = lambda: onednn(gradient, weight.t())
        paths["dW oneDNN"] = lambda: onednn(gradient.t(), x.t())
        paths["dWᵀ oneDNN"] = lambda: onednn(x.t(), gradient.t())
    return paths


def onednn(x: Tensor, weight: Tensor) -> Tensor:
    """x times weight, transposed, by oneDNN's linear, which torch.mm and F.linear do not take."""
    return ONEDNN(x, weight, None, "none", [], "")


def gemm_rate(threads: int, device: str = "cpu") -> float:
    """The best float32 rate of a forward product, FLOP/s, over all shapes and paths."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            return max(max(rates(shape, device).values()) for shape in SHAPES)
    finally:
        torch.set_num_threads(before)


def rates(shape: tuple[int, int, int], device: str = "cpu") -> dict[str, float]:
    """FLOP/s of each forward path at one shape."""
    rows, wide, out = shape
    x, weight = torch.randn(rows, wide, device=device), torch.randn(out, wide, device=device)
    work = 2 * rows * wide * out
    return {
        name: work / seconds(run, device, budget=0.02)
        for name, run in forward_paths(x, weight).items()
    }


def backward_rates(shape: tuple[int, int, int]) -> dict[str, float]:
    """FLOP/s of each path of the two gradients at one shape."""
    rows, wide, out = shape
    runs = backward_paths(torch.randn(rows, wide), torch.randn(out, wide), torch.randn(rows, out))
    work = 2 * rows * wide * out
    return {name: work / seconds(run) for name, run in runs.items()}


def elementwise(channels: int) -> dict[str, Run]:
    """Kernels at [768, C] without autograd: activations, norms, sums, masks."""
    aten: Any = torch.ops.aten
    length = POSITIONS
    x, g = torch.randn(ROWS, channels), torch.randn(ROWS, channels)
    weight, bias = torch.ones(channels), torch.zeros(channels)
    x3, g3 = (v.view(-1, length, channels) for v in (x, g))
    xt = x3.transpose(1, 2).contiguous()
    wide = torch.randn(ROWS, 4 * channels)[:, :channels]
    across, zeros = torch.ones(length, channels), torch.zeros(length, channels)
    ones = torch.ones(1, ROWS)
    eight = torch.randn(8, ROWS * channels)
    gates = torch.randn(8)
    shape = [length, channels]

    def norm(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return aten.native_batch_norm(values, weight, bias, None, None, True, 0.1, 1e-5)

    _, mean, scale = norm(x)
    _, layer_mean, layer_scale = aten.native_layer_norm(x3, shape, across, zeros, 1e-5)
    integers = torch.empty(x.numel() // 4, dtype=torch.int64)
    mask = torch.empty(x.numel())
    kept = g > 0

    def bulk_mask() -> None:
        integers.random_(LOWEST_INT64, None)
        mask.copy_(integers.view(torch.int16)).ge_(-19661).mul_(1.25)

    def chain() -> Tensor:
        total = gates[0] * eight[0]
        for gate, value in zip(gates[1:], eight[1:], strict=True):
            total = total + gate * value
        return total

    return {
        "relu": lambda: torch.relu(x),
        "relu backward": lambda: aten.threshold_backward(g, x, 0),
        "sigmoid": lambda: torch.sigmoid(x),
        "glu": lambda: F.glu(x, 1),
        "glu backward": lambda: aten.glu_backward(g[:, : channels // 2], x, 1),
        "x + y": lambda: x + g,
        "x += y": lambda: x.add_(g),
        "addcmul(b, x, w)": lambda: torch.addcmul(bias, x, weight),
        "batch_norm [R, C]": lambda: norm(x),
        "batch_norm backward": lambda: aten.native_batch_norm_backward(
            g, x, weight, None, None, mean, scale, True, 1e-5, [True, True, True]
        ),
        "batch_norm [B, C, L]": lambda: norm(xt),
        "batch_norm of a column slice": lambda: norm(wide),
        "var_mean over rows": lambda: torch.var_mean(x, 0),
        "layer_norm over (L, C)": lambda: aten.native_layer_norm(x3, shape, across, zeros, 1e-5),
        "layer_norm backward": lambda: aten.native_layer_norm_backward(
            g3, x3, shape, layer_mean, layer_scale, across, zeros, [True, True, True]
        ),
        "layer_norm, input's gradient": lambda: aten.native_layer_norm_backward(
            g3, x3, shape, layer_mean, layer_scale, across, zeros, [True, False, False]
        ),
        "sum over rows": lambda: x.sum(0),
        "sum over rows by ones @ x": lambda: ones @ x,
        "cat of two": lambda: torch.cat((x, g), 1),
        "transposed copy": lambda: x3.transpose(1, 2).contiguous(),
        "weighted sum of 8, one by one": chain,
        "weighted sum of 8, as a product": lambda: gates @ eight,
        "dropout": lambda: F.dropout(x, 0.2),
        "mask by bernoulli_": lambda: mask.bernoulli_(0.8),
        "mask by int64 random_": bulk_mask,
        "x * bool mask": lambda: x * kept,
        "x * float mask": lambda: x * mask.view_as(x),
    }


def small() -> dict[str, Run]:
    """What does not depend on the number of channels; calls of 100 ops on one number."""
    scores = torch.randn(96, 8, 8)
    turned = torch.randn(8, 96 * 8)
    gates = torch.randn(44, 2)
    one = torch.ones(1, requires_grad=True)

    def hundred() -> Tensor:
        value = one
        for _ in range(100):
            value = value * 1.0
        return value

    return {
        "softmax of [96, 8, 8] over its last axis": lambda: torch.softmax(scores, -1),
        "softmax of [96, 8, 8] over its middle axis": lambda: torch.softmax(scores, 1),
        "softmax of [8, 768] over its first axis": lambda: torch.softmax(turned, 0),
        "softmax of [44, 2]": lambda: torch.softmax(gates, -1),
        "100 ops with autograd": hundred,
        "100 ops with autograd, and backward": lambda: hundred().backward(),
    }


def print_rates(title: str, measured: Mapping[tuple[int, int, int], Mapping[str, float]]) -> None:
    """A table of GFLOP/s, the fastest path of each shape named."""
    print(f"\n{title}, GFLOP/s")
    for shape, found in measured.items():
        best = max(found, key=lambda name: found[name])
        listed = "  ".join(f"{name} {rate / 1e9:.0f}" for name, rate in found.items())
        print(f"  {'x'.join(map(str, shape)):14} {listed}  -> {best}")


def main() -> None:
    """All tables, for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    for threads in parser.parse_args().threads:
        torch.set_num_threads(threads)
        print(f"\n== {threads} thread(s)")
        with torch.no_grad():
            print_rates("forward", {shape: rates(shape) for shape in SHAPES})
            gradients = {shape: backward_rates(shape) for shape in SHAPES}
            for wanted in ("dX", "dW"):
                found = {
                    shape: {name: rate for name, rate in paths.items() if name.startswith(wanted)}
                    for shape, paths in gradients.items()
                }
                print_rates(f"backward, {wanted}", found)
            print("\nbatched products (bmm), GFLOP/s")
            for left, right in BATCHED:
                a, b = torch.randn(left), torch.randn(right)
                work = 2 * a.numel() * right[2]
                rate = work / seconds(lambda a=a, b=b: torch.bmm(a, b))
                print(f"  {list(left)} x {list(right)}  {rate / 1e9:.0f}")
            widths = (128, 512, 1024)
            print(f"\nus at [{ROWS}, C], C = {', '.join(map(str, widths))}")
            columns = [elementwise(width) for width in widths]
            for name in columns[0]:
                costs = "  ".join(f"{seconds(column[name]) * 1e6:8.1f}" for column in columns)
                print(f"  {name:34} {costs}")
        print("\nus")
        for name, run in small().items():
            print(f"  {name:44} {seconds(run) * 1e6:8.1f}")


if __name__ == "__main__":
    main()
