"""Convolutions, on deltas or on values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.operators import fourier
from yuzu_cli.operators.cost import Cost
from yuzu_cli.operators.frames import Frame
from yuzu_cli.operators.items import Form, Item, Window
from yuzu_cli.operators.pointwise import here, windows
from yuzu_cli.operators.reach import AnyReach
from yuzu_cli.operators.record import (
    WHOLE,
    Interval,
    Step,
    mean_width,
    operator,
)
from yuzu_cli.operators.sliding import Slider, Sliding, entries
from yuzu_cli.operators.windows import Sketch

_aten = torch.ops.aten


CONVOLUTION = "convolution"


VALUES = "convolution of values"


BLOCK = 16


"""Columns that a card multiplies by at least."""


@operator(_aten.convolution.default)
class Convolution(Slider):
    """Deltas convolved with the taps; letters seen straight from the input as pairs."""

    linear = True
    weighted = True

    def decode(
        self,
        weight: Any = None,
        bias: Any = None,
        stride: Any = (),
        padding: Any = (),
        dilation: Any = (),
        transposed: bool = False,
        output_padding: Any = (),
        groups: int = 1,
        **_: Any,
    ) -> None:
        self.weight, self.bias, self.transposed, self.groups = weight, bias, transposed, groups
        self.kernels = list(self.call.shape_of(weight)[2:])
        n = len(self.kernels)
        options = (entries(v, n) for v in (stride, padding, dilation))
        self.options = [Sliding(*o) for o in zip(self.kernels, *options, strict=True)]

    def reach(self) -> AnyReach:
        reach = self.source_reach()
        along, size = self.options[reach.axis - self.first], self.call.shape[reach.axis]
        return along.spread(reach, size) if self.transposed else along.forward(reach, size)

    def need(self, source: Node, mine: Interval) -> Interval:
        along = self.sliding()
        return along.spread_back(mine) if self.transposed else along.back(mine)

    def way(self) -> str:
        call = self.call
        call.constant(self.weight)
        shape = call.shape_of(call.source)
        found = WHOLE if self.exact and self.transposed else VALUES if self.exact else CONVOLUTION
        if len(shape) == 3:
            return found
        if len(shape) != 4:
            return WHOLE
        # A second axis that is a dummy, or wholly under the kernel without padding.
        axis = call.window_of(call.source).axis
        (other,) = self.others(axis)
        at = 5 - axis
        under = other.kernel == shape[at] and other.padding == 0 and self.groups == 1
        dummy = shape[at] == 1 and call.shape[at] == 1 and self.tap_of(other) is not None
        alone = under and call.shape[at] == 1 and not self.transposed
        return found if dummy or alone else WHOLE

    def tap_of(self, other: Sliding) -> int | None:
        """The one tap along a dummy axis that meets its one entry; None when none does."""
        # Transposed or not: output 0 is input 0 through the tap at `padding`, counted in dilations.
        tap, rest = divmod(other.padding, other.dilation)
        return tap if rest == 0 and tap < other.kernel else None

    def cost(self, letters: bool) -> Cost:
        if self.way() == VALUES:  # every row of the result is a whole product
            return self.passes(4, self.elements() * self.macs() / self.call.spec.numel)
        return self.passes(2, 0.0 if letters else self.window_macs())

    def window_macs(self) -> float:
        """Multiply-adds of a window: tap by tap, or by transforms where those are fewer."""
        call = self.call
        before = call.window_of(call.source)
        rows = mean_width(before)
        direct = self.macs() * rows / before.size
        along = self.sliding()
        if self.transposed or self.groups != 1 or max(along.stride, along.dilation) > 1 or not rows:
            return direct
        channels = int(math.prod(call.shape_of(call.source)) // before.size)
        outputs = max(1, int(direct / (rows * along.kernel * channels)))
        count = math.ceil(rows)
        layer = count, along.kernel, channels, outputs
        block = fourier.block_for(*layer)
        return direct if block is None else min(direct, fourier.fourier_macs(*layer, block))

    def taps(self) -> torch.Tensor:
        """Weights as (kernel, I, O), or (kernel, G, I/G, O/G); a dummy axis is flattened in."""
        call, weight = self.call, self.call.constant(self.weight)
        axis = call.window_of(call.source).axis
        if weight.dim() == 4:
            at = 5 - axis
            if call.shape_of(call.source)[at] == 1:
                tap = self.tap_of(self.others(axis)[0])
                assert tap is not None
                weight = weight.select(at, tap)
            elif axis == 2:  # (O, I, k, H): channels of a row are (I, H)
                weight = weight.permute(0, 1, 3, 2).flatten(1, 2)
            else:  # (O, I, H, k)
                weight = weight.flatten(1, 2)
        groups = self.groups
        if self.transposed:  # (I, O/G, k)
            i, o, k = weight.shape
            taps = weight.view(groups, i // groups, o, k).permute(3, 0, 1, 2)
        else:  # (O, I/G, k)
            o, i, k = weight.shape
            taps = weight.reshape(groups, o // groups, i, k).permute(3, 0, 2, 1)
        return (taps[:, 0] if groups == 1 else taps).contiguous()

    def lower(self) -> Step:
        return self.of_values() if self.way() == VALUES else Convolver(self)

    def of_values(self) -> Step:
        """Values convolved with the taps, and the bias: 0 where all that is read is 0."""
        call, along, taps = self.call, self.sliding(), self.taps()
        bias = None if self.bias is None else call.constant(self.bias)
        rest = call.rest()

        def step(sketch: Sketch, items: Mapping[str, Item]) -> Window:
            win = windows(items, [call.source])[0]
            frame = sketch.frame(call.reach, win.frame)
            values = sketch.values_in(win, along.below(frame, win.frame.size), 0.0)
            shape = (frame.width, *sketch.shape, math.prod(rest))
            at = sketch.emit(
                "strided taps", (values.at,), shape, call.spec.dtype, taps=taps,
                stride=along.stride, gap=along.dilation,
            )  # fmt: skip
            if bias is not None:
                added = bias.reshape(-1, *(1,) * (len(rest) - 1))
                at = sketch.emit(
                    "add bias", (at,), shape, call.spec.dtype, over=at, bias=added, rest=rest
                )
            return here(call, sketch, frame, at, Form.VALUE)

        return step


class Convolver:
    """The step of a convolution, which probes use too."""

    def __init__(self, operator: Convolution) -> None:
        self.operator, self.call = operator, operator.call
        self.along = operator.sliding()
        self.layer = fourier.Layer(operator.taps(), self.along.dilation)
        self.reach_in, self.reach_out = self.call.window_of(self.call.source), self.call.reach

    def __call__(self, sketch: Sketch, items: Mapping[str, Item]) -> Window:
        along, call = self.along, self.call
        win = sketch.delta(windows(items, [call.source])[0])
        if win.form is Form.PAIRS:
            if win.frame.inside and along.stride == 1 and not self.operator.transposed:
                start = win.frame.start - along.span + along.padding
                frame = Frame(start, win.frame.width + along.span, self.reach_out.size)
                return self.on(sketch, win, frame)
            win = sketch.expand(win)
        if not win.frame.common:  # to one window for all, where that is near
            win = sketch.reframe(win, sketch.frame(self.reach_in))
        return sketch.masked(self.on(sketch, win, self.frame(sketch, win)))

    def frame(self, sketch: Sketch, win: Window) -> Frame:
        """Where the result lies."""
        along, start, size = self.along, win.frame.start, self.reach_out.size
        if win.frame.common or (along.stride > 1 and not self.operator.transposed):
            return sketch.frame(self.reach_out, win.frame)
        if self.operator.transposed:
            width = (win.frame.width - 1) * along.stride + along.span + 1
            return Frame(start * along.stride - along.padding, width, size)
        return Frame(start - along.span + along.padding, win.frame.width + along.span, size)

    def on(self, sketch: Sketch, win: Window, frame: Frame) -> Window:
        """Deltas of a window convolved into a frame; rows outside the tensor are not cleared."""
        along, call, stride = self.along, self.call, self.along.stride
        first, above = int(win.frame.start[0]), int(frame.start[0])
        args: dict[str, Any] = {"taps": self.layer.taps, "gap": along.dilation}
        if self.operator.transposed:
            kernel = "transposed taps"
            args |= {"shift": first * stride - along.padding - above, "stride": stride}
        elif stride > 1:
            kernel, win = "strided taps", sketch.reframe(win, along.below(frame, win.frame.size))
            args |= {"stride": stride}
        else:
            kernel, shift = "taps", first + along.padding - above
            rows = win.frame.width
            block = self.layer.block(rows, shift, frame.width, sketch.few_starts)
            if block is not None and not sketch.rough:
                return self.transformed(sketch, win, frame, shift, block)
            if sketch.few_starts and self.blocked is not None and win.form is Form.DELTA:
                return self.in_blocks(sketch, win, frame)
            args |= {"shift": shift}
        shape = (frame.width, *sketch.rows_of(win)[1:4], math.prod(call.rest()))
        at = sketch.emit(kernel, (win.at,), shape, sketch.dtype(win.at), **args)
        return here(call, sketch, frame, at, win.form)

    @cached_property
    def blocked(self) -> torch.Tensor | None:
        """The taps of several rows of few outputs side by side; None where outputs are many.

        A card multiplies by `BLOCK` columns, however few are wanted.
        """
        taps = self.layer.taps
        if taps.dim() != 3 or taps.shape[2] > BLOCK // 2 or self.along.dilation > 1:
            return None
        kernel, inputs, outputs = taps.shape
        count = BLOCK // outputs
        blocked = taps.new_zeros((kernel + count - 1, inputs, count * outputs))
        for j in range(count):
            blocked[j : j + kernel, :, j * outputs : (j + 1) * outputs] = taps
        return blocked

    def in_blocks(self, sketch: Sketch, win: Window, frame: Frame) -> Window:
        """The same with several rows of the result in one product."""
        assert self.blocked is not None
        kernel, _, columns = self.blocked.shape
        outputs, between = math.prod(self.call.rest()), sketch.rows_of(win)[1:4]
        repeats, dtype = columns // outputs, sketch.dtype(win.at)
        count = -(-frame.width // repeats)
        start, width = frame.start - self.along.padding, (count - 1) * repeats + kernel
        win = sketch.reframe(win, Frame(start, width, win.frame.size))
        at = sketch.emit(
            "strided taps", (win.at,), (count, *between, columns), dtype, taps=self.blocked,
            stride=repeats, gap=1,
        )  # fmt: skip
        shape = (count * repeats, *between, outputs)
        at = sketch.emit("join", (at,), shape, dtype, repeats=repeats, ahead=1)
        if shape[0] > frame.width:
            index = np.arange(frame.width * between[0])
            at = sketch.emit("gather", (at,), (frame.width, *shape[1:]), dtype, index=index)
        return here(self.call, sketch, frame, at, win.form)

    def transformed(
        self, sketch: Sketch, win: Window, frame: Frame, shift: int, block: int
    ) -> Window:
        """The same by Fourier transforms of so many rows at a time, blocks beside each other."""
        width, dtype, between = win.frame.width, sketch.dtype(win.at), sketch.rows_of(win)[1:4]
        n, beyond = fourier.length_for(block, self.layer.kernel), self.layer.kernel - 1
        s, outputs = self.layer.spectrum(n), math.prod(self.call.rest())
        spread = (n, -(-width // block) * between[0], *between[1:])
        at = sketch.emit(
            "rows to spectra", (win.at,), (*spread, win.channels), dtype, matrix=s.forward,
            block=block,
        )  # fmt: skip
        at = sketch.emit("frequencies", (at,), (*spread, outputs), dtype, spectrum=s)
        at = sketch.emit(
            "spectra to rows", (at,), (frame.width, *between, outputs), dtype, matrix=s.inverse,
            block=block, first=shift - beyond, rows=width, beyond=beyond,
        )  # fmt: skip
        return here(self.call, sketch, frame, at, win.form)
