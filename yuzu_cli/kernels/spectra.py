"""Convolutions of windows by transforms of their rows: see `yuzu_cli.operators.fourier`."""

from __future__ import annotations

from typing import Any

import torch

from yuzu_cli.kernels import packed
from yuzu_cli.kernels.table import kernel
from yuzu_cli.operators.frames import overlap


@kernel("frequencies")
def frequencies(out: torch.Tensor, rows: torch.Tensor, spectrum: Any) -> None:
    """Transformed windows (n, ..., I) times transformed taps, into (n, ..., O).

    (a + ib)(r + im) by three products: r (a + b), a (m - r), b (r + m).
    """
    n, s = rows.shape[0], spectrum
    x, y = rows.view(n, -1, rows.shape[-1]), out.view(n, -1, out.shape[-1])
    f = s.real.shape[0]
    if x.is_cuda:  # few starts of large work
        both = torch.bmm(x[:f] + x[f : 2 * f], s.real)
        torch.baddbmm(both, x[f : 2 * f], s.more, alpha=-1, out=y[:f])
        torch.baddbmm(both, x[:f], s.less, out=y[f : 2 * f])
        torch.bmm(x[2 * f :], s.alone, out=y[2 * f :])
        return
    if packed.fits(x.shape[1], s.real):
        for i in range(f):
            both = packed.product(x[i] + x[f + i], s.real, i)
            torch.sub(both, packed.product(x[f + i], s.more, i), out=y[i])
            torch.add(both, packed.product(x[i], s.less, i), out=y[f + i])
        for i in range(n - 2 * f):
            y[2 * f + i].copy_(packed.product(x[2 * f + i], s.alone, i))
        return
    for i in range(f):  # one frequency at a time stays in the cache
        both = torch.mm(x[i] + x[f + i], s.real[i])
        torch.addmm(both, x[f + i], s.more[i], alpha=-1, out=y[i])
        torch.addmm(both, x[i], s.less[i], out=y[f + i])
    for i in range(2 * f, n):
        torch.mm(x[i], s.alone[i - 2 * f], out=y[i])


@kernel("rows to spectra")
def rows_to_spectra(
    out: torch.Tensor, rows: torch.Tensor, matrix: torch.Tensor, block: int
) -> None:
    """Blocks of a window's rows (w, ...), each by a transform (n, n): (n, blocks, ...)."""
    n, count = len(matrix), -(-len(rows) // block)
    into = out.view(n, count, -1)
    for i in range(count):
        piece = rows[i * block : (i + 1) * block].view(-1, into.shape[2])
        torch.mm(matrix[:, : len(piece)], piece, out=into[:, i])


@kernel("spectra to rows")
def spectra_to_rows(
    out: torch.Tensor, spectra: torch.Tensor, matrix: torch.Tensor, block: int, first: int,
    rows: int, beyond: int,
) -> None:  # fmt: skip
    """Transforms of blocks (n, blocks, ...) back to rows, which overlap by `beyond`: their sum.

    `first` is where the first row of the first block lies in the result; `rows` how many went in.
    """
    n, count = len(matrix), -(-rows // block)
    given, flat, done = spectra.view(n, count, -1), out.view(len(out), -1), 0
    for i in range(count):
        have = min(block, rows - i * block) + beyond
        into, own = overlap(first + i * block, have, len(out))
        if into.stop <= into.start:
            continue
        if not done and into.start:
            out[: into.start].zero_()
        # Up to here the block before has written; in between is nothing, as blocks overlap.
        met = max(done, into.start)
        middle = own.start + met - into.start
        if met > into.start:
            flat[into.start : met].addmm_(matrix[own.start : middle], given[:, i])
        if into.stop > met:
            torch.mm(matrix[middle : own.stop], given[:, i], out=flat[met : into.stop])
        done = into.stop
    if done < len(out):
        out[done:].zero_()
