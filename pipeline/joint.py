"""What a run says of the further data sets that trained its network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..searchers.protocol import PLAIN_SCORE
from ..tasks.joint import MAIN
from .heads import VALID_OF
from .price import plain_score
from .tasks import Prepared, folder_of


def joint_identity(prepared: Prepared) -> dict[str, Any]:
    """What a run is a function of, of the further data sets; nothing where there are none."""
    found: dict[str, Any] = {}
    for output, data in prepared.others.items():
        folder = folder_of(data)
        manifest = None if folder is None else folder.manifest
        found[output] = {
            "splits": None if manifest is None else dict(manifest.splits),
            "classes": None if manifest is None else manifest.labels.classes,
        }
    return {"joint": found} if found else {}


def valid_of(score: float, figures: Mapping[str, float]) -> float:
    """The validation score of the main data set, of the score and the figures of a trial."""
    return figures.get(f"{VALID_OF}{MAIN}", plain_score(score, figures))


def others_of(figures: Mapping[str, float]) -> dict[str, float]:
    """The validation scores of the further data sets by output, of the figures of a trial."""
    found = {name: v for name, v in figures.items() if name.startswith(VALID_OF)}
    each = {name.removeprefix(VALID_OF): score for name, score in found.items()}
    return {output: score for output, score in each.items() if output != MAIN}


def of_the_network(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures of a trial but for its validation scores."""
    return {
        name: value
        for name, value in figures.items()
        if name != PLAIN_SCORE and not name.startswith(VALID_OF)
    }
