"""Where windows lie: frames, and how runs of them can be handled together. numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from yuzu_cli.operators.reach import Ints


@dataclass(frozen=True)
class Frame:
    """Where windows lie: w rows from ``start[i]`` on, for each of the chunk's P positions.

    Attributes
    ----------
    start : int64 (P,)
        May lie outside the tensor unless the frame is common.
    width : int
    size : int
        Length of the tensor's position axis.
    """

    start: Ints
    width: int
    size: int

    @cached_property
    def common(self) -> bool:
        """All positions share one window."""
        return bool((self.start == self.start[0]).all())

    @cached_property
    def inside(self) -> bool:
        """No window extends outside the tensor."""
        return bool(self.start.min() >= 0 and self.start.max() + self.width <= self.size)

    @cached_property
    def step(self) -> int | None:
        """What windows move on by from position to position; None where that differs."""
        steps = np.diff(self.start)
        if not len(steps):
            return 0
        return int(steps[0]) if (steps == steps[0]).all() else None

    def outside(self) -> np.ndarray:
        """Rows outside the tensor, bool (w, P)."""
        rows = self.rows()
        return (rows < 0) | (rows >= self.size)

    def rows(self) -> Ints:
        """Absolute positions of all rows, (w, P)."""
        return self.start[None, :] + np.arange(self.width)[:, None]

    def same(self, other: Frame) -> bool:
        """Whether both hold the same rows."""
        return self.width == other.width and np.array_equal(self.start, other.start)


def runs(values: Ints) -> Iterator[tuple[slice, int]]:
    """Maximal slices of equal neighbours, with their value."""
    edges = np.flatnonzero(np.diff(values)) + 1
    begin = 0
    for end in [*edges.tolist(), len(values)]:
        yield slice(begin, end), int(values[begin])
        begin = end


def straight(frame: Frame) -> Iterator[tuple[slice, int]]:
    """Slices of positions whose windows lie inside and move on by one step, with that step.

    Windows that extend outside come alone: each is clipped in its own way.
    """
    start = frame.start
    inside = (start >= 0) & (start + frame.width <= frame.size)
    begin = 0
    while begin < len(start):
        end, step = begin + 1, 0
        if inside[begin] and end < len(start) and inside[end]:
            step = max(0, int(start[end] - start[begin]))  # no view goes backwards
            while end < len(start) and inside[end] and start[end] - start[end - 1] == step:
                end += 1
        yield slice(begin, end), step
        begin = end


def straight_pieces(frame: Frame) -> Iterator[tuple[slice, int, int, int, int]]:
    """`straight` slices and steps with the first row that exists, and which of the window's do."""
    for run, step in straight(frame):
        first = int(frame.start[run.start])
        low, high = max(0, -first), min(frame.width, frame.size - first)
        if run.stop - run.start > 1:
            low, high = 0, frame.width
        if high > low:
            yield run, step, first + low, low, high


def overlap(offset: int, have: int, want: int) -> tuple[slice, slice]:
    """Rows shared by a window of `have` rows that begins `offset` rows after one of `want` rows.

    Returns the slice in the wanted window and the slice in the one at hand.
    """
    begin, end = max(offset, 0), min(offset + have, want)
    if end <= begin:
        return slice(0, 0), slice(0, 0)
    return slice(begin, end), slice(begin - offset, end - offset)
