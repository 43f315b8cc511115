"""The kernels of the tape in plain torch: what each instruction means. Knows no graph and no plan.

A kernel gets the tensor it writes (None where its result has no fixed shape), the tensors it reads,
and its arguments; index arrays are tensors on the device by then. Window rows are position first,
``(w, P, K, B, C)``; whole tensors are ``(E, ...)``. A kernel may be given the same memory to write
as its first read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from yuzu_cli.kernels.table import kernel

Tensor = torch.Tensor


Moves = list[tuple[slice, slice, slice]]
"""(rows of the result, rows of the window, positions of the chunk)."""
Layout = tuple[int, tuple[int, ...]]
"""Position axis of the model's tensor, and its other axes without the batch's."""


def flat(rows: Tensor) -> Tensor:
    """Window rows as (w * P, K * B * C)."""
    return rows.view(rows.shape[0] * rows.shape[1], -1)


def filled(out: Tensor, rows: Tensor) -> Tensor:
    """`out` with the contents of `rows`, if it is not the same memory."""
    if out.data_ptr() != rows.data_ptr():
        out.copy_(rows)
    return out


@kernel("mask")
def mask(out: Tensor, rows: Tensor, index: Tensor, fill: float) -> None:
    """Some of the rows (w * P) set to a number."""
    flat(filled(out, rows)).index_fill_(0, index, fill)


@kernel("subtract")
def subtract(out: Tensor, rows: Tensor, reference: Tensor) -> None:
    torch.sub(rows, reference, out=out)


@kernel("difference")
def difference(out: Tensor, rows: Tensor, reference: Tensor) -> None:
    """Values less the reference, exactly 0 where both are equal: of flags, of infinities."""
    torch.sub(rows.to(out.dtype), reference.to(out.dtype), out=out)
    out.masked_fill_(rows == reference, 0)


@kernel("add")
def add(out: Tensor, rows: Tensor, reference: Tensor) -> None:
    """Deltas plus the reference, in the reference's type."""
    if rows.dtype == out.dtype:
        torch.add(rows, reference, out=out)
    else:
        out.copy_(rows + reference)


@kernel("pointwise")
def pointwise(
    out: Tensor, *reads: Tensor, function: Any, tails: list[tuple[int, ...]] | None,
    rest: tuple[int, ...],
) -> None:  # fmt: skip
    """A function of single elements on rows, broadcast over the other axes where these differ."""
    if tails is not None:
        reads = tuple(x.view(*x.shape[:4], *t) for x, t in zip(reads, tails, strict=True))
        out = out.view(*out.shape[:4], *rest)
    function.into(out, *reads)


@kernel("constant rows")
def constant_rows(out: Tensor, table: Tensor, index: Tensor) -> None:
    """Rows of a constant (size, ...) in every window: (w, P, 1, 1, ...)."""
    torch.index_select(table, 0, index, out=out.view(-1, *table.shape[1:]))


@kernel("apply")
def apply(
    out: Tensor, *reads: Tensor, function: Any, layouts: Sequence[Layout | None], axis: int,
) -> None:  # fmt: skip
    """A function of the model's axes: windows as tensors with E in front and w at their axis."""
    values = [
        x if layout is None else x.reshape(x.shape[0], -1, *layout[1]).movedim(0, layout[0])
        for x, layout in zip(reads, layouts, strict=True)
    ]
    result = function(*values).movedim(axis, 0)
    out.copy_(result.reshape(out.shape))


@kernel("zeros")
def zeros(out: Tensor) -> None:
    out.zero_()


@kernel("scale")
def scale(out: Tensor, rows: Tensor, factor: float) -> None:
    torch.mul(rows, factor, out=out)


@kernel("multiply")
def multiply(out: Tensor, rows: Tensor, factor: Tensor, rest: tuple[int, ...]) -> None:
    between = rows.shape[:4]
    torch.mul(rows.view(*between, *rest), factor, out=out.view(*between, *rest))


@kernel("affine")
def affine(out: Tensor, rows: Tensor, scale: Tensor, shift: Tensor, rest: tuple[int, ...]) -> None:
    multiply(out, rows, scale, rest)
    out.view(*out.shape[:4], *rest).add_(shift)


@kernel("add bias")
def add_bias(out: Tensor, rows: Tensor, bias: Tensor, rest: tuple[int, ...]) -> None:
    """A constant added along the other axes."""
    between = rows.shape[:4]
    torch.add(rows.view(*between, *rest), bias, out=out.view(*between, *rest))


@kernel("add scaled")
def add_scaled(out: Tensor, *reads: Tensor, factor: Tensor | None) -> None:
    """(the sum so far +) rows times a factor for each row."""
    rows = reads[-1] if factor is None else reads[-1] * factor.to(out)[..., None, None, None]
    if len(reads) == 1:
        out.copy_(rows)
    else:
        torch.add(reads[0], rows, out=out)


@kernel("largest")
def largest(out: Tensor, *reads: Tensor, factor: None) -> None:
    torch.maximum(reads[0], reads[1], out=out)


@kernel("accumulate")
def accumulate(
    out: Tensor, base: Tensor, rows: Tensor, moves: Moves, factor: float, rest: tuple[int, ...],
    tail: tuple[int, ...],
) -> None:  # fmt: skip
    """base + factor * rows, where the windows overlap (they do wherever rows are not zero)."""
    filled(out, base)
    for into, out_of, run in moves:
        piece, target = rows[out_of, run], out[into, run]
        if rest != tail:
            target = target.view(*target.shape[:4], *rest)
            piece = piece.reshape(*piece.shape[:4], *tail)
        target.add_(piece, alpha=factor)


@kernel("max pool")
def max_pool(out: Tensor, rows: Tensor, kernel_size: int, stride: int, gap: int) -> None:
    """Output row o is the largest of rows ``o * stride + k * gap``."""
    last = (out.shape[0] - 1) * stride + 1
    if kernel_size == 1:
        out.copy_(rows[:last:stride])
        return
    torch.maximum(rows[:last:stride], rows[gap : gap + last : stride], out=out)
    for k in range(2, kernel_size):
        torch.maximum(out, rows[k * gap : k * gap + last : stride], out=out)


@kernel("average pool")
def average_pool(
    out: Tensor, rows: Tensor, kernel_size: int, stride: int, divisor: float | Tensor
) -> None:
    """Sum of consecutive rows over a divisor, one for all or one for each row."""
    last = (out.shape[0] - 1) * stride + 1
    out.copy_(rows[:last:stride])
    for k in range(1, kernel_size):
        out += rows[k : k + last : stride]
    by = divisor.to(out)[..., None, None, None] if isinstance(divisor, Tensor) else divisor
    out.div_(by)


@kernel("softmax pool")
def softmax_pool(out: Tensor, logits: Tensor, values: Tensor, size: int) -> None:
    """Blocks of consecutive rows, each summed with the softmax of its logits."""
    many = len(out) if out.is_cuda else 1  # few starts there, what a cache holds here
    for o in range(0, len(out), many):
        made, part = out[o : o + many], slice(o * size, (o + many) * size)
        a, x = logits[part].unflatten(0, (-1, size)), values[part].unflatten(0, (-1, size))
        if size == 2:
            torch.sub(a[:, 0], a[:, 1], out=made)
            torch.lerp(x[:, 1], x[:, 0], made.sigmoid_(), out=made)
        else:
            torch.sum(torch.softmax(a, 1) * x, 1, out=made)


@kernel("add whole")
def add_whole(out: Tensor, deltas: Tensor, reference: Tensor) -> None:
    """Deltas (E, ...) plus the reference (B, ...), in the reference's type."""
    shape = (-1, *reference.shape)
    if deltas.dtype == out.dtype:
        torch.add(deltas.reshape(shape), reference, out=out.view(shape))
    else:
        out.view(shape).copy_(deltas.reshape(shape) + reference)


@kernel("subtract whole")
def subtract_whole(out: Tensor, values: Tensor, reference: Tensor) -> None:
    shape = (-1, *reference.shape)
    torch.sub(values.reshape(shape), reference, out=out.view(shape))


@kernel("difference whole")
def difference_whole(out: Tensor, values: Tensor, reference: Tensor) -> None:
    shape = (-1, *reference.shape)
    difference(out.view(shape), values.reshape(shape), reference)


@kernel("call")
def call(out: None, *reads: Any, function: Any, packed: bool) -> Any:
    """A node's own call. `packed`: some kernels read wrong numbers from views."""
    if packed:
        reads = tuple(x.contiguous() if isinstance(x, Tensor) else x for x in reads)
    return function(*reads)
