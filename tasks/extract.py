"""Runs a frozen network once over the data and keeps what its taps say, in a feature folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..ir.diagnostics import Diagnostic, FusegraphError
from ..training.batches import Batch
from .extract_identity import SkippingBatches, extract_identity
from .feature_writer import FeatureWriter
from .features import FeatureFolder, open_features
from .manifest import LabelKind
from .pooling import Pool, mean_pool
from .problems import nearest
from .unfinished import Mark, SplitProgress, damaged, other_settings, part_of

OnBatch = Callable[["Extracted"], None]


@dataclass(frozen=True, slots=True)
class Extracted:
    """Progress: how much of a split has been cached, before an interruption and since."""

    split: str
    batches: int
    samples: int
    of_batches: int | None
    """How many batches the split has, where that can be known."""


@torch.no_grad()
def extract(
    module: nn.Module,
    taps: Mapping[str, str],
    splits: Mapping[str, Iterable[Batch]],
    folder: str | Path,
    labels: LabelKind,
    *,
    pool: Pool | Mapping[str, Pool | None] | None = mean_pool,
    device: str | torch.device = "cpu",
    source: str = "",
    replace: bool = False,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    on_batch: OnBatch | None = None,
) -> FeatureFolder:
    """Writes the outputs of some of the module's parts to a feature folder.

    One batch is in memory at a time, and the folder appears only when all of it is written. What
    was whole when this was interrupted, by an error too, is kept in a hidden folder beside it, and
    `resume` goes on to the folder of an uninterrupted run, byte for byte: the batches have to come
    in the same order again. Data sets skip what is done; other batches are read past, and their
    labels compared.

    Args:
        module: called as `module(inputs)`; put into evaluation mode.
        taps: tap name (an input of the space, `image[1]`) -> name of a part as in
            `module.named_modules()`; the empty name is the module itself.
        splits: split name -> its batches, in the order in which they are to be kept.
        folder: where the feature folder will be.
        labels: what is predicted.
        pool: what is kept of a map, as in `pooling`; None keeps all of it. Given by tap, one part
            may be tapped more than once; taps that are not named are kept whole.
        device: where the module runs.
        source: a note for the manifest.
        replace: whether an older folder of this name is replaced, and what is unfinished of it
            thrown away where it is not resumed.
        resume: whether to go on where an interrupted call stopped, if there was one.
        settings: what else the features are a function of, as JSON has it; compared on resuming.
        on_batch: called after each batch.

    Raises:
        FusegraphError: E620 where the folder cannot be written, E621 for a part that the module
            does not have, E622 for a part that is not run once, or answers no tensor; E617 and
            E618 for labels and values that nobody could train on; E623 where an interrupted call
            left something and it is not said what to do with it, E624 where that was of other
            settings or data, E625 where it is damaged.
    """
    parts = _find(module, taps)
    pools = pool if isinstance(pool, Mapping) else dict.fromkeys(taps, pool)
    identity = extract_identity(
        module, taps, pools, splits, torch.device(device), dict(settings or {})
    )
    module.to(device).eval()
    caught: dict[str, list[object]] = {tap: [] for tap in taps}
    with ExitStack() as stack:
        for tap, part in parts.items():
            stack.callback(part.register_forward_hook(_catcher(caught[tap])).remove)
        writer = stack.enter_context(
            FeatureWriter(
                folder, labels, source=source, replace=replace, identity=identity, resume=resume
            )
        )
        for split, batches in splits.items():
            of_batches = len(batches) if hasattr(batches, "__len__") else None  # type: ignore[arg-type]
            kept = writer.kept(split)
            samples, done = (kept.samples, kept.batches) if kept else (0, 0)
            rest = _rest(Path(folder), split, batches, writer) if kept else batches
            for number, batch in enumerate(rest, start=done + 1):
                for values in caught.values():
                    values.clear()
                module({name: value.to(device) for name, value in batch.inputs.items()})
                features = {
                    tap: _feature(tap, taps[tap], values, pools.get(tap))
                    for tap, values in caught.items()
                }
                writer.add(
                    split,
                    {tap: value.float().cpu().numpy() for tap, value in features.items()},
                    batch.labels.cpu().numpy(),
                    _mark(batches),
                )
                samples += len(batch.labels)
                if on_batch is not None:
                    on_batch(Extracted(split, number, samples, of_batches))
            writer.end_split(split, _mark(batches))
    # The writer has checked each value already.
    return open_features(folder, check_values=False)


def _mark(batches: Iterable[Batch]) -> Mark | None:
    return batches.mark() if isinstance(batches, SkippingBatches) else None


def _rest(
    folder: Path, split: str, batches: Iterable[Batch], writer: FeatureWriter
) -> Iterable[Batch]:
    """What of a split is not in the folder yet."""
    kept = writer.kept(split)
    if kept is None:
        return batches
    if isinstance(batches, SkippingBatches):
        mark = kept.mark or Mark()
        if kept.samples + len(mark.left_out) != mark.sample:
            raise damaged(part_of(folder), f"splits.{split}.mark: not where its samples end")
        return batches.after(mark)
    return () if kept.done else _read_past(folder, split, batches, kept, writer)


def _read_past(
    folder: Path,
    split: str,
    batches: Iterable[Batch],
    kept: SplitProgress,
    writer: FeatureWriter,
) -> Iterator[Batch]:
    """The rest of batches that can only be read from their beginning."""
    labels, stream, at = writer.kept_labels(split), iter(batches), 0
    for number in range(1, kept.batches + 1):
        batch = next(stream, None)
        if batch is None:
            raise other_settings(
                folder, (f"{split} had at least {kept.batches} batches and has {number - 1}",)
            )
        end = at + len(batch.labels)
        if not np.array_equal(labels[at:end], batch.labels.cpu().numpy()):
            raise other_settings(folder, (f"the labels of {split}, batch {number}, differ",))
        at = end
    if at != kept.samples:
        raise other_settings(
            folder, (f"{kept.batches} batches of {split} were {kept.samples} samples and are {at}",)
        )
    return stream


def _catcher(values: list[object]) -> Callable[[nn.Module, object, object], None]:
    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        values.append(output)

    return hook


def _find(module: nn.Module, taps: Mapping[str, str]) -> dict[str, nn.Module]:
    parts = dict(module.named_modules())
    wrong = [
        Diagnostic(
            code="E621",
            message=f"the module has no part `{name}`, which tap `{tap}` should read",
            place=f"{type(module).__name__}: {tap}",
            help=nearest(name, [part for part in parts if part]),
        )
        for tap, name in taps.items()
        if name not in parts
    ]
    if wrong:
        raise FusegraphError(wrong)
    return {tap: parts[name] for tap, name in taps.items()}


def _feature(tap: str, name: str, values: list[object], pool: Pool | None) -> Tensor:
    found = f"it ran {len(values)} times" if len(values) != 1 else ""
    if len(values) == 1:
        value = values[0]
        if isinstance(value, Tensor) and value.ndim >= 1:
            return value if pool is None else pool(value)
        found = f"it answered {type(value).__name__}"
    raise FusegraphError(
        Diagnostic(
            code="E622",
            message=f"expected part `{name}` to answer one tensor a batch, {found}",
            place=f"tap {tap}",
            help="tap a part that runs once and answers a tensor, samples first",
        )
    )
