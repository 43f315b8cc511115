"""Multiply-adds and bytes, and what a device makes of them in a second. Only counting.

Rates turn counts into comparable time, and are needed for choices between exact ways only, so rough
ones do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Rates:
    """Multiply-adds and bytes a device gets through in a second, and seconds to start one
    operator of a model, and one instruction of a tape: a few operators, started from Python.
    """

    macs: float
    bytes: float
    start: float
    instruction: float


CPU_RATES = Rates(40e9, 8e9, 2e-6, 10e-6)
GPU_RATES = Rates(12e12, 1.5e12, 8e-6, 16e-6)


def rates_of(device: torch.device) -> Rates:
    """Rates of a kind of device."""
    return CPU_RATES if device.type == "cpu" else GPU_RATES


@dataclass(frozen=True, slots=True)
class Cost:
    """Multiply-adds and bytes for one mutant."""

    macs: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.bytes + other.bytes)

    def seconds(self, rates: Rates) -> float:
        """Time of one mutant, operators' start aside."""
        return self.macs / rates.macs + self.bytes / rates.bytes


# --- the work of a call as it stands ------------------------------------------------------------


def call_macs(target: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> float:
    """Multiply-adds of one call of ATen, by the shapes of its tensors; 0 of what is not known.

    The formulas are our own: torch's, for fewer operators, load Triton with them.
    """
    formula = _MACS.get(getattr(target, "overloadpacket", None))
    return 0.0 if formula is None else formula(out, *args, **kwargs)


def _rows(x: torch.Tensor) -> float:
    return float(math.prod(x.shape[:-1]))


def _weights(args: Sequence[Any]) -> float:
    """Elements of the matrices among some arguments."""
    listed = [t for a in args for t in (a if isinstance(a, (list, tuple)) else [a])]
    return float(sum(t.numel() for t in listed if isinstance(t, torch.Tensor) and t.dim() == 2))


def _recurrent(out: Any, x: torch.Tensor, *args: Any, **_: Any) -> float:
    """Every matrix meets every row of the input; states, of three axes, are no matrices."""
    return _rows(x) * _weights(args)


def _attended(out: Any, x: torch.Tensor, *args: Any, **_: Any) -> float:
    """Projections, a feed-forward part if any, scores of all pairs and the mean of the values."""
    return _rows(x) * (_weights(args) + 2.0 * x.shape[1] * x.shape[2])


def _scores(
    out: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any
) -> float:
    return _rows(query) * key.shape[-2] * (query.shape[-1] + value.shape[-1])


def _fourier(out: Any, x: torch.Tensor, axes: Sequence[int], *_: Any, **__: Any) -> float:
    size = math.prod(x.shape[axis] for axis in axes)
    return 2.5 * x.numel() * math.log2(max(2, size))


def _product(out: Any, left: torch.Tensor, right: torch.Tensor, *_: Any, **__: Any) -> float:
    """Of matrices: each element of the left one meets a row of the right one."""
    return float(left.numel() * right.shape[-1])


def _added(out: Any, bias: Any, *matrices: torch.Tensor, **_: Any) -> float:
    return _product(out, *matrices[:2])


def _convolution(
    out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, *rest: Any, **named: Any
) -> float:
    """Each element of the result meets a filter; of a transposed one, each of the input."""
    transposed = rest[4] if len(rest) > 4 else named.get("transposed", False)
    return float((x if transposed else out).numel() * math.prod(weight.shape[1:]))


_aten = torch.ops.aten
_MACS: dict[Any, Callable[..., float]] = {
    **dict.fromkeys((_aten.mm, _aten.bmm), _product),
    **dict.fromkeys((_aten.addmm, _aten.baddbmm), _added),
    **dict.fromkeys((_aten.convolution, _aten._convolution), _convolution),
    **dict.fromkeys(
        (_aten.mkldnn_rnn_layer, _aten.lstm, _aten.gru, _aten.rnn_tanh, _aten.rnn_relu), _recurrent
    ),
    _aten._cudnn_rnn: _recurrent,
    _aten._native_multi_head_attention: (
        lambda out, query, key, value, *rest, **_: _attended(out, query, *rest)
    ),
    _aten._transformer_encoder_layer_fwd: _attended,
    **dict.fromkeys(
        (
            _aten._scaled_dot_product_flash_attention_for_cpu,
            _aten._scaled_dot_product_flash_attention,
            _aten._scaled_dot_product_efficient_attention,
            _aten._scaled_dot_product_cudnn_attention,
        ),
        _scores,
    ),
    **dict.fromkeys((_aten._fft_r2c, _aten._fft_c2c, _aten._fft_c2r), _fourier),
}
