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
from typing import TextIO

import h5py
import numpy as np
from numpy.lib import format as npy

from yuzu_cli.errors import OutputError
from yuzu_cli.files import size_text
from yuzu_cli.results.sink import Sink


@contextmanager
def new_hdf5(path: Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """An HDF5 file to write, and a function that raises what went wrong on the disk so far.

    HDF5 itself never meets the disk's failures: it may crash the process over them. So the function
    is to be called after every batch.
    """
    sink = Sink(path)

    def check() -> None:
        if sink.failure is not None:
            raise sink.failure

    try:
        with h5py.File(sink, "w") as file:
            yield file, check
        check()
        os.fsync(sink.fileno())
    finally:
        sink.close()


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

    def add(
        self, key: str, shape: tuple[int, ...], dtype: np.dtype, pieces: Iterable[np.ndarray]
    ) -> None:
        """Write one array; `pieces` joined along axis 0 make up `shape`."""
        rows = 0
        with self.open(f"{key}.npy", "w", force_zip64=True) as member:
            header = {"descr": npy.dtype_to_descr(np.dtype(dtype)), "shape": shape}
            npy.write_array_header_1_0(member, header | {"fortran_order": False})
            for piece in pieces:
                rows += len(piece)
                member.write(np.ascontiguousarray(piece, dtype=dtype).data.cast("B"))
        if shape and rows != shape[0]:
            raise AssertionError(f"{key}: {rows} rows written where {shape[0]} were announced")

    def add_whole(self, key: str, array: np.ndarray) -> None:
        """Write one array that is small enough to be in memory."""
        with self.open(f"{key}.npy", "w", force_zip64=True) as member:
            npy.write_array(member, array, allow_pickle=False)
