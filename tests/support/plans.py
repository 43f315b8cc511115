"""What tests of plans share: a model worth coding, and the settings it is planned for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.support.cli import LENGTH
from yuzu_cli.backends.base import Settings


def write_model(path: Path, seed: int) -> str:
    torch.manual_seed(seed)
    module = torch.nn.Sequential(
        torch.nn.Conv1d(4, 6, 5, padding=2),
        torch.nn.ReLU(),
        torch.nn.Conv1d(6, 6, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(6 * LENGTH, 3),
    ).eval()
    torch.jit.script(module).save(str(path))
    return str(path)


def settings_for(matrix: str, **options: Any) -> Settings:
    return Settings(LENGTH, torch.device("cpu"), matrix=matrix, **options)


def same(x: torch.Tensor | None, y: torch.Tensor | None) -> bool:
    return x is not None and y is not None and torch.equal(x, y)
