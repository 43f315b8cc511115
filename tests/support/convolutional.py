"""Published models made of convolutions, pools and norms: parts of `tests.support.published`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.support.blocks import Cat, Permute, Residual
from tests.support.case import flat, seq
from tests.support.odd_nets import Norm


class ExplaiNN(nn.Module):
    """Units side by side: each a filter, a pool and two layers of its own; then one linear layer.

    The letters are repeated for every unit, and everything is a grouped convolution.
    """

    def __init__(self, length: int, units: int = 5, kernel: int = 9, hidden: int = 4) -> None:
        super().__init__()
        self.units = units
        places = (length - kernel + 1) // 7
        self.filters = seq(nn.Conv1d(4 * units, units, kernel, groups=units), nn.BatchNorm1d(units))
        self.dense = seq(
            nn.Conv1d(units * places, units * hidden, 1, groups=units),
            nn.BatchNorm1d(units * hidden),
            nn.ReLU(),
            nn.Conv1d(units * hidden, units, 1, groups=units),
            nn.BatchNorm1d(units),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.last = nn.Linear(units, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.exp(0.3 * self.filters(x.repeat(1, self.units, 1)))
        x = F.max_pool1d(x, 7, 7).flatten(1).unsqueeze(-1)
        return self.last(self.dense(x))


class PairPool(nn.Module):
    """Pairs of positions, weighed by a softmax of learned logits (the Enformer's pool)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.logits = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, c, length = x.shape
        missing = length % 2
        x = F.pad(x, [0, missing]).reshape(n, c, (length + missing) // 2, 2)
        logits = self.logits(x)
        if missing > 0:
            mask = torch.zeros([1, 1, length + missing], dtype=torch.bool, device=x.device)
            mask[:, :, -1] = True
            logits = logits.masked_fill(mask.reshape(1, 1, -1, 2), -1e9)
        return (x * logits.softmax(dim=-1)).sum(dim=-1)


class RelativeAttention(nn.Module):
    """Heads of attention with a learned bias by distance; (N, L, C)."""

    def __init__(self, channels: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads, self.size = heads, channels // heads
        self.query = nn.Linear(channels, channels, bias=False)
        self.key = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels, bias=False)
        self.join = nn.Linear(channels, channels)
        self.near = nn.Parameter(torch.randn(heads, 2 * length - 1))
        at = torch.arange(length)
        self.apart = nn.Buffer(at[:, None] - at[None, :] + length - 1)

    def forward(self, x: Tensor) -> Tensor:
        n, length, c = x.shape
        q = self.query(x).reshape(n, length, self.heads, self.size).transpose(1, 2)
        k = self.key(x).reshape(n, length, self.heads, self.size).transpose(1, 2)
        v = self.value(x).reshape(n, length, self.heads, self.size).transpose(1, 2)
        scores = torch.einsum("bhid,bhjd->bhij", q, k) * self.size**-0.5
        weights = (scores + self.near[:, self.apart]).softmax(dim=-1)
        y = torch.einsum("bhij,bhjd->bhid", weights, v)
        return self.join(y.transpose(1, 2).reshape(n, length, c))


class Enformer(nn.Module):
    """Convolutions with pair pools, attention, a crop, softplus by tracks."""

    def __init__(self, length: int, width: int = 1) -> None:
        super().__init__()
        c = 8 * width
        self.stem = seq(
            nn.Conv1d(4, c, 15, padding=7),
            Residual(Norm(c), nn.Conv1d(c, c, 1)),
            PairPool(c),
            Norm(c),
            nn.Conv1d(c, c, 5, padding=2),
            Residual(Norm(c), nn.Conv1d(c, c, 1)),
            PairPool(c),
        )
        places = (length + 3) // 4
        self.body = seq(
            Permute(0, 2, 1),
            Residual(nn.LayerNorm(c), RelativeAttention(c, 2, places)),
            Residual(
                nn.LayerNorm(c), nn.Linear(c, 12 * width), nn.ReLU(), nn.Linear(12 * width, c)
            ),
        )
        self.head = nn.Linear(c, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(self.head(self.body(self.stem(x))[:, 4:-4]))


class SoftmaxPool(nn.Module):
    """Blocks of positions weighed by a softmax of channels mixed by a matrix."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(channels, channels) * 0.5)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        n, c, length = x.shape
        x = x[:, :, : length // self.size * self.size].reshape(n, c, -1, self.size)
        logits = torch.einsum("nclk,cd->ndlk", x, self.mix)
        return (x * torch.softmax(logits, dim=-1)).sum(-1)


class AITAC(nn.Module):
    """Both strands through one first layer, residual blocks and softmax pools, dense layers."""

    def __init__(self, length: int, width: int = 1) -> None:
        super().__init__()
        c = 6 * width
        self.first = nn.Conv1d(4, c, 9, padding=4)
        self.body = flat(
            length,
            nn.BatchNorm1d(c),
            SoftmaxPool(c, 2),
            Residual(nn.GELU(), nn.Conv1d(c, c, 5, padding=2), nn.BatchNorm1d(c)),
            SoftmaxPool(c, 3),
            letters=c,
        )

    def forward(self, x: Tensor) -> Tensor:
        plus, minus = self.first(x), self.first(x.flip([1, 2])).flip([2])
        return self.body(torch.maximum(torch.relu(plus), torch.relu(minus)))


class Puffin(nn.Module):
    """Motifs of both strands, softplus, their effects by a long convolution as a product of
    spectra, a short convolution, softplus.
    """

    def __init__(self, length: int, width: int = 1) -> None:
        super().__init__()
        self.motifs = nn.Conv1d(4, 5 * width, 9, padding=4)
        self.effects = nn.Parameter(torch.randn(3, 10 * width, 41) * 0.3)
        self.last = nn.Conv1d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([self.motifs(x), self.motifs(x.flip([1, 2])).flip([2])], 1)
        y = F.softplus(y)
        size, reach = y.shape[2] + 40, 20
        spectrum = torch.fft.rfft(y, n=size).unsqueeze(1)
        kernel = torch.fft.rfft(self.effects, n=size).unsqueeze(0)
        summed = torch.fft.irfft((spectrum * kernel).sum(2), n=size)
        return F.softplus(self.last(summed[:, :, reach : reach + y.shape[2]]))


class WholeSpectra(nn.Module):
    """A long convolution as a product of spectra of both signs, of which the real part is kept."""

    def __init__(self, length: int, cast: bool = False) -> None:
        super().__init__()
        self.cast = cast
        self.first = nn.Conv1d(4, 5, 7, padding=3)
        self.taps, self.last = nn.Parameter(torch.randn(5, 13) * 0.3), nn.Conv1d(5, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.softplus(self.first(x))
        size = y.shape[2] + 12
        given = y
        if self.cast:
            given = y.to(torch.complex64 if y.dtype == torch.float32 else torch.complex128)
        made = torch.fft.ifft(torch.fft.fft(given, n=size) * torch.fft.fft(self.taps, n=size))
        return F.softplus(self.last(torch.real(made)[:, :, 6 : 6 + y.shape[2]]))


class Excite(nn.Module):
    """Channels gated by their means over positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = seq(nn.Linear(channels, 3), nn.SiLU(), nn.Linear(3, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        n, c, _ = x.shape
        return x * self.gate(x.view(n, c, -1).mean(dim=2)).view(n, c, 1)


class LegNet(nn.Module):
    """Inverted bottlenecks with squeeze and excitation, joined to their inputs; a mean at last."""

    def __init__(self, length: int, width: int = 1) -> None:
        super().__init__()
        c = 6 * width
        body: list[nn.Module] = [nn.Conv1d(4, c, 7, padding=3), nn.BatchNorm1d(c), nn.SiLU()]
        for _ in range(2):
            wide = seq(nn.Conv1d(c, 2 * c, 1), nn.BatchNorm1d(2 * c), nn.SiLU())
            deep = seq(nn.Conv1d(2 * c, 2 * c, 5, padding=2, groups=2 * c), nn.SiLU())
            block = seq(wide, deep, Excite(2 * c), nn.Conv1d(2 * c, c, 1), nn.BatchNorm1d(c))
            body += [Cat(nn.Identity(), block), nn.Conv1d(2 * c, c, 5, padding=2), nn.SiLU()]
            body += [nn.MaxPool1d(2)]
        self.body = seq(*body, nn.Conv1d(c, 8, 1))
        self.bins = nn.Buffer(torch.linspace(-1.0, 1.0, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool1d(self.body(x), 1).squeeze(2)
        return (F.softmax(x, dim=1) * self.bins).sum(dim=1, keepdim=True)


class Basenji(nn.Module):
    """A tower of convolutions and pools, dilated residuals, a crop, tracks last."""

    def __init__(self, length: int, width: int = 1) -> None:
        super().__init__()
        c = 8 * width
        self.tower = seq(
            nn.Conv1d(4, c, 15, padding=7), nn.BatchNorm1d(c), nn.MaxPool1d(2),
            Norm(c), nn.Conv1d(c, c, 5, padding=2), nn.BatchNorm1d(c), nn.MaxPool1d(2),
        )  # fmt: skip
        self.dilated = seq(
            *(
                Residual(
                    Norm(c), nn.Conv1d(c, 4, 3, padding=d, dilation=d), Norm(4), nn.Conv1d(4, c, 1)
                )
                for d in (1, 2, 3)
            )
        )
        self.head = seq(Norm(c), nn.Conv1d(c, 10, 1), nn.Dropout(0.05), nn.GELU())
        self.tracks = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.dilated(self.tower(x))[:, :, 3:-3])
        return F.softplus(self.tracks(x.transpose(1, 2)))


class Malinois(nn.Module):
    """Three convolutions with pools, dense, then branches of their own as one batched product.

    Convolutions are (channels, kernel, pool).
    """

    SMALL = (8, 9, 3), (8, 5, 4), (6, 3, 2)
    PUBLISHED = (300, 19, 3), (200, 11, 4), (200, 7, 4)

    def __init__(
        self, length: int, convolutions: Any = SMALL, dense: int = 10, branch: int = 4
    ) -> None:
        super().__init__()
        body: list[nn.Module] = []
        before = 4
        for channels, kernel, pool in convolutions:
            body += [nn.Conv1d(before, channels, kernel, padding=kernel // 2)]
            body += [nn.BatchNorm1d(channels), nn.ReLU(), nn.MaxPool1d(pool)]
            before = channels
        self.body = flat(length, *body, targets=dense)
        self.weight = nn.Parameter(torch.randn(3, dense, branch) * 0.4)
        self.bias = nn.Parameter(torch.randn(3, 1, branch) * 0.3)
        self.last = nn.Parameter(torch.randn(3, branch, 1) * 0.4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.body(x)).repeat(1, 3)
        x = x.reshape(x.shape[0], 3, -1).transpose(0, 1)
        x = torch.relu(torch.baddbmm(self.bias, x, self.weight))
        return torch.bmm(x, self.last).transpose(0, 1).flatten(1)
