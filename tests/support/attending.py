"""Attention in its spellings: parts of `tests.support.published`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.support.case import Case


class Spelled(nn.Module):
    """A convolution, a pool, one attention spelled by hand, a mean.

    `sharp` is a factor of the logits: rows whose largest share changes hands.
    """

    def __init__(
        self, length: int, how: str, heads: int = 2, mask: str = "", sharp: float = 1.0
    ) -> None:
        super().__init__()
        c, places = 8, (length - 4) // 3
        self.how, self.heads, self.mask = how, heads, mask
        self.scale = sharp * (c // heads) ** -0.5
        self.conv = nn.Conv1d(4, c, 5)
        self.place = nn.Parameter(torch.randn(places, c) * 0.3)
        self.query, self.key, self.value = nn.Linear(c, c), nn.Linear(c, c), nn.Linear(c, c)
        self.drop, self.last = nn.Dropout(0.3), nn.Linear(c, 3)
        at = torch.arange(places)
        far = (at[:, None] - at[None, :]).abs()
        self.near = nn.Buffer(far < 6)
        self.after = nn.Buffer(at[:, None] < at[None, :])
        self.bias = nn.Buffer(-0.1 * far * torch.arange(1, heads + 1)[:, None, None])

    def masked(self, logits: Tensor) -> Tensor:
        if self.mask == "near":
            return logits.masked_fill(~self.near, -1e9)
        if self.mask == "after":
            return logits.masked_fill(self.after, float("-inf"))
        return logits + self.bias if self.mask == "bias" else logits

    def forward(self, x: Tensor) -> Tensor:
        y = F.max_pool1d(torch.relu(self.conv(x)), 3).transpose(1, 2) + self.place
        n, places, c = y.shape
        h, d = self.heads, c // self.heads
        q, k, v = self.query(y), self.key(y), self.value(y)
        if self.how == "einsum":
            q, k, v = q.view(n, places, h, d), k.view(n, places, h, d), v.view(n, places, h, d)
            logits = torch.einsum("bihd,bjhd->bhij", q * self.scale, k)
            shares = self.drop(torch.softmax(self.masked(logits), -1))
            made = torch.einsum("bhij,bjhd->bihd", shares, v).reshape(n, places, c)
            return self.last(torch.relu(made + y).mean(1))
        q = q.view(n, places, h, d).transpose(1, 2)
        k = k.view(n, places, h, d).transpose(1, 2)
        v = v.view(n, places, h, d).transpose(1, 2)
        if self.how == "bmm":
            q, k, v = (
                q.reshape(n * h, places, d), k.reshape(n * h, places, d),
                v.reshape(n * h, places, d),
            )  # fmt: skip
            logits = torch.bmm(q, k.transpose(1, 2)) * self.scale
            logits = self.masked(logits.view(n, h, places, places))
            shares = torch.softmax(logits, -1).view(n * h, places, places)
            made = torch.bmm(self.drop(shares), v).view(n, h, places, d)
        elif self.how == "matmul":
            logits = torch.matmul(q, k.transpose(-2, -1)) / (1 / self.scale)
            made = torch.matmul(self.drop(torch.softmax(self.masked(logits), -1)), v)
        elif self.mask == "bias":
            made = F.scaled_dot_product_attention(q, k, v, self.bias, scale=self.scale)
        elif self.mask == "near":
            made = F.scaled_dot_product_attention(q, k, v, self.near, scale=self.scale)
        else:
            made = F.scaled_dot_product_attention(
                q, k, v, is_causal=self.mask == "after", scale=self.scale
            )
        made = made.transpose(1, 2).reshape(n, places, c)
        return self.last(torch.relu(made + y).mean(1))


class Heads(nn.Module):
    """A convolution, a pool, heads of attention each with layers of its own, a layer over all."""

    def __init__(self, wide: int = 8, head: int = 4, heads: int = 2, pool: int = 4) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, wide, 13, padding=6), nn.BatchNorm1d(wide)
        self.queries = nn.ModuleList([nn.Linear(wide, head) for _ in range(heads)])
        self.keys = nn.ModuleList([nn.Linear(wide, head) for _ in range(heads)])
        self.values = nn.ModuleList([nn.Linear(wide, head) for _ in range(heads)])
        self.over, self.last = nn.Linear(head * heads, wide // 2), nn.Linear(wide // 2, 3)
        self.head, self.pool, self.drop = head, pool, nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool1d(torch.relu(self.norm(self.conv(x))), self.pool).transpose(1, 2)
        made: list[Tensor] = []
        for q, k, v in zip(self.queries, self.keys, self.values):  # noqa: B905 (TorchScript)
            logits = torch.matmul(q(x), k(x).transpose(-2, -1)) / math.sqrt(self.head)
            shares = self.drop(F.softmax(logits, dim=-1))
            made.append(torch.relu(torch.matmul(shares, v(x))))
        y = torch.relu(self.over(torch.cat(made, 2)))
        return self.last(y.sum(1))


class Turned(nn.Module):
    """torch's own layer as it is by default, positions before sequences, and a mask."""

    def __init__(self, length: int, masked: bool) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv1d(4, 8, 5), nn.Linear(8, 2)
        self.attention, self.masked = nn.MultiheadAttention(8, 2), masked
        places = (length - 4) // 3
        self.after = nn.Buffer(torch.ones(places, places, dtype=torch.bool).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        y = F.max_pool1d(torch.relu(self.conv(x)), 3).permute(2, 0, 1)
        made = self.attention(y, y, y, attn_mask=self.after if self.masked else None)[0]
        return self.last((made + y).mean(0))


class ClassToken(nn.Module):
    """A token before the positions, two transformer layers, what the token has become."""

    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv1d(4, 8, 5), nn.Linear(8, 2)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        one = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(one, layers, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.max_pool1d(torch.relu(self.conv(x)), 3).transpose(1, 2)
        y = torch.cat([self.token.expand(y.shape[0], -1, -1), y], 1)
        return self.last(self.layers(y)[:, 0])


class Told(nn.Module):
    """Causal attention twice, of which one position is read, the middle of a profile, or a mean."""

    def __init__(self, length: int, reads: str, c: int = 8) -> None:
        super().__init__()
        self.conv, self.last, self.reads = nn.Conv1d(4, c, 5), nn.Linear(c, 2), reads
        self.projects = nn.ModuleList([nn.Linear(c, 3 * c) for _ in range(2)])
        self.mixes = nn.ModuleList([nn.Linear(c, c) for _ in range(2)])
        self.place = nn.Parameter(torch.randn(length - 4, c) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv(x)).transpose(1, 2) + self.place
        for project, mix in zip(self.projects, self.mixes):  # noqa: B905 (TorchScript)
            n, places, c = y.shape
            q, k, v = project(y).view(n, places, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
            made = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            y = y + torch.tanh(mix(made.transpose(1, 2).reshape(n, places, c)))
        if self.reads == "mean":
            return self.last(y.mean(1))
        return self.last(y[:, -1]) if self.reads == "last" else self.last(y)[:, 12:17].flatten(1)


class Asked(nn.Module):
    """Learned queries that ask all positions, with heads: no query changes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv1d(4, 8, 5), nn.Linear(24, 2)
        self.asked = nn.Parameter(torch.randn(1, 3, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = F.max_pool1d(torch.relu(self.conv(x)), 2).transpose(1, 2)
        q = self.asked.expand(y.shape[0], -1, -1)
        return self.last(self.attention(q, y, y)[0].flatten(1))


ATTENDING: list[Case] = [
    *(
        Case(f"attention-{how}-{mask or 'plain'}", lambda n, a=how, m=mask: Spelled(n, a, 2, m), 49)
        for how, mask in (
            ("sdpa", ""), ("sdpa", "after"), ("sdpa", "bias"), ("sdpa", "near"),
            ("matmul", ""), ("matmul", "after"), ("einsum", "bias"), ("bmm", "near"),
        )
    ),
    Case("attention-one-head", lambda n: Spelled(n, "matmul", 1, ""), 50),
    Case("attention-four-heads", lambda n: Spelled(n, "sdpa", 4, ""), 51),
    Case("attention-sharp", lambda n: Spelled(n, "matmul", 2, "", sharp=40.0), 52),
    Case("attention-sharp-causal", lambda n: Spelled(n, "sdpa", 2, "after", sharp=40.0), 52),
    Case("like-satori-heads", lambda n: Heads(), 70),
    Case("attention-turned", lambda n: Turned(n, False), 44),
    Case("attention-turned-mask", lambda n: Turned(n, True), 44),
    Case("attention-class-token", lambda n: ClassToken(), 43),
    Case("attention-causal-last", lambda n: Told(n, "last"), 33),
    Case("attention-causal-middle", lambda n: Told(n, "middle"), 33),
    Case("attention-asked", lambda n: Asked(), 45),
]  # fmt: skip
