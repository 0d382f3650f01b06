"""Weights into the fused weights of `compiler/fusion`, and back: two functions of state dicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...compiler.fusion.packing import Packing, Piece, Span


def pack(
    packing: Packing, state: Mapping[str, Tensor], like: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The state of the fused module from that of the plain one.

    `like` is a state of the fused module, which gives the shapes. Raises KeyError for a weight
    that `state` has not.
    """
    packed: dict[str, Tensor] = {}
    for name, target in like.items():
        pieces = packing.pieces.get(name)
        if pieces is None:
            packed[name] = state[name].clone()
            continue
        fused = torch.empty_like(target)
        for piece in pieces:
            part = _part(state[piece.source], piece.take)
            if piece.shape:
                part = part.reshape(piece.shape)
            if piece.axes:
                part = part.permute(piece.axes)
            _part(fused, piece.at).copy_(part)
        packed[name] = fused
    return packed


def unpack(
    packing: Packing, state: Mapping[str, Tensor], like: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The state of the plain module from that of the fused one; `like` gives the plain shapes.

    Weights of `like` that are dead in the fused graph, and lie nowhere in it, are not in the
    result.
    """
    kept = [name for name in like if name in state and name not in packing.pieces]
    plain = {name: state[name].clone() for name in kept}
    for name, pieces in packing.pieces.items():
        for piece in pieces:
            if piece.source not in like:
                continue
            source = plain.get(piece.source)
            if source is None:
                source = plain[piece.source] = torch.empty_like(like[piece.source])
            _put_back(piece, _part(state[name], piece.at), source)
    return plain


def _put_back(piece: Piece, part: Tensor, source: Tensor) -> None:
    if piece.axes:
        part = part.permute([piece.axes.index(axis) for axis in range(len(piece.axes))])
    place = _part(source, piece.take)
    place.copy_(part.reshape(place.shape))


def _part(tensor: Tensor, spans: Sequence[Span]) -> Tensor:
    """The part of these spans, a view; all of an axis is not cut, which saves a step."""
    for axis, (start, stop) in enumerate(spans):
        if stop - start != tensor.size(axis):
            tensor = tensor.narrow(axis, start, stop - start)
    return tensor
