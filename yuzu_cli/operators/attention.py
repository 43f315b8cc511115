"""Attention: for each of many queries, a sum weighted by a softmax over the positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.operators.causal import onwards
from yuzu_cli.operators.cost import Cost
from yuzu_cli.operators.items import Form, Item, Whole, Window
from yuzu_cli.operators.pointwise import here, windows
from yuzu_cli.operators.reach import EVERYWHERE, UNTOUCHED, AnyReach, Reach, join
from yuzu_cli.operators.record import (
    NONE,
    WHOLE,
    Interval,
    Operator,
    Step,
    mean_width,
    operator,
)
from yuzu_cli.operators.windows import Sketch

EXCHANGED = "attention with the changed keys exchanged"
ONWARDS = "attention of the queries from the first change on"


@operator(ops.attention)
class Attended(Operator):
    """Sums for every query, where few keys and values and few queries change.

    Where no query reads a position after its own, only those from the first change on change.
    """

    makes = NONE
    ends = True

    def decode(
        self, query: Any = None, key: Any = None, value: Any = None, heads: int = 1,
        scale: float = 1.0, bias: Any = None, causal: bool = False, **_: Any,
    ) -> None:  # fmt: skip
        self.query, self.key, self.value, self.heads = query, key, value, heads
        self.scale, self.bias, self.causal = scale, bias, causal

    def reach(self) -> AnyReach:
        found = [self.call.reach_of(n) for n in (self.query, self.key, self.value)]
        rows = [r for r in found if isinstance(r, Reach) and _of_rows(r)]
        if not self.causal or len(rows) < len(found):
            return EVERYWHERE
        hull = join(rows)
        return onwards(hull) if isinstance(hull, Reach) else EVERYWHERE

    @property
    def part(self) -> Reach | None:
        """The queries that change, where these are not all."""
        found = self.call.reach_of(self.call.node)
        return found if isinstance(found, Reach) else None

    def way(self) -> str:
        call = self.call
        found = [call.reach_of(n) for n in (self.key, self.value)]
        query = call.reach_of(self.query)
        if self.exact or (query is not UNTOUCHED and not _of_rows(query)):
            return WHOLE
        if self.bias is not None and self.bias.name not in call.program.constants:
            return WHOLE
        if not all(_of_rows(r) for r in found):
            return WHOLE
        return EXCHANGED if self.part is None else ONWARDS

    def reads_windows(self) -> list[Node]:
        return [
            n for n in dict.fromkeys([self.query, self.key, self.value]) if n in self.call.touched
        ]

    def need(self, source: Node, mine: Interval) -> Interval:
        if self.part is None:
            return super().need(source, mine)
        return (0, mine[1]) if source in (self.key, self.value) else mine

    def macs(self) -> float:
        queries, keys = self.call.shape_of(self.query), self.call.shape_of(self.key)
        return float(queries[1] * keys[1] * (queries[2] + self.call.shape[2]))

    def cost(self, letters: bool) -> Cost:
        if self.part is None or self.exchanges():
            return self.cost_of_exchange()
        return self.cost_of_queries()

    def exchanges(self) -> bool:
        """Whether changed keys are exchanged, rather than all that changed queries read is read."""
        return self.part is None or self.cost_of_exchange().macs < self.cost_of_queries().macs

    def cost_of_exchange(self) -> Cost:
        call = self.call
        queries, keys = call.shape_of(self.query), call.shape_of(self.key)
        hull = join([call.window_of(n) for n in (self.key, self.value)])
        width, width_q = mean_width(hull), 0.0
        if call.reach_of(self.query) is not UNTOUCHED:
            width_q = mean_width(call.window_of(self.query))
        out, rows = call.shape[2], queries[1] if self.part is None else mean_width(self.part)
        macs = width * rows * (queries[2] + 2 * out) + width_q * keys[1] * (keys[2] + out)
        moved = 4 * rows * out + self.heads * (8 * width * rows + 4 * width_q * keys[1])
        return Cost(macs, moved * self.item)

    def cost_of_queries(self) -> Cost:
        keys, out = self.call.shape_of(self.key), self.call.shape[2]
        share = mean_width(self.call.reach) / keys[1]
        moved = 3 * keys[1] * (keys[2] + out) + 4 * share * self.call.spec.numel
        return Cost(share * self.macs(), moved * self.item)

    def lower(self) -> Step:
        return self.exchange() if self.exchanges() else self.of_queries()

    def of_queries(self) -> Step:
        """Queries from the first change on, all keys and values."""
        call = self.call

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            query, key, value = windows(items, [self.query, self.key, self.value])
            frame = sketch.frame(call.reach)
            assert frame.common
            reads = [sketch.values(query, frame).at]
            reads += [sketch.lay_whole(win, deltas=False) for win in (key, value)]
            reads += [] if self.bias is None else [self.whole(sketch, self.bias)]
            at = sketch.emit(
                "attention onwards", reads, (frame.width, *sketch.shape, call.shape[2]),
                call.spec.dtype, first=int(frame.start[0]), heads=self.heads, scale=self.scale,
            )  # fmt: skip
            return here(call, sketch, frame, at, Form.VALUE)

        return step

    def exchange(self) -> Step:
        """The changed keys of every query exchanged, and the changed queries."""
        call, heads, causal = self.call, self.heads, self.causal
        hull = join([call.window_of(n) for n in (self.key, self.value)])
        assert isinstance(hull, Reach)
        layer: dict[str, Any] = {"heads": heads, "causal": causal}

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Whole | Window:
            into = None if self.part is None else sketch.frame(self.part)
            part = slice(0, call.shape[1])
            if into is not None:
                assert into.common
                part = slice(int(into.start[0]), int(into.start[0]) + into.width)
            wins = [sketch.delta(w) for w in windows(items, [self.key, self.value])]
            frame = sketch.common(wins, hull)
            dk, dv = (sketch.expand(sketch.reframe(w, frame)).at for w in wins)
            whole = [self.whole(sketch, n) for n in (self.query, self.key, self.value)]
            bias = [] if self.bias is None else [self.whole(sketch, self.bias)]
            held = sketch.once(
                (call.name, "held"), "attention reference", [*whole, *bias], None,
                scale=self.scale, **layer,
            )  # fmt: skip
            at = frame.rows().clip(0, frame.size - 1)
            unique, inverse = np.unique(at.reshape(-1), return_inverse=True)
            before = sketch.reference(call.name)
            shape = (*sketch.mutants, part.stop - part.start, call.shape[2])
            made = sketch.emit(
                "attention", [held, before, dk, dv, *bias], shape, call.spec.dtype, at=at,
                unique=unique, inverse=inverse.reshape(-1), part=part,
                outside=np.flatnonzero(frame.outside().reshape(-1)), **layer,
            )  # fmt: skip
            if call.reach_of(self.query) is not UNTOUCHED:
                win = sketch.value(sketch.expand(windows(items, [self.query])[0]))
                rows = win.frame.rows()
                inside = np.flatnonzero(((rows >= part.start) & (rows < part.stop)).reshape(-1))
                made = sketch.emit(
                    "attention of changed queries", [held, before, made, win.at, dk, dv, *bias],
                    shape, call.spec.dtype, over=made, at=at,
                    rows=rows.clip(0, win.frame.size - 1), inside=inside, part=part,
                    scale=self.scale, **layer,
                )  # fmt: skip
            if into is None:
                return Whole(call.name, made, True)
            shape = (into.width, *sketch.shape, call.shape[2])
            made = sketch.emit("window of whole", (made,), shape, call.spec.dtype)
            return here(call, sketch, into, made, Form.DELTA)

        return step

    def whole(self, sketch: Sketch, node: Node) -> int:
        """The reference's tensor, or a constant."""
        value = self.call.program.constants.get(node.name)
        if value is None:
            return sketch.reference(node.name)
        return sketch.input(("value of", node.name), tuple(value.shape), value.dtype)


def _of_rows(reach: AnyReach) -> bool:
    """Whether a tensor (N, L, C) has windows."""
    return isinstance(reach, Reach) and reach.flat is None and reach.axis == 1
