"""Putting one HDF5 file together, front to back, without ever letting HDF5 meet a failing disk.

HDF5 may crash the process when a write of its own fails. So it writes through `Sink`, which keeps
the first failure to itself, holds on to what could not be written, and lets the library finish in
peace; the caller then learns of the failure as an ordinary error. Rows come in order and go out as
they come: nothing here grows with the number of regions but HDF5's own index of chunks.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from yuzu_cli.files import disk_errors, remove
from yuzu_cli.results.hdf5 import limit_cache
from yuzu_cli.results.schema import (
    TEXT,
    Dataset,
    chunk_shape,
    datasets_for,
    numpy_dtype,
    row_is_chunks,
    row_shape,
)
from yuzu_cli.results.sink import Sink
from yuzu_cli.runs.compression import Codec, pad_to


class Builder:
    """Writes one file of `n` rows at `path`, which must not exist. A context manager.

    Leaving the block normally closes the file, durably; after a failure nothing is at `path`.

    Parameters
    ----------
    path : Path
    n : int
        Rows.
    sizes : mapping
        Length of each axis by letter (T, A, L, M).
    save : sequence of str
        Scores in it.
    dtype : str
        Of the scores.
    codec : Codec
    shown : str
        The path to name in messages.
    skip : collection of str
        Datasets that the caller makes in `file` by itself.

    Raises
    ------
    OutputError
        When the disk is full or otherwise fails.
    """

    def __init__(
        self,
        path: Path,
        n: int,
        sizes: Mapping[str, int],
        save: Sequence[str],
        dtype: str,
        codec: Codec,
        shown: str = "",
        skip: Collection[str] = (),
    ) -> None:
        self._path, self._shown, self.codec = path, shown or os.fspath(path), codec
        self._columns: dict[str, _Column] = {}
        with disk_errors(self._shown):
            self._sink = Sink(path)
        self.file = h5py.File(self._sink, "w")
        limit_cache(self.file)
        for dataset in datasets_for(save):
            if dataset.per_row and dataset.path not in skip:
                self._columns[dataset.path] = _Column(
                    self.file, dataset, n, sizes, dtype, codec, self.check
                )

    def attributes(self, values: Mapping[str, str | int | float]) -> None:
        """Set the root's attributes."""
        for name, value in values.items():
            self.file.attrs[name] = value
        self.check()

    def targets(self, names: Sequence[str]) -> None:
        """Write `/targets`."""
        self.file.create_dataset("targets", data=list(names), dtype=h5py.string_dtype())
        self.check()

    def chunk_of(self, path: str) -> tuple[int, ...] | None:
        """Shape of the chunks that `chunk` takes for a dataset; None where rows share a chunk."""
        column = self._columns[path]
        return column.chunk if column.whole_rows else None

    def chunk(self, path: str, at: tuple[int, ...], data: bytes, mask: int) -> None:
        """Put one compressed chunk in its place (`at` in elements, the row counted from 0)."""
        self._columns[path].take_chunk(at, data, mask)
        self.check()

    def rows(self, path: str, values: Any) -> None:
        """Append rows to a dataset, after those that came before, by `rows` or by `chunk`."""
        self._columns[path].append(values)
        self.check()

    def check(self) -> None:
        """Raise what went wrong on the disk, if anything did."""
        if self._sink.failure is not None:
            raise self._sink.failure

    def __enter__(self) -> Builder:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        good = False
        try:
            with disk_errors(self._shown):
                try:
                    if kind is None:
                        for column in self._columns.values():
                            column.flush()
                finally:
                    self.file.close()
                self.check()
                if kind is None:
                    self._sink.sync()
                    good = True
        finally:
            self._sink.close()
            if not good:
                remove(self._path)


class _Column:
    """One dataset being filled; rows that share a chunk are gathered until it is full."""

    def __init__(
        self,
        file: h5py.File,
        dataset: Dataset,
        n: int,
        sizes: Mapping[str, int],
        dtype: str,
        codec: Codec,
        check: Any,
    ) -> None:
        self.text = dataset.dtype == TEXT
        self.n = n
        shape = (n, *row_shape(dataset, sizes))
        options: dict[str, Any] = {}
        self.chunk: tuple[int, ...] = shape
        if n:
            self.chunk = options["chunks"] = chunk_shape(dataset, sizes, dtype, n)
            options |= {} if self.text else codec.create_options()
        kind = h5py.string_dtype() if self.text else numpy_dtype(dataset, dtype)
        self.data = file.create_dataset(dataset.path, shape, dtype=kind, **options)
        self.whole_rows = row_is_chunks(dataset, sizes, dtype)
        self._codec, self._check = codec, check
        self._at = 0
        self._held: list[Any] = []
        self._held_rows = 0

    def append(self, values: Any) -> None:
        if len(values) == 0:
            return
        self._held.append(values)
        self._held_rows += len(values)
        if self._held_rows >= self.chunk[0]:
            full = self._held_rows - self._held_rows % self.chunk[0]
            self._write(full)

    def take_chunk(self, at: tuple[int, ...], data: bytes, mask: int) -> None:
        self.data.id.write_direct_chunk(at, data, mask)
        self._at = at[0] + 1

    def flush(self) -> None:
        self._write(self._held_rows)

    def _write(self, count: int) -> None:
        if count == 0:
            return
        block = _joined(self._held)
        self._held = [block[count:]] if len(block) > count else []
        self._held_rows = len(block) - count
        block = block[:count]
        for start in range(0, count, self.chunk[0]):
            self._write_chunk(block[start : start + self.chunk[0]])
            self._check()

    def _write_chunk(self, block: Any) -> None:
        at, self._at = self._at, self._at + len(block)
        if self.text:
            self.data[at : self._at] = block
            return
        for start, data, mask in encode_rows(block, self.chunk, self._codec):
            self.data.id.write_direct_chunk((at + start[0], *start[1:]), data, mask)


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], list):
        return [value for part in parts for value in part]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def chunk_starts(shape: Sequence[int], chunk: Sequence[int]) -> Iterable[tuple[int, ...]]:
    """First element of every chunk of an array, in the order they are stored."""
    counts = [-(-size // step) for size, step in zip(shape, chunk, strict=True)]
    for index in np.ndindex(*counts):
        yield tuple(i * step for i, step in zip(index, chunk, strict=True))


def encode_rows(
    block: np.ndarray, chunk: tuple[int, ...], codec: Codec
) -> Iterable[tuple[tuple[int, ...], bytes, int]]:
    """Cut rows into chunks and compress them: (first element, bytes, mask of filters left out)."""
    for start in chunk_starts(block.shape, chunk):
        piece = block[tuple(slice(s, s + c) for s, c in zip(start, chunk, strict=True))]
        yield start, *codec.encode(pad_to(piece, chunk))
