"""Verification: what it finds, what it must not find, what it computes and what it says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.engine_nets import L, codes, conv, script, seeded
from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Block, Runner, Settings
from yuzu_cli.backends.naive import NaiveRunner, mutant_index
from yuzu_cli.engine import draw, verify
from yuzu_cli.model import Model, load_model

CPU = torch.device("cpu")
POSITIONS = np.arange(L)
SETTINGS = Settings(L, CPU)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return load_model(script(seeded(conv), tmp_path / "m.pt"), length=L)


class Wrong(NaiveRunner):
    """Naive, but for the mutants that `where` picks: those are off by `by`."""

    by = 0.01
    seen = 0

    def where(self, codes: Tensor, position: Tensor, block: Block) -> Tensor:
        """Which rows of the block are wrong; by default one in five."""
        return torch.arange(len(block.index)) % 5 == 0

    def blocks(self, codes: Tensor, positions: np.ndarray) -> Iterator[Block]:
        at = torch.as_tensor(positions)
        for block in super().blocks(codes, positions):
            self.seen += len(block.index)
            position = at[block.index // self.model.alphabet_size % len(positions)]
            bad = self.where(codes, position, block)
            yield Block(block.index, block.delta + self.by * bad[:, None])


def check(model: Model, runner: Runner, rows: Tensor | None = None, **options: Any) -> verify.Check:
    rows = codes(4) if rows is None else rows
    where = np.arange(rows.shape[1])
    settings = Settings(rows.shape[1], CPU)
    return verify.check(model, runner, settings, rows.numpy(), where, 32, "float32", **options)


# --- what it finds --------------------------------------------------------------------------------


@pytest.mark.parametrize(("by", "passed"), [(0.0, True), (1e-8, True), (0.01, False)])
def test_a_wrong_backend_is_found(model: Model, by: float, passed: bool) -> None:
    runner = Wrong(model, SETTINGS)
    runner.by = by
    found = check(model, runner)
    assert (found.mutants, found.passed) == (32, passed)
    assert found.error("delta") == pytest.approx(by, abs=1e-7)


def test_a_small_effect_does_not_hide_behind_a_large_output(tmp_path: Path) -> None:
    """An output of 1000 that is off by 1e-3: no more than 8 times its own spacing, and wrong."""

    class High(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = conv()

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x) * 10 + 1000

    model = load_model(script(seeded(High), tmp_path / "m.pt"), length=L)
    runner = Wrong(model, SETTINGS)
    runner.by = 0.0
    assert check(model, runner).passed
    runner.by = 1e-3
    assert not check(model, runner).passed


def test_missing_mutants_do_not_pass(model: Model) -> None:
    class Half(NaiveRunner):
        def blocks(self, codes: Tensor, positions: np.ndarray) -> Iterator[Block]:
            for block in super().blocks(codes, positions):
                yield Block(block.index[::2], block.delta[::2])

    found = check(model, Half(model, SETTINGS))
    assert not found.passed
    assert "no answer for" in found.what


class Square(NaiveRunner):
    """Naive with sums of squares of its own."""

    factor = 1.0

    def blocks(self, codes: Tensor, positions: np.ndarray) -> Iterator[Block]:
        for block in super().blocks(codes, positions):
            squares = block.delta.square().sum(1) * self.factor
            yield Block(block.index, block.delta, squares=squares.clone)


def test_wrong_squares_do_not_pass_and_are_said_to_be_wrong(model: Model) -> None:
    runner = Square(model, SETTINGS)
    for runner.factor in (1.0, 1.1):
        found = check(model, runner, save=("l2",))
        assert found.passed == (runner.factor == 1.0)
        assert set(found.errors) == {"l2"}
    assert found.max_rel_error == pytest.approx(0.1**0.5 * 0 + 1.1**0.5 - 1, rel=1e-3)
    assert " in l2 " in found.what
    # Where deltas are kept, norms are made of them and not of the squares.
    assert check(model, runner, save=("delta", "l2"), alone=False).passed


def test_a_wrong_output_does_not_pass(model: Model) -> None:
    class Shifted(NaiveRunner):
        def reference(self, codes: Tensor) -> Tensor:
            return super().reference(codes) + 0.01

        def at(self, index: Tensor, positions: np.ndarray) -> Tensor:
            return super().at(index, positions)

    found = check(model, Shifted(model, SETTINGS))
    assert not found.passed
    assert " in outputs " in found.what


SMALL_FAULTS: dict[str, Callable[[Tensor, Tensor, Block], Tensor]] = {
    "in the third sequence": lambda c, p, b: (c[0] == THIRD[0]).all() & (p >= 0),
    "at the first letter": lambda c, p, b: p == 0,
    "at the last letter": lambda c, p, b: p == 199,
    "where effects are strong": lambda c, p, b: b.delta.norm(dim=1) > STRONG[0],
    "in every fifth position": lambda c, p, b: p % 5 == 3,
    "in full chunks": lambda c, p, b: (p >= 0) & (len(p.unique()) > 150),
}
THIRD: list[Tensor] = []
STRONG: list[float] = []


@pytest.mark.parametrize("fault", SMALL_FAULTS)
def test_a_fault_somewhere_is_found(fault: str, tmp_path: Path) -> None:
    """Each touches but some of 2,400 mutants; 32 are compared."""
    length = 200
    net = seeded(lambda: nn.Sequential(conv(), nn.Tanh()))
    model = load_model(script(net, tmp_path / "m.pt"), length=length)
    rows = codes(4, length)
    settings = Settings(length, CPU)
    naive = NaiveRunner(model, settings)
    naive.reference(rows)
    norms = torch.cat([b.delta for b in naive.blocks(rows, np.arange(length))]).norm(dim=1)
    THIRD[:], STRONG[:] = [rows[2]], [float(norms.sort().values[-60])]

    class Faulty(Wrong):
        def where(self, codes: Tensor, position: Tensor, block: Block) -> Tensor:
            return SMALL_FAULTS[fault](codes, position, block)

    runner = Faulty(model, settings, rows=1024)
    assert not check(model, runner, rows).passed
    assert check(model, NaiveRunner(model, settings), rows).passed


def test_the_sample_has_both_ends_all_letters_and_all_phases() -> None:
    sequences = codes(2, 500)
    index = mutant_index(sequences, np.arange(500), 4)
    sample = draw.sample(index, 32)
    assert len(sample) == len(sample.unique()) == 32
    assert (sample[0], sample[-1]) == (index[0], index[-1])
    assert (sample.diff() > 0).all()
    assert len((sample % 4).unique()) == 4
    for stride in (2, 3, 4):
        assert len((sample // 4 % 500 % stride).unique()) == stride
    assert len((sample // 2000).unique()) == 2
    assert draw.sample(index[:7], 32).equal(index[:7])


def test_mutants_are_drawn_from_every_sequence_and_range() -> None:
    rows = codes(3, 90)
    rows[1, 10:20] = 255
    ranges = [np.arange(90), np.arange(5, 40), np.arange(60, 90)]
    strong = torch.zeros(3, 4, 90)
    strong[0, :, 47] = 5.0
    index = draw.draw(rows, ranges, 4, 30, strong)
    assert len(index) == len(index.unique()) == 30
    row, position, letter = index // 360, index // 4 % 90, index % 4
    assert row.bincount().tolist() == [10, 10, 10]
    assert (rows[row, position] != letter).all()
    assert (rows[row, position] < 4).all()
    assert (position[row == 0] == 47).any()
    for number, where in enumerate(ranges):
        assert set(position[row == number].tolist()) <= set(where.tolist())
    assert {0, 89} <= set(position[row == 0].tolist())


def test_only_what_is_compared_is_computed(tmp_path: Path) -> None:
    length = 300
    model = load_model(script(seeded(conv), tmp_path / "m.pt"), length=length)
    settings = Settings(length, CPU)
    runner = Wrong(model, settings, rows=64)
    runner.by = 0.0
    found = check(model, runner, codes(4, length))
    assert found.mutants == 32
    assert runner.seen <= 64 + 3 * 32, "one chunk, and the letters of 32 positions"


def test_runners_are_given_no_more_sequences_than_they_want(model: Model) -> None:
    class Narrow(NaiveRunner):
        def reference(self, codes: Tensor) -> Tensor:
            assert len(codes) <= 2
            return super().reference(codes)

    assert check(model, Narrow(model, SETTINGS), at_once=2).passed


@pytest.mark.parametrize(("memory", "known"), [(1 << 30, True), (20_000, True), (1000, False)])
def test_gradients_keep_to_the_memory(model: Model, memory: int, known: bool) -> None:
    settings = Settings(L, CPU, memory=memory)
    found = draw.rough_effects(model, settings, codes(4))
    assert (found is not None) == known
    if found is not None:
        whole = draw.rough_effects(model, SETTINGS, codes(4))
        assert whole is not None
        torch.testing.assert_close(found, whole)


# --- what it must not find ------------------------------------------------------------------------


class Fixed(nn.Module):
    """Makes float32 of whatever it is given, so that float64 is not to be had."""

    def __init__(self) -> None:
        super().__init__()
        self.body = conv()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.float())


class Cast(nn.Module):
    """Returns float32 whatever it computed in."""

    def __init__(self) -> None:
        super().__init__()
        self.body = conv()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).float()


@pytest.mark.parametrize("net", [Fixed, Cast])
def test_without_float64_a_tolerance_decides(
    net: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load_model(script(seeded(net), tmp_path / "m.pt"), length=L)
    with caplog.at_level(logging.INFO):
        assert check(model, NaiveRunner(model, SETTINGS)).passed
    assert "does not run in float64" in caplog.text
    assert not check(model, Wrong(model, SETTINGS)).passed


def test_a_target_near_zero_passes_without_float64(tmp_path: Path) -> None:
    """The tolerance is that of all targets, for it cannot be known what a small one is made of."""

    class Near(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = conv()

        def forward(self, x: Tensor) -> Tensor:
            y = self.body(x.float())
            return torch.cat([y, (y[:, :1] * 1e3 + 1.0) - y[:, :1] * 1e3 - 1.0], 1)

    model = load_model(script(seeded(Near), tmp_path / "m.pt"), length=L)
    assert check(model, NaiveRunner(model, SETTINGS, rows=5)).passed


def test_weights_are_left_as_they_were(model: Model) -> None:
    before = {key: (value.clone(), value.dtype) for key, value in model.state_dict().items()}
    check(model, NaiveRunner(model, SETTINGS))
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key][0])
        assert value.dtype == before[key][1] == torch.float32


@pytest.mark.parametrize("backend", ["windowed", "yuzu"])
def test_real_backends_pass(backend: str, model: Model) -> None:
    method = get_backend(backend)
    assert method.unsupported(model, SETTINGS) is None
    found = check(model, method.prepare(model, SETTINGS))
    assert found.passed, found.what
    assert found.max_rel_error < 1e-4
