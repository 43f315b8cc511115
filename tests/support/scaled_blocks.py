"""Blocks in which what one position holds changes all others: gates, norms, attention, orders."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Blocks(nn.Module):
    """Softmax-weighted pooling over blocks of positions; weights from the values or learned."""

    def __init__(self, size: int, channels: int, learned: bool) -> None:
        super().__init__()
        self.size = size
        self.logits = nn.Conv2d(channels, channels, 1, bias=False) if learned else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        n, c, length = x.shape
        missing = -length % self.size
        values = F.pad(x, [0, missing]).reshape(n, c, -1, self.size)
        mask = torch.zeros([1, 1, length], dtype=torch.bool, device=x.device)
        mask = F.pad(mask, [0, missing], value=True).reshape(1, 1, -1, self.size)
        logits = self.logits(values).masked_fill(mask, -1e9)
        return (values * logits.softmax(dim=3)).sum(dim=3)


class Weigh(nn.Module):
    """Pooling by attention over all positions, as published models and their wrappers spell it."""

    def __init__(self, kind: str, channels: int) -> None:
        super().__init__()
        self.kind = kind
        self.logits = nn.Conv1d(channels, 1, 3, padding=1)
        self.project = nn.Linear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "product":
            return (torch.softmax(4.0 * self.logits(x), dim=-1) * x).sum(dim=-1)
        if self.kind == "own":
            return (x * torch.softmax(x, dim=2)).sum(dim=2, keepdim=True)
        if self.kind == "masked":
            logits = self.logits(x).masked_fill(x[:, :1] < 0.1, -1e9)
            return (torch.softmax(logits, dim=-1) * x).sum(dim=-1)
        if self.kind == "edges":  # flags and whole numbers that move
            flags = F.pad((x > 0.2)[:, :, 1:], [2, 1], value=False)[:, :, :-2]
            ranks = (8.0 * x).long().flip(2)
            return (torch.softmax(self.logits(x), dim=-1) * flags * ranks.to(x.dtype)).sum(dim=-1)
        if self.kind == "matrix":
            x = x.transpose(1, 2)
            weights = torch.softmax(self.project(x), dim=1)
            return torch.matmul(weights.transpose(1, 2), x).squeeze(1)
        if self.kind == "einsum":
            weights = torch.softmax(3.0 * self.project(x.transpose(1, 2)).squeeze(2), dim=-1)
            return torch.einsum("bl,bcl->bc", weights, x)
        if self.kind == "log":
            weights = torch.log_softmax(self.logits(x), dim=-1)
            return torch.log((torch.exp(weights) * torch.relu(x)).sum(dim=-1) + 0.1)
        if self.kind == "profile":
            x = x - x.mean(dim=-1, keepdim=True)
            return (x * torch.softmax(x.detach(), dim=-1)).sum(dim=-1)
        assert self.kind == "strands", self.kind
        x = x.reshape(x.shape[0], -1)
        x = x - torch.mean(x, dim=-1, keepdim=True)
        return (x * torch.softmax(x.detach(), dim=-1)).sum(dim=-1, keepdim=True)


class Excite(nn.Module):
    """Squeeze and excitation: channels scaled by a function of their means over positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(channels, 3), nn.Linear(3, channels)

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.sigmoid(self.up(torch.relu(self.down(x.mean(2)))))
        return x * scale.unsqueeze(2)


class Response(nn.Module):
    """Channels scaled by their norms over positions beside those of the others (ConvNeXt V2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(1, channels, 1))
        self.shift = nn.Parameter(torch.randn(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        size = torch.norm(x, p=2, dim=2, keepdim=True)
        share = size / (size.mean(dim=1, keepdim=True) + 1e-6)
        return self.scale * (x * share) + self.shift + x


class Steady(nn.Module):
    """Every channel over the root of its mean square along the positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(2, keepdim=True) + 1e-5) * self.scale


class Glance(nn.Module):
    """Sum over all positions, weighted by a softmax over positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.score = nn.Conv1d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.score(x).softmax(dim=2)).sum(2)


class Attention(nn.Module):
    """Multi-head self-attention over positions, (N, C, L) in and out."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = x.transpose(1, 2)
        return self.inner(y, y, y, need_weights=False)[0].transpose(1, 2)


class Recurrent(nn.Module):
    """A recurrent layer over positions, (N, C, L) in and out."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.transpose(1, 2))[0].transpose(1, 2)


class Mix(nn.Module):
    """Operations that move, mix or rewrite positions in ways of their own."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        n, c, length = x.shape
        if self.kind == "cumsum":
            return x.cumsum(2)
        if self.kind == "cummax":
            return x.cummax(2)[0]
        if self.kind == "roll":
            return torch.roll(x, 5, dims=2)
        if self.kind == "gram":
            return torch.bmm(x, x.transpose(1, 2))
        if self.kind == "pairs":
            return (x.unsqueeze(3) * x.unsqueeze(2)).flatten(2)
        if self.kind == "depth":
            return x.reshape(n, c, length // 2, 2).transpose(2, 3).reshape(n, 2 * c, length // 2)
        if self.kind == "shuffle":
            return x.reshape(n, 2, c // 2, length).transpose(1, 2).reshape(n, c, length)
        if self.kind == "unfold":
            return x.unfold(2, 6, 2).amax(3)
        if self.kind == "halves":
            first, second = x.chunk(2, dim=2)
            return first * second
        if self.kind == "rewrite":
            y = x.clone()
            y[:, :, :3] = 0.0
            y[:, 1] *= 2.0
            y += 0.1
            return y
        if self.kind == "fourier":
            return torch.fft.rfft(x, dim=2).abs()
        if self.kind == "sort":
            return x.sort(2)[0]
        if self.kind == "differences":
            return x[:, :, 1:] - x[:, :, :-1]
        if self.kind == "outside":
            return x - x.mean(2, keepdim=True)
        if self.kind == "ramp":
            return x * torch.linspace(0.5, 1.5, length, device=x.device, dtype=x.dtype)
        assert self.kind == "repeat", self.kind
        return x.repeat_interleave(2, dim=2)
