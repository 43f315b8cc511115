"""Recurrent layers that read the positions in one direction: nothing changes before an edit.

A chunk of neighbouring positions begins with the reference's state at its first changed position.
What is read is projected on windows; only the states are had for all that follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from yuzu_cli.graph import ops
from yuzu_cli.operators.causal import onwards
from yuzu_cli.operators.cost import Cost
from yuzu_cli.operators.frames import Frame
from yuzu_cli.operators.items import Form, Item, Window
from yuzu_cli.operators.pointwise import here, windows
from yuzu_cli.operators.reach import UNTOUCHED, AnyReach
from yuzu_cli.operators.record import (
    NONE,
    WHOLE,
    Interval,
    Operator,
    Step,
    Unfamiliar,
    mean_width,
    operator,
)
from yuzu_cli.operators.windows import Sketch

RECURRENT = "states from the reference's at the first change"


@operator(ops.recurrent)
class Recurrent(Operator):
    """States (N, T, H) of x (N, T, C), from the first position or from the last."""

    makes = NONE

    def decode(
        self, state: Any = None, cell: Any = None, weight_x: Any = None, weight_h: Any = None,
        bias_x: Any = None, bias_h: Any = None, kind: str = "", backwards: bool = False,
        cells: bool = False, **_: Any,
    ) -> None:  # fmt: skip
        self.kind, self.backwards, self.cells = kind, backwards, cells
        self.begin = [n for n in (state, cell) if n is not None]
        self.weights = [weight_x, weight_h, bias_x, bias_h]
        self.hidden = self.call.shape_of(weight_h)[1]

    def reach(self) -> AnyReach:
        found = self.call.only_source(flat=False)
        if found.axis != 1:
            raise Unfamiliar
        return onwards(found, self.backwards)

    def way(self) -> str:
        call = self.call
        steady = all(call.reach_of(n) is UNTOUCHED for n in self.begin)
        rows = all(n.name in call.program.specs for n in self.begin)
        fixed = all(n is None or n.name in call.program.constants for n in self.weights)
        return WHOLE if self.exact or self.cells or not (steady and rows and fixed) else RECURRENT

    def need(self, source: Any, mine: Interval) -> Interval:
        return (mine[0], self.call.shape[1]) if self.backwards else (0, mine[1])

    def macs(self) -> float:
        sizes = (self.call.program.specs[w.name].numel for w in self.weights[:2])
        return float(self.call.shape[1] * sum(sizes))

    def cost(self, letters: bool) -> Cost:
        call, specs = self.call, self.call.program.specs
        source, (low, high) = call.window_of(call.source), (0, call.shape[1])
        if call.reach.need is not None:
            low, high = call.reach.need
        start, stop = source.clip()
        steps = float(np.mean(stop - low if self.backwards else high - start))
        per_step, once = (specs[w.name].numel for w in (self.weights[1], self.weights[0]))
        gates = specs[self.weights[1].name].shape[0]
        moved = steps * (3 * gates + 6 * self.hidden) + 6 * mean_width(source) * gates
        return Cost(steps * per_step + mean_width(source) * once, moved * self.item)

    def lower(self) -> Step:
        call = self.call
        weight_x, weight_h, bias_x, bias_h = (
            None if n is None else self.ordered(call.constant(n)) for n in self.weights
        )
        assert weight_x is not None
        assert weight_h is not None
        if bias_h is None:
            bias_h = weight_h.new_zeros(len(weight_h))
        assert isinstance(bias_h, torch.Tensor)
        layer: dict[str, Any] = {
            "kind": self.kind, "backwards": self.backwards, "weight": weight_h.t().contiguous(),
            "bias": bias_h,
        }  # fmt: skip
        project, gates = weight_x.t().contiguous(), len(weight_x)

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            win = sketch.expand(sketch.delta(windows(items, [call.source])[0]))
            shape = (*sketch.rows_of(win)[:4], gates)
            at = sketch.emit("matrix", (win.at,), shape, call.spec.dtype, weight=project)
            first = max(0, int(win.frame.start.min()))
            last = min(win.frame.size, int(win.frame.start.max()) + win.frame.width)
            changed = Frame(np.full_like(win.frame.start, first), max(1, last - first), last)
            read = sketch.reframe(
                Window(win.name, win.frame, at, Form.DELTA, 1, (gates,)), changed
            )  # fmt: skip
            rows, halo = sketch.rows(win.name, win.axis)
            begin = [sketch.reference(n.name) for n in self.begin]
            around = sketch.once(
                (call.name, "states"), "reference states", (rows, *begin), None, halo=halo,
                size=win.frame.size, project=project, add=bias_x, **layer,
            )  # fmt: skip
            frame = sketch.frame(call.reach)
            assert frame.common
            at = sketch.emit(
                "states", (read.at, around), (frame.width, *sketch.shape, self.hidden),
                call.spec.dtype, first=first, begin=int(frame.start[0]), **layer,
            )  # fmt: skip
            return here(call, sketch, frame, at, Form.DELTA)

        return step

    def ordered(self, weight: torch.Tensor) -> torch.Tensor:
        """An LSTM's gates with the one that is no sigmoid last."""
        if self.kind != "lstm":
            return weight
        i, f, g, o = weight.chunk(4)
        return torch.cat([i, f, o, g])
