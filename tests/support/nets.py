"""Random nets: a hypothesis strategy whose values are readable recipes, and the nets they describe.

A recipe is nested tuples, so that a failing example prints as something one can read, shrink and
keep as a case. Layers that amplify rounding without bound (division by a norm that may be 0) are
left out: naive float32 is no yardstick for them.
"""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.support.blocks import (
    Cat,
    Flip,
    Gated,
    Pad,
    Point,
    Reduce,
    Residual,
    Slice,
    Strands,
    settle,
)
from tests.support.odd_nets import ChannelNorm
from tests.support.scaled_blocks import (
    Attention,
    Blocks,
    Excite,
    Glance,
    Mix,
    Response,
    Steady,
    Weigh,
)

Recipe = tuple[Any, ...]
POINTS = ("exp", "log", "log1p", "power", "clamp", "where", "softmax", "rational", "sine")
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "elu": nn.ELU, "tanh": nn.Tanh}
MIXES = ("cumsum", "roll", "outside", "ramp", "differences", "unfold", "rewrite", "sort")
REDUCTIONS = ("sum", "mean", "amax", "logsumexp", "std", "norm", "top3", "last")

KEEPS: tuple[str, ...] = ("conv-same", "activation", "point", "norm", "layer-norm", "residual")
KEEPS += ("gated", "excite", "response", "steady", "group-norm")
KEEPS += ("strands", "flip", "attention", "smooth")
CHANGES: tuple[str, ...] = ("conv", "transposed", "max", "avg", "adaptive", "blocks", "lp")
CHANGES += ("cat", "slice", "pad", "upsample", "mix", "join", "steps")
WEIGHS = ("product", "own", "masked", "matrix", "einsum", "profile", "strands")


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """(length, layers, head, seed) with one to six layers."""
    length = draw(st.integers(9, 36))
    layers: list[Recipe] = []
    shape = (4, length)
    for _ in range(draw(st.integers(1, 6))):
        # A convolution first, most of the time: what follows wants more than letters.
        if not layers and draw(st.integers(0, 4)):
            kind = "conv"
        else:
            kind = draw(st.sampled_from(KEEPS + CHANGES))
        layer = draw(layer_of(kind, *shape, deep=True))
        made = shape_after(layer, *shape)
        if "'layer-norm'" in repr(layer) and not any(done[0] == "conv" for done in layers):
            continue  # channels that are all alike: a division by nearly 0
        if made is not None and made[0] * made[1] <= 600:
            layers.append(layer)
            shape = made
    heads = ["flat", "flat-gelu", "profile", "positions", "glance"]
    heads += [f"weigh-{kind}" for kind in WEIGHS]
    heads += [*REDUCTIONS[: 8 if shape[1] >= 3 else 4]]
    return length, tuple(layers), draw(st.sampled_from(heads)), draw(st.integers(0, 9))


@st.composite
def layer_of(draw: st.DrawFn, kind: str, c: int, length: int, deep: bool) -> Recipe:
    """One layer for (C, L); it may not fit, which `shape_after` tells."""
    small = st.integers(1, 5)
    if kind == "conv":
        kernel, dilation = draw(st.integers(1, 7)), draw(st.integers(1, 3))
        padding = draw(st.integers(0, dilation * (kernel - 1)))
        mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]))
        groups = draw(st.sampled_from([g for g in (1, 1, 2, c) if c % g == 0]))
        m = groups * draw(st.integers(1, max(1, 6 // groups)))
        return kind, c, m, kernel, draw(st.integers(1, 3)), padding, dilation, groups, mode
    if kind == "conv-same":
        return kind, c, draw(st.sampled_from([1, 3, 5])), draw(st.integers(1, 3))
    if kind == "transposed":
        stride = draw(st.integers(1, 3))
        return kind, c, draw(small), draw(small), stride, draw(st.integers(0, stride - 1))
    if kind == "max":
        kernel = draw(st.integers(1, 5))
        padding = draw(st.integers(0, kernel // 2))
        return kind, kernel, draw(small), padding, draw(st.integers(1, 2)), draw(st.booleans())
    if kind == "avg":
        kernel = draw(st.integers(1, 5))
        padding = draw(st.integers(0, kernel // 2))
        return kind, kernel, draw(small), padding, draw(st.booleans()), draw(st.booleans())
    if kind == "adaptive":
        return kind, draw(st.sampled_from(["avg", "max"])), draw(st.integers(1, 8))
    if kind in ("blocks", "lp", "upsample"):
        return kind, c, draw(st.integers(2, 4)), draw(st.booleans())
    if kind == "steps":
        return kind, draw(st.integers(0, 4)), draw(small), draw(st.integers(2, 4))
    if kind in ("slice", "pad"):
        modes = ["constant", "reflect", "replicate"]
        return kind, draw(st.integers(0, 4)), draw(small), draw(st.sampled_from(modes))
    if kind == "activation":
        return kind, draw(st.sampled_from(sorted(ACTIVATIONS)))
    if kind == "point":
        return kind, draw(st.sampled_from(POINTS))
    if kind == "mix":
        return kind, draw(st.sampled_from(MIXES))
    if kind in ("residual", "gated", "cat", "strands"):
        if not deep:
            return "conv-same", c, 3, 1
        inner = [draw(layer_of(draw(st.sampled_from(KEEPS)), c, length, deep=False))]
        inner.append(draw(layer_of("conv-same", c, length, deep=False)))
        return kind, c, tuple(draw(st.permutations(inner)))
    return kind, c


def make(layer: Recipe) -> nn.Module:
    """The module of one layer."""
    kind, *v = layer
    if kind == "conv":
        c, m, kernel, stride, padding, dilation, groups, mode = v
        return nn.Conv1d(c, m, kernel, stride, padding, dilation, groups, padding_mode=mode)
    if kind == "conv-same":
        c, kernel, dilation = v
        return nn.Conv1d(c, c, kernel, padding=dilation * (kernel // 2), dilation=dilation)
    if kind == "transposed":
        c, m, kernel, stride, extra = v
        return nn.ConvTranspose1d(c, m, kernel, stride, 0, extra)
    if kind == "max":
        kernel, stride, padding, dilation, ceil = v
        return nn.MaxPool1d(kernel, stride, padding, dilation, ceil_mode=ceil)
    if kind == "avg":
        kernel, stride, padding, ceil, count = v
        return nn.AvgPool1d(kernel, stride, padding, ceil, count)
    if kind == "adaptive":
        return nn.AdaptiveAvgPool1d(v[1]) if v[0] == "avg" else nn.AdaptiveMaxPool1d(v[1])
    if kind == "smooth":
        return nn.AvgPool1d(3, 1, 1)
    if kind == "blocks":
        return Blocks(v[1], v[0], learned=v[2])
    if kind == "lp":
        return nn.Sequential(nn.Softplus(), nn.LPPool1d(2, v[1], ceil_mode=v[2]))
    if kind == "upsample":
        return nn.Upsample(scale_factor=float(v[1]), mode="linear" if v[2] else "nearest")
    if kind in ("slice", "steps"):
        return Slice(v[0], -v[1], v[2] if kind == "steps" else 1)
    if kind == "join":
        return Cat(nn.MaxPool1d(2), nn.Identity(), dim=2)
    if kind == "pad":
        return Pad(*v)
    if kind == "activation":
        return ACTIVATIONS[v[0]]()
    simple = {"point": Point, "mix": Mix, "norm": nn.BatchNorm1d, "excite": Excite}
    simple |= {"layer-norm": ChannelNorm, "response": Response, "steady": Steady}
    if kind in simple:
        return simple[kind](v[0])
    if kind == "group-norm":
        return nn.GroupNorm(2 if v[0] % 2 == 0 else 1, v[0])
    if kind == "flip":
        return Flip(2)
    if kind == "attention":
        return Residual(Attention(v[0], 2 if v[0] % 2 == 0 else 1))
    body = nn.Sequential(*(make(inner) for inner in v[1]))
    if kind == "residual":
        return Residual(body)
    if kind == "gated":
        return Gated(body, nn.Conv1d(v[0], v[0], 1))
    if kind == "cat":
        return Cat(body, nn.MaxPool1d(3, 1, 1))
    assert kind == "strands", kind
    return Strands(body, "max")


def shape_after(layer: Recipe, c: int, length: int) -> tuple[int, int] | None:
    """(C, L) of what a layer makes of (c, length); None when it does not fit."""
    if layer[0] == "layer-norm" and c < 3:
        return None
    try:
        with torch.device("meta"), torch.no_grad():
            y = make(layer).eval()(torch.empty(2, c, length))
    except (RuntimeError, ValueError):
        return None
    return (y.shape[1], y.shape[2]) if y.numel() else None


class Finish(nn.Module):
    """The end of a net: targets from what the layers leave."""

    def __init__(self, kind: str, c: int, length: int) -> None:
        super().__init__()
        self.kind = kind
        self.reduce: nn.Module = Glance(c) if kind == "glance" else nn.Identity()
        if kind in REDUCTIONS:
            self.reduce = Reduce(kind)
        self.weighs = kind.startswith("weigh-")
        if self.weighs:
            self.reduce = Weigh(kind.removeprefix("weigh-"), c)
        self.dense = nn.Linear(c * length if kind.startswith("flat") else c, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "flat":
            return self.dense(x.flatten(1))
        if self.kind == "flat-gelu":
            return self.dense(nn.functional.gelu(x.flatten(1)))
        if self.weighs:
            return torch.tanh(self.reduce(x))
        if self.kind == "profile":
            return torch.tanh(x)
        if self.kind == "positions":
            return self.dense(x.transpose(1, 2))
        return self.dense(self.reduce(x))


def build(recipe: Recipe) -> nn.Module:
    """The net of a recipe: float32, eval mode, always the same."""
    length, layers, head, seed = recipe
    shape: tuple[int, int] = (4, length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules = []
        for layer in layers:
            modules.append(make(layer))
            after = shape_after(layer, *shape)
            assert after is not None
            shape = after
        return settle(nn.Sequential(*modules, Finish(head, *shape)))
