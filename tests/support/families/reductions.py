"""Reductions, softmaxes and norms over positions, channels or both."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.support.families.base import family
from tests.support.families.places import axis_of

flag = st.booleans()
where = st.sampled_from(["positions", "positions", "channels", "both", "last", "all"])
KINDS = {
    "sum": lambda x, d, k: x.sum(d, keepdim=k),
    "mean": lambda x, d, k: x.mean(d, keepdim=k),
    "amax": lambda x, d, k: x.amax(d, keepdim=k),
    "amin": lambda x, d, k: x.amin(d, keepdim=k),
    "logsumexp": lambda x, d, k: x.logsumexp(d, keepdim=k),
    "norm": lambda x, d, k: torch.linalg.vector_norm(x, 2, d, keepdim=k),
    "norm-1": lambda x, d, k: torch.linalg.vector_norm(x, 1, d, keepdim=k),
    "norm-inf": lambda x, d, k: torch.linalg.vector_norm(x, float("inf"), d, keepdim=k),
    "var": lambda x, d, k: x.var(d, keepdim=k),
    "std": lambda x, d, k: x.std(d, keepdim=k),
    "std-mean": lambda x, d, k: torch.sub(*torch.std_mean(x, d, keepdim=k)),
    "spread": lambda x, d, k: x.var(d, correction=0, keepdim=k).sqrt(),
    "cumsum": lambda x, d, k: x.cumsum(d[0]),
    "prod": lambda x, d, k: x.prod(d[0], keepdim=k),
    "max": lambda x, d, k: x.max(d[0], keepdim=k)[0],
    "argmax": lambda x, d, k: x.argmax(d[0], keepdim=k),
    "any": lambda x, d, k: (x > 0.2).any(d[0], keepdim=k),
    "count": lambda x, d, k: (x > 0.2).sum(d, keepdim=k),
    "median": lambda x, d, k: x.median(d[0], keepdim=k)[0],
    "topk": lambda x, d, k: x.topk(2, d[0])[0],
    "sort": lambda x, d, k: x.sort(d[0])[0],
}
THEN = {
    "nothing": lambda y: y,
    "log": lambda y: torch.log(y.abs() + 0.1),
    "square": lambda y: y * y,
    "sqrt": lambda y: torch.sqrt(y.clamp(min=0) + 0.1),
    "floor": lambda y: torch.floor(4.0 * y + 0.123),
    "above": lambda y: (y > 0.217).to(torch.float32),
}

SUMS = ("mean", "norm", "var", "std", "spread")


def axes_of(x: Tensor, at: int, which: str) -> list[int]:
    if which == "all":
        return list(range(1, x.dim()))
    if which == "both":
        return sorted({at, axis_of(x, at, "channels")})
    return [axis_of(x, at, which)]


_r = {"which": "channels", "keep": False, "negative": False, "then": "nothing"}


@family(
    *({**_r, "kind": kind} for kind in KINDS),
    *({**_r, "kind": kind, "which": "positions", "keep": True} for kind in KINDS),
    *({**_r, "kind": kind, "which": "positions", "then": then} for kind in SUMS for then in THEN),
    *({**_r, "kind": kind, "which": "both", "layout": "NLC"} for kind in SUMS[1:]),
    *({**_r, "kind": kind, "which": "positions", "prefix": "relu"} for kind in SUMS[1:]),
    {**_r, "kind": "sum", "which": "both", "layout": "NLC"},
    {**_r, "kind": "norm", "layout": "NLC", "negative": True},
    covers=(
        "aten.sum.dim_IntList",
        "aten.mean.dim",
        "aten.amax.default",
        "aten.amin.default",
        "aten.logsumexp.default",
        "aten.linalg_vector_norm.default",
        "aten.prod.dim_int",
        "aten.std.correction",
        "aten.var.correction",
        "aten.cumsum.default",
    ),
    kind=st.sampled_from(sorted(KINDS)),
    which=where,
    keep=flag,
    negative=flag,
    then=st.sampled_from(sorted(THEN)),
)
def reduction(x, w, at, kind, which, keep, negative, then) -> Tensor:
    axes = axes_of(x, at, which)
    axes = [axis - x.dim() for axis in axes] if negative else axes
    if kind in ("cumsum", "prod", "max", "argmax", "any", "median", "topk", "sort"):
        axes = axes[:1]
    if kind == "argmax":  # words of letters come again: without it, rounding would decide
        x = x + w(*x.shape[1:], scale=0.1)
    y = KINDS[kind](x, axes, keep)
    return THEN[then](y if y.is_floating_point() else y.to(x.dtype))


@family(
    {"which": "channels", "log": False, "scale": 1.0},
    {"which": "channels", "log": True, "scale": 1.0, "layout": "NLC"},
    {"which": "positions", "log": False, "scale": 3.0},
    {"which": "positions", "log": True, "scale": 3.0, "suffix": "part"},
    covers=("aten._softmax.default", "aten._log_softmax.default"),
    which=st.sampled_from(["positions", "channels", "last"]),
    log=flag,
    scale=st.sampled_from([1.0, 5.0]),
)
def softmax(x, w, at, which, log, scale) -> Tensor:
    f = torch.log_softmax if log else torch.softmax
    return f(scale * x, axis_of(x, at, which))


POOLS = ("product", "own", "matrix", "einsum", "log", "masked", "centred", "pairs", "gathered")


@family(
    *({"how": how, "which": "positions", "keep": False, "prefix": "relu"} for how in POOLS),
    {"how": "product", "which": "channels", "keep": True},
    {"how": "own", "which": "positions", "keep": True, "layout": "NLC"},
    {"how": "own", "which": "last", "keep": False, "layout": "NCLK"},
    covers=("softmax_sum",),
    how=st.sampled_from(POOLS),
    which=st.sampled_from(["positions", "positions", "channels", "last"]),
    keep=flag,
)
def softmax_pool(x, w, at, how, which, keep) -> Tensor:
    axis, channels = axis_of(x, at, which), axis_of(x, at, "channels")
    logits = 2.0 * (x * 1.3).sum(channels, keepdim=True)
    if how in ("matrix", "einsum") and x.dim() == 3:
        y = x if at == 1 else x.transpose(1, 2)  # (N, L, C)
        weights = torch.softmax(y @ w(y.shape[2], 1), 1)
        if how == "matrix":
            return torch.matmul(weights.transpose(1, 2), y).squeeze(1)
        return torch.einsum("nl,nlc->nc", weights.squeeze(2), y)
    if how == "log":
        weights = torch.exp(torch.log_softmax(logits, axis))
    elif how == "masked":
        far = torch.arange(x.shape[axis]) % 3 == 1
        view = [-1 if i == axis else 1 for i in range(x.dim())]
        weights = torch.softmax(logits.masked_fill(far.view(view), float("-inf")), axis)
    elif how in ("own", "pairs"):
        weights = torch.softmax(x, axis)
    elif how == "centred":
        x = x - x.mean(axis, keepdim=True)
        weights = torch.softmax(x, axis)
    elif how == "gathered":  # weights that come from elsewhere
        weights = torch.softmax(x.flip(axis), axis)
    else:
        weights = torch.softmax(logits, axis)
    if how == "pairs":
        return torch.lerp(x, weights * x, 0.4).sum(axis, keepdim=keep)
    return (weights * x).sum(axis, keepdim=keep)


@family(
    {"size": 2, "mixed": "conv", "own": False},
    {"size": 3, "mixed": "einsum", "own": False},
    {"size": 2, "mixed": "linear", "own": False, "layout": "NLC", "prefix": "relu"},
    {"size": 2, "mixed": "none", "own": True, "prefix": "relu"},
    {"size": 2, "mixed": "none", "own": False, "layout": "NCL1"},
    {"size": 4, "mixed": "none", "own": False, "prefix": "letters"},
    covers=("softmax_pool",),
    layouts=("NCL", "NLC", "NCL1", "NC1L"),
    size=st.integers(2, 4),
    mixed=st.sampled_from(["none", "conv", "einsum", "linear"]),
    own=flag,
)
def softmax_of_blocks(x, w, at, size, mixed, own) -> Tensor:
    """Blocks of positions, weighed by themselves or by a map of their channels."""
    x = x.narrow(at, 0, x.shape[at] // size * size)
    y = x.unflatten(at, (-1, size))
    logits = y if own else torch.sin(2.0 * y + 0.3)
    if x.dim() == 3:
        c = x.shape[3 - at]
        if mixed == "conv" and at == 2:
            logits = F.conv2d(logits, w(c, c, 1, 1), w(c))
        if mixed == "einsum" and at == 2:
            logits = torch.einsum("nclk,cd->ndlk", logits, w(c, c))
        if mixed == "linear" and at == 1:
            logits = F.linear(logits, w(c, c), w(c))
    return (torch.softmax(logits, at + 1) * y).sum(at + 1)


NORMS = ("layer", "layer-all", "group", "instance", "batch", "rms", "normalize", "l1")


@family(
    {"kind": "layer", "learned": True, "layout": "NLC"},
    {"kind": "group", "learned": False, "prefix": "letters", "layout": "NLC"},
    {"kind": "batch", "learned": True},
    {"kind": "batch", "learned": True, "prefix": "relu", "layout": "NLC"},
    *({"kind": kind, "learned": False} for kind in NORMS),
    covers=("layer_norm", "affine"),
    layouts=("NCL", "NLC", "NC1L", "NCLK", "N1LC"),
    kind=st.sampled_from(NORMS),
    learned=flag,
)
def norm(x, w, at, kind, learned) -> Tensor:
    if kind == "layer":
        size = x.shape[-1]
        return F.layer_norm(x, [size], *([w(size), w(size)] if learned else []))
    if kind == "layer-all":
        return F.layer_norm(x, list(x.shape[1:]))
    if kind == "group":
        return F.group_norm(x, 1 if x.shape[1] % 2 else 2)
    if kind == "instance":
        return F.instance_norm(x) if x.dim() == 3 else F.instance_norm(x + 0.0)
    if kind == "batch":
        size = x.shape[1]
        mean, variance = w(size), w(size).square() + 0.4
        return F.batch_norm(torch.relu(x), mean, variance, w(size) if learned else None, w(size))
    if kind == "rms":
        return F.rms_norm(x, [x.shape[-1]])
    if kind == "normalize":
        return F.normalize(x + 0.1, dim=1)
    return F.normalize(x + 0.1, p=1.0, dim=-1)


GATES = ("gate", "moved", "deviation", "response", "group", "instance", "layer")
BEHIND = ("nothing", "affine", "cut", "steps", "conv", "strided", "linear", "view", "joined", "sum")


@family(
    *({"gate": gate, "behind": "nothing", "prefix": "relu"} for gate in GATES),
    *({"gate": "gate", "behind": behind} for behind in BEHIND),
    *({"gate": "group", "behind": behind, "prefix": "relu"} for behind in BEHIND),
    {"gate": "response", "behind": "linear", "layout": "NLC", "prefix": "relu"},
    {"gate": "moved", "behind": "cut", "layout": "NCLK"},
    covers=("deviation",),
    layouts=("NCL", "NCL", "NLC", "NC1L", "NCL1", "NCLK"),
    gate=st.sampled_from(GATES),
    behind=st.sampled_from(BEHIND),
)
def mean_of_scaled(x, w, at, gate, behind) -> Tensor:
    """What all positions are scaled by, linear maps behind it, and a mean at last."""
    channels = axis_of(x, at, "channels")
    c, g = x.shape[1], x.mean(at, keepdim=True)
    if gate == "gate":
        y = x * torch.sigmoid(2.0 * g)
    elif gate == "moved":
        y = torch.addcmul(0.3 * g, x, torch.tanh(g), value=0.7) - g.amax(channels, keepdim=True)
    elif gate == "deviation":
        y = (x - 0.7 * g) / (x.std(at, keepdim=True) + 0.2)
    elif gate == "response":
        size = torch.linalg.vector_norm(x, 2, at, keepdim=True)
        y = 1.3 * (x * (size / (size.mean(channels, keepdim=True) + 0.1))) - 0.2 + x
    elif gate == "group":
        y = F.group_norm(x, 1 if c % 2 else 2, w(c), w(c))
    elif gate == "instance":
        y = F.instance_norm(x, weight=w(c), bias=w(c), eps=0.05)
    else:
        sizes = x.shape[at:] if at > 1 else x.shape[1:]
        y = F.layer_norm(x, sizes, w(*sizes), w(*sizes))
    last = x.dim() - 1
    if behind == "affine":
        y = 0.4 - (2.0 * y + w(*[1] * at, y.shape[at], *[1] * (last - at))) / 3.0
    elif behind in ("cut", "steps"):
        y = y[(slice(None),) * at + (slice(2, -1, 2 if behind == "steps" else 1),)]
    elif behind in ("conv", "strided") and x.dim() == 3:
        y = y.transpose(1, at).transpose(2, at) if at == 1 else y
        much = {"padding": 2} if behind == "conv" else {"stride": 2, "dilation": 2, "padding": 3}
        return F.conv1d(y, w(3, y.shape[1], 4), w(3), **much).mean(2)
    elif behind == "linear" and at != last:
        y = F.linear(y, w(3, x.shape[last]), w(3))
    elif behind == "view":
        y = y.unsqueeze(1).flatten(1, 2)
    elif behind == "joined":
        y = torch.cat([y, -x, y * g], 1 if at > 1 else 2)
    elif behind == "sum":
        return y.sum(at, keepdim=True)
    return y.mean(at)


@family(
    {"how": "cumsum", "which": "positions"},
    how=st.sampled_from(["cumsum", "cumprod", "cummax", "logcumsumexp", "diff"]),
    which=st.sampled_from(["positions", "channels"]),
)
def running(x, w, at, how, which) -> Tensor:
    axis = axis_of(x, at, which)
    if how == "cummax":
        return x.cummax(axis)[0]
    if how == "diff":
        return torch.diff(x, dim=axis)
    return {"cumsum": torch.cumsum, "cumprod": torch.cumprod, "logcumsumexp": torch.logcumsumexp}[
        how
    ](x, axis)
