"""Published sequence models as plain modules, with their papers' sizes and meaningless weights.

Written from the papers' descriptions. Every class takes the number of letters, from which dense
layers get their size, and a factor on the number of channels for quick tests. All take one-hot
(N, 4, L), and can be scripted and traced. Weights and names are given in `zoo`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def made_of(recipe: str, length: int, width: float) -> nn.Module:
    """The network of a recipe: words of a `Chain`, `image` before them, or a class with settings.

    As in ``BPNet layers=4 trim=557/2114``.
    """
    kind, *words = recipe.split()
    if kind == "image":
        return Chain(" ".join(words), length, width, image=True)
    if kind not in CLASSES:
        return Chain(recipe, length, width)
    pairs = (word.partition("=") for word in words)
    settings = {
        name: float(Fraction(value)) if "/" in value else int(value) for name, _, value in pairs
    }
    return CLASSES[kind](length, width, **settings)


class Sum(nn.Module):
    """Sum over the positions."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(2)


CONVOLUTION = re.compile(r"(=?)(\d+)x(\d+)(?:d(\d+))?(v?)")
POOL = re.compile(r"pool(\d+)(?:\+(\d+))?")
PLAIN: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu!": partial(nn.ReLU, inplace=True),
    "sigmoid": nn.Sigmoid,
    "flat": nn.Flatten,
    "sum": Sum,
}


def scaled(channels: int, width: float) -> int:
    """Channels times the factor, two at least."""
    return max(2, round(channels * width))


class Chain(nn.Module):
    """Layers one after the other, from a recipe.

    Parameters
    ----------
    recipe : str
        Words, each a layer: `300x19` a convolution of 300 filters of width 19, padded to keep the
        length (`v` after it: not padded; `d4`: dilated by 4); `pool3` a maximum over 3 positions
        (`pool3+1`: padded by 1); `1000` a dense layer; `norm`, `drop0.2`, and those of `PLAIN`. A
        number after `=` is not scaled.
    length : int
    width : float
    image : bool
        As two-dimensional layers over an image of 4 x L with one channel; the numbers are the same.
    """

    def __init__(self, recipe: str, length: int, width: float = 1.0, image: bool = False) -> None:
        super().__init__()
        self.width, self.image = width, image
        x = torch.empty(1, 4, length, device="meta")
        made: list[nn.Module] = [nn.Unflatten(1, (1, 4))] if image else []
        for layer in made:
            x = layer(x)
        for word in recipe.split():
            made.append(self._layer(word, x).to("meta").eval())
            x = made[-1](x)
            if not x.numel():
                raise ValueError("nothing is left after pooling")
        self.layers = nn.Sequential(*made)

    def _layer(self, word: str, x: Tensor) -> nn.Module:
        """The layer that a word means, for a value like `x`."""
        channels = x.shape[1]
        if word in PLAIN:
            return PLAIN[word]()
        if word == "norm":
            return nn.BatchNorm2d(channels) if x.dim() == 4 else nn.BatchNorm1d(channels)
        if word.startswith("drop"):
            return nn.Dropout(float(word[4:]))
        if match := POOL.fullmatch(word):
            size, padding = int(match[1]), int(match[2] or 0)
            if self.image:
                return nn.MaxPool2d((1, size), padding=(0, padding))
            return nn.MaxPool1d(size, padding=padding)
        if match := CONVOLUTION.fullmatch(word):
            return self._convolution(match, x)
        return nn.Linear(channels, self._channels(word))

    def _channels(self, number: str) -> int:
        return int(number[1:]) if number.startswith("=") else scaled(int(number), self.width)

    def _convolution(self, match: re.Match[str], x: Tensor) -> nn.Module:
        out = self._channels(match[1] + match[2])
        kernel, dilation = int(match[3]), int(match[4] or 1)
        padding = 0 if match[5] else dilation * (kernel // 2)
        if self.image:  # the letters are the rows, and the first kernel spans all four
            return nn.Conv2d(x.shape[1], out, (x.shape[2], kernel), padding=(0, padding))
        return nn.Conv1d(x.shape[1], out, kernel, padding=padding, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class BPNet(nn.Module):
    """A wide convolution, residual dilated convolutions of width 3, profile and counts.

    Avsec et al., Nature Genetics 53, 2021, in the common PyTorch sizes: 64 filters, dilations 2, 4,
    ..., 2**layers, profile convolution of width 75, and with 9 layers 2114 letters for a profile of
    1000 (other lengths are trimmed in proportion). Outputs (N, tracks, trimmed L) logits and (N, 1)
    log counts.

    Parameters
    ----------
    length, width
        See `Chain`.
    layers, start : int
        How many dilated convolutions; the first is dilated by 2**start.
    trim : float
        Share of the length that the profile lacks at either end.
    kernel, profile, tracks : int
        Widths of the first convolution and of the profile's, and how many profiles.
    """

    gains: ClassVar[dict[str, float]] = {"dilated": 0.4}  # or sums would grow with every layer

    def __init__(
        self,
        length: int,
        width: float = 1.0,
        *,
        layers: int = 9,
        start: int = 1,
        trim: float = 0.0,
        kernel: int = 21,
        profile: int = 75,
        tracks: int = 2,
    ) -> None:
        super().__init__()
        c = scaled(64, width)
        self.trim, self.edge = round(trim * length), profile // 2
        self.first = nn.Conv1d(4, c, kernel, padding=kernel // 2)
        self.dilated = nn.ModuleList(
            nn.Conv1d(c, c, 3, padding=2**i, dilation=2**i) for i in range(start, start + layers)
        )
        self.profile = nn.Conv1d(c, tracks, profile, padding=profile // 2)
        self.counts = nn.Linear(c, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.first(x))
        for conv in self.dilated:
            x = x + torch.relu(conv(x))
        end = x.shape[2] - self.trim
        profile = self.profile(x)[:, :, self.trim : end]
        # The counts see the letters that the profile sees: half a profile kernel beyond its ends.
        edge = max(self.trim - self.edge, 0)
        return profile, self.counts(x[:, :, edge : x.shape[2] - edge].mean(dim=2))


class SoftmaxPool(nn.Module):
    """Mean over blocks of positions, weighted by the softmax of the values themselves.

    A last block that is not full is averaged over the positions it has.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        missing = -x.shape[2] % self.size
        logits = F.pad(x, (0, missing), value=-1e30).unflatten(2, (-1, self.size))
        values = F.pad(x, (0, missing)).unflatten(2, (-1, self.size))
        return (torch.softmax(logits, dim=3) * values).sum(dim=3)


class ResidualAITAC(nn.Module):
    """The residual AI-TAC of the TISM paper: 298 kernels of 19 on both strands, 4 residual blocks.

    Sasse et al., iScience 27, 2024. The kernels also scan the reverse complement, the larger
    response counts; GELU; every stage is pooled by 2 with softmax weights; blocks are convolutions
    of width 7 with batch norm; dense 512 three times. Output (N, 81).
    """

    def __init__(self, length: int, width: float = 1.0) -> None:
        super().__init__()
        c, dense = scaled(298, width), scaled(512, width)
        self.first = nn.Conv1d(4, c, 19, padding=9, bias=False)
        self.pool = SoftmaxPool(2)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv1d(c, c, 7, padding=3, bias=False), nn.BatchNorm1d(c), nn.GELU())
            for _ in range(4)
        )
        for _ in range(1 + len(self.blocks)):
            length = -(-length // 2)
        tail: list[nn.Module] = []
        n = c * length
        for _ in range(3):
            tail += [nn.Linear(n, dense), nn.GELU(), nn.Dropout(0.1)]
            n = dense
        self.head = nn.Sequential(*tail, nn.Linear(dense, 81))

    def forward(self, x: Tensor) -> Tensor:
        # Letters in the order ACGT: turning both axes round is the reverse complement.
        reverse = self.first(x.flip((1, 2))).flip(2)
        x = self.pool(F.gelu(torch.maximum(self.first(x), reverse)))
        for block in self.blocks:
            x = self.pool(x + block(x))
        return self.head(x.flatten(1))


CLASSES: dict[str, Callable[..., Any]] = {"BPNet": BPNet, "ResidualAITAC": ResidualAITAC}
