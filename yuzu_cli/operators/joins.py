"""Tensors joined, and axes regrouped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.operators.arithmetic import sum_of
from yuzu_cli.operators.cost import Cost
from yuzu_cli.operators.frames import Frame
from yuzu_cli.operators.items import Form, Item, Window
from yuzu_cli.operators.moves import MOVE, Move
from yuzu_cli.operators.pointwise import here, windows
from yuzu_cli.operators.reach import EVERYWHERE, AnyReach, Reach, join
from yuzu_cli.operators.record import (
    NONE,
    WHOLE,
    Interval,
    Operator,
    Step,
    axes_of,
    operator,
)
from yuzu_cli.operators.windows import Sketch

_aten = torch.ops.aten


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
            wins = []
            for part, offset in zip(self.parts, offsets, strict=False):
                if part in call.touched:
                    win = sketch.expand(sketch.delta(windows(items, [part])[0]))
                    frame = Frame(win.frame.start + offset, win.frame.width, own.size)
                    wins.append(replace(win, frame=frame))
            return sum_of(call, sketch, wins, [1.0] * len(wins))

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
        if not before.by_sequence or after.shape[0] != 1:
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
