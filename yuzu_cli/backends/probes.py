"""Exact deltas from probes: a convolution sees a few mixtures of all mutants, not each of them.

Everything but convolutions is the windowed backend's: pooling rebuilds aligned windows, point-wise
functions add the reference, apply and subtract, a dense layer multiplies the slice that changed. A
convolution's windows are laid into probes (`yuzu_cli.backends.sensing`), the probes go through the
windowed backend's own convolution as if they were mutants with a common window, and the mutants'
windows are read from what comes out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.deltas.frames import Frame
from yuzu_cli.backends.deltas.prepared import Prepared, State, Step, window_of
from yuzu_cli.backends.deltas.states import Chunk, Win
from yuzu_cli.backends.deltas.steps import STEPS
from yuzu_cli.backends.sensing import PUBLISHED, Code
from yuzu_cli.backends.windowed import WindowedRunner
from yuzu_cli.model import Model
from yuzu_cli.plan import strategies as how
from yuzu_cli.reach.domain import Ints, Reach

MOST_PLANS = 256
"""Geometries of chunks that are remembered."""
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
        for node in self.nodes:
            if node.name in self.codes:
                prepared = Prepared(node, self.program, self.reaches)
                step = Probed(prepared, self.codes[node.name], slack)
                self.probed[node.name] = self.steps[node.name] = step

    def positions_per_chunk(self, batch: int) -> int:
        """As for windows; more where only many mutants at a time make probes worth while."""
        count = super().positions_per_chunk(batch)
        met = [code.slots.count for code in self.codes.values() if code.kind in PUBLISHED]
        if not met:
            return count
        mutants = batch * (self.model.alphabet_size - 1)
        room = self.settings.memory // 4 // max(1, self._bytes_per_mutant() * mutants)
        return max(count, min(2 * max(met), int(room)))


# --- one convolution ----------------------------------------------------------------------------


class _ProbeChunk(Chunk):
    """Probes in the place of mutants: the rows of all of them lie in one common window."""

    def __init__(self, chunk: Chunk, probes: int, letters: int, target: Frame) -> None:
        batch = chunk.shape[2]
        pairs = torch.empty((probes, letters, batch), dtype=torch.int64, device=chunk.device)
        super().__init__(chunk.references, np.zeros(probes, np.int64), pairs, chunk.letters)
        self.target = target

    def frame(self, reach: Reach, like: Frame | None = None) -> Frame:
        return self.target


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

    def __init__(self, p: Prepared, code: Code, slack: float) -> None:
        self.p, self.code, self.slack = p, code, slack
        self.plain: Step = STEPS[how.CONVOLUTION](p)
        self.weight = p.constant(p.node.args[1]).numel()
        self.taken = self.left = 0
        self._plans: dict[tuple[bytes, bytes, int, bool], tuple[_Rows, _Rows] | None] = {}

    def __call__(self, chunk: Chunk, states: dict[str, State]) -> State:
        win = chunk.as_delta(window_of(chunk, states, self.p.source))
        frame = win.frame
        key = (chunk.positions.tobytes(), frame.start.tobytes(), frame.width, win.pairs)
        if key not in self._plans:  # chunks lie alike in every batch
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            self._plans[key] = self._plan(chunk, win)
        plan = self._plans[key]
        if plan is None:
            self.left += 1
            return self.plain(chunk, states)
        self.taken += 1
        return self._run(chunk, states, chunk.expand(win), *plan)

    def _plan(self, chunk: Chunk, win: Win) -> tuple[_Rows, _Rows] | None:
        """The rows that go in and come out, or None when windows are the better way."""
        if win.pairs and not math.isinf(self.slack):
            return None
        out = self.p.reach
        assert out is not None
        rows = reached(win.frame, self.p.reach_of(self.p.source), chunk.positions)
        read = reached(chunk.frame(out, win.frame), out, chunk.positions)
        if not rows.keep.any() or not read.keep.any():
            return None
        return (rows, read) if self._worth(chunk, win, rows, read) else None

    def _worth(self, chunk: Chunk, win: Win, rows: _Rows, read: _Rows) -> bool:
        if math.isinf(self.slack):
            return True
        mutants = chunk.shape[0] * chunk.shape[1]
        if self.code.kind in PUBLISHED:
            return self.code.probes < mutants
        slots = len(np.unique(self.code.slots.slot[chunk.positions])) * chunk.shape[1]
        probes, mixing = slots, 0
        if self.code.matrix is not None:
            probes = self.code.probes
            n_in, n_out = win.rows.shape[-1], int(np.prod(self.p.rest()))
            mixing = probes * slots * (rows.extent * n_in + read.extent * n_out)
        through = rows.extent * probes * self.weight + mixing
        return through <= self.slack * win.frame.width * mutants * self.weight

    def _run(
        self, chunk: Chunk, states: dict[str, State], win: Win, rows: _Rows, read: _Rows
    ) -> Win:
        used, slot = np.unique(self.code.slots.slot[chunk.positions], return_inverse=True)
        probes = self.mix(chunk, win, rows, slot, used)
        made = self.convolve(chunk, probes, read)
        return self.tell(chunk, made, read, slot, used)

    def mix(self, chunk: Chunk, win: Win, rows: _Rows, slot: Ints, used: Ints) -> Win:
        """Probes from windows, as mutants of one common window: rows (X, R, 1, B, C)."""
        laid = lay(chunk, win, rows, slot, len(used))
        if self.code.matrix is not None:
            x, s, k, b, c = laid.shape
            published = self.code.kind in PUBLISHED
            at = tensor(chunk, used)
            owner = owners(chunk, rows, slot, len(used)) if published else at
            laid = self.code.encode(laid.view(x, s, k, b * c), at, owner).view(x, -1, 1, b, c)
        source = Frame(np.full(laid.shape[1], rows.low, np.int64), rows.extent, win.frame.size)
        return Win(win.name, source, laid, True, win.axis, win.rest)

    def convolve(self, chunk: Chunk, probes: Win, read: _Rows) -> torch.Tensor:
        """The convolution of all probes, by the windowed backend's own step: (X, R, B, O)."""
        count, letters = probes.rows.shape[1:3]
        target = Frame(np.full(count, read.low, np.int64), read.extent, read.frame.size)
        stand_in = _ProbeChunk(chunk, count, letters, target)
        result = self.plain(stand_in, {self.p.source.name: probes})
        assert isinstance(result, Win)
        return result.rows.flatten(1, 2)

    def tell(self, chunk: Chunk, made: torch.Tensor, read: _Rows, slot: Ints, used: Ints) -> Win:
        """The mutants' windows out of what the probes became."""
        told = self.code.decode(made.flatten(2), tensor(chunk, used), read.low)
        return self.p.win(read.frame, pick(chunk, told, read, slot, len(used)), True)


def tensor(chunk: Chunk, values: np.ndarray) -> torch.Tensor:
    """An array on the chunk's device."""
    return torch.as_tensor(values, device=chunk.device)


def lay(chunk: Chunk, win: Win, rows: _Rows, slot: Ints, used: int) -> torch.Tensor:
    """Windows (w, P, K, B, C) laid into their slots side by side: (X, S, K, B, C)."""
    shape = win.rows.shape[2:]
    table = win.rows.new_zeros((rows.extent * used, int(np.prod(shape))))
    flat, source = rows.flat(slot, used), win.rows.reshape(-1, table.shape[1])
    at = flat[rows.keep]
    if not rows.keep.all():
        source = source.index_select(0, tensor(chunk, np.flatnonzero(rows.keep.reshape(-1))))
    if len(np.unique(at)) == len(at):
        table.index_copy_(0, tensor(chunk, at), source)
    else:  # inputs that no output reads may be shared; they go through unread
        table.index_add_(0, tensor(chunk, at), source)
    return table.view(rows.extent, used, *shape)


def owners(chunk: Chunk, rows: _Rows, slot: Ints, used: int) -> torch.Tensor:
    """Letter position of the edit in each slot at each position, (X, S); 0 where there is none."""
    table = np.zeros(rows.extent * used, dtype=np.int64)
    table[rows.flat(slot, used)[rows.keep]] = np.broadcast_to(chunk.positions, rows.keep.shape)[
        rows.keep
    ]
    return tensor(chunk, table.reshape(rows.extent, used))


def pick(chunk: Chunk, told: torch.Tensor, read: _Rows, slot: Ints, used: int) -> torch.Tensor:
    """Windows (w, P, K, B, C) read from slots (X, S, K, B * C)."""
    x, s, k, f = told.shape
    at = tensor(chunk, read.flat(slot, used).reshape(-1))
    rows = told.reshape(x * s, k * f).index_select(0, at)
    rows = rows.view(*read.keep.shape, *chunk.shape[1:], -1)
    if not read.keep.all():
        rows.masked_fill_(tensor(chunk, ~read.keep)[..., None, None, None], 0)
    return rows
