"""Layers of the wider random nets: (N, C, L) in and out, with other axes, masks, whole numbers and
global terms inside. All can be scripted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Image(nn.Module):
    """A 2-D convolution around a dummy axis, or over the letters as an axis; a pool after it."""

    def __init__(
        self,
        c: int,
        where: str,
        kernel: int,
        outer: int,
        dilation: int,
        outer_dilation: int,
        stride: int,
        pool: str,
    ) -> None:
        super().__init__()
        self.where = where
        lifted = where in ("N1CL", "N1LC")
        across = c if lifted else outer
        pad = 0 if lifted else outer_dilation * (outer - 1) // 2
        outer_dilation = 1 if lifted else outer_dilation
        turn = where in ("NCL1", "N1LC")

        def both(along: int, other: int) -> tuple[int, int]:
            return (along, other) if turn else (other, along)

        self.conv = nn.Conv2d(
            1 if lifted else c,
            4,
            both(kernel, across),
            both(stride, 1),
            both(kernel // 2, pad),
            both(dilation, outer_dilation),
        )
        pools = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}
        self.pool = pools[pool](both(2, 1), both(2, 1)) if pool in pools else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.where == "NC1L":
            x = x.unsqueeze(2)
        elif self.where == "NCL1":
            x = x.unsqueeze(3)
        elif self.where == "N1CL":
            x = x.unsqueeze(1)
        else:
            x = x.transpose(1, 2).unsqueeze(1)
        x = self.pool(torch.relu(self.conv(x)))
        if self.where == "NC1L" or self.where == "N1CL":
            return x.squeeze(2)
        return x.squeeze(3)


class Following(nn.Module):
    """Recurrent layers, of one or both directions; what they read or give turned or thinned."""

    def __init__(self, kind: str, c: int, layers: int, both: bool, first: bool, order: str) -> None:
        super().__init__()
        self.order, self.first = order, first
        options = {"num_layers": layers, "bidirectional": both, "batch_first": first}
        if kind in ("tanh", "relu"):
            self.inner: nn.Module = nn.RNN(c, 3, nonlinearity=kind, **options)
        elif kind == "gru":
            self.inner = nn.GRU(c, 3, **options)
        else:
            self.inner = nn.LSTM(c, 3, proj_size=2 if kind == "projected" else 0, **options)

    def forward(self, x: Tensor) -> Tensor:
        if self.order == "turned":
            x = x.flip([2])
        y = x.transpose(1, 2)
        if not self.first:
            y = y.transpose(0, 1)
        y = self.inner(y)[0]
        if not self.first:
            y = y.transpose(0, 1)
        y = y.transpose(1, 2)
        return y[:, :, 1::2] if self.order == "every second" else y


class Turned(nn.Module):
    """Layers on (N, L, C)."""

    def __init__(self, kind: str, c: int) -> None:
        super().__init__()
        self.kind = kind
        self.a, self.b = nn.Linear(c, 6), nn.Linear(6, c)
        self.norm = nn.LayerNorm(c)

    def forward(self, x: Tensor) -> Tensor:
        y = x.transpose(1, 2)
        if self.kind == "mlp":
            y = y + self.b(F.gelu(self.a(self.norm(y + 0.1 * y.cos()))))
        elif self.kind == "linear":
            y = self.a(y)
        elif self.kind == "softmax":
            y = torch.softmax(self.a(y), dim=2)
        elif self.kind == "flip":
            y = torch.tanh(self.a(y)).flip([1])
        elif self.kind == "pad":
            y = F.pad(self.a(y), [0, 0, 2, 1])
        elif self.kind == "rows":
            n, length, c = y.shape
            y = torch.tanh(self.a(y.reshape(n * length, c))).reshape(n, length, -1)
        else:
            assert self.kind == "glu", self.kind
            y = F.glu(self.a(y), dim=2)
        return y.transpose(1, 2)


class Hidden(nn.Module):
    """Attention in which scores are masked by minus infinity, beside its input."""

    def __init__(self, mask: str, c: int) -> None:
        super().__init__()
        self.mask = mask
        self.q, self.k, self.v = nn.Linear(c, 3), nn.Linear(c, 3), nn.Linear(c, c)

    def forward(self, x: Tensor) -> Tensor:
        y = x.transpose(1, 2)
        at = torch.arange(y.shape[1], device=x.device)
        apart = at[:, None] - at[None, :]
        if self.mask == "causal":
            hidden = apart < 0
        elif self.mask == "band":
            hidden = apart.abs() > 2
        else:
            hidden = (at > y.shape[1] // 2)[None, :].expand(len(at), len(at))
        scores = torch.tanh(self.q(y)) @ torch.tanh(self.k(y)).transpose(1, 2)
        scores = scores.masked_fill(hidden, float("-inf"))
        return x + (torch.softmax(scores, dim=-1) @ self.v(y)).transpose(1, 2)


class Covered(nn.Module):
    """Every third position hidden, in three ways."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.arange(x.shape[2], device=x.device) % 3 == 1
        if self.kind == "zero":
            return x.masked_fill(hidden, 0.0)
        if self.kind == "infinite":
            return torch.tanh(x.masked_fill(hidden, float("-inf")))
        if self.kind == "maximum":
            return F.max_pool1d(x.masked_fill(hidden, float("-inf")), 2)
        assert self.kind == "where", self.kind
        return torch.where(hidden, torch.zeros_like(x) - 0.3, x)


class Whole(nn.Module):
    """Whole numbers on the way: codes, flags, levels, counts."""

    def __init__(self, kind: str, c: int, length: int) -> None:
        super().__init__()
        self.kind = kind
        self.codes, self.flags = nn.Embedding(c, 4), nn.Embedding(2, 4)
        self.counts, self.words = nn.Embedding(length + 1, 1), nn.Embedding(c * c, 3)
        self.letters = c

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "codes":
            return self.codes(x.argmax(1)).transpose(1, 2)
        if self.kind == "words":
            codes = x.argmax(1)
            return self.words(codes[:, :-1] * self.letters + codes[:, 1:]).permute(0, 2, 1)
        if self.kind == "flags":
            return self.flags((x[:, 0] > 0.1173).long()).permute(0, 2, 1)
        if self.kind == "counts":
            return x * self.counts((x > 0.1173).sum(2))
        if self.kind == "levels":
            return 0.5 * x + torch.floor(3.0 * torch.tanh(x) + 0.0717)
        assert self.kind == "share", self.kind
        return x + (x > 0.0917).to(x.dtype).mean(2, keepdim=True)


class Mixed(nn.Module):
    """Products along channels, along positions, or of all with all."""

    def __init__(self, kind: str, c: int, length: int) -> None:
        super().__init__()
        self.kind = kind
        self.channels = nn.Parameter(torch.randn(c, 4) * 0.5)
        self.positions = nn.Parameter(torch.randn(length, 6) * length**-0.5)
        self.each = nn.Parameter(torch.randn(length, c, 3) * 0.5)
        self.more = nn.Parameter(torch.randn(2))

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[2]
        if self.kind == "channels":
            return torch.einsum("ncl,ck->nkl", x, self.channels)
        if self.kind == "positions":
            return torch.einsum("ncl,lk->nck", x, self.positions)
        if self.kind == "basis":
            return torch.matmul(torch.tanh(x), self.positions)
        if self.kind == "each":
            return torch.einsum("ncl,lck->nkl", x, self.each)
        if self.kind == "gram":
            y = torch.tanh(x)
            return torch.bmm(y, y.transpose(1, 2)) / length
        if self.kind == "grown":
            return (x.unsqueeze(-1) * self.more).flatten(2)
        if self.kind == "grown-channels":
            return (x.unsqueeze(2) * self.more[:, None]).flatten(1, 2)
        assert self.kind == "sum", self.kind
        return torch.tanh(x.unsqueeze(3) + self.more).sum(3)
