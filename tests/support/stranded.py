"""Both strands as sequences of one batch, and profiles of crops, as published models have them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.support.case import flat, seq


class BothAtOnce(nn.Module):
    """Sequence and reverse complement as one batch of twice the size; the mean of both."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.body = flat(
            length, nn.Conv1d(4, 6, 9), nn.ReLU(), nn.MaxPool1d(4), nn.Conv1d(6, 6, 3), nn.ELU()
        )

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        y = self.body(torch.cat([x, x[:, [3, 2, 1, 0]].flip([2])], 0))
        return (y[:n] + y[n:]) / 2


class BothInTurn(BothAtOnce):
    """Each sequence followed by its reverse complement, told apart by steps or as pairs."""

    def __init__(self, length: int, pairs: bool) -> None:
        super().__init__(length)
        self.pairs = pairs
        self.weights = nn.Buffer(torch.tensor([[1.0], [-0.5]]))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(torch.stack([x, x[:, [3, 2, 1, 0]].flip([2])], 1).flatten(0, 1))
        if self.pairs:
            return torch.relu(y.view(x.shape[0], 2, -1) * self.weights).mean(1)
        return torch.maximum(y[0::2], y[1::2])


class BothRepeated(BothAtOnce):
    """Each sequence twice, every second one turned in place."""

    def forward(self, x: Tensor) -> Tensor:
        both = x.repeat_interleave(2, dim=0)
        both[1::2] = both[1::2].flip([1, 2])
        y = self.body(both)
        return torch.maximum(y[0::2], y[1::2])


class BothStacked(BothAtOnce):
    """Both strands on an axis before that of the sequences; told apart by that, or as halves."""

    def __init__(self, length: int, halves: bool) -> None:
        super().__init__(length)
        self.halves = halves

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(torch.stack([x, x.flip([1, 2])], 0).flatten(0, 1))
        if self.halves:
            return torch.maximum(y[: x.shape[0]], y[x.shape[0] :])
        return y.view(2, -1, y.shape[1]).logsumexp(0)


class Cropped(nn.Module):
    """A layer that shortens, and its input cut as much on both sides."""

    def __init__(self, layer: nn.Module, crop: int) -> None:
        super().__init__()
        self.layer, self.crop = layer, crop

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, self.crop : -self.crop] + torch.relu(self.layer(x))


class ChromBPNet(nn.Module):
    """Dilated residuals with crops, a profile of logits and a count, and a bias net beside."""

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        c = 6 * width
        self.first = nn.Conv1d(4, c, 9)
        self.dilated = seq(*(Cropped(nn.Conv1d(c, c, 3, dilation=d), d) for d in (2, 4)))
        self.profile, self.count = nn.Conv1d(c, 1, 15), nn.Linear(c, 1)
        self.bias = nn.Conv1d(4, 1, 21)

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias(x)
        y = self.dilated(torch.relu(self.first(x)))
        logits = self.profile(y)
        missing = (bias.shape[2] - logits.shape[2]) // 2
        logits = (logits + bias[:, :, missing : missing + logits.shape[2]]).flatten(1)
        count = self.count(y.mean(2))
        return torch.cat([logits - logits.mean(1, keepdim=True), count.logsumexp(1, True)], 1)
