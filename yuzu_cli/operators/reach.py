"""The reach of an edit in a tensor: which positions can differ from the reference.

For every letter position p of the window, one half-open interval of a tensor's position axis.
Intervals are kept unclipped (a convolution's may begin before 0), because then those of
neighbouring positions are alike and mutants can be computed together; `clip` gives the part that
exists. Plain arrays, no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reach:
    """What an edit at each position can change in a tensor.

    Attributes
    ----------
    axis : int
        The tensor's position axis.
    size : int
        Length of that axis.
    start, stop : int64 (L,)
        Changed positions for an edit at p: ``start[p] <= position < stop[p]``; empty when
        ``start[p] >= stop[p]``; may extend outside ``0..size``.
    flat : tuple of int or None
        For a tensor whose position axis was merged with others by a flatten: the shape before it,
        without the batch axis. `axis` then counts in that shape (with the batch axis).
    need : (int, int) or None
        The part of the axis that the model's output depends on; all of it when None.
    """

    axis: int
    size: int
    start: Ints
    stop: Ints
    flat: tuple[int, ...] | None = None
    need: tuple[int, int] | None = None

    def moved(
        self,
        start: Ints | None = None,
        stop: Ints | None = None,
        *,
        axis: int | None = None,
        size: int | None = None,
    ) -> Reach:
        """A copy with some of its fields replaced (never a flat one)."""
        return Reach(
            self.axis if axis is None else axis,
            self.size if size is None else size,
            self.start if start is None else start,
            self.stop if stop is None else stop,
        )

    @property
    def width(self) -> int:
        """Longest interval."""
        return max(0, int((self.stop - self.start).max(initial=0)))

    @property
    def empty(self) -> npt.NDArray[np.bool_]:
        """Positions whose edits change nothing that exists."""
        return np.minimum(self.stop, self.size) <= np.maximum(self.start, 0)

    def clip(self, positions: Ints | slice = slice(None)) -> tuple[Ints, Ints]:
        """Start and stop within what exists and is needed; equal where nothing is.

        `positions` picks the edits to ask for: all L of them unless said otherwise.
        """
        low, high = (0, self.size) if self.need is None else self.need
        start = np.clip(self.start[positions], low, high)
        return start, np.maximum(np.clip(self.stop[positions], low, high), start)


class _Untouched:
    """No edit changes this value."""

    def __repr__(self) -> str:
        return "UNTOUCHED"


class _Everywhere:
    """Any edit may change all of this value, or nothing more exact is known."""

    def __repr__(self) -> str:
        return "EVERYWHERE"


UNTOUCHED = _Untouched()
EVERYWHERE = _Everywhere()
AnyReach: TypeAlias = Reach | _Untouched | _Everywhere


def join(reaches: Sequence[Reach]) -> Reach | _Everywhere:
    """The hull of several reaches of tensors that are read together, position by position.

    An edit that reaches one of them not at all does not widen the hull.
    """
    first = reaches[0]
    if any((r.axis, r.size, r.flat) != (first.axis, first.size, first.flat) for r in reaches):
        return EVERYWHERE
    if len(reaches) == 1:
        return first
    far = np.iinfo(np.int64).max // 4
    starts = np.stack([np.where(r.empty, far, r.start) for r in reaches]).min(axis=0)
    stops = np.stack([np.where(r.empty, -far, r.stop) for r in reaches]).max(axis=0)
    nothing = starts == far  # keep the geometry of the first where none is reached
    start = np.where(nothing, first.start, starts)
    stop = np.where(nothing, first.stop, stops)
    return Reach(first.axis, first.size, start, stop, first.flat)
