"""Positions from a list: mirrored ends, rolls, picks, uneven pools, repeats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.operators.cost import Cost
from yuzu_cli.operators.frames import Frame
from yuzu_cli.operators.items import Form, Item, Window
from yuzu_cli.operators.moves import MOVE, Move
from yuzu_cli.operators.pointwise import here, windows
from yuzu_cli.operators.reach import EVERYWHERE, AnyReach
from yuzu_cli.operators.record import (
    Interval,
    Operator,
    Step,
    axes_of,
    operator,
)
from yuzu_cli.operators.tables import Table, table_of, through
from yuzu_cli.operators.windows import Sketch

_aten = torch.ops.aten


LISTED = "positions from a list"


@operator(
    _aten.upsample_nearest1d.default,
    _aten.upsample_nearest2d.default,
    _aten._upsample_nearest_exact1d.default,
    _aten._upsample_nearest_exact2d.default,
)
class Upsample(Move):
    """Every position repeated; by a factor that is no whole number, positions from a list."""

    def reach(self) -> AnyReach:
        reach = self.call.only_source()
        table = table_of(self.call.node, self.call.program, reach.axis)
        return EVERYWHERE if table is None else through(table, reach)

    def table(self) -> Table:
        table = table_of(self.call.node, self.call.program, self.call.only_source().axis)
        assert table is not None
        return table

    def repeats(self) -> int:
        """Times that every position is repeated; 0 where that differs."""
        size = self.call.window_of(self.call.source).size
        factor = self.call.reach.size // size
        even = np.array_equal(self.table().index[:, 0], np.arange(size * factor) // max(1, factor))
        return factor if factor * size == self.call.reach.size and even else 0

    def way(self) -> str:
        return MOVE if self.repeats() else LISTED

    def need(self, source: Node, mine: Interval) -> Interval:
        return read_of(self.table(), mine, self.call.window_of(source).size)

    def lower(self) -> Step:
        call, factor = self.call, self.repeats()
        if not factor:
            return listed(self, self.table())

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            win = windows(items, [call.source])[0]
            frame = Frame(win.frame.start * factor, win.frame.width * factor, call.reach.size)
            shape = (frame.width, *sketch.rows_of(win)[1:])
            at = sketch.emit("repeat", (win.at,), shape, sketch.dtype(win.at), count=factor)
            return here(call, sketch, frame, at, win.form)

        return step


@operator(
    _aten.reflection_pad1d.default,
    _aten.reflection_pad2d.default,
    _aten.replication_pad1d.default,
    _aten.replication_pad2d.default,
    _aten.roll.default,
    _aten._adaptive_avg_pool2d.default,
    _aten.index_select.default,
    ops.adaptive_max,
    ops.pick,
)
class Listed(Move):
    """Every position of the value reads listed positions."""

    def decode(self, **_: Any) -> None:
        # Only what has as many windows as asked for of the position axis alone is known.
        self.linear = self.call.node.target is not ops.adaptive_max

    def reach(self) -> AnyReach:
        call = self.call
        reach = call.only_source()
        if call.node.target in (_aten.index_select.default, ops.pick):
            axis = axes_of(call.node.args[1], len(call.shape))[0]
            if axis == 0:
                return EVERYWHERE
            if axis != reach.axis:
                return reach.moved()
        table = self.table()
        return EVERYWHERE if table is None else through(table, reach)

    def table(self) -> Table | None:
        source = self.call.window_of(self.call.source)
        return table_of(self.call.node, self.call.program, source.axis)

    def way(self) -> str:
        return LISTED if self.table() is not None else MOVE

    def need(self, source: Node, mine: Interval) -> Interval:
        table = self.table()
        return mine if table is None else read_of(table, mine, self.call.window_of(source).size)

    def cost(self, letters: bool) -> Cost:
        return self.passes(2)

    def lower(self) -> Step:
        table = self.table()
        if table is not None:
            return listed(self, table)
        axis, index = (
            axes_of(self.call.node.args[1], len(self.call.shape))[0],
            self.call.node.args[2],
        )
        rows = self.call.constant(index)
        return self.renamed(lambda x: x.index_select(axis, rows), self.call.reach.axis)


def read_of(table: Table, mine: Interval, size: int) -> Interval:
    """The positions that a stretch of a listed value reads."""
    read = table.index[mine[0] : mine[1]]
    return (int(read.min()), int(read.max()) + 1) if read.size else (0, size)


def listed(operator: Operator, table: Table) -> Step:
    """Rows that stand in a list, summed with its factors, or the largest of them."""
    call, index, weight = operator.call, table.index, table.weight
    many = index.shape[1] > 1
    by_value = weight is None or (many and bool(operator.exact))

    def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
        win = sketch.expand(windows(items, [call.source])[0])
        keep = win.form is Form.VALUE and not many
        frame = sketch.frame(call.reach, win.frame)
        lines = frame.rows().clip(0, frame.size - 1)
        result = None
        for k in range(index.shape[1]):
            at, shape = picked(sketch, win, index[lines, k], by_value or keep)
            factor = None if weight is None or (weight[:, k] == 1).all() else weight[lines, k]
            kernel = "largest" if weight is None else "add scaled"
            if result is None and factor is None:
                result = at
            else:
                reads = (at,) if result is None else (result, at)
                result = sketch.emit(
                    kernel, reads, shape, sketch.dtype(at), over=reads[0], factor=factor
                )
        assert result is not None
        form = Form.VALUE if by_value or keep else Form.DELTA
        made = here(call, sketch, frame, result, form)
        return made if form is Form.VALUE else sketch.masked(made)

    return step


def picked(sketch: Sketch, win: Window, absolute: Any, by_value: bool) -> tuple[int, Any]:
    """Rows of a window's tensor at any positions (v, P): values, or deltas."""
    shape = (len(absolute), *sketch.rows_of(win)[1:])
    if by_value and win.form is Form.VALUE:
        return sketch.regather_values(win, absolute), shape
    at = sketch.regather(sketch.delta(win), absolute)
    if by_value:
        beneath = sketch.beneath_at(win.name, win.axis, absolute)
        at = sketch.emit("add", (at, beneath), shape, sketch.dtype(beneath), over=at)
    return at, shape
