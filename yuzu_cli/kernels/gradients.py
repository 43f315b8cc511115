"""Deltas times gradients: what a change of some tensors does to the targets, to first order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from yuzu_cli.kernels.table import kernel


@kernel("gradient of windows")
def gradient_of_windows(
    out: None, rows: Tensor, gradient: Tensor, sofar: Tensor | None = None, *, pieces: list[Any]
) -> Tensor:
    """Windows (w, P, K, B, C) times gradients (B, T, size * C): (P, K, B, T)."""
    _, p, k, b, c = rows.shape
    targets = gradient.shape[1]
    found = gradient.new_zeros(p, k, b, targets) if sofar is None else sofar
    for run, step, first, low, high in pieces:
        count, width = run.stop - run.start, (high - low) * c
        windows = rows[low:high, run].to(gradient.dtype).permute(3, 1, 2, 0, 4)
        windows = windows.reshape(b, count, k, width)
        for i in range(b):
            # Windows that move on by the same step read gradients as one strided view.
            beneath = gradient[i].as_strided(
                (count, width, targets),
                (step * c, 1, gradient.stride(1)),
                gradient[i].storage_offset() + first * c,
            )
            if step == 0:
                found[run, :, i] += windows[i] @ beneath[0]
            else:
                found[run, :, i] += torch.bmm(windows[i], beneath)
    return found


@kernel("gradient of whole")
def gradient_of_whole(
    out: None, deltas: Tensor, gradient: Tensor, sofar: Tensor | None = None, *, mutants: Any
) -> Tensor:
    """Whole tensors (P * K * B, ...) times gradients (B, T, ...): (P, K, B, T)."""
    p, k = mutants
    b = gradient.shape[0]
    rows = deltas.to(gradient.dtype).reshape(p * k, b, -1).transpose(0, 1)
    found = torch.bmm(rows, gradient.flatten(2).transpose(1, 2))  # (B, P * K, T)
    found = found.transpose(0, 1).reshape(p, k, b, -1)
    return found if sofar is None else sofar + found
