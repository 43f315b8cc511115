"""Sums weighted by a softmax over the positions: attention of one query."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.operators.across import Across
from yuzu_cli.operators.cost import Cost
from yuzu_cli.operators.items import Item, Whole
from yuzu_cli.operators.pointwise import windows
from yuzu_cli.operators.reach import EVERYWHERE, UNTOUCHED, AnyReach, Reach, join
from yuzu_cli.operators.record import JUMP, NONE, WHOLE, Step, mean_width, operator
from yuzu_cli.operators.reductions import edges, precise
from yuzu_cli.operators.windows import Sketch

ATTENTION = "softmax from the reference before and after the window"


@operator(ops.softmax_sum)
class SoftmaxSum(Across):
    """A sum over positions weighted by a softmax over them, less the reference's own.

    Three parts are weighed against each other: the window, and the reference before and after it.
    Each is known by the log-sum-exp of its logits and the weighted mean of its values.
    """

    makes = NONE
    ends = True

    def decode(
        self,
        logits: Any = None,
        values: Any = None,
        axis: int = 0,
        keepdim: bool = False,
        shift: Any = None,
        **_: Any,
    ) -> None:
        self.logits, self.values, self.axis, self.keepdim = logits, values, axis, keepdim
        self.axes = [axis]
        self.shift: Node | None = shift

    def reach(self) -> AnyReach:
        touched = [self.call.reach_of(n) for n in self.call.touched]
        intervals = [r for r in touched if isinstance(r, Reach) and r.flat is None]
        if len(intervals) < len(touched):
            return EVERYWHERE
        hull = join(intervals)
        if not isinstance(hull, Reach):
            return EVERYWHERE
        return self.reduced(hull)

    def way(self) -> str:
        if isinstance(self.call.reach_of(self.call.node), Reach):
            return super().way()
        first, second = (self.call.reach_of(a) for a in (self.logits, self.values))
        if not isinstance(first, Reach) or not isinstance(second, Reach):
            return WHOLE
        same = (first.axis, first.size, first.flat) == (second.axis, second.size, second.flat)
        axis = first.axis if first.flat is None else 1
        shift = self.shift
        if (
            shift is not None
            and self.call.reach_of(shift) is not EVERYWHERE
            and shift.name not in self.call.program.constants
        ):
            return WHOLE
        return ATTENTION if same and axis == self.axis and self.exact != JUMP else WHOLE

    def reads_windows(self) -> list[Node]:
        """The arguments that must be windows: the shift is none in any case."""
        return list(dict.fromkeys([self.logits, self.values]))

    def cost(self, letters: bool) -> Cost:
        if self.way() != ATTENTION:
            return super().cost(letters)
        before = self.call.window_of(self.logits)
        most = max(math.prod(self.call.shape_of(n)) for n in self.reads_windows())
        return Cost(0, 12 * most / before.size * mean_width(before) * self.item)

    def lower(self) -> Step:
        if self.way() != ATTENTION:
            return super().lower()
        call, nodes = self.call, [self.logits, self.values]
        hull = join([call.window_of(n) for n in nodes])
        assert isinstance(hull, Reach)
        flat, axis = hull.flat is not None, hull.axis
        rests = None if flat else [
            tuple(s for i, s in enumerate(call.shape_of(n)) if i not in (0, axis)) for n in nodes
        ]  # fmt: skip

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Whole:
            wins = [sketch.expand(w) for w in windows(items, nodes)]
            frame = sketch.common(wins, hull)
            wins = [w if w.frame.same(frame) else sketch.values(w, frame) for w in wins]
            rows = [sketch.rows(w.name, w.axis) for w in wins]
            sides = sketch.once(
                (call.name, "sides"), "softmax sides", [r for r, _ in rows], None,
                halos=[h for _, h in rows], size=frame.size, rests=rests,
            )  # fmt: skip
            logits = precise(sketch, wins[0], float("-inf"))
            reads = [logits, precise(sketch, wins[1], 0.0), sides]
            shift = self.shift_of(sketch, items)
            if shift is not None:
                reads.append(shift)
            at = sketch.emit(
                "softmax sum", reads, (*sketch.mutants, *call.shape[1:]), call.spec.dtype,
                rests=rests, relative=not self.exact, **edges(wins[0]),
            )  # fmt: skip
            return Whole(call.name, at, not self.exact)

        return step

    def shift_of(self, sketch: Sketch, items: Mapping[str, Item]) -> int | None:
        """The shift for every mutant, or what changed of it; None where nothing did."""
        shift = self.shift
        if shift is None:
            return None
        item = items.get(shift.name)
        if item is None:
            assert self.call.reach_of(shift) is UNTOUCHED
            if not self.exact:
                return None
            value = self.call.constant(shift)
            return sketch.input(("value of", shift.name), tuple(value.shape), value.dtype)
        assert isinstance(item, Whole)
        return sketch.whole_value(item) if self.exact else sketch.whole_delta(item)
