"""Small networks for the tests of the engine, and the ways they get into files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

L = 24
Net = TypeVar("Net", bound=nn.Module)


def seeded(make: Callable[[], Net], seed: int = 0) -> Net:
    """A network with the same weights every time, in inference mode."""
    torch.manual_seed(seed)
    return make().eval()


def conv(channels: int = 6, targets: int = 3, letters: int = 4) -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(letters, channels, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(channels, channels, 3),
        nn.Tanh(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(channels, targets),
    )


class Profile(nn.Module):
    """A profile (N, 2, L - 4) and counts (N, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv1d(4, 5, 5)
        self.profile = nn.Conv1d(5, 2, 1)
        self.counts = nn.Linear(5, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(self.body(x))
        return self.profile(hidden), self.counts(hidden.mean(2))


def script(net: nn.Module, path: Path) -> Path:
    torch.jit.script(net).save(str(path))
    return path


def trace(net: nn.Module, path: Path, *example: Tensor) -> Path:
    torch.jit.trace(net, example or (torch.zeros(2, 4, L),), check_trace=False).save(str(path))
    return path


def export(net: nn.Module, path: Path, batch: int | None = None) -> Path:
    """As .pt2; with a free batch axis, or one of `batch` rows only."""
    dynamic = {0: torch.export.Dim("rows")} if batch is None else None
    shapes = None if dynamic is None else (dynamic,)
    program = torch.export.export(net, (torch.zeros(batch or 2, 4, L),), dynamic_shapes=shapes)
    torch.export.save(program, str(path))
    return path


def codes(rows: int, length: int = L, letters: int = 4, seed: int = 1) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(letters, (rows, length), generator=draw, dtype=torch.uint8)


def one_hot(codes: Tensor, letters: int = 4, unknown: float = 0.0) -> Tensor:
    x = torch.zeros(len(codes), letters, codes.shape[1])
    for row, sequence in enumerate(codes.tolist()):
        for position, letter in enumerate(sequence):
            if letter < letters:
                x[row, letter, position] = 1
            else:
                x[row, :, position] = unknown
    return x


class Dictionary(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"mean": x.mean(2), "profile": x}


class Extra(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = conv(targets=2)

    def forward(self, condition: Tensor, x: Tensor, gain: float = 1.0) -> Tensor:
        return self.net(x) * condition * gain
