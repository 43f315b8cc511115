"""A chunk of mutants being planned: windows and whole tensors by number, and the tape they make.

Nothing is computed here: every method appends instructions to the tape, with all that depends on
positions (where windows lie, which rows are gathered, which lie outside) worked out already. A
`Window` never changes; where a kernel may write its result is decided when the tape is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from yuzu_cli.operators.draft import Draft
from yuzu_cli.operators.frames import Frame, overlap, runs, straight_pieces
from yuzu_cli.operators.items import Form, Item, Other, Whole, Window
from yuzu_cli.operators.reach import Ints, Reach

MOST_RUNS = 4
"""More runs of alike windows than this are moved by one gather instead of a copy each."""


class Sketch(Draft):
    """The tape of one chunk while it is made, and the windows it is made of."""

    # --- forms ------------------------------------------------------------------------------------

    def pair_index(self) -> int:
        """``letter to * A + letter from`` of every mutant, int64 (P * K * B,)."""
        return self.input(("pairs",), self.mutants, torch.int64)

    def expand(self, win: Window) -> Window:
        """Rows for every mutant from rows for every pair of letters."""
        if win.form is not Form.PAIRS:
            return win

        def make() -> Window:
            shape = (win.frame.width, *self.shape, win.channels)
            at = self.emit("expand", (win.at, self.pair_index()), shape, self.dtype(win.at))
            return self.masked(replace(win, at=at, form=Form.DELTA))

        return self.remember(("expand", win.name, win.at), make)

    def masked(self, win: Window, fill: float = 0.0) -> Window:
        """Rows outside the tensor set to a number."""
        outside = np.flatnonzero(win.frame.outside().reshape(-1))
        if not len(outside) or win.form is Form.PAIRS:
            return win
        at = self.emit(
            "mask", (win.at,), self.rows_of(win), self.dtype(win.at), over=win.at,
            index=outside, fill=fill,
        )  # fmt: skip
        return replace(win, at=at)

    def delta(self, win: Window) -> Window:
        """The window as deltas (or pairs of them)."""
        if win.form is not Form.VALUE:
            return win

        def make() -> Window:
            reference, dtype = self.beneath(win.name, win.axis, win.frame), self.dtype(win.at)
            if not dtype.is_floating_point or win.name in self.unbounded:
                kernel, made = "difference", dtype if dtype.is_floating_point else torch.float64
                at = self.emit(kernel, (win.at, reference), self.rows_of(win), made)
            else:
                at = self.emit(
                    "subtract", (win.at, reference), self.rows_of(win), dtype, over=win.at
                )
            return self.masked(replace(win, at=at, form=Form.DELTA))

        return self.remember(("delta", win.name, win.at), make)

    def value(self, win: Window) -> Window:
        """The window as values."""
        if win.form is Form.VALUE:
            return win

        def make() -> Window:
            full = self.expand(win)
            reference = self.beneath(win.name, win.axis, win.frame)
            at = self.emit(
                "add", (full.at, reference), self.rows_of(full), self.dtype(reference),
                over=full.at if self.dtype(full.at) == self.dtype(reference) else None,
            )  # fmt: skip
            return replace(full, at=at, form=Form.VALUE)

        return self.remember(("value", win.name, win.at), make)

    # --- other windows ----------------------------------------------------------------------------

    def many(self, pieces: list[tuple[slice, int]]) -> bool:
        """Whether one gather beats a copy per run."""
        return len(pieces) > (1 if self.few_starts else MOST_RUNS)

    def reframe(self, win: Window, frame: Frame) -> Window:
        """Deltas laid into other windows; rows that were in none are zero."""
        if frame.same(win.frame):
            return self.delta(win)
        win = self.expand(self.delta(win))
        pieces = list(runs(win.frame.start - frame.start))
        if self.many(pieces):
            return replace(win, frame=frame, at=self.regather(win, frame.rows()))
        shape = (frame.width, *self.rows_of(win)[1:])
        moves = [(*overlap(o, win.frame.width, frame.width), run) for run, o in pieces]
        at = self.emit("lay", (win.at,), shape, self.dtype(win.at), moves=moves)
        return replace(win, frame=frame, at=at)

    def regather(self, win: Window, absolute: Ints) -> int:
        """Deltas at any positions (v, P) of the tensor by one gather, (v, P, K, B, C).

        Zero where the window has no row.
        """
        at, empty = self.gathered(win, absolute)
        if not len(empty):
            return at
        shape = self.registers[at].extent
        return self.emit("mask", (at,), shape, self.dtype(at), over=at, index=empty, fill=0.0)

    def gathered(self, win: Window, absolute: Ints) -> tuple[int, Ints]:
        """Rows of a window at any positions, and which of them it has not: these hold any row."""
        w, p = self.rows_of(win)[:2]
        offset = absolute - win.frame.start[None, :]
        inside = (offset >= 0) & (offset < w)
        index = np.where(inside, offset, 0) * p + np.arange(p)[None, :]
        shape = (len(absolute), *self.rows_of(win)[1:])
        at = self.emit("gather", (win.at,), shape, self.dtype(win.at), index=index.reshape(-1))
        return at, np.flatnonzero(~inside.reshape(-1))

    def values_in(self, win: Window, frame: Frame, fill: float) -> Window:
        """Values in other windows: the reference where no edit reaches, `fill` outside."""
        if frame.same(win.frame):
            return self.masked(self.value(win), fill)
        win = self.expand(win)
        pieces = list(runs(win.frame.start - frame.start))
        dtype, shape = self.value_dtype(win.name), (frame.width, *self.rows_of(win)[1:])
        delta = win.form is Form.DELTA
        if self.many(pieces) and delta:
            at = self.regather(win, frame.rows())
            beneath = self.beneath(win.name, win.axis, frame)
            over = at if self.dtype(at) == dtype else None
            at = self.emit("add", (at, beneath), shape, dtype, over=over)
        elif self.many(pieces):
            at = self.regather_values(win, frame.rows())
        else:
            beneath = self.beneath(win.name, win.axis, frame)
            moves = [(*overlap(o, win.frame.width, frame.width), run) for run, o in pieces]
            kernel = "lay on reference" if delta else "lay beside reference"
            at = self.emit(kernel, (win.at, beneath), shape, dtype, moves=moves)
        return self.masked(replace(win, frame=frame, at=at, form=Form.VALUE), fill)

    def regather_values(self, win: Window, absolute: Ints) -> int:
        """Values at any positions (v, P) of the tensor, (v, P, K, B, C).

        The reference where the window has no row, outside the tensor any row of it.
        """
        at, flank = self.gathered(win, absolute)
        if not len(flank):
            return at
        shape, dtype = self.registers[at].extent, self.dtype(at)
        rows, halo = self.rows(win.name, win.axis)
        beneath = absolute.clip(0, win.frame.size - 1).reshape(-1)[flank] + halo
        return self.emit("flank", (at, rows), shape, dtype, over=at, index=flank, beneath=beneath)

    def common(self, wins: Sequence[Window], reach: Reach) -> Frame:
        """The frame of what is made of several windows: their own when they share one."""
        first = wins[0].frame
        if all(w.frame.same(first) for w in wins) and first.size == reach.size:
            return first
        return self.frame(reach, next((w.frame for w in wins if w.frame.common), None))

    def values(self, win: Window, frame: Frame) -> Window:
        """Values in a frame; rows outside the tensor hold finite numbers nobody reads."""
        return self.value(win) if frame.same(win.frame) else self.values_in(win, frame, 0.0)

    # --- whole tensors ----------------------------------------------------------------------------

    def lay_whole(self, win: Window, deltas: bool) -> int:
        """The model's whole tensor for every mutant, (E, ...): as deltas or as values."""

        def make() -> int:
            laid = self.expand(self.delta(win) if deltas else win)
            spec = self.program.specs[win.name]
            frame, pieces = laid.frame, list(straight_pieces(laid.frame))
            reads = (laid.at,) if deltas else (laid.at, self.reference(win.name))
            dtype = self.dtype(laid.at) if deltas else spec.dtype
            return self.emit(
                "lay whole", reads, (*self.mutants, *spec.shape[1:]), dtype, pieces=pieces,
                size=frame.size, axis=win.axis - 1, rest=win.rest,
                add=laid.form is Form.DELTA and not deltas,
            )  # fmt: skip

        return self.remember(("whole", win.name, win.at, deltas), make)

    def times_gradients(self, items: Sequence[Item]) -> int:
        """The sum of the deltas of some tensors, each times the gradients there: (E, T)."""
        sofar: list[int] = []
        for item in items:
            assert not isinstance(item, Other)
            args: dict[str, Any]
            if isinstance(item, Window):
                win = self.expand(self.delta(item))
                reach = self.reaches[win.name]
                assert isinstance(reach, Reach)
                source: tuple[Any, ...] = ("gradient", win.name, win.axis, reach.flat)
                kernel, deltas = "gradient of windows", win.at
                args = {"pieces": list(straight_pieces(win.frame))}
            else:
                source = ("gradient", item.name, None, None)
                kernel, deltas = "gradient of whole", self.whole_delta(item)
                args = {"mutants": self.shape[:2]}
            reads = [deltas, self.input(source, None, None), *sofar]
            sofar = [self.emit(kernel, reads, None, torch.float32, **args)]
        return sofar[0]

    def whole_value(self, item: Whole) -> int:
        """A whole tensor as values, (E, ...)."""
        if not item.is_delta:
            return item.at
        shape = (*self.mutants, *self.program.specs[item.name].shape[1:])
        dtype = self.value_dtype(item.name)
        reads = (item.at, self.reference(item.name))
        return self.remember(
            ("whole value", item.name, item.at),
            lambda: self.emit("add whole", reads, shape, dtype, over=item.at),
        )

    def whole_delta(self, item: Whole) -> int:
        """A whole tensor as deltas, (E, ...)."""
        if item.is_delta:
            return item.at
        dtype = self.value_dtype(item.name)
        shape = (*self.mutants, *self.program.specs[item.name].shape[1:])
        reads = (item.at, self.reference(item.name))
        exact = dtype.is_floating_point and item.name not in self.unbounded
        made = dtype if dtype.is_floating_point else torch.float64
        kernel = "subtract whole" if exact else "difference whole"
        return self.remember(
            ("whole delta", item.name, item.at), lambda: self.emit(kernel, reads, shape, made)
        )
