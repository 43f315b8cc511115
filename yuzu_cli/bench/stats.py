"""The arithmetic of a benchmark: medians with their spread, and how far scores are off others.

Arrays in, numbers out; nothing here runs a model or reads a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NAN = float("nan")

MOST_RANKED = 200_000
"""Ranks are taken of at most this many values, evenly chosen: sorting more tells nothing new."""

ZERO = 1e-6
"""Effects smaller than this share of the largest are ranked as zero."""


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper one, by linear interpolation; NaN where there is nothing."""
    if not len(values):
        return NAN, NAN, NAN
    low, median, high = (float(v) for v in np.quantile(np.asarray(values), [0.25, 0.5, 0.75]))
    return low, median, high


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far an estimate of effects is off the truth; NaN where it lacks values."""

    largest: float  # absolute difference
    scale: float  # largest absolute value of the truth
    mse: float
    pearson: float  # over all values; NaN when one side is constant
    spearman: float
    count: int  # values compared
    missing: int  # how many of them the estimate lacks

    @property
    def relative(self) -> float:
        """Largest difference as a share of the largest effect."""
        return self.largest / self.scale if self.scale else NAN


def agreement(estimate: np.ndarray, truth: np.ndarray) -> Agreement:
    """Compare effects with the true ones, of the same shape; NaN counts as missing.

    Raises
    ------
    ValueError
        The shapes differ, or there is nothing to compare.
    """
    if estimate.shape != truth.shape or not truth.size:
        raise ValueError(f"cannot compare {estimate.shape} with {truth.shape}")
    a = np.asarray(estimate, dtype=np.float64).ravel()
    b = np.asarray(truth, dtype=np.float64).ravel()
    missing = int(np.count_nonzero(~np.isfinite(a)))
    scale = float(np.abs(b).max())
    if missing:
        return Agreement(NAN, scale, NAN, NAN, NAN, a.size, missing)
    error = a - b
    largest, mse = float(np.abs(error).max()), float(np.mean(error**2))
    return Agreement(largest, scale, mse, pearson(a, b), spearman(a, b), a.size, 0)


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two vectors; NaN when one is constant or has fewer than two values."""
    if a.size < 2:
        return NAN
    x, y = a - a.mean(), b - b.mean()
    norm = float(np.sqrt(np.sum(x * x)) * np.sqrt(np.sum(y * y)))
    return float(np.sum(x * y)) / norm if norm > 0 else NAN


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of the ranks of two vectors, ties sharing their mean rank.

    Values below a millionth of the largest of `b` count as zero: most effects on a profile are
    zero, and rounding must not put them in an order.
    """
    step = -(-a.size // MOST_RANKED)
    least = ZERO * float(np.abs(b).max(initial=0.0))
    x, y = (np.where(np.abs(v[::step]) < least, 0.0, v[::step]) for v in (a, b))
    return pearson(ranks(x), ranks(y))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0; equal values get the mean of the ranks they span."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    return (last - (counts - 1) / 2.0)[inverse.ravel()]
