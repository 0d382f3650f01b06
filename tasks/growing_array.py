"""An `.npy` file that grows batch by batch, and that can be taken up again where it was."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_CHUNK_BYTES = 16 << 20


class GrowingArray:
    """The file is unbuffered: what was added outlives the process, though not yet a power cut.

    numpy pads a header so that its first axis can grow to 21 digits in place.
    """

    def __init__(
        self,
        file: Path,
        shape: tuple[int, ...],
        dtype: str,
        *,
        samples: int = 0,
        checksum: int = 0,
    ) -> None:
        """A new file, or with `samples` one that was begun; what follows those samples is cut off.

        Args:
            file: its folder is made if need be.
            shape: of one sample.
            dtype: as numpy names it.
            samples: how many are kept of a file that was begun; see `check_kept`.
            checksum: CRC-32 of their bytes.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.samples = samples
        self.checksum = checksum
        self._synced = samples
        self._stream = cast("BinaryIO", file.open("r+b" if samples else "wb", buffering=0))
        if samples:
            row = int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
            end = len(self._header()) + samples * row
            self._stream.truncate(end)
            self._stream.seek(end)
        else:
            write_all(self._stream, self._header())

    def _header(self) -> bytes:
        return _header(self.shape, self.dtype, self.samples)

    def add(self, batch: Array) -> None:
        """Appends samples."""
        rows = np.ascontiguousarray(batch, dtype=self.dtype)
        data = rows.reshape(-1).view(np.uint8).data
        write_all(self._stream, data)
        self.checksum = zlib.crc32(data, self.checksum)
        self.samples += len(rows)

    def kept(self) -> Array:
        """All samples so far, as a memory map."""
        return _kept(self.file, self.shape, self.dtype, self.samples)

    def sync(self) -> None:
        """What was added outlives a power cut from here on."""
        if self._synced != self.samples:
            os.fsync(self._stream.fileno())
            self._synced = self.samples

    def close(self) -> None:
        """Ends the file: its header says how many samples there are."""
        self._stream.seek(0)
        write_all(self._stream, self._header())
        os.fsync(self._stream.fileno())
        self._synced = self.samples
        self._stream.close()

    def abandon(self) -> None:
        """Closes the file as it is."""
        self._stream.close()


def check_kept(
    file: Path, shape: tuple[int, ...], dtype: str, samples: int, checksum: int
) -> tuple[str, list[Array]]:
    """What is wrong with the first samples of a file that was begun, or the empty text.

    They are all read, in bounded memory. Also answers views of them, for checks of the values.
    """
    try:
        array = _kept(file, shape, np.dtype(dtype), samples)
    except (OSError, ValueError, OverflowError) as error:
        return f"{samples} samples are not all there: {error}", []
    step = max(1, _CHUNK_BYTES // max(1, array.nbytes // samples))
    chunks = [array[start : start + step] for start in range(0, samples, step)]
    found = 0
    for chunk in chunks:
        found = zlib.crc32(chunk.reshape(-1).view(np.uint8).data, found)
    return ("" if found == checksum else "its bytes are not those that were written"), chunks


def _kept(file: Path, shape: tuple[int, ...], dtype: np.dtype[Any], samples: int) -> Array:
    offset = len(_header(shape, dtype, samples))
    return np.memmap(file, dtype, mode="r", offset=offset, shape=(samples, *shape))


def _header(shape: tuple[int, ...], dtype: np.dtype[Any], samples: int) -> bytes:
    stream = io.BytesIO()
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (samples, *shape),
    }
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def write_all(stream: BinaryIO, data: bytes | memoryview) -> None:
    """Writes all of it: an unbuffered file may take less at a time."""
    rest = memoryview(data)
    while len(rest):
        rest = rest[stream.write(rest) :]
