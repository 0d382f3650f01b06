"""`fusegraph extract`: what the taps of a frozen backbone say, as a feature folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .options import AllowHook, AsJson, pairs
from .output import plural, print_error, print_json, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..tasks.hooks import HookBatches
    from ..training.batches import Batch


def extract(
    module: Annotated[
        str,
        typer.Argument(metavar="MODULE:FUNCTION", help="Answers the frozen torch.nn.Module."),
    ],
    data: Annotated[
        str,
        typer.Option(
            "--data", metavar="MODULE:FUNCTION", help="Called as (split, seed), yields batches."
        ),
    ],
    tap: Annotated[
        list[str],
        typer.Option("--tap", metavar="INPUT=PART", help="An input of the space and its part."),
    ],
    classes: Annotated[int, typer.Option("--classes", min=2, help="How many classes there are.")],
    out: Annotated[Path, typer.Option("--out", metavar="FEATURES", help="The feature folder.")],
    split: Annotated[list[str] | None, typer.Option("--split", help="train, valid, test.")] = None,
    labels: Annotated[
        Literal["single", "multi"], typer.Option("--labels", help="One class a sample, or any.")
    ] = "single",
    names: Annotated[
        str, typer.Option("--class-names", help="In the order of the labels, with commas.")
    ] = "",
    pool: Annotated[
        bool, typer.Option("--pool/--no-pool", help="Average over all but channels.")
    ] = True,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a folder that is there.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, mps.")] = "auto",
    folder: Annotated[
        Path, typer.Option("--path", metavar="DIR", help="Where the modules are looked for.")
    ] = Path(),
    allow_hook: AllowHook = False,
    as_json: AsJson = False,
) -> None:
    """Keep what parts of a frozen module say of the data.

    The module runs once over the data, and a search never runs it again. Both functions are your
    code, so --allow-hook has to be given. The batches are mappings of named tensors with `labels`;
    the module is called with the mapping. The folder appears when all of it is written.

    \b
    Example:
      fusegraph extract backbone:network --data backbone:batches --tap "x[1]=first" --classes 3
          --tap "x[2]=second" --split train --split valid --out extracted --allow-hook

    \b
    With --json: `folder`, `splits` (samples by split), `taps` (the shape of a sample by tap).
    """
    taps = pairs(tap, "--tap")
    splits = split or ["train", "valid", "test"]
    listed = tuple(name.strip() for name in names.split(",")) if names else ()
    if listed and len(listed) != classes:
        raise typer.BadParameter(
            f"{plural(len(listed), 'name')} for {classes} classes", param_hint="'--class-names'"
        )
    from ..tasks.extract import extract as extract_taps
    from ..tasks.hooks import load_hook
    from ..tasks.manifest import LabelKind
    from ..training.loop import choose_device

    batches = load_hook(data, allow=allow_hook, folder=folder)
    made: Any = load_hook(module, allow=allow_hook, folder=folder)
    backbone = _module(made(), module)
    told = sys.stderr.isatty()
    found = extract_taps(
        backbone,
        taps,
        {name: _Batches(batches, name) for name in splits},
        out,
        LabelKind(kind=labels, classes=classes, names=listed),
        pool=pool,
        device=choose_device(device),
        source=module,
        replace=replace,
        on_batch=(lambda event: _tell(event, told)),
    )
    if told:
        print_error("")
    shapes = {name: list(kept.shape) for name, kept in found.manifest.taps.items()}
    if as_json:
        print_json({"folder": str(out), "splits": dict(found.manifest.splits), "taps": shapes})
        return
    for name, samples in found.manifest.splits.items():
        say(f"{name}: {plural(samples, 'sample')}")
    say(f"wrote {out}: " + ", ".join(f"{name} {shape}" for name, shape in shapes.items()))


class _Batches:
    """A split of the data for `extract`: all that a batch holds but the labels goes in."""

    def __init__(self, hook: Any, split: str) -> None:
        self._hook = hook
        self._split = split

    def __iter__(self) -> Iterator[Batch]:
        return self._batches().epoch(None)

    def _batches(self) -> HookBatches:
        import torch

        from ..tasks.hooks import HookBatches

        first: Any = next(iter(self._hook(self._split, None)), {})
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


def _tell(event: Any, on_terminal: bool) -> None:
    """One line that is written over on a terminal; elsewhere one a split would need its end."""
    if on_terminal:
        of = f" of {event.of_batches}" if event.of_batches else ""
        print(
            f"\r{event.split}: batch {event.batches}{of}, {event.samples} samples ",
            end="",
            file=sys.stderr,
            flush=True,
        )
