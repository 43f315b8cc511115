"""Kernels of what ends windows: sums, maxima and softmax over all positions, from the reference's
running values on both sides of a window."""

from __future__ import annotations

import torch

from yuzu_cli.kernels.plain import flat
from yuzu_cli.kernels.table import kernel
from yuzu_cli.operators.items import least

Tensor = torch.Tensor


@kernel("total")
def total(out: Tensor, rows: Tensor, factor: float, others: list[int], sizes: list[int]) -> None:
    """Sum over the rows of windows, and over others of their axes."""
    data = over_others(rows.sum(0), others, sizes) * factor
    out.copy_(data.reshape(out.shape))


@kernel("running sums")
def running_sums(
    out: None, rows: Tensor, reference: Tensor, halo: int, size: int, divisor: float,
    others: list[int], sizes: list[int],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Sums before each row and from each row on, in double precision: (2, size + 1, B, C).

    And the model's own rounding of its sum (B, ...), as a ratio: mutants share it as long as their
    sums are alike, and a sum of zeros stays zero.
    """
    values = rows[halo : halo + size].double()
    edge = values.new_zeros((1, *values.shape[1:]))
    behind = torch.cat([values.flip(0).cumsum(0).flip(0), edge])
    ahead = torch.cat([edge, values.cumsum(0)])
    total = over_others(ahead[-1], others, sizes) / divisor
    ratio = reference.double() / total.reshape(reference.shape)
    ratio = torch.where((ratio - 1).abs() < 1e-3, ratio, 1.0)
    return torch.stack([ahead, behind]), ratio


def over_others(data: Tensor, others: list[int], sizes: list[int]) -> Tensor:
    """(..., C) summed over some of the axes that C holds."""
    if not others:
        return data
    lead = data.dim() - 1
    return data.reshape(*data.shape[:-1], *sizes).sum([lead + a for a in others])


@kernel("running total")
def running_total(
    out: Tensor, rows: Tensor, around: tuple[Tensor, Tensor], divisor: float, others: list[int],
    sizes: list[int], ahead: Tensor, behind: Tensor,
) -> None:  # fmt: skip
    """The whole sum from the window's values and the reference's on its sides."""
    sides, ratio = around
    data = rows.sum(0)
    for side in beside(sides, ahead, behind, data):
        data = data + side
    data = over_others(data, others, sizes) / divisor
    out.view(-1, *ratio.shape).copy_(data.reshape(-1, *ratio.shape) * ratio)


@kernel("running maxima")
def running_maxima(out: None, rows: Tensor, halo: int, size: int) -> Tensor:
    """Maxima before each row and from each row on: (2, size + 1, B, C)."""
    values = rows[halo : halo + size]
    edge = values.new_full((1, *values.shape[1:]), least(values.dtype))
    ahead = torch.cat([edge, values.cummax(0).values])
    return torch.stack([ahead, torch.cat([values.flip(0).cummax(0).values.flip(0), edge])])


@kernel("running maximum")
def running_maximum(
    out: Tensor, rows: Tensor, sides: Tensor, ahead: Tensor, behind: Tensor
) -> None:
    """The largest of a window's values and of the reference on its sides."""
    best = rows.amax(0)
    for side in beside(sides, ahead, behind, best):
        best = torch.maximum(best, side)
    out.copy_(best.reshape(out.shape))


def beside(sides: Tensor, ahead: Tensor, behind: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Running results of the reference before and after every window, as `like` (P, K, B, ...)."""
    before, after = sides[0].index_select(0, ahead), sides[1].index_select(0, behind)
    return before[:, None].expand_as(like), after[:, None].expand_as(like)


@kernel("precise")
def precise(
    out: Tensor, rows: Tensor, reference: Tensor | None = None, *, index: Tensor, fill: float
) -> None:
    """A window's values in double precision, a number outside the tensor."""
    out.copy_(rows)
    if reference is not None:
        out += reference
    flat(out).index_fill_(0, index, fill)


@kernel("running log-sums")
def running_log_sums(out: None, rows: Tensor, halo: int, size: int) -> Tensor:
    """Log-sum-exp before each row and from each row on: (2, size + 1, B, C)."""
    return both_ways(rows[halo : halo + size].double())


def both_ways(rows: Tensor) -> Tensor:
    """Running log-sum-exp of (size, ...) from the start and from the end, (2, size + 1, ...)."""
    edge = rows.new_full((1, *rows.shape[1:]), float("-inf"))
    ahead = torch.cat([edge, rows.logcumsumexp(0)])
    return torch.stack([ahead, torch.cat([rows.flip(0).logcumsumexp(0).flip(0), edge])])


@kernel("running log-sum")
def running_log_sum(
    out: Tensor, values: Tensor, sides: Tensor, relative: bool, ahead: Tensor, behind: Tensor
) -> None:
    """A log-sum-exp over all rows, or what changes of it."""
    inner = values.logsumexp(0)
    parts = torch.stack([inner, *beside(sides, ahead, behind, inner)])
    result = parts.logsumexp(0)
    out.copy_((result - sides[0, -1] if relative else result).reshape(out.shape))


def split(
    logits: Tensor, values: Tensor, rests: list[tuple[int, ...]] | None
) -> tuple[Tensor, Tensor]:
    """(..., C) in the model's other axes; where these are summed too, each position's first."""
    if rests is not None:
        both = zip((logits, values), rests, strict=True)
        logits, values = (x.reshape(*x.shape[:-1], *rest) for x, rest in both)
        return logits, values
    whole = logits.logsumexp(-1, True)
    return whole, (share_of(logits, whole) * values).sum(-1, True)


def share_of(logits: Tensor, whole: Tensor) -> Tensor:
    """exp(logits - whole), zero where there is nothing to share."""
    return (logits - whole.masked_fill(whole == float("-inf"), 0)).exp()


@kernel("softmax sides")
def softmax_sides(
    out: None, logits: Tensor, values: Tensor, halos: list[int], size: int,
    rests: list[tuple[int, ...]] | None,
) -> Tensor:  # fmt: skip
    """Of the reference before and after each row: log-sums of the logits, weighted means.

    (2, 2, size + 1, B, ...): the sums, then the means.
    """
    rows = [x[h : h + size].double() for x, h in zip((logits, values), halos, strict=True)]
    logits, values = torch.broadcast_tensors(*split(rows[0], rows[1], rests))
    whole = both_ways(logits)
    # Logarithms of the positive and of the negative terms: no exponential can overflow.
    signed = [both_ways(logits + (sign * values).clamp(min=0).log()) for sign in (1, -1)]
    return torch.stack([whole, share_of(signed[0], whole) - share_of(signed[1], whole)])


@kernel("softmax sum")
def softmax_sum(
    out: Tensor, logits: Tensor, values: Tensor, sides: Tensor, shift: Tensor | None = None, *,
    rests: list[tuple[int, ...]] | None, relative: bool, ahead: Tensor, behind: Tensor,
) -> None:  # fmt: skip
    """The window and the reference on its sides, weighed against each other."""
    totals, means = sides
    logits, values = split(logits, values, rests)
    inner = logits.logsumexp(0)
    mean = (share_of(logits, inner) * values).sum(0)
    parts = torch.stack([inner.expand_as(mean), *beside(totals, ahead, behind, mean)])
    whole = parts.logsumexp(0)
    shares = share_of(parts, whole) * torch.stack([mean, *beside(means, ahead, behind, mean)])
    result = shares.sum(0).masked_fill(whole == float("-inf"), float("nan"))
    if relative:
        result = result - means[0, -1]
    result = result.reshape(out.shape)
    if shift is not None:
        result = result - shift.reshape(-1, *out.shape[1:])
    out.copy_(result)
