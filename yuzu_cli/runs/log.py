"""The log beside a segment that grows: what in its data is safe, and whose it is.

Append-only records with checksums; a torn or damaged one ends what is there. A segment that was
left behind is known by it: how much is whole, and whether its writer is known to be gone.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from isal.isal_zlib import crc32

from yuzu_cli.files import write_all
from yuzu_cli.runs.lock import is_gone

#: The two files of a segment that grows, and the one it becomes.
DATA, LOG, SEALED = ".data", ".log", ".h5"
#: How much of the end of the data is compared with its checksums, and how much is read at a time.
CHECKED, _READ = 1 << 30, 1 << 22

_MAGIC = b"YUZULOG3"
# magic, bytes of the facts, bytes of the payload, checksum of both
_HEAD = struct.Struct("<8sIQI")


@dataclass(frozen=True, slots=True)
class Record:
    """Facts (JSON) and pieces of bytes; `end` is where it ends in the file it was read from."""

    facts: dict[str, Any]
    parts: list[bytes] = field(default_factory=list)
    end: int = 0


class Log:
    """Open for appending; records reach the disk one by one."""

    def __init__(self, path: Path, flags: int, size: int = 0) -> None:
        self._fd = os.open(path, os.O_WRONLY | flags, 0o666)
        self._size = size
        self.good = True
        if not flags & os.O_EXCL:
            os.ftruncate(self._fd, size)

    def append(self, record: Record) -> None:
        """Write a record durably. After an OSError the log ends before it, and is not `good`."""
        facts = {**record.facts, "lengths": [len(part) for part in record.parts]}
        text = json.dumps(facts, separators=(",", ":")).encode()
        payload = b"".join(record.parts)
        head = _HEAD.pack(_MAGIC, len(text), len(payload), zlib.crc32(payload, zlib.crc32(text)))
        try:
            self._size = write_all(self._fd, head + text + payload, self._size)
            os.fsync(self._fd)
        except OSError:
            self.good = False
            raise

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


def read_log(path: Path) -> Iterator[Record]:
    """Every whole record, from the first on, up to one that is torn or damaged."""
    with open(path, "rb") as file:
        while len(raw := file.read(_HEAD.size)) == _HEAD.size:
            magic, length, size, checksum = _HEAD.unpack(raw)
            if magic != _MAGIC or file.tell() + length + size > os.fstat(file.fileno()).st_size:
                return
            text, payload = file.read(length), file.read(size)
            if zlib.crc32(payload, zlib.crc32(text)) != checksum:
                return
            facts = json.loads(text)
            parts, at = [], 0
            for part in facts.pop("lengths"):
                parts.append(payload[at : at + part])
                at += part
            yield Record(facts, parts, file.tell())


@dataclass(slots=True)
class LeftBehind:
    """What the log of a segment tells.

    Attributes
    ----------
    start, stop, rows : int
        Input records, half-open, and how many rows they have.
    reserved : int
        Bytes kept free at the start of the data.
    log_size : int
        Bytes of the log that are good.
    free : bool
        Its writer will not write to it any more, for certain.
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
    for record in read_log(log):
        facts = record.facts
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
        found.log_size = record.end
    return found


def _sum(data: BinaryIO, start: int, end: int) -> int:
    checksum = 0
    data.seek(start)
    while start < end and (piece := data.read(min(_READ, end - start))):
        checksum = crc32(piece, checksum)
        start += len(piece)
    return checksum
