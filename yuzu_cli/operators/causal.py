"""What reads the positions in one direction: an edit changes nothing before it, all behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from yuzu_cli.graph import ops
from yuzu_cli.operators.across import Across
from yuzu_cli.operators.cost import Cost
from yuzu_cli.operators.frames import Frame
from yuzu_cli.operators.items import Form, Item, Window
from yuzu_cli.operators.pointwise import here, windows
from yuzu_cli.operators.reach import AnyReach, Reach
from yuzu_cli.operators.record import (
    NONE,
    WHOLE,
    Call,
    Interval,
    Operator,
    Step,
    Unfamiliar,
    axes_of,
    mean_width,
    operator,
)
from yuzu_cli.operators.windows import Sketch

RUNNING = "sum of the deltas so far"
LONG = "convolution along all that follows"
SLOWER = 4.0
"""What a multiply-add of a Fourier transform takes, of one in a product of matrices."""


def onwards(reach: Reach, backwards: bool = False) -> Reach:
    """From the first change to the end, or from the beginning to the last change."""
    start, stop = reach.start.clip(min=0), reach.stop.clip(max=reach.size)
    if backwards:
        return reach.moved(np.zeros_like(start), np.where(reach.empty, 0, stop))
    return reach.moved(start, np.where(reach.empty, start, reach.size))


def following(call: Call, kernel: str, **args: Any) -> Step:
    """A kernel on deltas in one frame that holds all windows, for all that follows them."""

    def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
        win = sketch.expand(sketch.delta(windows(items, [call.source])[0]))
        first, last = int(win.frame.start.min()), int(win.frame.start.max()) + win.frame.width
        every = Frame(np.full_like(win.frame.start, first), last - first, win.frame.size)
        win, frame = sketch.reframe(win, every), sketch.frame(call.reach)
        assert frame.common
        shape, skip = (frame.width, *sketch.rows_of(win)[1:]), int(frame.start[0]) - first
        at = sketch.emit(kernel, (win.at,), shape, call.spec.dtype, skip=skip, **args)
        return here(call, sketch, frame, at, Form.DELTA)

    return step


def by_spectra(rows: float, made: float) -> float:
    """Multiply-adds of one channel's rows convolved into so many, by Fourier transforms."""
    size = max(2.0, rows + made)
    return 3.75 * size * math.log2(size)


def spectral(rows: float, made: float) -> bool:
    """Whether that is the faster way."""
    return SLOWER * by_spectra(rows, made) < rows * made


@operator(torch.ops.aten.cumsum.default)
class RunningSum(Across):
    """A running sum: of deltas along the positions, of values along other axes.

    Behind a window it has changed by one number in each channel.
    """

    makes = NONE
    through = True
    linear = True

    def decode(self, dim: int = 0, dtype: Any = None, **_: Any) -> None:
        self.axes = axes_of(dim, len(self.call.shape))
        self.linear = dtype is None

    def reach(self) -> AnyReach:
        return onwards(self.call.only_source()) if self.of_positions else super().reach()

    @property
    def of_positions(self) -> bool:
        return self.axes == [self.call.only_source().axis]

    def way(self) -> str:
        if not self.of_positions:
            return super().way()
        floating = self.call.spec_of(self.call.source).dtype.is_floating_point
        return RUNNING if self.linear and floating and not self.exact else WHOLE

    def need(self, source: Any, mine: Interval) -> Interval:
        return (0, mine[1]) if self.of_positions else mine

    def cost(self, letters: bool) -> Cost:
        return self.passes(3) if self.of_positions else super().cost(letters)

    def lower(self) -> Step:
        if not self.of_positions:
            return super().lower()
        return following(self.call, "deltas so far")


@operator(ops.long_convolution)
class LongConvolution(Operator):
    """Deltas of each channel convolved with its taps, whichever way is less: direct, by spectra."""

    makes = NONE
    linear = True

    def decode(self, taps: Any = None, **_: Any) -> None:
        self.taps = taps

    def reach(self) -> AnyReach:
        found = self.call.only_source()
        if found.axis != 2:
            raise Unfamiliar
        return onwards(found)

    def way(self) -> str:
        fixed = self.taps.name in self.call.program.constants
        return LONG if fixed and not self.exact else WHOLE

    def need(self, source: Any, mine: Interval) -> Interval:
        return 0, mine[1]

    def macs(self) -> float:
        _, channels, size = self.call.shape
        return channels * by_spectra(size, size)

    def cost(self, letters: bool) -> Cost:
        call = self.call
        width, rows = mean_width(call.window_of(call.source)), mean_width(call.reach)
        count = call.shape[1] * (by_spectra(width, rows) if spectral(width, rows) else width * rows)
        return Cost(count, 3 * call.shape[1] * (width + rows) * self.item)

    def lower(self) -> Step:
        return following(self.call, "long taps", taps=self.call.constant(self.taps))
