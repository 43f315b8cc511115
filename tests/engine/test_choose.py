"""Which backend `auto` takes, by what each says of its work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.support import sequential
from tests.support.engine_nets import script, seeded
from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.passes import row_cost, row_seconds
from yuzu_cli.backends.windowed import WindowedRunner
from yuzu_cli.bench.papers import zoo
from yuzu_cli.engine.choose import choose
from yuzu_cli.model import Model, load_model

CPU = torch.device("cpu")
AT_LEAST = {"basset": 8, "deepsea": 6, "bpnet4": 5, "bpnet9": 1.5, "aitac3": 4}
"""By what factor less work windows are for published models, a quarter as wide; about half of
what is predicted today."""


class Mixed(nn.Module):
    """Every position of its first layer sees all letters: windows save nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(4, 16, 7, padding=3), nn.ReLU(), nn.Conv1d(16, 16, 7))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x + torch.fft.fft(x).abs()).mean(2)


def model_of(net: nn.Module, length: int, folder: Path) -> Model:
    return load_model(script(net, folder / "m.pt"), length=length)


def costs(model: Model) -> tuple[float, float]:
    """What windowed and naive say of one sequence."""
    settings = Settings(model.length, CPU)
    found = [
        get_backend(name).cost(model, settings, model.length) for name in ("windowed", "naive")
    ]
    return found[0], found[1]


@pytest.mark.parametrize("name", AT_LEAST)
def test_auto_takes_windows_for_published_models(name: str, tmp_path: Path) -> None:
    net = zoo.build(name, 600, 1, width=0.25)
    model = model_of(net, 600, tmp_path)
    windowed, naive = costs(model)
    assert AT_LEAST[name] * windowed < naive
    assert choose("auto", [model], Settings(600, CPU), 600).name == "windowed"


def test_windows_that_save_nothing_say_so(tmp_path: Path) -> None:
    """About the work of naive, and so not by a factor of what it is: neither nothing nor much."""
    windowed, naive = costs(model_of(seeded(Mixed), 60, tmp_path))
    assert 0.8 * naive < windowed < 1.25 * naive


def test_a_scan_of_many_tiny_calls_is_left_to_naive(tmp_path: Path) -> None:
    """Windows do less of the arithmetic, and start more than a thousand things to do so."""
    model = model_of(seeded(lambda: sequential.Mamba(width=8)), 60, tmp_path)
    windowed, naive = costs(model)
    assert windowed > naive
    assert choose("auto", [model], Settings(60, CPU), 60).name == "naive"


def test_what_is_started_counts_the_more_the_fewer_mutants_share_it(tmp_path: Path) -> None:
    model = model_of(zoo.build("basset", 600, 1, width=0.25), 600, tmp_path)
    much, little = (Settings(600, CPU, memory=n) for n in (1 << 30, 1 << 20))
    cost = row_cost(model, much)
    assert row_seconds(model, little, cost) > 1.05 * row_seconds(model, much, cost)
    few, many = (WindowedRunner(model, s).seconds() for s in (little, much))
    assert few > 1.05 * many


def test_a_model_that_is_no_graph_is_left_to_naive(tmp_path: Path) -> None:
    class Decides(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x[:, 0].sum(1, keepdim=True)
            for _ in range(int(x[:, 1].sum()) * 0 + 2):
                y = y + torch.tanh(x[:, 2].sum(1, keepdim=True))
            return y

    model = model_of(Decides(), 60, tmp_path)
    assert choose("auto", [model], Settings(60, CPU), 60).name == "naive"
