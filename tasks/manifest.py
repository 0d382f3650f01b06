"""The manifest of a feature folder: what `manifest.json` may say, and how it is read."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..ir.diagnostics import Diagnostic, FusegraphError
from .problems import nearest, problems_of

MANIFEST = "manifest.json"
FORMAT = 1
TAP_NAME = r"^[A-Za-z_][A-Za-z0-9_]*(\[[0-9]+\])*$"
SPLIT_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"

# Both become file names, so neither may hold a slash or a dot.
TapName = Annotated[str, Field(pattern=TAP_NAME, max_length=100)]
SplitName = Annotated[str, Field(pattern=SPLIT_NAME, max_length=100)]
FeatureType = Literal["float16", "float32"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Tap(_Strict):
    """One cached feature: the shape of one sample, without the axis of the samples."""

    shape: tuple[Annotated[int, Field(ge=1)], ...] = Field(strict=False)
    dtype: FeatureType = "float32"

    @property
    def elements(self) -> int:
        """How many numbers one sample holds."""
        return math.prod(self.shape)


class LabelKind(_Strict):
    """What is predicted: one class a sample (`single`), or any number of them (`multi`)."""

    kind: Literal["single", "multi"]
    classes: Annotated[int, Field(ge=2)]
    names: tuple[str, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _one_name_a_class(self) -> LabelKind:
        if self.names and len(self.names) != self.classes:
            raise ValueError(f"{len(self.names)} names for {self.classes} classes")
        return self


class Statistics(_Strict):
    """Mean and standard deviation of a tap, one of each per channel (a sample's first axis)."""

    mean: tuple[float, ...] = Field(strict=False)
    deviation: tuple[Annotated[float, Field(gt=0)], ...] = Field(strict=False)


class Manifest(_Strict):
    """All that a feature folder says about itself."""

    format: Literal[1]
    source: str = ""
    splits: dict[SplitName, Annotated[int, Field(ge=1)]] = Field(min_length=1)
    taps: dict[TapName, Tap] = Field(min_length=1)
    labels: LabelKind
    standardisation: dict[TapName, Statistics] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_agree(self) -> Manifest:
        if "labels" in self.taps:
            raise ValueError("a tap cannot be called `labels`, that is the labels' own file")
        for name, statistics in self.standardisation.items():
            if name not in self.taps:
                raise ValueError(f"standardisation of `{name}`, which is not a tap")
            shape = self.taps[name].shape
            channels = shape[0] if shape else 1
            if not len(statistics.mean) == len(statistics.deviation) == channels:
                raise ValueError(f"standardisation of `{name}` needs {channels} numbers each")
        return self


def is_tap_name(name: str) -> bool:
    """Whether a tap may have this name: an identifier with optional indices, `image[1]`."""
    return name != "labels" and len(name) <= 100 and re.match(TAP_NAME, name) is not None


def read_manifest(folder: Path) -> Manifest:
    """Reads and checks `manifest.json`.

    Raises:
        FusegraphError: E610 where there is no manifest or it is not JSON, E611 where a key is
            unknown, missing or has a wrong value.
    """
    file = folder / MANIFEST
    try:
        data: object = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        what = "has no manifest.json" if folder.is_dir() else "does not exist"
        what = "is a file" if folder.is_file() else what
        raise FusegraphError(
            Diagnostic(
                code="E610",
                message=f"the feature folder {what}",
                place=str(folder),
                help="write one with `fusegraph extract`, or correct the path",
            )
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise FusegraphError(
            Diagnostic(
                code="E610",
                message=f"the manifest cannot be read: {error}",
                place=str(file),
                help="write the folder anew with `fusegraph extract`",
            )
        ) from None
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise FusegraphError(
            [
                Diagnostic(
                    code="E611",
                    message=problem.message,
                    place=f"{file}: {problem.path}" if problem.path else str(file),
                    help=nearest(problem.unknown, problem.known)
                    or "write the folder anew with `fusegraph extract`, or correct the manifest",
                )
                for problem in problems_of(error, Manifest)
            ]
        ) from None
