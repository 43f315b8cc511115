"""Functions of one element, in Triton, as exact as torch's own.

What Triton has no function for is put together so that small arguments lose nothing: effects are
small differences. Names are those of `yuzu_cli.kernels.between.ACTIVATIONS`.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def apply(x, name: tl.constexpr):
    """The function of that name."""
    if name == "relu":
        # Not a maximum, which would take 0 for NaN.
        return tl.where(x < 0.0, 0.0, x)
    if name == "gelu":
        return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    if name == "exp":
        return tl.exp(x)
    if name == "sigmoid":
        return 1.0 / (1.0 + tl.exp(-x))
    if name == "softplus":
        return tl.where(x > 20.0, x, tl.maximum(x, 0.0) + log1p(tl.exp(-tl.abs(x))))
    if name == "elu":
        return tl.where(x > 0.0, x, expm1(tl.minimum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)))
    if name == "silu":
        return x / (1.0 + tl.exp(-x))
    if name == "tanh":
        return tanh(x)
    return x


@triton.jit
def tanh(x):
    """By a series near zero, by exponentials elsewhere."""
    s = x * x
    near = 62.0 / 2835.0 - s * (1382.0 / 155925.0)
    near = 2.0 / 15.0 - s * (17.0 / 315.0 - s * near)
    near = x - x * s * (1.0 / 3.0 - s * near)
    large = 1.0 - 2.0 / (tl.exp(2.0 * tl.abs(x)) + 1.0)
    return tl.where(s < 0.09, near, tl.where(x < 0.0, -large, large))


@triton.jit
def expm1(x):
    """exp(x) - 1 for x <= 0."""
    t = tanh(0.5 * x)
    return tl.where(x > -1.0, 2.0 * t / (1.0 - t), tl.exp(x) - 1.0)


@triton.jit
def log1p(x):
    """log(1 + x) for 0 <= x <= 1."""
    u = 1.0 + x
    return tl.log(u) - ((u - 1.0) - x) / u


@triton.jit
def smaller(x, y):
    return tl.minimum(x, y)


@triton.jit
def larger(x, y):
    return tl.maximum(x, y)
