"""A file for HDF5 to write into that never fails: a full disk is an error told afterwards.

HDF5 may crash the process when a write of its own fails, whatever is caught. Knows no format.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from yuzu_cli.files import write_all


class Sink(io.FileIO):
    """A new file for h5py's ``fileobj`` driver that never fails; see `failure` afterwards.

    Holds what comes after the first failure in memory, so the caller stops soon: `new_hdf5` has it
    looked after with every batch.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x+")
        self.failure: BaseException | None = None
        self._end = 0
        self._kept: list[tuple[int, bytes]] = []

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
