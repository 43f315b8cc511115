"""Operators that read windows of positions: convolutions, pools, resizing."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.support.families.base import Weights, family

small, flag = st.integers(1, 4), st.booleans()
IMAGES = ("NC1L", "NCL1", "N1CL", "N1LC", "NCKL", "NCLK")


def _pair(x: Tensor, at: int, along: int, other: int) -> tuple[int, int]:
    """An option of the last two axes, by which of them has the positions."""
    return (along, other) if at == x.dim() - 2 else (other, along)


_conv: dict[str, Any] = {
    "kernel": st.integers(1, 6),
    "stride": st.integers(1, 3),
    "padding": st.integers(0, 4),
    "dilation": st.integers(1, 3),
    "groups": st.sampled_from([1, 1, 2, 4]),
    "bias": flag,
}
_c = {"kernel": 3, "stride": 1, "padding": 1, "dilation": 1, "groups": 1, "bias": True}


@family(
    _c,
    {**_c, "stride": 2, "padding": 4, "dilation": 3, "groups": 2},
    {**_c, "prefix": "letters", "kernel": 6, "padding": 3},
    covers=("aten.convolution.default",),
    layouts=("NCL",),
    **_conv,
)
def convolution(x: Tensor, w: Weights, at: int, **o) -> Tensor:
    return _convolve(x, w, at, o)


_outer: dict[str, Any] = {"outer_kernel": st.integers(1, 3), "outer_padding": st.integers(0, 4)}
_outer |= {"outer_stride": st.integers(1, 2), "outer_dilation": st.integers(1, 2)}
_d = {"outer_kernel": 1, "outer_padding": 0, "outer_stride": 1, "outer_dilation": 1}


@family(
    {**_c, **_d},
    {**_c, **_d, "layout": "NCL1"},
    {**_c, "outer_kernel": 3, "outer_padding": 2, "outer_stride": 1, "outer_dilation": 2},
    {**_c, **_d, "layout": "N1LC", "outer_kernel": 4},
    layouts=IMAGES,
    **_conv,
    **_outer,
)
def convolution_of_images(x: Tensor, w: Weights, at: int, **o) -> Tensor:
    return _convolve(x, w, at, o)


_spread: dict[str, Any] = {"extra": st.integers(0, 2)}


@family(
    {**_c, "extra": 0},
    {**_c, "stride": 3, "dilation": 2, "extra": 1, "groups": 2},
    layouts=("NCL",),
    **_conv,
    **_spread,
)
def transposed_convolution(x: Tensor, w: Weights, at: int, **o) -> Tensor:
    return _convolve(x, w, at, o)


@family(
    {**_c, **_d, "extra": 0},
    {
        **{**_c, "extra": 0, "outer_stride": 1},
        **{"outer_kernel": 3, "outer_padding": 2, "outer_dilation": 2},
    },
    {**_c, **_d, "layout": "NCL1", "stride": 2, "extra": 1},
    layouts=IMAGES,
    **_conv,
    **_outer,
    **_spread,
)
def transposed_convolution_of_images(x: Tensor, w: Weights, at: int, **o) -> Tensor:
    return _convolve(x, w, at, o)


def _convolve(x: Tensor, w: Weights, at: int, o: dict[str, Any]) -> Tensor:
    c, groups = x.shape[1], o["groups"]
    if c % groups:
        raise ValueError("groups")
    keys = ("kernel", "stride", "padding", "dilation")
    sizes: dict[str, tuple[int, ...]] = {key: (o[key],) for key in keys}
    if x.dim() == 4:
        sizes = {key: _pair(x, at, o[key], o[f"outer_{key}"]) for key in sizes}
    m = 2 * groups
    bias = w(m, scale=0.3) if o["bias"] else None
    rest = (bias, sizes["stride"], sizes["padding"])
    if "extra" not in o:
        weight = w(m, c // groups, *sizes["kernel"], scale=0.4)
        convolve = F.conv1d if x.dim() == 3 else F.conv2d
        return convolve(x, weight, *rest, sizes["dilation"], groups)
    extra = (o["extra"],) if x.dim() == 3 else _pair(x, at, o["extra"], 0)
    weight = w(c, 2, *sizes["kernel"], scale=0.4)
    transposed = F.conv_transpose1d if x.dim() == 3 else F.conv_transpose2d
    return transposed(x, weight, *rest, extra, groups, sizes["dilation"])


_pool: dict[str, Any] = {
    "kernel": st.integers(1, 5),
    "stride": small,
    "padding": st.integers(0, 2),
    "outer": st.integers(1, 2),
    "ceil": flag,
}
_p = {"kernel": 3, "stride": 2, "padding": 0, "outer": 1, "ceil": False}
POOLED = ("NCL", *IMAGES, "NLC")


@family(
    {**_p, "dilation": 1},
    {**_p, "dilation": 2, "padding": 1, "ceil": True, "layout": "NCL1"},
    covers=("max_pool",),
    layouts=POOLED,
    dilation=st.integers(1, 3),
    **_pool,
)
def max_pool(x, w, at, kernel, stride, padding, outer, ceil, dilation) -> Tensor:
    if x.dim() == 3:
        return F.max_pool1d(x, kernel, stride, padding, dilation, ceil)
    wide, step, pad = (_pair(x, at, *o) for o in ((kernel, outer), (stride, outer), (padding, 0)))
    return F.max_pool2d(x, wide, step, pad, _pair(x, at, dilation, 1), ceil)


@family(
    {**_p, "count": True, "divisor": None},
    {**_p, "count": False, "divisor": None, "padding": 1, "ceil": True},
    {**_p, "count": True, "divisor": 5, "padding": 1, "ceil": True, "layout": "NC1L"},
    covers=("avg_pool",),
    layouts=POOLED,
    count=flag,
    divisor=st.sampled_from([None, None, 2, 7]),
    **_pool,
)
def avg_pool(x, w, at, kernel, stride, padding, outer, ceil, count, divisor) -> Tensor:
    if x.dim() == 3:
        return F.avg_pool1d(x, kernel, stride, padding, ceil, count)
    wide, step, pad = (_pair(x, at, *o) for o in ((kernel, outer), (stride, outer), (padding, 0)))
    return F.avg_pool2d(x, wide, step, pad, ceil, count, divisor)


@family(
    {"size": 5, "largest": False, "other": "own"},
    {"size": 5, "largest": True, "other": "own"},
    {"size": 5, "largest": False, "other": "own", "layout": "NCL1"},
    {"size": 4, "largest": False, "other": "one", "layout": "NCKL"},
    covers=("aten._adaptive_avg_pool2d.default", "adaptive_max"),
    layouts=POOLED,
    size=st.integers(1, 9),
    largest=flag,
    other=st.sampled_from(["own", "one"]),
)
def adaptive_pool(x, w, at, size, largest, other) -> Tensor:
    if x.dim() == 3:
        return F.adaptive_max_pool1d(x, size) if largest else F.adaptive_avg_pool1d(x, size)
    across = 1 if other == "one" else x.shape[x.dim() - 1 if at == x.dim() - 2 else x.dim() - 2]
    sizes = _pair(x, at, size, across)
    return F.adaptive_max_pool2d(x, sizes) if largest else F.adaptive_avg_pool2d(x, sizes)


FACTORS = [2.0, 3.0, 1.5, 2.01, 1.01, 2.5, 0.5, 0.7, 1.0]
_u = {"factor": 2.0, "outer": 1.0, "mode": "nearest", "again": None, "by_size": False}


@family(
    _u,
    {**_u, "layout": "NC1L"},
    {**_u, "layout": "NCL1", "factor": 3.0},
    {**_u, "factor": 1.01},
    {**_u, "factor": 2.01},
    {**_u, "factor": 1.5, "suffix": "part"},
    {**_u, "mode": "nearest-exact", "factor": 1.5},
    {**_u, "mode": "nearest-exact", "layout": "NC1L"},
    covers=(
        "aten.upsample_nearest1d.default",
        "aten.upsample_nearest2d.default",
        "aten._upsample_nearest_exact1d.default",
        "aten._upsample_nearest_exact2d.default",
    ),
    layouts=("NCL", *IMAGES),
    factor=st.sampled_from(FACTORS),
    outer=st.sampled_from([1.0, 1.0, 2.0]),
    mode=st.sampled_from(["nearest", "nearest", "nearest-exact", "linear"]),
    again=st.sampled_from([None, None, True]),
    by_size=flag,
)
def upsample(x, w, at, factor, outer, mode, again, by_size) -> Tensor:
    if mode == "linear" and x.dim() == 4:
        mode = "bilinear"
    if by_size:
        factors = [factor] if x.dim() == 3 else _pair(x, at, factor, outer)
        wanted = [max(1, int(s * f)) for s, f in zip(x.shape[2:], factors, strict=True)]
        return F.interpolate(x, size=wanted, mode=mode)
    scale = [factor] if x.dim() == 3 else _pair(x, at, factor, outer)
    return F.interpolate(x, scale_factor=scale, mode=mode, recompute_scale_factor=again)


@family(
    {"size": 4, "step": 2, "reduce": "amax"},
    layouts=("NCL", "NLC", "NC1L"),
    size=st.integers(1, 5),
    step=st.integers(1, 4),
    reduce=st.sampled_from(["amax", "sum", "none"]),
)
def unfold(x, w, at, size, step, reduce) -> Tensor:
    y = x.unfold(at, size, step)
    if reduce == "none":
        return y
    return y.amax(-1) if reduce == "amax" else torch.sum(y, -1)
