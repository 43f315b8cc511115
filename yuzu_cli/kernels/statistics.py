"""Sums of squares of the reference, and what windows change of them."""

from __future__ import annotations

import torch

from yuzu_cli.kernels.reduced import over_others
from yuzu_cli.kernels.table import kernel

Tensor = torch.Tensor
NOTHING = 1e-13
"""A sum of squares that is left of one so many times larger is rounding."""


def of_squares(squares: Tensor, divisor: float, eps: float, root: bool) -> Tensor:
    """A variance or norm, and its root."""
    value = squares / divisor + eps
    return value.sqrt() if root else value


@kernel("squares")
def squares(
    out: None, rows: Tensor, reference: Tensor, halo: int, size: int, count: int, divisor: float,
    eps: float, root: bool, others: list[int], sizes: list[int],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Of the reference, in double precision: its mean (B, C), where `count` values have one, the
    sum of squares about it (B, ...), and the model's own rounding of the result as a ratio.
    """
    values = rows[halo : halo + size].double()
    centre = torch.zeros_like(values[0])
    if count:
        parts = values.sum(0).view(values.shape[1], *(sizes or [-1]))
        shape = parts.shape
        if others:
            parts = parts.sum([1 + a for a in others], keepdim=True)
        centre = parts.expand(shape).reshape(centre.shape) / count
    total = over_others((values - centre).square().sum(0), others, sizes)
    ratio = reference.double() / of_squares(total, divisor, eps, root).reshape(reference.shape)
    return centre, total, torch.where((ratio - 1).abs() < 1e-3, ratio, 1.0)


@kernel("spread")
def spread(
    out: Tensor, rows: Tensor, beneath: Tensor, around: tuple[Tensor, Tensor, Tensor], count: int,
    divisor: float, eps: float, root: bool, others: list[int], sizes: list[int], relative: bool,
) -> None:  # fmt: skip
    """A variance or norm of the whole from a window's deltas; or what changes of it."""
    centre, before, ratio = around
    wide = rows.double()  # much may cancel before a root
    apart = beneath.double() - centre
    change = over_others((wide * torch.add(wide, apart, alpha=2)).sum(0), others, sizes)
    if count:
        change = change - over_others(wide.sum(0), others, sizes).square() / count
    after = before + change
    after = after.masked_fill(after < NOTHING * before, 0)
    shape = (-1, *ratio.shape)
    result = of_squares(after, divisor, eps, root)
    if relative:
        # Of roots near each other by their squares, which are known better.
        old = of_squares(before, divisor, eps, root)
        result = change / divisor / (result + old).clamp(min=1e-300) if root else change / divisor
        out.view(shape).copy_(result.reshape(shape))
    else:
        out.view(shape).copy_(result.reshape(shape) * ratio)
