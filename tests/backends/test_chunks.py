"""Chunks of windowed: as large as memory allows, and smaller ones when it runs out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.card_runs import carried, computing_on_card
from tests.support.conformance import loaded, settings_for, zoo_subject
from tests.support.peak import Living
from yuzu_cli.backends.windowed import WindowedRunner

LENGTH = 97
PROMISED = 256 << 20


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


ZOO = (
    ("basset", 300, 0.2), ("deepsea", 300, 0.1), ("toynet", 300, 0.5), ("bpnet9", 300, 0.3),
    ("aitac-residual", 251, 0.2),
)  # fmt: skip


@pytest.mark.parametrize("on_card", [False, True], ids=["CPU", "card"])
@pytest.mark.parametrize(("name", "length", "width"), ZOO, ids=[name for name, _, _ in ZOO])
def test_what_lives_is_no_more_than_was_promised(name, length, width, on_card, tmp_path):
    """References, registers, tables and what kernels make, with as many sequences as are taken."""
    model = loaded(zoo_subject(name, length, width), "scripted", tmp_path)
    with computing_on_card(values=False) if on_card else Living() as count:
        there = carried(model) if on_card else model
        runner = WindowedRunner(there, settings_for(there, memory=PROMISED))
        codes = torch.zeros(min(200, runner.sequences), length, dtype=torch.uint8)
        codes = codes.to(there.device)
        before = count.peak = count.live
        runner.reference(codes)
        blocks = 0
        for block in runner.blocks(codes, np.arange(length)):
            blocks += block.delta.shape[0] > 0
    assert blocks > 1
    assert PROMISED // 8 < count.peak - before <= PROMISED


def test_what_lives_is_counted():
    with Living() as count:
        x = torch.zeros(1000)
        y = x[:10] + 1
        z = x.view(10, 100)
        assert (count.live, count.peak) == (4040, 4040)
        del x, y
        assert (count.live, count.peak) == (4000, 4040)
        del z
    assert count.live == 0


def test_a_position_of_all_sequences_fits(runner):
    """However many sequences are worked on at a time, their chunk keeps to its memory."""
    assert runner.positions_per_chunk(runner.sequences) >= 1
    assert runner.chunk_bytes(runner.sequences) <= runner.settings.memory // 2
