"""Variances and norms over positions, from windows: where little is left of much."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.support import oracle, programs

LENGTH = 40


class Statistic(nn.Module):
    """A statistic over the positions of how often the letters AA come, and a number."""

    def __init__(self, kind: str, raised: float) -> None:
        super().__init__()
        self.kind, self.raised = kind, raised
        self.first = nn.Conv1d(4, 2, 2)
        with torch.no_grad():
            self.first.weight.zero_()[:, 0] = torch.tensor([[0.5, 0.5], [0.31, 0.69]])
            self.first.bias = nn.Parameter(torch.full((2,), -0.9))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x)) + self.raised
        if self.kind == "norm":
            return torch.linalg.vector_norm(y, 2, -1)
        if self.kind == "root":
            return torch.sqrt(y.var(-1))
        return y.std(-1) if self.kind == "std" else y.var(-1)


@torch.no_grad()
@pytest.mark.parametrize("raised", [0.0, 3.0, 30.0])
@pytest.mark.parametrize("kind", ["norm", "var", "std", "root"])
def test_little_is_left_of_much(kind, raised):
    """One pair of letters makes all of the variance, and most edits beside it take it away."""
    codes = torch.full((2, LENGTH), 1, dtype=torch.uint8)
    codes[0, 20:22] = 0
    codes[1, [0, 1, 30]] = 0
    seen = programs.captured(Statistic(kind, raised), LENGTH, torch.float32)
    assert any(seen.operators[name] != "aten.relu.default" for name in seen.endings)
    found = programs.windowed(seen, codes)
    for one, row in zip(found, codes, strict=True):
        exact = oracle.saturation(Statistic(kind, raised).double(), row, range(LENGTH))
        naive = oracle.naive_error(Statistic(kind, raised), exact, row, range(LENGTH))
        oracle.assert_exact(one, exact, naive, slack=1.5)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["norm", "std", "root"])
def test_what_is_gone_is_nothing(kind):
    """Exactly: what divides by it must find out."""
    codes = torch.full((1, LENGTH), 1, dtype=torch.uint8)
    codes[0, 20:22] = 0
    seen = programs.captured(Statistic(kind, 0.0), LENGTH, torch.float32)
    x = oracle.one_hot(codes[0], 4, torch.float32)[None]
    before = Statistic(kind, 0.0)(x)[0].double()
    gone = programs.windowed(seen, codes)[0, :, 2, 20] + before
    assert float(gone.abs().max()) <= 2e-7 * float(before.max())
