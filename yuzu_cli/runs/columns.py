"""The datasets of a growing result: rows are checked, cut into chunks and compressed.

A column knows where its chunks are since the last commit, and the rows that do not fill one yet.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from isal.isal_zlib import crc32

from yuzu_cli.errors import OutputError
from yuzu_cli.results.schema import (
    LABELS,
    MENDED,
    TEXT,
    Dataset,
    chunk_rows,
    chunk_shape,
    numpy_dtype,
    row_is_chunks,
)
from yuzu_cli.runs.compression import Codec, Map
from yuzu_cli.runs.hdf5_index import CHUNK, TEXT_PLACE, text_heap
from yuzu_cli.runs.run_info import RunInfo

Rows = Mapping[str, Any]
#: Adds bytes to the end of a file and tells where they stand.
Put = Callable[[bytes], int]

_CHUNK = struct.Struct("<QII")


def check_rows(info: RunInfo, batch: int, rows: Rows) -> dict[str, Any]:
    """Rows in the types of the file: numpy arrays, and lists of str for text.

    Raises
    ------
    ValueError
        When datasets are missing or unknown, shapes are wrong, or records are not those of the
        batch.
    OutputError
        When a value is too large for float16.
    """
    wanted = [d for d in info.row_datasets if not d.label]
    n = len(next(iter(rows.values()))) if rows else 0
    if set(rows) != {d.path for d in wanted} and (n or set(rows) - {d.path for d in wanted}):
        raise ValueError(f"not the datasets of this file: {sorted(rows)}")
    checked = {d.path: _converted(info, d, rows.get(d.path, ()), n) for d in wanted}
    index = checked["regions/input_index"]
    low, high = info.batch_records(batch)
    if n and (index[0] < low or index[-1] >= high or not (np.diff(index) > 0).all()):
        raise ValueError(f"records of batch {batch} must rise within [{low}, {high})")
    return checked | {LABELS["N"]: index}


def _converted(info: RunInfo, dataset: Dataset, values: Any, n: int) -> Any:
    if dataset.dtype == TEXT:
        texts = [v.decode() if isinstance(v, bytes) else str(v) for v in values]
        if len(texts) != n:
            raise ValueError(f"{dataset.path} has {len(texts)} rows, not {n}")
        return texts
    shape, dtype = info.shape_of(dataset, n), numpy_dtype(dataset, info.dtype)
    array = np.asarray(values) if n else np.zeros(shape, dtype)
    if array.shape != shape:
        raise ValueError(f"{dataset.path} has shape {array.shape}, not {shape}")
    try:
        with np.errstate(over="raise"):
            return array.astype(dtype, copy=False)
    except FloatingPointError:
        largest = float(np.nanmax(np.abs(array[np.isfinite(array)])))
        what = f"a value of {largest:.3g} does not fit {dtype}"
        raise OutputError(dataset.path, what, "set score.dtype to float32") from None


def chunk_starts(shape: Sequence[int], chunk: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """First element of every chunk of an array, in the order they are stored."""
    counts = [-(-size // step) for size, step in zip(shape, chunk, strict=True)]
    for index in np.ndindex(*counts):
        yield tuple(i * step for i, step in zip(index, chunk, strict=True))


def cut(values: np.ndarray, chunk: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The chunks of some rows, in order; those at an edge are filled up with zeros."""
    for start in chunk_starts(values.shape, chunk):
        piece = values[tuple(slice(s, s + c) for s, c in zip(start, chunk, strict=True))]
        if piece.shape != chunk:
            whole = np.zeros(chunk, piece.dtype)
            whole[tuple(slice(0, size) for size in piece.shape)] = piece
            piece = whole
        yield piece


class Column:
    """Filled in order, by rows, or chunk by chunk with what is in the file already.

    Attributes
    ----------
    dataset : Dataset
    dtype : dtype
        Of an element, as it is stored.
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
        self.dtype = TEXT_PLACE if self._text else numpy_dtype(dataset, info.dtype)
        self._per_chunk = chunk_rows(dataset, info.sizes, info.dtype)
        self._codec = Codec("none") if self._text else Codec.parse(info.compression)
        self._table = bytearray()
        self._tail: list[Any] = []
        # Rows: how many are in chunks, how many are in the tail, how many a commit has told of.
        self._emitted = self._tail_rows = self._said = 0

    def chunk(self, n: int) -> tuple[int, ...]:
        """Shape of its chunks in a file of `n` rows."""
        return chunk_shape(self.dataset, self._info.sizes, self._info.dtype, n)

    def table(self) -> np.ndarray:
        """Its chunks since the last commit, CHUNK (n,)."""
        return np.frombuffer(bytes(self._table), CHUNK)

    def add(self, address: int, data: bytes, mask: int) -> None:
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

    def finish(self, n: int, put: Put) -> None:
        """Write what is left, in a file of `n` rows."""
        if self._tail_rows:
            self._emit(self._tail_rows, min(n, self._per_chunk), put, map)

    def _emit(self, count: int, per_chunk: int, put: Put, map_: Map) -> None:
        block = _joined(self._tail)
        self._tail = [block[count:]] if len(block) > count else []
        self._tail_rows = len(block) - count
        self._emitted += count
        block = block[:count]
        if self._text:
            # The texts of a chunk stand together, before it.
            parts = (block[i : i + per_chunk] for i in range(0, count, per_chunk))
            block = np.concatenate([_placed(part, put) for part in parts])
        self._put_all(cut(block, (per_chunk, *block.shape[1:])), put, map_)

    def _put_all(self, blocks: Iterable[np.ndarray], put: Put, map_: Map) -> None:
        for data, mask in map_(self._codec.encode, blocks):
            self.add(put(data), data, mask)

    def news(self) -> tuple[dict[str, int], bytes, bytes]:
        """What came since the last commit: facts, table, and rows that are in no chunk yet."""
        first = max(self._said, self._emitted)
        rows = _joined(self._tail)[first - self._emitted :] if self._tail else []
        if self._text:
            raw = json.dumps(list(rows)).encode()
        else:
            raw = np.ascontiguousarray(rows, self.dtype).tobytes() if len(rows) else b""
        facts = {"emitted": self._emitted, "first": first, "checksum": self.checksum}
        return facts | {"mended": self.mended}, bytes(self._table), raw

    def committed(self) -> None:
        """What `news` told is safe."""
        self._table.clear()
        self._said = self._emitted + self._tail_rows

    def recall(self, facts: dict[str, int], raw: bytes) -> None:
        """Take up again what `news` told once; the table stays in the log."""
        self.checksum, self.mended = facts["checksum"], facts["mended"]
        if self._text:
            rows: Any = json.loads(raw)
        else:
            shape = self._info.shape_of(self.dataset, -1)
            rows = np.frombuffer(raw, self.dtype).reshape(shape)
        if self._tail and facts["first"] > facts["emitted"]:
            rows = _joined([*self._tail, rows])[facts["emitted"] - self._emitted :]
        self._emitted = facts["emitted"]
        self._tail, self._tail_rows = ([rows], len(rows)) if len(rows) else ([], 0)
        self.committed()


def _placed(texts: Sequence[str], put: Put) -> np.ndarray:
    """Write texts, and give where they stand."""
    heap, places = text_heap(texts, put(b""))
    put(heap)
    return places


def _joined(parts: Sequence[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], list):
        return [value for part in parts for value in part]
    return np.concatenate(parts)
