"""What lies between two matrix products, as one call: the definition, in plain torch.

Every function writes all of `out`, takes tensors that are on the device already, and says what a
kernel of `yuzu_cli.kernels.fused` must give. Windows are position first, ``(w, P, K, B, C)``: rows
of P positions, K other letters, B sequences and C channels; the window of position p holds rows
``start[p]`` to ``start[p] + w`` of the tensor, and may extend outside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "relu": torch.relu,
    "gelu": F.gelu,
    "exp": torch.exp,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "elu": F.elu,
    "silu": F.silu,
    "tanh": torch.tanh,
}
"""Functions of one element, by name, each with torch's own defaults."""


@dataclass(frozen=True, slots=True)
class Pool:
    """From the rows of one tensor to those of the next: a function of one element, then a maximum.

    Attributes
    ----------
    size, out_size : int
        Lengths of the two tensors' position axes.
    activation : str
        One of `ACTIVATIONS`.
    kernel, stride, padding, gap : int
        Of the max pool; as they are, there is none. `gap` is its dilation.
    """

    size: int
    out_size: int
    activation: str = "relu"
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    gap: int = 1


@dataclass(frozen=True, slots=True)
class Dilated:
    """A convolution that keeps the length, a function of one element, and what it is added to.

    Attributes
    ----------
    size : int
        Length of the position axis.
    gap, padding : int
        Dilation, and rows of padding before the tensor: row q reads rows ``q - padding + t * gap``.
    activation : str
        One of `ACTIVATIONS`.
    residual : bool
        What was read is added to the result.
    products : str
        How a GPU may multiply: `ieee` (float32), `tf32x3` (three tf32 products for one, as exact)
        or `tf32`. The definition has torch's own products.
    """

    size: int
    gap: int
    padding: int
    activation: str = "relu"
    residual: bool = True
    products: str = "ieee"


def pool(
    out: Tensor,
    rows: Tensor,
    reference: Tensor,
    start: Tensor,
    out_start: Tensor,
    how: Pool,
    scale: Tensor | None = None,
    pairs: Tensor | None = None,
) -> None:
    """Deltas after a function and a max pool, from deltas before them.

    Parameters
    ----------
    out : Tensor (v, P, K, B, C)
        Gets the deltas, zero outside the tensor.
    rows : Tensor (w, P, K, B, C), or (w, A*A, C) with `pairs`
        Deltas before the function.
    reference : Tensor (size, B, C)
        Values of the sequences before the function, bias included.
    start, out_start : int64 Tensor (P,)
        First rows of the windows read and written.
    how : Pool
    scale : Tensor (C,), optional
        Factors on the function's values, as of a batch norm behind it: a negative one makes the
        largest the least. (What such a norm adds makes no difference.)
    pairs : int64 Tensor (P, K, B), optional
        Which row of the table of pairs of letters is each mutant's.
    """
    function = ACTIVATIONS[how.activation]
    p = torch.arange(len(start), device=rows.device)
    q = out_start + torch.arange(len(out), device=rows.device)[:, None]  # (v, P)
    best = below = None
    for tap in range(how.kernel):
        at = q * how.stride - how.padding + tap * how.gap
        beneath = reference[at.clamp(0, how.size - 1)][:, :, None]
        values = beneath + _held(rows, at - start, p, pairs)
        values, beneath = function(values), function(beneath)
        if scale is not None:
            values, beneath = values * scale, beneath * scale
        outside = _wide((at < 0) | (at >= how.size))
        values = values.masked_fill(outside, -torch.inf)
        beneath = beneath.masked_fill(outside, -torch.inf)
        best = values if best is None else torch.maximum(best, values)
        below = beneath if below is None else torch.maximum(below, beneath)
    assert best is not None
    assert below is not None
    out.copy_(torch.where(_wide((q < 0) | (q >= how.out_size)), 0.0, best - below))


def dilated(
    out: Tensor,
    rows: Tensor,
    taps: Tensor,
    reference: Tensor,
    start: Tensor,
    out_start: Tensor,
    how: Dilated,
) -> None:
    """Deltas after a dilated convolution, a function, and maybe the sum with what was read.

    Parameters
    ----------
    out : Tensor (v, P, K, B, C)
        Gets the deltas, zero outside the tensor.
    rows : Tensor (w, P, K, B, C)
        Deltas of what the convolution reads, zero outside the tensor.
    taps : Tensor (kernel, C, C)
        Weights, input channel before output channel.
    reference : Tensor (size, B, C)
        Values of the sequences between convolution and function, bias included.
    start, out_start : int64 Tensor (P,)
    how : Dilated
    """
    function = ACTIVATIONS[how.activation]
    p = torch.arange(len(start), device=rows.device)
    q = out_start + torch.arange(len(out), device=rows.device)[:, None]
    total = torch.zeros_like(out)
    for number, tap in enumerate(taps):
        total += _held(rows, q - how.padding + number * how.gap - start, p) @ tap
    beneath = reference[q.clamp(0, how.size - 1)][:, :, None]
    deltas = function(beneath + total) - function(beneath)
    if how.residual:
        deltas = deltas + _held(rows, q - start, p)
    out.copy_(deltas.masked_fill(_wide((q < 0) | (q >= how.size)), 0.0))


def _held(rows: Tensor, at: Tensor, p: Tensor, pairs: Tensor | None = None) -> Tensor:
    """Rows `at` (v, P) of each position's window, zero where it has none: (v, P, K, B, C)."""
    inside = (at >= 0) & (at < len(rows))
    at = at.clamp(0, len(rows) - 1)
    picked = rows[at, p] if pairs is None else rows[at[..., None, None], pairs]
    return torch.where(_wide(inside), picked, 0.0)


def _wide(flags: Tensor) -> Tensor:
    return flags[..., None, None, None]
