"""Published models that read positions one after the other, or all against all: parts of
`tests.support.published`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DanQ(nn.Module):
    """A convolution, a pool, a recurrent layer both ways, dense layers on all its states."""

    def __init__(self, length: int, width: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 6 * width, 11)
        self.states = nn.LSTM(6 * width, 4 * width, bidirectional=True, batch_first=True)
        self.dense = nn.Linear(8 * width * ((length - 10) // 6), 8 * width)
        self.last = nn.Linear(8 * width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool1d(torch.relu(self.conv(x)), 6, 6)
        y, _ = self.states(x.transpose(1, 2))
        y = y.transpose(1, 2).flatten(1)
        return torch.sigmoid(self.last(torch.relu(self.dense(y))))


class DreamRNN(nn.Module):
    """Two widths of filters, a recurrent layer at full length, two widths again, a mean."""

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        c = 3 * width
        self.near, self.far = nn.Conv1d(4, c, 5, padding=2), nn.Conv1d(4, c, 9, padding=4)
        self.states = nn.LSTM(2 * c, c, bidirectional=True, batch_first=True)
        self.near2 = nn.Conv1d(2 * c, c, 5, padding=2)
        self.far2 = nn.Conv1d(2 * c, c, 9, padding=4)
        self.last = nn.Conv1d(2 * c, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([torch.relu(self.near(x)), torch.relu(self.far(x))], 1)
        x = self.states(x.permute(0, 2, 1))[0].permute(0, 2, 1)
        x = torch.cat([torch.relu(self.near2(x)), torch.relu(self.far2(x))], 1)
        return F.softmax(3 * self.last(x).mean(2), dim=1)


class ConvGRU(nn.Module):
    """Convolutions with norms over channels, a gated recurrent layer backwards, its last state."""

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        c, h = 6 * width, 5 * width
        self.conv, self.conv2 = nn.Conv1d(4, c, 5), nn.Conv1d(c, c, 5)
        self.norm = nn.LayerNorm(c)
        self.states = nn.GRU(c, h, batch_first=True)
        self.last = nn.Linear(h, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = torch.relu(self.norm(x.transpose(1, 2))).transpose(1, 2)
        x = F.max_pool1d(self.conv2(x), 3)
        _, state = self.states(torch.relu(x).transpose(1, 2).flip([1]))
        return self.last(state[-1])


class Satori(nn.Module):
    """A convolution, a pool, positions as waves, a transformer block, a mean."""

    def __init__(self, length: int, width: int = 1) -> None:
        super().__init__()
        c, places = 8 * width, (length - 4) // 5
        self.conv, self.norm = nn.Conv1d(4, c, 5), nn.BatchNorm1d(c)
        angles = torch.arange(places)[:, None] * 0.7 ** torch.arange(c // 2)[None, :]
        self.waves = nn.Buffer(torch.cat([angles.sin(), angles.cos()], 1))
        self.attention = nn.MultiheadAttention(c, 2, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(c), nn.LayerNorm(c)
        self.up, self.down = nn.Linear(c, 12 * width), nn.Linear(12 * width, c)
        self.last = nn.Linear(c, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool1d(torch.relu(self.norm(self.conv(x))), 5)
        x = x.transpose(1, 2) + self.waves
        x = self.norm1(x + self.attention(x, x, x)[0])
        x = self.norm2(x + self.down(torch.relu(self.up(x))))
        return self.last(x.mean(1))


class Mamba(nn.Module):
    """A selective scan: states that decay and fill as the input says, position after position."""

    def __init__(self, in_place: bool = False, width: int = 1) -> None:
        super().__init__()
        c, self.states = 4 * width, 3
        self.lift, self.drop = nn.Linear(4, 2 * c), nn.Linear(c, 2)
        self.near = nn.Conv1d(c, c, 3, padding=2, groups=c)
        self.steps = nn.Linear(c, c)
        self.reads, self.writes = nn.Linear(c, self.states), nn.Linear(c, self.states)
        self.decay = nn.Parameter(torch.rand(c, self.states))
        self.in_place = in_place

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[2]
        y, gate = self.lift(x.transpose(1, 2)).chunk(2, dim=-1)
        y = F.silu(self.near(y.transpose(1, 2))[:, :, :length]).transpose(1, 2)
        step = F.softplus(self.steps(y))
        keep = torch.exp(-step.unsqueeze(-1) * self.decay)
        fill = (step * y).unsqueeze(-1) * self.writes(y).unsqueeze(2)
        reads = self.reads(y)
        state = torch.zeros_like(keep[:, 0])
        if self.in_place:
            made = torch.zeros_like(y)
            for i in range(length):
                state = keep[:, i] * state + fill[:, i]
                made[:, i] = (state * reads[:, i].unsqueeze(1)).sum(-1)
        else:
            parts: list[Tensor] = []
            for i in range(length):
                state = keep[:, i] * state + fill[:, i]
                parts.append((state * reads[:, i].unsqueeze(1)).sum(-1))
            made = torch.stack(parts, 1)
        return self.drop((made + y) * F.silu(gate)).mean(1)


class LinearAttention(nn.Module):
    """Attention without a softmax: keys times values summed so far, read by the queries."""

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        c = 6 * width
        self.conv, self.norm = nn.Conv1d(4, c, 5, padding=2), nn.LayerNorm(c)
        self.query, self.key, self.value = nn.Linear(c, 3), nn.Linear(c, 3), nn.Linear(c, c)
        self.up, self.down, self.last = nn.Linear(c, 2 * c), nn.Linear(2 * c, c), nn.Linear(c, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv(x)).transpose(1, 2)
        q, k, v = torch.sigmoid(self.query(y)), torch.sigmoid(self.key(y)), self.value(y)
        sums = torch.cumsum(k.unsqueeze(3) * v.unsqueeze(2), 1)
        y = self.norm(y + 0.1 * (q.unsqueeze(3) * sums).sum(2))
        return self.last((y + self.down(F.silu(self.up(y)))).mean(1))


class Tokens(nn.Module):
    """Words of k letters as tokens, an embedding, a transformer layer, the mean."""

    def __init__(self, length: int, k: int, width: int = 1) -> None:
        super().__init__()
        c, self.k = 8 * width, k
        self.table = nn.Embedding(4**k, c)
        self.place = nn.Parameter(torch.randn(length - k + 1, c) * 0.3)
        self.norm = nn.LayerNorm(c)
        self.layer = nn.TransformerEncoderLayer(
            c, 2, 12 * width, batch_first=True, activation="gelu"
        )
        self.last = nn.Linear(c, 2)

    def forward(self, x: Tensor) -> Tensor:
        codes = x.argmax(1)
        count = codes.shape[1] - self.k + 1
        tokens = torch.zeros_like(codes[:, :count])
        for i in range(self.k):
            tokens = tokens * 4 + codes[:, i : i + count]
        y = self.layer(self.norm(self.table(tokens) + self.place))
        return self.last(y.mean(1))


class Hyena(nn.Module):
    """Letters as tokens, gates around a causal convolution as long as the sequence, by spectra."""

    def __init__(self, length: int, width: int = 1) -> None:
        super().__init__()
        c = 6 * width
        self.table, self.norm = nn.Embedding(4, c), nn.LayerNorm(c)
        self.lift, self.drop = nn.Linear(c, 3 * c), nn.Linear(c, c)
        self.near = nn.Conv1d(3 * c, 3 * c, 3, padding=2, groups=3 * c)
        at = torch.arange(length)
        self.far = nn.Parameter(torch.randn(c, length) * torch.exp(-at / 15.0))
        self.skip = nn.Parameter(torch.randn(c, 1))
        self.mlp = nn.Sequential(
            nn.LayerNorm(c), nn.Linear(c, 8 * width), nn.GELU(), nn.Linear(8 * width, c)
        )
        self.last = nn.Linear(c, 2)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[2]
        y = self.table(x.argmax(1))
        z = self.near(self.lift(self.norm(y)).transpose(1, 2))[:, :, :length]
        first, second, value = z.chunk(3, dim=1)
        value = value * second
        spectrum = torch.fft.rfft(value, n=2 * length) * torch.fft.rfft(self.far, n=2 * length)
        far = torch.fft.irfft(spectrum, n=2 * length)[:, :, :length]
        value = (far + value * self.skip) * first
        y = y + self.drop(value.transpose(1, 2))
        return self.last((y + self.mlp(y))[:, -1])


class ByDistance(nn.Module):
    """Attention with logits for every distance, shifted into place by strides or by views."""

    def __init__(self, c: int, heads: int, length: int, strides: bool) -> None:
        super().__init__()
        self.heads, self.strides = heads, strides
        self.query, self.key, self.value, self.out = (nn.Linear(c, c) for _ in range(4))
        self.far = nn.Parameter(torch.randn(heads, c // heads, 2 * length - 1) * 0.5)
        self.content = nn.Parameter(torch.randn(heads, 1, c // heads) * 0.3)
        self.place = nn.Parameter(torch.randn(heads, 1, c // heads) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        n, length, c = x.shape
        h = self.heads
        q, k, v = (
            y.view(n, length, h, c // h).transpose(1, 2)
            for y in (self.query(x), self.key(x), self.value(x))
        )
        near = torch.matmul(q + self.content, k.transpose(2, 3))
        far = torch.matmul(q + self.place, self.far)
        wide = 2 * length - 1
        if self.strides:
            rows = length * wide
            steps = (h * rows, rows, wide - 1, 1)
            far = far.contiguous().as_strided((n, h, length, length), steps, length - 1)
        else:
            far = torch.cat([torch.zeros_like(far[..., :1]), far], -1)
            far = far.reshape(n, h, wide + 1, length)[:, :, 1:].reshape(n, h, length, wide)
            far = far[..., :length]
        y = torch.matmul(torch.softmax(near + far, -1), v)
        return self.out(y.transpose(1, 2).reshape(n, length, c))


class Borzoi(nn.Module):
    """A tower, a transformer, and back up by two steps with what the tower had there."""

    def __init__(self, length: int, strides: bool) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, 6, 7, padding="same")
        self.first, self.second = nn.BatchNorm1d(6), nn.BatchNorm1d(8)
        self.conv, self.deep = (
            nn.Conv1d(6, 8, 5, padding="same"),
            nn.Conv1d(8, 8, 5, padding="same"),
        )
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.attention = ByDistance(8, 2, length // 8, strides)
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)
        self.beside, self.above = nn.Conv1d(8, 8, 1), nn.Conv1d(8, 8, 1)
        self.join = nn.Conv1d(8, 8, 3, padding="same", groups=8)
        self.last = nn.Conv1d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool1d(self.stem(x), 2)
        x = self.conv(F.gelu(self.first(x), approximate="tanh"))
        kept = F.max_pool1d(x, 2)
        y = F.max_pool1d(self.deep(F.gelu(self.second(kept), approximate="tanh")), 2)
        y = y.transpose(1, 2)
        y = y + self.attention(self.norm1(y))
        y = y + self.down(torch.relu(self.up(self.norm2(y))))
        y = F.interpolate(self.above(y.transpose(1, 2)), scale_factor=2.0) + self.beside(kept)
        return F.softplus(self.last(self.join(y)[:, :, 2:-2]))
