"""Finished batches on disk, until the file is whole: append-only logs, one writer each.

A process appends only to logs it created itself, so that two processes on one output, which no lock
can rule out on every file system, never touch the same bytes. A batch is there when its record is
whole, by checksum; a torn or damaged one is as if it had never been written. The number of files
grows with the bytes and with the restarts, never with the number of batches.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yuzu_cli.errors import OutputError
from yuzu_cli.files import disk_errors, remove, sync_folder, token, write_all

PREFIX, SUFFIX = "batches-", ".log"
#: A log is closed at this size and the next one begun.
SEGMENT_BYTES = 1 << 30

_MAGIC = b"YUZUBAT1"
# magic, bytes of the header, bytes of the payload, checksum of the payload, checksum of the header
_HEAD = struct.Struct("<8sIQII")
_STEP = 1 << 22


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one finished batch stands: its record is `size` bytes from `offset` of `path`."""

    path: Path
    offset: int
    batch: int
    rows: int
    size: int


class SegmentWriter:
    """Appends records to logs of its own in `folder`. Not for several threads at once."""

    def __init__(self, folder: Path, run_id: str, limit: int | None = None) -> None:
        self._folder, self._run_id = folder, run_id
        self._limit = SEGMENT_BYTES if limit is None else limit
        self._fd = -1
        self._path = folder
        self._size = 0

    def append(self, batch: int, rows: int, header: dict[str, Any], parts: list[bytes]) -> Entry:
        """Write one batch; on return it will survive a crash of the machine.

        Parameters
        ----------
        batch, rows : int
        header : dict
            What `read_header` gives back; JSON.
        parts : list of bytes
            The payload, in pieces.

        Raises
        ------
        OutputError
            When it could not be written; what was written of it has been cut off again.
        """
        facts = {"run_id": self._run_id, "batch": batch, "rows": rows, **header}
        text = json.dumps(facts, separators=(",", ":")).encode()
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(part, checksum)
        length = sum(len(part) for part in parts)
        head = _HEAD.pack(_MAGIC, len(text), length, checksum, zlib.crc32(text))
        with disk_errors(self._folder):
            if self._fd < 0 or self._size >= self._limit:
                self._open_next()
            try:
                write_all(self._fd, head + text)
                for part in parts:
                    write_all(self._fd, part)
                os.fsync(self._fd)
            except OSError:
                self._cut()
                raise
        size = len(head) + len(text) + length
        entry = Entry(self._path, self._size, batch, rows, size)
        self._size += size
        return entry

    def close(self) -> None:
        """Close the current log. No records are pending: each was synced on its own."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open_next(self) -> None:
        self.close()
        self._path = self._folder / f"{PREFIX}{token()}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._fd, self._size = os.open(self._path, flags, 0o666), 0
        sync_folder(self._folder)

    def _cut(self) -> None:
        """Give back the space of a half-written record, which a later run could not use."""
        try:
            os.ftruncate(self._fd, self._size)
            if self._size == 0:
                remove(self._path)
        except OSError:
            pass  # Only tidying: a reader leaves a torn record aside by itself.
        self.close()


def log_files(folder: Path) -> list[Path]:
    """The logs in `folder`, of whatever run."""
    return sorted(folder.glob(f"{PREFIX}*{SUFFIX}"))


def scan(folder: Path, run_id: str, verify: bool = True) -> dict[int, Entry]:
    """Every whole batch of run `run_id` by its number, without damaged ones and other runs'.

    Parameters
    ----------
    folder : Path
    run_id : str
    verify : bool
        Read everything and check it; False only looks where records begin and end.
    """
    found: dict[int, Entry] = {}
    for path in log_files(folder):
        with disk_errors(path):
            for entry in _scan_log(path, run_id, verify):
                found.setdefault(entry.batch, entry)
    return found


def _scan_log(path: Path, run_id: str, verify: bool) -> Iterator[Entry]:
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        offset = 0
        while (head := _read_head(file, offset, size)) is not None:
            facts, start, length, checksum = head
            good = not verify or _checksum(file, start, length) == checksum
            if good and facts["run_id"] == run_id:
                yield Entry(path, offset, facts["batch"], facts["rows"], start + length - offset)
            offset = start + length


def _read_head(file: Any, offset: int, size: int) -> tuple[dict[str, Any], int, int, int] | None:
    """Header, payload's start, length and checksum; None at the end or where the log is torn."""
    file.seek(offset)
    raw = file.read(_HEAD.size)
    if len(raw) < _HEAD.size:
        return None
    magic, text_length, length, checksum, text_checksum = _HEAD.unpack(raw)
    start = offset + _HEAD.size + text_length
    if magic != _MAGIC or start + length > size:
        return None
    text = file.read(text_length)
    if zlib.crc32(text) != text_checksum:
        return None
    return json.loads(text), start, length, checksum


def _checksum(file: Any, start: int, length: int) -> int:
    file.seek(start)
    checksum = 0
    while length > 0:
        data = file.read(min(_STEP, length))
        if not data:
            return -1
        checksum = zlib.crc32(data, checksum)
        length -= len(data)
    return checksum


class PayloadReader:
    """Reads one record's payload from front to back, and checks it on the way."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        with disk_errors(entry.path):
            self._file = open(entry.path, "rb")  # noqa: SIM115 - closed by close()
            head = _read_head(self._file, entry.offset, os.path.getsize(entry.path))
        if head is None:
            self._file.close()
            raise self._damaged()
        self.header, start, self._left, self._expected = head
        self._checksum = 0
        self._file.seek(start)

    def _damaged(self) -> OutputError:
        what = f"batch {self._entry.batch} is damaged"
        return OutputError(
            os.fspath(self._entry.path), what, "run the same command again to recompute it"
        )

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        with disk_errors(self._entry.path):
            data = self._file.read(length)
        if len(data) != length:
            raise self._damaged()
        self._checksum = zlib.crc32(data, self._checksum)
        self._left -= length
        return data

    def close(self) -> None:
        """Close; raises if the payload was read whole and is not what was written."""
        self._file.close()
        if self._left == 0 and self._checksum != self._expected:
            raise self._damaged()

    def __enter__(self) -> PayloadReader:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()
