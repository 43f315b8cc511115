"""Canonical operators: the few spellings that the captured graph is rewritten to.

One operation has many names in ATen (a linear layer is `addmm` between two views, or `bmm` with an
expanded weight). `yuzu_cli.graph.build` replaces them by these, so that every later table
needs one entry for each. All are plain functions of tensors and can be run as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional

OpOverload = type(torch.ops.aten.add.Tensor)
"""The class of ATen operators, of which torch has no public name."""


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x (..., I) times weight (I, O) plus bias (O,) -> (..., O)."""
    return torch.matmul(x, weight) if bias is None else torch.matmul(x, weight) + bias


def grouped(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """A linear layer for each group: x (N, G, I), weight (G, I, O), bias (G, O) -> (N, G, O)."""
    made = torch.bmm(x.transpose(0, 1), weight).transpose(0, 1)
    return made.contiguous() if bias is None else made + bias


def affine(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """x (N, C, ...) times scale (C,) plus shift (C,): batch norm with its statistics fixed."""
    tail = (1,) * (x.dim() - 2)
    return x * scale.view(-1, *tail) + shift.view(-1, *tail)


def max_pool(
    x: torch.Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil: bool,
) -> torch.Tensor:
    """Maximum over windows of the last one or two axes; padding counts as minus infinity."""
    pool = functional.max_pool1d if len(kernel) == 1 else functional.max_pool2d
    result = pool(x, list(kernel), list(stride), list(padding), list(dilation), ceil)
    assert isinstance(result, torch.Tensor)
    return result


def avg_pool(
    x: torch.Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil: bool,
    count_padding: bool,
    divisor: int | None,
) -> torch.Tensor:
    """Mean over windows of the last one or two axes; options as `torch.nn.AvgPool2d`."""
    if len(kernel) == 1:
        return functional.avg_pool1d(
            x, list(kernel), list(stride), list(padding), ceil, count_padding
        )
    return functional.avg_pool2d(
        x, list(kernel), list(stride), list(padding), ceil, count_padding, divisor
    )


def layer_norm(
    x: torch.Tensor,
    shape: Sequence[int],
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
) -> torch.Tensor:
    """Normalise over the trailing axes of the given shape."""
    return functional.layer_norm(x, list(shape), weight, bias, eps)


def softmax_sum(
    logits: torch.Tensor,
    values: torch.Tensor,
    axis: int,
    keepdim: bool,
    shift: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sum of the values along an axis, weighted by the softmax of the logits along it.

    Pooling by attention. Logits and values broadcast against each other; a shift, the same along
    the axis, is subtracted from the values first.
    """
    values = values if shift is None else values - shift
    return (torch.softmax(logits, axis) * values).sum(axis, keepdim=keepdim)


def softmax_pool(logits: torch.Tensor, values: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    """Blocks of `size` entries of an axis, each summed with the softmax of its logits.

    Logits and values are of one shape. Of two it is a mean weighed by a sigmoid.
    """
    logits, values = (x.unflatten(axis, (-1, size)) for x in (logits, values))
    axis += 1
    if size == 2:
        (a, b), (x, y) = logits.unbind(axis), values.unbind(axis)
        return torch.lerp(y, x, torch.sigmoid(a - b))
    return (torch.softmax(logits, axis) * values).sum(axis)


def adaptive_max(x: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """Maximum over as many windows as `sizes` says of the last two axes, whatever their widths."""
    result = functional.adaptive_max_pool2d(x, list(sizes))
    assert isinstance(result, torch.Tensor)
    return result


def pick(x: torch.Tensor, axis: int, index: torch.Tensor) -> torch.Tensor:
    """Positions of an axis in any order and number; index int64 (O,)."""
    return x.index_select(axis, index)
