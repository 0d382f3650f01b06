"""The errors that several data sets share; each names the file, what was expected and found."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from ...ir.diagnostics import Diagnostic, FusegraphError


def library(name: str, package: str) -> ModuleType:
    """Imports a library of the extra `datasets` where it is first needed.

    Raises:
        FusegraphError: E641 where it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise FusegraphError(
            Diagnostic(
                code="E641",
                message=f"reading this data set needs `{package}`, which is not installed: {error}",
                place=name,
                help="install the extra: `pip install 'fusegraph[datasets]'`",
            )
        ) from None


def not_found(place: Path | str, message: str, advice: str) -> FusegraphError:
    """E642: the files of a data set are not where they are looked for."""
    return FusegraphError(
        Diagnostic(code="E642", message=message, place=str(place), help=advice),
    )


def malformed(file: Path, line: int, expected: str, found: str) -> FusegraphError:
    """E643: a line of a text file is not what its format says; lines count from 1."""
    return FusegraphError(
        Diagnostic(
            code="E643",
            message=f"expected {expected}, found {found}",
            place=f"{file}:{line}",
            help="unpack or download the file again; `--skip-broken` leaves such samples out",
        )
    )


def undecodable(file: Path, message: str) -> FusegraphError:
    """E644: a video or an image that cannot be decoded, or is not there."""
    return FusegraphError(
        Diagnostic(
            code="E644",
            message=message,
            place=str(file),
            help="unpack or download the file again; `--skip-broken` leaves such samples out",
        )
    )


def shown(text: str, length: int = 40) -> str:
    """A piece of a file for a message: quoted, and short."""
    text = text.strip()
    return repr(text if len(text) <= length else text[: length - 3] + "...")
