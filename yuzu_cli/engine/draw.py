"""Which mutants of a sequence are compared: both ends, the strongest, and evenly between.

May not: compare anything.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence

import numpy as np
import torch

from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.naive import mutant_index
from yuzu_cli.backends.passes import one_hot, row_cost
from yuzu_cli.model import Model

logger = logging.getLogger(__name__)

STRONG = 4
"""Of so many mutants, one is among those of the largest effect."""


def draw(
    codes: torch.Tensor,
    positions: Sequence[np.ndarray],
    size: int,
    count: int,
    estimate: torch.Tensor | None = None,
    turn: int = 0,
    taken: torch.Tensor | None = None,
) -> torch.Tensor:
    """Flat indices (E,) into axes (B, L, A) of `count` mutants, shared out over the sequences.

    Parameters
    ----------
    codes : Tensor, uint8 (B, L)
    positions : sequence of ndarray, int64 (M,)
        Those that may be mutated, of each sequence.
    size : int
        A.
    estimate : Tensor (B, A, L), optional
        Rough effects, by which the strongest are found.
    turn : int
        Another number gives others of the mutants between.
    taken : Tensor, int64, optional
        Flat indices of mutants that are not wanted, for they are there already.
    """
    length, chosen = codes.shape[1], []
    shares = np.diff(np.linspace(0, count, len(codes) + 1).round().astype(int))
    for row, (where, share) in enumerate(zip(positions, shares, strict=True)):
        index = mutant_index(codes[row : row + 1], where, size)
        at = torch.as_tensor(where, device=index.device)[index // size]
        index = at * size + index % size  # into (L, A)
        if taken is not None:
            index = index[~torch.isin(index + row * length * size, taken)]
        strong = index[:0]
        if estimate is not None:
            rough = estimate[row].t().reshape(-1)[index].abs()
            strong = index[rough.topk(min(len(index), int(share) // STRONG)).indices]
        rest = index[~torch.isin(index, strong)]
        some = sample(rest, int(share) - len(strong), turn + row)
        chosen.append(torch.cat([strong, some]).sort().values + row * length * size)
    return torch.cat(chosen)


def sample(index: torch.Tensor, count: int, turn: int = 0) -> torch.Tensor:
    """About `count` of the mutants: the first and the last of the range, and evenly between.

    Each is moved on by another part of the distance to the next, so that all letters, and all
    phases of strided layers, have their turn; with another `turn`, by another part, and the first
    too.
    """
    total = len(index)
    if total <= count:
        return index
    number = torch.arange(count, device=index.device)
    gap = max(1, (total - 1) // max(1, count - 1))
    chosen = number * (total - 1) // max(1, count - 1) + (number * 7 + turn * 5) % gap
    chosen[-1:] = total - 1
    return index[chosen.clamp(max=total - 1).unique()]


def rough_effects(model: Model, settings: Settings, codes: torch.Tensor) -> torch.Tensor | None:
    """First-order effects (B, A, L) on a mixture of the targets.

    None where there is no gradient, or no memory for one. It only serves to find strong mutants, so
    nothing rests on its numbers.
    """
    # A backward pass holds about all that a forward pass makes.
    rows = settings.memory // row_cost(model, settings).bytes
    if rows < 1:
        return None
    parts = [_gradients(model, settings, part) for part in codes.split(rows)]
    known = [part for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None


def _gradients(model: Model, settings: Settings, codes: torch.Tensor) -> torch.Tensor | None:
    x = one_hot(codes, model, settings).requires_grad_()
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = model(x.clone()).double()  # a clone, as some models work in place
            signs = torch.ones(outputs.shape[1], dtype=torch.float64, device=outputs.device)
            signs[1::2] = -1
            (grad,) = torch.autograd.grad((outputs @ signs).sum(), x)
    except (RuntimeError, TypeError, ValueError) as error:
        logger.debug("no gradient: %s", error)
        return None
    grad = grad.nan_to_num(0.0, 0.0, 0.0)
    return grad - (grad * x.detach()).sum(1, keepdim=True)
