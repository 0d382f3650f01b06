"""The options of each data set, with the papers' values as defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ...ir.diagnostics import Diagnostic, FusegraphError
from ..problems import nearest, problems_of

S = TypeVar("S", bound=BaseModel)


def _listed(value: object) -> object:
    """`1,4,8` from a command line as a list."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


Subjects = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_listed), Field(min_length=1)
]
Size = Annotated[int, Field(ge=1, le=4096)]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _BySubject(_Options):
    """A split by who performs: no subject may stand in two splits."""

    train: Subjects
    valid: Subjects
    test: Subjects

    @model_validator(mode="after")
    def _apart(self) -> _BySubject:
        splits = self.subjects()
        for first, second in (("train", "valid"), ("train", "test"), ("valid", "test")):
            both = sorted(set(splits[first]) & set(splits[second]))
            if both:
                raise ValueError(f"subject {both[0]} stands in `{first}` and in `{second}`")
        return self

    def subjects(self) -> dict[str, tuple[int, ...]]:
        """Split -> subjects."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


class NtuSettings(_BySubject):
    """NTU RGB+D, 60 classes, cross-subject.

    MFAS (Pérez-Rúa et al. 2019, section 4) searches with seven subjects and validates with four of
    the twenty training subjects of Shahroudy et al. 2016, and tests on the original twenty test
    subjects; so does BM-NAS (section 4.2: 23,760 / 2,519 / 16,558 samples; the original test set
    has 16,560). The other nine training subjects are in no split: the papers train the found
    network on all twenty, `train=1,2,4,5,8,9,13,14,15,16,17,18,19,25,27,28,31,34,35,38`.
    """

    train: Subjects = (1, 4, 8, 13, 15, 17, 19)
    valid: Subjects = (2, 5, 9, 14)
    test: Subjects = (3, 6, 7, 10, 11, 12, 20, 21, 22, 23, 24, 26, 29, 30, 32, 33, 36, 37, 39, 40)
    inputs: Annotated[
        tuple[Literal["rgb", "skeleton"], ...], BeforeValidator(_listed), Field(min_length=1)
    ] = ("rgb", "skeleton")
    frames: Size = 32
    """Of a skeleton sequence, interpolated over time."""
    clip: Size = 8
    """Frames taken from a video, evenly."""
    size: Size = 256
    """Height and width of a video's frame."""
    missing: Path | None = None
    """The published list of samples with missing skeletons; by default the one in the root."""
    empty: Literal["skip", "zeros"] = "skip"
    """What becomes of a sample whose skeleton file holds no body."""


class EgoGestureSettings(_BySubject):
    """EgoGesture, 83 classes, cross-subject.

    The split of Zhang et al. 2018 (section V): 30 / 10 / 10 subjects with 14,416 / 4,768 / 4,977
    samples, as BM-NAS counts them (section 4.3). The subjects' numbers are those published with
    the data set.
    """

    train: Subjects = (
        *(3, 4, 5, 6, 8, 10, 15, 16, 17, 20, 21, 22, 23, 25, 26, 27, 30, 32, 36, 38, 39, 40),
        *(42, 43, 44, 45, 46, 48, 49, 50),
    )
    valid: Subjects = (1, 7, 12, 13, 24, 29, 33, 34, 35, 37)
    test: Subjects = (2, 9, 11, 14, 18, 19, 28, 31, 41, 47)
    inputs: Annotated[
        tuple[Literal["rgb", "depth"], ...], BeforeValidator(_listed), Field(min_length=1)
    ] = ("rgb", "depth")
    frames: Size = 32
    size: Size = 112
    """Height and width of a frame."""


class MmImdbSettings(_Options):
    """MM-IMDB, 23 genres, multi-label.

    The file holds its samples in the order of the split: 15,552 / 2,608 / 7,799 (Arevalo et al.
    2017; BM-NAS, section 4.1). A count that is not given is the file's own `split` attribute's,
    and else the published one.
    """

    train: Annotated[int | None, Field(ge=1)] = None
    valid: Annotated[int | None, Field(ge=1)] = None
    test: Annotated[int | None, Field(ge=1)] = None
    inputs: Annotated[
        tuple[Literal["image", "text"], ...], BeforeValidator(_listed), Field(min_length=1)
    ] = ("image", "text")


def read_settings(settings: type[S], options: Mapping[str, object]) -> S:
    """The options of a data set, from texts or values.

    Raises:
        FusegraphError: E640 for an unknown option or a wrong value; all at once.
    """
    try:
        return settings.model_validate(dict(options))
    except ValidationError as error:
        raise FusegraphError(
            [
                Diagnostic(
                    code="E640",
                    message=f"unknown option `{problem.unknown}`"
                    if problem.unknown
                    else f"option `{problem.path}`: {problem.message}"
                    if problem.path
                    else problem.message,
                    place=f"--option {problem.path}" if problem.path else "--option",
                    help=nearest(problem.unknown, problem.known),
                )
                for problem in problems_of(error, settings)
            ]
        ) from None
