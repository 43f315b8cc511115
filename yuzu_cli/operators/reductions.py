"""Sums, means, maxima and the like: over other axes at each position, or over the positions.

Over positions a window ends: a sum is that of the deltas, or of the window's values and the
reference's running sums on its sides where the value itself must be right; a maximum or a
log-sum-exp is that of the window and the reference's running ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from yuzu_cli.operators.across import Across
from yuzu_cli.operators.cost import Cost
from yuzu_cli.operators.items import Form, Item, Whole, Window, least
from yuzu_cli.operators.pointwise import POINTWISE, windows
from yuzu_cli.operators.reach import Reach
from yuzu_cli.operators.record import JUMP, NONE, STEEP, WHOLE, Step, axes_of, mean_width, operator
from yuzu_cli.operators.windows import Sketch

_aten = torch.ops.aten

TOTAL = "sum of deltas"
RUNNING_TOTAL = "sum of the window and of the reference around it"
EXTREME = "from the reference before and after the window"


class Reduction(Across):
    """A reduction; over other axes it is done at each position."""

    makes = NONE
    through = True
    ends = True

    def decode(self, dim: Any = None, keepdim: bool = False, dtype: Any = None, **_: Any) -> None:
        self.axes = axes_of(dim, len(self.call.shape_of(self.call.source)))
        self.keepdim, self.converts = bool(keepdim), dtype is not None

    def way(self) -> str:
        if isinstance(self.call.reach_of(self.call.node), Reach):
            return super().way()
        source = self.call.reach_of(self.call.source)
        if not isinstance(source, Reach) or len(self.call.touched) > 1:
            return WHOLE
        # A flattened tensor has one axis left, and all positions are in it.
        axis = source.axis if source.flat is None else 1
        if axis not in self.axes or 0 in self.axes or self.converts:
            return WHOLE
        return self.ending(source)

    def ending(self, source: Reach) -> str:
        return WHOLE

    def cost(self, letters: bool) -> Cost:
        if self.way() == POINTWISE:
            return super().cost(letters)
        before = self.call.window_of(self.call.source)
        numel = math.prod(self.call.shape_of(self.call.source))
        return Cost(0, self.sweeps() * numel / before.size * mean_width(before) * self.item)

    def sweeps(self) -> float:
        """How often the window is read or written, where it ends."""
        raise NotImplementedError

    def lower(self) -> Step:
        return super().lower() if self.way() == POINTWISE else self.ended()

    def ended(self) -> Step:
        """The whole tensor from the window that ends."""
        raise NotImplementedError

    def positions_only(self, source: Reach) -> bool:
        """Whether no other axis that is longer than one is reduced too."""
        shape = self.call.shape_of(self.call.source)
        return source.flat is None and all(a == source.axis or shape[a] == 1 for a in self.axes)

    def other_axes(self) -> dict[str, Any]:
        """The other axes that are summed too, among those that the channels hold."""
        source, shape = self.call.window_of(self.call.source), self.call.shape_of(self.call.source)
        if source.flat is not None:
            return {"others": [0], "sizes": [-1]}
        rest = [a for a in range(1, len(shape)) if a != source.axis]
        return {
            "others": [rest.index(a) for a in self.axes if a in rest],
            "sizes": [shape[a] for a in rest],
        }


@operator(_aten.sum.dim_IntList, _aten.mean.dim)
class Total(Reduction):
    """A sum or a mean."""

    linear = True

    def ending(self, source: Reach) -> str:
        # A sum by another order of terms rounds otherwise: nothing may jump at it.
        if self.exact == JUMP:
            return WHOLE
        floating = self.call.spec.dtype.is_floating_point
        return RUNNING_TOTAL if self.exact and floating else TOTAL

    def sweeps(self) -> float:
        return 1 if self.way() == TOTAL else 4

    def divisor(self) -> float:
        shape = self.call.shape_of(self.call.source)
        mean = self.call.node.target is _aten.mean.dim
        return float(math.prod(shape[a] for a in self.axes)) if mean else 1.0

    def ended(self) -> Step:
        return self.of_deltas() if self.way() == TOTAL else self.of_values()

    def of_deltas(self) -> Step:
        call = self.call

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Whole:
            win = sketch.expand(sketch.delta(windows(items, [call.source])[0]))
            at = sketch.emit(
                "total", (win.at,), (*sketch.mutants, *call.shape[1:]), sketch.dtype(win.at),
                factor=1.0 / self.divisor(), **self.other_axes(),
            )  # fmt: skip
            return Whole(call.name, at, True)

        return step

    def of_values(self) -> Step:
        call = self.call

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Whole:
            win = sketch.expand(windows(items, [call.source])[0])
            rows, halo = sketch.rows(win.name, win.axis)
            others = self.other_axes()
            around = sketch.once(
                (call.name, "sums"), "running sums", (rows, sketch.reference(call.name)), None,
                halo=halo, size=win.frame.size, divisor=self.divisor(), **others,
            )  # fmt: skip
            at = sketch.emit(
                "running total", (precise(sketch, win, 0.0), around),
                (*sketch.mutants, *call.shape[1:]), call.spec.dtype, divisor=self.divisor(),
                **others, **edges(win),
            )  # fmt: skip
            return Whole(call.name, at, False)

        return step


def edges(win: Window) -> dict[str, Any]:
    """Rows of the reference before each window, and the first row behind it."""
    frame = win.frame
    return {
        "ahead": frame.start.clip(0, frame.size),
        "behind": (frame.start + frame.width).clip(0, frame.size),
    }


class Extreme(Reduction):
    """What is had from the window's values and the reference's running results on its sides."""

    beside, whole = "", ""
    """The kernels of these, and of all."""

    def ending(self, source: Reach) -> str:
        return EXTREME if self.positions_only(source) else WHOLE

    def sweeps(self) -> float:
        return 4

    def inside(self, sketch: Sketch, win: Window) -> int:
        """The window's values, those outside the tensor counting for nothing."""
        raise NotImplementedError

    def ended(self, **args: Any) -> Step:
        call = self.call

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Whole:
            win = sketch.expand(windows(items, [call.source])[0])
            rows, halo = sketch.rows(win.name, win.axis)
            sides = sketch.once(
                (call.name, "sides"), self.beside, (rows,), None, halo=halo, size=win.frame.size
            )
            at = sketch.emit(
                self.whole, (self.inside(sketch, win), sides),
                (*sketch.mutants, *call.shape[1:]), call.spec.dtype, **args, **edges(win),
            )  # fmt: skip
            return Whole(call.name, at, args.get("relative", False))

        return step


@operator(_aten.amax.default)
class Maximum(Extreme):
    """The largest of the window's values and the reference's running maxima on its sides."""

    beside, whole = "running maxima", "running maximum"

    def inside(self, sketch: Sketch, win: Window) -> int:
        return sketch.masked(sketch.value(win), least(sketch.value_dtype(win.name))).at


@operator(_aten.amin.default)
class Minimum(Reduction):
    """The least over other axes."""


@operator(_aten.logsumexp.default)
class LogSumExp(Extreme):
    """Log-sum-exp over positions, less the reference's own.

    Sums of exponentials are kept in double precision: their effects are differences of numbers near
    each other, and running sums in single precision would lose what one pass over the row keeps.
    """

    beside, whole = "running log-sums", "running log-sum"
    through = False

    def ending(self, source: Reach) -> str:
        return WHOLE if self.exact == JUMP else super().ending(source)

    def inside(self, sketch: Sketch, win: Window) -> int:
        return precise(sketch, win, float("-inf"))

    def ended(self, **args: Any) -> Step:
        return super().ended(relative=not self.exact)


def precise(sketch: Sketch, win: Window, fill: float) -> int:
    """The window's values in double precision, `fill` outside the tensor: (w, P, K, B, C)."""
    reads = [win.at]
    if win.form is Form.DELTA:
        reads.append(sketch.beneath(win.name, win.axis, win.frame))
    outside = np.flatnonzero(win.frame.outside().reshape(-1))
    return sketch.emit(
        "precise", reads, sketch.rows_of(win), torch.float64, index=outside, fill=fill
    )


@operator(_aten.prod.dim_int)
class Multiplied(Reduction):
    """A product over other axes."""

    makes = STEEP
