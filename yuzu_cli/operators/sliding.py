"""Windows that slide along the positions: convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.fx import Node

from yuzu_cli.operators.frames import Frame
from yuzu_cli.operators.reach import Reach
from yuzu_cli.operators.record import (
    NONE,
    Interval,
    Operator,
    Unfamiliar,
)


@dataclass(frozen=True, slots=True)
class Sliding:
    """Output o reads inputs ``o * stride - padding + dilation * (0..kernel)``, along one axis."""

    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def span(self) -> int:
        return (self.kernel - 1) * self.dilation

    def forward(self, reach: Reach, size: int) -> Reach:
        """What reads a changed position."""
        start = -((-(reach.start + self.padding - self.span)) // self.stride)
        stop = (reach.stop - 1 + self.padding) // self.stride + 1
        return reach.moved(start, stop, size=size)

    def spread(self, reach: Reach, size: int) -> Reach:
        """What a changed position writes, where the operator is transposed."""
        start = reach.start * self.stride - self.padding
        stop = (reach.stop - 1) * self.stride - self.padding + self.span + 1
        return reach.moved(start, stop, size=size)

    def back(self, mine: Interval) -> Interval:
        """What the outputs `mine` read."""
        low = mine[0] * self.stride - self.padding
        return low, (mine[1] - 1) * self.stride - self.padding + self.span + 1

    def spread_back(self, mine: Interval) -> Interval:
        """What writes the outputs `mine`, where the operator is transposed."""
        low = -((self.span - mine[0] - self.padding) // self.stride)
        return low, (mine[1] - 1 + self.padding) // self.stride + 1

    def below(self, frame: Frame, size: int) -> Frame:
        """The input rows that the outputs in a frame read."""
        width = (frame.width - 1) * self.stride + self.span + 1
        return Frame(frame.start * self.stride - self.padding, width, size)


def entries(values: Any, count: int) -> list[int]:
    """An option given per axis, or once for all."""
    listed = list(values) if isinstance(values, Sequence) else [values]
    if any(isinstance(v, Node) for v in listed):
        raise Unfamiliar
    return [int(v) for v in (listed * count if len(listed) == 1 else listed)]


class Slider(Operator):
    """What convolutions and pools share: options per axis, of which one is the positions'."""

    makes = NONE
    options: list[Sliding]

    def sliding(self) -> Sliding:
        """The options along the position axis."""
        return self.options[self.call.window_of(self.call.source).axis - self.first]

    @property
    def first(self) -> int:
        """The first axis that is slid along."""
        return len(self.call.shape) - len(self.options)

    def source_reach(self) -> Reach:
        reach = self.call.only_source()
        if reach.axis < self.first:
            raise Unfamiliar
        return reach

    def others(self, axis: int) -> list[Sliding]:
        """The options along the other axes."""
        return [o for i, o in enumerate(self.options) if i != axis - self.first]

    def need(self, source: Node, mine: Interval) -> Interval:
        return self.sliding().back(mine)
