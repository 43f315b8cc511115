"""Chunks from one result to another as they are, and checked on the way."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from isal import isal_zlib

from yuzu_cli.errors import OutputError
from yuzu_cli.results.reader import Result
from yuzu_cli.results.schema import Dataset
from yuzu_cli.runs.hdf5_index import CHUNK, chunk_starts
from yuzu_cli.runs.segment import Segment
from yuzu_cli.runs.workers import Workers

#: What is read at a time.
READ = 1 << 22
#: Rows whose chunks are looked up at a time.
AT_ONCE = 4096


class DamageError(OutputError):
    """A source is not what was written."""


class Check:
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


def copy_chunks(
    result: Result,
    fd: int,
    datasets: Sequence[Dataset],
    low: int,
    high: int,
    target: Segment,
    workers: Workers,
    check: Check,
) -> None:
    """Copy the chunks of some datasets, and compare them with the checksums of the file."""
    stated = {d.path: result.file[d.path].attrs.get("crc32") for d in datasets}
    for dataset in datasets:
        # Work that was broken off in the middle of a file: what it had read is read again.
        before = check.row.get(dataset.path, 0)
        if before < low and stated[dataset.path] is not None:
            for read in _reads(result, [dataset], before, low):
                for path, data, _, _ in _chunks(read, os.pread(fd, read.size, read.address)):
                    check.sums[path] = isal_zlib.crc32(data, check.sums.get(path, 0))
    plan = _reads(result, datasets, low, high)
    for read, block in workers.ahead(lambda read: os.pread(fd, read.size, read.address), plan):
        if len(block) < read.size:
            raise _damaged(result.path, read.chunks[0][0], read.chunks[0][3])
        at = target.put(block)
        for path, data, mask, row in _chunks(read, block):
            if stated[path] is None:
                _unpack(result.path, path, result.file[path].compression, row, data, mask)
            check.sums[path] = isal_zlib.crc32(data, check.sums.get(path, 0))
            target.columns[path].add(at, data, mask)
            at += len(data)
    for path, checksum in stated.items():
        check.row[path] = high
        whole = high == result.n_regions and checksum is not None
        if whole and check.sums[path] != int(checksum):
            raise _damaged(result.path, path, 0, high)


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
