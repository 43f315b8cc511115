"""Exact deltas from probes: a convolution sees a few mixtures of all mutants, not each of them.

Everything but convolutions is the windowed backend's: pooling rebuilds aligned windows, point-wise
functions add the reference, apply and subtract, a dense layer multiplies the slice that changed. A
convolution's windows are laid into probes (`codes.py`), the probes go through the windowed
backend's own convolution as if they were mutants with a common window, and the mutants' windows are
read from what comes out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.sensing.codes import PUBLISHED, Code
from yuzu_cli.backends.windowed import WindowedRunner
from yuzu_cli.model import Model
from yuzu_cli.operators.convolution import Convolver
from yuzu_cli.operators.frames import Frame
from yuzu_cli.operators.items import BATCH, Form, Item, Shape, Window
from yuzu_cli.operators.reach import Ints, Reach
from yuzu_cli.operators.windows import Sketch

SLACK = 1.2
"""Probes are taken where they cost at most so many times the multiply-adds of the windows.

Measured on the zoo: at 1.3 and above windows are faster; below that no more than a few percent lie
between them.
"""


class YuzuRunner(WindowedRunner):
    """The yuzu backend for one model and length.

    Parameters
    ----------
    model : Model
    settings : Settings
        `matrix` and `alpha` choose the codes.
    codes : mapping of str to Code
        Codes by convolution; one without goes the windowed way.
    slack : float
        See `SLACK`; infinite sends every convolution through probes, whatever that costs.
    """

    def __init__(
        self,
        model: Model,
        settings: Settings,
        codes: Mapping[str, Code],
        slack: float = SLACK,
    ) -> None:
        super().__init__(model, settings)
        self.codes = {name: c.to(settings.device, settings.dtype) for name, c in codes.items()}
        self.refusal: str | None = None
        """Why nobody should trust it, where that is known: the engine then stops."""
        self.alpha: float | None = None
        """Probes over mutants that meet, where that was chosen."""
        self.probed: dict[str, Probed] = {}
        for name, code in self.codes.items():
            plain = self.script.steps[name]
            assert isinstance(plain, Convolver)
            self.probed[name] = self.script.steps[name] = Probed(plain, code, slack)

    def positions_per_chunk(self, batch: int) -> int:
        """As for windows; more where only many mutants at a time make probes worth while."""
        count = super().positions_per_chunk(batch)
        met = [code.slots.count for code in self.codes.values() if code.kind in PUBLISHED]
        if not met:
            return count
        room = self.settings.memory // 2 // max(1, self._live(batch))
        return max(count, min(2 * max(met), int(room)))


# --- one convolution ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The rows of a chunk's windows that edits reach, and where in their slots these lie.

    Attributes
    ----------
    keep : bool (w, P)
        Rows within reach and within the tensor.
    low, high : int
        First position any of them has, and one past the last.
    """

    frame: Frame
    keep: np.ndarray
    low: int
    high: int

    @property
    def extent(self) -> int:
        return self.high - self.low

    def flat(self, slot: Ints, used: int) -> Ints:
        """Index of every row, kept or not, in an (extent, slots) table."""
        at = self.frame.rows() - self.low
        return np.where(self.keep, at * used + slot[None, :], 0)


def reached(frame: Frame, reach: Reach, positions: Ints) -> _Rows:
    """Which rows of windows their edits reach; the others hold nothing, or rounding."""
    low, high = (a[positions] for a in reach.clip())
    rows = frame.rows()
    keep = (rows >= low[None, :]) & (rows < high[None, :])
    if not keep.any():
        return _Rows(frame, keep, 0, 1)
    return _Rows(frame, keep, int(rows[keep].min()), int(rows[keep].max()) + 1)


class Probed:
    """The step of one convolution: probes where they are worth their cost, else the windows."""

    def __init__(self, plain: Convolver, code: Code, slack: float) -> None:
        self.plain, self.code, self.slack = plain, code, slack
        self.call = plain.call
        self.weight = self.call.constant(plain.operator.weight).numel()
        self.taken = self.left = 0

    def __call__(self, sketch: Sketch, items: Mapping[str, Item]) -> Window:
        source = items[self.call.source.name]
        assert isinstance(source, Window)
        win = sketch.delta(source)
        out = self.call.reach
        rows = reached(win.frame, self.plain.reach_in, sketch.positions)
        read = reached(sketch.frame(out, win.frame), out, sketch.positions)
        if not rows.keep.any() or not read.keep.any():
            return self.plain(sketch, items)  # nothing that is needed changes
        if not self._worth(sketch, win, rows, read):
            self.left += 1
            return self.plain(sketch, items)
        self.taken += 1
        return self._through(sketch, sketch.expand(win), rows, read)

    def _worth(self, sketch: Sketch, win: Window, rows: _Rows, read: _Rows) -> bool:
        """Whether probes are no dearer than windows."""
        if math.isinf(self.slack):
            return True
        if win.form is Form.PAIRS:
            return False
        letters = sketch.letters - 1
        mutants = len(sketch.positions) * letters
        if self.code.kind in PUBLISHED:
            return self.code.probes < mutants
        slots = len(np.unique(self.code.slots.slot[sketch.positions])) * letters
        probes, mixing = slots, 0
        if self.code.matrix is not None:
            probes = self.code.probes
            n_out = math.prod(self.call.rest())
            mixing = probes * slots * (rows.extent * win.channels + read.extent * n_out)
        through = rows.extent * probes * self.weight + mixing
        return through <= self.slack * win.frame.width * mutants * self.weight

    def _through(self, sketch: Sketch, win: Window, rows: _Rows, read: _Rows) -> Window:
        used, slot = np.unique(self.code.slots.slot[sketch.positions], return_inverse=True)
        probes = self.mix(sketch, win, rows, slot, used)
        count = len(probes.frame.start)
        target = Frame(np.full(count, read.low, np.int64), read.extent, read.frame.size)
        made = self.plain.on(sketch, probes, target)
        return self.tell(sketch, made, read, slot, used)

    def mix(self, sketch: Sketch, win: Window, rows: _Rows, slot: Ints, used: Ints) -> Window:
        """Probes from windows, as mutants of one common window: rows (X, R, 1, B, C)."""
        count, dtype = len(used), sketch.dtype(win.at)
        at = rows.flat(slot, count)[rows.keep]
        shape: Shape = (rows.extent, count, sketch.letters - 1, BATCH, win.channels)
        laid = sketch.emit(
            "slots", (win.at,), shape, dtype, at=at, shared=len(np.unique(at)) < len(at),
            keep=None if rows.keep.all() else np.flatnonzero(rows.keep.reshape(-1)),
        )  # fmt: skip
        probes = count
        if self.code.matrix is not None:
            published = self.code.kind in PUBLISHED
            owner = owners(sketch.positions, rows, slot, count) if published else used
            probes = self.code.probes
            shape = (rows.extent, probes, 1, BATCH, win.channels)
            laid = sketch.emit(
                "encode", (laid,), shape, dtype, code=self.code, used=used, owner=owner
            )
        source = Frame(np.full(probes, rows.low, np.int64), rows.extent, win.frame.size)
        return Window(win.name, source, laid, Form.DELTA, win.axis, win.rest)

    def tell(self, sketch: Sketch, made: Window, read: _Rows, slot: Ints, used: Ints) -> Window:
        """The mutants' windows out of what the probes became."""
        count, dtype = len(used), sketch.dtype(made.at)
        shape: Shape = (read.extent, count, sketch.letters - 1, BATCH, made.channels)
        told = sketch.emit(
            "decode", (made.at,), shape, dtype, code=self.code, used=used, first=read.low
        )
        shape = (read.frame.width, *sketch.shape, made.channels)
        index = read.flat(slot, count).reshape(-1)
        at = sketch.emit("gather", (told,), shape, dtype, index=index)
        empty = np.flatnonzero(~read.keep.reshape(-1))
        if len(empty):
            at = sketch.emit("mask", (at,), shape, dtype, over=at, index=empty, fill=0.0)
        return Window(self.call.name, read.frame, at, Form.DELTA, made.axis, made.rest)


def owners(positions: Ints, rows: _Rows, slot: Ints, used: int) -> Ints:
    """Letter position of the edit in each slot at each position, (X, S); 0 where there is none."""
    table = np.zeros(rows.extent * used, dtype=np.int64)
    edits = np.broadcast_to(positions, rows.keep.shape)
    table[rows.flat(slot, used)[rows.keep]] = edits[rows.keep]
    return table.reshape(rows.extent, used)
