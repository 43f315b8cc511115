"""Matrix products by oneDNN, which packs a weight once: twice as fast as torch's own on some CPUs.

torch has them for what its compiler makes, under private names: where they are missing, or do not
fit, products are torch's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

LEAST_ROWS, LEAST, LEAST_PRODUCT = 8, 16, 1 << 20
"""Rows, inputs and outputs, and multiply-adds of a product from which on packing pays: a call takes
some microseconds more."""
MOST = 1 << 26
"""Elements of a matrix above which a second copy of it is too dear."""

_product: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_pack: Any = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
_packed: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""Weights (..., I, O) -> packed, each matrix when it is first used; gone when the weight is."""


def fits(rows: int, weight: torch.Tensor) -> bool:
    """Whether a product of so many rows with a matrix (I, O) goes this way."""
    return (
        _product is not None
        and _pack is not None
        and weight.dtype is torch.float32
        and weight.device.type == "cpu"
        and rows >= LEAST_ROWS
        and min(weight.shape[-2:]) >= LEAST
        and rows * weight.shape[-2] * weight.shape[-1] >= LEAST_PRODUCT
        and weight.shape[-2] * weight.shape[-1] <= MOST
        and torch.backends.mkldnn.is_available()
    )


def product(
    x: torch.Tensor, weights: torch.Tensor, at: int = 0, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """x (n, I) times matrix `at` of weights (..., I, O), plus a bias (O,)."""
    if weights not in _packed:
        _packed[weights] = [None] * (weights.numel() // math.prod(weights.shape[-2:]))
    kept = _packed[weights]
    if kept[at] is None:
        matrix = weights.view(-1, *weights.shape[-2:])[at]
        kept[at] = _pack(matrix.t().contiguous(), None)
    return _product(x, kept[at], bias, "none", [], "")
