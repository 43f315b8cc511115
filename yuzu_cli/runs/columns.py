"""One dataset of a growing result: where its chunks are, and the rows that do not fill one yet."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from isal.isal_zlib import crc32

from yuzu_cli.results.schema import (
    MENDED,
    TEXT,
    Dataset,
    chunk_rows,
    chunk_shape,
    numpy_dtype,
    row_is_chunks,
    row_shape,
)
from yuzu_cli.runs.compression import Codec, pad_to
from yuzu_cli.runs.hdf5_index import CHUNK, TEXT_PLACE, text_heap
from yuzu_cli.runs.rows import Map, cut
from yuzu_cli.runs.run_info import RunInfo

#: Adds bytes to the end of a file and tells where they stand.
Put = Callable[[bytes], int]

_CHUNK = struct.Struct("<QII")


@dataclass(frozen=True, slots=True)
class News:
    """What came to a column since the last commit: facts for JSON, table, rows."""

    facts: dict[str, int]
    parts: tuple[bytes, bytes]


class Column:
    """Filled in order, by rows, or chunk by chunk with what is in the file already.

    Attributes
    ----------
    dataset : Dataset
    whole : bool
        Each row has one chunk or several of its own.
    checksum : int
        crc32 of all its chunks so far, in order.
    mended : int
        Of `regions/status`: rows of which naive computed some mutants.
    """

    def __init__(self, dataset: Dataset, info: RunInfo) -> None:
        self.dataset, self._info = dataset, info
        self.whole = row_is_chunks(dataset, info.sizes, info.dtype)
        self.checksum = self.mended = 0
        self._text = dataset.dtype == TEXT
        self._dtype = TEXT_PLACE if self._text else numpy_dtype(dataset, info.dtype)
        self._per_chunk = chunk_rows(dataset, info.sizes, info.dtype)
        self._codec = Codec("none") if self._text else Codec.parse(info.compression)
        self._table = bytearray()
        self._emitted = 0
        self._tail: list[Any] = []
        self._tail_rows = 0
        self._said = 0

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._dtype.itemsize

    def chunk(self, n: int) -> tuple[int, ...]:
        """Shape of its chunks in a file of `n` rows."""
        return chunk_shape(self.dataset, self._info.sizes, self._info.dtype, n)

    def table(self) -> np.ndarray:
        """Its chunks since the last commit, CHUNK (n,)."""
        return np.frombuffer(bytes(self._table), CHUNK)

    def add(self, address: int, data: bytes | memoryview, mask: int) -> None:
        """A chunk that has been written."""
        self._table += _CHUNK.pack(address, len(data), mask)
        self.checksum = crc32(data, self.checksum)

    def take(self, values: Any, put: Put, map_: Map = map) -> None:
        """Write rows, or keep those that do not fill a chunk yet."""
        if len(values) == 0:
            return
        if self.dataset.path == "regions/status":
            self.mended += int(np.count_nonzero(np.asarray(values) & MENDED))
        if self.whole:
            self._put_all(cut(values, self.chunk(1)), put, map_)
            return
        self._tail.append(values)
        self._tail_rows += len(values)
        if self._tail_rows >= self._per_chunk:
            count = self._tail_rows - self._tail_rows % self._per_chunk
            self._emit(count, self._per_chunk, put, map_)

    def _put_all(self, blocks: Iterable[np.ndarray], put: Put, map_: Map) -> None:
        for data, mask in map_(self._codec.encode, blocks):
            self.add(put(data), data, mask)

    def finish(self, n: int, put: Put) -> None:
        """Write what is left, in a file of `n` rows."""
        if self._tail_rows:
            self._emit(self._tail_rows, min(n, self._per_chunk), put, map)

    def _emit(self, count: int, per_chunk: int, put: Put, map_: Map) -> None:
        block = _joined(self._tail)
        self._tail = [block[count:]] if len(block) > count else []
        self._tail_rows = len(block) - count
        self._emitted += count
        pieces = [block[i : min(i + per_chunk, count)] for i in range(0, count, per_chunk)]
        if self._text:
            pieces = [_placed(piece, put) for piece in pieces]
        shape = (per_chunk, *row_shape(self.dataset, self._info.sizes))
        self._put_all([pad_to(piece, shape) for piece in pieces], put, map_)

    def news(self) -> News:
        """What came since the last commit; of the rows, only those that are in no chunk yet."""
        first = max(self._said, self._emitted)
        rows = _joined(self._tail)[first - self._emitted :] if self._tail else []
        if self._text:
            raw = json.dumps(list(rows)).encode()
        else:
            raw = np.ascontiguousarray(rows, self._dtype).tobytes() if len(rows) else b""
        facts = {"emitted": self._emitted, "first": first, "checksum": self.checksum}
        facts["mended"] = self.mended
        return News(facts, (bytes(self._table), raw))

    def committed(self) -> None:
        """What `news` told is safe."""
        self._table.clear()
        self._said = self._emitted + self._tail_rows

    def recall(self, facts: dict[str, int], raw: bytes) -> None:
        """Take up again what `news` told once; the table stays in the log."""
        self.checksum, self.mended = facts["checksum"], facts["mended"]
        rows: Any = json.loads(raw) if self._text else self._array(raw)
        if self._tail and facts["first"] > facts["emitted"]:
            rows = _joined([*self._tail, rows])[facts["emitted"] - self._emitted :]
        self._emitted = facts["emitted"]
        self._tail, self._tail_rows = ([rows], len(rows)) if len(rows) else ([], 0)
        self.committed()

    def _array(self, raw: bytes) -> np.ndarray:
        shape = row_shape(self.dataset, self._info.sizes)
        return np.frombuffer(raw, self._dtype).reshape(-1, *shape)


def _placed(texts: Sequence[str], put: Put) -> np.ndarray:
    """Write texts, and give where they stand."""
    at = put(b"")
    heap, places = text_heap(texts, at)
    put(heap)
    return places


def _joined(parts: Sequence[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], list):
        return [value for part in parts for value in part]
    return np.concatenate(parts)
