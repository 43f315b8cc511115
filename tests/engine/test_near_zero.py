"""Outputs near zero, out of activations that are not: rounding there is no fault of windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.engine import config, done, fasta
from tests.support.engine_nets import codes, script, seeded
from yuzu_cli import engine


class Lifted(nn.Module):
    """A head on activations far from 0, as trained ones are: outputs are differences of sums."""

    def __init__(self, channels: int, targets: int, width: int) -> None:
        super().__init__()
        self.body = nn.Conv1d(channels, targets, width)
        level = 100.0 * self.body.weight.detach().sum([1, 2])
        self.register_buffer("level", level.unsqueeze(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x + 100.0) - self.level


class Splice(nn.Module):
    """Three classes at each of 5,000 positions, most of them near 0 (as SpliceAI's)."""

    length = 5400

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, 6, 1)
        self.layers = nn.ModuleList(nn.Conv1d(6, 6, 11, padding=5 * d, dilation=d) for d in (1, 4))
        self.head = Lifted(6, 3, 1)
        self.register_buffer("scale", torch.tensor([[20.0], [10.0], [10.0]]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = x + layer(torch.relu(x))
        return torch.softmax(self.scale * self.head(x)[:, :, 200:-200], 1)


class Counts(nn.Module):
    """A profile of logits at 1,000 positions that crosses 0 in many places (as ChromBPNet's)."""

    length = 1200

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, 8, 21, padding=10)
        self.layers = nn.ModuleList(nn.Conv1d(8, 8, 3, padding=d, dilation=d) for d in (2, 4, 8))
        self.head = Lifted(8, 1, 75)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        for layer in self.layers:
            x = x + torch.relu(layer(x))
        return self.head(x)[:, 0, 63:-63]


class Tracks(nn.Module):
    """Bins of many tracks, softplus of what is often far below 0 (as Basenji2's)."""

    length = 1024

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(5):
            layers += [nn.Conv1d(4 if i == 0 else 8, 8, 5, padding=2), nn.GELU(), nn.MaxPool1d(2)]
        self.tower = nn.Sequential(*layers)
        self.layers = nn.ModuleList(nn.Conv1d(8, 8, 3, padding=d, dilation=d) for d in (1, 2))
        self.head = Lifted(8, 300, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tower(x)
        for layer in self.layers:
            x = x + torch.relu(layer(x))
        return nn.functional.softplus(10 * self.head(x) - 6).flatten(1)


@pytest.mark.parametrize("save", [["delta"], ["l2"]], ids="+".join)
@pytest.mark.parametrize("net", [Splice, Counts, Tracks])
def test_outputs_near_zero_keep_windows(net: Any, save: list[str], tmp_path: Path) -> None:
    """A tolerance by each target's own output refused every one of these."""
    module = seeded(net)
    texts = ["".join("ACGT"[i] for i in row.tolist()) for row in codes(1, net.length)]
    fasta(tmp_path, texts)
    keys = {"mutate__center": 40, "score__save": save, "compute__backend": "auto"}
    summary = done(engine.run(config(tmp_path, [script(module, tmp_path / "m.pt")], **keys)))
    assert (summary.backend, summary.verified) == ("windowed", 32)
