"""The arithmetic on windows, free of any graph: convolution by taps, pooling, dense slices.

All tensors are position first, ``(w, P, K, B, C)``. Convolutions act on deltas: no bias, and zeros
around a window because outside it nothing changed.
"""

from __future__ import annotations

import numpy as np
import torch

from yuzu_cli.backends.deltas.frames import Frame, overlap
from yuzu_cli.backends.deltas.states import Chunk, Win

FEW_PRODUCT = 1 << 18
"""Elements of one group of taps' product, see `convolve_to_few`."""


def convolve(
    rows: torch.Tensor, taps: torch.Tensor, shift: int, gap: int, width: int
) -> torch.Tensor:
    """Stride-1 convolution of windows as one matrix product per tap.

    Parameters
    ----------
    rows : Tensor (w, ..., I)
    taps : Tensor (kernel, I, O), or (kernel, G, I/G, O/G) for a grouped convolution
    shift : int
        Row of the output that row 0 of the input reaches through tap 0.
    gap : int
        Dilation.
    width : int
        Rows of the output.

    Returns
    -------
    Tensor (width, ..., O)
    """
    kernel, few = taps.shape[0], 16
    if taps.dim() == 3 and kernel > 2 and taps.shape[2] < few:
        return convolve_to_few(rows, taps, shift, gap, width)
    if taps.dim() == 3 and kernel > 2 and taps.shape[1] < few:
        return convolve_from_few(rows, taps, shift, gap, width)
    n_out = taps.shape[-1] if taps.dim() == 3 else taps.shape[1] * taps.shape[3]
    out = rows.new_empty((width, *rows.shape[1:-1], n_out))
    pieces = [overlap(shift - k * gap, rows.shape[0], width) for k in range(taps.shape[0])]
    first = max(range(len(pieces)), key=lambda k: pieces[k][0].stop - pieces[k][0].start)
    covered = pieces[first][0]
    out[: covered.start].zero_()
    out[covered.stop :].zero_()
    order = [first, *(k for k in range(len(pieces)) if k != first)]
    for k in order:
        into, out_of = pieces[k]
        if into.stop > into.start:
            multiply(rows[out_of], taps[k], out[into], fresh=k == first)
        elif k == first:
            out.zero_()
    return out


def convolve_to_few(
    rows: torch.Tensor, taps: torch.Tensor, shift: int, gap: int, width: int
) -> torch.Tensor:
    """`convolve` for few outputs: all taps in one product, summed where they land.

    One product per tap would have as few columns as there are outputs, which runs far below peak.
    """
    kernel, n_in, n_out = taps.shape
    w, between = rows.shape[0], rows.shape[1:-1]
    per_row = rows[0].numel() // n_in
    weight = taps.permute(0, 2, 1).reshape(kernel * n_out, n_in)
    columns = rows.reshape(-1, n_in).t()
    out = rows.new_zeros((n_out, width, per_row))
    # As many taps at a time as keep their product in a core's cache.
    group = max(8, FEW_PRODUCT // max(1, n_out * columns.shape[1]))
    for begin in range(0, kernel, group):
        end = min(kernel, begin + group)
        product = (weight[begin * n_out : end * n_out] @ columns).view(-1, n_out, w, per_row)
        for k in range(begin, end):
            into, out_of = overlap(shift - k * gap, w, width)
            out[:, into] += product[k - begin][:, out_of]
    return out.permute(1, 2, 0).contiguous().view(width, *between, n_out)


def convolve_from_few(
    rows: torch.Tensor, taps: torch.Tensor, shift: int, gap: int, width: int
) -> torch.Tensor:
    """`convolve` for few inputs: taps side by side as one longer product."""
    kernel, n_in, n_out = taps.shape
    span = (kernel - 1) * gap
    # Output row o reads input rows o - shift + k * gap, k < kernel.
    padded = rows.new_zeros((width + span, *rows.shape[1:]))
    into, out_of = overlap(shift, rows.shape[0], width + span)
    padded[into] = rows[out_of]
    columns = torch.cat([padded[k * gap : k * gap + width] for k in range(kernel)], dim=-1)
    product = columns.view(-1, kernel * n_in) @ taps.reshape(kernel * n_in, n_out)
    return product.view(width, *rows.shape[1:-1], n_out)


def multiply(x: torch.Tensor, tap: torch.Tensor, out: torch.Tensor, fresh: bool) -> None:
    """out (..., O) = or += x (..., I) times tap (I, O), or (G, I/G, O/G) by groups."""
    if tap.dim() == 2:
        flat, into = x.reshape(-1, x.shape[-1]), out.view(-1, out.shape[-1])
        if fresh:
            torch.mm(flat, tap, out=into)
        else:
            into.addmm_(flat, tap)
        return
    groups, n_in, n_out = tap.shape
    if n_in == n_out == 1:
        product = x * tap.view(-1)
    else:
        blocks = x.reshape(-1, groups, n_in).transpose(0, 1)
        product = torch.bmm(blocks, tap).transpose(0, 1).reshape(out.shape)
    if fresh:
        out.copy_(product)
    else:
        out.add_(product)


def strided_taps(
    rows: torch.Tensor, taps: torch.Tensor, stride: int, gap: int, width: int
) -> torch.Tensor:
    """Convolution with a stride; output row o reads rows ``o * stride + k * gap`` of `rows`."""
    out = None
    for k in range(taps.shape[0]):
        begin = k * gap
        picked = rows[begin : begin + (width - 1) * stride + 1 : stride].contiguous()
        if out is None:
            n_out = taps.shape[-1] if taps.dim() == 3 else taps.shape[1] * taps.shape[3]
            out = rows.new_empty((*picked.shape[:-1], n_out))
        multiply(picked, taps[k], out, fresh=k == 0)
    assert out is not None
    return out


def transposed_taps(
    rows: torch.Tensor, taps: torch.Tensor, shift: int, stride: int, gap: int, width: int
) -> torch.Tensor:
    """Transposed convolution: row r of the input reaches output rows ``shift + r * stride + k *
    gap``.
    """
    n_out = taps.shape[-1] if taps.dim() == 3 else taps.shape[1] * taps.shape[3]
    out = rows.new_zeros((width, *rows.shape[1:-1], n_out))
    product = rows.new_empty((*rows.shape[:-1], n_out))
    for k in range(taps.shape[0]):
        multiply(rows, taps[k], product, fresh=True)
        at = torch.arange(rows.shape[0]) * stride + (shift + k * gap)
        inside = (at >= 0) & (at < width)
        if bool(inside.any()):
            begin, end = int(at[inside][0]), int(at[inside][-1]) + 1
            out[begin:end:stride] += product[inside.to(product.device)]
    return out


def pool_rows(rows: torch.Tensor, kernel: int, stride: int, gap: int, width: int) -> torch.Tensor:
    """Maximum over windows: output row o is the largest of rows ``o * stride + k * gap``."""
    if kernel == 1:
        return rows[: (width - 1) * stride + 1 : stride]
    last = (width - 1) * stride + 1
    out = torch.maximum(rows[:last:stride], rows[gap : gap + last : stride])
    for k in range(2, kernel):
        torch.maximum(out, rows[k * gap : k * gap + last : stride], out=out)
    return out


def sum_rows(rows: torch.Tensor, kernel: int, stride: int, width: int) -> torch.Tensor:
    """Sum over windows of consecutive rows."""
    last = (width - 1) * stride + 1
    out = rows[:last:stride].clone()
    for k in range(1, kernel):
        out += rows[k : k + last : stride]
    return out


def pooling_frame(
    frame: Frame, stride: int, before: int, kernel: int, gap: int, size: int
) -> Frame:
    """The input rows that the pooled windows of `frame` read."""
    width = (frame.width - 1) * stride + (kernel - 1) * gap + 1
    return Frame(frame.start * stride - before, width, size)


def dense(chunk: Chunk, win: Win, weight: torch.Tensor) -> torch.Tensor:
    """Deltas of a linear layer over flattened windows: each window start meets its slice of the
    weight.

    Parameters
    ----------
    win : Win
        Deltas of the tensor before it was flattened.
    weight : Tensor (size, C, O)
        The layer's weight, position first.

    Returns
    -------
    Tensor (E, O)
    """
    win = chunk.expand(chunk.deltas_for(win, weight))
    p, k, b = chunk.shape
    n_out = weight.shape[2]
    if win.frame.common and win.frame.inside:
        begin = int(win.frame.start[0])
        piece = weight[begin : begin + win.frame.width].reshape(-1, n_out)
        return win.rows.permute(1, 2, 3, 0, 4).reshape(p * k * b, -1) @ piece
    order = win.frame.start.argsort(kind="stable")
    start, width, c = win.frame.start[order], win.frame.width, win.rows.shape[-1]
    # Every (row, position) that lies in the tensor, sorted by the absolute position of the row: all
    # mutants that reach a position then meet its slice of the weight at once.
    absolute = start[None, :] + np.arange(width)[:, None]
    rank = np.broadcast_to(np.arange(p)[None, :], absolute.shape)
    inside = (absolute >= 0) & (absolute < win.frame.size)
    flat = (np.arange(width)[:, None] * p + order[None, :])[inside]
    absolute, rank = absolute[inside], rank[inside]
    sort = np.lexsort((rank, absolute))
    rows = win.rows.reshape(width * p, -1).index_select(0, chunk.index(flat[sort]))
    rows, absolute, rank = rows.view(-1, k * b, c), absolute[sort], rank[sort]
    out = rows.new_zeros((p, k * b, n_out))
    edges = np.flatnonzero(np.diff(absolute, prepend=-1, append=-1))
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        into = out[rank[begin] : rank[end - 1] + 1].view(-1, n_out)
        into.addmm_(rows[begin:end].reshape(-1, c), weight[int(absolute[begin])])
    unsorted = torch.empty_like(out)
    unsorted[chunk.index(order)] = out
    return unsorted.view(p * k * b, n_out)
