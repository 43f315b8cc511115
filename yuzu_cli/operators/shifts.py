"""The same rows under other position numbers: cut, padded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.operators.frames import Frame
from yuzu_cli.operators.items import Form, Item, Window
from yuzu_cli.operators.listed import LISTED, listed
from yuzu_cli.operators.moves import MOVE, Move
from yuzu_cli.operators.pointwise import here, windows
from yuzu_cli.operators.reach import EVERYWHERE, AnyReach
from yuzu_cli.operators.record import (
    Interval,
    Step,
    Unfamiliar,
    axes_of,
    operator,
)
from yuzu_cli.operators.tables import Table
from yuzu_cli.operators.windows import Sketch

_aten = torch.ops.aten


class Shifted(Move):
    """The same rows under other position numbers; what then lies outside is cut off."""

    def shifted(self, by: int) -> Step:
        call = self.call

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            win = windows(items, [call.source])[0]
            if not win.frame.inside:  # pairs know no ends, and those may lie inside once moved
                win = sketch.expand(win)
            frame = Frame(win.frame.start + by, win.frame.width, call.reach.size)
            moved = here(call, sketch, frame, win.at, win.form)
            if not frame.common or frame.inside or win.form is Form.PAIRS:
                return sketch.masked(moved) if win.form is Form.DELTA else moved
            # A window for all stays within the tensor.
            low, high = (
                max(int(frame.start[0]), 0),
                min(int(frame.start[0]) + frame.width, frame.size),
            )
            low, high = (low, high) if high > low else (0, 1)
            inner = Frame(np.full_like(frame.start, low), high - low, frame.size)
            if win.form is Form.VALUE:
                return sketch.values_in(moved, inner, 0.0)
            return sketch.reframe(moved, inner)

        return step


@operator(_aten.slice.Tensor)
class Slice(Shifted):
    """A stretch of an axis, or every so manyth entry of it."""

    def decode(
        self, dim: int = 0, start: Any = None, end: Any = None, step: Any = 1, **_: Any
    ) -> None:
        shape = self.call.shape_of(self.call.source)
        self.axis = axes_of(dim, len(shape))[0]
        if any(isinstance(v, Node) for v in (start, end, step)):
            raise Unfamiliar
        self.begin, self.end, self.step = slice(start, end, step).indices(shape[self.axis])

    def reach(self) -> AnyReach:
        reach, begin, step = self.call.only_source(), self.begin, self.step
        if self.axis == 0:
            return EVERYWHERE
        if self.axis != reach.axis:
            return reach.moved()
        start = -((begin - reach.start) // step)
        stop = -((begin - reach.stop) // step)
        return reach.moved(start, stop, size=self.call.shape[self.axis])

    def way(self) -> str:
        return LISTED if self.axis == self.call.reach.axis and self.step > 1 else MOVE

    def need(self, source: Node, mine: Interval) -> Interval:
        if self.axis != self.call.reach.axis:
            return mine
        return mine[0] * self.step + self.begin, (mine[1] - 1) * self.step + self.begin + 1

    def lower(self) -> Step:
        if self.axis != self.call.reach.axis:
            return super().lower()
        if self.step == 1:
            return self.shifted(-self.begin)
        index = self.begin + self.step * np.arange(self.call.reach.size, dtype=np.int64)
        return listed(self, Table(index[:, None], np.ones((len(index), 1))))


@operator(_aten.constant_pad_nd.default)
class Pad(Shifted):
    """A number put around, or entries taken away."""

    def decode(self, pad: Any = (), value: Any = 0, **_: Any) -> None:
        ndim = len(self.call.shape)
        if any(isinstance(v, Node) for v in (*pad, value)):
            raise Unfamiliar
        self.around = [(0, 0)] * ndim
        for i in range(len(pad) // 2):
            self.around[ndim - 1 - i] = (int(pad[2 * i]), int(pad[2 * i + 1]))
        self.value = float(value)
        self.linear = self.value == 0  # the call would put it among the deltas

    def reach(self) -> AnyReach:
        reach = self.call.only_source()
        if self.around[0] != (0, 0):
            return EVERYWHERE
        shift, size = self.around[reach.axis][0], self.call.shape[reach.axis]
        return reach.moved(reach.start + shift, reach.stop + shift, size=size)

    def need(self, source: Node, mine: Interval) -> Interval:
        shift = self.around[self.call.reach.axis][0]
        return mine[0] - shift, mine[1] - shift

    def lower(self) -> Step:
        call = self.call
        moved = self.shifted(self.around[call.reach.axis][0])

        def shift(sketch: Sketch, items: Mapping[str, Item]) -> Item:
            win = windows(items, [call.source])[0]
            if win.form is Form.VALUE:  # rows that were cut off before must not come back
                win = sketch.masked(win, self.value)
            return moved(sketch, {call.source.name: win})

        others = [p for i, p in enumerate(self.around) if i != call.reach.axis]
        if all(p == (0, 0) for p in others):
            return shift
        pads = [
            n
            for i, p in reversed(list(enumerate(self.around)))
            for n in (p if i != call.reach.axis else (0, 0))
        ]

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            source = windows(items, [call.source])[0]
            moved = shift(sketch, {call.source.name: source})
            assert isinstance(moved, Window)
            moved = replace(moved, rest=source.rest)
            value = self.value if moved.form is Form.VALUE else 0.0

            def function(x: torch.Tensor) -> torch.Tensor:
                return _aten.constant_pad_nd.default(x, pads, value)

            shape = (*sketch.rows_of(moved)[:4], math.prod(call.rest()))
            at = sketch.emit(
                "apply", (moved.at,), shape, sketch.dtype(moved.at), function=function,
                layouts=[(source.axis, source.rest)], axis=call.reach.axis,
            )  # fmt: skip
            return here(call, sketch, moved.frame, at, moved.form)

        return step
