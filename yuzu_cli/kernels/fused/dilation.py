"""`yuzu_cli.kernels.between.dilated` as one Triton kernel: gather, taps, function, sum.

A program takes a block of mutants' rows, whatever their positions, and a block of output channels;
the rows that each tap reads are gathered straight into the products.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from yuzu_cli.kernels.between import Dilated
from yuzu_cli.kernels.fused.functions import apply

WARPS = 8
"""Of a program; with half as many, products spill registers on an A100."""


def blocks(channels: int) -> dict[str, int]:
    """What a program takes: rows of mutants, output channels, input channels of a step of its loop,
    and steps whose rows are under way at one time.
    """
    block_n = min(64, max(16, triton.next_power_of_2(channels)))
    block_c = 32 if channels % 32 == 0 else 16
    return {"block_m": 64, "block_n": block_n, "block_c": block_c, "stages": 3}


def dilated(
    out: Tensor,
    rows: Tensor,
    taps: Tensor,
    reference: Tensor,
    start: Tensor,
    out_start: Tensor,
    how: Dilated,
) -> None:
    """See `yuzu_cli.kernels.between.dilated`."""
    width, positions, letters, batch, channels = out.shape
    total = width * positions * letters * batch
    own = blocks(channels)
    grid = (triton.cdiv(total, own["block_m"]), triton.cdiv(channels, own["block_n"]))
    _dilated[grid](
        out, rows, taps, reference, start, out_start,
        total, positions, letters * batch, batch, rows.shape[0], how.size, how.gap, how.padding,
        channels, taps.shape[0], how.activation, how.residual, how.products, **own,
        enable_fp_fusion=False, num_warps=WARPS,
    )  # fmt: skip


@triton.jit
def _dilated(
    out, rows, taps, reference, start, out_start,
    total, positions, mutants, batch, width, size, gap, padding,
    channels: tl.constexpr, kernel: tl.constexpr, name: tl.constexpr, residual: tl.constexpr,
    precision: tl.constexpr, block_m: tl.constexpr, block_n: tl.constexpr, block_c: tl.constexpr,
    stages: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(0).to(tl.int64) * block_m + tl.arange(0, block_m)
    n = tl.program_id(1) * block_n + tl.arange(0, block_n)
    real = m < total
    mutant = m % mutants
    p = m // mutants % positions
    q = tl.load(out_start + p, mask=real, other=0) + m // mutants // positions
    first = tl.load(start + p, mask=real, other=0)
    acc = tl.full((block_m, block_n), 0.0, tl.float32)
    chunks: tl.constexpr = (channels + block_c - 1) // block_c
    # One loop that is not unrolled: unrolled, the products of all taps would spill registers.
    for step in tl.range(kernel * chunks, num_stages=stages):
        tap = step // chunks
        here = q - padding + tap * gap - first
        held = real & (here >= 0) & (here < width)
        line = ((here * positions + p) * mutants + mutant) * channels
        c = step % chunks * block_c + tl.arange(0, block_c)
        reads = tl.broadcast_to(held[:, None], (block_m, block_c))
        both = tl.broadcast_to((n < channels)[None, :], (block_c, block_n))
        if channels % block_c != 0:
            reads = reads & (c < channels)[None, :]
            both = both & (c < channels)[:, None]
        x = tl.load(rows + line[:, None] + c[None, :], mask=reads, other=0.0)
        weight = tl.load(
            taps + (tap * channels + c[:, None]) * channels + n[None, :], mask=both, other=0.0
        )
        acc = tl.dot(x, weight, acc, input_precision=precision)
    inside = real & (q >= 0) & (q < size)
    good = inside[:, None] & (n < channels)[None, :]
    beneath = tl.load(
        reference + ((q * batch + mutant % batch) * channels)[:, None] + n[None, :],
        mask=good, other=0.0,
    ).to(tl.float32)  # fmt: skip
    delta = apply(beneath + acc, name) - apply(beneath, name)
    if residual:
        here = q - first
        held = good & ((here >= 0) & (here < width))[:, None]
        line = ((here * positions + p) * mutants + mutant) * channels
        delta += tl.load(rows + line[:, None] + n[None, :], mask=held, other=0.0).to(tl.float32)
    delta = tl.where(inside[:, None], delta, 0.0)
    into = out + (m * channels)[:, None] + n[None, :]
    tl.store(into, delta.to(out.dtype.element_ty), mask=real[:, None] & (n < channels)[None, :])
