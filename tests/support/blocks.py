"""Small scriptable modules that the awkward architectures of the tests are put together from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Gated(nn.Module):
    def __init__(self, value: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.value, self.gate = value, gate

    def forward(self, x: Tensor) -> Tensor:
        return self.value(x) * torch.sigmoid(self.gate(x))


class Cat(nn.Module):
    """Branches side by side, joined along an axis."""

    def __init__(self, *branches: nn.Module, dim: int = 1) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        parts: list[Tensor] = []
        for branch in self.branches:
            parts.append(branch(x))
        return torch.cat(parts, dim=self.dim)


class Permute(nn.Module):
    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.dims: list[int] = list(dims)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.dims)


class Slice(nn.Module):
    """Positions start to stop, both as Python slices count."""

    def __init__(self, start: int, stop: int, step: int = 1) -> None:
        super().__init__()
        self.start, self.stop, self.step = start, stop, step

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, self.start : self.stop : self.step]


class Pad(nn.Module):
    def __init__(self, left: int, right: int, mode: str = "constant", value: float = 0.0) -> None:
        super().__init__()
        self.pad: list[int] = [left, right]
        self.mode, self.value = mode, value

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "constant":
            return F.pad(x, self.pad, value=self.value)
        return F.pad(x, self.pad, mode=self.mode)


class Flip(nn.Module):
    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.dims: list[int] = list(dims)

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(self.dims)


class Strands(nn.Module):
    """One body over a sequence and its reverse complement, turned back where positions remain."""

    def __init__(self, body: nn.Module, join: str, turn: bool = True) -> None:
        super().__init__()
        self.body, self.join, self.turn = body, join, turn

    def forward(self, x: Tensor) -> Tensor:
        plus, minus = self.body(x), self.body(x.flip([1, 2]))
        if self.turn:
            minus = minus.flip([2])
        if self.join == "max":
            return torch.maximum(plus, minus)
        if self.join == "mean":
            return (plus + minus) / 2
        return torch.cat([plus, minus], dim=1)


class Reduce(nn.Module):
    """A reduction over one axis."""

    def __init__(self, kind: str, dim: int = 2, keepdim: bool = False) -> None:
        super().__init__()
        self.kind, self.dim, self.keepdim = kind, dim, keepdim

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "sum":
            return x.sum(self.dim, self.keepdim)
        if self.kind == "mean":
            return x.mean(self.dim, self.keepdim)
        if self.kind == "max":
            return x.max(self.dim, self.keepdim)[0]
        if self.kind == "amax":
            return x.amax(self.dim, self.keepdim)
        if self.kind == "min":
            return x.amin(self.dim, self.keepdim)
        if self.kind == "logsumexp":
            return x.logsumexp(self.dim, self.keepdim)
        if self.kind == "std":
            return x.std(self.dim, keepdim=self.keepdim)
        if self.kind == "norm":
            return torch.linalg.vector_norm(x, dim=self.dim, keepdim=self.keepdim)
        if self.kind == "top3":
            return x.topk(3, self.dim)[0].mean(self.dim, self.keepdim)
        if self.kind == "middle":
            return x[:, :, x.shape[2] // 2]
        if self.kind == "both":
            return x.mean(dim=[1, 2]).unsqueeze(1)
        assert self.kind == "last", self.kind
        return x.select(self.dim, -1)


class Point(nn.Module):
    """A function of one element at a time, or of the channels of one position."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "exp":
            return torch.exp(x)
        if self.kind == "log":
            return torch.log(1e-2 + x * x)
        if self.kind == "log1p":
            return torch.log1p(x.clamp(min=0.0))
        if self.kind == "power":
            return x.abs().pow(1.5)
        if self.kind == "clamp":
            return x.clamp(-0.5, 1.0)
        if self.kind == "where":
            return torch.where(x > 0.3, x * x, 0.1 * x + 0.06)
        if self.kind == "normalise":
            return F.normalize(x, dim=1)
        if self.kind == "softmax":
            return torch.softmax(x, dim=1)
        if self.kind == "rational":
            return (x - 1.0) / (2.0 + x.abs())
        assert self.kind == "sine", self.kind
        return torch.sin(2.0 * x) + torch.cos(x)


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


class Position(nn.Module):
    """A learned vector added at every position."""

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(channels, length))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


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


class Unsqueeze(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(self.dim)


class Squeeze(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze(self.dim)


def settle(model: nn.Module) -> nn.Module:
    """Weights at scales that keep activations alive, norms that are not the identity; eval mode.

    Draws from torch's global generator: call it inside a fork of it.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.Linear):
            parametrized = torch.nn.utils.parametrize.is_parametrized(module)
            if not parametrized:
                module.weight.data.mul_(6**0.5)  # torch's default is a third of 1 / fan-in
        for name in ("running_mean", "running_var"):
            statistic = getattr(module, name, None)
            if isinstance(statistic, Tensor):
                low, high = (-0.2, 0.6) if name == "running_mean" else (0.3, 1.5)
                statistic.uniform_(low, high)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.3, 0.5)
    return model.eval().requires_grad_(False)
