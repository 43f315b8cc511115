"""Canonical operators: the few spellings that the captured graph is rewritten to.

One operation has many names in ATen (a linear layer is `addmm` between two views, or `bmm` with an
expanded weight). `yuzu_cli.graph.build` replaces them by these, so that every later table
needs one entry for each. All are plain functions of tensors and can be run as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def long_convolution(x: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    """Each channel of x (N, C, L) with its own taps (C, n): the sum of taps[k] x[t - k] at each t.

    By spectra, for taps about as many as there are positions.
    """
    size = x.shape[2]
    n = 2 * max(size, taps.shape[1])
    spectrum = torch.fft.rfft(x, n=n) * torch.fft.rfft(taps, n=n)
    made: torch.Tensor = torch.fft.irfft(spectrum, n=n)
    return made[..., :size]


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


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    heads: int,
    scale: float,
    bias: torch.Tensor | None = None,
    causal: bool = False,
) -> torch.Tensor:
    """Sums of the values (N, T, H * E) for every query (N, S, H * D), weighted by a softmax.

    The logits are scale times the products of queries and keys (N, T, H * D), each of H heads for
    itself, plus a bias (S, T) or (H, S, T). Causal: no query reads a position after its own.
    """
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    if causal and bias is not None:
        after = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).triu(1)
        bias, causal = bias.masked_fill(after, float("-inf")), False
    made = functional.scaled_dot_product_attention(q, k, v, bias, 0.0, causal, scale=scale)
    return made.transpose(1, 2).flatten(2)


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


def deviation(x: torch.Tensor, axes: Sequence[int], eps: float) -> torch.Tensor:
    """Root of the variance along some axes, which stay with one entry, and a number."""
    return torch.sqrt(x.var(list(axes), correction=0, keepdim=True) + eps)


def adaptive_max(x: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """Maximum over as many windows as `sizes` says of the last two axes, whatever their widths."""
    result = functional.adaptive_max_pool2d(x, list(sizes))
    assert isinstance(result, torch.Tensor)
    return result


def pick(x: torch.Tensor, axis: int, index: torch.Tensor) -> torch.Tensor:
    """Positions of an axis in any order and number; index int64 (O,)."""
    return x.index_select(axis, index)


@torch.library.custom_op("yuzu::recurrent", mutates_args=())
def _recurrent(
    x: torch.Tensor, state: torch.Tensor, cell: torch.Tensor | None, weight_x: torch.Tensor,
    weight_h: torch.Tensor, bias_x: torch.Tensor | None, bias_h: torch.Tensor | None, kind: str,
    backwards: bool, cells: bool,
) -> torch.Tensor:  # fmt: skip
    """States (N, T, H) of a recurrent layer that reads x (N, T, C) in one direction.

    Weights as `torch.nn.LSTM`, `GRU` and `RNN` have them; `kind` is lstm, gru, rnn_tanh or
    rnn_relu. It begins with `state` and, in an LSTM, `cell` (N, H). `cells`: an LSTM's cells
    instead of its states.
    """
    x = x.flip(1) if backwards else x
    if cells:
        made = []
        assert cell is not None
        for at in range(x.shape[1]):
            state, cell = torch.lstm_cell(
                x[:, at], (state, cell), weight_x, weight_h, bias_x, bias_h
            )
            made.append(cell)
        y = torch.stack(made, 1)
    else:
        weights = [w for w in (weight_x, weight_h, bias_x, bias_h) if w is not None]
        begin = state[None] if cell is None else [state[None], cell[None]]
        layer = getattr(torch.ops.aten, kind).input
        y = layer(x, begin, weights, bias_x is not None, 1, 0.0, False, False, True)[0]
    return y.flip(1) if backwards else y.clone()


@_recurrent.register_fake
def _(x: torch.Tensor, state: torch.Tensor, *_: Any) -> torch.Tensor:
    return x.new_empty((*x.shape[:2], state.shape[1]))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.inputs = inputs


def _back(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """Gradients by another pass: they are wanted of the sequence and of what it begins with."""
    x, *rest = (v.detach() if isinstance(v, torch.Tensor) else v for v in ctx.inputs)
    begin = [v for v in rest[:2] if v is not None]
    with torch.enable_grad():
        wanted = [v.requires_grad_() for v in (x, *begin)]
        y = _recurrent._init_fn(x, *rest)
    found = torch.autograd.grad(y, wanted, grad, allow_unused=True)
    return (*found, *[None] * (10 - len(found)))


_recurrent.register_autograd(_back, setup_context=_keep)
recurrent = torch.ops.yuzu.recurrent.default
