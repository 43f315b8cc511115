"""What windows change of all that follows them: running sums, convolutions as long as that."""

from __future__ import annotations

import torch

from yuzu_cli.kernels.table import kernel
from yuzu_cli.operators.causal import spectral

Tensor = torch.Tensor

MOST_TAPS = 1 << 20
"""Taps laid out as matrices at a time."""


@kernel("deltas so far")
def deltas_so_far(out: Tensor, rows: Tensor, skip: int) -> None:
    """Running sums of window rows; the result begins so many rows behind the window's first."""
    count, ahead = rows.shape[0], max(0, -skip)
    end = max(ahead, min(out.shape[0], count - skip))
    total = rows.cumsum(0)
    out[:ahead] = 0
    out[ahead:end] = total[ahead + skip : end + skip]
    out[end:] = total[-1]


@kernel("long taps")
def long_taps(out: Tensor, rows: Tensor, taps: Tensor, skip: int) -> None:
    """Window rows convolved with the taps (C, n) of each channel; begins as the sums above do."""
    count, made, channels = rows.shape[0], out.shape[0], rows.shape[-1]
    x, into, taps = rows.flatten(1, 3), out.view(made, -1, channels), taps.to(rows.dtype)
    if skip >= 0 and spectral(count, made):
        n = count + skip + made - 1
        shares = torch.fft.rfft(taps[:, : skip + made].t(), n=n, dim=0).unsqueeze(1)
        found = torch.fft.irfft(torch.fft.rfft(x, n=n, dim=0) * shares, n=n, dim=0)
        into.copy_(found[skip : skip + made])
        return
    lags = torch.arange(skip, skip + made, device=rows.device)[:, None]
    lags = lags - torch.arange(count, device=rows.device)
    inside = (lags >= 0) & (lags < taps.shape[1])
    lags = lags.clamp(0, taps.shape[1] - 1)
    step = max(1, MOST_TAPS // (made * count))
    for part in (slice(i, i + step) for i in range(0, channels, step)):
        matrices = taps[part][:, lags] * inside
        found = torch.bmm(matrices, x[..., part].permute(2, 0, 1))
        into[..., part].copy_(found.permute(1, 2, 0))
