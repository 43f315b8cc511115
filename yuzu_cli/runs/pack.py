"""Segments and shards into one result: copied into one file, or referred to from a small one.

Chunks are copied as they are and checked on the way. Nothing here decides what belongs together.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py

from yuzu_cli.files import disk_errors
from yuzu_cli.results.hdf5 import damage, linked_rows, source_name
from yuzu_cli.results.reader import Result, open_result
from yuzu_cli.results.schema import LABELS, TEXT, Dataset, numpy_dtype
from yuzu_cli.runs.compression import Codec
from yuzu_cli.runs.copying import READ, Check, copy_chunks
from yuzu_cli.runs.rows import row_datasets
from yuzu_cli.runs.run_info import RunInfo
from yuzu_cli.runs.segment import Layouts, Segment
from yuzu_cli.runs.skeleton import shape_of
from yuzu_cli.runs.workers import Workers

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
    check: Check | None = None
    for piece in pieces:
        if piece.stop <= target.stop and piece.stop > target.start:
            continue
        between()
        with open_result(piece.path) as result, damage(piece.path), disk_errors(piece.path):
            if check is None or check.path != piece.path:
                check = Check(piece.path)
            copied = [d for d in row_datasets(info) if _alike(result, d, target, info)]
            with open(piece.path, "rb") as file:
                copy_chunks(
                    result, file.fileno(), copied, piece.low, piece.high, target, workers, check
                )
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
