"""Values that only change place: axes renamed, cut, padded, mirrored, repeated, joined, listed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.operators.cost import Cost
from yuzu_cli.operators.frames import Frame
from yuzu_cli.operators.items import Item, Window
from yuzu_cli.operators.pointwise import here, windows
from yuzu_cli.operators.reach import EVERYWHERE, AnyReach
from yuzu_cli.operators.record import (
    NONE,
    Interval,
    Operator,
    Step,
    Unfamiliar,
    axes_of,
    operator,
)
from yuzu_cli.operators.windows import Sketch

_aten = torch.ops.aten


MOVE = "moved windows"


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
