"""A file for HDF5 to write into that never fails: a full disk is an error told afterwards.

HDF5 may crash the process when a write of its own fails, whatever is caught. Knows no format.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any


class Sink(io.RawIOBase):
    """A file for h5py's ``fileobj`` driver that never fails; see `failure` afterwards.

    Holds what comes after the first failure in memory, so the caller stops soon: `Builder` looks
    after every chunk.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.failure: BaseException | None = None
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        self._at = 0
        self._end = 0
        self._kept: list[tuple[int, bytes]] = []

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        self._at = base + offset
        return self._at

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._put(self._at, view)
        self._at += len(view)
        self._end = max(self._end, self._at)
        return len(view)

    def _put(self, offset: int, view: memoryview) -> None:
        # BaseException: a KeyboardInterrupt that surfaces here must not reach HDF5 either.
        if self.failure is None:
            try:
                done = 0
                while done < len(view):
                    done += os.pwrite(self._fd, view[done:], offset + done)
                return
            except BaseException as error:
                self.failure = error
        self._kept.append((offset, bytes(view)))

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        view[:] = bytes(len(view))
        try:
            data = os.pread(self._fd, len(view), self._at)
            view[: len(data)] = data
        except BaseException as error:
            self.failure = self.failure or error
        for offset, kept in self._kept:
            low, high = max(offset, self._at), min(offset + len(kept), self._at + len(view))
            if low < high:
                view[low - self._at : high - self._at] = kept[low - offset : high - offset]
        self._at += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._end = self._at if size is None else size
        try:
            os.ftruncate(self._fd, self._end)
        except BaseException as error:
            self.failure = self.failure or error
        return self._end

    def sync(self) -> None:
        """To the disk for good; to be called when HDF5 has closed the file."""
        os.fsync(self._fd)

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()
