"""Linear layers: at each position, after a flatten, or over the positions themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from yuzu_cli.graph import ops
from yuzu_cli.operators.cost import Cost
from yuzu_cli.operators.frames import Frame, overlap, runs
from yuzu_cli.operators.items import Item, Whole, Window
from yuzu_cli.operators.pointwise import SamePositions, here, windows
from yuzu_cli.operators.reach import EVERYWHERE, AnyReach, Reach
from yuzu_cli.operators.record import (
    JUMP,
    NONE,
    WHOLE,
    Step,
    mean_width,
    operator,
)
from yuzu_cli.operators.windows import Sketch

MATRIX = "matrix per position"
DENSE = "dense on the slice that changed"
ACROSS = "matrix over the positions that changed"
GROUPED = "a matrix per group over the positions that changed"


@operator(ops.linear)
class Linear(SamePositions):
    """x (..., I) times a weight (I, O) plus a bias."""

    makes = NONE
    linear = True
    weighted = True
    ends = True

    def decode(self, weight: Any = None, bias: Any = None, **_: Any) -> None:
        self.weight, self.bias = weight, bias

    def reach(self) -> AnyReach:
        reach = self.call.only_source()
        return EVERYWHERE if reach.axis == len(self.call.shape) - 1 else reach.moved()

    def macs(self) -> float:
        return self.call.spec.numel * float(self.call.shape_of(self.weight)[-2])

    def way(self) -> str:
        call = self.call
        call.constant(self.weight)
        if isinstance(call.reach_of(call.node), Reach):
            return MATRIX
        source = call.reach_of(call.source)
        if not isinstance(source, Reach) or len(call.touched) > 1 or self.exact == JUMP:
            return WHOLE
        if source.flat is not None:
            return DENSE
        return ACROSS if source.axis == len(call.shape_of(call.source)) - 1 else WHOLE

    def cost(self, letters: bool) -> Cost:
        call, way, outputs = self.call, self.way(), self.call.shape[-1]
        if way == MATRIX:
            return self.passes(2, self.elements() * call.shape_of(self.weight)[0])
        before = call.window_of(call.source)
        rows, numel = mean_width(before), math.prod(call.shape_of(call.source))
        inputs = numel / before.size * rows
        if way == DENSE:
            return Cost(inputs * outputs, (2 * inputs + outputs) * self.item)
        return Cost(inputs * outputs, (2 * inputs + call.spec.numel) * self.item)

    def lower(self) -> Step:
        return {MATRIX: self.matrix, DENSE: self.dense, ACROSS: self.across}[self.way()]()

    def matrix(self) -> Step:
        """At every position: deltas times the weight, or values and the bias."""
        call, weight = self.call, self.call.constant(self.weight)
        bias = None if self.bias is None else call.constant(self.bias)

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            given = windows(items, [call.source])[0]
            win = sketch.value(given) if self.exact else sketch.delta(given)
            shape = (*sketch.rows_of(win)[:4], math.prod(call.rest()))
            at = sketch.emit("matrix", (win.at,), shape, call.spec.dtype, weight=weight)
            if self.exact and bias is not None:
                rest = call.rest()
                at = sketch.emit(
                    "add bias", (at,), shape, call.spec.dtype, over=at, bias=bias, rest=rest
                )
            return here(call, sketch, win.frame, at, win.form)

        return step

    def dense(self) -> Step:
        """After a flatten: each window start meets its slice of the weight."""
        call, weight, reach = self.call, self.call.constant(self.weight), None
        reach = call.window_of(call.source)
        assert reach.flat is not None
        shaped = weight.view(*reach.flat, -1).movedim(reach.axis - 1, 0)
        laid_out = shaped.reshape(reach.size, -1, weight.shape[1]).contiguous()

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Whole:
            win = sketch.expand(sketch.delta(windows(items, [call.source])[0]))
            shape, dtype = (*sketch.mutants, call.shape[-1]), call.spec.dtype
            if win.frame.common and win.frame.inside:
                begin = int(win.frame.start[0])
                at = sketch.emit(
                    "dense on one slice", (win.at,), shape, dtype, weight=laid_out, begin=begin
                )
            else:
                alike = sketch.few_starts and by_start(win.frame)
                met = alike or slices(win.frame.start, win.frame.width, reach.size)
                kernel = "dense by start" if alike else "dense on slices"
                at = sketch.emit(kernel, (win.at,), shape, dtype, weight=laid_out, **met)
            return Whole(call.name, at, True)

        return step

    def across(self) -> Step:
        """Over the positions: its rows under the window times the deltas."""
        call, weight = self.call, self.call.constant(self.weight)
        size = call.window_of(call.source).size

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Whole:
            win = sketch.expand(sketch.delta(windows(items, [call.source])[0]))
            shape, frame = (*sketch.mutants, *call.shape[1:]), win.frame
            if frame.common and frame.inside:
                begin = int(frame.start[0])
                piece = weight[begin : begin + frame.width]
                at = sketch.emit(
                    "across one slice", (win.at,), shape, call.spec.dtype, weight=piece
                )
            else:
                index = frame.rows().clip(0, size - 1).T.reshape(-1)
                at = sketch.emit(
                    "across slices", (win.at,), shape, call.spec.dtype, weight=weight, index=index
                )
            return Whole(call.name, at, True)

        return step


@operator(ops.grouped)
class Grouped(Linear):
    """A linear layer for each group of channels, over its positions: x (N, G, I)."""

    def reach(self) -> AnyReach:
        return EVERYWHERE

    def way(self) -> str:
        source = self.call.reach_of(self.call.source)
        known = isinstance(source, Reach) and source.flat is None and source.axis == 2
        return GROUPED if known and self.exact != JUMP and len(self.call.touched) == 1 else WHOLE

    def cost(self, letters: bool) -> Cost:
        rows, made = mean_width(self.call.window_of(self.call.source)), self.call.spec.numel
        return Cost(made * rows, 3 * made * self.item)

    def lower(self) -> Step:
        call, weight = self.call, self.call.constant(self.weight)

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Whole:
            win = sketch.expand(sketch.delta(windows(items, [call.source])[0]))
            pieces = []
            for run, first in runs(win.frame.start):
                own, met = overlap(-first, weight.shape[1], win.frame.width)
                pieces.append((run, own, met.start))
            shape = (*sketch.mutants, *call.shape[1:])
            at = sketch.emit(
                "grouped slices", (win.at,), shape, call.spec.dtype, weight=weight, pieces=pieces
            )
            return Whole(call.name, at, True)

        return step


def by_start(frame: Frame) -> dict[str, Any] | None:
    """Positions whose windows start alike, as many of each start; None if that takes many more.

    Returns
    -------
    dict
        rows : int64, rows of the windows (w * P) as (w, starts, positions of each);
        which : int64 (w, starts), rows of the weight that these meet;
        back : int64 (P,), places of the chunk's positions among them.
    """
    starts, group, sizes = np.unique(frame.start, return_inverse=True, return_counts=True)
    most, count = int(sizes.max()), len(frame.start)
    if most * len(starts) > 2 * count:
        return None
    order = np.argsort(group, kind="stable")
    rank = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    back = np.empty(count, np.int64)
    back[order] = group[order] * most + rank
    member = np.zeros(len(starts) * most, np.int64)  # places that are too many hold any position
    member[back] = np.arange(count)
    lines = np.arange(frame.width)[:, None]
    # A row outside the tensor is zero, whatever it meets.
    which = (starts[None, :] + lines).clip(0, frame.size - 1)
    return {"rows": (lines * count + member).reshape(-1), "which": which, "back": back}


def slices(start: np.ndarray, width: int, size: int) -> dict[str, Any]:
    """How windows meet a weight: every row sorted by its position, and the runs of one position.

    All mutants that reach a position then meet its slice of the weight at once.

    Returns
    -------
    dict
        rows : int64, rows of the windows (w * P) in the order of their positions;
        runs : list of (begin, end) of these, (first, last) of positions of the chunk in the order
        of their starts, and the row of the weight;
        order : int64 (P,), the chunk's positions in that order.
    """
    order = start.argsort(kind="stable")
    count = len(order)
    absolute = start[order][None, :] + np.arange(width)[:, None]
    rank = np.broadcast_to(np.arange(count)[None, :], absolute.shape)
    inside = (absolute >= 0) & (absolute < size)
    flat = (np.arange(width)[:, None] * count + order[None, :])[inside]
    absolute, rank = absolute[inside], rank[inside]
    sort = np.lexsort((rank, absolute))
    absolute, rank = absolute[sort], rank[sort]
    edges = np.flatnonzero(np.diff(absolute, prepend=-1, append=-1))
    pairs = zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    met = [(b, e, int(rank[b]), int(rank[e - 1]) + 1, int(absolute[b])) for b, e in pairs]
    return {"rows": flat[sort], "met": met, "order": order}
