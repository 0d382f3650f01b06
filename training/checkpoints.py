"""Checkpoints: the weights of a network, and enough text to know which network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from ..ir.diagnostics import Diagnostic, FusegraphError
from .containers import read_container, write_container


class CheckpointHeader(BaseModel):
    """What a checkpoint says about itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    holds: Literal["weights"] = "weights"
    genotype: str = ""
    """The genotype's text; empty for a network without decisions."""
    space_digest: str = ""
    network_digest: str = ""
    class_names: tuple[str, ...] = ()
    settings: dict[str, object] = {}
    """The training settings, as plain values."""
    preprocessing: dict[str, object] = {}
    """What is done to raw features before they are the network's inputs."""
    scores: dict[str, float] = {}
    """What was measured, by name: `valid_accuracy`."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded checkpoint, on the CPU."""

    file: Path
    header: CheckpointHeader
    tensors: dict[str, Tensor] = field(repr=False)


def save_checkpoint(file: str | Path, module: nn.Module, header: CheckpointHeader) -> None:
    """Writes the module's `state_dict` and the header, atomically."""
    write_container(Path(file), header.model_dump(mode="json"), module.state_dict())


def load_checkpoint(
    file: str | Path, *, space_digest: str = "", network_digest: str = ""
) -> Checkpoint:
    """Reads a checkpoint; where a digest is given, only one of that space or network.

    Raises:
        FusegraphError: E702 where it is missing, truncated or foreign, E703 where it belongs to
            another space or network.
    """
    path = Path(file)
    raw, tensors = read_container(path, "a checkpoint")
    try:
        header = CheckpointHeader.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(step) for step in first["loc"])
        raise FusegraphError(
            Diagnostic(
                code="E702",
                message=f"expected a checkpoint, found a header whose `{key}` is wrong: "
                f"{first['msg']}",
                place=str(path),
                help="give a checkpoint that this version of `fusegraph train` wrote",
            )
        ) from None
    for what, wanted, found in (
        ("space", space_digest, header.space_digest),
        ("network", network_digest, header.network_digest),
    ):
        if wanted and wanted != found:
            raise FusegraphError(
                Diagnostic(
                    code="E703",
                    message=f"the checkpoint belongs to another {what}: expected digest "
                    f"{wanted}, found {found or 'none'}",
                    place=str(path),
                    notes=(f"its genotype is:\n{header.genotype}",) if header.genotype else (),
                    help=f"give the {what} that it was trained with, or train again",
                )
            )
    return Checkpoint(path, header, tensors)


def load_weights(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Puts a checkpoint's weights into a module of the same names and shapes.

    Raises:
        FusegraphError: E703 naming the tensors that are missing, too many, or of another shape.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in checkpoint.tensors.items()}
    wrong = [
        f"`{name}`: expected {_shape(wanted.get(name))}, found {_shape(found.get(name))}"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise FusegraphError(
            Diagnostic(
                code="E703",
                message=f"the checkpoint's weights are those of another network: "
                f"{'; '.join(wrong[:3])}{more}",
                place=str(checkpoint.file),
                help="give the genotype and the space that it was trained with, or train again",
            )
        )
    module.load_state_dict(checkpoint.tensors)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else str(list(shape))
