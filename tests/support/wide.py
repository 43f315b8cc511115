"""Wider random nets: those of `tests.support.nets` with other position axes, dummy axes, slices
from both ends, masks, whole numbers, global terms, recurrent ends and further inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.support import nets
from tests.support.blocks import Pad, Slice, settle
from tests.support.conformance import Subject
from tests.support.scaled_blocks import Recurrent
from tests.support.wide_blocks import Covered, Following, Hidden, Image, Mixed, Turned, Whole
from tests.support.wide_rows import Normed, OneBatch, Picked, Resized, Units

Recipe = tuple[Any, ...]
KINDS: dict[str, tuple[str, ...]] = {
    "turned": ("mlp", "linear", "softmax", "flip", "pad", "rows", "glu"),
    "hidden": ("causal", "band", "late"),
    "covered": ("zero", "infinite", "maximum", "where"),
    "whole": ("codes", "words", "flags", "counts", "levels", "share"),
    "mixed": ("channels", "positions", "basis", "each", "gram", "grown", "grown-channels", "sum"),
    "picked": (
        *("channels", "index", "positions", "unbound", "selected", "chunks", "neighbours"),
        *("ends", "turned", "rolled", "interleaved", "repeated", "written"),
    ),
    "one-batch": ("max", "cat"),
    "normed": ("group", "instance", "all", "length", "channels", "largest", "spread"),
    "padded": ("reflect", "replicate", "circular", "constant"),
    "following": ("lstm", "gru", "tanh", "relu", "projected"),
}
OTHERS = ("image", "image", "units", "cut", "cut", "resized")
PLAIN = ("conv", "conv", "max", "avg", "activation", "point", "residual", "excite", "strands")
INPUTS = ("none", "none", "none", "vector", "track")
ENDS: tuple[str, ...] = ("flat", "profile", "positions", "sum", "mean", "amax", "logsumexp")
ENDS += ("glance", "lstm", "gru", "flat-grouped", "flat-cut", "flat-flip", "query", "centred")
ENDS += ("count", "both", "classes", "weigh-product", "weigh-einsum")


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """(length, inputs, layers, end, seed)."""
    length = draw(st.integers(10, 36))
    layers: list[Recipe] = []
    shape = (4, length)
    for _ in range(draw(st.integers(1, 5))):
        if not layers and draw(st.integers(0, 3)):
            kind = draw(st.sampled_from(["conv", "conv", "image", "units"]))
        else:
            kind = draw(st.sampled_from([*KINDS, *KINDS, *OTHERS, *PLAIN]))
        layer = draw(layer_of(kind, *shape))
        made = shape_after(layer, *shape)
        if made is not None and made[1] > 1 and made[0] * made[1] <= 500:
            layers.append(layer)
            shape = made
    end = draw(st.sampled_from(ENDS if shape[1] >= 6 else ENDS[:8]))
    return length, draw(st.sampled_from(INPUTS)), tuple(layers), end, draw(st.integers(0, 9))


@st.composite
def layer_of(draw: st.DrawFn, kind: str, c: int, length: int) -> Recipe:
    """One layer for (C, L); it may not fit, which `shape_after` tells."""
    if kind in KINDS:
        which = draw(st.sampled_from(KINDS[kind]))
        if kind == "padded":
            return kind, which, draw(st.integers(-2, 5)), draw(st.integers(-2, 5))
        if kind == "following":
            ways = (draw(st.integers(1, 2)), draw(st.booleans()), draw(st.booleans()))
            return kind, which, c, *ways, draw(st.sampled_from(["all", "turned", "every second"]))
        return kind, which, c, length
    if kind == "image":
        where = draw(st.sampled_from(["NC1L", "NCL1", "N1CL", "N1LC"]))
        outer = draw(st.sampled_from([1, 3]))
        pool = draw(st.sampled_from(["none", "max", "avg"]))
        ints = [draw(st.integers(1, top)) for top in (5, 2, 2, 2)]
        return kind, c, where, ints[0], outer, *ints[1:], pool
    if kind == "units":
        return kind, c, draw(st.integers(2, 3)), draw(st.integers(1, 5))
    if kind == "cut":
        bounds = st.integers(-length - 5, length + 5)
        return kind, draw(bounds), draw(bounds), draw(st.integers(1, 3))
    if kind == "resized":
        factors = [2.0, 1.5, 2.01, 1.01, 0.5, 3.0, 0.7]
        modes = ["nearest", "nearest", "linear", "nearest-exact"]
        return kind, draw(st.sampled_from(factors)), draw(st.sampled_from(modes))
    return draw(nets.layer_of(kind, c, length, deep=True))


MODULES: dict[str, Any] = {
    "turned": lambda kind, c, length: Turned(kind, c),
    "hidden": lambda kind, c, length: Hidden(kind, c),
    "covered": lambda kind, c, length: Covered(kind),
    "whole": Whole,
    "mixed": Mixed,
    "picked": lambda kind, c, length: Picked(kind),
    "one-batch": lambda kind, c, length: OneBatch(c, kind),
    "normed": lambda kind, c, length: Normed(kind, c),
    "padded": lambda mode, left, right: Pad(left, right, mode),
    "following": Following,
    "image": Image,
    "units": Units,
    "cut": Slice,
    "resized": Resized,
}


def make(layer: Recipe) -> nn.Module:
    kind, *options = layer
    return MODULES[kind](*options) if kind in MODULES else nets.make(layer)


def shape_after(layer: Recipe, c: int, length: int) -> tuple[int, int] | None:
    """(C, L) of what a layer makes of (c, length); None when it does not fit."""
    if layer[:2] == ("padded", "circular"):
        left, right = layer[2:]
        if max(left, right) > length + min(left, 0) + min(right, 0):
            return None  # torch's own pad then reads what it has not written yet
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            y = make(layer).eval()(torch.zeros(2, c, length))
    except (RuntimeError, ValueError, IndexError):
        return None
    return (y.shape[1], y.shape[2]) if y.numel() else None


class End(nn.Module):
    """Targets from what the layers leave, in ways that `nets.Finish` does not know."""

    def __init__(self, kind: str, c: int, length: int) -> None:
        super().__init__()
        self.kind = kind
        self.lstm = Recurrent(nn.LSTM(c, 3, batch_first=True, bidirectional=True))
        self.gru = Recurrent(nn.GRU(c, 3, batch_first=True))
        flat = c * length
        self.grouped = nn.Conv1d(flat, 2 * flat, 1, groups=flat)
        self.dense, self.few, self.one = (
            nn.Linear(flat, 2),
            nn.Linear(flat // 2, 2),
            nn.Linear(c, 2),
        )
        self.score = nn.Conv1d(c, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "lstm":
            return self.lstm(x[:, :, ::2])[:, :, -1]
        if self.kind == "gru":
            return self.gru(x[:, :, -7:].flip([2])).flatten(1)
        flat = x.flatten(1)
        if self.kind == "flat-grouped":
            return self.dense(torch.relu(self.grouped(flat.unsqueeze(-1))).flatten(1)[:, ::2])
        if self.kind == "flat-cut":
            return self.few(flat[:, : flat.shape[1] // 2])
        if self.kind == "flat-flip":
            return self.dense(torch.tanh(flat.flip([1])))
        if self.kind == "query":
            scores = (x * x[:, :, :1]).sum(1, keepdim=True)
            return torch.bmm(torch.softmax(torch.tanh(scores), dim=2), x.transpose(1, 2)).squeeze(1)
        if self.kind == "centred":
            return flat - flat.mean(1, keepdim=True)
        if self.kind == "count":
            return self.one(x.mean(2)) + (x > 0.1371).sum(2).sum(1, keepdim=True)
        if self.kind == "both":
            return torch.cat([self.score(x).squeeze(1), self.one(x.amax(2))], 1)
        assert self.kind == "classes", self.kind
        return torch.softmax(x, dim=1)


class Fed(nn.Module):
    """A net with a further input: a vector that gates its channels, or a track beside them."""

    def __init__(self, kind: str, first: nn.Module, rest: nn.Module, c: int) -> None:
        super().__init__()
        self.kind, self.first, self.rest = kind, first, rest
        self.gate, self.lane = nn.Linear(3, c), nn.Conv1d(1, c, 3, padding=1)

    def forward(self, x: Tensor, more: Tensor) -> Tensor:
        y = self.first(x)
        if self.kind == "vector":
            return self.rest(y * torch.sigmoid(self.gate(more)).unsqueeze(2))
        track = F.interpolate(self.lane(more), size=y.shape[2])
        return self.rest(y + torch.tanh(track))


def build(recipe: Recipe) -> nn.Module:
    """The net of a recipe: float32, eval mode, always the same."""
    length, inputs, layers, end, seed = recipe
    shape: tuple[int, int] = (4, length)
    first = shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules: list[nn.Module] = []
        for layer in layers:
            modules.append(make(layer))
            after = shape_after(layer, *shape)
            assert after is not None
            shape = after
            first = shape if len(modules) == 1 else first
        ends = nets.Finish if end in ENDS[:8] or end.startswith("weigh-") else End
        modules.append(ends(end, *shape))
        net: nn.Module = nn.Sequential(*modules)
        if inputs != "none" and layers:
            net = Fed(inputs, modules[0], nn.Sequential(*modules[1:]), first[0])
        return settle(net)


def extra_of(recipe: Recipe) -> dict[int, Tensor]:
    """The further input of a recipe, without a batch axis."""
    length, inputs, layers = recipe[:3]
    if inputs == "none" or not layers:
        return {}
    if inputs == "vector":
        return {1: torch.tensor([0.5, -1.0, 2.0])}
    return {1: torch.linspace(-1.0, 1.0, length).cos().unsqueeze(0)}


def subject_of(recipe: Recipe) -> Subject:
    """What backends are judged on."""
    extra = extra_of(recipe)

    def arguments(x: Tensor) -> list[Tensor]:
        return [x, *(v.to(x.dtype).expand(len(x), *v.shape) for v in extra.values())]

    def function(dtype: torch.dtype):
        module = build(recipe).to(dtype)
        return lambda x: module(*arguments(x)).reshape(len(x), -1)

    name = f"wide{recipe[-1]}"
    return Subject(name, recipe[0], lambda: build(recipe), function, arguments, extra=extra)
