"""An append-only file of records with checksums; a torn or damaged one ends what is there."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MAGIC = b"YUZULOG2"
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
        data = memoryview(head + text + payload)
        try:
            at = self._size
            while data:
                done = os.pwrite(self._fd, data, at)
                data, at = data[done:], at + done
            os.fsync(self._fd)
            self._size = at
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
