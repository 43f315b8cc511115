"""Models that were saved for one sequence, or for another fixed number of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.support.engine_nets import L, codes, conv, export, one_hot, seeded, trace
from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Settings
from yuzu_cli.model import Model, load_model


class Mixed(nn.Module):
    """What vmap has no rule for, or a bad one: norms, recurrent layers, fused attention."""

    def __init__(self, kind: Callable[..., nn.Module], batch_first: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.batch_first = nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), batch_first
        self.states = kind(6, 4, 2, bidirectional=True, batch_first=batch_first)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.last = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.conv(x)))
        y = self.states(y.transpose(1, 2) if self.batch_first else y.permute(2, 0, 1))[0]
        y = y + self.attention(y, y, y, need_weights=False)[0]
        return self.last(y.mean(1 if self.batch_first else 0))


class Draws(nn.Module):
    """Draws (always nothing), which vmap does not do; with a batch of one in it when traced."""

    def __init__(self) -> None:
        super().__init__()
        self.net = conv(targets=2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.net(x).reshape(int(x.shape[0]), 2)
        return y + torch.bernoulli(torch.zeros_like(y))


pytestmark = [
    pytest.mark.filterwarnings("ignore:The tensor attributes self.states"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning"),
]


def reason(model: Model) -> str | None:
    return get_backend("windowed").unsupported(model, Settings(L, model.device))


@pytest.mark.parametrize("batch_first", [True, False], ids=["rows-first", "positions-first"])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_one_sequence_becomes_any_number(
    tmp_path: Path, kind: Callable[..., nn.Module], batch_first: bool
) -> None:
    net, x = seeded(lambda: Mixed(kind, batch_first)), one_hot(codes(5))
    model = load_model(export(net, tmp_path / "m.pt2", 1), length=L)
    assert (model.batch_range, reason(model)) == ((1, None), None)
    for rows in (1, 2, 5):
        torch.testing.assert_close(model(x[:rows]), net(x[:rows]))


def test_gradients_pass(tmp_path: Path) -> None:
    net, x = seeded(lambda: Mixed(nn.LSTM, True)), one_hot(codes(3))
    model = load_model(export(net, tmp_path / "m.pt2", 1), length=L)
    found, wanted = (
        torch.autograd.grad(call(there).sum(), there)[0]
        for call, there in ((model, x.clone().requires_grad_()), (net, x.clone().requires_grad_()))
    )
    torch.testing.assert_close(found, wanted)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_what_cannot_be_lifted_is_left_alone(tmp_path: Path) -> None:
    net, x = seeded(Draws), one_hot(codes(3))
    model = load_model(trace(net, tmp_path / "m.pt", x[:1]), length=L)
    assert model.fixed_batch == 1
    assert "batch of 1 only; use torch.jit.script" in str(reason(model))
    torch.testing.assert_close(model(x), net(x))


def test_a_fixed_number_says_how_to_export(tmp_path: Path) -> None:
    net = seeded(conv)
    model = load_model(export(net, tmp_path / "m.pt2", 4), length=L)
    said = str(reason(model))
    assert said.startswith("it was exported for a batch of 4 only; give torch.export.export")
    shapes = eval(said.split("dynamic_shapes=")[1])  # what it says to write is what helps
    program = torch.export.export(net, (torch.zeros(2, 4, L),), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "free.pt2")
    free = load_model(tmp_path / "free.pt2", length=L)
    assert (free.batch_range[1], reason(free)) == (None, None)


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = conv(targets=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.ifft(torch.fft.fft(self.net(x))).real


def test_values_may_have_any_name(tmp_path: Path) -> None:
    net, x = seeded(Named), one_hot(codes(3))
    torch.testing.assert_close(load_model(export(net, tmp_path / "m.pt2"), length=L)(x), net(x))
