"""The rows of a batch: checked, and cut into the chunks of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from yuzu_cli.errors import OutputError
from yuzu_cli.results.schema import (
    LABELS,
    TEXT,
    Dataset,
    datasets_for,
    numpy_dtype,
    row_shape,
)
from yuzu_cli.runs.compression import pad_to
from yuzu_cli.runs.hdf5_index import chunk_starts
from yuzu_cli.runs.run_info import RunInfo

Rows = Mapping[str, Any]
#: ``map``, or that of some threads.
Map = Callable[..., Iterable[Any]]


def row_datasets(info: RunInfo) -> tuple[Dataset, ...]:
    """The datasets that have a row for each region."""
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
    wanted = [d for d in row_datasets(info) if not d.label]
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
    return checked | {LABELS["N"]: index}


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


def cut(values: np.ndarray, chunk: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The chunks of some rows, whole ones, in order."""
    for start in chunk_starts(values.shape, chunk):
        piece = values[tuple(slice(s, s + c) for s, c in zip(start, chunk, strict=True))]
        yield pad_to(piece, chunk)
