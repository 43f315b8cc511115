"""Matrix products by oneDNN, which packs a weight once: twice as fast as torch's own on some CPUs.

torch has them for what its compiler makes, under private names: where they are missing, or do not
fit, products are torch's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

LEAST_ROWS, LEAST = 16, 64
"""Rows, and inputs and outputs, from which on packing pays."""

_product: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_pack: Any = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
_packed: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""Weights (..., I, O) -> packed, matrix by matrix; gone when the weight is."""


def fits(rows: int, weight: torch.Tensor) -> bool:
    """Whether a product of so many rows with a matrix (I, O) goes this way."""
    return (
        _product is not None
        and _pack is not None
        and weight.dtype is torch.float32
        and weight.device.type == "cpu"
        and rows >= LEAST_ROWS
        and min(weight.shape[-2:]) >= LEAST
        and torch.backends.mkldnn.is_available()
    )


def product(
    x: torch.Tensor, weights: torch.Tensor, at: int = 0, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """x (n, I) times matrix `at` of weights (..., I, O), plus a bias (O,)."""
    if weights not in _packed:
        matrices = weights.reshape(-1, *weights.shape[-2:])
        _packed[weights] = [_pack(m.t().contiguous(), None) for m in matrices]
    return _product(x, _packed[weights][at], bias, "none", [], "")
