"""Operators that keep all values and move axes: permutations, dummy axes, shapes, flattening."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.support.families.base import Weights, family

axis = st.integers(-4, 3)
flag = st.booleans()


@family(
    {"layout": "NCL", "order": [0, 2, 1]},
    {"layout": "NC1L", "order": [0, 3, 2, 1]},
    covers=("aten.permute.default",),
    order=st.permutations([1, 2, 3]).map(lambda rest: [0, *rest]),
)
def permute(x, w, at, order) -> Tensor:
    return x.permute([axis for axis in order if axis < x.dim()])


@family({"a": -1, "b": 1}, covers=("aten.transpose.int",), a=axis, b=axis)
def transpose(x, w, at, a, b) -> Tensor:
    y = x.transpose(a, b)
    return y.transpose(a, b).exp() if 0 in (a % x.dim(), b % x.dim()) else y


@family({"to": 1}, {"to": -1, "layout": "NLC"}, covers=("aten.unsqueeze.default",), to=axis)
def unsqueeze(x, w, at, to) -> Tensor:
    y = x.unsqueeze(to)
    return y.squeeze(to) if to % y.dim() == 0 else torch.tanh(y)


@family(
    {"which": [2], "layout": "NC1L", "suffix": "square"},
    {"which": [-1, 1], "layout": "NCL1", "suffix": "square"},
    {"which": None, "layout": "N1CL", "suffix": "square"},
    covers=("aten.squeeze.dim", "aten.squeeze.dims", "aten.squeeze.default"),
    which=st.one_of(st.none(), st.lists(st.integers(1, 2), min_size=1, max_size=2, unique=True)),
    layouts=("NC1L", "NCL1", "N1CL", "N1LC"),
)
def squeeze(x, w, at, which) -> Tensor:
    if which is None:
        return x.squeeze()
    return x.squeeze(which[0]) if len(which) == 1 else x.squeeze(which)


def _blocks(x: Tensor, at: int, k: int) -> Tensor:
    """Positions in blocks of k, what is over left out."""
    x = x.narrow(at, 0, x.shape[at] // k * k)
    return x.reshape(*x.shape[:at], -1, k, *x.shape[at + 1 :])


RESHAPES: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "blocks": _blocks,
    "blocks-turned": lambda x, at, k: _blocks(x, at, k).transpose(at, at + 1).flatten(at - 1, at),
    "joined-after": lambda x, at, k: _blocks(x, at, k).flatten(at, at + 1),
    "depth-to-positions": lambda x, at, k: (
        x.movedim(at, 1).reshape(len(x), -1, 2, x.numel() // len(x) // x.shape[at] // 2)
    ).flatten(1, 2),
    "flat": lambda x, at, k: x.flatten(1),
    "flat-positions-first": lambda x, at, k: x.movedim(at, 1).flatten(1),
    "tail": lambda x, at, k: x.flatten(min(2, at)),
    "rows": lambda x, at, k: torch.tanh(x.movedim(at, 1).reshape(len(x) * x.shape[at], -1)).reshape(
        len(x), x.shape[at], -1
    ),
    "channels-in-rows": lambda x, at, k: torch.tanh(
        x.reshape(len(x) * x.shape[1], *x.shape[2:])
    ).reshape(x.shape),
    "halves": lambda x, at, k: x.reshape(len(x), 2, x.shape[1] // 2, *x.shape[2:]),
    "shuffled": lambda x, at, k: (
        x.reshape(len(x), 2, x.shape[1] // 2, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
    ),
    "ones": lambda x, at, k: x.reshape(len(x), 1, *x.shape[1:], 1),
    "elsewhere": lambda x, at, k: x.reshape(len(x), x.shape[-1], *x.shape[1:-1]),
}


@family(
    *({"how": name, "k": 2} for name in RESHAPES),
    {"how": "rows", "k": 2, "layout": "NLC"},
    covers=("aten.reshape.default",),
    how=st.sampled_from(sorted(RESHAPES)),
    k=st.integers(1, 4),
)
def reshape(x, w, at, how, k) -> Tensor:
    return RESHAPES[how](x, at, k)


def _grouped(y: Tensor, w: Weights) -> Tensor:
    size = y.shape[1]
    return F.conv1d(y.unsqueeze(-1), w(2 * size, 1, 1), groups=size)


AFTER: dict[str, Callable[[Tensor, Weights, int], Tensor]] = {
    "dense": lambda y, w, k: y @ w(y.shape[1], 3, scale=0.3) + w(3),
    "relu-dense": lambda y, w, k: torch.relu(y) @ w(y.shape[1], 3, scale=0.3),
    "grouped": lambda y, w, k: _grouped(y, w),
    "conv-of-one": lambda y, w, k: F.conv1d(y.unsqueeze(-1), w(3, y.shape[1], 1)),
    "conv-over": lambda y, w, k: F.conv1d(y.unsqueeze(1), w(2, 1, k), padding=k // 2),
    "first": lambda y, w, k: y[:, : k * 3],
    "last": lambda y, w, k: y[:, -k * 3 :],
    "steps": lambda y, w, k: y[:, k::k],
    "lifted-dense": lambda y, w, k: y.unsqueeze(1) @ w(y.shape[1], 3, scale=0.3),
    "lifted-last": lambda y, w, k: y.unsqueeze(-1) * w(k),
    "flipped": lambda y, w, k: y.flip(1),
    "flipped-back": lambda y, w, k: y.flip(1).reshape(len(y), 2, -1),
    "back": lambda y, w, k: torch.tanh(y.reshape(len(y), 4, -1)),
    "back-otherwise": lambda y, w, k: y.reshape(len(y), -1, 2) * w(2),
    "rolled": lambda y, w, k: y.roll(k, 1),
    "picked": lambda y, w, k: y[:, torch.tensor([0, 3, 1, 3])],
    "selected": lambda y, w, k: y.select(1, -k),
    "unbound": lambda y, w, k: y.unbind(1)[k],
    "padded": lambda y, w, k: F.pad(y, [k, -1]),
    "constant-pad": lambda y, w, k: F.pad(y, [k, k], value=0.5),
    "twice": lambda y, w, k: torch.cat([y, y * y], 1),
    "with-constants": lambda y, w, k: torch.cat([w(k).expand(len(y), k), y], 1),
    "stacked": lambda y, w, k: torch.stack([y, torch.exp(y)], 1),
    "scaled": lambda y, w, k: y * w(y.shape[1]) + w(y.shape[1]),
    "scaled-columns": lambda y, w, k: y.unsqueeze(2) * w(y.shape[1], 1),
    "normed": lambda y, w, k: F.layer_norm(y, [y.shape[1]]),
    "softmax": lambda y, w, k: torch.softmax(y, 1),
    "sum": lambda y, w, k: y.sum(1),
    "mean-kept": lambda y, w, k: y.mean(1, keepdim=True),
    "amax": lambda y, w, k: y.amax(1),
    "logsumexp": lambda y, w, k: y.logsumexp(1),
    "cumsum": lambda y, w, k: y.cumsum(1),
    "centred": lambda y, w, k: y - y.mean(1, keepdim=True),
    "pooled": lambda y, w, k: F.max_pool1d(y, k, k),
    "pooled-lifted": lambda y, w, k: F.avg_pool1d(y.unsqueeze(1), k, k),
    "repeated": lambda y, w, k: y.repeat(1, 2),
    "interleaved": lambda y, w, k: y.repeat_interleave(2, 1),
    "transposed": lambda y, w, k: torch.tanh(y.unsqueeze(1).transpose(1, 2)),
    "gated": lambda y, w, k: F.glu(y, 1),
    "chunked": lambda y, w, k: y.chunk(2, 1)[0] * y.chunk(2, 1)[1],
    "embedded": lambda y, w, k: w(5, 3)[(y > 0.1).long().clamp(0, 4)],
    "einsum": lambda y, w, k: torch.einsum("nf,kf->nk", y, w(3, y.shape[1])),
    "outer": lambda y, w, k: torch.bmm(y[:, :3, None], y[:, None, -3:]),
    "view-dense": lambda y, w, k: y.reshape(len(y), 2, -1) @ w(y.shape[1] // 2, 3),
    "flat-again": lambda y, w, k: torch.tanh(y.reshape(len(y), 2, -1)).flatten(1) * 2.0,
}


@family(
    *({"then": name, "k": 2, "activate": False} for name in AFTER),
    then=st.sampled_from(sorted(AFTER)),
    k=st.integers(1, 3),
    activate=flag,
)
def after_flatten(x, w, at, then, k, activate) -> Tensor:
    y = x.flatten(1)
    return AFTER[then](torch.tanh(y) if activate else y, w, k)
