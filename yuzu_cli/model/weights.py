"""Weights in the type that a run computes in."""

from __future__ import annotations

import torch


def cast(module: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """The module with its weights in `dtype`, complex ones in the complex type that belongs to it.

    Weights of another type than the first are left as they are: the model itself computes a part of
    it in that type.
    """
    weights = [*module.parameters(), *module.buffers()]
    numbers = [w for w in weights if w.is_floating_point() or w.is_complex()]
    # There is no complex type of bfloat16.
    pair = torch.float32 if dtype == torch.bfloat16 else dtype
    for weight in [w for w in numbers if w.dtype.to_real() == numbers[0].dtype.to_real()]:
        weight.data = weight.data.to(pair.to_complex() if weight.is_complex() else dtype)
    return module
