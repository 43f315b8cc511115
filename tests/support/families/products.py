"""Products of matrices, embeddings and attention."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.support.families.base import family
from tests.support.families.places import axis_of

flag = st.booleans()


@family(
    {"bias": True, "how": "linear", "layout": "NLC"},
    {"bias": True, "how": "linear", "layout": "NCL"},
    {"bias": False, "how": "flat", "layout": "NCL"},
    {"bias": True, "how": "flat", "layout": "NLC"},
    {"bias": True, "how": "linear", "layout": "NCLK"},
    {"bias": True, "how": "squashed", "layout": "NLC", "suffix": "part"},
    covers=("linear",),
    bias=flag,
    how=st.sampled_from(["linear", "flat", "matmul", "squashed", "twice", "flat-1"]),
)
def linear(x, w, at, bias, how) -> Tensor:
    y = x.flatten(1) if how in ("flat", "flat-1") else x
    size = y.shape[-1]
    add = w(3, scale=0.3) if bias else None
    if how == "matmul":
        return torch.matmul(y, w(size, 3)) + 0.5
    if how == "squashed":
        y = torch.tanh(y)
    z = F.linear(y, w(3, size, scale=size**-0.5), add)
    return F.linear(torch.relu(z), w(2, 3)) if how == "twice" else z


_EINSUMS = {
    "channels": ("ncl,kc->nkl", lambda x, w: w(3, x.shape[1])),
    "positions": ("ncl,lk->nck", lambda x, w: w(x.shape[2], 3)),
    "all": ("ncl,kcl->nk", lambda x, w: w(2, *x.shape[1:])),
    "each": ("ncl,cl->ncl", lambda x, w: w(*x.shape[1:])),
    "each-sum": ("ncl,cl->nc", lambda x, w: w(*x.shape[1:])),
    "per-position": ("ncl,lck->nlk", lambda x, w: w(x.shape[2], x.shape[1], 2)),
    "outer": ("ncl,k->nckl", lambda x, w: w(2)),
    "gram": ("ncl,nkl->nck", lambda x, w: torch.tanh(x)),
    "pairs": ("ncl,nck->nlk", lambda x, w: torch.tanh(x)),
    "dot": ("ncl,ncl->nl", lambda x, w: torch.tanh(x)),
}


@family(
    *({"how": how} for how in _EINSUMS),
    layouts=("NCL", "NLC"),
    how=st.sampled_from(sorted(_EINSUMS)),
)
def einsum(x, w, at, how) -> Tensor:
    rule, other = _EINSUMS[how]
    return torch.einsum(rule, x, other(x, w))


@family(
    {"how": "gram"},
    {"how": "pairs", "layout": "NLC"},
    {"how": "fixed-left"},
    {"how": "rows"},
    layouts=("NCL", "NLC"),
    how=st.sampled_from(["gram", "pairs", "fixed-left", "fixed-right", "rows", "baddbmm"]),
)
def products(x, w, at, how) -> Tensor:
    n, a, b = x.shape
    if how == "gram":
        return torch.bmm(x, x.transpose(1, 2))
    if how == "pairs":
        return torch.matmul(x.transpose(1, 2), torch.tanh(x))
    if how == "fixed-left":
        return torch.matmul(w(3, a), x)
    if how == "fixed-right":
        return torch.bmm(x, w(b, 2).expand(n, b, 2))
    if how == "baddbmm":
        return torch.baddbmm(w(a, 2).expand(n, a, 2), x, w(b, 2).expand(n, b, 2))
    y = x.mean(2)
    return torch.mm(y, w(a, 3)) + torch.addmm(w(3), y, w(a, 3))


@family(
    {"how": "letters"},
    {"how": "above"},
    {"how": "counts"},
    {"how": "rounded"},
    {"how": "counts-pooled"},
    {"how": "bag"},
    covers=("aten.argmax.default", "aten.embedding.default"),
    how=st.sampled_from(["letters", "above", "counts", "rounded", "counts-pooled", "bag"]),
)
def embedding(x, w, at, how) -> Tensor:
    channels = axis_of(x, at, "channels")
    if how == "letters":
        return F.embedding(x.argmax(channels), w(x.shape[channels], 3))
    if how == "above":
        return F.embedding((x > 0.1).long(), w(2, 2))
    if how == "counts":
        return F.embedding((x > 0.1).sum(at), w(40, 2))
    if how == "rounded":
        return F.embedding((x.clamp(-1, 1) * 3 + 3).long(), w(7, 2))
    if how == "counts-pooled":
        return F.embedding((x > 0.1).sum(channels), w(x.shape[channels] + 1, 2))
    table = w(x.shape[channels], 3)
    return F.embedding(x.argmax(channels).flatten(1), table).sum(1)


@family(
    {"how": "whole", "mask": "none", "heads": 1, "scale": 1.0},
    {"how": "whole", "mask": "band", "heads": 2, "scale": 1.0, "suffix": "square"},
    {"how": "whole", "mask": "causal", "heads": 1, "scale": 1.0},
    {"how": "whole", "mask": "sloped", "heads": 2, "scale": 1.0, "suffix": "later"},
    {"how": "whole", "mask": "causal", "heads": 2, "scale": 30.0, "prefix": "letters"},
    {"how": "whole", "mask": "none", "heads": 2, "scale": 30.0},
    {"how": "by-hand", "mask": "band", "heads": 1, "scale": 1.0, "prefix": "strided"},
    {"how": "heads", "mask": "causal", "heads": 4, "scale": 5.0},
    covers=("attention",),
    layouts=("NCL", "NLC"),
    how=st.sampled_from(["whole", "by-hand", "heads", "first-query"]),
    mask=st.sampled_from(["none", "causal", "sloped", "band"]),
    heads=st.sampled_from([1, 2, 4]),
    scale=st.sampled_from([1.0, 10.0]),
)
def attention(x, w, at, how, mask, heads, scale) -> Tensor:
    y = x if at == 1 else x.transpose(1, 2)  # (N, L, C)
    c, length = y.shape[2], y.shape[1]
    q, k, v = (y @ w(c, 4) for _ in range(3))
    q = q * scale
    apart = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    hidden = {"none": apart < -length, "band": apart.abs() > 3}.get(mask, apart < 0)
    bias = torch.zeros(length, length, dtype=y.dtype) if mask != "sloped" else -0.1 * apart.to(y)
    bias = bias.masked_fill(hidden, float("-inf"))
    if how == "whole":
        q, k, v = (t.unflatten(2, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        made = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return made.transpose(1, 2).flatten(2)
    if how == "heads":
        q, k, v = (
            t.unflatten(2, (heads, -1)).transpose(1, 2).flatten(0, 1) for t in (q, k, v)
        )  # fmt: skip
        shares = torch.softmax(torch.bmm(q, k.transpose(1, 2)) + bias, -1)
        return torch.bmm(shares, v).unflatten(0, (-1, heads)).transpose(1, 2).flatten(2)
    scores = q @ k.transpose(1, 2) / 3**0.5 + bias
    if how == "first-query":
        scores = scores[:, :1]
    return torch.softmax(scores, -1) @ v


@family(
    {"groups": 2, "hidden": 3, "bias": True},
    {"groups": 1, "hidden": 3, "bias": False, "prefix": "relu"},
    {"groups": 4, "hidden": 2, "bias": False, "suffix": "square"},
    covers=("grouped",),
    layouts=("NCL",),
    groups=st.sampled_from([1, 2, 4]),
    hidden=st.integers(1, 4),
    bias=flag,
)
def units(x, w, at, groups, hidden, bias) -> Tensor:
    """Layers of their own for groups of channels, over all positions of each."""
    y, outputs = x.flatten(1).unsqueeze(2), groups * hidden
    weight = w(outputs, y.shape[1] // groups, 1, scale=0.4)
    y = F.conv1d(y, weight, w(outputs, scale=0.3) if bias else None, groups=groups)
    return F.conv1d(torch.tanh(y), w(2 * groups, hidden, 1), groups=groups)


@family(
    {"taps": 3, "room": "zeros", "first": 1, "own": False},
    {"taps": 4, "room": "circle", "first": 0, "own": True},
    {"taps": 3, "room": "zeros", "first": 0, "own": True, "suffix": "later"},
    {"taps": 5, "room": "circle", "first": 3, "own": False, "prefix": "letters"},
    {"taps": 20, "room": "zeros", "first": 0, "own": True},
    {"taps": 20, "room": "zeros", "first": 0, "own": True, "prefix": "letters", "suffix": "part"},
    covers=("long_convolution",),
    layouts=("NCL",),
    taps=st.integers(1, 20),
    room=st.sampled_from(["zeros", "circle", "some"]),
    first=st.integers(0, 6),
    own=flag,
)
def spectra(x, w, at, taps, room, first, own) -> Tensor:
    """A convolution as a product of spectra, on a circle or with room for what passes the end."""
    _, c, length = x.shape
    n = length + {"zeros": taps, "some": taps // 2, "circle": 0}[room]
    spectrum = torch.fft.rfft(x, n=n)
    if own:
        y = torch.fft.irfft(spectrum * torch.fft.rfft(w(c, min(taps, n)), n=n), n=n)
    else:
        kernel = torch.fft.rfft(w(3, c, min(taps, n)), n=n)
        y = torch.fft.irfft((spectrum.unsqueeze(1) * kernel).sum(2), n=n)
    return y[:, :, first : first + length]


RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")


@family(
    *({"kind": kind, "both": False, "layers": 1, "reads": "states"} for kind in RECURRENT),
    {"kind": "lstm", "both": True, "layers": 1, "reads": "states", "suffix": "dense"},
    {"kind": "lstm", "both": True, "layers": 1, "reads": "conv", "suffix": "part"},
    {"kind": "gru", "both": True, "layers": 2, "reads": "conv", "prefix": "strided"},
    {"kind": "gru", "both": True, "layers": 1, "reads": "last"},
    {"kind": "lstm", "both": True, "layers": 1, "reads": "cells"},
    {"kind": "lstm", "both": False, "layers": 1, "reads": "states", "suffix": "part"},
    covers=("yuzu.recurrent.default",),
    layouts=("NLC",),
    kind=st.sampled_from(RECURRENT),
    both=flag,
    layers=st.sampled_from([1, 1, 2]),
    reads=st.sampled_from(["states", "conv", "last", "cells"]),
)
def recurrent(x, w, at, kind, both, layers, reads) -> Tensor:
    gates, hidden, weights = {"lstm": 4, "gru": 3}.get(kind, 1), 3, []
    for layer in range(layers):
        size = x.shape[2] if layer == 0 else hidden * (1 + both)
        for _ in range(1 + both):
            rows = gates * hidden
            weights += [w(rows, size), w(rows, hidden), w(rows), w(rows)]
    begin = x.new_zeros(layers * (1 + both), x.shape[0], hidden)
    begins = (begin, begin) if kind == "lstm" else begin
    y, *ends = getattr(torch, kind)(x, begins, weights, True, layers, 0.0, False, both, True)
    if reads == "conv":
        return F.conv1d(y.transpose(1, 2), w(2, y.shape[2], 3), w(2), padding=1).transpose(1, 2)
    ended = ends[-1] if reads == "cells" else ends[0]
    return y if reads == "states" else torch.cat([ended[-1], ended[0] * ended[-1]], 1)
