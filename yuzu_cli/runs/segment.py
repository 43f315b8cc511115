"""A result that grows: rows are appended, safe at every commit, and it is a valid file once sealed.

Chunks go straight into the file, where they stay. A log beside it holds, for every commit, where
the chunks are, the rows that do not fill a chunk yet, and a checksum: with it a segment that was
left behind is gone on with. A process writes only to segments of its own, and to such whose
writer is known to be gone, so two on one output never touch the same bytes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from isal.isal_zlib import crc32

from yuzu_cli.files import (
    disk_errors,
    remove,
    sync_folder,
    token,
    whole_file,
    write_all,
    write_atomically,
)
from yuzu_cli.runs.columns import Column, Rows, table_of
from yuzu_cli.runs.hdf5_index import connect, put_index
from yuzu_cli.runs.lock import is_gone, this_process
from yuzu_cli.runs.log import DATA, LOG, SEALED, Log, read_log, whole_records
from yuzu_cli.runs.run_info import RunInfo
from yuzu_cli.runs.skeleton import Layouts, skeleton

#: Pieces are held until they are as much together: a large one is written at once, and not copied.
BUFFER = 1 << 16


class Segment:
    """Made by `create` or `resume`; not for several threads at once.

    It has `rows` rows and `size` bytes so far, and answers for the input records from `start` to
    `stop`; those before `safe_stop` are safe on disk. `columns` are the datasets that it holds
    itself, by path.
    """

    def __init__(
        self, stem: Path, info: RunInfo, start: int, reserved: int, linked: Layouts
    ) -> None:
        self._stem, self._info, self._linked = stem, info, linked
        self.start = self.stop = self.safe_stop = start
        self.rows = 0
        self.size = self._written = self._safe_size = self._reserved = reserved
        own = [dataset for dataset in info.row_datasets if dataset.path not in linked]
        self.columns = {dataset.path: Column(dataset, info, self.put) for dataset in own}
        self._held: list[bytes] = []
        self._checksum = 0
        self._fd = -1
        self._log: Log

    @classmethod
    def create(
        cls, folder: Path, run_id: str, info: RunInfo, start: int, linked: Layouts | None = None
    ) -> Segment:
        """A new one, from record `start` on; the rows of `linked` datasets are elsewhere."""
        linked = linked or {}
        stem = folder / f"{run_id}-{token()}"
        segment = cls(stem, info, start, _reserve(info, linked), linked)
        return segment._open(0, run_id=run_id, start=start, reserved=segment.size)

    @classmethod
    def resume(cls, log: Path, run_id: str, info: RunInfo) -> Segment | None:
        """Go on with a segment that was left behind, given by its log; None if nothing is in it.

        Where its writer may still be alive, with a copy of it.
        """
        segment, free, size = None, False, 0
        with suppress(FileNotFoundError):
            for facts, end in whole_records(log):
                size = end
                if segment is None:
                    if facts.get("run_id") != run_id:
                        return None
                    start, reserved = facts["start"], facts["reserved"]
                    segment = cls(log.with_suffix(""), info, start, reserved, {})
                if "owner" in facts:
                    free = facts["owner"] is None or is_gone(facts["owner"])
                if "columns" in facts:
                    segment._recall(facts)
        if segment is None or segment.stop == segment.start:
            return None
        if not free:
            segment._stem = log.with_name(f"{run_id}-{token()}")
            with disk_errors(log.parent), whole_file(segment._file(DATA)) as copy:
                shutil.copyfile(log.with_suffix(DATA), copy)
            write_atomically(segment._file(LOG), log.read_bytes()[:size])
        return segment._open(size)

    def _recall(self, facts: dict[str, Any]) -> None:
        """Take up what a commit told."""
        for path, news in facts["columns"].items():
            self.columns[path].recall(news)
        self.stop = self.safe_stop = facts["stop"]
        self.size = self._written = self._safe_size = facts["end"]
        self.rows = facts["rows"]

    def _open(self, log_size: int, **facts: object) -> Segment:
        """Open both files, after `log_size` bytes of the log, as their owner."""
        with disk_errors(self._stem.parent):
            self._fd = os.open(self._file(DATA), os.O_RDWR | os.O_CREAT, 0o666)
            os.ftruncate(self._fd, self.size)
            self._log = Log(self._file(LOG), log_size)
            self._log.append({**facts, "owner": this_process()})
            sync_folder(self._stem.parent)
        return self

    def files(self) -> list[Path]:
        """The two that it grows in."""
        return [self._file(DATA), self._file(LOG)]

    def _file(self, ending: str) -> Path:
        return self._stem.with_name(self._stem.name + ending)

    # --- writing ------------------------------------------------------------------------------

    def append(self, stop: int, rows: Rows) -> None:
        """Add the rows of the records up to `stop`; safe on disk after the next `commit`.

        They are as `check_rows` gives them and `begin_chunks` hands them on.
        """
        for path, column in self.columns.items():
            column.take(rows[path])
        self.advance(stop, len(rows["regions/input_index"]))

    def advance(self, stop: int, n: int) -> None:
        """Count `n` rows, up to record `stop`, that have been added column by column."""
        self.rows += n
        self.stop = stop

    def put(self, data: bytes) -> int:
        """Add bytes at the end; where they stand."""
        at = self.size
        self._held.append(data)
        self.size += len(data)
        if self.size - self._written > BUFFER:
            self._flush()
        return at

    def _flush(self) -> None:
        data = b"".join(self._held)
        with disk_errors(self._stem.parent):
            self._written = write_all(self._fd, data, self._written)
        self._checksum = crc32(data, self._checksum)
        self._held.clear()

    def commit(self) -> None:
        """Make all of it safe: on return it survives a crash of the machine."""
        if self.stop == self.safe_stop:
            return
        self._flush()
        with disk_errors(self._stem.parent):
            os.fsync(self._fd)
            self._log.append(
                {
                    "stop": self.stop,
                    "rows": self.rows,
                    "end": self.size,
                    "checksum": self._checksum,
                    "columns": {path: column.news() for path, column in self.columns.items()},
                }
            )
        for column in self.columns.values():
            column.committed()
        self.safe_stop, self._safe_size, self._checksum = self.stop, self.size, 0

    @property
    def uncommitted(self) -> int:
        """Bytes that are not safe yet."""
        return self.size - self._safe_size

    def seal(self) -> Path:
        """Complete the file and close it; its path, in the folder of the segment."""
        self.commit()
        info = replace(self._info, record_start=self.start, record_stop=self.stop)
        for column in self.columns.values():
            column.finish(self.rows)
        checksums = {p: c.checksum for p, c in self.columns.items() if c.whole and self.rows}
        mended = self.columns["regions/status"].mended
        image, places = skeleton(info, self.rows, self._linked, checksums, mended)
        addresses = {place: self._put_index(path) for path, place in places.items()}
        assert self.size == self._reserved or len(image) <= self._reserved
        self.size = max(self.size, len(image))
        connect(image, addresses, self.size)
        self._flush()
        with disk_errors(self._stem.parent):
            write_all(self._fd, image)
            os.ftruncate(self._fd, self.size)
            os.fsync(self._fd)
            os.replace(self._file(DATA), self._file(SEALED))
            sync_folder(self._stem.parent)
        self._shut()
        remove(self._file(LOG))
        return self._file(SEALED)

    def _put_index(self, path: str) -> int:
        column = self.columns[path]
        shape, chunk = self._info.shape_of(column.dataset, self.rows), column.chunk(self.rows)
        return put_index(shape, chunk, column.dtype.itemsize, self._table(path), self.put)

    def _table(self, path: str) -> Iterator[np.ndarray]:
        """The chunks of a dataset, as the log tells; the last ones are known to the column."""
        for facts, _ in read_log(self._file(LOG)):
            if "columns" in facts:
                yield table_of(facts["columns"][path])
        yield table_of(self.columns[path].news())

    def close(self) -> None:
        """Let go of it, as it was at the last commit, for whoever goes on with it."""
        if self._fd < 0:
            return
        with disk_errors(self._stem.parent):
            try:
                os.ftruncate(self._fd, self._safe_size)
                self._log.append({"owner": None})
            finally:
                self._shut()

    def _shut(self) -> None:
        os.close(self._fd)
        self._log.close()
        self._fd = -1


def _reserve(info: RunInfo, linked: Layouts) -> int:
    """Bytes kept free at the start of a segment for what HDF5 puts there; a multiple of 4096."""
    # All of it is known but some numbers: as large now as at the end, and a quarter to spare.
    size = len(skeleton(info, 1, linked, {})[0])
    return -(-(size + size // 4) // 4096) * 4096
