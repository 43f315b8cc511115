"""Loops and branches that torch.export keeps as such: taken apart, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._higher_order_ops import map as torch_map
from torch._higher_order_ops import scan, while_loop

from tests.support.conformance import Subject, run
from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Settings

LENGTH = 31
mapped: Any = torch_map  # which is typed as if it took a tuple


class Rounds(nn.Module):
    """A convolution, and rounds over what it gives: by torch's operators, or in plain Python."""

    def __init__(self, how: str, plain: bool) -> None:
        super().__init__()
        self.how, self.plain = how, plain
        self.conv, self.mix, self.last = nn.Conv1d(4, 6, 5), nn.Linear(6, 6), nn.Linear(6, 2)
        self.first = nn.Buffer(torch.tensor(True))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv(x)).transpose(1, 2)
        state = y.mean(1)
        return self.last(self.in_python(y, state) if self.plain else self.by_torch(y, state))

    def in_python(self, y: Tensor, state: Tensor) -> Tensor:
        if self.how == "while_loop":
            for _ in range(3):
                state = torch.tanh(self.mix(state))
            return state
        if self.how == "cond":
            return torch.tanh(self.mix(state))
        if self.how == "map":
            return torch.stack([torch.tanh(self.mix(row)) for row in y.unbind(1)]).amax(0)
        made = []
        for row in y.unbind(1):
            state = torch.tanh(self.mix(state) + row)
            made.append(2 * state)
        return state + torch.stack(made).mean(0)

    def by_torch(self, y: Tensor, state: Tensor) -> Tensor:
        if self.how == "while_loop":
            begin = torch.tensor(0), state
            return while_loop(lambda i, s: i < 3, lambda i, s: (i + 1, self.round(s)), begin)[1]
        if self.how == "cond":
            return torch.cond(self.first, self.round, torch.relu, (state,))
        rows = y.transpose(0, 1)
        if self.how == "map":
            return mapped(self.round, rows).amax(0)

        def step(state: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
            state = torch.tanh(self.mix(state) + row)
            return state, 2 * state

        state, made = scan(step, state, rows)
        return state + made.mean(0)

    def round(self, state: Tensor) -> Tensor:
        return torch.tanh(self.mix(state))


def subject(how: str) -> Subject:
    """The loop as a file, judged beside plain Python."""

    def build(plain: bool = False) -> nn.Module:
        torch.manual_seed(3)
        return Rounds(how, plain).eval().requires_grad_(False)

    def function(dtype: torch.dtype, device: str = "cpu") -> Any:
        return build(plain=True).to(device, dtype)

    return Subject(f"rounds-{how}", LENGTH, build, function)


@pytest.mark.parametrize("backend", ["naive", "windowed"])
@pytest.mark.parametrize("how", ["while_loop", "scan", "cond", "map"])
def test_as_exact_as_plain_python(how: str, backend: str, tmp_path: Path) -> None:
    run(subject(how), "exported", backend, tmp_path)


class ByData(nn.Module):
    """Goes on, or chooses, as the sequences say, all of which say the same."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.last = how, nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean(2)
        if self.how == "cond":
            return self.last(torch.cond(y.sum() > -1, torch.tanh, torch.relu, (y,)))

        def more(i: Tensor, y: Tensor) -> Tensor:
            return (i < 3) & (y.sum() > -1)

        begin = torch.tensor(0), y
        return self.last(while_loop(more, lambda i, y: (i + 1, y / 2), begin)[1])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("while_loop", "depends on the data; let a counter end it after"),
        ("cond", "compute both and choose with torch.where"),
    ],
)
def test_what_depends_on_the_data_is_refused_in_one_sentence(
    how: str, said: str, tmp_path: Path
) -> None:
    chosen = Subject(
        f"by-data-{how}", LENGTH, lambda: ByData(how).eval(), lambda dtype: ByData(how)
    )
    model = chosen.load(chosen.save(tmp_path / "m.pt", "exported"))
    reason = get_backend("windowed").unsupported(model, Settings(LENGTH, torch.device("cpu")))
    assert reason is not None
    assert said in reason
    assert "\n" not in reason
