"""Functions of one element, and what they make of a rounding error."""

from __future__ import annotations

from typing import Any

import torch

from yuzu_cli.operators.pointwise import Pointwise
from yuzu_cli.operators.record import (
    JUMP,
    NONE,
    STEEP,
    operator,
)

_aten = torch.ops.aten


_SMOOTH = [
    _aten.relu.default,
    _aten.sigmoid.default,
    _aten.tanh.default,
    _aten.gelu.default,
    _aten.silu.default,
    _aten.elu.default,
    _aten.leaky_relu.default,
    _aten.softplus.default,
    _aten.hardtanh.default,
    _aten.hardswish.default,
    _aten.hardsigmoid.default,
    _aten.mish.default,
    _aten.log_sigmoid_forward.default,
    _aten.prelu.default,
    _aten._prelu_kernel.default,
    _aten.celu.default,
    _aten.selu.default,
    _aten.abs.default,
    _aten.exp.default,
    _aten.expm1.default,
    _aten.erf.default,
    _aten.sin.default,
    _aten.cos.default,
    _aten.atan.default,
    _aten.clamp.default,
    _aten.clamp_min.default,
    _aten.clamp_max.default,
    _aten.clamp.Tensor,
    _aten.maximum.default,
    _aten.minimum.default,
    _aten.square.default,
    _aten.lerp.Scalar,
    _aten.lerp.Tensor,
    _aten.addcmul.default,
    _aten.cosh.default,
    _aten.exp2.default,
    _aten.logaddexp.default,
    _aten.masked_fill.Scalar,
    _aten.masked_fill.Tensor,
    _aten.relu6.default,
    _aten.sinh.default,
    _aten.where.self,
    _aten.where.Scalar,
    _aten.where.ScalarSelf,
    _aten.where.ScalarOther,
    _aten.clone.default,
    _aten.pow.Scalar,
]


@operator(*_SMOOTH)
class Smooth(Pointwise):
    """A function of bounded slope."""

    makes = NONE
    through = True


_STEEP = [
    _aten.acos.default,
    _aten.acosh.default,
    _aten.asin.default,
    _aten.atanh.default,
    _aten.atan2.default,
    _aten.digamma.default,
    _aten.lgamma.default,
    _aten.log.default,
    _aten.log10.default,
    _aten.log1p.default,
    _aten.log2.default,
    _aten.logit.default,
    _aten.pow.Tensor_Tensor,
    _aten.reciprocal.default,
    _aten.rsqrt.default,
    _aten.sqrt.default,
    _aten.xlogy.Tensor,
]


@operator(*_STEEP)
class Steep(Pointwise):
    """A function whose slope has no bound, or that is undefined, near some value."""

    makes = STEEP


@operator(_aten._to_copy.default)
class Converted(Pointwise):
    """Values in another type: into whole numbers they jump."""

    through = True

    def decode(self, dtype: Any = None, **_: Any) -> None:
        self.makes = NONE if dtype is None or dtype.is_floating_point else JUMP


@operator(_aten.pow.Tensor_Scalar)
class Power(Pointwise):
    """Whole positive powers are smooth; others are steep or undefined at zero."""

    through = True

    def decode(self, exponent: Any = 1, **_: Any) -> None:
        whole = float(exponent) >= 1 and float(exponent).is_integer()
        self.makes = NONE if whole else STEEP
