"""The naive backend, against a loop that makes one mutant at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.engine_nets import L, codes, conv, export, one_hot, script, seeded
from yuzu_cli.backends import BACKENDS, get_backend, passes
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.naive import NaiveRunner
from yuzu_cli.errors import UsageError
from yuzu_cli.model import Model, load_model

CPU = torch.device("cpu")


def loaded(tmp_path: Path, letters: int = 4) -> Model:
    net = seeded(lambda: conv(letters=letters))
    return load_model(script(net, tmp_path / "m.pt"), length=L, alphabet_size=letters)


def loop(
    model: Model, sequences: Tensor, positions: np.ndarray, letters: int, unknown: float
) -> dict[int, Tensor]:
    """Flat index -> delta of every mutant of a known letter that changes it, one at a time."""
    found = {}
    x = one_hot(sequences, letters, unknown)
    for b in range(len(sequences)):
        for m, position in enumerate(positions):
            here = int(sequences[b, position])
            for letter in range(letters):
                if here < letters and letter != here:
                    mutant = x[b : b + 1].clone()
                    mutant[0, here, position], mutant[0, letter, position] = 0, 1
                    index = (b * len(positions) + m) * letters + letter
                    found[index] = (model(mutant) - model(x[b : b + 1]))[0]
    return found


@pytest.mark.parametrize("letters", [4, 20])
@pytest.mark.parametrize("unknown", [0.0, 0.25])
@pytest.mark.parametrize(
    "positions", [range(L), range(3, 9), [7, 2, 23]], ids=["all", "some", "any"]
)
def test_every_mutant_once(tmp_path: Path, letters: int, unknown: float, positions: Any) -> None:
    model = loaded(tmp_path, letters)
    sequences = codes(3, letters=letters)
    sequences[0, 4] = sequences[2, 23] = 255
    where = np.array(positions)
    expected = loop(model, sequences, where, letters, unknown)
    runner = get_backend("naive").prepare(model, Settings(L, CPU, unknown=unknown))
    outputs = runner.reference(sequences)
    torch.testing.assert_close(outputs, model(one_hot(sequences, letters, unknown)))
    found = list(runner.blocks(sequences, where))
    index = torch.cat([block.index for block in found]).tolist()
    assert index == sorted(expected)
    delta = torch.cat([block.delta for block in found])
    torch.testing.assert_close(delta, torch.stack([expected[i] for i in index]), atol=1e-6, rtol=0)


def test_passes_are_cut_across_sequences(tmp_path: Path) -> None:
    model = loaded(tmp_path)
    runner = NaiveRunner(model, Settings(L, CPU), rows=50)
    runner.reference(codes(2))
    sizes = [len(block.index) for block in runner.blocks(codes(2), np.arange(L))]
    assert sizes == [50, 50, 44]


def test_a_fixed_batch_is_filled(tmp_path: Path) -> None:
    path = export(seeded(conv), tmp_path / "m.pt2", 5)
    runner = NaiveRunner(load_model(path, length=L), Settings(L, CPU, memory=1))
    assert runner.size.rows == 5


def test_one_pass_fits_the_memory(tmp_path: Path) -> None:
    model = loaded(tmp_path)
    cost, work, calls = passes.row_cost(model, Settings(L, CPU))
    # Convolutions (24 x 6 x 5 x 4 and 10 x 6 x 6 x 3) and the last layer (6 x 3).
    assert work == 24 * 6 * 20 + 10 * 6 * 18 + 18
    assert calls >= 6  # and as many for any number of rows
    assert 4 * (24 * 6 * 2 + 12 * 6) < cost < 4 * (24 * 6 * 2 + 12 * 6 * 3) * 2
    assert NaiveRunner(model, Settings(L, CPU, memory=cost * 40)).size.rows == 32
    assert NaiveRunner(model, Settings(L, CPU, memory=1)).size.rows == 1


class Short(Model):
    """Runs out of memory above so many rows."""

    limit = 10

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return super().forward(x)


def test_passes_are_halved_when_memory_runs_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = loaded(tmp_path)
    runner = NaiveRunner(model, Settings(L, CPU), rows=64)
    expected = runner.reference(codes(20))
    whole = torch.cat([block.delta for block in runner.blocks(codes(20), np.arange(4))])
    model.__class__ = Short
    torch.testing.assert_close(runner.reference(codes(20)), expected)
    halved = torch.cat([block.delta for block in runner.blocks(codes(20), np.arange(4))])
    torch.testing.assert_close(halved, whole, atol=1e-6, rtol=0)
    assert runner.size.rows == 8
    assert "at most 8 mutants in a forward pass" in caplog.text


def test_too_little_memory_for_one_row_is_an_error(tmp_path: Path) -> None:
    model = loaded(tmp_path)
    runner = NaiveRunner(model, Settings(L, CPU), rows=4)
    model.__class__ = type("Shorter", (Short,), {"limit": 0})
    with pytest.raises(torch.OutOfMemoryError):
        runner.reference(codes(1))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"), True),
        (MemoryError(), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory"), False),
    ],
    ids=str,
)
def test_what_counts_as_out_of_memory(error: BaseException, expected: bool) -> None:
    assert passes.is_out_of_memory(error) is expected


@pytest.mark.parametrize("name", BACKENDS)
def test_backends_are_what_the_table_says(name: str) -> None:
    assert get_backend(name).name == name


def test_no_such_backend() -> None:
    with pytest.raises(UsageError, match="no backend 'fast'"):
        get_backend("fast")
