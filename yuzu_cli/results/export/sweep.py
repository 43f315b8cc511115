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
    # Of the bases that windows still to come may cover: total and count, or value and nearness.
    start, pile = 0, np.zeros((2, 0))
    for first, values, middle in windows:
        yield from _runs(start, pile[:, : first - start], overlap)
        rest = pile[:, first - start :]
        missing = max(0, len(values) - rest.shape[1])
        pile = np.concatenate([rest, np.zeros((2, missing))], axis=1)
        start, (value, weight) = first, pile[:, : len(values)]
        known = ~np.isnan(values)
        if overlap == "nearest":
            near = 1.0 / (1.0 + np.abs(2 * np.arange(first, first + len(values)) + 1 - middle))
            known &= near > weight
            value[known], weight[known] = values[known], near[known]
        else:
            value[known] += values[known]
            weight[known] += 1
    yield from _runs(start, pile, overlap)


def _runs(start: int, pile: np.ndarray, overlap: str) -> Iterator[tuple[int, np.ndarray]]:
    """The stretches of a pile that have a value."""
    value, weight = pile
    covered = np.flatnonzero(np.diff(np.concatenate([[0], weight > 0, [0]])))
    for a, b in covered.reshape(-1, 2).tolist():
        mean = value[a:b] if overlap == "nearest" else value[a:b] / weight[a:b]
        yield start + a, mean.astype(np.float32)
