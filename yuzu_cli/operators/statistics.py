"""Variances and norms: over other axes at each position, or over the positions.

Over positions only the sum of squares about the reference's mean is kept, to which a window adds
what it changes: two sums of its rows (Chan, Golub and LeVeque's update, with one stretch replaced).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from yuzu_cli.graph import ops
from yuzu_cli.operators.items import Form, Item, Whole, Window
from yuzu_cli.operators.pointwise import windows
from yuzu_cli.operators.reach import Reach
from yuzu_cli.operators.record import JUMP, NONE, STEEP, WHOLE, Step, operator
from yuzu_cli.operators.reductions import Reduction
from yuzu_cli.operators.windows import Sketch

_aten = torch.ops.aten

SPREAD = "squares about the reference's mean, and what the window changes of them"


class Spread(Reduction):
    """A function of the sum of squares, about the mean or about zero.

    Its slope is bounded, as an error in what it reads is squared before any root is taken.
    """

    centred, root = True, False

    def ending(self, source: Reach) -> str:
        if self.exact == JUMP or not self.call.spec.dtype.is_floating_point:
            return WHOLE
        return SPREAD

    def sweeps(self) -> float:
        return 8

    @property
    def count(self) -> int:
        """How many values go into one result."""
        shape = self.call.shape_of(self.call.source)
        return math.prod(shape[a] for a in self.axes)

    def divisor(self) -> float:
        return float(self.count)

    def eps(self) -> float:
        return 0.0

    def ended(self) -> Step:
        call = self.call
        what: dict[str, Any] = {
            "count": self.count if self.centred else 0, "divisor": self.divisor(),
            "eps": self.eps(), "root": self.root, **self.other_axes(),
        }  # fmt: skip

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Whole:
            win = self.changed(sketch, sketch.expand(windows(items, [call.source])[0]))
            rows, halo = sketch.rows(win.name, win.axis)
            around = sketch.once(
                (call.name, "squares"), "squares", (rows, sketch.reference(call.name)), None,
                halo=halo, size=win.frame.size, **what,
            )  # fmt: skip
            beneath = sketch.beneath(win.name, win.axis, win.frame)
            at = sketch.emit(
                "spread", (win.at, beneath, around), (*sketch.mutants, *call.shape[1:]),
                call.spec.dtype, relative=not self.exact, **what,
            )  # fmt: skip
            return Whole(call.name, at, not self.exact)

        return step

    def changed(self, sketch: Sketch, win: Window) -> Window:
        """The window's deltas; twice as precise where a root makes much of what is left of them."""
        if win.form is not Form.VALUE or not self.exact:
            return sketch.delta(win)
        reads = (win.at, sketch.beneath(win.name, win.axis, win.frame))
        at = sketch.emit("difference", reads, sketch.rows_of(win), torch.float64)
        return sketch.masked(replace(win, at=at, form=Form.DELTA))


@operator(_aten.var.correction)
class Variance(Spread):
    def decode(
        self, dim: Any = None, keepdim: bool = False, dtype: Any = None, correction: Any = None,
        **_: Any,
    ) -> None:  # fmt: skip
        super().decode(dim=dim, keepdim=keepdim)
        self.correction = 1.0 if correction is None else float(correction)

    def divisor(self) -> float:
        return max(0.0, self.count - self.correction)


@operator(_aten.std.correction)
class Deviation(Variance):
    root = True


@operator(ops.deviation)
class Regular(Spread):
    """The root of a variance and a number above zero, which no error brings near zero."""

    root = True
    through = False

    def decode(
        self, dim: Any = None, keepdim: bool = True, dtype: Any = None, axes: Any = (),
        eps: float = 0.0, **_: Any,
    ) -> None:  # fmt: skip
        super().decode(dim=axes, keepdim=keepdim)
        self.added = float(eps)

    def eps(self) -> float:
        return self.added


@operator(_aten.linalg_vector_norm.default)
class Norm(Spread):
    """The root of a sum of squares; norms of other orders are had whole over positions."""

    centred, root = False, True

    def decode(
        self, dim: Any = None, keepdim: bool = False, dtype: Any = None, ord: Any = 2, **_: Any
    ) -> None:
        super().decode(dim=dim, keepdim=keepdim, dtype=dtype)
        self.order = float(ord)
        self.makes = NONE if self.order >= 1 else JUMP if self.order == 0 else STEEP

    def ending(self, source: Reach) -> str:
        return super().ending(source) if self.order == 2 else WHOLE

    def divisor(self) -> float:
        return 1.0
