"""Parts of wide nets that treat rows, batches and units in ways of their own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Units(nn.Module):
    """The same channels for every unit, each with filters of its own."""

    def __init__(self, c: int, times: int, kernel: int) -> None:
        super().__init__()
        self.times = times
        self.conv = nn.Conv1d(c * times, 2 * times, kernel, groups=times, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x.repeat(1, self.times, 1)))


class Picked(nn.Module):
    """Channels and positions taken apart and put together otherwise."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.order = nn.Buffer(torch.tensor([2, 0, 1, 1]))

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "channels":
            return x[:, [1, 0, 1]]
        if self.kind == "index":
            return x.index_select(1, self.order[1:])
        if self.kind == "positions":
            return x.index_select(2, self.order)
        if self.kind == "unbound":
            parts = x.unbind(1)
            return torch.stack([parts[0] * parts[1], parts[1] - parts[0]], 1)
        if self.kind == "selected":
            return x.select(1, 0).unsqueeze(1) * x
        if self.kind == "chunks":
            first, second = x[:, :2].chunk(2, dim=1)
            return torch.cat([first.maximum(second), second], 1)
        if self.kind == "neighbours":
            return torch.cat([x[:, :, :-2], x[:, :, 1:-1], x[:, :, 2:]], 1)
        if self.kind == "ends":
            return torch.cat([x[:, :, -4:], x[:, :, :4]], 2)
        if self.kind == "turned":
            return torch.cat([x, x.flip([2])], 1)
        if self.kind == "rolled":
            return x - 0.5 * torch.roll(x, [3], [2])
        if self.kind == "interleaved":
            return torch.stack([x, torch.tanh(x)], 3).flatten(2)
        if self.kind == "repeated":
            return x.repeat_interleave(2, dim=2)
        assert self.kind == "written", self.kind
        y = x.clone()
        y[:, :, 1:4] = 0.5 * x[:, :, -3:]
        y[:, 0] *= -1.0
        return y


class OneBatch(nn.Module):
    """A layer on both strands at once, as a batch of twice the size."""

    def __init__(self, c: int, join: str) -> None:
        super().__init__()
        self.conv, self.join = nn.Conv1d(c, c, 4), join

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        y = torch.relu(self.conv(torch.cat([x, x.flip([1, 2])], 0)))
        if self.join == "max":
            return torch.maximum(y[:n], y[n:].flip([2]))
        return torch.cat([y[:n], y[n:].flip([2])], 1)


class Normed(nn.Module):
    """Norms that look at all positions, or at all channels."""

    def __init__(self, kind: str, c: int) -> None:
        super().__init__()
        self.kind = kind
        self.group = nn.GroupNorm(2 if c % 2 == 0 else 1, c)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "group":
            return self.group(x)
        if self.kind == "instance":
            return F.instance_norm(x, eps=0.1)
        if self.kind == "all":
            return F.layer_norm(x, [x.shape[1], x.shape[2]], eps=0.1)
        if self.kind == "length":
            return x / (1.0 + torch.linalg.vector_norm(x, dim=2, keepdim=True))
        if self.kind == "channels":
            return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 0.1)
        if self.kind == "largest":
            return x / (0.5 + x.abs().amax(2, keepdim=True))
        assert self.kind == "spread", self.kind
        return (x - x.mean(2, keepdim=True)) / (0.3 + x.std(2, keepdim=True))


class Resized(nn.Module):
    def __init__(self, factor: float, mode: str) -> None:
        super().__init__()
        self.factor, self.mode = factor, mode

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.factor, mode=self.mode)
