"""`fusegraph run`: an exported network on a feature folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .options import AsJson
from .output import grouped, plural, print_json, say


def run(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An exported network.")],
    features: Annotated[Path, typer.Argument(metavar="FEATURES", help="A feature folder.")],
    split: Annotated[str, typer.Option("--split", help="Which split.")] = "test",
    output: Annotated[
        str | None,
        typer.Option("--output", metavar="NAME", help="Which output, of several: logits."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE.csv", help="Write the predictions there."),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples at once.")] = 256,
    device: Annotated[
        Literal["auto", "cpu", "gpu"], typer.Option("--device", help="Where it runs.")
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Run an exported network on a split, and score it.

    Needs no torch. Features are standardised as the file says that they were in training. A network
    that several data sets trained is scored on one of them, by the output that it trained.

    \b
    Example:
      fusegraph run model.onnx features --split test -o predictions.csv

    \b
    With --json: `metrics` by name, `predictions` (a class a sample; for multi-label 0 or 1 a
    class), `classes` (their names), `split`, `samples`, `providers`, `seconds`.
    """
    from ..pipeline.files import write_file
    from ..pipeline.infer import infer

    found = infer(model, features, split, output=output, batch=batch, device=device)
    if out is not None:
        write_file(out, _csv(found))
    if as_json:
        print_json(
            {
                "metrics": dict(found.metrics),
                "predictions": found.predicted.tolist(),
                "classes": list(found.classes),
                "split": split,
                "samples": len(found.labels),
                "providers": list(found.providers),
                "seconds": found.seconds,
            }
        )
        return
    for name, value in found.metrics.items():
        say(f"{name} {value:.4f}")
    rate = len(found.labels) / max(found.seconds, 1e-9)
    ran = ", ".join(name.removesuffix("ExecutionProvider") for name in found.providers)
    say(f"{plural(len(found.labels), 'sample')} of {split}, {grouped(int(rate))} a second on {ran}")
    if out is not None:
        say(f"wrote {out}")


def _csv(found: Any) -> str:
    """Sample, label and prediction; for multi-label the classes that hold, by space."""
    names = found.classes

    def word(value: Any) -> str:
        if getattr(value, "ndim", 0):
            return " ".join(word(index) for index in value.nonzero()[0])
        return _quoted(names[int(value)]) if names else str(int(value))

    rows = zip(found.labels, found.predicted, strict=True)
    lines = [f"{n},{word(label)},{word(said)}" for n, (label, said) in enumerate(rows)]
    return "\n".join(["sample,label,predicted", *lines]) + "\n"


def _quoted(text: str) -> str:
    if any(sign in text for sign in ',"\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
