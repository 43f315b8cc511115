"""Values in flight: windows of what edits change, whole tensors, and the references beneath them.

A chunk holds P positions, K = A - 1 letters at each and B sequences: E = P*K*B mutants. A window
tensor is laid out position first, ``(w, P, K, B, C)``, where C is every other axis of the
model's tensor flattened: then a tap of a convolution is one plain matrix product, a reference
row is contiguous, and one gather serves all letters. A window holds deltas (mutant minus
reference; zero outside the tensor) or values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from yuzu_cli.backends.deltas.frames import Frame, overlap, runs, straight
from yuzu_cli.reach.domain import AnyReach, Ints, Reach


@dataclass
class Win:
    """What the chunk's mutants change in one tensor.

    Attributes
    ----------
    name : str
        Node whose reference lies beneath.
    frame : Frame
    rows : Tensor (w, P, K, B, C), or (w, 1, A*A, 1, C) when `pairs`
    is_delta : bool
        Deltas, zero outside the tensor; otherwise values, undefined outside it.
    pairs : bool
        Rows for every (letter to, letter from) instead of every mutant: the same at each
        position, as long as only linear maps lie between the input and here.
    owned : bool
        No other window points to these rows, so the last reader may overwrite them.
    exact : bool
        Values that functions after them must get as they are: they are never overwritten by
        deltas, and their deltas are kept in double precision, from which they can be had again.
    axis, rest : int, tuple of int
        Position axis of the model's tensor, and its other axes without the batch's.
    """

    name: str
    frame: Frame
    rows: torch.Tensor
    is_delta: bool
    axis: int
    rest: tuple[int, ...]
    pairs: bool = False
    owned: bool = True
    exact: bool = False

    def logical(self) -> torch.Tensor:
        """The rows as the model's tensor with w positions and E mutants, a view."""
        w = self.rows.shape[0]
        return self.rows.reshape(w, -1, *self.rest).movedim(0, self.axis)


@dataclass
class Full:
    """A whole tensor for every mutant, (E, ...), mutants in the order (P, K, B)."""

    name: str
    data: torch.Tensor
    is_delta: bool


class References:
    """Values of the sequences themselves, in the layouts that windows need.

    Parameters
    ----------
    values : dict of node name -> Tensor (B, ...)
    reaches : dict of node name -> reach
        Say which tensors were flattened, and from which shape.
    """

    def __init__(self, values: dict[str, torch.Tensor], reaches: dict[str, AnyReach]) -> None:
        self.values, self.reaches = values, reaches
        self._rows: dict[tuple[str, int], torch.Tensor] = {}
        self._derived: dict[tuple[str, str], Any] = {}

    def whole(self, name: str) -> torch.Tensor:
        """The model's tensor, (B, ...)."""
        return self.values[name]

    def rows(self, name: str, axis: int) -> torch.Tensor:
        """Position first and every other axis flattened: (size, B, C), contiguous."""
        key = (name, axis)
        if key not in self._rows:
            value, reach = self.values[name], self.reaches[name]
            if isinstance(reach, Reach) and reach.flat is not None:
                value = value.reshape(value.shape[0], *reach.flat)
            rows = value.movedim(axis, 0)
            self._rows[key] = rows.reshape(rows.shape[0], value.shape[0], -1).contiguous()
        return self._rows[key]

    def finite(self, name: str) -> bool:
        """Whether a reference holds no infinity, as masks do."""
        return bool(self.derived(name, "finite", lambda: bool(self.values[name].isfinite().all())))

    def derived(self, name: str, what: str, make: Callable[[], Any]) -> Any:
        """Something computed once per batch from a reference, by name."""
        key = (name, what)
        if key not in self._derived:
            self._derived[key] = make()
        return self._derived[key]


class Chunk:
    """Some mutants of a batch under computation.

    Parameters
    ----------
    references : References
    positions : int64 (P,)
        Positions in the window, in the order they are computed in.
    pair_index : int64 Tensor (P, K, B)
        ``letter_to * A + letter_from`` of every mutant.
    """

    def __init__(
        self, references: References, positions: Ints, pair_index: torch.Tensor, letters: int
    ) -> None:
        self.references, self.positions, self.pair_index = references, positions, pair_index
        self.letters = letters
        self.shape = tuple(pair_index.shape)  # P, K, B
        self.mutants = pair_index.numel()
        self.device = pair_index.device

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

    def index(self, values: np.ndarray) -> torch.Tensor:
        """Integers or flags as a tensor on the device."""
        return torch.as_tensor(values, device=self.device)

    # --- references in windows --------------------------------------------------------------------

    def gather(self, name: str, axis: int, frame: Frame) -> torch.Tensor:
        """Reference rows of every window: (w, P or 1, 1, B, C). Rows outside hold any row of it."""
        if frame.common and frame.inside:
            begin = int(frame.start[0])
            return self.references.rows(name, axis)[begin : begin + frame.width, None, None]
        return self.reference_at(name, axis, frame.rows().clip(0, frame.size - 1))

    def reference_at(self, name: str, axis: int, absolute: Ints) -> torch.Tensor:
        """Reference rows at positions (v, P) of the tensor: (v, P, 1, B, C)."""
        rows = self.references.rows(name, axis)
        at = self.index(absolute.reshape(-1))
        return rows.index_select(0, at).view(len(absolute), -1, 1, *rows.shape[1:])

    def outside(self, frame: Frame) -> torch.Tensor | None:
        """True for rows outside the tensor, (w, P, 1, 1, 1); None when there are none."""
        if frame.inside:
            return None
        rows = frame.rows()
        return self.index((rows < 0) | (rows >= frame.size))[..., None, None, None]

    # --- forms ------------------------------------------------------------------------------------

    def expand(self, win: Win) -> Win:
        """Rows for every mutant from rows for every pair of letters."""
        if not win.pairs:
            return win
        w, c = win.rows.shape[0], win.rows.shape[-1]
        rows = win.rows.view(w, -1, c).index_select(1, self.pair_index.reshape(-1))
        rows = rows.view(w, *self.shape, c)
        return self.masked(Win(win.name, win.frame, rows, True, win.axis, win.rest))

    def masked(self, win: Win) -> Win:
        """Deltas outside the tensor set to zero, in place."""
        outside = self.outside(win.frame)
        if outside is not None and not win.pairs:
            win.rows.masked_fill_(outside, 0)
        return win

    def as_delta(self, win: Win) -> Win:
        """The window as deltas. Values are turned into deltas in place, for all who hold the
        window, unless these must be kept.
        """
        if win.is_delta:
            return win
        reference = self.gather(win.name, win.axis, win.frame)
        if win.exact:
            rows = win.rows.to(torch.float64, copy=True)
            rows = self.difference(win.name, rows, reference.to(rows))
            return self.masked(replace(win, rows=rows, is_delta=True, owned=True))
        if reference.is_floating_point():
            win.rows = self.difference(win.name, win.rows, reference)
        else:  # of flags and whole numbers, as far as these go
            win.rows = win.rows.double() - reference.double()
        win.is_delta = True
        return self.masked(win)

    def difference(self, name: str, values: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Values less the reference, in place where that may be; equal infinities differ by 0."""
        if self.references.finite(name):
            return values.sub_(reference)
        return torch.where(values == reference, 0.0, values - reference)

    def deltas_for(self, win: Win, weight: torch.Tensor) -> Win:
        """The window as deltas in the type of the weights they will meet."""
        win = self.as_delta(win)
        return win if win.rows.dtype == weight.dtype else replace(win, rows=win.rows.to(weight))

    def as_value(self, win: Win) -> Win:
        """The window as values, in memory of its own or the window's own."""
        if not win.is_delta:
            return win
        win = self.expand(win)
        reference = self.gather(win.name, win.axis, win.frame)
        rows = (win.rows + reference).to(reference.dtype)
        return Win(win.name, win.frame, rows, False, win.axis, win.rest)

    def reframe(self, win: Win, frame: Frame) -> Win:
        """Deltas laid into other windows; rows that were in none are zero."""
        if frame.same(win.frame):
            return win
        win = self.expand(win)
        assert win.is_delta
        parts = list(runs(win.frame.start - frame.start))
        if self.scattered(parts):
            rows = self.regather(win, frame.rows())
        else:
            rows = win.rows.new_zeros((frame.width, *win.rows.shape[1:]))
            for run, offset in parts:
                into, out_of = overlap(offset, win.frame.width, frame.width)
                rows[into, run] = win.rows[out_of, run]
        return Win(win.name, frame, rows, True, win.axis, win.rest)

    def scattered(self, parts: list[tuple[slice, int]]) -> bool:
        """Whether one gather beats a copy per run: many runs, or a device slow to start work."""
        return len(parts) > (4 if self.device.type == "cpu" else 1)

    def regather(self, win: Win, absolute: Ints) -> torch.Tensor:
        """Rows at any positions of the tensor by one gather; zero where the window has none.

        Parameters
        ----------
        win : Win
            Deltas of every mutant.
        absolute : int64 (v, P)

        Returns
        -------
        Tensor (v, P, K, B, C)
        """
        w, p = win.rows.shape[:2]
        offset, inside = self.held(win, absolute)
        at = np.where(inside, offset * p + np.arange(p)[None, :], w * p)
        flat = win.rows.reshape(w * p, -1)
        flat = torch.cat([flat, flat.new_zeros((1, flat.shape[1]))])
        rows = flat.index_select(0, self.index(at.reshape(-1)))
        return rows.view(len(absolute), *win.rows.shape[1:])

    def held(self, win: Win, absolute: Ints) -> tuple[Ints, np.ndarray]:
        """Rows of a window at positions (v, P) of the tensor, and whether it has them."""
        offset = absolute - win.frame.start[None, :]
        return offset, (offset >= 0) & (offset < win.frame.width)

    def values_at(self, win: Win, absolute: Ints) -> torch.Tensor:
        """As `regather`, of values: those of the reference where the window has none."""
        reference = self.reference_at(win.name, win.axis, absolute)
        rows = self.regather(win, absolute)
        if win.is_delta:
            return (rows + reference).to(reference.dtype)
        inside = self.index(self.held(win, absolute)[1])[..., None, None, None]
        return torch.where(inside, rows, reference)

    def values_in(self, win: Win, frame: Frame, fill: float) -> torch.Tensor:
        """Values in other windows: the reference where no edit reaches, `fill` outside."""
        win = self.expand(win)
        reference = self.gather(win.name, win.axis, frame)
        parts = list(runs(win.frame.start - frame.start))
        if self.scattered(parts):
            rows = self.values_at(win, frame.rows().clip(0, frame.size - 1))
        else:
            rows = reference.new_empty((frame.width, *win.rows.shape[1:]))
            for run, offset in parts:
                into, out_of = overlap(offset, win.frame.width, frame.width)
                beneath = reference if reference.shape[1] == 1 else reference[:, run]
                rows[: into.start, run] = beneath[: into.start]
                rows[into.stop :, run] = beneath[into.stop :]
                if win.is_delta and not rows.is_floating_point():
                    rows[into, run] = (win.rows[out_of, run] + beneath[into]).to(rows.dtype)
                elif win.is_delta:
                    torch.add(win.rows[out_of, run], beneath[into], out=rows[into, run])
                else:
                    rows[into, run] = win.rows[out_of, run]
        outside = self.outside(frame)
        return rows if outside is None else rows.masked_fill_(outside, fill)

    # --- whole tensors ----------------------------------------------------------------------------

    def spread(self, reference: torch.Tensor) -> torch.Tensor:
        """A reference (B, ...) for every mutant, (E, ...); no copy where B is one."""
        shape = self.shape[:2] + reference.shape
        return reference.expand(shape).reshape(self.mutants, *reference.shape[1:])

    def whole(self, win: Win, values: bool = False) -> torch.Tensor:
        """Deltas in the model's whole tensor, (E, ...); or a window of values in the reference."""
        win = self.expand(win if values else self.as_delta(win))
        p, k, b = self.shape
        axis, size = win.axis - 1, win.frame.size
        shape = (*win.rest[:axis], size, *win.rest[axis:])
        out = win.rows.new_zeros((p, k * b, *shape))
        if values:
            out.view(p, k, b, *shape).copy_(self.references.whole(win.name).reshape(b, *shape))
        behind = int(np.prod(win.rest[axis:]))
        ahead = win.rows.shape[-1] // behind
        rows = win.rows.view(-1, p, k * b * ahead, behind).permute(1, 2, 0, 3)
        for run, step in straight(win.frame):
            first = int(win.frame.start[run.start])
            low, high = max(0, -first), min(win.frame.width, size - first)
            if run.stop - run.start > 1:
                low, high = 0, win.frame.width
            if high <= low:
                continue
            # Windows that move on by the same step from position to position are one strided view.
            into = out.as_strided(
                (run.stop - run.start, k * b * ahead, high - low, behind),
                (k * b * ahead * size * behind + step * behind, size * behind, behind, 1),
                run.start * k * b * ahead * size * behind + (first + low) * behind,
            )
            into.copy_(rows[run, :, low:high])
        return out.view(p * k * b, *shape)

    def value_of(self, full: Full) -> torch.Tensor:
        """A whole tensor as values."""
        if not full.is_delta:
            return full.data
        reference = self.references.whole(full.name)
        data = full.data.reshape(*self.shape, *full.data.shape[1:]) + reference
        return data.view(full.data.shape).to(reference.dtype)

    def delta_of(self, full: Full) -> torch.Tensor:
        """A whole tensor as deltas."""
        if full.is_delta:
            return full.data
        reference = self.references.whole(full.name)
        data = full.data.reshape(*self.shape, *full.data.shape[1:])
        if not reference.is_floating_point():
            data, reference = data.double(), reference.double()
        delta = data - reference
        if not self.references.finite(full.name):
            delta = torch.where(data == reference, 0.0, delta)
        return delta.view(full.data.shape)
