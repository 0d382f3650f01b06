"""A small joint task: moving points (`logits`) and still ones (`digits`) through one trunk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fusegraph.tasks.feature_writer import FeatureWriter
from fusegraph.tasks.manifest import LabelKind

SPACE = """fuse 1

space joint {
  dim N
  let W = 8
  share trunk = linear(out=?width of {4, W})
  input clip: f32[N, 2, 5]
  input image: f32[N, 5]
  let act = ?act of {relu, tanh}
  moving = act(trunk(clip))
  still = act(trunk(image))
  output logits = linear(mean(moving, axis=1), out=3)
  output digits = linear(still, out=4)
}
"""

TASK = """[task]
name = "joint"
space = "space.fuse"

[data]
features = "moving"

[joint.digits]
features = "still"

[search]
searcher = "perturbation"
seed = 1
options = { epochs = 3, networks = 2 }
train = { batch = 20, learning_rate = 1e-2 }

[train]
epochs = 4
batch = 20
finals = 1
learning_rate = 1e-2
device = "cpu"

[export]
onnx = "model.onnx"
class_names = ["left", "right", "none"]
"""


def write_joint_task(folder: Path) -> Path:
    """The task with its space and both feature folders; the task file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "space.fuse").write_text(SPACE)
    (folder / "task.toml").write_text(TASK)
    rng = np.random.default_rng(0)
    _write(folder / "moving", "clip", (2, 5), 3, {"train": 120, "valid": 60, "test": 50}, rng)
    _write(folder / "still", "image", (5,), 4, {"train": 80, "valid": 40, "test": 30}, rng)
    return folder / "task.toml"


def _write(
    folder: Path,
    tap: str,
    shape: tuple[int, ...],
    classes: int,
    splits: dict[str, int],
    rng: np.random.Generator,
) -> None:
    centres = rng.normal(size=(classes, *shape)) * 2 + 3
    with FeatureWriter(folder, LabelKind(kind="single", classes=classes)) as writer:
        for split, samples in splits.items():
            labels = rng.integers(0, classes, size=samples)
            values = centres[labels] + rng.normal(size=(samples, *shape))
            writer.add(split, {tap: values.astype(np.float32)}, labels)
