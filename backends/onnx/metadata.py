"""What an exported file knows about itself beside the graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from .problems import problem

PREFIX = "fusegraph."
"""Our keys among a file's `metadata_props` start so."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What goes into the file's `metadata_props`, each under `fusegraph.` and its name.

    `space` is the name of the search space (the network's own where it is empty), `genotype` the
    text of the genotype file, `classes` the names of the classes in the order of the logits,
    `preprocessing` what was done to each input, in terms that JSON can say. `lower` fills in the
    `digest` of the network, the `version` of fusegraph, and `batch`: the named size that counts
    samples which do not depend on one another, empty where there is none.
    """

    space: str = ""
    genotype: str = ""
    classes: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict[str, Any])
    digest: str = ""
    version: str = ""
    batch: str = ""

    def as_properties(self) -> dict[str, str]:
        """Text by key, as the file stores it."""
        return {
            f"{PREFIX}version": self.version,
            f"{PREFIX}digest": self.digest,
            f"{PREFIX}space": self.space,
            f"{PREFIX}genotype": self.genotype,
            f"{PREFIX}classes": json.dumps(list(self.classes), ensure_ascii=False),
            f"{PREFIX}preprocessing": json.dumps(
                dict(self.preprocessing), ensure_ascii=False, sort_keys=True
            ),
            f"{PREFIX}batch": self.batch,
        }


def from_properties(properties: Mapping[str, str], place: str) -> Metadata:
    """What `as_properties` stored. Raises FusegraphError E726 where the file is not ours."""
    if not properties.get(f"{PREFIX}digest"):
        raise problem(
            "E726",
            "this ONNX file was not exported by fusegraph: it names no digest of a network",
            place,
            help="export the network again with `fusegraph export`",
        )
    try:
        classes = json.loads(properties.get(f"{PREFIX}classes", "[]"))
        preprocessing = json.loads(properties.get(f"{PREFIX}preprocessing", "{}"))
    except ValueError as error:
        raise _damaged(place, str(error)) from error
    if not isinstance(classes, list) or not isinstance(preprocessing, dict):
        raise _damaged(place, "classes are a list, preprocessing is an object")
    text = {
        name: properties.get(f"{PREFIX}{name}", "")
        for name in ("space", "genotype", "digest", "version", "batch")
    }
    return Metadata(
        classes=tuple([str(name) for name in cast("list[object]", classes)]),
        preprocessing=cast("dict[str, Any]", preprocessing),
        **text,
    )


def _damaged(place: str, reason: str) -> Exception:
    return problem(
        "E726",
        f"the metadata of this ONNX file cannot be read: {reason}",
        place,
        help="export the network again with `fusegraph export`",
    )
