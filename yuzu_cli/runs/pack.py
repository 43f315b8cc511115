"""Segments and shards into one result: copied into one file, or referred to from a small one.

Chunks are copied as they are, and checked on the way against the checksums of their file. Nothing
here decides what belongs together.
"""

from __future__ import annotations

import os
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import h5py
from isal.isal_zlib import crc32

from yuzu_cli.errors import OutputError
from yuzu_cli.files import disk_errors
from yuzu_cli.results.hdf5 import damage, linked_rows, source_name
from yuzu_cli.results.reader import Result, open_result
from yuzu_cli.results.schema import LABELS, Dataset, numpy_dtype, row_bytes
from yuzu_cli.runs.columns import begin_chunks
from yuzu_cli.runs.compression import Codec, chunk_starts
from yuzu_cli.runs.run_info import RunInfo
from yuzu_cli.runs.segment import Segment
from yuzu_cli.runs.skeleton import Layouts

#: What is read between two looks at whether to go on.
READ = 1 << 24


class DamageError(OutputError):
    """A source is not what was written."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows [low, high) of a result that holds them itself."""

    path: Path
    low: int
    high: int


def pieces_of(path: Path, start: int, stop: int) -> list[Piece]:
    """Where rows of records [start, stop) of a result are: in it, or in what it is linked to."""
    with open_result(path) as result:
        rows = _row_of(result, start), _row_of(result, stop)
    return list(_real(path, *rows))


def _row_of(result: Result, record: int) -> int:
    """The first row whose record is `record` or a later one."""
    rows = range(result.n_regions)
    return bisect_left(rows, record, key=lambda i: int(result.read("regions/input_index", i)))


def _real(path: Path, low: int, high: int) -> Iterator[Piece]:
    with open_result(path) as result:
        links = linked_rows(result.path, result.file)
    if not links and low < high:
        yield Piece(path, low, high)
    at = 0
    for name, first, last in links:
        begin, end = max(low, at), min(high, at + last - first)
        if begin < end:
            yield from _real(name, first + begin - at, first + end - at)
        at += last - first


def pack(
    target: Segment,
    pieces: Sequence[Piece],
    stop: int,
    info: RunInfo,
    pool: Executor,
    between: Callable[[], None],
) -> None:
    """Copy pieces, in the order of their records, to the end of a segment; not what it has already.

    They answer for all records below `stop`. `pool` compresses where chunks cannot be copied.
    `between` is called all the time; what it raises ends the work.
    """
    for piece in pieces:
        with open_result(piece.path) as result, damage(piece.path), disk_errors(piece.path):
            done = max(piece.low, min(piece.high, _row_of(result, target.stop)))
            if done < piece.high:
                _Source(result, target, info, pool).copy(piece, done, between)
    target.advance(stop, 0)
    target.commit()


class _Source:
    """One file, whose rows are copied to a segment."""

    def __init__(self, result: Result, target: Segment, info: RunInfo, pool: Executor) -> None:
        self._result, self._target, self._info, self._pool = result, target, info, pool
        own = [d for d in info.row_datasets if d.path in target.columns]
        self._copied = [d.path for d in own if _alike(result, d, target, info)]
        self._anew = [d.path for d in own if d.path not in self._copied]
        self._sums = dict.fromkeys(self._copied, 0)
        self._rows = max(1, READ // sum(row_bytes(d, info.sizes, info.dtype) for d in own))

    def copy(self, piece: Piece, done: int, between: Callable[[], None]) -> None:
        """Rows from `done` on; those that an earlier process copied are read for the checksums."""
        target, index = self._target, self._result.file["regions/input_index"]
        for begin, end in ((piece.low, done), (done, piece.high)):
            for low in range(begin, end, self._rows):
                between()
                high = min(low + self._rows, end)
                self._chunks(low, high, copy=low >= done)
                if low >= done:
                    self._pack_anew(low, high)
                    target.advance(int(index[high - 1]) + 1, high - low)
        if (piece.low, piece.high) == (0, self._result.n_regions):
            self._compare()

    def _chunks(self, low: int, high: int, copy: bool) -> None:
        for path in self._copied:
            data = self._result.file[path]
            unpacked = "crc32" not in data.attrs and data.compression == "gzip"
            starts = list(chunk_starts(data.shape[1:], data.chunks[1:]))
            for place in ((row, *start) for row in range(low, high) for start in starts):
                try:  # asked where a chunk lies, HDF5 goes through all that come before it
                    filters, stored = data.id.read_direct_chunk(place)
                except (OSError, RuntimeError) as error:
                    raise self._damaged(path, f"at row {place[0]}") from error
                if unpacked and not filters:  # of yuzu 0.1: a hole is zeros inside
                    try:
                        zlib.decompress(stored)
                    except zlib.error as error:
                        raise self._damaged(path, f"at row {place[0]}") from error
                self._sums[path] = crc32(stored, self._sums[path])
                if copy:
                    self._target.columns[path].add(stored, filters)

    def _compare(self) -> None:
        for path, found in self._sums.items():
            if int(self._result.file[path].attrs.get("crc32", found)) != found:
                raise self._damaged(path, f"between rows 0 and {self._result.n_regions}")

    def _damaged(self, path: str, where: str) -> DamageError:
        what = f"/{path} is damaged {where}"
        return DamageError(os.fspath(self._result.path), what, "compute it again")

    def _pack_anew(self, low: int, high: int) -> None:
        # Files of yuzu 0.1 have no labels.
        here = {p: p if p in self._result.file else "regions/input_index" for p in self._anew}
        rows = {p: self._result.read(name, slice(low, high)) for p, name in here.items()}
        for path, values in begin_chunks(self._info, rows, self._pool).items():
            self._target.columns[path].take(values)


def _alike(result: Result, dataset: Dataset, target: Segment, info: RunInfo) -> bool:
    """Whether the chunks of a dataset are just those that the target would have."""
    column = target.columns[dataset.path]
    if not column.whole or not result.n_regions:
        return False
    data, options = result.file[dataset.path], Codec.parse(info.compression).create_options()
    return (
        data.chunks == column.chunk(1)
        and data.compression == options.get("compression")
        and data.shuffle == options.get("shuffle", False)
        and not data.fletcher32
        and data.scaleoffset is None
    )


def layouts(pieces: Sequence[Piece], info: RunInfo, target: Path) -> Layouts:
    """Virtual datasets over pieces, for a file that will stand at `target`."""
    pieces = [piece for piece in pieces if piece.low < piece.high]
    n = sum(piece.high - piece.low for piece in pieces)
    found: dict[str, h5py.VirtualLayout] = {}
    for dataset in info.row_datasets if n else ():
        if dataset.path.startswith("regions/") or dataset.path in LABELS.values():
            continue
        dtype = numpy_dtype(dataset, info.dtype)
        layout, row = h5py.VirtualLayout(info.shape_of(dataset, n), dtype), 0
        for piece in pieces:
            with open_result(piece.path) as result:
                shape = info.shape_of(dataset, result.n_regions)
            name = source_name(piece.path, target.parent)
            source = h5py.VirtualSource(name, dataset.path, shape, dtype)
            layout[row : row + piece.high - piece.low] = source[piece.low : piece.high]
            row += piece.high - piece.low
        found[dataset.path] = layout
    return found
