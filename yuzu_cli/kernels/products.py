"""Products on windows: convolutions by taps, linear layers, dense slices.

All window tensors are position first, ``(w, P, K, B, C)``. Convolutions act on deltas: no bias, and
zeros around a window because outside it nothing changed.
"""

from __future__ import annotations

from typing import Any

import torch

from yuzu_cli.kernels import packed
from yuzu_cli.kernels.table import kernel
from yuzu_cli.operators.frames import overlap

FEW_PRODUCT = 1 << 18
"""Elements of one group of taps' product, see `convolve_to_few`."""
FEW = 16
"""Channels below which one product per tap runs far below peak."""
LINE = 64
"""Mutants from which on windows are an image that is convolved near peak."""


@kernel("taps")
def convolve(
    out: torch.Tensor, rows: torch.Tensor, taps: torch.Tensor, shift: int, gap: int
) -> None:
    """Stride-1 convolution of windows: at once as an image, or as one matrix product per tap.

    Parameters
    ----------
    out : Tensor (width, ..., O)
    rows : Tensor (w, ..., I)
    taps : Tensor (kernel, I, O), or (kernel, G, I/G, O/G) for a grouped convolution
    shift : int
        Row of the output that row 0 of the input reaches through tap 0.
    gap : int
        Dilation.
    """
    kernel, width = taps.shape[0], out.shape[0]
    if as_image(out, rows, taps, shift, gap):
        return
    if taps.dim() == 3 and kernel > 2 and taps.shape[2] < FEW:
        convolve_to_few(out, rows, taps, shift, gap)
        return
    if taps.dim() == 3 and kernel > 2 and taps.shape[1] < FEW:
        convolve_from_few(out, rows, taps, shift, gap)
        return
    pieces = [overlap(shift - k * gap, rows.shape[0], width) for k in range(kernel)]
    first = max(range(kernel), key=lambda k: pieces[k][0].stop - pieces[k][0].start)
    covered = pieces[first][0]
    out[: covered.start].zero_()
    out[covered.stop :].zero_()
    per_row = rows[0].numel() // rows.shape[-1]
    quick = taps.dim() == 3 and packed.fits(per_row, taps)
    for k in [first, *(k for k in range(kernel) if k != first)]:
        into, out_of = pieces[k]
        if into.stop > into.start and quick:
            made = packed.product(rows[out_of].reshape(-1, taps.shape[1]), taps, k)
            (out[into].copy_ if k == first else out[into].add_)(made.view(out[into].shape))
        elif into.stop > into.start:
            multiply(rows[out_of], taps[k], out[into], fresh=k == first)
        elif k == first:
            out.zero_()


def as_image(
    out: torch.Tensor, rows: torch.Tensor, taps: torch.Tensor, shift: int, gap: int
) -> bool:
    """`convolve` as one convolution of an image of rows by mutants, channels last; if it can be so.

    The library adds all taps up in registers; a product for each would read and write the result
    again and again.
    """
    kernel, width = taps.shape[0], out.shape[0]
    if out.is_cuda or taps.dim() != 3 or kernel == 1 or out.dtype is not torch.float32:
        return False
    if taps.shape[2] < FEW // 2 or rows[0].numel() < LINE * taps.shape[1]:
        return False
    span = (kernel - 1) * gap
    above, below = shift, width - 1 - shift + span - (len(rows) - 1)
    rows = rows[max(0, -above) : len(rows) + min(0, below)]
    above, below = max(0, above), max(0, below)
    pad = max(above, below)
    if not len(rows) or pad > span or 4 * abs(above - below) > width:
        return False
    image = rows.reshape(len(rows), -1, taps.shape[1]).permute(2, 0, 1).unsqueeze(0)
    weight = taps.permute(2, 1, 0).unsqueeze(3).contiguous(memory_format=torch.channels_last)
    made = torch.conv2d(image, weight, padding=(pad, 0), dilation=(gap, 1))[0].permute(1, 2, 0)
    out.copy_(made[pad - above :][:width].reshape(out.shape))
    return True


def convolve_to_few(
    out: torch.Tensor, rows: torch.Tensor, taps: torch.Tensor, shift: int, gap: int
) -> None:
    """`convolve` for few outputs: all taps in one product, summed where they land.

    One product per tap would have as few columns as there are outputs, which runs far below peak.
    """
    kernel, n_in, n_out = taps.shape
    w, width = rows.shape[0], out.shape[0]
    per_row = rows[0].numel() // n_in
    weight = taps.permute(0, 2, 1).reshape(kernel * n_out, n_in)
    columns = rows.reshape(-1, n_in).t()
    summed = rows.new_zeros((n_out, width, per_row))
    # As many taps at a time as keep their product in a core's cache.
    group = max(8, FEW_PRODUCT // max(1, n_out * columns.shape[1]))
    for begin in range(0, kernel, group):
        end = min(kernel, begin + group)
        product = (weight[begin * n_out : end * n_out] @ columns).view(-1, n_out, w, per_row)
        for k in range(begin, end):
            into, out_of = overlap(shift - k * gap, w, width)
            summed[:, into].add_(product[k - begin][:, out_of])
    out.view(width, per_row, n_out).copy_(summed.permute(1, 2, 0))


def convolve_from_few(
    out: torch.Tensor, rows: torch.Tensor, taps: torch.Tensor, shift: int, gap: int
) -> None:
    """`convolve` for few inputs: taps side by side as one longer product."""
    kernel, n_in, n_out = taps.shape
    width = out.shape[0]
    # Output row o reads input rows o - shift + k * gap, k < kernel: all of them as one view.
    padded = rows.new_zeros((width + (kernel - 1) * gap, *rows.shape[1:]))
    into, out_of = overlap(shift, rows.shape[0], len(padded))
    padded[into] = rows[out_of]
    row = padded[0].numel()
    columns = padded.as_strided((width, row // n_in, kernel, n_in), (row, n_in, gap * row, 1))
    product = columns.reshape(-1, kernel * n_in)
    torch.mm(product, taps.reshape(kernel * n_in, n_out), out=out.view(-1, n_out))


def multiply(x: torch.Tensor, tap: torch.Tensor, out: torch.Tensor, fresh: bool) -> None:
    """out (..., O) = or += x (..., I) times tap (I, O), or (G, I/G, O/G) by groups."""
    if tap.dim() == 2:
        rows, into = x.reshape(-1, x.shape[-1]), out.view(-1, out.shape[-1])
        if fresh:
            torch.mm(rows, tap, out=into)
        else:
            into.addmm_(rows, tap)
        return
    groups, n_in, n_out = tap.shape
    if n_in == n_out == 1:
        if fresh:
            torch.mul(x, tap.view(-1), out=out)
        else:
            out.addcmul_(x, tap.view(-1))
        return
    blocks = x.reshape(-1, groups, n_in).transpose(0, 1)
    product = torch.bmm(blocks, tap).transpose(0, 1).reshape(out.shape)
    if fresh:
        out.copy_(product)
    else:
        out.add_(product)


@kernel("strided taps")
def strided_taps(
    out: torch.Tensor, rows: torch.Tensor, taps: torch.Tensor, stride: int, gap: int
) -> None:
    """Convolution with a stride; output row o reads rows ``o * stride + k * gap`` of `rows`."""
    last = (out.shape[0] - 1) * stride + 1
    for k in range(taps.shape[0]):
        picked = rows[k * gap : k * gap + last : stride].contiguous()
        multiply(picked, taps[k], out, fresh=k == 0)


@kernel("transposed taps")
def transposed_taps(
    out: torch.Tensor, rows: torch.Tensor, taps: torch.Tensor, shift: int, stride: int, gap: int
) -> None:
    """Transposed convolution: row r reaches output rows ``shift + r * stride + k * gap``."""
    width, count = out.shape[0], rows.shape[0]
    out.zero_()
    product = rows.new_empty((*rows.shape[:-1], out.shape[-1]))
    for k in range(taps.shape[0]):
        multiply(rows, taps[k], product, fresh=True)
        first = shift + k * gap
        low = max(0, -(first // stride))  # the first row that lands inside
        high = min(count, -((first - width) // stride))
        if high > low:
            begin, end = first + low * stride, first + (high - 1) * stride + 1
            out[begin:end:stride] += product[low:high]


@kernel("matrix")
def matrix(out: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor) -> None:
    """A linear layer at every row (and along every axis but the last): no bias."""
    x = rows.reshape(-1, weight.shape[0])
    if packed.fits(len(x), weight):
        out.view(-1, weight.shape[1]).copy_(packed.product(x, weight))
        return
    torch.mm(x, weight, out=out.view(-1, weight.shape[1]))


@kernel("dense on one slice")
def dense_on_one(out: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor, begin: int) -> None:
    """A linear layer over flattened windows, all from row `begin` of weight (size, C, O) on."""
    w, p, k, b, c = rows.shape
    if packed.fits(p * k * b, weight):
        for row in range(w):
            made = packed.product(rows[row].view(-1, c), weight, begin + row)
            (out.add_ if row else out.copy_)(made)
        return
    flat = rows.permute(1, 2, 3, 0, 4).reshape(p * k * b, w * c)
    torch.mm(flat, weight[begin : begin + w].view(w * c, -1), out=out)


@kernel("dense on slices")
def dense_on_slices(
    out: torch.Tensor,
    windows: torch.Tensor,
    weight: torch.Tensor,
    rows: torch.Tensor,
    met: list[tuple[int, int, int, int, int]],
    order: torch.Tensor,
) -> None:
    """A linear layer over flattened windows: each position meets its slice of the weight.

    `rows`, `met` and `order` as `yuzu_cli.operators.dense.slices` gives them; weight (size, C, O).
    """
    w, p, k, b, c = windows.shape
    n_out = weight.shape[2]
    sorted_rows = windows.view(w * p, -1).index_select(0, rows).view(-1, k * b, c)
    summed = windows.new_zeros((p, k * b, n_out))
    for begin, end, first, last, at in met:
        into, x = summed[first:last].view(-1, n_out), sorted_rows[begin:end].view(-1, c)
        if packed.fits(len(x), weight):
            into.add_(packed.product(x, weight, at))
        else:
            into.addmm_(x, weight[at])
    out.view(p, k * b, n_out).index_copy_(0, order, summed)


@kernel("dense by start")
def dense_by_start(
    out: torch.Tensor,
    windows: torch.Tensor,
    weight: torch.Tensor,
    rows: torch.Tensor,
    which: torch.Tensor,
    back: torch.Tensor,
) -> None:
    """A linear layer over flattened windows: a product for all starts of each of their rows.

    `rows`, `which` and `back` as `yuzu_cli.operators.dense.by_start` gives them; weight
    (size, C, O).
    """
    w, p, k, b, c = windows.shape
    x = windows.view(w * p, -1).index_select(0, rows).view(w, which.shape[1], -1, c)
    total = torch.bmm(x[0], weight.index_select(0, which[0]))
    for row in range(1, w):
        total.baddbmm_(x[row], weight.index_select(0, which[row]))
    torch.index_select(total.view(-1, k * b, total.shape[-1]), 0, back, out=out.view(p, k * b, -1))


@kernel("across one slice")
def across_one(out: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor) -> None:
    """A linear layer over positions, one window for all: weight (w, O)."""
    torch.mm(rows.view(rows.shape[0], -1).t(), weight, out=out.view(-1, weight.shape[1]))


@kernel("across slices")
def across_slices(
    out: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor, index: torch.Tensor
) -> None:
    """A linear layer over positions: the rows of its weight (size, O) under each window."""
    w, p = rows.shape[:2]
    slices = weight.index_select(0, index).view(p, w, -1)
    # Rows outside the tensor are zero, whatever slice they meet.
    torch.bmm(rows.view(w, p, -1).permute(1, 2, 0), slices, out=out.view(p, -1, weight.shape[1]))


@kernel("grouped slices")
def grouped_slices(
    out: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor, pieces: list[Any]
) -> None:
    """A linear layer over positions for each channel (w, P, K, B, G): weight (G, size, O).

    Pieces are positions of the chunk whose windows lie alike, their rows, and the first row of the
    weight that these meet.
    """
    p, groups = rows.shape[1], rows.shape[-1]
    into = out.view(p, -1, groups, weight.shape[2])
    for run, own, first in pieces:
        x = rows[own, run].flatten(1, -2).permute(2, 1, 0).contiguous()  # maybe of no rows
        made = torch.bmm(x, weight[:, first : first + x.shape[2]]).transpose(0, 1)
        into[run].view(-1, groups, weight.shape[2]).copy_(made)
