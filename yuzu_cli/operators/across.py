"""Maps over the other axes, at each position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from yuzu_cli.graph import ops
from yuzu_cli.operators.cost import Cost
from yuzu_cli.operators.items import Form, Item, Window
from yuzu_cli.operators.pointwise import POINTWISE, Bound, Held, SamePositions, here, windows
from yuzu_cli.operators.reach import EVERYWHERE, AnyReach, Reach
from yuzu_cli.operators.record import (
    NONE,
    Step,
    Unfamiliar,
    axes_of,
    operator,
)
from yuzu_cli.operators.windows import Sketch

_aten = torch.ops.aten


class Across(SamePositions):
    """The node's own call at each position, on the other axes of its values.

    Attributes
    ----------
    axes : list of int
        Those that it reads along.
    keepdim : bool
        Whether these are still there.
    """

    axes: list[int]
    keepdim: bool = True

    def reach(self) -> AnyReach:
        return self.reduced(self.call.only_source())

    def reduced(self, reach: Reach) -> AnyReach:
        """Over other axes than the position's."""
        if reach.axis in self.axes or 0 in self.axes:
            return EVERYWHERE
        gone = 0 if self.keepdim else sum(a < reach.axis for a in self.axes)
        return reach.moved(axis=reach.axis - gone)

    def way(self) -> str:
        self.constants()
        return POINTWISE

    def cost(self, letters: bool) -> Cost:
        source = self.call.spec_of(self.call.source)
        return self.passes(4 * max(1.0, source.numel / self.call.spec.numel))

    def lower(self) -> Step:
        call, touched = self.call, self.call.touched
        fixed = {n.name: call.constant(n) for n in self.constants()}
        function = Bound(call.node, [n.name for n in call.node.all_input_nodes])

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            wins = windows(items, touched)
            frame = sketch.common(wins, call.reach)
            values = {n.name: sketch.values(w, frame) for n, w in zip(touched, wins, strict=True)}
            reads: list[int] = []
            layouts: list[tuple[int, tuple[int, ...]] | None] = []
            for node in call.node.all_input_nodes:
                if node.name in values:
                    win = values[node.name]
                    reads.append(win.at)
                    layouts.append((win.axis, win.rest))
                else:
                    value = fixed[node.name]
                    key = ("constant", call.name, node.name, Held(value))
                    reads.append(sketch.input(key, tuple(value.shape), value.dtype))
                    layouts.append(None)
            shape = (frame.width, *sketch.shape, call.spec.numel // call.reach.size)
            at = sketch.emit(
                "apply", reads, shape, call.spec.dtype, function=function, layouts=layouts,
                axis=call.reach.axis,
            )  # fmt: skip
            return here(call, sketch, frame, at, Form.VALUE)

        return step


@operator(_aten._softmax.default, _aten._log_softmax.default)
class Softmax(Across):
    """Softmax over other axes."""

    makes = NONE

    def decode(self, dim: int = -1, **_: Any) -> None:
        self.axes = axes_of(dim, len(self.call.shape))


@operator(ops.layer_norm)
class LayerNorm(Across):
    """Normalisation over trailing axes."""

    makes = NONE

    def decode(self, shape: Any = (), **_: Any) -> None:
        ndim = len(self.call.shape)
        self.axes = list(range(ndim - len(shape), ndim))


@operator(_aten.glu.default)
class Gated(Across):
    """Half of an axis times the sigmoid of the other half."""

    makes = NONE

    def decode(self, dim: int = -1, **_: Any) -> None:
        self.axes = axes_of(dim, len(self.call.shape))


@operator(_aten.argmax.default)
class Largest(Across):
    """The place of the largest along another axis: letters as numbers."""

    def decode(self, dim: Any = None, keepdim: bool = False, **_: Any) -> None:
        if dim is None:
            raise Unfamiliar
        self.axes = axes_of(dim, len(self.call.shape_of(self.call.source)))
        self.keepdim = bool(keepdim)


@operator(_aten.embedding.default)
class Embedding(Across):
    """Rows of a constant table by number: an axis more at the end."""

    def decode(self, indices: Any = None, **_: Any) -> None:
        self.indices = indices

    def reach(self) -> AnyReach:
        reach = self.call.reach_of(self.indices)
        if self.call.touched != [self.indices] or not isinstance(reach, Reach) or reach.flat:
            return EVERYWHERE
        return reach.moved()

    def cost(self, letters: bool) -> Cost:
        return self.passes(3)
