"""Who meets whom in a layer, and the slots that mutants which never meet may share.

Only geometry. Knows no graph and no model.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from yuzu_cli.operators.reach import Ints


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """Who meets whom in one layer.

    Attributes
    ----------
    start, stop : int64 (L,)
        Positions of the layer's output that an edit at each letter changes; may leave ``0..size``.
    size : int
        Positions of the output.
    slot : int64 (L,)
        Edits of one slot never meet.
    count : int
        Number of slots: the most edited positions that meet at one position of the output.
    """

    start: Ints
    stop: Ints
    size: int
    slot: Ints
    count: int

    def owners(self) -> Ints:
        """Whose edit (letter position) fills each slot at each position, or -1: (size, count)."""
        table = np.full((self.size, self.count), -1, dtype=np.int64)
        low, high = np.clip(self.start, 0, self.size), np.clip(self.stop, 0, self.size)
        for p in np.flatnonzero(high > low):
            table[low[p] : high[p], self.slot[p]] = p
        return table


def assign_slots(start: Ints, stop: Ints, size: int) -> Slots:
    """Give intervals slots so that those of one slot are disjoint, with as few slots as can be.

    Intervals in the order of their starts take the lowest slot that is free, which needs no more
    slots than intervals overlap at one position. Where all are alike and one apart, slots have a
    period.
    """
    slot = np.zeros(len(start), dtype=np.int64)
    busy: list[tuple[int, int]] = []
    free: list[int] = []
    count = 0
    for p in np.lexsort((stop, start)):
        if stop[p] <= start[p]:
            continue  # reaches nothing
        while busy and busy[0][0] <= start[p]:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if not free:
            heapq.heappush(free, count)
            count += 1
        slot[p] = heapq.heappop(free)
        heapq.heappush(busy, (int(stop[p]), int(slot[p])))
    return Slots(start, stop, size, slot, max(1, count))
