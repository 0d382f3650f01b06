"""`fusegraph extract`: what the taps of a frozen backbone say, as a feature folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .guard import Interrupted
from .options import AllowHook, AsJson, pairs
from .output import plural, print_error, print_json, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..tasks.datasets.samples import DatasetBatches
    from ..tasks.hooks import HookBatches
    from ..tasks.manifest import LabelKind
    from ..training.batches import Batch

SECONDS_BETWEEN_LINES = 30.0
"""Of progress, where there is no terminal."""


def extract(
    module: Annotated[
        str,
        typer.Argument(metavar="MODULE:FUNCTION", help="Answers the frozen torch.nn.Module."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FEATURES", help="The feature folder.")],
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="MODULE:FUNCTION", help="Called as (split, seed), yields batches."
        ),
    ] = None,
    dataset: Annotated[
        Literal["mm_imdb", "ntu", "ego_gesture"] | None,
        typer.Option("--dataset", help="A published data set, instead of --data."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="DIR", help="Where its files are.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="Of the data set, as train=1,4,8."),
    ] = None,
    tap: Annotated[
        list[str] | None,
        typer.Option(
            "--tap", metavar="INPUT=PART", help="An input and its part; else the module's `taps`."
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option("--weights", metavar="[PART=]FILE", help="safetensors, or torch's format."),
    ] = None,
    classes: Annotated[
        int | None, typer.Option("--classes", min=2, help="How many classes --data has.")
    ] = None,
    split: Annotated[list[str] | None, typer.Option("--split", help="train, valid, test.")] = None,
    labels: Annotated[
        Literal["single", "multi"], typer.Option("--labels", help="One class a sample, or any.")
    ] = "single",
    names: Annotated[
        str, typer.Option("--class-names", help="In the order of the labels, with commas.")
    ] = "",
    pool: Annotated[
        str, typer.Option("--pool", help="mean, none, windows:L, first:L, grid:L.")
    ] = "mean",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples of a data set.")] = 32,
    threads: Annotated[int, typer.Option("--threads", min=1, help="That read a data set.")] = 2,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave samples out whose files are broken.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a folder that is there, or unfinished.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted call stopped.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, mps.")] = "auto",
    folder: Annotated[
        Path, typer.Option("--path", metavar="DIR", help="Where the modules are looked for.")
    ] = Path(),
    allow_hook: AllowHook = False,
    as_json: AsJson = False,
) -> None:
    """Keep what parts of a frozen module say of the data.

    The module runs once over the data, and a search never runs it again. It is called with a
    mapping of named tensors: those that --data yields with `labels`, or the inputs of a published
    data set. The functions are your code, so --allow-hook has to be given. The folder appears when
    all of it is written. After Ctrl-C, an error or `kill -9`, the same call with --resume goes on.

    \b
    Example:
      fusegraph extract backbone:network --data backbone:batches --tap "x[1]=first" --classes 3
          --tap "x[2]=second" --split train --split valid --out extracted --allow-hook

    \b
    With --json: `folder`, `splits` (samples by split), `taps` (the shape of a sample by tap),
    `left_out` (by split, each with `sample` and `reason`), `notes`.
    """
    taps = pairs(tap, "--tap")
    splits = split or ["train", "valid", "test"]
    pooled = _pooling(pool)
    _check_source(data, dataset, root, option, classes, names)
    from ..tasks.extract import extract as extract_taps
    from ..tasks.hooks import called, load_hook
    from ..tasks.unfinished import is_unfinished
    from ..tasks.weights import load_weights
    from ..training.loop import choose_device

    made: Any = load_hook(module, allow=allow_hook, folder=folder)
    sources: Mapping[str, Iterable[Batch]]
    published: Mapping[str, DatasetBatches] = {}
    notes: tuple[str, ...] = ()
    if dataset is not None and root is not None:
        from ..tasks.datasets.opening import open_dataset

        opened = open_dataset(dataset, root, pairs(option, "--option"))
        kind, notes = opened.labels, opened.notes
        sources = published = {
            name: opened.batches(name, batch=batch, threads=threads, skip_broken=skip_broken)
            for name in splits
        }
    else:
        kind = _kind(labels, classes or 0, names)
        batches = load_hook(str(data), allow=allow_hook, folder=folder)
        sources = {name: _Batches(batches, name) for name in splits}
    backbone = _module(called(made), module)
    for text in weights or []:
        part, sign, file = text.partition("=")
        load_weights(backbone, file if sign else text, part if sign else "")
    on_terminal = sys.stderr.isatty()
    chosen_device = choose_device(device)
    teller = _Teller(on_terminal)
    try:
        found = extract_taps(
            backbone,
            taps or _own_taps(backbone),
            sources,
            out,
            kind,
            pool=pooled,
            device=chosen_device,
            source=" ".join((module, *([dataset] if dataset else []), *(option or []))),
            replace=replace,
            resume=resume,
            settings={
                "module": module,
                "data": data,
                "dataset": dataset,
                "options": pairs(option, "--option"),
            },
            on_batch=teller,
        )
    except KeyboardInterrupt:
        if not is_unfinished(out):
            raise
        raise Interrupted("interrupted; to go on: the same call with --resume") from None
    except Exception:
        if teller.told and is_unfinished(out):
            print_error("what was done is kept; to go on: the same call with --resume")
        raise
    if on_terminal:
        print_error("")
    shapes = {name: list(kept.shape) for name, kept in found.manifest.taps.items()}
    if as_json:
        left_out = {
            name: [{"sample": out.sample, "reason": out.reason} for out in source.left_out]
            for name, source in published.items()
        }
        print_json(
            {
                "folder": str(out),
                "splits": dict(found.manifest.splits),
                "taps": shapes,
                "left_out": left_out,
                "notes": list(notes),
            }
        )
        return
    for note in notes:
        say(note)
    for name, samples in found.manifest.splits.items():
        say(f"{name}: {plural(samples, 'sample')}" + _left_out(published.get(name)))
    say(f"wrote {out}: " + ", ".join(f"{name} {shape}" for name, shape in shapes.items()))


def _check_source(
    data: str | None,
    dataset: str | None,
    root: Path | None,
    option: list[str] | None,
    classes: int | None,
    names: str,
) -> None:
    """Raises typer.BadParameter where options do not go together."""
    if (data is None) == (dataset is None):
        raise typer.BadParameter("give one of --data and --dataset", param_hint="'--data'")
    if dataset is not None and root is None:
        raise typer.BadParameter("--dataset needs the folder of its files", param_hint="'--root'")
    if dataset is not None and (classes is not None or names):
        raise typer.BadParameter("a data set knows its classes", param_hint="'--classes'")
    if data is not None and classes is None:
        raise typer.BadParameter("--data needs the number of classes", param_hint="'--classes'")
    if data is not None and (root is not None or option):
        raise typer.BadParameter("--root and --option are for --dataset", param_hint="'--data'")


def _kind(labels: Literal["single", "multi"], classes: int, names: str) -> LabelKind:
    from ..tasks.manifest import LabelKind

    listed = tuple(name.strip() for name in names.split(",")) if names else ()
    if listed and len(listed) != classes:
        raise typer.BadParameter(
            f"{plural(len(listed), 'name')} for {classes} classes", param_hint="'--class-names'"
        )
    return LabelKind(kind=labels, classes=classes, names=listed)


def _pooling(text: str) -> Any:
    from ..tasks.pooling import pool_named

    try:
        return pool_named(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--pool'") from None


def _own_taps(backbone: Any) -> Mapping[str, str]:
    taps = getattr(backbone, "taps", None)
    if isinstance(taps, Mapping) and taps:
        return {str(name): str(part) for name, part in taps.items()}
    raise typer.BadParameter(
        "the module has no mapping `taps`, so they have to be given", param_hint="'--tap'"
    )


def _left_out(source: DatasetBatches | None) -> str:
    if source is None or not source.left_out:
        return ""
    shown = "; ".join(f"{out.sample}: {out.reason}" for out in source.left_out[:3])
    more = "; ..." if len(source.left_out) > 3 else ""
    return f", {len(source.left_out)} left out ({shown}{more})"


class _Batches:
    """A split of the data for `extract`: all that a batch holds but the labels goes in."""

    def __init__(self, hook: Any, split: str) -> None:
        self._hook = hook
        self._split = split

    def __iter__(self) -> Iterator[Batch]:
        return self._batches().epoch(None)

    def _batches(self) -> HookBatches:
        import torch

        from ..tasks.hooks import HookBatches, pulled

        first: Any = next(pulled(self._hook, self._split, None), {})
        inputs = tuple(name for name in first if name != "labels")
        return HookBatches(self._hook, self._split, inputs, torch.device("cpu"))


def _module(found: Any, reference: str) -> Any:
    from torch import nn

    from ..ir.diagnostics import Diagnostic, FusegraphError

    if isinstance(found, nn.Module):
        return found
    raise FusegraphError(
        Diagnostic(
            code="E605",
            message=f"the hook `{reference}` cannot be used: it answers {type(found).__name__}, "
            "and a torch.nn.Module is expected",
            place=reference,
            help="give a function that takes nothing and answers the backbone",
        )
    )


class _Teller:
    """One line that is written over on a terminal; elsewhere one now and then."""

    def __init__(self, on_terminal: bool) -> None:
        self.told = False
        self._on_terminal = on_terminal
        self._said = time.monotonic()

    def __call__(self, event: Any) -> None:
        self.told = True
        of = f" of {event.of_batches}" if event.of_batches else ""
        line = f"{event.split}: batch {event.batches}{of}, {event.samples} samples"
        if self._on_terminal:
            print(f"\r{line} ", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._said > SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            print_error(line)
