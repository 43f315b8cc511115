"""The dry run's time, on a clock that only the backend moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from tests.support.engine import config, fasta, sequences
from tests.support.engine_nets import L, conv, script, seeded
from yuzu_cli import engine
from yuzu_cli.backends.base import Block
from yuzu_cli.backends.naive import NaiveRunner
from yuzu_cli.engine.summary import Estimate

MUTANT = 1e-3
"""Seconds that a mutant takes on this clock."""


@pytest.mark.parametrize(
    ("keys", "passes"),
    [({}, 1), ({"compute__reverse_complement": True}, 2), ({"compute__shifts": [0, 1, -1]}, 3)],
    ids=["one", "strands", "shifts"],
)
@pytest.mark.parametrize("models", [1, 2])
def test_the_time_is_that_of_every_mutant(
    tmp_path: Path, models: int, keys: dict[str, Any], passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def blocks(self: NaiveRunner, codes: Tensor, positions: np.ndarray) -> Iterator[Block]:
        nonlocal now
        for block in true(self, codes, positions):
            now += MUTANT * len(block.index)
            yield block

    true = NaiveRunner.blocks
    monkeypatch.setattr(NaiveRunner, "blocks", blocks)
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr("yuzu_cli.engine.estimate.time", clock)
    fasta(tmp_path, sequences(9))
    paths = [script(seeded(conv, seed), tmp_path / f"{seed}.pt") for seed in range(models)]
    keys = {"run__dry_run": True, "compute__backend": "naive", **keys}
    found = engine.run(config(tmp_path, paths, **keys))
    assert isinstance(found, Estimate)
    assert found.seconds == pytest.approx(9 * L * 3 * MUTANT * models * passes)
