"""Values that only change place: axes renamed, cut, padded, mirrored, repeated, joined, listed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.operators.cost import Cost
from yuzu_cli.operators.frames import Frame, overlap, runs
from yuzu_cli.operators.pointwise import here, windows
from yuzu_cli.operators.reach import EVERYWHERE, AnyReach, Reach, join
from yuzu_cli.operators.record import (
    NONE,
    WHOLE,
    Interval,
    Operator,
    Step,
    Unfamiliar,
    axes_of,
    operator,
)
from yuzu_cli.operators.tables import Table, table_of, through
from yuzu_cli.operators.windows import Form, Item, Sketch, Window

_aten = torch.ops.aten

MOVE = "moved windows"
LISTED = "positions from a list"


class Move(Operator):
    """Other axes renamed; positions stay."""

    makes = NONE
    through = True
    linear = True

    def way(self) -> str:
        return MOVE

    def cost(self, letters: bool) -> Cost:
        return self.passes(0.5)

    def need(self, source: Node, mine: Interval) -> Interval:
        return mine

    def lower(self) -> Step:
        """The node's own call on the windows' other axes."""
        call, node = self.call, self.call.node
        target: Any = node.target

        def function(x: torch.Tensor) -> torch.Tensor:
            return target(x, *node.args[1:], **node.kwargs)

        return self.renamed(function, call.reach.axis)

    def renamed(
        self,
        function: Callable[[torch.Tensor], torch.Tensor] | None,
        axis: int,
        mirror: bool = False,
    ) -> Step:
        """Rows rearranged by a call on the model's axes; as they are where there is none."""
        call = self.call

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            win = windows(items, [call.source])[0]
            frame = win.frame
            if mirror:
                frame = Frame(call.reach.size - frame.start - frame.width, frame.width, frame.size)
            if function is None:
                return here(call, sketch, frame, win.at, win.form)
            shape = (*sketch.rows_of(win)[:4], math.prod(call.rest()))
            at = sketch.emit(
                "apply", (win.at,), shape, sketch.dtype(win.at), function=function,
                layouts=[(win.axis, win.rest)], axis=axis,
            )  # fmt: skip
            return here(call, sketch, frame, at, win.form)

        return step


@operator(_aten.permute.default)
class Permute(Move):
    def decode(self, dims: Any = (), **_: Any) -> None:
        self.axes = axes_of(dims, len(self.call.shape))

    def reach(self) -> AnyReach:
        reach = self.call.only_source()
        return EVERYWHERE if self.axes[0] != 0 else reach.moved(axis=self.axes.index(reach.axis))


@operator(_aten.transpose.int)
class Transpose(Move):
    def decode(self, dim0: int = 0, dim1: int = 0, **_: Any) -> None:
        self.a, self.b = axes_of([dim0, dim1], len(self.call.shape))

    def reach(self) -> AnyReach:
        reach, (a, b) = self.call.only_source(), (self.a, self.b)
        if a != b and 0 in (a, b):
            return EVERYWHERE
        return reach.moved(axis={a: b, b: a}.get(reach.axis, reach.axis))


class Renamed(Move):
    """Axes of one put in or taken out: the rows stay as they are."""

    def lower(self) -> Step:
        return self.renamed(None, 0)


@operator(_aten.unsqueeze.default)
class Unsqueeze(Renamed):
    def decode(self, dim: int = 0, **_: Any) -> None:
        self.axis = axes_of(dim, len(self.call.shape))[0]

    def reach(self) -> AnyReach:
        reach = self.call.only_source()
        return (
            EVERYWHERE
            if self.axis == 0
            else reach.moved(axis=reach.axis + (self.axis <= reach.axis))
        )


@operator(_aten.squeeze.dim, _aten.squeeze.dims, _aten.squeeze.default)
class Squeeze(Renamed):
    def decode(self, dim: Any = None, **_: Any) -> None:
        shape = self.call.shape_of(self.call.source)
        self.gone = [a for a in axes_of(dim, len(shape)) if shape[a] == 1]

    def reach(self) -> AnyReach:
        reach = self.call.only_source()
        if reach.axis in self.gone or 0 in self.gone:
            return EVERYWHERE
        return reach.moved(axis=reach.axis - sum(a < reach.axis for a in self.gone))


@operator(_aten.expand.default)
class Expand(Move):
    """Other axes of one made longer."""

    def decode(self, **_: Any) -> None:
        before, after = self.call.shape_of(self.call.source), self.call.shape
        if len(before) != len(after):
            raise Unfamiliar
        self.sizes = [-1 if a == b else b for a, b in zip(before, after, strict=True)]

    def reach(self) -> AnyReach:
        reach = self.call.only_source()
        return EVERYWHERE if {self.sizes[0], self.sizes[reach.axis]} != {-1} else reach.moved()

    def lower(self) -> Step:
        return self.renamed(lambda x: x.expand(self.sizes), self.call.reach.axis)


@operator(_aten.flip.default)
class Flip(Move):
    def decode(self, dims: Any = (), **_: Any) -> None:
        self.axes = axes_of(dims, len(self.call.shape)) if dims else []

    def reach(self) -> AnyReach:
        reach = self.call.only_source()
        if 0 in self.axes:
            return EVERYWHERE
        if reach.axis not in self.axes:
            return reach.moved()
        return reach.moved(reach.size - reach.stop, reach.size - reach.start)

    def need(self, source: Node, mine: Interval) -> Interval:
        size = self.call.window_of(source).size
        return (size - mine[1], size - mine[0]) if self.call.reach.axis in self.axes else mine

    def lower(self) -> Step:
        call = self.call

        def function(x: torch.Tensor) -> torch.Tensor:
            return x.flip(self.axes)

        return self.renamed(function, call.reach.axis, call.reach.axis in self.axes)


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


# --- positions from a list ----------------------------------------------------------------------


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


# --- joined, regrouped --------------------------------------------------------------------------


@operator(_aten.cat.default)
class Join(Operator):
    """Tensors side by side along another axis, or end to end along the positions."""

    makes = NONE
    through = True

    def decode(self, tensors: Any = (), dim: int = 0, **_: Any) -> None:
        self.parts: list[Node] = list(tensors)
        self.axis = axes_of(dim, len(self.call.shape))[0]

    def reach(self) -> AnyReach:
        call, touched, offset = self.call, [], 0
        for part in self.parts:
            reach = call.reach_of(part)
            if reach is EVERYWHERE or (isinstance(reach, Reach) and reach.flat is not None):
                return EVERYWHERE
            if isinstance(reach, Reach):
                if reach.axis == self.axis:
                    size = call.shape[self.axis]
                    reach = reach.moved(reach.start + offset, reach.stop + offset, size=size)
                touched.append(reach)
            offset += call.shape_of(part)[self.axis]
        return EVERYWHERE if self.axis == 0 else join(touched)

    def way(self) -> str:
        # Beside constants, and end to end, only deltas are joined.
        values = self.axis != self.call.reach.axis and set(self.parts) == set(self.call.touched)
        return MOVE if values or not self.exact else WHOLE

    def cost(self, letters: bool) -> Cost:
        return self.passes(0.5)

    def need(self, source: Node, mine: Interval) -> Interval:
        reach = self.call.window_of(source)
        if self.axis != reach.axis:
            return mine
        at = np.cumsum([0, *(self.call.shape_of(p)[self.axis] for p in self.parts)]).tolist()
        mine_at = [o for o, p in zip(at, self.parts, strict=False) if p is source]
        return mine[0] - max(mine_at), mine[1] - min(mine_at)

    def lower(self) -> Step:
        return self.end_to_end() if self.axis == self.call.reach.axis else self.side_by_side()

    def side_by_side(self) -> Step:
        """Channels side by side: deltas of the touched parts, zeros for the others."""
        call, own = self.call, self.call.reach
        among = self.axis - 1 - (self.axis > own.axis)
        rests = [
            tuple(s for i, s in enumerate(call.shape_of(n)) if i not in (0, own.axis))
            for n in self.parts
        ]

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            touched = call.touched
            given = windows(items, touched)
            alone = len(touched) == len(set(self.parts))
            values = alone and (self.exact or all(w.form is Form.VALUE for w in given))
            wins = given if values else [sketch.expand(sketch.delta(w)) for w in given]
            frame = sketch.common(wins, own)
            laid = {
                n.name: (sketch.values(w, frame) if values else sketch.reframe(w, frame)).at
                for n, w in zip(touched, wins, strict=True)
            }
            names = [n.name for n in self.parts]
            reads = [laid[n] for n in dict.fromkeys(names) if n in laid]
            order = {n: i for i, n in enumerate(n for n in dict.fromkeys(names) if n in laid)}
            shape = (frame.width, *sketch.shape, math.prod(call.rest()))
            dtype = call.spec.dtype if call.spec.dtype.is_floating_point else sketch.dtype(reads[0])
            at = sketch.emit(
                "side by side", reads, shape, dtype, order=[order.get(n) for n in names],
                rests=rests, axis=among, rest=call.rest(),
            )  # fmt: skip
            return here(call, sketch, frame, at, Form.VALUE if values else Form.DELTA)

        return step

    def end_to_end(self) -> Step:
        """Positions one after the other: each part's windows where the part stands."""
        call, own = self.call, self.call.reach
        offsets = np.cumsum([0, *(call.shape_of(n)[own.axis] for n in self.parts)]).tolist()

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            touched = call.touched
            given = windows(items, touched)
            wins = {
                n.name: sketch.expand(sketch.delta(w)) for n, w in zip(touched, given, strict=True)
            }
            frame = sketch.frame(own)
            first = next(iter(wins.values()))
            dtype, shape = sketch.dtype(first.at), (frame.width, *sketch.rows_of(first)[1:])
            at = sketch.emit("zeros", (), shape, dtype)
            for part, offset in zip(self.parts, offsets, strict=False):
                if part.name in wins:
                    win = wins[part.name]
                    moves = [
                        (*overlap(o, win.frame.width, frame.width), run)
                        for run, o in runs(win.frame.start + offset - frame.start)
                    ]
                    at = sketch.emit(
                        "accumulate", (at, win.at), shape, dtype, over=at, moves=moves, factor=1.0,
                        rest=win.rest, tail=win.rest,
                    )  # fmt: skip
            return here(call, sketch, frame, at, Form.DELTA)

        return step


@operator(_aten.reshape.default)
class Reshape(Move):
    """Other axes regrouped; positions kept, cut into blocks, joined with the axis after them, or
    flattened with all others.
    """

    def reach(self) -> AnyReach:
        call = self.call
        reach = call.only_source(flat=True)
        before, after = call.spec_of(call.source), call.spec
        if before.batch_axis != 0 or before.shape[0] != 1 or after.shape[0] != 1:
            return EVERYWHERE
        found = keep_axis(self.before(reach), after.shape, reach.axis)
        if found is not None:
            axis, blocks, repeats = found
            start = (reach.start * repeats) // blocks
            stop = -((-reach.stop * repeats) // blocks)
            return Reach(axis, after.shape[axis], start, stop)
        if len(after.shape) == 2 and reach.flat is None:
            return Reach(reach.axis, reach.size, reach.start, reach.stop, before.shape[1:])
        return EVERYWHERE

    def before(self, reach: Reach) -> tuple[int, ...]:
        return (1, *reach.flat) if reach.flat is not None else self.call.shape_of(self.call.source)

    def kept(self) -> tuple[int, int, int] | None:
        old = self.call.window_of(self.call.source)
        return keep_axis(self.before(old), self.call.shape, old.axis)

    def need(self, source: Node, mine: Interval) -> Interval:
        if self.call.reach.flat is not None:
            return mine
        found = self.kept()
        if found is None:
            return super().need(source, mine)
        _, blocks, repeats = found
        return mine[0] * blocks // repeats, -(-mine[1] * blocks // repeats)

    def lower(self) -> Step:
        if self.call.reach.flat is not None:
            return self.renamed(None, 0)
        found = self.kept()
        assert found is not None
        _, blocks, repeats = found
        if blocks == repeats == 1:
            return self.renamed(None, 0)
        return self.cut(blocks) if blocks > 1 else self.joined(repeats)

    def cut(self, blocks: int) -> Step:
        """L -> L/k, k."""
        call, old = self.call, self.call.window_of(self.call.source)
        ahead = math.prod(self.before(old)[1 : old.axis])

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            win = sketch.expand(windows(items, [call.source])[0])
            frame = sketch.frame(call.reach, win.frame)
            below = Frame(frame.start * blocks, frame.width * blocks, old.size)
            value = win.form is Form.VALUE
            rows = sketch.values_in(win, below, 0.0) if value else sketch.reframe(win, below)
            shape = (frame.width, *sketch.shape, math.prod(call.rest()))
            at = sketch.emit(
                "cut", (rows.at,), shape, sketch.dtype(rows.at), blocks=blocks, ahead=ahead
            )
            return here(call, sketch, frame, at, win.form)

        return step

    def joined(self, repeats: int) -> Step:
        """L, k -> L*k."""
        call, old = self.call, self.call.window_of(self.call.source)
        ahead = math.prod(self.before(old)[1 : old.axis])

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            win = sketch.expand(windows(items, [call.source])[0])
            frame = Frame(win.frame.start * repeats, win.frame.width * repeats, call.reach.size)
            shape = (frame.width, *sketch.shape, math.prod(call.rest()))
            at = sketch.emit(
                "join", (win.at,), shape, sketch.dtype(win.at), repeats=repeats, ahead=ahead
            )
            return here(call, sketch, frame, at, win.form)

        return step


def keep_axis(old: tuple[int, ...], new: tuple[int, ...], axis: int) -> tuple[int, int, int] | None:
    """Where a reshape leaves the position axis: (new axis, block length, repeats), or None.

    The axis survives when as many elements precede it as before, and it is whole, cut into blocks
    (``L -> L/k, k``) or joined with the axis after it (``L, k -> L*k``).
    """
    size, ahead = old[axis], math.prod(old[:axis])
    places = [j for j in range(1, len(new)) if math.prod(new[:j]) == ahead]
    for j in places:  # first: axes of one may have been put before it
        if new[j] == size:
            return j, 1, 1
    for j in places:
        length = new[j]
        behind = new[j + 1] if j + 1 < len(new) else 1
        if length < size and length * behind == size:
            return j, behind, 1
        after = old[axis + 1] if axis + 1 < len(old) else 1
        if length > size and size * after == length:
            return j, 1, after
    return None
