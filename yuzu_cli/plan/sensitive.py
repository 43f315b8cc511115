"""Which values must be exact as values: what functions after them would make of a rounding.

A sum kept as reference plus delta is exact to the rounding of the reference, not of the sum: it can
come out as -1e-9 where the truth is 0. Most functions hand such a difference on as small as it
is; these are listed. Any other counts as sensitive: a root is steep at 0, a comparison jumps.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Node

from yuzu_cli.graph import ops

_aten = torch.ops.aten

STEEP, JUMP = 1, 2
"""How far a rounding may be carried: by a slope without bound near 0; from one value to another."""

VAST = 1e3
"""From here on a constant hides the values it is added to or stands for: a mask."""

_MIXING = {
    _aten.convolution.default,
    _aten.mm.default,
    _aten.bmm.default,
    _aten.addmm.default,
    _aten.baddbmm.default,
    ops.linear,
    ops.softmax_sum,
}
"""Products whose own rounding is as large as what comes in: the walk ends there."""


def _packets(names: str) -> set[Any]:
    """ATen operators by name, whatever their overloads."""
    return {getattr(_aten, name) for name in names.split()}


_HARMLESS = _packets(
    """
    abs adaptive_avg_pool1d _adaptive_avg_pool2d add addcmul alias amax amin atan avg_pool1d
    avg_pool2d cat celu clamp clamp_max clamp_min clone constant_pad_nd copy cos cosh cummax
    cummin cumsum detach elu erf exp exp2 expand expm1 flip gelu hardsigmoid hardswish hardtanh
    index_select kthvalue leaky_relu linalg_vector_norm log_sigmoid_forward log_softmax
    _log_softmax logaddexp logsumexp masked_fill max max_pool2d_with_indices maximum mean median
    min minimum mish mul native_batch_norm _native_batch_norm_legit
    _native_batch_norm_legit_no_training native_group_norm native_layer_norm neg permute prelu
    _prelu_kernel prod reflection_pad1d reflection_pad2d relu relu6 repeat replication_pad1d
    replication_pad2d reshape roll rrelu rsub select selu sigmoid silu sin sinh slice
    slice_scatter softmax _softmax softplus sort split split_with_sizes squeeze stack sub sum t
    tanh topk transpose unbind unfold unsafe_split _unsafe_view unsqueeze upsample_bilinear2d
    upsample_linear1d upsample_nearest1d upsample_nearest2d _upsample_nearest_exact1d
    _upsample_nearest_exact2d var var_mean view where
    """
)
"""Linear maps, maxima, and smooth functions of bounded slope: differences stay as small."""

_STEEP = _packets(
    """
    acos acosh asin atanh atan2 log log10 log1p log2 logit pow reciprocal rsqrt sqrt std xlogy
    std_mean div lgamma digamma
    """
)
_RANKED = _packets("topk sort kthvalue median max min cummax cummin")
"""Values and their places: the places jump."""
_OWN = {ops.affine, ops.max_pool, ops.avg_pool, ops.adaptive_max, ops.pick, ops.layer_norm}


def carried(node: Node) -> int:
    """What comes of a rounding of the node's value: 0, `STEEP` or `JUMP`.

    The walk goes through harmless functions, moves, pools and reductions, up to the next product
    with weights.
    """
    worst, seen, queue = 0, {node}, [node]
    while queue:
        value = queue.pop()
        for user in value.users:
            level = _level(user, value)
            if level is None:
                if user not in seen:
                    seen.add(user)
                    queue.append(user)
            elif level == JUMP:
                return JUMP
            else:
                worst = max(worst, level)
    return worst


def _level(user: Node, value: Node) -> int | None:
    """What a call makes of a rounding of one of its arguments; None where it hands it on."""
    target: Any = user.target
    if user.op == "output" or target in _MIXING:
        return 0
    if target in _OWN:
        return None
    if target is operator.getitem:
        places = user.args[1] == 1 and getattr(value.target, "overloadpacket", None) in _RANKED
        return JUMP if places else None
    packet = getattr(target, "overloadpacket", None)
    if packet is _aten.div and "rounding_mode" not in user.kwargs:
        return STEEP if user.args[1] is value else None
    if packet is _aten.pow and target is _aten.pow.Tensor_Scalar:
        power: Any = user.args[1]
        return None if float(power).is_integer() and power > 0 else STEEP
    if target is _aten.pow.Scalar:
        return None
    if packet is _aten.linalg_vector_norm:
        order: Any = user.args[1] if len(user.args) > 1 else 2
        return None if order >= 1 else JUMP
    if packet is _aten._to_copy:
        return None if user.kwargs.get("dtype", torch.float32).is_floating_point else JUMP
    if packet in _HARMLESS:
        return None
    return STEEP if packet in _STEEP and "rounding_mode" not in user.kwargs else JUMP
