"""The datasets of a growing result: rows are checked, cut into chunks and compressed.

A column knows where its chunks are since the last commit, and the rows that do not fill one yet.
"""

from __future__ import annotations

import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
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
from yuzu_cli.runs.compression import Codec, cut
from yuzu_cli.runs.hdf5_index import CHUNK, TEXT_PLACE, text_heap
from yuzu_cli.runs.run_info import RunInfo

Rows = Mapping[str, Any]
#: Adds bytes to the end of a file and tells where they stand.
Put = Callable[[bytes], int]

_CHUNK = struct.Struct("<QII")


def check_rows(info: RunInfo, batch: int, rows: Rows) -> dict[str, np.ndarray]:
    """Rows in the types of the file, as numpy arrays; of texts one of objects.

    Raises
    ------
    ValueError
        When datasets are missing or unknown, shapes are wrong, or records are not those of the
        batch.
    OutputError
        When a value is too large for float16.
    """
    wanted = {d.path: d for d in info.row_datasets if not d.label}
    n = len(next(iter(rows.values()))) if rows else 0
    if rows.keys() - wanted.keys() or (n and wanted.keys() - rows.keys()):
        raise ValueError(f"not the datasets of this file: {sorted(rows)}")
    checked = {path: _converted(info, d, rows.get(path, ()), n) for path, d in wanted.items()}
    index = checked["regions/input_index"]
    low, high = info.batch_records(batch)
    if n and (index[0] < low or index[-1] >= high or not (np.diff(index) > 0).all()):
        raise ValueError(f"records of batch {batch} must rise within [{low}, {high})")
    return checked | {LABELS["N"]: index}


def _converted(info: RunInfo, dataset: Dataset, values: Any, n: int) -> np.ndarray:
    shape, dtype = info.shape_of(dataset, n), numpy_dtype(dataset, info.dtype)
    if dataset.dtype == TEXT:
        values = np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values], dtype)
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


def begin_chunks(info: RunInfo, rows: Rows, pool: Executor) -> dict[str, Any]:
    """Rows as columns take them: chunks, compressed from now on, where each has some of its own."""
    codec, ready = Codec.parse(info.compression), dict(rows)
    for dataset in info.row_datasets:
        if dataset.path in rows and row_is_chunks(dataset, info.sizes, info.dtype):
            chunk = chunk_shape(dataset, info.sizes, info.dtype, 1)
            ready[dataset.path] = codec.begin(pool, rows[dataset.path], chunk)
    return ready


class Column:
    """Filled in order: by rows, or by chunks where it is `whole`, each row having some of its own.

    `dtype` is of an element as it is stored, `checksum` the crc32 of all chunks so far, in order,
    and `mended`, of `regions/status`, the rows of which naive computed some mutants.
    """

    def __init__(self, dataset: Dataset, info: RunInfo, put: Put) -> None:
        self.dataset, self._info, self._put = dataset, info, put
        self.whole = row_is_chunks(dataset, info.sizes, info.dtype)
        self.checksum = self.mended = 0
        self._text = dataset.dtype == TEXT
        self.dtype = TEXT_PLACE if self._text else numpy_dtype(dataset, info.dtype)
        self._per_chunk = chunk_rows(dataset, info.sizes, info.dtype)
        self._codec = Codec("none") if self._text else Codec.parse(info.compression)
        self._table = bytearray()
        # Rows that are in no chunk yet, and how many rows came since the last commit.
        self._tail = np.empty(info.shape_of(dataset, 0), numpy_dtype(dataset, info.dtype))
        self._new = 0

    def chunk(self, n: int) -> tuple[int, ...]:
        """Shape of its chunks in a file of `n` rows."""
        return chunk_shape(self.dataset, self._info.sizes, self._info.dtype, n)

    def add(self, data: bytes, mask: int) -> None:
        """Write a chunk."""
        self._table += _CHUNK.pack(self._put(data), len(data), mask)
        self.checksum = crc32(data, self.checksum)

    def take(self, values: Any) -> None:
        """Write chunks, where it is `whole`; else rows, of which those are kept that fill none."""
        if self.whole:
            for data, mask in values:
                self.add(data, mask)
            return
        if self.dataset.path == "regions/status":
            self.mended += int(np.count_nonzero(values & MENDED))
        self._new += len(values)
        self._tail = np.concatenate([self._tail, values])
        full = len(self._tail) - len(self._tail) % self._per_chunk
        if full:
            self._emit(full, self._per_chunk)

    def finish(self, n: int) -> None:
        """Write what is left, in a file of `n` rows."""
        if len(self._tail):
            self._emit(len(self._tail), min(n, self._per_chunk))

    def _emit(self, count: int, per_chunk: int) -> None:
        block, self._tail = self._tail[:count], self._tail[count:]
        if self._text:
            # The texts of a chunk stand together, before it.
            parts = (block[i : i + per_chunk] for i in range(0, count, per_chunk))
            block = np.concatenate([self._placed(part) for part in parts])
        for piece in cut(block, (per_chunk, *block.shape[1:])):
            self.add(*self._codec.encode(piece))

    def _placed(self, texts: np.ndarray) -> np.ndarray:
        """Write texts, and give where they stand."""
        heap, places = text_heap(texts.tolist(), self._put(b""))
        self._put(heap)
        return places

    def news(self) -> dict[str, Any]:
        """What came since the last commit: chunks, the rows that are in none yet, and sums."""
        rows = self._tail[max(0, len(self._tail) - self._new) :]
        return {
            "table": b64encode(self._table).decode(),
            "rows": rows.tolist() if self._text else b64encode(rows.tobytes()).decode(),
            "tail": len(self._tail),
            "checksum": self.checksum,
            "mended": self.mended,
        }

    def committed(self) -> None:
        """What `news` told is safe."""
        self._table.clear()
        self._new = 0

    def recall(self, news: dict[str, Any]) -> None:
        """Take up again what `news` told once; the table stays in the log."""
        self.checksum, self.mended, rows = news["checksum"], news["mended"], news["rows"]
        if not self._text:
            rows = np.frombuffer(b64decode(rows), self.dtype)
        shape = self._info.shape_of(self.dataset, -1)
        every = np.concatenate([self._tail, np.array(rows, self._tail.dtype).reshape(shape)])
        self._tail = every[len(every) - news["tail"] :]


def table_of(news: dict[str, Any]) -> np.ndarray:
    """The chunks of which a column told, CHUNK (n,)."""
    return np.frombuffer(b64decode(news["table"]), CHUNK)
