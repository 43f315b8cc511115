"""Rows of a batch that are not the sequences alone: several readings of each, or its positions."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.support.families.base import family


@family(
    {"how": "slices", "parts": 2},
    {"how": "chunk", "parts": 3},
    {"how": "view", "parts": 2, "prefix": "relu"},
    {"how": "met", "parts": 2},
    layouts=("NCL",),
    how=st.sampled_from(["slices", "chunk", "view", "met"]),
    parts=st.integers(2, 5),
)
def stacked(x, w, at, how, parts) -> Tensor:
    """Several readings of a sequence as one batch, each of its own size again or not."""
    n, c, length = x.shape
    y = torch.cat([x, x.flip([1, 2]), x.roll(3, 2), x * x, torch.tanh(x)][:parts], 0)
    y = F.max_pool1d(torch.relu(F.conv1d(y, w(3, c, 3, scale=0.5), padding=1)), 2)
    y = torch.softmax(y.flatten(1) @ w(3 * (length // 2), 5, scale=0.3), 1)
    if how == "view":
        return y.view(parts, n, 5).amax(0)
    if how == "met":  # every reading less the mean of all
        return (y - y.view(parts, n, 5).mean(0).repeat(parts, 1))[:n]
    pieces = y.chunk(parts) if how == "chunk" else [y[i * n : (i + 1) * n] for i in range(parts)]
    return torch.stack(list(pieces), 1).logsumexp(1)


@family(
    {"how": "layers"},
    {"how": "joined"},
    {"how": "batch-norm"},
    layouts=("NLC", "NCL"),
    how=st.sampled_from(["layers", "joined", "batch-norm"]),
)
def rows_of_positions(x, w, at, how) -> Tensor:
    """Positions as rows of a batch, through layers of their own, and back."""
    n, a, c = x.shape
    rows = x.reshape(n * a, c)
    y = torch.tanh(F.linear(rows, w(c, c), w(c)))
    if how == "joined":
        y = F.layer_norm(y + rows, [c], w(c), w(c)) * 0.5
    if how == "batch-norm":
        y = F.batch_norm(y, w(c), w(c).abs() + 0.5, w(c), w(c))
    return F.linear(F.gelu(y), w(3, c)).reshape(n, a, 3)
