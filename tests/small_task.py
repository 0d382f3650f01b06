"""A small task that trains in a second: four taps, three classes, a space with a progression."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fusegraph.tasks.feature_writer import FeatureWriter
from fusegraph.tasks.manifest import LabelKind

SPACE = """fuse 1

space small {
  dim N
  let W = 8
  input x[1]: f32[N, 6]
  input x[2]: f32[N, 4]
  input y[1]: f32[N, 5]
  input y[2]: f32[N, 3]
  h[1] = ?act of {relu, sigmoid}(linear(concat(?x of x[*], ?y of y[*]), out=W))
  h[2] = ?act of {relu, sigmoid}(linear(concat(?x of x[*], ?y of y[*], h[1]), out=W))
  output logits = linear(?depth of h[*], out=3)
}
"""

TASK = """[task]
name = "small"
space = "space.fuse"
set = { W = 12 }

[data]
features = "features"

[search]
searcher = "mfas"
seed = 1
options = { candidates = 2, iterations = 1 }
set = { W = 8 }
train = { epochs = 1, batch = 40 }

[train]
epochs = 3
batch = 40
learning_rate = 1e-2

[export]
onnx = "model.onnx"
class_names = ["low", "middle", "high"]
preprocessing = "nothing before the features"
"""

GENOTYPE = """fuse 1
genotype of "space.fuse"
h[1] { act = relu, x = x[1], y = y[2] }
h[2] { act = sigmoid, x = x[2], y = y[1] }
logits { depth = h[2] }
"""

BACKBONE = '''"""A backbone and its data, for `fusegraph extract`."""

import torch
from torch import nn


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 6, 3)
        self.second = nn.Conv1d(6, 4, 3)

    def forward(self, inputs):
        return self.second(self.first(inputs["signal"]).relu())


def network():
    torch.manual_seed(0)
    return Backbone()


def batches(split, seed):
    generator = torch.Generator().manual_seed(len(split))
    for _ in range(3):
        signal = torch.randn(5, 2, 12, generator=generator)
        yield {"signal": signal, "labels": torch.randint(0, 3, (5,), generator=generator)}
'''


def write_task(folder: Path) -> Path:
    """The task with its space, its features, a genotype and a backbone; the task file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "space.fuse").write_text(SPACE)
    (folder / "task.toml").write_text(TASK)
    (folder / "genotype.fuse").write_text(GENOTYPE)
    (folder / "backbone.py").write_text(BACKBONE)
    shapes = {"x[1]": 6, "x[2]": 4, "y[1]": 5, "y[2]": 3}
    rng = np.random.default_rng(0)
    maps = {name: rng.normal(size=(3, size)) for name, size in shapes.items()}
    with FeatureWriter(folder / "features", LabelKind(kind="single", classes=3)) as writer:
        for split, samples in (("train", 200), ("valid", 80), ("test", 90)):
            labels = rng.integers(0, 3, size=samples)
            taps = {
                name: (weights[labels] + rng.normal(scale=2.0, size=(samples, shapes[name])))
                for name, weights in maps.items()
            }
            writer.add(split, {n: t.astype(np.float32) for n, t in taps.items()}, labels)
    return folder / "task.toml"
