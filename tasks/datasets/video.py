"""Frames from videos and image files, by OpenCV: chosen, resized, as numbers.

All come out as float32 (channels, frames, height, width), colours as red, green, blue.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import library, undecodable

Array = NDArray[Any]
COUNTED_WRONG = 2
"""A decoder may find so many frames less than a video's header says."""


def open_cv() -> Any:
    """OpenCV, silent: what it cannot decode is told by our own errors.

    Raises:
        FusegraphError: E641 where it is not installed.
    """
    cv2: Any = library("cv2", "opencv-python-headless")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def evenly(frames: int, wanted: int) -> list[int]:
    """`wanted` positions among `frames`, from the first to the last, rounded down."""
    return np.linspace(0, frames - 1, wanted).astype(int).tolist()


def central(frames: Sequence[int], wanted: int) -> list[int]:
    """`wanted` frames in a row around the middle; a shorter clip starts again from its front."""
    start = max(0, len(frames) // 2 - wanted // 2)
    chosen = list(frames[start : start + wanted])
    return [chosen[i % len(chosen)] for i in range(wanted)]


def read_video(file: Path, wanted: int, size: int) -> Array:
    """(3, wanted, size, size) of 0..255: frames taken evenly, each resized as a whole.

    Every frame up to the last that is wanted is decoded, since seeking is not exact, but one is in
    memory at a time.

    Raises:
        FusegraphError: E644 where the file is no video, or ends before its header says.
    """
    cv2 = open_cv()
    if not file.is_file():
        raise undecodable(file, "expected a video, found no file")
    video = cv2.VideoCapture(str(file))
    try:
        frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
        if frames < 1:
            raise undecodable(
                file, f"expected a video, found {file.stat().st_size} bytes that hold no frame"
            )
        chosen = evenly(frames, wanted)
        taken: dict[int, Array] = {}
        decoded = 0
        while decoded <= chosen[-1] and video.grab():
            if decoded in chosen or decoded >= frames - 1 - COUNTED_WRONG:
                good, frame = video.retrieve()
                if not good:
                    break
                taken[decoded] = _resized(cv2, frame, size, size)
            decoded += 1
    finally:
        video.release()
    if not taken or decoded < frames - COUNTED_WRONG:
        raise undecodable(file, f"expected {frames} frames, as its header says, found {decoded}")
    pictures = [taken[min(index, decoded - 1)] for index in chosen]
    return _as_clip(pictures)


def read_frames(files: Sequence[Path], size: int, colours: Literal[1, 3]) -> Array:
    """(colours, files, size, size) of 0..255: the shorter side becomes `size`, the centre is kept.

    Raises:
        FusegraphError: E644 where a file is missing or no image.
    """
    cv2 = open_cv()
    how = cv2.IMREAD_COLOR if colours == 3 else cv2.IMREAD_GRAYSCALE
    decoded: dict[Path, Array] = {}
    for file in files:
        if file in decoded:
            continue
        try:
            content = np.fromfile(file, dtype=np.uint8)
        except OSError as error:
            raise undecodable(file, f"expected a frame, found none: {error.strerror}") from None
        image = cv2.imdecode(content, how) if len(content) else None
        if image is None:
            raise undecodable(file, f"expected an image, found {len(content)} bytes that hold none")
        decoded[file] = _centre(cv2, image, size)
    return _as_clip([decoded[file] for file in files])


def _centre(cv2: Any, image: Array, size: int) -> Array:
    height, width = image.shape[:2]
    scale = size / min(height, width)
    rows, columns = max(size, round(height * scale)), max(size, round(width * scale))
    resized = _resized(cv2, image, rows, columns)
    top, left = (rows - size) // 2, (columns - size) // 2
    return resized[top : top + size, left : left + size]


def _resized(cv2: Any, image: Array, height: int, width: int) -> Array:
    smaller = height < image.shape[0] or width < image.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=how)


def _as_clip(pictures: Sequence[Array]) -> Array:
    """(frames, height, width[, blue green red]) of bytes to (channels, frames, height, width)."""
    stacked = np.stack(pictures).astype(np.float32)
    if stacked.ndim == 3:
        return stacked[None]
    return np.ascontiguousarray(stacked[..., ::-1].transpose(3, 0, 1, 2))
