"""Pools over positions: the largest, the mean, a mean weighted by softmax."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.operators.across import Across
from yuzu_cli.operators.cost import Cost
from yuzu_cli.operators.items import Form, Item, Window, least
from yuzu_cli.operators.pointwise import here, windows
from yuzu_cli.operators.reach import EVERYWHERE, AnyReach, Reach, join
from yuzu_cli.operators.record import (
    NONE,
    WHOLE,
    Interval,
    Step,
    operator,
)
from yuzu_cli.operators.sliding import Slider, Sliding, entries
from yuzu_cli.operators.windows import Sketch

MAX_POOL = "max pool"


AVG_POOL = "average pool"


SOFTMAX_POOL = "softmax pool"


class Pool(Slider):
    """A pool: options of the last one or two axes."""

    through = True

    def pools(self, kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> None:
        n = len(list(kernel))
        options = (entries(v, n) for v in (kernel, stride, padding, dilation))
        self.options = [Sliding(*o) for o in zip(*options, strict=True)]

    def reach(self) -> AnyReach:
        reach = self.source_reach()
        if any((o.kernel, o.stride, o.padding) != (1, 1, 0) for o in self.others(reach.axis)):
            return EVERYWHERE
        return self.options[reach.axis - self.first].forward(reach, self.call.shape[reach.axis])


@operator(ops.max_pool)
class MaxPool(Pool):
    """Maxima over values laid out on the pool's own grid."""

    def decode(
        self, kernel: Any = (), stride: Any = (), padding: Any = (), dilation: Any = 1, **_: Any
    ) -> None:
        self.pools(kernel, stride, padding, dilation)

    def way(self) -> str:
        return MAX_POOL

    def cost(self, letters: bool) -> Cost:
        return self.passes(6)

    def lower(self) -> Step:
        call, along = self.call, self.sliding()

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            win = windows(items, [call.source])[0]
            frame = sketch.frame(call.reach, win.frame)
            below = along.below(frame, win.frame.size)
            values = sketch.values_in(win, below, least(sketch.value_dtype(win.name)))
            shape = (frame.width, *sketch.rows_of(values)[1:])
            at = sketch.emit(
                "max pool", (values.at,), shape, sketch.dtype(values.at), kernel_size=along.kernel,
                stride=along.stride, gap=along.dilation,
            )  # fmt: skip
            return here(call, sketch, frame, at, Form.VALUE)

        return step


@operator(ops.avg_pool)
class AvgPool(Pool):
    """Means of deltas, or of values; the divisor of each output position is the model's own."""

    linear = True

    def decode(
        self,
        kernel: Any = (),
        stride: Any = (),
        padding: Any = (),
        ceil: bool = False,
        count_padding: bool = True,
        divisor: int | None = None,
        **_: Any,
    ) -> None:
        self.pools(kernel, stride, padding)
        self.ceil, self.count, self.divisor = bool(ceil), bool(count_padding), divisor

    def way(self) -> str:
        return AVG_POOL

    def divisors(self) -> np.ndarray:
        """What the sum of every output position is divided by."""
        along, before, after = (
            self.sliding(),
            self.call.window_of(self.call.source),
            self.call.reach,
        )
        if self.divisor is not None:
            return np.full(after.size, float(self.divisor))
        # The end of a window, padding counted, lies at most `padding` past the input's.
        begin = np.arange(after.size) * along.stride - along.padding
        end = np.minimum(begin + along.kernel, before.size + along.padding)
        inside = np.minimum(end, before.size) - np.maximum(begin, 0)
        return (end - begin if self.count else inside).astype(np.float64)

    def lower(self) -> Step:
        call, along, divisors = self.call, self.sliding(), self.divisors()
        even = bool((divisors == divisors[0]).all())

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            win = sketch.expand(windows(items, [call.source])[0])
            frame = sketch.frame(call.reach, win.frame)
            below = along.below(frame, win.frame.size)
            read = sketch.values_in(win, below, 0.0) if self.exact else sketch.reframe(win, below)
            divisor = divisors[0] if even else divisors[frame.rows().clip(0, frame.size - 1)]
            shape = (frame.width, *sketch.rows_of(read)[1:])
            at = sketch.emit(
                "average pool", (read.at,), shape, sketch.dtype(read.at), kernel_size=along.kernel,
                stride=along.stride, divisor=divisor,
            )  # fmt: skip
            made = here(call, sketch, frame, at, Form.VALUE if self.exact else Form.DELTA)
            return made if self.exact else sketch.masked(made)

        return step


@operator(ops.softmax_pool)
class SoftmaxPool(Across):
    """Blocks weighed by a softmax: of values on the pool's own grid, or at each position."""

    makes = NONE

    def decode(
        self, logits: Any = None, values: Any = None, axis: int = 0, size: int = 1, **_: Any
    ) -> None:
        self.both, self.axis, self.sliding = [logits, values], axis, Sliding(size, size, 0, 1)

    def reach(self) -> AnyReach:
        reaches = [self.call.reach_of(n) for n in self.call.touched]
        intervals = [r for r in reaches if isinstance(r, Reach) and r.flat is None]
        hull = join(intervals) if len(intervals) == len(reaches) else EVERYWHERE
        if not isinstance(hull, Reach) or hull.axis != self.axis:
            return hull
        return self.sliding.forward(hull, self.call.shape[self.axis])

    def way(self) -> str:
        if self.call.reach.axis != self.axis:
            return super().way()
        return SOFTMAX_POOL if set(self.both) == set(self.call.touched) else WHOLE

    def need(self, source: Node, mine: Interval) -> Interval:
        return self.sliding.back(mine) if self.call.reach.axis == self.axis else mine

    def lower(self) -> Step:
        if self.way() != SOFTMAX_POOL:
            return super().lower()
        call, size = self.call, self.sliding.kernel

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            wins = windows(items, self.both)
            frame = sketch.frame(call.reach, next((w.frame for w in wins if w.frame.common), None))
            below = self.sliding.below(frame, wins[0].frame.size)
            reads = {w.name: sketch.values_in(w, below, 0.0).at for w in wins}
            at, shape = reads[wins[1].name], (frame.width, *sketch.shape, math.prod(call.rest()))
            at = sketch.emit(
                "softmax pool", (reads[wins[0].name], at), shape, sketch.dtype(at), size=size
            )
            return here(call, sketch, frame, at, Form.VALUE)

        return step
