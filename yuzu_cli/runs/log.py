"""The log beside a segment that grows: what in its data is safe, and whose it is.

Append-only records, lines of JSON with checksums; a torn or damaged one ends what is there. A
segment that was left behind is known by it: how much is whole, and whether its writer is known to
be gone.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from isal.isal_zlib import crc32

from yuzu_cli.files import write_all
from yuzu_cli.runs.lock import is_gone

#: The two files of a segment that grows, and the one it becomes.
DATA, LOG, SEALED = ".data", ".log", ".h5"
#: How much of the end of the data is compared with its checksums, and how much is read at a time.
CHECKED, _READ = 1 << 30, 1 << 22


class Log:
    """Open for appending; records reach the disk one by one."""

    def __init__(self, path: Path, flags: int, size: int = 0) -> None:
        self._fd = os.open(path, os.O_WRONLY | flags, 0o666)
        self._size = size
        self.good = True
        if not flags & os.O_EXCL:
            os.ftruncate(self._fd, size)

    def append(self, facts: dict[str, Any]) -> None:
        """Write a record durably. After an OSError the log ends before it, and is not `good`."""
        line = _line(json.dumps(facts, separators=(",", ":")).encode())
        try:
            self._size = write_all(self._fd, line, self._size)
            os.fsync(self._fd)
        except OSError:
            self.good = False
            raise

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


@dataclass(slots=True)
class LeftBehind:
    """What the log of a segment tells: the rows that it has of records [start, stop).

    `reserved` are bytes kept free at the start of the data, `log_size` those of the log that are
    good; `free` where its writer will not write to it any more, for certain.
    """

    start: int
    stop: int
    reserved: int
    rows: int = 0
    log_size: int = 0
    free: bool = False


def left_behind(log: Path, run_id: str, verify: bool = True) -> LeftBehind | None:
    """Look at the segment of a log; None when it is not of this run, or holds nothing.

    With `verify` the end of the data is compared with its checksums: what comes after damage is
    left out.
    """
    try:
        with open(log.with_suffix(DATA), "rb") as data:
            return _look(log, run_id, data, verify)
    except FileNotFoundError:
        return None


def _look(log: Path, run_id: str, data: BinaryIO, verify: bool) -> LeftBehind | None:
    found: LeftBehind | None = None
    length, at = os.fstat(data.fileno()).st_size, 0
    for facts, log_size in read_log(log):
        if facts["run_id"] != run_id or (found is None and "start" not in facts):
            return None
        if found is None:
            at = facts["reserved"]
            found = LeftBehind(facts["start"], facts["start"], at)
        if "end" in facts:
            end = facts["end"]
            late = verify and end > length - CHECKED
            if end > length or (late and _sum(data, at, end) != facts["checksum"]):
                break
            at, found.stop, found.rows = end, facts["stop"], facts["rows"]
        if "closed" in facts or "owner" in facts:
            found.free = "closed" in facts or is_gone(facts["owner"])
        found.log_size = log_size
    return found


def _sum(data: BinaryIO, start: int, end: int) -> int:
    checksum = 0
    data.seek(start)
    while start < end and (piece := data.read(min(_READ, end - start))):
        checksum = crc32(piece, checksum)
        start += len(piece)
    return checksum
