"""One batch of rows to and from its record in the log.

Large rows are compressed here, once, as the very chunks of the finished file; small ones stay plain
and are compressed when there are enough of them. Also where the rows a caller hands over are
checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yuzu_cli.errors import OutputError
from yuzu_cli.results.schema import (
    MENDED,
    TEXT,
    Dataset,
    chunk_shape,
    datasets_for,
    numpy_dtype,
    row_is_chunks,
    row_shape,
)
from yuzu_cli.runs.compression import Codec
from yuzu_cli.runs.new_file import Builder, chunk_starts, encode_rows
from yuzu_cli.runs.run_info import RunInfo
from yuzu_cli.runs.segments import Entry, PayloadReader

Rows = Mapping[str, Any]
_SIZES = np.dtype([("bytes", "<u4"), ("mask", "<u4")])


def row_datasets(info: RunInfo) -> tuple[Dataset, ...]:
    """The datasets a batch must bring."""
    return tuple(d for d in datasets_for(info.save) if d.per_row)


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
    wanted = row_datasets(info)
    if extra := set(rows) - {d.path for d in wanted}:
        raise ValueError(f"not in this file: {sorted(extra)}")
    n = len(next(iter(rows.values()))) if rows else 0
    if n and (missing := {d.path for d in wanted} - set(rows)):
        raise ValueError(f"missing rows of {sorted(missing)}")
    checked = {d.path: _converted(info, d, rows.get(d.path), n) for d in wanted}
    index = checked["regions/input_index"]
    low, high = info.batch_records(batch)
    if n and (index[0] < low or index[-1] >= high or not (np.diff(index) > 0).all()):
        raise ValueError(f"records of batch {batch} must rise within [{low}, {high})")
    return checked


def _converted(info: RunInfo, dataset: Dataset, values: Any, n: int) -> Any:
    shape = (n, *row_shape(dataset, info.sizes))
    if dataset.dtype == TEXT:
        texts = [v.decode() if isinstance(v, bytes) else str(v) for v in values or ()]
        if len(texts) != n:
            raise ValueError(f"{dataset.path} has {len(texts)} rows, not {n}")
        return texts
    dtype = numpy_dtype(dataset, info.dtype)
    if values is None:
        return np.zeros(shape, dtype)
    array = np.asarray(values)
    if array.shape != shape:
        raise ValueError(f"{dataset.path} has shape {array.shape}, not {shape}")
    if dtype.kind == "S":
        return array.astype(dtype)
    if dtype == np.float16 and array.dtype != dtype:
        return _halved(array, dataset.path)
    return array.astype(dtype, copy=False)


def _halved(array: np.ndarray, path: str) -> np.ndarray:
    try:
        with np.errstate(over="raise"):
            return array.astype(np.float16)
    except FloatingPointError:
        largest = float(np.nanmax(np.abs(array[np.isfinite(array)])))
        what = f"a value of {largest:.3g} does not fit float16"
        raise OutputError(path, what, "set score.dtype to float32") from None


def encode_batch(
    info: RunInfo, codec: Codec, rows: Rows, map_: Callable[..., Iterable[Any]] = map
) -> tuple[dict[str, Any], list[bytes]]:
    """Header and payload of a batch's record.

    Parameters
    ----------
    info : RunInfo
    codec : Codec
    rows : mapping
        As `check_rows` gives them.
    map_ : callable
        ``map``, or that of a pool of threads.
    """
    lengths: dict[str, int] = {}
    payload: list[bytes] = []
    for dataset in row_datasets(info):
        parts = _encode(info, codec, dataset, rows[dataset.path], map_)
        lengths[dataset.path] = sum(len(part) for part in parts)
        payload += parts
    return {"lengths": lengths}, payload


def _encode(
    info: RunInfo, codec: Codec, dataset: Dataset, values: Any, map_: Callable[..., Iterable[Any]]
) -> list[bytes]:
    if dataset.dtype == TEXT:
        return [json.dumps(values).encode()]
    if not row_is_chunks(dataset, info.sizes, info.dtype):
        return [np.ascontiguousarray(values).tobytes()]
    chunk = chunk_shape(dataset, info.sizes, info.dtype, 1)

    def one(i: int) -> list[tuple[bytes, int]]:
        return [(data, mask) for _, data, mask in encode_rows(values[i : i + 1], chunk, codec)]

    chunks = [piece for row in map_(one, range(len(values))) for piece in row]
    table = np.array([(len(data), mask) for data, mask in chunks], _SIZES)
    return [table.tobytes(), *(data for data, _ in chunks)]


def assemble(
    info: RunInfo,
    entries: Sequence[Entry],
    path: Path,
    shown: str,
    between: Callable[[], None],
) -> None:
    """Write the file of finished batches, given in order, at `path`; `shown` is its name in errors.

    `between` is called before every batch; what it raises ends the work and leaves nothing there.
    """
    count = sum(entry.rows for entry in entries)
    codec = Codec.parse(info.compression)
    with Builder(path, count, info.sizes, info.save, info.dtype, codec, shown) as file:
        file.attributes(info.attributes(count))
        file.targets(info.targets)
        row = mended = 0
        for entry in entries:
            between()
            mended += _replay(info, entry, row, file)
            row += entry.rows
        file.attributes({"n_mended": mended})


def _replay(info: RunInfo, entry: Entry, row: int, builder: Builder) -> int:
    """Put the rows of one finished batch into the file, where `row` is the first of them.

    How many of them naive had to mend is returned.
    """
    mended = 0
    with PayloadReader(entry) as record:
        for dataset in row_datasets(info):
            length = record.header["lengths"][dataset.path]
            if dataset.dtype == TEXT:
                builder.rows(dataset.path, json.loads(record.take(length)))
            elif not row_is_chunks(dataset, info.sizes, info.dtype):
                shape = (entry.rows, *row_shape(dataset, info.sizes))
                values = np.frombuffer(record.take(length), numpy_dtype(dataset, info.dtype))
                builder.rows(dataset.path, values.reshape(shape))
                if dataset.path == "regions/status":
                    mended = int(np.count_nonzero(values & MENDED))
            else:
                _replay_chunks(info, dataset, entry.rows, row, record, builder)
    return mended


def _replay_chunks(
    info: RunInfo, dataset: Dataset, n: int, row: int, record: PayloadReader, builder: Builder
) -> None:
    chunk = chunk_shape(dataset, info.sizes, info.dtype, 1)
    starts = list(chunk_starts((1, *row_shape(dataset, info.sizes)), chunk))
    table = np.frombuffer(record.take(n * len(starts) * _SIZES.itemsize), _SIZES)
    for i, (size, mask) in enumerate(table.tolist()):
        at = starts[i % len(starts)]
        builder.chunk(dataset.path, (row + i // len(starts), *at[1:]), record.take(size), mask)
