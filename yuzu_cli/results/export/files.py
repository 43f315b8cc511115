"""Writing hand-over files so that nothing half-written ever stands under the name asked for.

Everything is written under a temporary name in the folder of the result and renamed once complete.
Knows nothing of scores or regions.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import h5py
import numpy as np
from numpy.lib import format as npy

from yuzu_cli.errors import OutputError
from yuzu_cli.files import size_text, write_all


class Sink(io.FileIO):
    """A new file for h5py's ``fileobj`` driver that never fails; see `failure` afterwards.

    HDF5 may crash the process when a write of its own fails, whatever is caught. What comes after
    the first failure is held in memory, so the caller stops soon.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x+")
        self.failure: BaseException | None = None
        self._end = 0
        self._kept: list[tuple[int, bytes]] = []

    def check(self) -> None:
        """Raise what went wrong so far."""
        if self.failure is not None:
            raise self.failure

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return super().seek(offset + self._end if whence == io.SEEK_END else offset, whence % 2)

    def write(self, data: Any) -> int:
        view, at = memoryview(data).cast("B"), self.tell()
        # BaseException: a KeyboardInterrupt that surfaces here must not reach HDF5 either.
        try:
            if self.failure is None:
                write_all(self.fileno(), view, at)
        except BaseException as error:
            self.failure = error
        if self.failure is not None:
            self._kept.append((at, bytes(view)))
        self._end = max(self._end, self.seek(at + len(view)))
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view, at = memoryview(buffer).cast("B"), self.tell()
        view[:] = bytes(len(view))
        try:
            data = os.pread(self.fileno(), len(view), at)
            view[: len(data)] = data
        except BaseException as error:
            self.failure = self.failure or error
        for offset, kept in self._kept:
            low, high = max(offset, at), min(offset + len(kept), at + len(view))
            if low < high:
                view[low - at : high - at] = kept[low - offset : high - offset]
        self.seek(at + len(view))
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._end = self.tell() if size is None else size
        try:
            super().truncate(self._end)
        except BaseException as error:
            self.failure = self.failure or error
        return self._end


@contextmanager
def new_hdf5(path: Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """An HDF5 file to write, and a function that raises what went wrong on the disk so far.

    HDF5 itself never meets the disk's failures; so the function is to be called after every batch.
    """
    with Sink(path) as sink:
        with h5py.File(sink, "w") as file:
            yield file, sink.check
        sink.check()
        os.fsync(sink.fileno())


def check_space(path: Path, least: int) -> None:
    """Refuse at the start what cannot fit: `least` bytes is a lower bound of what will be written.

    Raises
    ------
    OutputError
        When the disk of `path` has fewer than `least` bytes free.
    """
    folder = path if path.is_dir() else path.parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < least:
        raise OutputError(
            str(path),
            f"the disk has {size_text(free)} free, and at least {size_text(least)} are needed",
            "free some space, or export fewer targets",
        )


@contextmanager
def open_text(path: Path, packed: bool) -> Iterator[TextIO]:
    """A text file to write, gzip when `packed`; UTF-8, and without the time in the gzip header."""
    if not packed:
        with path.open("w", encoding="utf-8") as file:
            yield file
        return
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=4, fileobj=raw, mtime=0) as stream,
        io.TextIOWrapper(stream, encoding="utf-8") as file,
    ):
        yield file


class NpzStream(zipfile.ZipFile):
    """An .npz written array by array and piece by piece, so that no array is ever whole in memory.

    Members are deflated lightly: one-hot sequences shrink to a tenth, scores little.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)

    @contextmanager
    def array(
        self, key: str, shape: tuple[int, ...], dtype: np.dtype
    ) -> Iterator[Callable[[np.ndarray], None]]:
        """What takes the next rows of one array, until all that `shape` announces are there."""
        rows = 0
        with self.open(f"{key}.npy", "w", force_zip64=True) as member:
            header = {"descr": npy.dtype_to_descr(np.dtype(dtype)), "shape": shape}
            npy.write_array_header_1_0(member, header | {"fortran_order": False})

            def add(piece: np.ndarray) -> None:
                nonlocal rows
                rows += len(piece)
                member.write(np.ascontiguousarray(piece, dtype=dtype).tobytes())

            yield add
        if rows != shape[0]:
            raise AssertionError(f"{key}: {rows} rows written where {shape[0]} were announced")

    def add(
        self, key: str, shape: tuple[int, ...], dtype: np.dtype, pieces: Iterable[np.ndarray]
    ) -> None:
        """Write one array; `pieces` joined along axis 0 make up `shape`."""
        with self.array(key, shape, dtype) as add:
            for piece in pieces:
                add(piece)

    def add_whole(self, key: str, array: np.ndarray) -> None:
        """Write one array that is small enough to be in memory."""
        with self.open(f"{key}.npy", "w", force_zip64=True) as member:
            npy.write_array(member, array, allow_pickle=False)
