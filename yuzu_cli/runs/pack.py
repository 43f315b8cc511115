"""Segments and shards into one result: copied into one file, or referred to from a small one.

Chunks are copied as they are and checked on the way. Nothing here decides what belongs together.
"""

from __future__ import annotations

import math
import os
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from isal import isal_zlib

from yuzu_cli.errors import OutputError
from yuzu_cli.files import disk_errors
from yuzu_cli.results.hdf5 import damage, linked_rows, source_name
from yuzu_cli.results.reader import Result, open_result
from yuzu_cli.results.schema import LABELS, TEXT, Dataset, numpy_dtype
from yuzu_cli.runs.compression import Codec
from yuzu_cli.runs.hdf5_index import CHUNK, chunk_starts
from yuzu_cli.runs.identity import RunInfo
from yuzu_cli.runs.rows import row_datasets
from yuzu_cli.runs.segment import Layouts, Segment
from yuzu_cli.runs.skeleton import shape_of
from yuzu_cli.runs.workers import Workers

#: What is read at a time.
READ = 1 << 22
#: Rows whose chunks are looked up at a time.
AT_ONCE = 4096
#: What is copied between two commits.
STEP = 1 << 30


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows [low, high) of a result; with them all records below `stop` are answered for."""

    path: Path
    low: int
    high: int
    stop: int

    @property
    def n(self) -> int:
        """How many rows."""
        return self.high - self.low


class DamageError(OutputError):
    """A source is not what was written."""


def pieces_of(
    path: Path, start: int = 0, stop: int | None = None, whole: bool = False
) -> list[Piece]:
    """Where the rows of records [start, stop) of a result really are.

    In the file itself, or in those it is linked to; in steps of about `STEP` bytes, unless `whole`.
    """
    with open_result(path) as result:
        stop = int(result.attributes["record_stop"]) if stop is None else stop
        rows = _row_of(result, start), _row_of(result, stop)
    found: list[Piece] = []
    for name, low, high in _real(path, *rows):
        with open_result(name) as result:
            most = high - low if whole else _rows_of_a_step(result)
            for first in range(low, high, most):
                last = min(high, first + most)
                record = int(result.read("regions/input_index", last - 1)) + 1
                found.append(Piece(name, first, last, record))
    found = found or [Piece(path, 0, 0, stop)]
    return [*found[:-1], replace(found[-1], stop=stop)]


def _rows_of_a_step(result: Result) -> int:
    return max(1, result.n_regions * STEP // result.path.stat().st_size)


def _row_of(result: Result, record: int) -> int:
    """The first row whose record is `record` or a later one."""
    rows = range(result.n_regions)
    return bisect_left(rows, record, key=lambda i: int(result.read("regions/input_index", i)))


def _real(path: Path, low: int, high: int) -> list[tuple[Path, int, int]]:
    with open_result(path) as result:
        links = linked_rows(result.path, result.file)
    if not links:
        return [(path, low, high)] if low < high else []
    found, at = [], 0
    for name, first, last in links:
        begin, end = max(low, at), min(high, at + last - first)
        if begin < end:
            found += _real(name, first + begin - at, first + end - at)
        at += last - first
    return found


def pack(
    target: Segment,
    pieces: Sequence[Piece],
    info: RunInfo,
    workers: Workers,
    between: Callable[[], None],
    done: Callable[[Piece], None] = lambda piece: None,
) -> None:
    """Copy pieces to the end of a segment; those it has already are left out.

    Parameters
    ----------
    target : Segment
    pieces : sequence of Piece
        In the order of their records.
    info : RunInfo
    workers : Workers
        Reads ahead, and compresses where chunks cannot be copied.
    between : function
        Called before every piece; what it raises ends the work.
    done : function of a Piece, optional
        Called when a piece is safe in the target.
    """
    check: _Check | None = None
    for piece in pieces:
        if piece.stop <= target.stop and piece.stop > target.start:
            continue
        between()
        with open_result(piece.path) as result, damage(piece.path), disk_errors(piece.path):
            if check is None or check.path != piece.path:
                check = _Check(piece.path)
            copied = [d for d in row_datasets(info) if _alike(result, d, target, info)]
            with open(piece.path, "rb") as file:
                _copy(result, file.fileno(), copied, piece, target, workers, check)
            for dataset in row_datasets(info):
                if dataset.path in target.columns and dataset not in copied:
                    _pack_anew(result, dataset, piece, target, info, workers)
        target.advance(piece.stop, piece.n)
        target.commit()
        done(piece)


def _alike(result: Result, dataset: Dataset, target: Segment, info: RunInfo) -> bool:
    """Whether the chunks of a dataset are just those that the target would have."""
    column = target.columns.get(dataset.path)
    if column is None or not column.whole or not result.n_regions:
        return False
    data, options = result.file[dataset.path], Codec.parse(info.compression).create_options()
    return (
        data.chunks == column.chunk(1)
        and data.compression == options.get("compression")
        and data.shuffle == options.get("shuffle", False)
        and not data.fletcher32
        and data.scaleoffset is None
    )


def _pack_anew(
    result: Result, dataset: Dataset, piece: Piece, target: Segment, info: RunInfo, workers: Workers
) -> None:
    column = target.columns[dataset.path]
    path = dataset.path if dataset.path in result.file else "regions/input_index"
    row = 32 if dataset.dtype == TEXT else column.itemsize * math.prod(column.chunk(1)[1:])
    step = max(1, READ // row)
    for low in range(piece.low, piece.high, step):
        values = result.read(path, slice(low, min(low + step, piece.high)))
        column.take(values, target.put, workers.map)


class _Check:
    """The checksums of the chunks of one source, as far as it has been read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.row: dict[str, int] = {}
        self.sums: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class _Read:
    """Chunks that stand one after the other: entries of (dataset, size, mask, row)."""

    address: int
    size: int
    chunks: tuple[tuple[str, int, int, int], ...]


def _copy(
    result: Result,
    fd: int,
    datasets: Sequence[Dataset],
    piece: Piece,
    target: Segment,
    workers: Workers,
    check: _Check,
) -> None:
    """Copy the chunks of some datasets, and compare them with the checksums of the file."""
    stated = {d.path: result.file[d.path].attrs.get("crc32") for d in datasets}
    for dataset in datasets:
        # Work that was broken off in the middle of a file: what it had read is read again.
        before = check.row.get(dataset.path, 0)
        if before < piece.low and stated[dataset.path] is not None:
            for read in _reads(result, [dataset], before, piece.low):
                for path, data, _, _ in _chunks(read, os.pread(fd, read.size, read.address)):
                    check.sums[path] = isal_zlib.crc32(data, check.sums.get(path, 0))
    plan = _reads(result, datasets, piece.low, piece.high)
    for read, block in workers.ahead(lambda read: os.pread(fd, read.size, read.address), plan):
        if len(block) < read.size:
            raise _damaged(piece.path, read.chunks[0][0], read.chunks[0][3])
        at = target.put(block)
        for path, data, mask, row in _chunks(read, block):
            if stated[path] is None:
                _unpack(piece.path, path, result.file[path].compression, row, data, mask)
            check.sums[path] = isal_zlib.crc32(data, check.sums.get(path, 0))
            target.columns[path].add(at, data, mask)
            at += len(data)
    for path, checksum in stated.items():
        check.row[path] = piece.high
        whole = piece.high == result.n_regions and checksum is not None
        if whole and check.sums[path] != int(checksum):
            raise _damaged(piece.path, path, 0, piece.high)


def _chunks(read: _Read, block: bytes) -> Iterator[tuple[str, memoryview, int, int]]:
    at, view = 0, memoryview(block)
    for path, size, mask, row in read.chunks:
        yield path, view[at : at + size], mask, row
        at += size


def _damaged(path: Path, dataset: str, low: int, high: int | None = None) -> DamageError:
    where = f"at row {low}" if high is None else f"between rows {low} and {high}"
    return DamageError(os.fspath(path), f"/{dataset} is damaged {where}", "compute it again")


def _unpack(
    path: Path, dataset: str, compression: str | None, row: int, data: memoryview, mask: int
) -> None:
    """Unpack a chunk of a file without checksums: one with a hole has zeros inside."""
    if compression == "gzip" and mask == 0:
        try:
            zlib.decompress(data)
        except zlib.error as error:
            raise _damaged(path, dataset, row) from error


def _reads(result: Result, datasets: Sequence[Dataset], low: int, high: int) -> Iterator[_Read]:
    """The chunks of some rows, as few reads; those of one dataset stay in order."""
    step = max(1, AT_ONCE // max(1, len(datasets)))
    if high - low > step:
        for first in range(low, high, step):
            yield from _reads(result, datasets, first, min(high, first + step))
        return
    tables, names, rows = [], [], []
    for number, dataset in enumerate(datasets):
        table, per_row = _table(result, dataset, low, high)
        tables.append(table)
        names.append(np.full(len(table), number))
        rows.append(low + np.arange(len(table)) // max(1, per_row))
    if not tables:
        return
    table, name, row = (np.concatenate(parts) for parts in (tables, names, rows))
    if all((np.diff(part["address"].astype(np.int64)) > 0).all() for part in tables):
        order = np.argsort(table["address"], kind="stable")
        table, name, row = table[order], name[order], row[order]
    held: list[tuple[str, int, int, int]] = []
    start = end = 0
    for (address, size, mask), number, at in zip(
        table.tolist(), name.tolist(), row.tolist(), strict=True
    ):
        if held and (address != end or end - start + size > READ):
            yield _Read(start, end - start, tuple(held))
            held = []
        if not held:
            start = end = address
        held.append((datasets[number].path, size, mask, at))
        end += size
    if held:
        yield _Read(start, end - start, tuple(held))


def _table(result: Result, dataset: Dataset, low: int, high: int) -> tuple[np.ndarray, int]:
    """Where the chunks of some rows are, CHUNK (n,), and how many a row has."""
    data = result.file[dataset.path]
    starts = list(chunk_starts(data.shape[1:], data.chunks[1:]))
    per_row = len(starts)
    table = np.zeros((high - low) * per_row, CHUNK)
    for at in range(len(table)):
        place = (low + at // per_row, *starts[at % per_row])
        chunk = data.id.get_chunk_info_by_coord(place)
        if chunk.byte_offset is None:
            raise _damaged(result.path, dataset.path, place[0])
        table[at] = chunk.byte_offset, chunk.size, chunk.filter_mask
    return table, per_row


def layouts(pieces: Sequence[Piece], info: RunInfo, target: Path) -> Layouts:
    """Virtual datasets over pieces, for a file that will stand at `target`."""
    n = sum(piece.n for piece in pieces)
    found: dict[str, h5py.VirtualLayout] = {}
    for dataset in row_datasets(info):
        if dataset.path.startswith("regions/") or dataset.path in LABELS.values() or not n:
            continue
        dtype = numpy_dtype(dataset, info.dtype)
        layout, row = h5py.VirtualLayout(shape_of(dataset, info, n), dtype), 0
        for piece in pieces:
            if piece.n:
                with open_result(piece.path) as result:
                    rows = result.n_regions
                name = source_name(piece.path, target.parent)
                source = h5py.VirtualSource(
                    name, dataset.path, shape_of(dataset, info, rows), dtype
                )
                layout[row : row + piece.n] = source[piece.low : piece.high]
                row += piece.n
        found[dataset.path] = layout
    return found
