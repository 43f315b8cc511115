"""Writing hand-over files so that nothing half-written ever stands under the name asked for.

Everything is written under a temporary name in the folder of the result and renamed once complete.
Knows nothing of scores or regions.
"""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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


def write_hdf5(
    path: Path,
    rows: int,
    pieces: Iterable[Mapping[str, np.ndarray]],
    columns: Mapping[str, np.ndarray] | None = None,
) -> None:
    """An HDF5 file of datasets in pieces of some rows, which make up `rows`, and of whole columns.

    Gzip, in chunks of some rows, about 1 MiB. HDF5 itself never meets the disk's failures: they are
    looked for after every piece.
    """
    with Sink(path) as sink:
        with h5py.File(sink, "w") as file:
            done, size = 0, 0
            for piece in pieces:
                for name, values in piece.items():
                    if name not in file:
                        rest = values.shape[1:]
                        row = int(np.prod(rest)) * values.itemsize
                        chunk = (max(1, min(rows, (1 << 20) // max(1, row))), *rest)
                        packed = {"chunks": chunk, "compression": "gzip", "shuffle": True}
                        shape = (rows, *rest)
                        file.create_dataset(name, shape, values.dtype, **packed if rows else {})
                    size = len(values)
                    file[name][done : done + size] = values
                done += size
                sink.check()
            for name, column in (columns or {}).items():
                file[name] = column
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


def write_npz(path: Path, rows: int, arrays: Mapping[str, Iterable[np.ndarray]]) -> None:
    """An .npz of whole arrays, and of such in pieces of some rows, which make up `rows`.

    Of the latter only a piece is in memory. Members are deflated lightly: one-hot sequences shrink
    to a tenth, scores little.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for key, pieces in arrays.items():
            with file.open(f"{key}.npy", "w", force_zip64=True) as member:
                if isinstance(pieces, np.ndarray):
                    npy.write_array(member, pieces, allow_pickle=False)
                    continue
                for number, piece in enumerate(pieces):
                    if not number:
                        header = npy.header_data_from_array_1_0(piece[:0])
                        header |= {"fortran_order": False, "shape": (rows, *piece.shape[1:])}
                        npy.write_array_header_1_0(member, header)
                    member.write(np.ascontiguousarray(piece).tobytes())
