"""Published sequence models as plain modules, with their papers' sizes and meaningless weights.

Written from the papers' descriptions, one class each. Every class takes the number of letters, from
which dense layers get their size, and a factor on the number of channels for quick tests. All take
one-hot (N, 4, L), and can be scripted and traced. Weights and names are given in `zoo`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _scaled(channels: int, width: float) -> int:
    return max(2, round(channels * width))


def _flat_size(body: nn.Module, length: int) -> int:
    """Elements per sequence after `body`, without computing anything (meta tensors)."""
    with torch.no_grad():
        out = body.to("meta").eval()(torch.empty(1, 4, length, device="meta"))
    if out.numel() == 0:
        raise ValueError("nothing is left after pooling")
    return out.numel()


class OneLayer(nn.Module):
    """One convolution, 64 filters of 7: the smallest benchmark of Yuzu.

    Schreiber et al., Bioinformatics 38(14), 2022. Output (N, 64, L).
    """

    def __init__(self, length: int, width: float = 1.0) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, _scaled(64, width), 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class ToyNet(nn.Module):
    """Three convolutions of width 7, 32 filters, two output tracks.

    Schreiber et al., Bioinformatics 38(14), 2022. Output (N, 2, L).
    """

    def __init__(self, length: int, width: float = 1.0) -> None:
        super().__init__()
        c = _scaled(32, width)
        self.layers = nn.Sequential(
            nn.Conv1d(4, c, 7, padding=3),
            nn.ReLU(),
            nn.Conv1d(c, c, 7, padding=3),
            nn.ReLU(),
            nn.Conv1d(c, 2, 7, padding=3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class DeepSEA(nn.Module):
    """Three unpadded convolutions of width 8 (320, 480, 960), dense 925, 919 probabilities.

    Zhou and Troyanskaya, Nature Methods 12, 2015. Output (N, 919).
    """

    def __init__(self, length: int, width: float = 1.0) -> None:
        super().__init__()
        a, b, c = (_scaled(n, width) for n in (320, 480, 960))
        dense, targets = _scaled(925, width), _scaled(919, width)
        self.body = nn.Sequential(
            nn.Conv1d(4, a, 8),
            nn.ReLU(inplace=True),
            nn.MaxPool1d(4),
            nn.Dropout(0.2),
            nn.Conv1d(a, b, 8),
            nn.ReLU(inplace=True),
            nn.MaxPool1d(4),
            nn.Dropout(0.2),
            nn.Conv1d(b, c, 8),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
        )
        self.head = nn.Sequential(
            nn.Linear(_flat_size(self.body, length), dense),
            nn.ReLU(inplace=True),
            nn.Linear(dense, targets),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.head(x.reshape(x.shape[0], -1))


def _dense_relu_norm(sizes: Sequence[int]) -> nn.Sequential:
    """Dense layers with ReLU, then batch norm, between them; the last one plain."""
    layers: list[nn.Module] = []
    for n, m in pairwise(sizes[:-1]):
        layers += [nn.Linear(n, m), nn.ReLU(), nn.BatchNorm1d(m)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class Basset(nn.Module):
    """Convolutions 300 x 19, 200 x 11, 200 x 7, pooled by 3, 4, 4; dense 1000, 1000, 164.

    Kelley et al., Genome Research 26, 2016, in the form that fastISM and Yuzu are timed on: padded
    to keep the length, batch norm after the ReLU. Output (N, 164).
    """

    def __init__(self, length: int, width: float = 1.0) -> None:
        super().__init__()
        a, b = _scaled(300, width), _scaled(200, width)
        layers: list[nn.Module] = []
        for n, m, kernel, pool in ((4, a, 19, 3), (a, b, 11, 4), (b, b, 7, 4)):
            conv = nn.Conv1d(n, m, kernel, padding=kernel // 2)
            layers += [conv, nn.ReLU(), nn.BatchNorm1d(m), nn.MaxPool1d(pool)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        dense = _scaled(1000, width)
        sizes = (_flat_size(self.body, length), dense, dense, _scaled(164, width))
        self.head = _dense_relu_norm(sizes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class FactorizedBasset(nn.Module):
    """Basset with its first two convolutions as stacks of narrow ones, batch norm before the ReLU.

    Wnuk et al., bioRxiv 229385, 2017; sizes as in fastISM and Yuzu. Output (N, 1).
    """

    def __init__(self, length: int, width: float = 1.0) -> None:
        super().__init__()
        stages = (
            (3, ((48, 3), (64, 3), (100, 3), (150, 7), (300, 7))),
            (4, ((200, 7), (200, 3), (200, 3))),
            (4, ((200, 7),)),
        )
        layers: list[nn.Module] = []
        n = 4
        for pool, convolutions in stages:
            for channels, kernel in convolutions:
                m = _scaled(channels, width)
                conv = nn.Conv1d(n, m, kernel, padding=kernel // 2)
                layers += [conv, nn.BatchNorm1d(m), nn.ReLU()]
                n = m
            layers.append(nn.MaxPool1d(pool))
        self.body = nn.Sequential(*layers, nn.Flatten())
        dense = _scaled(1000, width)
        self.head = _dense_relu_norm((_flat_size(self.body, length), dense, dense, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class BPNet(nn.Module):
    """Convolution of width 21, residual dilated convolutions of width 3, profile and counts.

    Avsec et al., Nature Genetics 53, 2021, in the common PyTorch sizes: 64 filters, dilations 2, 4,
    ..., 2**layers, profile convolution of width 75, and with 9 layers 2114 letters for a profile of
    1000 (other lengths are trimmed in proportion). Outputs (N, 2, trimmed L) logits and (N, 1) log
    counts.
    """

    gains: ClassVar[dict[str, float]] = {"dilated": 0.4}  # or sums would grow with every layer

    def __init__(self, length: int, width: float = 1.0, layers: int = 9, trim: float = 0.0) -> None:
        super().__init__()
        c = _scaled(64, width)
        self.trim = round(trim * length)
        self.first = nn.Conv1d(4, c, 21, padding=10)
        self.dilated = nn.ModuleList(
            nn.Conv1d(c, c, 3, padding=2**i, dilation=2**i) for i in range(1, layers + 1)
        )
        self.profile = nn.Conv1d(c, 2, 75, padding=37)
        self.counts = nn.Linear(c, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.first(x))
        for conv in self.dilated:
            x = x + torch.relu(conv(x))
        end = x.shape[2] - self.trim
        profile = self.profile(x)[:, :, self.trim : end]
        # The counts see the letters that the profile sees: half a profile kernel beyond its ends.
        edge = max(self.trim - 37, 0)
        return profile, self.counts(x[:, :, edge : x.shape[2] - edge].mean(dim=2))


class PlainBPNet(nn.Module):
    """BPNet as the Yuzu paper has it: no skips, one profile, so that it is a list of layers.

    Schreiber et al., Bioinformatics 38(14), 2022. Output (N, 1, L).
    """

    def __init__(self, length: int, width: float = 1.0, layers: int = 4) -> None:
        super().__init__()
        c = _scaled(64, width)
        made: list[nn.Module] = [nn.Conv1d(4, c, 21, padding=10), nn.ReLU()]
        for i in range(1, layers + 1):
            made += [nn.Conv1d(c, c, 3, padding=2**i, dilation=2**i), nn.ReLU()]
        self.layers = nn.Sequential(*made, nn.Conv1d(c, 1, 75, padding=37))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class AITAC(nn.Module):
    """AI-TAC: convolutions 300 x 19, 200 x 11, 200 x 7, pooled by 3, 4, 4 with padding; dense 1000.

    Maslova et al., PNAS 117, 2020. `image` keeps the authors' spelling, a 2-D convolution over an
    image of 4 x L with one channel; the numbers are the same. Output (N, 81).
    """

    def __init__(self, length: int, width: float = 1.0, image: bool = False) -> None:
        super().__init__()
        a, b, dense = (_scaled(n, width) for n in (300, 200, 1000))
        sizes = ((4, a, 19, 3), (a, b, 11, 4), (b, b, 7, 4))
        layers: list[nn.Module] = [nn.Unflatten(1, (1, 4))] if image else []
        for i, (n, m, kernel, pool) in enumerate(sizes):
            if image:
                # The letters are the rows of the image, and the first kernel spans all four.
                shape = (1, m, (4, kernel)) if i == 0 else (n, m, (1, kernel))
                layers += [
                    nn.Conv2d(*shape, padding=(0, kernel // 2)),
                    nn.ReLU(),
                    nn.MaxPool2d((1, pool), padding=(0, 1)),
                    nn.BatchNorm2d(m),
                ]
            else:
                layers += [
                    nn.Conv1d(n, m, kernel, padding=kernel // 2),
                    nn.ReLU(),
                    nn.MaxPool1d(pool, padding=1),
                    nn.BatchNorm1d(m),
                ]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(_flat_size(self.body, length), dense),
            nn.ReLU(),
            nn.Dropout(0.03),
            nn.Linear(dense, dense),
            nn.ReLU(),
            nn.Dropout(0.03),
            nn.Linear(dense, 81),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class DeepAITAC(nn.Module):
    """AI-TAC with eight convolutions, five of them pooled by 2, and three dense layers of 1000.

    The deep model of the timings of Sasse et al., iScience 27, 2024. Output (N, 81).
    """

    def __init__(self, length: int, width: float = 1.0) -> None:
        super().__init__()
        a, b, dense = (_scaled(n, width) for n in (300, 200, 1000))
        layers: list[nn.Module] = []
        sizes = ((4, a, 19), *((n, b, 11) for n in (a, b, b)), *((b, b, 7) for _ in range(4)))
        for i, (n, m, kernel) in enumerate(sizes):
            conv = nn.Conv1d(n, m, kernel, padding=kernel // 2)
            layers += [conv, nn.ReLU(), nn.BatchNorm1d(m)]
            if i >= 3:
                layers.append(nn.MaxPool1d(2))
        self.body = nn.Sequential(*layers, nn.Flatten())
        n = _flat_size(self.body, length)
        tail: list[nn.Module] = []
        for _ in range(3):
            tail += [nn.Linear(n, dense), nn.ReLU()]
            n = dense
        self.head = nn.Sequential(*tail, nn.Linear(dense, 81))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


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
        c, dense = _scaled(298, width), _scaled(512, width)
        self.first = nn.Conv1d(4, c, 19, padding=9, bias=False)
        self.pool = SoftmaxPool(2)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv1d(c, c, 7, padding=3, bias=False), nn.BatchNorm1d(c), nn.GELU())
            for _ in range(4)
        )
        left = length
        for _ in range(1 + len(self.blocks)):
            left = -(-left // 2)
        tail: list[nn.Module] = []
        n = c * left
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
