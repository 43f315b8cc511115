"""Fused layers and rare operators of torch, said in operators that more is known of."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from yuzu_cli.graph import ops

_aten = torch.ops.aten
Tensor = torch.Tensor


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    width: int,
    heads: int,
    weight: Tensor,
    bias: Tensor,
    last_weight: Tensor,
    last_bias: Tensor,
    mask: Tensor | None = None,
    need_weights: bool = True,
    average: bool = True,
    mask_type: int | None = None,
) -> Any:
    """Attention of many heads on (N, L, C): the values, and the weights (N, L, L) or (N, H, L, L).

    The weights are what no model keeps; where one does, they are made beside.
    """
    if mask is not None:
        return NotImplemented
    parts = zip((query, key, value), weight.chunk(3), bias.chunk(3), strict=True)
    q, k, v = (
        functional.linear(x, w, b).unflatten(-1, (heads, width // heads)).transpose(1, 2)
        for x, w, b in parts
    )
    joined = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    shares = torch.softmax(torch.matmul(q, k.transpose(2, 3)) * (width // heads) ** -0.5, -1)
    return functional.linear(joined, last_weight, last_bias), shares.mean(1) if average else shares


def encoder_layer(
    x: Tensor,
    width: int,
    heads: int,
    weight: Tensor,
    bias: Tensor,
    last_weight: Tensor,
    last_bias: Tensor,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    *rest: Any,
    mask: Tensor | None = None,
    mask_type: int | None = None,
) -> Any:
    """A layer of a transformer: attention, and two linear layers, each with a norm."""
    (norms, others), (up, up_bias, down, down_bias) = (rest[:2], rest[2:4]), rest[4:8]
    if mask is not None or any(m is not None for m in rest[8:9]):
        return NotImplemented

    def normed(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional.layer_norm(y, [width], weight, bias, eps)

    def attended(y: Tensor) -> Tensor:
        made: Tensor = attention(
            y, y, y, width, heads, weight, bias, last_weight, last_bias, average=False
        )[0]
        return made

    def passed(y: Tensor) -> Tensor:
        y = functional.linear(y, up, up_bias)
        y = functional.gelu(y) if use_gelu else functional.relu(y)
        return functional.linear(y, down, down_bias)

    if norm_first:
        x = x + attended(normed(x, *norms))
        return x + passed(normed(x, *others))
    x = normed(x + attended(x), *norms)
    return normed(x + passed(x), *others)


def recurrent(
    kind: str, x: Tensor, begin: Any, weights: Any, biases: bool, layers: int, dropout: float,
    train: bool, both: bool, batch_first: bool,
) -> Any:  # fmt: skip
    """A recurrent layer as one call for each of its layers and directions."""
    count, last = 2 + 2 * biases, []
    if len(weights) != layers * (1 + both) * count:  # with projections
        return NotImplemented
    starts = list(begin) if kind == "lstm" else [begin]
    y = x if batch_first else x.transpose(0, 1)
    for layer in range(layers):
        halves = []
        for backwards in range(1 + both):
            i = layer * (1 + both) + backwards
            given = [*weights[i * count : (i + 1) * count], None, None][:4]
            state, cell = [*(s[i] for s in starts), None][:2]
            made = [
                ops.recurrent(y, state, cell, *given, kind, bool(backwards), cells)
                for cells in (False, True)[: len(starts)]
            ]
            halves.append(made[0])
            last.append([m[:, 0 if backwards else -1] for m in made])
        y = torch.cat(halves, 2) if both else halves[0]
    ends = [torch.stack(list(parts)) for parts in zip(*last, strict=True)]
    return (y if batch_first else y.transpose(0, 1), *ends)


def strided(
    x: Tensor, size: Sequence[int], stride: Sequence[int], offset: int | None = None
) -> Tensor:
    """Memory read by strides, as elements picked from each sequence (or from all, as it may be)."""
    begin, count = int(x.storage_offset()), math.prod(size)
    element = np.full(x.untyped_storage().nbytes() // x.itemsize, -1)
    element[_places(x.shape, x.stride(), begin)] = np.arange(x.numel())
    index = element[_places(size, stride, begin if offset is None else offset)]
    if (index < 0).any():
        raise RuntimeError("the model reads memory by strides (as_strided) beyond it")
    if tuple(size) == x.shape and (index == np.arange(count)).all():
        return _aten.alias(x)
    rows = len(x) if x.dim() and len(x) and count % len(x) == 0 else 1
    each = index.reshape(rows, -1) - np.arange(rows)[:, None] * (x.numel() // rows)
    if (each != each[0]).any():
        rows, each = 1, index[None]
    picked = torch.from_numpy(each[0].copy()).to(x.device)
    return x.reshape(rows, -1).index_select(1, picked).view(size)


def _places(size: Sequence[int], stride: Sequence[int], begin: int) -> np.ndarray:
    """Where in memory the elements of a tensor lie, in their order."""
    found = np.array([begin])
    for n, step in zip(size, stride, strict=True):
        found = (found[:, None] + np.arange(n) * step).reshape(-1)
    return found


def one_hot(index: Tensor, classes: int = -1) -> Tensor:
    """Whole numbers (...) -> (..., classes), without a look at the numbers where that is said."""
    count = classes if classes > 0 else int(index.max()) + 1
    return (index.unsqueeze(-1) == torch.arange(count, device=index.device)).long()


def unfold(x: Tensor, axis: int, size: int, step: int) -> Tensor:
    """Stretches of an axis, one every so many entries: these as a list, and the list cut."""
    axis = axis % max(1, x.dim())
    first = torch.arange((x.shape[axis] - size) // step + 1, device=x.device) * step
    every = first[:, None] + torch.arange(size, device=x.device)
    picked = x.index_select(axis, every.flatten())
    return picked.unflatten(axis, tuple(every.shape)).movedim(axis + 1, -1)


TAKEN_APART: dict[Any, Callable[..., Any]] = {
    **{
        getattr(_aten, kind).input: functools.partial(recurrent, kind)
        for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu")
    },
    _aten._native_multi_head_attention.default: attention,
    _aten._transformer_encoder_layer_fwd.default: encoder_layer,
    _aten.one_hot.default: one_hot,
    # Pieces of the memory that they read, which these two do not say: it would be given away.
    _aten.unsafe_split.Tensor: torch.split,
    _aten.unsafe_split_with_sizes.default: torch.split_with_sizes,
}
"""What gives NotImplemented stays as it is."""

NEVER_WRITTEN: dict[Any, Callable[..., Any]] = {
    **TAKEN_APART,
    _aten.as_strided.default: strided,
    _aten.unfold.default: unfold,
}
"""Also what is taken apart where nothing is written in place, as into what is read by strides."""
