"""The tape of a chunk while it is made: registers, instructions, references that are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from yuzu_cli.graph.program import Program
from yuzu_cli.operators.frames import Frame
from yuzu_cli.operators.items import BATCH, Instruction, Register, Shape, Whole, Window
from yuzu_cli.operators.reach import AnyReach, Ints, Reach

MOST_HALO = 64
"""Rows of reference kept beyond each end, so that windows there need no gather of their own."""


class Draft:
    """The tape of one chunk while it is made, as far as it knows no windows.

    Parameters
    ----------
    program : Program
    reaches : mapping of node name -> reach
    positions : int64 (P,)
        Positions in the window, in the order they are computed in.
    few_starts : bool
        Starting a kernel is dear (a GPU): one gather rather than a copy for each run of windows.
    unbounded : set of str
        Nodes that may hold infinities: their differences are taken with care.
    rough : bool
        Products are rounded too much for transforms (tf32).
    """

    def __init__(
        self,
        program: Program,
        reaches: Mapping[str, AnyReach],
        positions: Ints,
        few_starts: bool = False,
        unbounded: frozenset[str] = frozenset(),
        rough: bool = False,
    ) -> None:
        self.program, self.reaches, self.positions = program, reaches, positions
        self.letters, self.few_starts, self.unbounded = program.letters, few_starts, unbounded
        self.rough = rough
        self.registers: list[Register] = []
        self.instructions: list[Instruction] = []
        self.prelude: list[Instruction] = []
        self.node = ""
        self._inputs: dict[tuple[Any, ...], int] = {}
        self._once: dict[Any, int] = {}
        self._made: dict[tuple[Any, ...], Window | Whole] = {}

    @property
    def shape(self) -> Shape:
        """P, K and B of the chunk's mutants."""
        return len(self.positions), self.letters - 1, BATCH

    @property
    def mutants(self) -> Shape:
        """The first axis of a whole tensor: P * K for every sequence."""
        return (len(self.positions) * (self.letters - 1) * BATCH,)

    # --- the tape ---------------------------------------------------------------------------------

    def register(self, register: Register) -> int:
        self.registers.append(register)
        return len(self.registers) - 1

    def input(self, source: tuple[Any, ...], shape: Shape | None, dtype: torch.dtype | None) -> int:
        """A register that is filled before the tape runs."""
        if source not in self._inputs:
            self._inputs[source] = self.register(Register(shape, dtype, source))
        return self._inputs[source]

    def emit(
        self,
        kernel: str,
        reads: Sequence[int],
        shape: Shape | None,
        dtype: torch.dtype | None,
        over: int | None = None,
        bytes: int = 0,
        **args: Any,
    ) -> int:
        """Append a kernel; returns the register it writes."""
        write = self.register(Register(shape, dtype, None, bytes))
        self.instructions.append(Instruction(kernel, tuple(reads), write, args, over, self.node))
        return write

    def once(
        self, key: Any, kernel: str, reads: Sequence[int], shape: Shape | None, **args: Any
    ) -> int:
        """A kernel that depends on the batch alone: run once for all its chunks."""
        if key not in self._once:
            source = ("once", key)
            write = self.register(Register(shape, None, source))
            self.prelude.append(Instruction(kernel, tuple(reads), write, args, None, self.node))
            self._once[key] = write
        return self._once[key]

    def dtype(self, at: int) -> torch.dtype:
        found = self.registers[at].dtype
        assert found is not None
        return found

    def rows_of(self, win: Window) -> Shape:
        """Shape of a window's rows."""
        return self.registers[win.at].extent

    def remember(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """Something made at most once in this chunk."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    # --- geometry ---------------------------------------------------------------------------------

    def frame(self, reach: Reach, like: Frame | None = None) -> Frame:
        """The windows of a tensor: one per position, or one for all where that costs hardly more.

        Once the windows of what is read (`like`) are common, so are these.
        """
        start, stop = reach.start[self.positions], reach.stop[self.positions]
        width = max(1, int((stop - start).max()))
        low, high = reach.clip(self.positions)
        touched = high > low
        if not touched.any():
            return Frame(np.zeros_like(start), 1, reach.size)
        first, last = int(low[touched].min()), int(high[touched].max())
        if (like is not None and like.common) or last - first <= 1.25 * width:
            return Frame(np.full_like(start, first), last - first, reach.size)
        return Frame(start, width, reach.size)

    # --- references -------------------------------------------------------------------------------

    def value_dtype(self, name: str) -> torch.dtype:
        return self.program.specs[name].dtype

    def rows(self, name: str, axis: int) -> tuple[int, int]:
        """Reference rows (h + size + h, B, C), position first, and how many (h) lie before 0."""
        reach = self.reaches[name]
        assert isinstance(reach, Reach)
        over = max(0, -int(reach.start.min()), int(reach.stop.max()) - reach.size)
        halo = min(over, MOST_HALO)
        channels = self.program.specs[name].numel // reach.size
        shape = (reach.size + 2 * halo, BATCH, channels)
        flat = reach.flat
        return self.input(("rows", name, axis, flat, halo), shape, self.value_dtype(name)), halo

    def reference(self, name: str) -> int:
        """The model's tensor, (B, ...)."""
        spec = self.program.specs[name]
        return self.input(("whole", name), (BATCH, *spec.shape[1:]), spec.dtype)

    def beneath(self, name: str, axis: int, frame: Frame) -> int:
        """Reference rows of every window: (w, P or 1, 1, B, C). Rows outside hold any row of it."""
        rows, halo = self.rows(name, axis)
        low, high = int(frame.start.min()), int(frame.start.max()) + frame.width
        step = frame.step
        size, channels = frame.size, self.registers[rows].extent[-1]
        if step is not None and step >= 0 and low >= -halo and high <= size + halo:
            count = 1 if step == 0 else len(frame.start)
            view = ("view", rows, halo + int(frame.start[0]), step, frame.width, count)
            return self.input(view, (frame.width, count, 1, BATCH, channels), self.dtype(rows))
        return self.beneath_at(name, axis, frame.rows().clip(0, size - 1))

    def beneath_at(self, name: str, axis: int, absolute: Ints) -> int:
        """Reference rows at positions (v, P) of the tensor: (v, P, 1, B, C)."""
        rows, halo = self.rows(name, axis)
        channels = self.registers[rows].extent[-1]
        shape = (len(absolute), absolute.shape[1], 1, BATCH, channels)
        return self.emit(
            "rows", (rows,), shape, self.dtype(rows), index=absolute.reshape(-1) + halo
        )
