"""The first-order backend: exact on linear models, and the formula of the paper on others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.engine_nets import L, codes, conv, one_hot, script, seeded
from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.naive import NaiveRunner
from yuzu_cli.backends.taylor import TaylorRunner
from yuzu_cli.model import Model, load_model

POSITIONS = np.arange(2, 20)


def settings(memory: int = 1 << 30) -> Settings:
    return Settings(L, torch.device("cpu"), memory=memory)


def loaded(tmp_path: Path, net: nn.Module) -> Model:
    return load_model(script(net, tmp_path / "m.pt"), length=L)


def gathered(runner: TaylorRunner | NaiveRunner, sequences: Tensor) -> Tensor:
    """Deltas (B, M, A, T); NaN where there is none."""
    outputs = runner.reference(sequences)
    found = torch.full((len(sequences) * len(POSITIONS) * 4, outputs.shape[1]), torch.nan)
    for block in runner.blocks(sequences, POSITIONS):
        columns = found[:, block.targets]
        assert columns[block.index].isnan().all()
        columns[block.index] = block.delta
    return found.reshape(len(sequences), len(POSITIONS), 4, -1)


def formula(net: nn.Module, sequences: Tensor) -> Tensor:
    """grad[b] - grad[ref], one sequence and one target at a time."""
    rows = []
    for sequence in sequences:
        x = one_hot(sequence[None]).requires_grad_()
        y = net(x)[0]
        per_target = []
        for value in y:
            (grad,) = torch.autograd.grad(value, x, retain_graph=True)
            here = torch.stack([grad[0, int(c), i] for i, c in enumerate(sequence)])
            per_target.append((grad[0] - here).T[POSITIONS])
        rows.append(torch.stack(per_target, -1))
    return torch.stack(rows)


@pytest.mark.parametrize("rows", [1, 2, 100])
@pytest.mark.parametrize("vectorised", [True, False])
def test_the_formula(tmp_path: Path, rows: int, vectorised: bool) -> None:
    net, sequences = seeded(lambda: conv(targets=5)), codes(4)
    runner = TaylorRunner(loaded(tmp_path, net), settings())
    assert runner.vectorised
    runner.vectorised, runner.rows = vectorised, rows
    torch.testing.assert_close(runner.reference(sequences), net(one_hot(sequences)))
    expected = formula(net, sequences)
    torch.testing.assert_close(gathered(runner, sequences), expected, atol=1e-6, rtol=1e-4)


def test_exact_on_a_linear_model(tmp_path: Path) -> None:
    net = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(4 * L, 3)))
    model, sequences = loaded(tmp_path, net), codes(3)
    exact = gathered(NaiveRunner(model, settings()), sequences).nan_to_num(0.0)
    found = gathered(TaylorRunner(model, settings()), sequences)
    torch.testing.assert_close(found, exact, atol=1e-6, rtol=1e-4)


def test_unknown_letters_are_finite(tmp_path: Path) -> None:
    sequences = codes(2)
    sequences[0, 5] = 255
    runner = TaylorRunner(loaded(tmp_path, seeded(conv)), settings())
    assert gathered(runner, sequences).isfinite().all()


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x.transpose(1, 2))[0][:, -1]


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2).sum(2)


@pytest.mark.parametrize("make", [Recurrent, InPlace])
def test_awkward_models(tmp_path: Path, make: type[nn.Module]) -> None:
    net, sequences = seeded(make), codes(3)
    runner = TaylorRunner(loaded(tmp_path, net), settings())
    if make is Recurrent:
        expected = formula(net, sequences)
        torch.testing.assert_close(gathered(runner, sequences), expected, atol=1e-6, rtol=1e-4)
    assert gathered(runner, sequences).isfinite().all()


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(x.shape[0], 2) + (x.sum(2) > 3).sum(1, keepdim=True)


def test_a_model_without_gradient_is_refused(tmp_path: Path) -> None:
    reason = get_backend("taylor").unsupported(loaded(tmp_path, Constant()), settings())
    assert reason is not None
    assert "differentiable" in reason
    assert get_backend("taylor").unsupported(loaded(tmp_path, conv()), settings()) is None


def test_works_where_gradients_are_switched_off(tmp_path: Path) -> None:
    net, sequences = seeded(conv), codes(2)
    expected = formula(net, sequences)
    with torch.no_grad():
        runner = TaylorRunner(loaded(tmp_path, net), settings())
        torch.testing.assert_close(gathered(runner, sequences), expected, atol=1e-6, rtol=1e-4)
