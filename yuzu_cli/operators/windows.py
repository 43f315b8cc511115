"""A chunk of mutants being planned: windows and whole tensors by number, and the tape they make.

A chunk holds P positions, K = A - 1 letters at each and B sequences: E = P*K*B mutants. A window
tensor is laid out position first, ``(w, P, K, B, C)``, where C is every other axis of the
model's tensor flattened: then a tap of a convolution is one plain matrix product, a reference
row is contiguous, and one gather serves all letters. A window holds deltas (mutant minus
reference; zero outside the tensor), values, or pairs: ``(w, 1, A*A, 1, C)``, a row for every
(letter to, letter from) instead of every mutant, the same at each position, as long as only
linear maps lie between the input and here.

Nothing is computed here: every method appends instructions to the tape, with all that depends on
positions (where windows lie, which rows are gathered, which lie outside) worked out already. A
`Window` never changes; where a kernel may write its result is decided when the tape is whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
import torch

from yuzu_cli.graph.program import Program
from yuzu_cli.operators.frames import Frame, overlap, runs, straight_pieces
from yuzu_cli.operators.reach import AnyReach, Ints, Reach

BATCH = -1
"""Stands for the number of sequences in a shape; -n for n times as many."""
MOST_HALO = 64
"""Rows of reference kept beyond each end, so that windows there need no gather of their own."""
MOST_RUNS = 4
"""More runs of alike windows than this are moved by one gather instead of a copy each."""

Shape: TypeAlias = tuple[int, ...]


def least(dtype: torch.dtype) -> float:
    """What is below every value of a type."""
    if dtype.is_floating_point:
        return float("-inf")
    return 0 if dtype is torch.bool else torch.iinfo(dtype).min


class Form(Enum):
    """What the rows of a window hold."""

    DELTA = "deltas"
    VALUE = "values"
    PAIRS = "pairs"


@dataclass(frozen=True, slots=True)
class Window:
    """What the chunk's mutants change in one tensor.

    Attributes
    ----------
    name : str
        Node whose reference lies beneath.
    frame : Frame
    at : int
        Register of its rows.
    form : Form
    axis, rest : int, tuple of int
        Position axis of the model's tensor, and its other axes without the batch's.
    """

    name: str
    frame: Frame
    at: int
    form: Form
    axis: int
    rest: tuple[int, ...]

    @property
    def channels(self) -> int:
        return math.prod(self.rest)


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole tensor for every mutant, (E, ...), mutants in the order (P, K, B)."""

    name: str
    at: int
    is_delta: bool


@dataclass(frozen=True, slots=True)
class Other:
    """A number, or several tensors: what a call gave that is neither window nor whole tensor."""

    at: int


Item: TypeAlias = Window | Whole | Other


@dataclass(frozen=True, slots=True)
class Register:
    """A numbered place of the tape.

    Attributes
    ----------
    shape : tuple of int or None
        With `BATCH` in the place of B; None for what its kernel makes anew in every run.
    dtype : torch.dtype or None
    source : tuple or None
        Where an input comes from: see `yuzu_cli.kernels.runner`. None for what a kernel writes.
    bytes : int
        Of what has no shape, for one sequence: a guess from the node's.
    """

    shape: Shape | None
    dtype: torch.dtype | None
    source: tuple[Any, ...] | None = None
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Instruction:
    """One kernel of the tape.

    Attributes
    ----------
    kernel : str
        A name of `yuzu_cli.kernels`.
    reads : tuple of int
    write : int
    args : dict
        Numbers, index arrays, weights, functions.
    over : int or None
        A register whose storage the result may take, if nobody reads it later.
    node : str
        What it is done for.
    """

    kernel: str
    reads: tuple[int, ...]
    write: int
    args: dict[str, Any]
    over: int | None
    node: str


class Sketch:
    """The tape of one chunk while it is made.

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
        shape = self.registers[win.at].shape
        assert shape is not None
        return shape

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
        size, channels = frame.size, self.registers[rows].shape[-1]  # type: ignore[index]
        if step is not None and step >= 0 and low >= -halo and high <= size + halo:
            count = 1 if step == 0 else len(frame.start)
            view = ("view", rows, halo + int(frame.start[0]), step, frame.width, count)
            return self.input(view, (frame.width, count, 1, BATCH, channels), self.dtype(rows))
        return self.beneath_at(name, axis, frame.rows().clip(0, size - 1))

    def beneath_at(self, name: str, axis: int, absolute: Ints) -> int:
        """Reference rows at positions (v, P) of the tensor: (v, P, 1, B, C)."""
        rows, halo = self.rows(name, axis)
        channels = self.registers[rows].shape[-1]  # type: ignore[index]
        shape = (len(absolute), absolute.shape[1], 1, BATCH, channels)
        return self.emit(
            "rows", (rows,), shape, self.dtype(rows), index=absolute.reshape(-1) + halo
        )

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
        w, p = self.rows_of(win)[:2]
        offset = absolute - win.frame.start[None, :]
        inside = (offset >= 0) & (offset < w)
        index = np.where(inside, offset, 0) * p + np.arange(p)[None, :]
        shape = (len(absolute), *self.rows_of(win)[1:])
        at = self.emit("gather", (win.at,), shape, self.dtype(win.at), index=index.reshape(-1))
        empty = np.flatnonzero(~inside.reshape(-1))
        if not len(empty):
            return at
        return self.emit("mask", (at,), shape, self.dtype(at), over=at, index=empty, fill=0.0)

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
        w, p = self.rows_of(win)[:2]
        offset = absolute - win.frame.start[None, :]
        inside = (offset >= 0) & (offset < w)
        index = np.where(inside, offset, 0) * p + np.arange(p)[None, :]
        shape, dtype = (len(absolute), *self.rows_of(win)[1:]), self.dtype(win.at)
        at = self.emit("gather", (win.at,), shape, dtype, index=index.reshape(-1))
        flank = np.flatnonzero(~inside.reshape(-1))
        if not len(flank):
            return at
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
