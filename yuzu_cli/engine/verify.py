"""Compares a backend with naive on some mutants of the user's own sequences, before it is trusted.

May not: choose what to do about a difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from yuzu_cli.backends.base import Runner, Settings, Tolerance
from yuzu_cli.backends.naive import NaiveRunner, mutant_index
from yuzu_cli.model import Model

SEQUENCES = 2
"""The sample is spread over the first so many sequences."""

MAX_POSITIONS = 4096
"""Of longer ranges only both ends and the middle are computed for the comparison."""

EPS = {"float32": 2.0**-23, "tf32": 2.0**-10, "bfloat16": 2.0**-7, "float16": 2.0**-10}


@dataclass(frozen=True, slots=True)
class Check:
    """Outcome of a comparison with naive.

    Attributes
    ----------
    mutants : int
    max_abs_error : float
        Largest |delta - naive delta|; NaN when nothing was compared.
    max_rel_error : float
        The same, of the largest |naive delta|.
    passed : bool
        Every difference is within the tolerance of its target.
    """

    mutants: int = 0
    max_abs_error: float = float("nan")
    max_rel_error: float = float("nan")
    passed: bool = True


def tolerance(precision: str) -> Tolerance:
    """What naive's own rounding, and a backend's, may come to.

    `atol` is of the largest |output| of a target: a delta is the difference of two outputs, and
    each carries the rounding of a long sum. `rtol` is of its largest |delta|.
    """
    return Tolerance(rtol=1e-3, atol=128 * EPS[precision])


def check(
    model: Model,
    runner: Runner,
    settings: Settings,
    codes: np.ndarray,
    positions: np.ndarray,
    mutants: int,
    precision: str,
) -> Check:
    """Compare `mutants` deltas of `runner` with naive's.

    Parameters
    ----------
    codes : ndarray, uint8 (B, L)
        The user's first sequences.
    positions : ndarray, int64 (M,)
        Mutated range.
    """
    device = settings.device
    rows = torch.as_tensor(codes[:SEQUENCES]).to(device)
    positions = some_positions(positions)
    index = sample(mutant_index(rows, positions, model.alphabet_size), mutants)
    if not len(index):
        return Check()
    naive = NaiveRunner(model, settings)
    outputs = naive.reference(rows)
    expected = naive.at(index, positions)
    found, norms = _pick(runner, rows, positions, index, expected)
    allowed = tolerance(precision)
    effect = expected.abs().amax(0)
    scale = outputs.abs().amax(0) + effect
    error = (found - expected).abs().double()
    passed = bool((error <= allowed.rtol * effect + allowed.atol * scale).all())
    # A backend may come to the norms another way than by the deltas.
    largest_norm = expected.norm(dim=1).amax()
    off = (norms - expected.norm(dim=1)).abs()
    passed &= bool((off <= allowed.rtol * largest_norm + allowed.atol * scale.norm()).all())
    worst, largest = float(error.max()), float(effect.max())
    relative = worst / largest if largest else (0.0 if worst == 0 else float("inf"))
    return Check(len(index), worst, relative, passed)


def some_positions(positions: np.ndarray) -> np.ndarray:
    """All of the range, or its ends and middle when it is long."""
    count = len(positions)
    if count <= MAX_POSITIONS:
        return positions
    third = MAX_POSITIONS // 3
    middle = (count - third) // 2
    return np.concatenate(
        [positions[:third], positions[middle : middle + third], positions[-third:]]
    )


def sample(index: torch.Tensor, count: int) -> torch.Tensor:
    """About `count` of the mutants: the first and the last of the range, and evenly between.

    Each is moved on by another part of the distance to the next, so that all letters, and all
    phases of strided layers, have their turn.
    """
    total = len(index)
    if total <= count:
        return index
    number = torch.arange(count, device=index.device)
    gap = max(1, (total - 1) // max(1, count - 1))
    chosen = number * (total - 1) // max(1, count - 1) + number * 7 % gap
    chosen[-1] = total - 1
    return index[chosen.clamp(max=total - 1).unique()]


def _pick(
    runner: Runner,
    codes: torch.Tensor,
    positions: np.ndarray,
    index: torch.Tensor,
    like: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The runner's deltas (E, T) and their norms (E,) of mutants by ascending flat index.

    A delta is NaN where the runner has none.
    """
    squares = torch.zeros(len(like), device=like.device)
    found = torch.full_like(like, torch.nan)
    runner.reference(codes)
    for block in runner.blocks(codes, positions):
        place = torch.searchsorted(index, block.index.contiguous()).clamp(max=len(index) - 1)
        hit = index[place] == block.index
        rows = place[hit]
        if not len(rows):
            continue
        found[rows, block.targets] = block.delta[hit]
        squares[rows] += block.squares()[hit]
    return found, squares.sqrt()
