"""Functions of one element at a time, and of several tensors element by element."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.support.families.base import family
from tests.support.families.places import axis_of

flag = st.booleans()

UNARY = {
    **{
        name: getattr(torch, name)
        for name in ("abs", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp")
    },
    **{
        name: getattr(torch, name)
        for name in ("exp2", "expm1", "floor", "frac", "neg", "round", "sigmoid", "sign", "sin")
    },
    **{name: getattr(torch, name) for name in ("sinh", "square", "tan", "tanh", "trunc", "sgn")},
    **{
        name: getattr(F, name)
        for name in ("celu", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu")
    },
    **{
        name: getattr(F, name)
        for name in ("logsigmoid", "mish", "relu", "relu6", "selu", "silu", "softplus", "softsign")
    },
    **{name: getattr(F, name) for name in ("tanhshrink", "softshrink", "hardshrink")},
    "acos": lambda x: torch.acos(torch.tanh(x)),
    "asin": lambda x: torch.asin(torch.tanh(x)),
    "threshold": lambda x: F.threshold(x, 0.13, -0.7),
    "log": lambda x: torch.log(x.abs() + 0.2),
    "log1p": lambda x: torch.log1p(x.abs()),
    "log2": lambda x: torch.log2(x.abs() + 0.2),
    "sqrt": lambda x: torch.sqrt(x.abs() + 0.1),
    "rsqrt": lambda x: torch.rsqrt(x.abs() + 0.1),
    "reciprocal": lambda x: torch.reciprocal(x.abs() + 0.3),
    "pow": lambda x: x.pow(3),
    "pow-root": lambda x: (x.abs() + 0.1) ** 0.3,
    "pow-of-number": lambda x: 2.0**x,
    "clamp": lambda x: x.clamp(-0.4, 0.5),
    "clamp-min": lambda x: x.clamp_min(0.05),
    "fmod": lambda x: torch.fmod(x, 0.37),
    "remainder": lambda x: torch.remainder(x, 0.37),
    "nan-to-num": lambda x: torch.nan_to_num(torch.log(x.clamp(min=0.0)), neginf=-3.0),
    "long": lambda x: (5.0 * x).long(),
    "double": lambda x: x.double().half().double(),
    "above": lambda x: x > 0.117,
    "below": lambda x: x <= -0.117,
    "logical-not": lambda x: torch.logical_not(x > 0.117),
    "bits": lambda x: (5.0 * x).long() & 3,
    "shifted": lambda x: ((5.0 * x).long() << 1) % 3,
    "number-minus": lambda x: 1.5 - x,
    "over-number": lambda x: x / 3.0,
    "floor-divide": lambda x: torch.floor_divide(x, 0.3),
    "masked": lambda x: x.masked_fill(x > 0.2, float("-inf")).clamp(min=-2.0),
    "where": lambda x: torch.where(x > 0.2, x * x, -x),
    "where-number": lambda x: torch.where(x > 0.2, 1.0, x),
    "dropout": lambda x: F.dropout(x, 0.3, training=False),
    "detach": lambda x: x.detach().clone().contiguous(),
    "zeros-like": lambda x: torch.zeros_like(x) + x,
    "ones-like": lambda x: torch.ones_like(x) * x - torch.full_like(x, 0.3),
}


@family(*({"kind": kind} for kind in UNARY), kind=st.sampled_from(sorted(UNARY)))
def unary(x, w, at, kind) -> Tensor:
    return UNARY[kind](x)


SHAPES = ("number", "channels", "positions", "all", "one", "grown", "grown-last", "per-batch")


def _other(x: Tensor, w, at: int, shape: str) -> tuple[Tensor, Tensor | float]:
    """x, perhaps with one axis more, and a constant that goes with it."""
    channels = axis_of(x, at, "channels")
    if shape == "number":
        return x, 0.7
    if shape in ("channels", "positions"):
        axis = channels if shape == "channels" else at
        return x, w(*[s if i == axis else 1 for i, s in enumerate(x.shape)][1:])
    if shape == "all":
        return x, w(*x.shape[1:])
    if shape == "one":
        return x, w(1)
    if shape == "grown":
        return x.unsqueeze(1), w(3, *[1] * (x.dim() - 1))
    if shape == "grown-last":
        return x.unsqueeze(-1), w(3)
    return x, w(1, *x.shape[1:]).expand(x.shape)  # as large as the batch


BINARY = {
    "add": lambda x, c: x + c,
    "add-scaled": lambda x, c: torch.add(x, c, alpha=2),
    "sub": lambda x, c: x - c,
    "sub-from": lambda x, c: c - x,
    "mul": lambda x, c: x * c,
    "div": lambda x, c: x / (abs(c) + 0.5),
    "div-of": lambda x, c: c / (abs(x) + 0.5),
    "pow": lambda x, c: (abs(x) + 0.2) ** c,
    "maximum": lambda x, c: torch.maximum(x, torch.as_tensor(c, dtype=x.dtype)),
    "minimum": lambda x, c: torch.minimum(torch.as_tensor(c, dtype=x.dtype), x),
    "atan2": lambda x, c: torch.atan2(x, torch.as_tensor(c, dtype=x.dtype)),
    "above": lambda x, c: x > c,
    "equal": lambda x, c: (2.0 * x).round() == torch.as_tensor(c).round(),
    "where": lambda x, c: torch.where(torch.as_tensor(c) > 0.1, x, 0.5),
    "where-inf": lambda x, c: torch.tanh(torch.where(torch.as_tensor(c) > 0.1, x, float("-inf"))),
    "lerp": lambda x, c: torch.lerp(x, torch.as_tensor(c, dtype=x.dtype).expand_as(x * c), 0.3),
    "addcmul": lambda x, c: torch.addcmul(x, x, torch.as_tensor(c, dtype=x.dtype), value=0.5),
    "prelu": lambda x, c: torch.where(x > 0, x, x * c),
    "hypot": lambda x, c: torch.hypot(x, torch.as_tensor(c, dtype=x.dtype)),
}


@family(
    *({"kind": kind, "shape": "channels"} for kind in BINARY),
    *({"kind": "mul", "shape": shape} for shape in SHAPES),
    *({"kind": "add", "shape": shape} for shape in SHAPES),
    {"kind": "mul", "shape": "all", "layout": "NLC"},
    kind=st.sampled_from(sorted(BINARY)),
    shape=st.sampled_from(SHAPES),
)
def with_constants(x, w, at, kind, shape) -> Tensor:
    return BINARY[kind](*_other(x, w, at, shape))


OTHERS = {
    "itself": lambda x, at: x,
    "shifted": lambda x, at: x.roll(2, at),
    "flipped": lambda x, at: x.flip(at),
    "smooth": lambda x, at: torch.tanh(x + x.roll(1, at)),
    "mean": lambda x, at: x.mean(at, keepdim=True),
    "channel-mean": lambda x, at: x.mean(1 if at != 1 else 2, keepdim=True),
    "one-position": lambda x, at: x.narrow(at, 3, 1),
    "cumulated": lambda x, at: x.cumsum(at),
    "turned": lambda x, at: x.flip(1),
}
TWO = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / (b.abs() + 0.4),
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "where": lambda a, b: torch.where(a > b + 0.031, a, -b),
    "above": lambda a, b: a > b + 0.05,
    "gate": lambda a, b: a * torch.sigmoid(b),
    "lerp": lambda a, b: torch.lerp(a, b + a * 0, torch.sigmoid(a)),
    "logaddexp": torch.logaddexp,
}


@family(
    *({"kind": "mul", "other": other, "grown": False} for other in OTHERS),
    *({"kind": kind, "other": "smooth", "grown": False} for kind in TWO),
    {"kind": "mul", "other": "smooth", "grown": True},
    kind=st.sampled_from(sorted(TWO)),
    other=st.sampled_from(sorted(OTHERS)),
    grown=flag,
)
def of_two(x, w, at, kind, other, grown) -> Tensor:
    b = OTHERS[other](x, at)
    if grown:
        return TWO[kind](x.unsqueeze(1), b.unsqueeze(2))
    return TWO[kind](x, b)


@family(
    {"which": "channels"},
    {"which": "positions", "length": 14},
    covers=("aten.glu.default",),
    which=st.sampled_from(["channels", "positions", "last"]),
)
def glu(x, w, at, which) -> Tensor:
    return F.glu(x, axis_of(x, at, which))
