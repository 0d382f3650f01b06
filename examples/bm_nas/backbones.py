"""The backbones of BM-NAS in plain torch, with the taps that its spaces name.

    fusegraph extract backbones:ntu --dataset ntu --root NTU --out features/ntu --pool first:8
        --weights video=i3d.safetensors --weights skeleton=hcn.safetensors --allow-hook

Weights are yours: train a backbone, or bring a checkpoint whose names fit (VGG-19's are
torchvision's). Each of `ntu`, `ego_gesture` and `mm_imdb` answers both backbones of a data set as
one module with a mapping `taps`, input of the space to part, that `fusegraph extract` reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class Backbones(nn.Module):
    """One network a modality; each reads the input that it is named for, or another given one."""

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        inputs: Mapping[str, str],
        taps: Mapping[str, str],
    ) -> None:
        super().__init__()
        for name, network in networks.items():
            self.add_module(name, network)
        self.inputs = dict(inputs)
        self.taps = dict(taps)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each network's logits, of those whose input the batch holds."""
        return {
            name: cast("Tensor", self.get_submodule(name)(batch[given]))
            for name, given in self.inputs.items()
            if given in batch
        }


# ── skeletons: the co-occurrence network (Li et al. 2018) ────────────────────────────────────────


class MaxOverBodies(nn.Module):
    """(samples * bodies, ...) -> (samples, ...): the strongest answer of any body."""

    def __init__(self, bodies: int) -> None:
        super().__init__()
        self.bodies = bodies

    def forward(self, features: Tensor) -> Tensor:
        """Bodies of a sample stand beside each other."""
        return features.unflatten(0, (-1, self.bodies)).amax(dim=1)


class CoOccurrence(nn.Module):
    """Hierarchical co-occurrence network of joint positions and their motion.

    A joint's coordinates are mixed alone first; then joints become channels, so that convolutions
    see all of them at once. Taps as BM-NAS uses them: `early` 128 x 4 x 4, `late` 256 x 2 x 2,
    `flat` 1024, `hidden` 512, each the maximum over both bodies.
    """

    def __init__(
        self, classes: int = 60, *, joints: int = 25, frames: int = 32, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.position = _joint_features(joints, frames, dropout)
        self.motion = _joint_features(joints, frames, dropout)
        self.conv5 = _pooled_conv(128, 128, dropout)
        self.conv6 = _pooled_conv(128, 256, dropout)
        self.early = MaxOverBodies(2)
        self.late = MaxOverBodies(2)
        self.flat = nn.Flatten()
        side = frames // 16
        self.hidden = nn.Sequential(
            nn.Linear(256 * side * side, 512), nn.ReLU(), nn.Dropout(dropout)
        )
        self.classifier = nn.Linear(512, classes)

    def forward(self, skeleton: Tensor) -> Tensor:
        """(samples, 3, frames, joints, 2 bodies) -> (samples, classes)."""
        bodies = skeleton.movedim(4, 1).flatten(0, 1)
        motion = _motion(bodies)
        both = torch.cat([self.position(bodies), self.motion(motion)], dim=1)
        early = self.conv5(both)
        late = self.conv6(early)
        self.early(early)  # nothing follows it but a tap
        return self.classifier(self.hidden(self.flat(self.late(late))))


class _JointsAsChannels(nn.Module):
    """(samples, channels, frames, joints) -> (samples, joints, frames, channels)."""

    def forward(self, features: Tensor) -> Tensor:
        return features.transpose(1, 3)


def _joint_features(joints: int, frames: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 64, 1),
        nn.ReLU(),
        nn.Conv2d(64, frames, (3, 1), padding=(1, 0)),
        _JointsAsChannels(),
        nn.Conv2d(joints, 32, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.Dropout2d(dropout),
        nn.MaxPool2d(2),
    )


def _pooled_conv(channels: int, out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(), nn.Dropout2d(dropout), nn.MaxPool2d(2)
    )


def _motion(bodies: Tensor) -> Tensor:
    """Differences of neighbouring frames, stretched to as many as there were."""
    steps = bodies.diff(dim=2)
    size = (bodies.shape[2], bodies.shape[3])
    return functional.interpolate(steps, size=size, mode="bilinear", align_corners=False)


# ── videos: bottlenecks in three dimensions ──────────────────────────────────────────────────────


class Bottleneck3d(nn.Module):
    """1 - 3 - 1 convolutions over time and space, added to their input (He et al. 2016)."""

    def __init__(
        self, channels: int, width: int, out: int, stride: tuple[int, int, int], groups: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride=stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(out)
        self.downsample = (
            nn.Sequential(
                nn.Conv3d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm3d(out)
            )
            if channels != out or stride != (1, 1, 1)
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(samples, channels, time, height, width)."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        return (self.bn3(self.conv3(y)) + self.downsample(x)).relu()


class VideoNet(nn.Module):
    """A ResNet or ResNeXt whose kernels reach over time.

    Taps: `layer2`, `layer3`, `layer4`, and `pooled`, the mean of the last over time and space.
    """

    def __init__(
        self,
        classes: int,
        depths: Sequence[int],
        widths: Sequence[int],
        *,
        channels: int = 3,
        groups: int = 1,
        stem: int = 3,
        keep_time: bool = False,
    ) -> None:
        """One network.

        Args:
            classes: how many.
            depths: bottlenecks of each of the four layers.
            widths: of the convolutions inside them; the first layer answers 256
                channels, each further one twice as many.
            channels: 3 for colour, 1 for depth.
            groups: of the inner convolutions: 1 for ResNet, 32 for ResNeXt.
            stem: how many frames the first convolution sees.
            keep_time: whether only height and width are halved.
        """
        super().__init__()
        time = 1 if keep_time else 2
        self.conv1 = nn.Conv3d(
            channels, 64, (stem, 7, 7), stride=(1, 2, 2), padding=(stem // 2, 3, 3), bias=False
        )
        self.bn1 = nn.BatchNorm3d(64)
        self.pool = nn.MaxPool3d(
            (1 if keep_time else 3, 3, 3),
            stride=(time, 2, 2),
            padding=(0 if keep_time else 1, 1, 1),
        )
        given = 64
        for number, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
            out = 128 * 2**number
            stride = (1, 1, 1) if number == 1 else (time, 2, 2)
            blocks = [Bottleneck3d(given, width, out, stride, groups)]
            blocks += [Bottleneck3d(out, width, out, (1, 1, 1), groups) for _ in range(depth - 1)]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            given = out
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten())
        self.fc = nn.Linear(given, classes)

    def forward(self, clip: Tensor) -> Tensor:
        """(samples, channels, frames, height, width) -> (samples, classes)."""
        x = self.pool(self.bn1(self.conv1(clip)).relu())
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        return self.fc(self.pooled(x))


def inflated_resnet50(classes: int = 60) -> VideoNet:
    """ResNet-50 with kernels inflated over time, whose stride in time is 1.

    Carreira and Zisserman 2017. On 8 x 256 x 256: 512 x 8 x 32 x 32, 1024 x 8 x 16 x 16,
    2048 x 8 x 8 x 8, 2048.
    """
    return VideoNet(classes, (3, 4, 6, 3), (64, 128, 256, 512), keep_time=True)


def resnext101(classes: int = 83, *, channels: int = 3) -> VideoNet:
    """ResNeXt-101 with 32 groups in three dimensions (Hara et al. 2018).

    On 32 x 112 x 112: 512 x 8 x 14 x 14, 1024 x 4 x 7 x 7, 2048 x 2 x 4 x 4, 2048.
    """
    return VideoNet(
        classes, (3, 4, 23, 3), (128, 256, 512, 1024), channels=channels, groups=32, stem=7
    )


# ── posters and plots ────────────────────────────────────────────────────────────────────────────


class Vgg19(nn.Module):
    """VGG-19's convolutions (Simonyan and Zisserman 2015), the mean of the last map classified.

    Parts are numbered as in torchvision, so that its weights fit `features`. Taps:
    `features.20`, `features.26`, `features.33`, `features.36`.
    """

    def __init__(self, classes: int = 23) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        given = 3
        for width, depth in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
            for _ in range(depth):
                parts += [nn.Conv2d(given, width, 3, padding=1), nn.ReLU()]
                given = width
            parts.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*parts)
        self.norm = nn.BatchNorm1d(given)
        self.classifier = nn.Linear(given, classes)

    def forward(self, image: Tensor) -> Tensor:
        """(samples, 3, height, width) -> (samples, classes)."""
        return self.classifier(self.norm(self.features(image).mean(dim=(2, 3))))


class Maxout(nn.Module):
    """Of `pieces` linear maps the largest, unit by unit (Goodfellow et al. 2013)."""

    def __init__(self, given: int, out: int, pieces: int) -> None:
        super().__init__()
        self.linear = nn.Linear(given, out * pieces)
        self.out = out

    def forward(self, x: Tensor) -> Tensor:
        """(samples, given) -> (samples, out)."""
        return self.linear(x).unflatten(-1, (self.out, -1)).amax(dim=-1)


class MaxoutMlp(nn.Module):
    """Two maxout layers over the mean word vector of a plot; taps `first` 64 and `second` 128."""

    def __init__(self, classes: int = 23, *, numbers: int = 300, dropout: float = 0.5) -> None:
        super().__init__()
        self.first = Maxout(numbers, 64, pieces=5)
        self.between = nn.Sequential(nn.BatchNorm1d(64), nn.Dropout(dropout))
        self.second = Maxout(64, 128, pieces=5)
        self.after = nn.Sequential(nn.BatchNorm1d(128), nn.Dropout(dropout))
        self.classifier = nn.Linear(128, classes)

    def forward(self, text: Tensor) -> Tensor:
        """(samples, numbers) -> (samples, classes)."""
        return self.classifier(self.after(self.second(self.between(self.first(text)))))


# ── both of a data set ───────────────────────────────────────────────────────────────────────────

VIDEO_PARTS = ("layer2", "layer3", "layer4", "pooled")


def _taps(name: str, parts: Sequence[str]) -> dict[str, str]:
    return {f"{name}_tap[{n}]": f"{name}.{part}" for n, part in enumerate(parts, start=1)}


def ntu() -> Backbones:
    """Inflated ResNet-50 and the co-occurrence network, 60 classes."""
    skeleton = ("early", "late", "flat", "hidden")
    return Backbones(
        {"video": inflated_resnet50(), "skeleton": CoOccurrence()},
        {"video": "rgb", "skeleton": "skeleton"},
        _taps("video", VIDEO_PARTS) | _taps("skeleton", skeleton),
    )


def ego_gesture() -> Backbones:
    """A ResNeXt-101 each for colour and depth, 83 classes."""
    return Backbones(
        {"rgb": resnext101(), "depth": resnext101(channels=1)},
        {"rgb": "rgb", "depth": "depth"},
        _taps("rgb", VIDEO_PARTS) | _taps("depth", VIDEO_PARTS),
    )


def mm_imdb() -> Backbones:
    """VGG-19 and the Maxout MLP, 23 genres."""
    return Backbones(
        {"image": Vgg19(), "text": MaxoutMlp()},
        {"image": "image", "text": "text"},
        _taps("image", [f"features.{n}" for n in (20, 26, 33, 36)])
        | _taps("text", ("first", "second")),
    )
