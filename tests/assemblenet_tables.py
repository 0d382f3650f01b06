"""AssembleNets as tables of nodes: written as a network, counted by closed formulas, and computed
in torch's own functions. Nothing here looks at `std/assemblenet`.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as f

from video_networks import Layers


@dataclass(frozen=True)
class Row:
    """A node as Table 4 writes it."""

    level: int
    inputs: tuple[int | str, ...]
    width: int
    rate: int


Rows = tuple[Row, ...]

SPATIAL = (0, 64, 128, 256, 512)
MODULES = (0, 3, 4, 6, 3)


def written(
    rows: Rows,
    side: int = 224,
    frames: int = 16,
    classes: int = 339,
    spatial: tuple[int, ...] = SPATIAL,
    modules: tuple[int, ...] = MODULES,
) -> str:
    """A table as a network; the nodes of the last level go to the sink."""
    lines: list[str] = []
    for index, row in enumerate(rows):
        if row.level == 0:
            rate = f", rate={row.rate}" if row.inputs == ("rgb",) else ""
            made = f"{row.inputs[0]}_stem({row.inputs[0]}, width={row.width}{rate})"
        else:
            joined = ", ".join(f"v[{i}]" for i in row.inputs)
            stride = ", stride=2" if row.level > 1 else ""
            made = (
                f"block(join({joined}), width={row.width}, spatial={spatial[row.level]}, "
                f"modules={modules[row.level]}, rate={row.rate}{stride})"
            )
        lines.append(f"  v[{index}] = {made}")
    last = ", ".join(f"v[{i}]" for i, row in enumerate(rows) if row.level == rows[-1].level)
    body = "\n".join(lines)
    return f"""fuse 1
use "std/assemblenet": block, flow_stem, join, rgb_stem, sink
space assemblenet {{
  dim N
  input rgb: f32[N, 3, {frames}, {side}, {side}]
  input flow: f32[N, 2, {frames}, {side}, {side}]
{body}
  output logits = sink({last}, classes={classes})
}}
"""


# ── counts ───────────────────────────────────────────────────────────────────────────────────────


def out(row: Row) -> int:
    """The channels of a node."""
    return row.width * (4 if row.level else 1)


def classified(rows: Rows) -> int:
    """What the sink classifies: a mean for each width of the last level."""
    return sum({out(row) for row in rows if row.level == rows[-1].level})


def parameters(
    rows: Rows,
    classes: int = 339,
    spatial: tuple[int, ...] = SPATIAL,
    modules: tuple[int, ...] = MODULES,
) -> int:
    """The parameters of a table whose nodes all reach the sink."""
    total = 0
    for row in rows:
        c, d = row.width, spatial[row.level]
        if row.inputs in (("rgb",), ("flow",)):
            total += 49 * 3 * c + 2 * c + 5 * c * c + 2 * c if "rgb" in row.inputs else 100 * c
            continue
        come = [out(rows[int(i)]) for i in row.inputs]
        widest = max(come)
        total += len(come) if len(come) > 1 else 0
        total += sum(narrow * widest for narrow in set(come) - {widest})
        for module in range(modules[row.level]):
            own = 9 * c * d + 4 * d * c + 2 * c + 2 * d + 8 * c
            total += own + (widest if module == 0 else 4 * c) * c * (3 if module % 2 else 1)
        total += widest * 4 * c + 8 * c
    return total + classified(rows) * classes + classes


def multiply_adds(
    rows: Rows,
    side: int = 224,
    frames: int = 16,
    classes: int = 339,
    spatial: tuple[int, ...] = SPATIAL,
    modules: tuple[int, ...] = MODULES,
) -> int:
    """Those of convolutions and the classifier, of a table whose nodes all reach the sink."""
    total = 0
    sides: list[int] = []
    for row in rows:
        c, d = row.width, spatial[row.level]
        if row.inputs in (("rgb",), ("flow",)):
            half = (side + 1) // 2
            taps = 49 * 3 * c + 5 * c * c if "rgb" in row.inputs else 49 * 2 * c
            total += taps * half**2 * frames
            sides.append(half // 2)
            continue
        come = [out(rows[int(i)]) for i in row.inputs]
        widest = max(come)
        before = min(sides[int(i)] for i in row.inputs)
        after = (before + 1) // 2 if row.level > 1 else before
        join = sum(narrow * widest for narrow in set(come) - {widest})
        first = widest * c * before**2 + widest * 4 * c * after**2
        later = sum(4 * c * c * (3 if i % 2 else 1) for i in range(1, modules[row.level]))
        each = 9 * c * d + d * 4 * c
        total += (join * before**2 + first) * frames
        total += (later + each * modules[row.level]) * after**2 * frames
        sides.append(after)
    return total + classified(rows) * classes


# ── random tables ────────────────────────────────────────────────────────────────────────────────


def drawn(rng: Random, levels: int = 4, widest: int = 3) -> Rows:
    """A random graph; what no later node takes is given to one of the next level."""
    rows: list[Row] = []
    before = range(0)
    for level in range(levels + 1):
        first = len(rows)
        for _ in range(rng.randint(2, 4) if level == 0 else rng.randint(1, 3)):
            inputs: tuple[int | str, ...] = (rng.choice(("rgb", "flow")),)
            if level:
                inputs = tuple(sorted(rng.sample(range(first), rng.randint(1, min(4, first)))))
            rows.append(Row(level, inputs, 2 ** rng.randint(1, widest), rng.choice((1, 2, 4, 8))))
        taken = {i for row in rows[first:] for i in row.inputs}
        for orphan in [i for i in before if i not in taken]:
            row = rows[first]
            inputs = tuple(sorted({*row.inputs, orphan}, key=int))
            rows[first] = Row(level, inputs, row.width, row.rate)
        before = range(first, len(rows))
    return tuple(rows)


# ── what they compute ────────────────────────────────────────────────────────────────────────────


def same_pool(x: Tensor, target: int) -> Tensor:
    """The release's pooling: windows of (size + 1) // target with "same" padding.

    Where those give more than `target` of them, as from 10 to 3, windows are larger by one.
    """
    size = x.shape[-1]
    window = (size + 1) // target
    window += -(-size // window) > target
    missing = -size % window
    pads = (missing // 2, missing - missing // 2)
    return f.max_pool3d(f.pad(x, pads * 2, value=-torch.inf), (1, window, window))


def joined(w: Layers, at: str, given: list[Tensor]) -> Tensor:
    """The inputs of a node as one."""
    if len(given) == 1:
        return given[0]
    least = min(x.shape[-1] for x in given)
    widest = max(x.shape[1] for x in given)
    result = torch.zeros(())
    for place, x in enumerate(given, 1):
        x = same_pool(x, least) if x.shape[-1] > least else x
        x = x * w.weights[f"{at}.edge.{place}.parameter.weight"].sigmoid()
        result = result + (x if x.shape[1] == widest else w.conv(f"{at}.wide.{x.shape[1]}", x))
    return result


def _stem(w: Layers, at: str, x: Tensor, row: Row) -> Tensor:
    x = w.conv(f"{at}.frames{'.conv' if row.inputs == ('rgb',) else ''}", x, (1, 2, 2), (0, 3, 3))
    if row.inputs == ("flow",):
        return f.max_pool3d(w.norm(f"{at}.batch_norm", x).relu(), (1, 2, 2))
    x = w.norm(f"{at}.frames.batch_norm", x).relu()
    x = w.conv(f"{at}.moving", x, pad=(2 * row.rate, 0, 0), dilation=(row.rate, 1, 1))
    x = f.pad(w.norm(f"{at}.batch_norm", x).relu(), (0, 1, 0, 1), value=-torch.inf)
    return f.max_pool3d(x, (1, 3, 3), (1, 2, 2))


def _block(w: Layers, at: str, x: Tensor, row: Row, modules: int) -> Tensor:
    for place in range(modules):
        key = f"{at}.m.{place + 1}"
        reach = (place % 2) * row.rate
        side = 2 if place == 0 and row.level > 1 else 1
        h = w.conv(f"{key}.moving", x, pad=(reach, 0, 0), dilation=(max(1, reach), 1, 1))
        h = w.norm(f"{key}.filtered.batch_norm", h).relu()
        h = w.conv(f"{key}.filtered", h, (1, side, side), (0, 1, 1))
        h = w.conv(f"{key}.wide", w.norm(f"{key}.wide.batch_norm", h).relu())
        h = w.norm(f"{key}.batch_norm", h)
        if place == 0:
            x = w.conv(f"{key}.project.conv", x, (1, side, side))
            x = w.norm(f"{key}.project.batch_norm", x)
        x = (x + h).relu()
    return x


def computed(
    w: Layers, batch: dict[str, Tensor], rows: Rows, modules: tuple[int, ...] = MODULES
) -> Tensor:
    """What the network of a table makes of a batch; its nodes all reach the sink."""
    outs: list[Tensor] = []
    for index, row in enumerate(rows):
        at = f"v.{index}"
        if row.level == 0:
            outs.append(_stem(w, at, batch[str(row.inputs[0])], row))
        else:
            given = joined(w, f"{at}.join", [outs[int(i)] for i in row.inputs])
            outs.append(_block(w, at, given, row, modules[row.level]))
    last = [x for x, row in zip(outs, rows, strict=True) if row.level == rows[-1].level]
    vectors = [x.flatten(3).mean(3).mean(2) for x in last]
    means = [
        torch.stack([x for x in vectors if x.shape[1] == width]).mean(0)
        for width in sorted({x.shape[1] for x in vectors})
    ]
    return w.linear("logits.linear", torch.cat(means, 1))
