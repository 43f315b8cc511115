"""Nets for splicing, polyadenylation and chromatin, as published."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.support.blocks import Residual
from tests.support.case import seq


class SpliceBlock(nn.Module):
    """Two dilated convolutions beside the identity, and what the skip path takes of it."""

    def __init__(self, c: int, kernel: int, dilation: int) -> None:
        super().__init__()
        options: dict[str, Any] = {"padding": dilation * (kernel // 2), "dilation": dilation}
        half = [nn.BatchNorm1d(c), nn.ReLU(), nn.Conv1d(c, c, kernel, **options)]
        again = [nn.BatchNorm1d(c), nn.ReLU(), nn.Conv1d(c, c, kernel, **options)]
        self.body, self.skip = Residual(*half, *again), nn.Conv1d(c, c, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(x)
        return x, self.skip(x)


class Splice(nn.Module):
    """Residual blocks of two dilated convolutions, skips, a crop, classes by softmax."""

    def __init__(self, tissues: int, width: int = 1) -> None:
        super().__init__()
        c = 6 * width
        self.first, self.skip = nn.Conv1d(4, c, 1), nn.Conv1d(c, c, 1)
        self.blocks = nn.ModuleList()
        for kernel, dilation in ((5, 1), (5, 2), (3, 4)):
            self.blocks.append(SpliceBlock(c, kernel, dilation))
        self.heads = nn.ModuleList()
        for _ in range(tissues):
            self.heads.append(nn.Conv1d(c, 2 if tissues > 1 else 3, 1))
        self.tissues = tissues

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        total = self.skip(x)
        for block in self.blocks:
            x, more = block(x)
            total = total + more
        total = total[:, :, 20:-20]
        parts: list[Tensor] = []
        for head in self.heads:
            y = head(total)
            if self.tissues > 1:
                parts.append(F.softmax(y, dim=1))
                parts.append(torch.sigmoid(y[:, :1]))
            else:
                parts.append(F.softmax(y, dim=1))
        return torch.cat(parts, dim=1)


class Aparent(nn.Module):
    """Dilated residuals over an image of positions by one, and a softmax over cut positions that
    has one place for none.
    """

    def __init__(self, length: int, width: int = 1) -> None:
        super().__init__()
        c = 6 * width
        self.first = nn.Conv2d(1, c, (1, 4))
        self.blocks = seq(
            *(
                Residual(
                    nn.BatchNorm2d(c),
                    nn.ReLU(),
                    nn.Conv2d(c, c, (3, 1), dilation=(d, 1), padding=(d, 0)),
                )
                for d in (1, 2, 4)
            )
        )
        self.score = nn.Conv2d(c, 1, 1)
        self.bias = nn.Parameter(torch.randn(length))
        self.none = nn.Linear(length, 1)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.score(self.blocks(self.first(x))).squeeze(3).squeeze(1)
        scores = scores + self.bias
        return torch.softmax(torch.cat([scores, self.none(scores)], 1), dim=1)


class Sei(nn.Module):
    """A linear and a rectified path that are added, dilated residuals, a basis over positions."""

    def __init__(self, length: int, width: int = 1) -> None:
        super().__init__()
        c = 6 * width
        self.linear = seq(nn.Conv1d(4, c, 9, padding=4), nn.Conv1d(c, c, 9, padding=4))
        self.rest = seq(nn.Conv1d(c, c, 9, padding=4), nn.ReLU())
        self.linear2 = seq(nn.MaxPool1d(4), nn.Conv1d(c, c, 9, padding=4))
        self.rest2 = seq(nn.Conv1d(c, c, 9, padding=4), nn.ReLU())
        self.dilated = seq(
            *(Residual(nn.Conv1d(c, c, 5, dilation=d, padding=2 * d), nn.ReLU()) for d in (2, 4, 5))
        )
        at = torch.linspace(0.0, 1.0, length // 4)[:, None]
        basis = torch.exp(-(((at - torch.linspace(0, 1, 5)) / 0.2) ** 2))
        self.basis = nn.Buffer(0.02 * basis / basis.sum(0))
        self.head = seq(nn.Linear(5 * c, 8), nn.ReLU(), nn.Linear(8, 3), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        linear = self.linear(x)
        linear = self.linear2(self.rest(linear) + linear)
        y = self.dilated(self.rest2(linear) + linear)
        return self.head(torch.matmul(y, self.basis).flatten(1))
