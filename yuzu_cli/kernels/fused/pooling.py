"""`yuzu_cli.kernels.between.pool` as one Triton kernel: every element read and written once.

A program takes one row of one position and a stretch of its sequences and channels, for all letters
together, so that a row of the reference is read once for all of them.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from yuzu_cli.kernels.between import Pool
from yuzu_cli.kernels.fused.functions import apply

UNROLLED = 8
"""Pools of more rows than this are a loop."""


def pool(
    out: Tensor,
    rows: Tensor,
    reference: Tensor,
    start: Tensor,
    out_start: Tensor,
    how: Pool,
    scale: Tensor | None = None,
    pairs: Tensor | None = None,
) -> None:
    """See `yuzu_cli.kernels.between.pool`."""
    width, positions, letters, batch, channels = out.shape
    inner = batch * channels
    block_k = triton.next_power_of_2(letters)
    block_i = min(triton.next_power_of_2(inner), max(32, 1024 // block_k))
    grid = (width * positions, triton.cdiv(inner, block_i))
    _pool[grid](
        out, rows, reference, start, out_start,
        out if scale is None else scale, out if pairs is None else pairs,
        positions, letters, inner, channels, rows.shape[0], rows.shape[1], how.size, how.out_size,
        how.stride, how.padding, how.gap, how.kernel, how.kernel <= UNROLLED, how.activation,
        scale is not None, pairs is not None, block_k, block_i,
        enable_fp_fusion=False,
    )  # fmt: skip


@triton.jit
def _pool(
    out, rows, reference, start, out_start, scale, pairs,
    positions, letters, inner, channels, width, table, size, out_size,
    stride, padding, gap, kernel: tl.constexpr, unrolled: tl.constexpr, name: tl.constexpr,
    scaled: tl.constexpr, paired: tl.constexpr, block_k: tl.constexpr, block_i: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0).to(tl.int64)
    p = place % positions
    i = tl.program_id(1) * block_i + tl.arange(0, block_i)
    k = tl.arange(0, block_k)[:, None]
    there = i < inner
    mutants = (k < letters) & there[None, :]
    # The same for the whole program, but as blocks: masks are of blocks.
    q = tl.full((block_i,), 0, tl.int64) + tl.load(out_start + p) + place // positions
    first = tl.load(start + p)
    channel = i % channels
    factor = tl.full((block_i,), 1.0, tl.float32)
    if scaled:
        factor = tl.load(scale + channel, mask=there, other=1.0).to(tl.float32)
    if paired:  # rows are (w, A*A, C), the pair tells which
        batch = inner // channels
        which = (p * letters + k) * batch + (i // channels)[None, :]
        pair = tl.load(pairs + which, mask=mutants, other=0)
        inside_row = pair.to(tl.int64) * channels + channel[None, :]
        row = table.to(tl.int64) * channels
    else:
        inside_row = (p * letters + k) * inner + i[None, :]
        row = positions.to(tl.int64) * letters * inner
    best = tl.full((block_k, block_i), float("-inf"), tl.float32)
    below = tl.full((block_i,), float("-inf"), tl.float32)
    if unrolled:
        for tap in tl.static_range(kernel):
            at = q * stride - padding + tap * gap
            best, below = _one(
                best, below, rows, reference, at, first, width, size, row, inside_row, inner, i,
                there, mutants, factor, name,
            )  # fmt: skip
    else:
        for tap in range(kernel):
            at = q * stride - padding + tap * gap
            best, below = _one(
                best, below, rows, reference, at, first, width, size, row, inside_row, inner, i,
                there, mutants, factor, name,
            )  # fmt: skip
    inside = (q >= 0) & (q < out_size)
    delta = tl.where(inside[None, :], best, 0.0) - tl.where(inside, below, 0.0)[None, :]
    whole = positions.to(tl.int64) * letters * inner
    into = out + place // positions * whole + (p * letters + k) * inner + i[None, :]
    tl.store(into, delta.to(out.dtype.element_ty), mask=mutants)


@triton.jit
def _one(
    best, below, rows, reference, at, first, width, size, row, inside_row, inner, i,
    there, mutants, factor, name: tl.constexpr,
):  # fmt: skip
    """The maxima with row `at` of the tensor among them."""
    inside = (at >= 0) & (at < size)
    here = at - first
    held = inside & (here >= 0) & (here < width)
    beneath = tl.load(reference + at * inner + i, mask=there & inside, other=0.0).to(tl.float32)
    deltas = tl.load(
        rows + (here * row)[None, :] + inside_row, mask=mutants & held[None, :], other=0.0
    )
    values = apply(beneath[None, :] + deltas.to(tl.float32), name) * factor[None, :]
    beneath = apply(beneath, name) * factor
    values = tl.where(inside[None, :], values, float("-inf"))
    beneath = tl.where(inside, beneath, float("-inf"))
    best = tl.maximum(best, values, propagate_nan=tl.PropagateNan.ALL)
    below = tl.maximum(below, beneath, propagate_nan=tl.PropagateNan.ALL)
    return best, below
