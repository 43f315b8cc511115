"""The mutants of an estimate that are computed exactly after all, and what that says of the others.

Those of the largest estimated effects, and a random sample for honesty, drawn by the sequence and
the seed alone: a run that is continued, or cut into shards, takes the same. May not: write.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from yuzu_cli.backends import get_backend
from yuzu_cli.backends.naive import NaiveRunner
from yuzu_cli.engine.choose import Choice, choose
from yuzu_cli.engine.members import Member, Views
from yuzu_cli.engine.net import Net
from yuzu_cli.engine.trust import verify

if TYPE_CHECKING:
    from yuzu_cli.engine.setup import Setup

SAMPLE = (32, 256)
"""Mutants drawn from a sequence, at least and at most; between them as many as are at the top."""


def exactly(setup: Setup) -> Choice:
    """The exact backend that is predicted to be the fastest for so few mutants, checked."""
    settings = replace(setup.settings, start="input")
    size, every = setup.alphabet.size, len(setup.positions)
    count = min(every, sum(taken(setup.config.taylor.exact_top, every * (size - 1))))
    found = choose("auto", setup.models, settings, every)
    fast, naive = get_backend(found.name), get_backend("naive")
    windows = sum(fast.cost(model, settings, count) for model in setup.models)
    alone = sum(naive.cost(model, settings, count) for model in setup.models) / (size - 1)
    if windows > alone:  # which computes every letter at a position, where few are asked for
        found = choose("naive", setup.models, settings, every)
    return verify(setup, found, timed=False)[0]


def taken(share: float, mutants: int) -> tuple[int, int]:
    """How many of a sequence's mutants are at the top, and how many are drawn."""
    top = min(mutants, math.ceil(share * mutants))
    return top, min(mutants, max(SAMPLE[0], min(SAMPLE[1], top)))


@dataclass(frozen=True, slots=True, eq=False)
class Recomputed:
    """What became of the estimates of some sequences.

    Attributes
    ----------
    exact : Tensor, bool (B, M * A)
        The mutants that were computed exactly.
    mended : Tensor, bool (B,)
        Sequences of which naive computed some, as the exact backend failed on them.
    estimated, true : list of Tensor (S, T), one for each sequence
        Of the sample.
    """

    exact: torch.Tensor
    mended: torch.Tensor
    estimated: list[torch.Tensor]
    true: list[torch.Tensor]


class ExactTop:
    """Recomputes the mutants that matter.

    Parameters
    ----------
    share : float
        Of the mutants, those at the top.
    seed : int
    members : sequence of Member
        The same models, strands and shifts as the estimate's, with exact runners.
    views : Views
    """

    def __init__(self, share: float, seed: int, members: Sequence[Member], views: Views) -> None:
        self.share, self.seed, self.members, self.views = share, seed, tuple(members), views

    def __call__(
        self, delta: torch.Tensor, wide: torch.Tensor, positions: np.ndarray
    ) -> Recomputed:
        """Replace estimates by exact effects in `delta` (B * M * A, T), in the order of `Block`.

        `wide` is uint8 (B, L + 2 * flank).
        """
        size, flank = self.views.size, self.views.flank
        each = delta.view(len(wide), len(positions) * size, -1)
        exact = torch.zeros(each.shape[:2], dtype=torch.bool, device=delta.device)
        mended = torch.zeros(len(wide), dtype=torch.bool, device=delta.device)
        estimated, true = [], []
        for row in range(len(wide)):
            own = wide[row, torch.as_tensor(positions + flank, device=wide.device)]
            top, drawn = self._chosen(each[row], own, wide[row], int(positions[0]))
            index = torch.cat([top, drawn]).unique()
            if not len(index):
                estimated.append(each[row, :0].clone())
                true.append(each[row, :0].clone())
                continue
            estimated.append(each[row, drawn].clone())
            each[row, index] = self._effects(wide[row : row + 1], positions, index)
            true.append(each[row, drawn].clone())
            exact[row, index] = True
            nets = (m.runner for m in self.members if isinstance(m.runner, Net))
            mended[row] = any(bool(net.mended.any()) for net in nets)
        return Recomputed(exact, mended, estimated, true)

    def _chosen(
        self, estimate: torch.Tensor, own: torch.Tensor, wide: torch.Tensor, first: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Flat indices into (M, A) of the top and of the sample, from estimates (M * A, T)."""
        size = self.views.size
        letters = torch.arange(size, device=own.device)
        known = ((own[:, None] != letters) & (own[:, None] < size)).flatten().nonzero().squeeze(1)
        top, count = taken(self.share, len(known))
        sizes = estimate[known].abs()
        # A mutant counts by the target it changes most, of what that target is changed at most.
        sizes = (sizes / sizes.amax(0).clamp_min(1e-30)).amax(1) if len(known) else sizes.sum(1)
        strongest = known[torch.sort(sizes, descending=True, stable=True).indices[:top]]
        text = f"{self.seed} {first} ".encode() + wide.cpu().numpy().tobytes()
        draw = np.random.default_rng(int.from_bytes(hashlib.sha256(text).digest()[:8], "big"))
        drawn = draw.choice(len(known), count, replace=False) if count else np.zeros(0, np.int64)
        return strongest, known[torch.as_tensor(drawn, device=known.device)]

    def _effects(
        self, wide: torch.Tensor, positions: np.ndarray, index: torch.Tensor
    ) -> torch.Tensor:
        """Exact effects (E, T) of the mutants at flat indices into (M, A) of one sequence."""
        size = self.views.size
        where, place = (index // size).unique(return_inverse=True)
        asked, total = place * size + index % size, torch.zeros(0)
        for member in self.members:
            codes = self.views.codes(member, wide)
            view = self.views.view(member, codes, positions[where.cpu().numpy()])
            outputs = member.runner.reference(codes)
            table = outputs.new_zeros(len(where) * size, outputs.shape[1])
            if isinstance(member.runner, NaiveRunner):
                back, there = view.asked(asked)
                if len(back):
                    table[asked[there]] = member.runner.at(back, view.positions)
            elif len(view.positions):
                for block in member.runner.blocks(codes, view.positions):
                    found = view.restore(block)
                    table[found.index, found.targets] = found.delta
            total = table[asked] if not len(total) else total + table[asked]
        return total / len(self.members)


def agreement(parts: Sequence[Recomputed]) -> dict[str, np.ndarray]:
    """How far off the estimate of each sequence is, by its sample: float32 (B, T) by path.

    `parts` hold the same sequences, each some positions of them.
    """
    correlations, errors = [], []
    for row in range(len(parts[0].true)):
        a = torch.cat([part.estimated[row] for part in parts]).double()
        b = torch.cat([part.true[row] for part in parts]).double()
        error = (a - b).abs()
        errors.append(error.amax(0) if len(a) else a.sum(0) * torch.nan)
        a, b = a - a.mean(0), b - b.mean(0)
        norm = (a.square().sum(0) * b.square().sum(0)).sqrt()
        correlations.append((a * b).sum(0) / torch.where(norm > 0, norm, torch.nan))
    found = {"estimate/correlation": correlations, "estimate/max_error": errors}
    return {path: torch.stack(rows).float().cpu().numpy() for path, rows in found.items()}
