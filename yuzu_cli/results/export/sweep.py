"""Joining windows that lie along a chromosome, some over others, into runs of bases with one value.

Needs the windows sorted by start, and memory for the width of one. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np


def sweep(
    windows: Iterable[tuple[int, np.ndarray, int]], overlap: str = "mean"
) -> Iterator[tuple[int, np.ndarray]]:
    """Join windows sorted by start into runs of bases with a value.

    Parameters
    ----------
    windows : iterable of (start, values float32 (W,), middle)
        `middle` is start plus end of the whole window. NaN is no value.
    overlap : str
        `mean` of the windows with a value there, or the value of the one whose middle is `nearest`,
        the leftmost when two are equally near.

    Yields
    ------
    (start, values float32)
        In order, with gaps between; long runs come in pieces.
    """
    pile = _Pile(overlap)
    for start, values, middle in windows:
        yield from pile.take(start)
        pile.add(start, values, middle)
    yield from pile.take(None)


class _Pile:
    """The bases that windows still to come may cover: total and count, or value and distance."""

    def __init__(self, overlap: str) -> None:
        self._nearest = overlap == "nearest"
        self._start = 0
        self._value = np.zeros(0, np.float64)
        self._weight = np.zeros(0, np.float64)

    def add(self, start: int, values: np.ndarray, middle: int) -> None:
        if not len(self._value):
            self._start = start
        missing = start + len(values) - self._start - len(self._value)
        if missing > 0:
            self._value = np.concatenate([self._value, np.zeros(missing)])
            self._weight = np.concatenate([self._weight, np.zeros(missing)])
        at = slice(start - self._start, start - self._start + len(values))
        known = ~np.isnan(values)
        if self._nearest:
            twice = 2 * np.arange(start, start + len(values)) + 1
            weight = 1.0 / (1.0 + np.abs(twice - middle))
            known &= weight > self._weight[at]
            self._value[at][known] = values[known]
            self._weight[at][known] = weight[known]
        else:
            self._value[at][known] += values[known]
            self._weight[at][known] += 1

    def take(self, before: int | None) -> Iterator[tuple[int, np.ndarray]]:
        """Hand out, and forget, what lies before a position; everything for None."""
        count = len(self._value)
        if before is not None:
            count = min(count, max(0, before - self._start))
        value, weight = self._value[:count], self._weight[:count]
        start, self._start = self._start, self._start + count
        self._value, self._weight = self._value[count:], self._weight[count:]
        covered = np.flatnonzero(np.diff(np.concatenate([[0], weight > 0, [0]])))
        for a, b in covered.reshape(-1, 2).tolist():
            mean = value[a:b] if self._nearest else value[a:b] / weight[a:b]
            yield start + a, mean.astype(np.float32)
