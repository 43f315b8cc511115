"""The arithmetic of a benchmark: medians with their spread, and how far scores are off others.

Arrays in, numbers out; nothing here runs a model or reads a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_RANKED = 200_000
"""Ranks are taken of at most this many values, evenly chosen: sorting more tells nothing new."""

ZERO = 1e-6
"""Effects smaller than this share of the largest are ranked as zero."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and what lies about it.

    Attributes
    ----------
    median, low, high : float
        `low` and `high` are the quartiles; all NaN when there is no value.
    count : int
    """

    median: float
    low: float
    high: float
    count: int

    @property
    def half(self) -> float:
        """Half the distance of the quartiles, as a share of the median."""
        return (self.high - self.low) / 2 / self.median if self.median > 0 else 0.0

    def scaled(self, factor: float) -> Spread:
        """All of it times `factor`."""
        return Spread(self.median * factor, self.low * factor, self.high * factor, self.count)


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles, by linear interpolation between the sorted values."""
    if not len(values):
        return Spread(float("nan"), float("nan"), float("nan"), 0)
    low, median, high = (float(v) for v in np.quantile(np.asarray(values), [0.25, 0.5, 0.75]))
    return Spread(median, low, high, len(values))


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far an estimate of effects is off the truth.

    Attributes
    ----------
    largest : float
        Largest absolute difference; NaN when the estimate lacks values.
    scale : float
        Largest absolute value of the truth.
    mse : float
        Mean squared difference.
    pearson, spearman : float
        Over all values; NaN when one side is constant.
    count, missing : int
        Values compared, and how many of them the estimate lacks (NaN).
    """

    largest: float
    scale: float
    mse: float
    pearson: float
    spearman: float
    count: int
    missing: int

    @property
    def relative(self) -> float:
        """Largest difference as a share of the largest effect."""
        return self.largest / self.scale if self.scale else float("nan")


def agreement(estimate: np.ndarray, truth: np.ndarray) -> Agreement:
    """Compare effects with the true ones.

    Parameters
    ----------
    estimate, truth : ndarray
        Of one shape; NaN in the estimate counts as missing.

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
        nan = float("nan")
        return Agreement(nan, scale, nan, nan, nan, a.size, missing)
    difference = a - b
    return Agreement(
        largest=float(np.abs(difference).max()),
        scale=scale,
        mse=float(np.mean(difference**2)),
        pearson=pearson(a, b),
        spearman=spearman(a, b),
        count=a.size,
        missing=0,
    )


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two vectors; NaN when one is constant or has fewer than two values."""
    if a.size < 2:
        return float("nan")
    x, y = a - a.mean(), b - b.mean()
    norm = float(np.sqrt(np.sum(x * x)) * np.sqrt(np.sum(y * y)))
    return float(np.sum(x * y)) / norm if norm > 0 else float("nan")


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
