"""The streams of deltas that a run averages: every model on every strand and shift.

A strand or shift is a view of the same letters: the codes are rearranged before a runner sees them,
and what it returns is put back to the positions and letters of the window. May not: score or write.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from yuzu_cli.backends.base import Block, Runner


@dataclass(frozen=True, slots=True)
class Member:
    """One model on one strand with one shift.

    Attributes
    ----------
    runner : Runner
    reverse : bool
        The model sees the reverse complement.
    shift : int
        The model's window begins this many letters further on; positions that leave it have
        delta 0, as the model does not see them.
    """

    runner: Runner
    reverse: bool = False
    shift: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a member's runner is asked for, and how its answer is put back.

    Attributes
    ----------
    codes : Tensor, uint8 (B, L)
        As the member sees them.
    positions : ndarray, int64 (M',)
        Ascending, in the member's window.
    place : Tensor, int64 (M',)
        Which of the M positions of the window each of them is.
    letters : Tensor, int64 (A,)
        The letter on the window's strand for each letter on the member's.
    count : int
        M.
    """

    codes: torch.Tensor
    positions: np.ndarray
    place: torch.Tensor
    letters: torch.Tensor
    count: int

    def restore(self, block: Block) -> Block:
        """The same deltas at the window's own positions and letters."""
        size = len(self.letters)
        letter = self.letters[block.index % size]
        place = self.place[block.index // size % len(self.positions)]
        sequence = block.index // (size * len(self.positions))
        return Block((sequence * self.count + place) * size + letter, block.delta, block.targets)

    def asked(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What `restore` would put at flat indices (E,) into (M, A) of one sequence: the member's
        own indices, and which of the E there are.
        """
        size = len(self.letters)
        seen = torch.full((self.count,), -1, device=index.device)
        seen[self.place] = torch.arange(len(self.place), device=index.device)
        place = seen[index // size]
        there = (place >= 0).nonzero().squeeze(1)
        letter = torch.argsort(self.letters)[index[there] % size]
        return place[there] * size + letter, there


class Views:
    """Makes the views of a batch.

    Parameters
    ----------
    length, flank : int
        L, and how many more letters the codes have at either end.
    size : int
        A.
    complement : ndarray, uint8 (256,) or None
        Code of the complementary letter, for members on the other strand.
    """

    def __init__(self, length: int, flank: int, size: int, complement: np.ndarray | None) -> None:
        self.length, self.flank, self.size = length, flank, size
        self.complement = None if complement is None else torch.as_tensor(complement.copy())
        self._laid = functools.lru_cache(256)(self._lay)
        self._there = functools.lru_cache(8)(self._complement)

    def codes(self, member: Member, wide: torch.Tensor) -> torch.Tensor:
        """What the member sees (B, L) of windows with flanks (B, L + 2 * flank)."""
        start = self.flank + member.shift
        codes = wide[:, start : start + self.length]
        if member.reverse:
            codes = self._there(wide.device)[codes.flip(1).long()]
        return codes.contiguous()

    def _complement(self, device: torch.device) -> torch.Tensor:
        assert self.complement is not None
        return self.complement.to(device)

    def view(self, member: Member, codes: torch.Tensor, positions: np.ndarray) -> View:
        """The view of `positions` (int64 (M,), in the window) for `Views.codes` of the member."""
        kept = positions.astype(np.int64).tobytes()  # made once: every upload is waited for
        laid = self._laid(member.reverse, member.shift, kept, codes.device)
        return View(codes, *laid, len(positions))

    def _lay(
        self, reverse: bool, shift: int, kept: bytes, device: torch.device
    ) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
        """A view's positions, places and letters."""
        seen = np.frombuffer(kept, np.int64) - shift
        if reverse:
            seen = self.length - 1 - seen
        inside = np.flatnonzero((seen >= 0) & (seen < self.length))
        order = inside[np.argsort(seen[inside])]
        letters = torch.arange(self.size)
        if reverse:
            letters = self._complement(letters.device)[: self.size].long()
        return seen[order], torch.as_tensor(order, device=device), letters.to(device)
