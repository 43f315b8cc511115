"""Models with infinities and NaNs inside and finite outputs: windows give naive's effects, or NaN.

A NaN among the effects is seen and mended by naive; a wrong number is not.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.support import programs, properties

INF = float("inf")


def over(h: Tensor) -> Tensor:
    return 1 / torch.relu(h)


def log(h: Tensor) -> Tensor:
    return torch.log(torch.relu(h))


def huge(h: Tensor) -> Tensor:
    return torch.exp(500 * h)


SEEN = {
    "isinf": lambda h, conv: torch.isinf(over(h)).float(),
    "isinf-conv": lambda h, conv: conv(torch.isinf(over(h)).float()),
    "isinf-of-conv": lambda h, conv: torch.isinf(conv(over(h))).float(),
    "isnan": lambda h, conv: torch.isnan(over(h) - over(h)).float(),
    "isnan-of-two-convs": lambda h, conv: torch.isnan(conv(conv(over(h)))).float(),
    "above": lambda h, conv: ((over(h) - over(h - 0.05)) > 0).float(),
    "above-two-convs": lambda h, conv: (conv(conv(over(h))) > 0).float(),
    "conv-tanh": lambda h, conv: torch.tanh(conv(over(h))).nan_to_num(),
    "two-convs": lambda h, conv: torch.tanh(conv(conv(over(h)))).nan_to_num(),
    "pool-conv": lambda h, conv: conv(F.avg_pool1d(over(h), 3)).nan_to_num(0.0, 1.0, -1.0),
    "log": lambda h, conv: conv(torch.nan_to_num(log(h), neginf=-3.0)),
    "ratio": lambda h, conv: conv((h / torch.relu(h)).nan_to_num(posinf=1.0, neginf=-1.0)),
    "zero-times": lambda h, conv: torch.nan_to_num(huge(h) * 0, nan=1.0),
    "softmax": lambda h, conv: torch.softmax(h.masked_fill(h < 0, -INF), 1).nan_to_num() * h,
    "logits": lambda h, conv: torch.softmax(h + torch.log((h > 0).float()), -1).nan_to_num(),
    "where": lambda h, conv: torch.where(h > 0, log(h), torch.zeros_like(h)),
    "products": lambda h, conv: torch.matmul(over(h).mT, h.abs()).nan_to_num(0, 1, -1).sum(1, True),
    "sum": lambda h, conv: torch.isinf(over(h).sum(2, keepdim=True)).float(),
    "sort": lambda h, conv: (over(h).sort(2)[0][:, :, 3:9]).clamp(max=2.0),
}
THROUGH = {
    "exp-log": lambda h, conv: conv(torch.exp(log(h))),
    "clamp-log": lambda h, conv: conv(log(h).clamp(min=-5)),
    "max-log": lambda h, conv: log(h).amax(2, keepdim=True).clamp(min=-9.0),
    "pool-log": lambda h, conv: conv(F.max_pool1d(log(h), 3).clamp(min=-9)),
    "softmax-positions": lambda h, conv: torch.softmax(h.masked_fill(h < -0.2, -INF), 2) * h,
    "min": lambda h, conv: torch.where(h > 0, h, INF).amin(2, keepdim=True).clamp(max=4),
    "over-over": lambda h, conv: conv(1 / over(h)),
    "over-sum": lambda h, conv: 1 / over(h + 0.3).sum(2, keepdim=True),
    "clamp-huge": lambda h, conv: conv(huge(h).clamp(max=2.0)),
    "tanh-huge": lambda h, conv: torch.sigmoid(conv(torch.tanh(huge(h)))),
    "rsqrt": lambda h, conv: conv(torch.relu(h).rsqrt().clamp(max=2.0)),
    "sum-logs": lambda h, conv: torch.exp(log(h + 0.5).sum(2, keepdim=True)).clamp(max=5),
    "logit": lambda h, conv: torch.sigmoid(torch.logit(h.clamp(0, 1))),
    "atan": lambda h, conv: conv(torch.atan(over(h))),
    "logsumexp": lambda h, conv: torch.logsumexp(log(h - 0.3), 2, keepdim=True).clamp(min=-9),
    "norm": lambda h, conv: 1 / torch.linalg.vector_norm(over(h + 0.2), dim=1, keepdim=True),
    "cumsum": lambda h, conv: torch.exp(log(h + 0.9).cumsum(2)),
    "flip": lambda h, conv: over(h).flip(2).clamp(max=3.0),
    "sum-channels": lambda h, conv: 1 / over(h + 0.3).sum(1, keepdim=True),
}
FAMILIES = {**SEEN, **THROUGH}


class Model(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.name = name
        self.first, self.second = nn.Conv1d(4, 6, 5, padding=2), nn.Conv1d(6, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return FAMILIES[self.name](self.first(x), self.second).mean(2)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_infinities_are_right_or_seen(name):
    model = Model(name).eval()
    codes = torch.randint(4, (2, 24), generator=torch.Generator().manual_seed(0))
    y = model(properties.mutants(codes).float()).reshape(2, 4, 24, -1)
    reference = model(properties.one_hot(codes, torch.float32)).reshape(2, 1, 1, -1)
    assert torch.isfinite(y).all()
    exact = (y - reference).permute(0, 3, 1, 2).double()
    found = programs.windowed(programs.captured(model, 24, torch.float32), codes.to(torch.uint8))
    if name in SEEN:  # what follows would hide a NaN: there must be none
        assert torch.isfinite(found).all()
    told = torch.isfinite(found)
    torch.testing.assert_close(found[told], exact[told], rtol=1e-4, atol=1e-5)
