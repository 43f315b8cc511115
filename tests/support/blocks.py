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


class Position(nn.Module):
    """A learned vector added at every position."""

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(channels, length))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


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
