"""From blocks of deltas to the score arrays of a batch, on the device, with the N rules.

`l2` alone never builds the array of deltas. May not: run models, or know what made a block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from yuzu_cli.backends.base import Block
from yuzu_cli.errors import OutputError

SCORES = ("delta", "l2", "jsd", "contribution", "centered", "prediction")
ACROSS = ("l2", "jsd")
"""One number of a mutant over all targets, without a T axis."""
STEP_BYTES = 64 << 20
"""Score arrays are finished for about this many bytes of deltas at a time."""


class Accumulator:
    """Takes the blocks of one batch, in any order, and returns its scores.

    Parameters
    ----------
    names : sequence of str
        Which of `SCORES`.
    codes : Tensor, uint8 (B, M)
        The sequences' own letters at the mutated positions; A or more is unknown.
    targets : int
        T.
    size : int
        A.
    members : int
        Over how many streams of blocks (models, strands, shifts) the deltas are averaged.
    keep : bool
        Deltas are wanted whatever is asked for.
    """

    def __init__(
        self,
        names: Sequence[str],
        codes: torch.Tensor,
        targets: int,
        size: int,
        members: int = 1,
        keep: bool = False,
    ) -> None:
        self.names, self.codes = tuple(names), codes
        self.targets, self.size, self.members = targets, size, members
        rows = codes.numel() * size
        self.delta: torch.Tensor | None = None
        self.squares: torch.Tensor | None = None
        if only_l2(names) and members == 1 and not keep:
            self.squares = torch.zeros(rows, device=codes.device)
        else:
            self.delta = torch.zeros(rows, targets, device=codes.device)

    def add(self, block: Block) -> None:
        """Take a block; no other of this stream may hold the same mutants for the same targets."""
        if self.squares is not None:
            self.squares.index_add_(0, block.index, block.squares())
            return
        assert self.delta is not None
        target = self.delta[:, block.targets]
        if self.members == 1:
            target.index_copy_(0, block.index, block.delta)
        else:
            target.index_add_(0, block.index, block.delta, alpha=1.0 / self.members)

    def finish(
        self,
        reference: torch.Tensor,
        dtype: torch.dtype = torch.float32,
        beside: Mapping[str, torch.Tensor] | None = None,
    ) -> dict[str, np.ndarray]:
        """The scores asked for.

        Parameters
        ----------
        reference : Tensor, float32 (B, T)
            Outputs of the sequences themselves; what `prediction` adds to.
        dtype : torch.dtype
            float32 or float16: type of the arrays.
        beside : dict of Tensor, optional
            What else of the device is wanted: it comes as it is, with the same wait.

        Returns
        -------
        dict of array
            `l2`, `jsd` (B, A, M), `contribution` (B, T, M), others (B, T, A, M); NaN if unknown.

        Raises
        ------
        OutputError
            A score is too large for float16.
        """
        sequences, positions = self.codes.shape
        letters = torch.arange(self.size, device=self.codes.device)
        same = self.codes.unsqueeze(1) == letters.unsqueeze(1)  # (B, A, M)
        unknown = (self.codes >= self.size).unsqueeze(1)  # (B, 1, M)
        if self.squares is not None:
            table = self.squares.view(sequences, positions, self.size).transpose(1, 2)
            table = table.sqrt().masked_fill(same, 0.0).masked_fill(unknown, torch.nan)
            sent = Sent({"l2": table.shape}, dtype, table.device, beside or {})
            sent.put("l2", slice(None), table)
            return sent.arrays()
        assert self.delta is not None
        # In place, row by row: a masked copy of everything takes longer than all the windows.
        _fill_rows(self.delta, same.transpose(1, 2).flatten(), 0.0)
        _fill_rows(self.delta, unknown.expand_as(same).transpose(1, 2).flatten(), torch.nan)
        stored = self.delta.view(sequences, positions, self.size, -1)
        shapes = score_shapes(sequences, self.targets, self.size, positions)
        wanted = {name: shapes[name] for name in self.names}
        sent = Sent(wanted, dtype, self.codes.device, beside or {})
        row = max(1, self.delta.numel() * 4 // max(1, sequences))
        step = max(1, STEP_BYTES // row)
        for start in range(0, sequences, step):
            part = slice(start, start + step)
            delta = stored[part].permute(0, 3, 2, 1)  # (b, T, A, M)
            for name in self.names:
                sent.put(name, part, _score(name, delta, reference[part]))
        return sent.arrays()


def _fill_rows(table: torch.Tensor, rows: torch.Tensor, value: float) -> None:
    """Set the rows (R, T) that a mask (R,) names."""
    if table.device.type == "cpu":
        table.index_fill_(0, rows.nonzero().squeeze(1), value)
    else:
        table.masked_fill_(rows.unsqueeze(1), value)  # which the host need not wait for


class Sent:
    """Arrays on their way to the host: copied beside the computation, and waited for once.

    From a GPU they go through pinned memory on a stream of their own; torch keeps such memory and
    gives it out again when whoever got the arrays has done with them.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        dtype: torch.dtype,
        device: torch.device,
        beside: Mapping[str, torch.Tensor],
    ) -> None:
        gpu = device.type == "cuda"
        kinds = {n: (s, dtype) for n, s in shapes.items()}
        kinds |= {n: (tuple(x.shape), x.dtype) for n, x in beside.items()}
        self.into = {
            n: torch.empty(shape, dtype=kind, pin_memory=gpu) for n, (shape, kind) in kinds.items()
        }
        self.stream = torch.cuda.Stream(device) if gpu else None
        self._held: list[tuple[str, torch.Tensor, torch.Tensor]] = []
        for name, value in beside.items():
            self.put(name, slice(None), value)

    def put(self, name: str, part: slice, value: torch.Tensor) -> None:
        """Fill rows of an array."""
        into = self.into[name][part]
        stored = value.to(into.dtype)
        if self.stream is None:
            into.copy_(stored)
        else:
            self.stream.wait_stream(torch.cuda.current_stream(value.device))
            with torch.cuda.stream(self.stream):
                into.copy_(stored, non_blocking=True)
        if self.stream is not None or into.dtype == torch.float16:
            self._held.append((name, stored, value))  # until they have arrived

    def arrays(self) -> dict[str, np.ndarray]:
        """All of them, complete.

        Raises
        ------
        OutputError
            A score is too large for float16.
        """
        if self.stream is not None:
            self.stream.synchronize()
        for name, stored, value in self._held:
            if stored.dtype == torch.float16 and bool((stored.isinf() & ~value.isinf()).any()):
                largest = float(value.nan_to_num(0.0, 0.0, 0.0).abs().max())
                what = f"a value of {largest:.3g} does not fit float16"
                raise OutputError(f"scores/{name}", what, "set score.dtype to float32")
        self._held.clear()
        return {name: x.numpy() for name, x in self.into.items()}


def only_l2(names: Sequence[str]) -> bool:
    """Whether deltas need not be kept."""
    return set(names) == {"l2"}


def score_shapes(
    sequences: int, targets: int, size: int, positions: int
) -> dict[str, tuple[int, ...]]:
    """Shape of every score array of a batch, by the axes of the file format."""
    full = (sequences, targets, size, positions)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(SCORES, full)
    shapes["l2"] = shapes["jsd"] = (sequences, size, positions)
    shapes["contribution"] = (sequences, targets, positions)
    return shapes


def _score(name: str, delta: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """One score from deltas (b, T, A, M), zero at the letter that is there, NaN where unknown."""
    if name == "delta":
        return delta
    if name == "l2":
        return delta.square().sum(1).sqrt()
    if name == "jsd":
        return profile_distance(delta, reference)
    if name == "contribution":  # TISM paper, eq. 5 and 8
        return -delta.mean(2)
    if name == "centered":  # TISM paper, eq. 4
        return delta - delta.mean(2, keepdim=True)
    if name == "prediction":
        return reference[:, :, None, None] + delta
    raise ValueError(f"no score {name!r}")


def profile_distance(delta: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon distance (base 2, 0 to 1) of each mutant's profile from the reference's.

    A profile is the softmax over the targets, as ChromBPNet's variant scores take it.

    Parameters
    ----------
    delta : Tensor (b, T, A, M)
        Of the logits.
    reference : Tensor (b, T)

    Returns
    -------
    Tensor (b, A, M)
    """
    logits = reference.double()[:, :, None, None]
    p, q = logits.log_softmax(1), (logits + delta).log_softmax(1)
    middle = torch.logaddexp(p, q) - math.log(2)
    apart = (p.exp() * (p - middle) + q.exp() * (q - middle)).sum(1) / math.log(4)
    return apart.clamp_min(0).sqrt().to(delta.dtype)
