"""Reading a finished file, row by row, and saying plainly when it is not one.

`open_result` holds nothing but names in memory. No score is computed here; writing is elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from yuzu_cli.alphabet import Alphabet
from yuzu_cli.errors import OutputError
from yuzu_cli.results.hdf5 import (
    asked_of,
    attributes_of,
    check_format,
    damage,
    missing_sources,
    open_hdf5,
    saved_scores,
)
from yuzu_cli.results.schema import ATTRIBUTES, DATASETS, REGIONS, STATUS, datasets_for, row_shape
from yuzu_cli.selection import place

if TYPE_CHECKING:
    from typing_extensions import Self

_WITH_TARGETS = {d.path for d in DATASETS if "T" in d.axes and d.per_row}
_STATUS_ROWS = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One region of a result; the scores are read when asked for, with `Result.scores`.

    `index` is its row in this file, `codes` uint8 (L,) the sequence 5'→3' of `strand`, `reference`
    float32 (T,); the others are as in `/regions`.
    """

    index: int
    chrom: str
    start: int
    end: int
    name: str
    strand: str
    input_index: int
    status: int
    codes: np.ndarray
    reference: np.ndarray

    def on_genome(self, start: int, stop: int) -> tuple[int, int]:
        """A stretch of the window as one of the forward strand; both 0-based, half-open."""
        if self.strand == "-":
            return self.end - stop, self.end - start
        return self.start + start, self.start + stop


class Result:
    """A finished output, open for reading; made by `open_result`, closed by `close` or ``with``.

    Attributes
    ----------
    attributes : dict
        Those of the root, as str, int and float.
    n_regions, length : int
        Rows, N, and letters per window, L.
    alphabet : str
        The letters, in the order of the A axis.
    mutate_start, mutate_end : int
        First mutated position of the window, and one past the last.
    saved : tuple of str
        Names of the scores that were saved.
    sizes : dict
        Length of each axis by its letter.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.file = open_hdf5(self.path)
        try:
            check_format(self.path, self.file)
            _check_names(self.path, self.file)
            self.attributes = attributes_of(self.file)
            self.saved = saved_scores(self.file)
            self.n_regions, self.length = map(int, self.file["sequences"].shape)
            self.alphabet = str(self.attributes["alphabet"])
            self.mutate_start = int(self.attributes["mutate_start"])
            self.mutate_end = int(self.attributes["mutate_end"])
            width, t = self.mutate_end - self.mutate_start, int(self.file["targets"].shape[0])
            sizes = (self.n_regions, t, len(self.alphabet), self.length, width)
            self.sizes = dict(zip("NTALM", sizes, strict=True))
            _check_shapes(self)
        except BaseException:
            self.close()
            raise

    @cached_property
    def targets(self) -> list[str]:
        """Names of the targets."""
        return [str(name) for name in self.file["targets"].asstr()[()]]

    def read(self, path: str, rows: slice | int = slice(None), targets: Any = slice(None)) -> Any:
        """Some rows of one dataset.

        `path` is as in the schema: ``regions/start``, ``scores/delta``; of datasets with a T axis
        only `targets` are read: a number, a slice, or several numbers in any order. Text comes as
        an object array of str.

        Raises
        ------
        OutputError
            When the dataset is not there, or the file turns out damaged.
        """
        if path not in self.file:
            saved = ", ".join(self.saved) or "no score"
            raise OutputError(os.fspath(self.path), f"has no {path}", f"{saved} was saved")
        data = self.file[path]
        with damage(self.path):
            if h5py.check_string_dtype(data.dtype) is not None and data.dtype.kind == "O":
                return data.asstr()[rows]
            if path not in _WITH_TARGETS:
                return data[rows]
            if not np.ndim(targets):
                return data[rows, targets]
            # h5py reads slices far faster than lists, and lists only sorted.
            order, places = np.unique(targets, return_inverse=True)
            span = slice(int(order[0]), int(order[-1]) + 1)
            found = data[rows, span if span.stop - span.start == len(order) else order]
            return np.take(found, places, axis=1 if isinstance(rows, slice) else 0)

    def scores(self, name: str, row: int, target: int | slice = slice(None)) -> np.ndarray:
        """One saved score of one row, in the type it was saved in; for l2 `target` is ignored."""
        return self.read(f"scores/{name}", row, target)

    def row(self, index: int) -> Row:
        """Everything about one row but its scores; negative numbers count from the end.

        Raises
        ------
        OutputError
            When there is no such row.
        """
        n = self.n_regions
        if not -n <= index < n:
            raise OutputError(os.fspath(self.path), f"has no row {index}", f"it has {n} rows")
        i = index % n
        get = {name: self.read(f"regions/{name}", i) for name in REGIONS}
        get |= {name: int(value) for name, value in get.items() if isinstance(value, np.integer)}
        get["strand"] = bytes(get["strand"]).decode()
        return Row(
            index=i, codes=self.read("sequences", i), reference=self.read("reference", i), **get
        )

    def __len__(self) -> int:
        return self.n_regions

    def __iter__(self) -> Iterator[Row]:
        return (self.row(i) for i in range(self.n_regions))

    def status_counts(self) -> dict[str, int]:
        """How many rows have each mark of `schema.STATUS`."""
        counts = dict.fromkeys(STATUS, 0)
        for start in range(0, self.n_regions, _STATUS_ROWS):
            status = self.read("regions/status", slice(start, start + _STATUS_ROWS))
            for bit, name in enumerate(STATUS):
                counts[name] += int(np.count_nonzero(status & (1 << bit)))
        return counts

    def text(self, codes: np.ndarray) -> str:
        """Letters of some codes; unknown ones as N, or X when the alphabet is not nucleic."""
        return Alphabet(self.alphabet).decode(codes)

    def find(self, region: str) -> int:
        """Row of a region given by name, by place, or by number.

        A place is ``chrom:start-end``, 1-based and closed as in samtools and IGV, commas allowed;
        found is the window that holds most of it, and of several the one about its middle.

        Raises
        ------
        OutputError
            When there is none, or several have that name.
        """
        for column in ("name", "chrom"):
            found = np.flatnonzero(self.read(f"regions/{column}") == region)
            if len(found) == 1 or (len(found) and column == "name"):
                return self._only(region, found)
        if where := place(region):
            return self._only(region, self._at(*where))
        if region.lstrip("-").isdecimal():
            return self.row(int(region)).index
        return self._only(region, np.array([], int))

    def _at(self, chrom: str, start: int, end: int) -> np.ndarray:
        """Rows of the windows with most of an interval, 0-based, nearest its middle; or none."""
        first, last = self.read("regions/start"), self.read("regions/end")
        shared = np.minimum(last, end) - np.maximum(first, start)
        shared[self.read("regions/chrom") != chrom] = 0
        best = np.flatnonzero((shared > 0) & (shared == shared.max(initial=0)))
        away = np.abs(first + last - start - end)[best]
        return best[away == away.min(initial=away[0])] if len(best) else best

    def _only(self, region: str, found: np.ndarray) -> int:
        if len(found) == 1:
            return int(found[0])
        what = f"has {len(found) or 'no'} region{'s' * (len(found) > 1)} {region!r}"
        hint = f"give a name, chrom:start-end, or a row from 0 to {self.n_regions - 1}"
        if len(found):
            hint = f"give a row: {', '.join(str(i) for i in found[:5])}"
        raise OutputError(os.fspath(self.path), what, hint)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_result(path: str | os.PathLike[str]) -> Result:
    """Open a finished output for reading.

    Raises
    ------
    OutputError
        When the file is missing, cut short, unfinished, of a newer version, or not of this tool.
    """
    return Result(path)


def _check_names(path: Path, file: h5py.File) -> None:
    """Every attribute and dataset there."""
    needed = [a.name for a in ATTRIBUTES if not a.optional and not a.added]
    lacking = [f"the attribute {name}" for name in needed if name not in file.attrs]
    every = datasets_for(asked_of(file))
    lacking += [f"/{d.path}" for d in every if d.path not in file and not d.label]
    if lacking:
        raise OutputError(os.fspath(path), f"lacks {lacking[0]}")


def _check_shapes(result: Result) -> None:
    """Every dataset of the shape that the others say."""
    shown, file = os.fspath(result.path), result.file
    n = int(result.attributes["n_regions"])
    for dataset in (d for d in datasets_for(asked_of(file)) if d.path in file):
        shape = ((n,) if dataset.per_row else ()) + row_shape(dataset, result.sizes)
        if file[dataset.path].shape != shape:
            what = f"/{dataset.path} has shape {file[dataset.path].shape}, not {shape}"
            raise OutputError(shown, what)
        for source in missing_sources(result.path, file[dataset.path]):
            hint = "bring it back, or merge again without --link"
            raise OutputError(shown, f"is linked to {source}, which is gone", hint)
