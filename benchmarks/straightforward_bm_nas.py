"""BM-NAS's search network the ordinary way: a module for each candidate, run one by one.

The baseline of `bench_supernet.py`: what one writes first, and writes well, with torch alone. Its
mathematics is that of the released code of Yin et al. 2022 (`ir/std/bm_nas_release.fuse`): edges
are gates between nothing and identity that do not compete, a cell is given one gated sum as x and
as y, so is a step, and a step is the softmax-weighted sum of its four ops.

What the release does and this does not, because it only costs time: pooling to a length that is
there already, multiplying the branch `none` by zero, asking the device for a number at each op.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

SPREAD = 1e-3  # standard deviation of the architecture's parameters at the start (release)
ATTENTION_DROPOUT = 0.1  # whatever the configuration's dropout is (release)


@dataclass(frozen=True)
class Tap:
    """A feature of a frozen backbone: its input's name, channels, and positions (0: a vector).

    The positions are those that pooling over space leaves; there may be fewer than L.
    """

    name: str
    channels: int
    positions: int = 0


@dataclass(frozen=True)
class Configuration:
    """A row of the paper's Table 9: C, L, N, M, batch, dropout, MaxLR; and what it fuses.

    `multiplier` is the release's: of how many of its last steps a cell's output is made. Where a
    cell has fewer steps, its first one counts more than once.
    """

    name: str
    taps: tuple[Tap, ...]
    channels: int
    length: int
    cells: int
    steps: int
    multiplier: int
    batch: int
    dropout: float
    classes: int
    learning_rate: float
    multilabel: bool = False

    def joined(self) -> list[int]:
        """Which steps (from 0) a cell's output joins, in order."""
        first = self.steps - self.multiplier
        return [max(0, step) for step in range(first, self.steps)]


NTU_1 = Configuration(
    "NTU 1",
    (
        *(Tap(f"video_tap[{i}]", 256 * 2**i, 8) for i in (1, 2, 3)),
        Tap("video_tap[4]", 2048),
        Tap("skeleton_tap[1]", 128, 4),
        Tap("skeleton_tap[2]", 256, 2),
        Tap("skeleton_tap[3]", 1024),
        Tap("skeleton_tap[4]", 512),
    ),
    channels=128,
    length=8,
    cells=2,
    steps=2,
    multiplier=2,
    batch=96,
    dropout=0.2,
    classes=60,
    learning_rate=1e-3,
)
EGO_1 = Configuration(
    "Ego 1",
    tuple(
        chain.from_iterable(
            (
                Tap(f"{stream}_tap[1]", 512, 8),
                Tap(f"{stream}_tap[2]", 1024, 4),
                Tap(f"{stream}_tap[3]", 2048, 2),
                Tap(f"{stream}_tap[4]", 2048),
            )
            for stream in ("rgb", "depth")
        )
    ),
    channels=128,
    length=8,
    cells=2,
    steps=3,
    multiplier=3,
    batch=72,
    dropout=0.0,
    classes=83,
    learning_rate=3e-3,
)
MM_IMDB_1 = Configuration(
    "MM-IMDB 1",
    (
        *(Tap(f"image_tap[{i}]", 512, 16) for i in (1, 2, 3, 4)),
        Tap("text_tap[1]", 64),
        Tap("text_tap[2]", 128),
    ),
    channels=192,
    length=16,
    cells=2,
    steps=1,
    multiplier=2,
    batch=96,
    dropout=0.1,
    classes=23,
    learning_rate=1e-3,
    multilabel=True,
)
CONFIGURATIONS = (NTU_1, EGO_1, MM_IMDB_1)


@dataclass(frozen=True)
class Batch:
    """Cached features of B samples, in the order of the configuration's taps, and the labels.

    `features` are pooled over space, f32[B, Cin, positions], or vectors, f32[B, Cin]. `pooled` are
    the same brought to L positions as the release pools them: short ones repeat. Vectors stay.
    Labels are int64[B] or, for several labels at once, f32[B, classes].
    """

    features: tuple[Tensor, ...]
    pooled: tuple[Tensor, ...]
    labels: Tensor


def random_batch(configuration: Configuration, seed: int, device: str = "cpu") -> Batch:
    """A batch drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    c, size = configuration, configuration.batch
    features = tuple(
        torch.randn(
            size, tap.channels, *([tap.positions] if tap.positions else []), generator=generator
        )
        for tap in c.taps
    )
    pooled = tuple(F.adaptive_max_pool1d(f, c.length) if f.dim() == 3 else f for f in features)
    if c.multilabel:
        labels = (torch.rand(size, c.classes, generator=generator) < 0.1).float()
    else:
        labels = torch.randint(c.classes, (size,), generator=generator)
    return Batch(
        tuple(f.to(device) for f in features),
        tuple(p.to(device) for p in pooled),
        labels.to(device),
    )


class Project(nn.Sequential):
    """1x1 convolution with bias, batch norm, ReLU, dropout: f32[B, Cin, L] -> f32[B, C, L]."""

    def __init__(self, wide: int, channels: int, dropout: float) -> None:
        super().__init__(
            nn.Conv1d(wide, channels, 1), nn.BatchNorm1d(channels), nn.ReLU(), nn.Dropout(dropout)
        )


class Align(nn.Module):
    """A feature of L positions is projected; a vector is copied to L positions before."""

    def __init__(self, wide: int, channels: int, length: int, dropout: float) -> None:
        super().__init__()
        self.length = length
        self.project = Project(wide, channels, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """f32[B, Cin, L] or f32[B, Cin] -> f32[B, C, L]."""
        if x.dim() == 2:
            x = x.unsqueeze(2).expand(-1, -1, self.length)
        return self.project(x)


class Sum(nn.Module):
    """x + y (eq. 5)."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two f32[B, C, L] -> f32[B, C, L]."""
        return x + y


class ScaleDotAttn(nn.Module):
    """softmax(xᵀ y / sqrt(C)) over the positions of y weighs y (eq. 6); dropout; LayerNorm."""

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(ATTENTION_DROPOUT)
        self.norm = nn.LayerNorm([channels, length])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two f32[B, C, L] -> f32[B, C, L]."""
        scores = torch.matmul(x.transpose(1, 2), y) / math.sqrt(x.shape[1])
        attended = torch.matmul(y, torch.softmax(scores, dim=-1).transpose(1, 2))
        return self.norm(self.dropout(attended))


class LinearGLU(nn.Module):
    """Concatenate, 1x1 convolution to 2C, batch norm, GLU over channels, dropout (eq. 7)."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2 * channels, 2 * channels, 1)
        self.norm = nn.BatchNorm1d(2 * channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two f32[B, C, L] -> f32[B, C, L]."""
        return self.dropout(F.glu(self.norm(self.conv(torch.cat((x, y), 1))), dim=1))


class ConcatFC(nn.Module):
    """Concatenate, then `Project` back to C (eq. 8)."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.project = Project(2 * channels, channels, dropout)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two f32[B, C, L] -> f32[B, C, L]."""
        return self.project(torch.cat((x, y), 1))


def undecided(*shape: int) -> nn.Parameter:
    """Architecture parameters, drawn around zero."""
    return nn.Parameter(SPREAD * torch.randn(shape))


def gated_sum(gates: Tensor, values: Sequence[Tensor]) -> Tensor:
    """Each value times its weight of identity, summed; gates f32[edges, 2] are (none, identity)."""
    identity = torch.softmax(gates, dim=-1)[:, 1]
    total = identity[0] * values[0]
    for weight, value in zip(identity[1:], values[1:], strict=True):
        total = total + weight * value
    return total


class Step(nn.Module):
    """An inner step: a gated sum of what came before it, given to all ops as both operands.

    `beta` f32[predecessors, 2] gates the edges, `gamma` f32[4] weighs the ops.
    """

    def __init__(self, configuration: Configuration, predecessors: int) -> None:
        super().__init__()
        c = configuration
        self.beta = undecided(predecessors, 2)
        self.ops = nn.ModuleList(
            (
                Sum(),
                ScaleDotAttn(c.channels, c.length),
                LinearGLU(c.channels, c.dropout),
                ConcatFC(c.channels, c.dropout),
            )
        )
        self.gamma = undecided(len(self.ops))

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Predecessors, each f32[B, C, L] -> f32[B, C, L]."""
        u = gated_sum(self.beta, states)
        weights = torch.softmax(self.gamma, dim=-1)
        total = weights[0] * self.ops[0](u, u)
        for weight, op in zip(weights[1:], list(self.ops)[1:], strict=True):
            total = total + weight * op(u, u)
        return total


class Cell(nn.Module):
    """A fusion cell: a gated sum of features and earlier cells as x and as y, M steps, an output.

    `alpha` f32[features + earlier cells, 2] gates the edges into the cell.
    """

    def __init__(self, configuration: Configuration, predecessors: int) -> None:
        super().__init__()
        c = configuration
        self.alpha = undecided(predecessors, 2)
        self.steps = nn.ModuleList(Step(c, 2 + step) for step in range(c.steps))
        self.joined = c.joined()
        joins = c.multiplier > 1
        self.out = Project(c.multiplier * c.channels, c.channels, c.dropout) if joins else None
        self.norm = nn.LayerNorm([c.channels, c.length])

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features and earlier cells, each f32[B, C, L] -> f32[B, C, L]."""
        x = gated_sum(self.alpha, features)
        states = [x, x]
        for step in self.steps:
            states.append(step(states))
        steps = states[2:]
        last = steps[-1]
        if self.out is not None:
            last = self.out(torch.cat([steps[i] for i in self.joined], 1))
        return self.norm(last + x)


class Hypernet(nn.Module):
    """The search network: aligns, N cells, LayerNorm over (N*C, L), ReLU, a classifier."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        c = configuration
        self.aligns = nn.ModuleList(
            Align(tap.channels, c.channels, c.length, c.dropout) for tap in c.taps
        )
        self.cells = nn.ModuleList(Cell(c, len(c.taps) + n) for n in range(c.cells))
        self.norm = nn.LayerNorm([c.cells * c.channels, c.length])
        self.classifier = nn.Linear(c.cells * c.channels * c.length, c.classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """The taps at L positions (or vectors), in order -> logits f32[B, classes]."""
        states = [align(x) for align, x in zip(self.aligns, features, strict=True)]
        for cell in self.cells:
            states.append(cell(states))
        joined = torch.cat(states[len(self.aligns) :], 1)
        return self.classifier(torch.relu(self.norm(joined)).flatten(1))


def architecture_parameters(network: Hypernet) -> list[nn.Parameter]:
    """All alphas, betas and gammas."""
    return [p for name, p in network.named_parameters() if is_architecture(name)]


def weight_parameters(network: Hypernet) -> list[nn.Parameter]:
    """All other parameters."""
    return [p for name, p in network.named_parameters() if not is_architecture(name)]


def is_architecture(name: str) -> bool:
    """Whether a parameter of this name is an alpha, a beta or a gamma."""
    return name.rpartition(".")[2] in ("alpha", "beta", "gamma")


class StraightforwardSteps:
    """The steps of Algorithm 1, first order, as the release takes them.

    Both training steps compute the gradients of all parameters, in training mode, and step one
    optimiser. Optimisers as in the paper's A.2, at the greatest learning rate.
    """

    def __init__(self, configuration: Configuration, seed: int = 0, device: str = "cpu") -> None:
        torch.manual_seed(seed)
        self.network = Hypernet(configuration).to(device)
        self.loss = nn.BCEWithLogitsLoss() if configuration.multilabel else nn.CrossEntropyLoss()
        self.weights = torch.optim.Adam(
            weight_parameters(self.network), lr=configuration.learning_rate, weight_decay=1e-4
        )
        self.architecture = torch.optim.Adam(
            architecture_parameters(self.network), lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3
        )

    def weight_step(self, batch: Batch) -> Tensor:
        """One update of the weights on a training batch; the loss."""
        return self._step(batch, self.weights)

    def architecture_step(self, batch: Batch) -> Tensor:
        """One update of the architecture's parameters on a validation batch; the loss."""
        return self._step(batch, self.architecture)

    def evaluate(self, batch: Batch) -> Tensor:
        """Logits f32[B, classes] of a validation batch, in evaluation mode."""
        self.network.eval()
        with torch.no_grad():
            return self.network(batch.pooled)

    def _step(self, batch: Batch, optimiser: torch.optim.Optimizer) -> Tensor:
        self.network.train()
        self.network.zero_grad()
        loss = self.loss(self.network(batch.pooled), batch.labels)
        loss.backward()
        optimiser.step()
        return loss.detach()
