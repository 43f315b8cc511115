"""Operators that take positions from elsewhere: slices, lists, padding, joins, assignments."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.support.families.base import family

flag = st.booleans()
bound = st.one_of(st.none(), st.integers(-30, 30))
where = st.sampled_from(["positions", "positions", "channels", "last"])


def axis_of(x: Tensor, at: int, which: str) -> int:
    """The axis that is meant."""
    if which == "positions":
        return at
    return x.dim() - 1 if which == "last" else next(i for i in (1, 2, 3) if i != at)


def _some(y: Tensor) -> Tensor:
    if not y.numel():
        raise ValueError("nothing is left")
    return y


_s = {"which": "positions", "begin": 2, "end": -3, "step": 1}


@family(
    _s,
    {**_s, "step": 3, "layout": "NLC"},
    {**_s, "begin": -30, "end": -5},
    {**_s, "begin": -5, "end": 30, "step": 2},
    covers=("aten.slice.Tensor",),
    which=where,
    begin=bound,
    end=bound,
    step=st.integers(1, 4),
)
def slicing(x, w, at, which, begin, end, step) -> Tensor:
    index = [slice(None)] * x.dim()
    index[axis_of(x, at, which)] = slice(begin, end, step)
    return _some(x[tuple(index)])


_i = {"which": "positions", "at_index": 3}


@family(
    {**_i, "how": "select"},
    {**_i, "how": "unbind", "which": "channels", "at_index": 0},
    {**_i, "how": "first-axis", "layout": "NLC"},
    which=where,
    at_index=st.integers(-4, 3),
    how=st.sampled_from(["select", "unbind", "narrow", "split", "first-axis"]),
)
def selecting(x, w, at, which, at_index, how) -> Tensor:
    axis = axis_of(x, at, which)
    if how == "select":
        return x.select(axis, at_index)
    if how == "unbind":
        parts = x.unbind(axis)
        return torch.exp(parts[at_index]) + parts[0] if len(parts) > 1 else parts[0]
    if how == "narrow":
        return x.narrow(axis, abs(at_index), 1)
    if how == "first-axis":  # sequences on another axis than the first
        return torch.exp(x.movedim(0, axis).select(0, at_index % x.shape[1]).movedim(axis - 1, 0))
    return torch.tanh(x.split(2, axis)[at_index % 2])


@family(
    {"which": "positions", "places": [0, 5, 2, -1], "how": "index_select"},
    {"which": "positions", "places": [0, 5, 2, -1], "how": "index"},
    {"which": "channels", "places": [1, 0, 1], "how": "index", "layout": "NC1L"},
    {"which": "channels", "places": [3, 2, 1, 0], "how": "index_select"},
    {"which": "positions", "places": [2, 2, 4], "how": "gather"},
    {"which": "positions", "places": [3, 2, 4], "how": "cat"},
    covers=("aten.index_select.default", "pick"),
    which=where,
    places=st.lists(st.integers(-4, 6), min_size=1, max_size=7),
    how=st.sampled_from(["index_select", "index", "gather", "cat"]),
)
def listed(x, w, at, which, places, how) -> Tensor:
    axis = axis_of(x, at, which)
    index = torch.tensor([p % x.shape[axis] for p in places])
    if how == "index_select":
        return x.index_select(axis, index)
    if how == "cat":  # slices of one tensor joined again
        return torch.cat([x.narrow(axis, p % x.shape[axis], 1) for p in places], axis)
    if how == "index":
        before: list[Any] = [slice(None)] * axis
        return x[(*before, index)]
    shape = list(x.shape)
    shape[axis] = len(places)
    view = [1] * x.dim()
    view[axis] = len(places)
    return x.gather(axis, index.view(view).expand(shape))


@family(
    {"dims": [-1]},
    {"dims": [1, 2]},
    {"dims": [2], "layout": "NCL1"},
    covers=("aten.flip.default",),
    dims=st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True),
)
def flip(x, w, at, dims) -> Tensor:
    return x.flip([d for d in dims if d < x.dim()])


@family(
    {"which": "positions", "by": 3, "and_channels": False},
    {"which": "positions", "by": -2, "and_channels": True},
    covers=("aten.roll.default",),
    which=where,
    by=st.integers(-25, 25),
    and_channels=flag,
)
def roll(x, w, at, which, by, and_channels) -> Tensor:
    axis = axis_of(x, at, which)
    return torch.roll(x, [by, 1], [axis, 1]) if and_channels and axis != 1 else x.roll(by, axis)


_f = {"left": 3, "right": 2, "mode": "reflect", "value": 0.0, "outer": 0}
PADS = ["reflect", "replicate", "circular", "constant"]


@family(
    *({**_f, "mode": mode} for mode in PADS),
    *({**_f, "mode": mode, "layout": "NCL1"} for mode in PADS),
    {**_f, "mode": "circular", "outer": 1, "layout": "NCLK"},
    {**_f, "mode": "constant", "left": -2, "right": -1},
    {**_f, "mode": "constant", "value": 0.5, "layout": "NLC"},
    covers=(
        "aten.reflection_pad1d.default",
        "aten.reflection_pad2d.default",
        "aten.replication_pad1d.default",
        "aten.replication_pad2d.default",
        "aten.constant_pad_nd.default",
    ),
    left=st.integers(-3, 6),
    right=st.integers(-3, 6),
    mode=st.sampled_from(PADS),
    value=st.sampled_from([0.0, 0.5]),
    outer=st.integers(0, 1),
)
def pad(x, w, at, left, right, mode, value, outer) -> Tensor:
    own = [left, right]
    if at == x.dim() - 2:
        sizes = [outer, outer, *own]
    else:
        sizes = own if x.dim() == 3 else [*own, outer, outer]
    if mode == "constant":
        return _some(F.pad(x, sizes, value=value))
    return _some(F.pad(x, sizes, mode=mode))


_JOINED = {
    "itself": lambda x, w, axis: [x, x],
    "function": lambda x, w, axis: [torch.tanh(x), x, x * x],
    "constant": lambda x, w, axis: [w(1, *x.shape[1:]).expand(x.shape), x],
    "constant-after": lambda x, w, axis: [x, w(1, *x.shape[1:]).expand(x.shape)],
    "flipped": lambda x, w, axis: [x, x.flip(axis)],
    "shifted": lambda x, w, axis: [x.roll(1, axis), x.roll(-2, axis)],
    "whole": lambda x, w, axis: [x, torch.logcumsumexp(x, axis)],
}


@family(
    *({"which": "positions", "how": how, "stack": False} for how in _JOINED),
    {"which": "channels", "how": "function", "stack": False},
    {"which": "channels", "how": "shifted", "stack": True},
    covers=("aten.cat.default",),
    which=where,
    how=st.sampled_from(sorted(_JOINED)),
    stack=flag,
)
def joined(x, w, at, which, how, stack) -> Tensor:
    axis = axis_of(x, at, which)
    parts = _JOINED[how](x, w, axis)
    return torch.stack(parts, axis) if stack else torch.cat(parts, axis)


@family(
    {"how": "repeat", "which": "channels", "times": 3},
    {"how": "repeat", "which": "positions", "times": 2},
    {"how": "interleave", "which": "positions", "times": 2},
    {"how": "expand", "which": "channels", "times": 3, "layout": "NCL1"},
    {"how": "grouped", "which": "channels", "times": 3, "layout": "NCL"},
    covers=("aten.expand.default",),
    how=st.sampled_from(["repeat", "interleave", "expand", "tile", "grouped"]),
    which=where,
    times=st.integers(1, 3),
)
def repeated(x, w, at, how, which, times) -> Tensor:
    axis = axis_of(x, at, which)
    sizes = [times if i == axis else 1 for i in range(x.dim())]
    if how == "repeat":
        return x.repeat(sizes)
    if how == "tile":
        return x.tile(sizes)
    if how == "interleave":
        return x.repeat_interleave(times, axis)
    if how == "grouped" and x.dim() == 3:  # one small net for each copy of the channels
        y = x.repeat(1, times, 1)
        return F.conv1d(y, w(2 * times, x.shape[1], 2), groups=times)
    y = x.unsqueeze(1).expand(len(x), times, *x.shape[1:])
    return y * w(times, *[1] * (x.dim() - 1))


@family(
    {"how": "positions", "begin": 2, "end": 6},
    {"how": "channel", "begin": 0, "end": 1},
    {"how": "ends", "begin": -4, "end": 30},
    {"how": "moved", "begin": 1, "end": 5},
    {"how": "positions", "begin": 0, "end": 0},
    {"how": "copied", "begin": -8, "end": 2, "length": 12},
    how=st.sampled_from(["positions", "channel", "ends", "moved", "copied", "listed"]),
    begin=st.integers(-12, 8),
    end=st.integers(-6, 30),
)
def assigned(x, w, at, how, begin, end) -> Tensor:
    """Writes into a part of a copy."""
    y = x.clone().movedim(at, -1)
    if how == "positions":
        y[..., begin:end] = 0.25
    elif how == "channel":
        y[:, 0] *= 2.0
    elif how == "ends":
        y[..., begin:end] *= -1.0
    elif how == "moved":
        y[..., :-1] = torch.tanh(x.movedim(at, -1)[..., 1:])
    elif how == "copied":
        y[..., begin:end] = x.movedim(at, -1).flip(-1)[..., begin:end]
    else:
        y[..., [1, 3, 5]] = x.movedim(at, -1)[..., [2, 2, 0]]
    return y.movedim(-1, at)


@family(
    {"k": 3, "how": "one-hot"},
    {"k": 3, "how": "codes"},
    layouts=("NCL",),
    prefixes=("letters", "conv"),
    k=st.integers(1, 4),
    how=st.sampled_from(["one-hot", "codes", "complement"]),
)
def words(x, w, at, k, how) -> Tensor:
    """Letters as tokens: codes, words of k letters, an embedding of them."""
    if how == "complement":
        return F.conv1d(torch.cat([x, x[:, [3, 2, 1, 0]].flip(2)], 0), w(2, 4, k)).chunk(2)[0]
    codes = x.argmax(1)
    if how == "one-hot":
        return F.embedding(codes, w(4, 3)).transpose(1, 2)
    tokens = sum(codes[:, i : codes.shape[1] - k + 1 + i] * 4**i for i in range(k))
    return F.embedding(tokens, w(4**k, 3)).transpose(1, 2)
