"""Nets of the awkward cases that are more than a few layers one after the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.support.blocks import (
    Residual,
)
from tests.support.case import conv, seq, stem
from tests.support.scaled_blocks import (
    Attention,
    Blocks,
)


class Profile(nn.Module):
    """A profile and a scalar of a common trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = seq(stem(), Residual(conv(dilation=2, padding=2)))
        self.profile, self.counts = nn.Conv1d(6, 2, 7), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(x)
        return self.profile(x)[:, :, 4:-4], self.counts(x.mean(2))


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both = Profile()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        profile, counts = self.both(x)
        return {"profile": profile, "counts": counts}


class Scalar(nn.Module):
    """One number a sequence, without an axis of targets."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = stem(), nn.Conv1d(6, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)).mean(dim=[1, 2])


class TwoInputs(nn.Module):
    """Sequences and a vector per sequence, which gates the channels and joins the dense layer."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.body, self.gate = stem(), nn.Linear(5, 6)
        self.head = nn.Linear(6 * length + 5, 3)

    def forward(self, x: Tensor, cell: Tensor) -> Tensor:
        y = self.body(x) * torch.sigmoid(self.gate(cell)).unsqueeze(2)
        return self.head(torch.cat([y.flatten(1), cell], dim=1))


class TrackFirst(nn.Module):
    """A track over positions before the sequences among the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body = seq(nn.Conv1d(5, 6, 7, padding=3), nn.ReLU(), nn.Conv1d(6, 2, 3))

    def forward(self, track: Tensor, x: Tensor) -> Tensor:
        return self.body(torch.cat([x, track], dim=1))


class Shared(nn.Module):
    """One convolution and one norm used three times over."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.norm = stem(), nn.Conv1d(6, 6, 3, padding=1), nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(3):
            x = torch.relu(self.norm(self.conv(x)))
        return x.mean(2)


class Einsum(nn.Module):
    def __init__(self, length: int) -> None:
        super().__init__()
        self.stem = stem()
        self.mix, self.table = nn.Parameter(torch.randn(5, 6)), nn.Parameter(torch.randn(length, 5))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.einsum("ncl,kc->nkl", self.stem(x), self.mix)
        return torch.einsum("nkl,lk->nk", torch.tanh(y), self.table)


class Letters(nn.Module):
    """Letters back to codes, and an embedding of them, as language models want."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(4, 6), nn.Conv1d(6, 2, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.table(x.argmax(1)).transpose(1, 2))


class Decides(nn.Module):
    """Two bodies; each sequence is sent through one of them by what it contains."""

    def __init__(self) -> None:
        super().__init__()
        self.rich, self.poor = stem(), stem()

    def forward(self, x: Tensor) -> Tensor:
        rows: list[Tensor] = []
        for i in range(x.shape[0]):
            row = x[i : i + 1]
            if bool(row[:, 1:3].sum() > 0.5 * row.sum()):
                rows.append(self.rich(row).mean(2))
            else:
                rows.append(self.poor(row).sum(2))
        return torch.cat(rows)


class UNet(nn.Module):
    """Down by 2 twice, up again, skips by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = stem(), conv(), conv()
        self.up1, self.up2 = nn.ConvTranspose1d(6, 6, 2, stride=2), nn.Upsample(scale_factor=2.0)
        self.d, self.e = conv(12), nn.Conv1d(12, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(F.max_pool1d(a, 2))
        c = self.c(F.avg_pool1d(b, 2))
        d = self.d(torch.cat([self.up1(c), b], 1))
        return self.e(torch.cat([self.up2(d), a], 1))


class Constant(nn.Module):
    """Targets of which one does not depend on the sequence, and a branch of parameters only."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.bias = stem(), nn.Parameter(torch.randn(1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x).amax(2)
        return torch.cat([y, torch.tanh(self.bias).expand(x.shape[0], 1)], dim=1)


class ContactMap(nn.Module):
    """Pairs of positions, then a 2-D convolution over the map, as models of chromosome folding."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.map = seq(stem(), nn.MaxPool1d(4)), nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return self.map(torch.relu(y.unsqueeze(3) + y.unsqueeze(2)))


class Enformer(nn.Module):
    """Convolutions with attention pooling, a transformer, a crop, softplus; (N, L', targets)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = seq(nn.Conv1d(4, 8, 7, padding=3), Residual(Norm(8), conv(8, 8, 1)))
        self.pools = seq(Blocks(2, 8, True), Norm(8), conv(8, 8, 5), Blocks(2, 8, True))
        self.transformer = seq(Residual(ChannelNorm(8), Attention(8, 2)), ChannelNorm(8))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.transformer(self.pools(self.stem(x)))[:, :, 2:-2]
        return F.softplus(self.head(x.transpose(1, 2)))


class Norm(nn.Module):
    """Batch norm and GELU, in the order of Enformer's blocks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return torch.sigmoid(1.702 * x) * x


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


def weight_normed() -> nn.Module:
    layer = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 6, 5))
    return seq(layer, nn.ReLU(), nn.Conv1d(6, 2, 3))


def pool2d(where: str) -> nn.Module:
    """DeepSEA as published ports spell it: 2-D layers around a dummy axis of size 1."""
    k, p, last = {"NC1L": ((1, 5), (1, 3), (1, 4)), "NCL1": ((5, 1), (3, 1), (4, 1))}[where]
    return seq(
        nn.Conv2d(4, 6, k),
        nn.ReLU(),
        nn.MaxPool2d(p, p),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 5, last),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(5 * 11, 3),
    )


def image(where: str) -> nn.Module:
    """The letters as the width or the height of an image with one channel."""
    first, rest = {"N1LC": ((5, 4), (3, 1)), "N1CL": ((4, 5), (1, 3))}[where]
    return seq(nn.Conv2d(1, 6, first), nn.ReLU(), nn.Conv2d(6, 4, rest), nn.Flatten(2))
