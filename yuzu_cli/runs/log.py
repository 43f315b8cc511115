"""The log beside a segment that grows: what in its data is safe, and whose it is.

Append-only records, lines of JSON with checksums; a torn or damaged one ends what is there. The
first tells the run and where the segment begins, those of commits what is safe, and `owner` who
writes to it, None once nobody does.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from isal.isal_zlib import crc32

from yuzu_cli.files import write_all

#: The two files of a segment that grows, and the one it becomes.
DATA, LOG, SEALED = ".data", ".log", ".h5"
#: How much of the end of the data is compared with its checksums, and how much is read at a time.
CHECKED, _READ = 1 << 30, 1 << 22


class Log:
    """Open for appending after its first `size` bytes; records reach the disk one by one."""

    def __init__(self, path: Path, size: int = 0) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        self._size = size
        os.ftruncate(self._fd, size)

    def append(self, facts: dict[str, Any]) -> None:
        """Write a record durably; after an OSError the next one takes its place."""
        line = _line(json.dumps(facts, separators=(",", ":")).encode())
        end = write_all(self._fd, line, self._size)
        os.fsync(self._fd)
        self._size = end

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


def _line(text: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(text), text)


def read_log(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Every whole record and where it ends, up to one that is torn or damaged."""
    end = 0
    with open(path, "rb") as file:
        for line in file:
            text = line[9:-1]
            if line != _line(text):
                return
            end += len(line)
            yield json.loads(text), end


def whole_records(log: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """The same, up to the first one whose data is not whole; a FileNotFoundError without data.

    The end of the data is compared with its checksums.
    """
    with open(log.with_suffix(DATA), "rb") as data:
        length, at = os.fstat(data.fileno()).st_size, 0
        for facts, size in read_log(log):
            at = facts.get("reserved", at)
            if "end" in facts:
                end = facts["end"]
                late = end > length - CHECKED
                if end > length or (late and _sum(data, at, end) != facts["checksum"]):
                    return
                at = end
            yield facts, size


def _sum(data: BinaryIO, start: int, end: int) -> int:
    checksum = 0
    data.seek(start)
    while start < end and (piece := data.read(min(_READ, end - start))):
        checksum = crc32(piece, checksum)
        start += len(piece)
    return checksum
