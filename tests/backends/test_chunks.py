"""Chunks of windowed: as large as memory allows, and smaller ones when it runs out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.conformance import loaded, settings_for, zoo_subject
from yuzu_cli.backends.windowed import WindowedRunner

LENGTH = 97


@pytest.fixture
def runner(tmp_path) -> WindowedRunner:
    model = loaded(zoo_subject("basset", LENGTH, 0.1), "scripted", tmp_path)
    return WindowedRunner(model, settings_for(model))


def deltas(runner: WindowedRunner, codes: torch.Tensor) -> torch.Tensor:
    blocks = list(runner.blocks(codes, np.arange(LENGTH)))
    index = torch.cat([block.index for block in blocks])
    return torch.cat([block.delta for block in blocks])[index.argsort()]


def tight(runner: WindowedRunner, most: int, error: Exception, monkeypatch) -> list[int]:
    """Memory for so many positions at a time; the positions that were tried."""
    tried, run = [], runner.machine.run

    def limited(positions, pairs):
        tried.append(len(positions))
        if len(positions) > most:
            raise error
        return run(positions, pairs)

    monkeypatch.setattr(runner.machine, "run", limited)
    return tried


def test_out_of_memory_halves_the_chunk_and_repeats_it_alone(runner, monkeypatch, caplog):
    codes = zoo_subject("basset", LENGTH, 0.1).sequences()
    runner.reference(codes)
    expected, full = deltas(runner, codes), runner.positions_per_chunk(len(codes))
    assert full >= LENGTH
    passes = []
    monkeypatch.setattr(runner, "_compute", lambda names: passes.append(names))
    error = torch.OutOfMemoryError("CUDA out of memory")
    tried = tight(runner, LENGTH // 4, error, monkeypatch)
    torch.testing.assert_close(deltas(runner, codes), expected, rtol=1e-4, atol=1e-6)
    assert tried == [97, 48, 24, 24, 49, 24, 25, 12, 13]
    assert not passes  # the sequences' own pass was not repeated
    assert "out of memory with 97 positions at a time; from here on half as many" in caplog.text
    assert runner.positions_per_chunk(len(codes)) <= full // 8 + 1


def test_one_position_too_many_is_an_error(runner, monkeypatch):
    codes = zoo_subject("basset", LENGTH, 0.1).sequences()
    runner.reference(codes)
    tight(runner, 0, torch.OutOfMemoryError("CUDA out of memory"), monkeypatch)
    with pytest.raises(torch.OutOfMemoryError):
        deltas(runner, codes)


def test_other_errors_are_not_memory(runner, monkeypatch):
    codes = zoo_subject("basset", LENGTH, 0.1).sequences()
    runner.reference(codes)
    tried = tight(runner, 0, RuntimeError("something else"), monkeypatch)
    with pytest.raises(RuntimeError, match="something else"):
        deltas(runner, codes)
    assert tried == [LENGTH]


def test_a_position_of_all_sequences_fits(runner):
    """However many sequences are worked on at a time, their chunk keeps to its memory."""
    assert runner.positions_per_chunk(runner.sequences) >= 1
    assert runner.chunk_bytes(runner.sequences) <= runner.settings.memory // 2
