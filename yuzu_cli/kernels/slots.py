"""Windows laid side by side into slots, mixed into probes, and told apart again."""

from __future__ import annotations

from typing import Any

import torch

from yuzu_cli.kernels.table import kernel


@kernel("slots")
def slots(
    out: torch.Tensor,
    rows: torch.Tensor,
    at: torch.Tensor,
    keep: torch.Tensor | None,
    shared: bool,
) -> None:
    """Rows of windows (w * P) at their places in a table (X, S, K, B, C); zero elsewhere."""
    table = out.zero_().view(out.shape[0] * out.shape[1], -1)
    source = rows.view(-1, table.shape[1])
    source = source if keep is None else source.index_select(0, keep)
    if shared:  # inputs that no output reads may be shared; they go through unread
        table.index_add_(0, at, source)
    else:
        table.index_copy_(0, at, source)


@kernel("encode")
def encode(
    out: torch.Tensor, laid: torch.Tensor, code: Any, used: torch.Tensor, owner: torch.Tensor
) -> None:
    """Slots (X, S, K, B, C) mixed into probes (X, R, 1, B, C)."""
    x, s, k, b, c = laid.shape
    out.copy_(code.encode(laid.view(x, s, k, b * c), used, owner).reshape(out.shape))


@kernel("decode")
def decode(
    out: torch.Tensor, made: torch.Tensor, code: Any, used: torch.Tensor, first: int
) -> None:
    """What probes (X, R, ., B, C) became, for each slot: (X, S, K, B, C)."""
    out.copy_(code.decode(made.flatten(1, 2).flatten(2), used, first).reshape(out.shape))
