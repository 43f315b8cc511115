"""Sums, products with constants, and what stands for them: deltas go through as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops
from yuzu_cli.operators.cost import Cost
from yuzu_cli.operators.frames import overlap, runs
from yuzu_cli.operators.items import Form, Item, Window
from yuzu_cli.operators.pointwise import Bound, Pointwise, constant_rows, here, windows
from yuzu_cli.operators.reach import UNTOUCHED, AnyReach
from yuzu_cli.operators.record import (
    NONE,
    STEEP,
    Call,
    Step,
    Unfamiliar,
    operator,
)
from yuzu_cli.operators.windows import Sketch

_aten = torch.ops.aten


LINEAR_MAP = "linear in the deltas"


class Affine(Pointwise):
    """Sums, and products with constants: deltas go through as they are."""

    makes = NONE
    through = True

    def way(self) -> str:
        if self.exact or not self.is_linear():
            return super().way()
        self.constants()
        return LINEAR_MAP

    def is_linear(self) -> bool:
        return True

    def cost(self, letters: bool) -> Cost:
        return self.passes(2) if self.way() == LINEAR_MAP else super().cost(letters)

    def lower(self) -> Step:
        return self.lower_linear() if self.way() == LINEAR_MAP else super().lower()

    def lower_linear(self) -> Step:
        raise NotImplementedError


@operator(_aten.add.Tensor, _aten.sub.Tensor, _aten.add.Scalar, _aten.sub.Scalar, _aten.rsub.Scalar)
class Sum(Affine):
    """Windows of one or two tensors added with factors."""

    def decode(self, other: Any = None, alpha: Any = 1, **_: Any) -> None:
        target, first = self.call.node.target, self.call.node.args[0]
        factor = -1.0 if target in (_aten.sub.Tensor, _aten.sub.Scalar) else 1.0
        one = -float(alpha) if target is _aten.rsub.Scalar else 1.0
        pairs = [(first, one), (other, factor * float(alpha))]
        self.terms: list[tuple[Node, float]] = [(n, f) for n, f in pairs if isinstance(n, Node)]

    def is_linear(self) -> bool:
        return all(self.call.spec_of(n).dtype.is_floating_point for n in self.call.touched)

    def lower_linear(self) -> Step:
        call = self.call
        terms = [(n, f) for n, f in self.terms if call.reach_of(n) is not UNTOUCHED]

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            wins = [sketch.delta(w) for w in windows(items, [n for n, _ in terms])]
            return sum_of(call, sketch, wins, [f for _, f in terms])

        return step


def sum_of(call: Call, sketch: Sketch, wins: list[Window], factors: list[float]) -> Window:
    """Deltas added with factors, in the frame that holds them all."""
    rest, own = call.rest(), call.reach
    if len(wins) == 1 and wins[0].rest == rest and wins[0].frame.size == own.size:
        win = scaled(sketch, wins[0], factors[0])
        return replace(win, name=call.name, axis=own.axis, rest=rest)
    wins = [sketch.expand(w) for w in wins]
    frame = sketch.common(wins, own)
    shape = (frame.width, *sketch.shape, call.spec.numel // own.size)
    dtype = reduce(torch.promote_types, [sketch.dtype(w.at) for w in wins])
    # A term that already has the result's shape is where the others are added.
    same = [i for i, w in enumerate(wins) if w.rest == rest]
    order = sorted(range(len(wins)), key=lambda i: (i not in same, not wins[i].frame.same(frame)))
    first = wins[order[0]]
    if first.rest == rest:
        at = sketch.reframe(scaled(sketch, first, factors[order[0]]), frame).at
        order = order[1:]
    else:
        at = sketch.emit("zeros", (), shape, dtype)
    for i in order:
        win = wins[i]
        moves = [
            (*overlap(offset, win.frame.width, frame.width), run)
            for run, offset in runs(win.frame.start - frame.start)
        ]
        at = sketch.emit(
            "accumulate", (at, win.at), shape, dtype, over=at, moves=moves,
            factor=factors[i], rest=rest, tail=win.rest,
        )  # fmt: skip
    return here(call, sketch, frame, at, Form.DELTA)


def scaled(sketch: Sketch, win: Window, factor: float) -> Window:
    """Deltas times a number."""
    if factor == 1.0:
        return win
    dtype = sketch.dtype(win.at)
    at = sketch.emit("scale", (win.at,), sketch.rows_of(win), dtype, over=win.at, factor=factor)
    return replace(win, at=at)


@operator(_aten.neg.default)
class Negative(Affine):
    """Deltas with the other sign."""

    linear = True

    def lower_linear(self) -> Step:
        call = self.call

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            return sum_of(call, sketch, [sketch.delta(windows(items, [call.source])[0])], [-1.0])

        return step


@operator(_aten.mul.Tensor, _aten.mul.Scalar, _aten.div.Tensor, _aten.div.Scalar)
class Product(Affine):
    """A product of two windows, or of one with a constant."""

    def decode(self, other: Any = None, **_: Any) -> None:
        first = self.call.node.args[0]
        self.divides = self.call.node.target in (_aten.div.Tensor, _aten.div.Scalar)
        self.factors = [first, other]

    def makes_of(self, source: Node) -> int:
        """A divisor that an edit changes may come near zero."""
        return STEEP if self.divides and source is self.factors[1] else NONE

    def is_linear(self) -> bool:
        a, b = self.factors
        touched = [self.call.reach_of(f) is not UNTOUCHED for f in (a, b)]
        if touched == [True, False]:
            return self.call.spec_of(a).dtype.is_floating_point
        if touched == [False, True] and not self.divides:
            return self.call.spec_of(b).dtype.is_floating_point
        return False

    def way(self) -> str:
        way = super().way()
        for node in self.constants() if way == LINEAR_MAP else ():
            self.aligned(node)
        return way

    def lower_linear(self) -> Step:
        call, node = self.call, self.call.touched[0]
        fixed = {n.name: self.aligned(n) for n in self.constants()}
        function = Bound(call.node, [n.name for n in call.node.all_input_nodes])
        order, rest = [n.name for n in call.node.all_input_nodes], call.rest()

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            win = sketch.delta(windows(items, [node])[0])
            positional = any(v.shape[0] > 1 for v in fixed.values())
            win = sketch.expand(win) if positional else win
            frame, reads, tails = win.frame, [], []
            for name in order:
                if name == node.name:
                    reads.append(win.at)
                    tails.append(win.rest)
                else:
                    reads.append(constant_rows(sketch, name, fixed[name], frame))
                    tails.append(tuple(fixed[name].shape[1:]))
            shape = (*sketch.rows_of(win)[:4], self.channels)
            same = sketch.rows_of(win) == shape
            at = sketch.emit(
                "pointwise", reads, shape, call.spec.dtype, over=win.at if same else None,
                function=function, tails=None if not fixed else tails, rest=rest,
            )  # fmt: skip
            # A constant of minus infinity would make zeros outside the tensor undefined.
            return sketch.masked(here(call, sketch, frame, at, win.form))

        return step


@operator(ops.affine)
class Scaling(Product):
    """Batch norm with its statistics fixed: deltas times its scale."""

    def decode(self, other: Any = None, scale: Any = None, shift: Any = None, **_: Any) -> None:
        self.scale, self.shift = scale, shift
        self.makes = NONE
        self.factors = [self.call.node.args[0], scale]
        self.divides = False

    def reach(self) -> AnyReach:
        reach = self.call.only_source(flat=True)
        if reach.flat is None and reach.axis == 1:
            raise Unfamiliar
        return reach

    def aligned(self, node: Node) -> torch.Tensor:
        call, value, reach = self.call, self.call.constant(node), self.call.reach
        if reach.flat is not None:
            return value.reshape(reach.flat).movedim(reach.axis - 1, 0)
        return value.reshape(1, -1, *(1,) * (len(call.shape) - 3))

    def lower(self) -> Step:
        return self.lower_linear() if self.way() == LINEAR_MAP else self.of_values()

    def of_values(self) -> Step:
        """Values times the scale plus the shift."""
        call, rest = self.call, self.call.rest()
        scale, shift = self.aligned(self.scale), self.aligned(self.shift)

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            win = sketch.value(windows(items, [call.source])[0])
            factor = constant_rows(sketch, self.scale.name, scale, win.frame)
            term = constant_rows(sketch, self.shift.name, shift, win.frame)
            at = sketch.emit(
                "affine", (win.at, factor, term), sketch.rows_of(win), call.spec.dtype,
                over=win.at, rest=rest,
            )  # fmt: skip
            return here(call, sketch, win.frame, at, Form.VALUE)

        return step

    def lower_linear(self) -> Step:
        call, scale = self.call, self.aligned(self.scale)
        rest = call.rest()

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            win = sketch.delta(windows(items, [call.source])[0])
            win = sketch.expand(win) if scale.shape[0] > 1 else win
            factor = constant_rows(sketch, self.scale.name, scale, win.frame)
            at = sketch.emit(
                "multiply", (win.at, factor), sketch.rows_of(win), call.spec.dtype, over=win.at,
                rest=rest,
            )  # fmt: skip
            return here(call, sketch, win.frame, at, win.form)

        return step
