"""Scores from blocks, against plain loops over the definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from yuzu_cli.backends.base import Block
from yuzu_cli.errors import OutputError
from yuzu_cli.scores import SCORES, Accumulator

B, M, A, T = 3, 5, 4, 2


def case(letters: int = A, targets: int = T) -> tuple[Tensor, Tensor, Tensor]:
    """Codes with unknown letters; deltas (B, M, A, T), junk where none may be read; outputs."""
    draw = torch.Generator().manual_seed(0)
    codes = torch.randint(letters, (B, M), generator=draw, dtype=torch.uint8)
    codes[0, 1] = codes[2, 4] = 255
    delta = torch.randn(B, M, letters, targets, generator=draw)
    return codes, delta, torch.randn(B, targets, generator=draw)


def definition(name: str, codes: Tensor, delta: Tensor, outputs: Tensor) -> np.ndarray:
    """The score arrays one number at a time, in float64."""
    sequences, positions, letters, targets = delta.shape
    full = np.full((sequences, targets, letters, positions), np.nan)
    for b, m, a, t in itertools.product(*map(range, (sequences, positions, letters, targets))):
        here = int(codes[b, m])
        if here < letters:
            full[b, t, a, m] = 0.0 if a == here else float(delta[b, m, a, t])
    if name == "delta":
        return full
    if name == "prediction":
        return full + outputs.double().numpy()[:, :, None, None]
    if name == "l2":
        return np.sqrt((full**2).sum(1))
    if name == "jsd":
        mutant = full + outputs.double().numpy()[:, :, None, None]
        p, q = (
            np.exp(x) / np.exp(x).sum(1, keepdims=True)
            for x in (
                np.broadcast_to(outputs.double().numpy()[:, :, None, None], full.shape),
                mutant,
            )
        )
        m = (p + q) / 2
        return np.sqrt(((p * np.log2(p / m) + q * np.log2(q / m)).sum(1) / 2).clip(0))
    total = full.sum(2) / letters
    return -total if name == "contribution" else full - total[:, :, None]


def blocks(delta: Tensor, seed: int) -> list[Block]:
    """All mutants in an arbitrary order, in blocks of some mutants and some targets."""
    flat = delta.reshape(-1, delta.shape[-1])
    order = torch.randperm(len(flat), generator=torch.Generator().manual_seed(seed))
    found = []
    for part in order.split(7):
        for first in range(flat.shape[1]):
            columns = slice(first, first + 1)
            found.append(Block(part, flat[part][:, columns], columns))
    return found


@pytest.mark.parametrize("letters", [4, 20])
@pytest.mark.parametrize("names", [*[(name,) for name in SCORES], SCORES], ids="+".join)
def test_scores_are_their_definitions(names: tuple[str, ...], letters: int) -> None:
    codes, delta, outputs = case(letters)
    scores = Accumulator(names, codes, T, letters)
    for block in blocks(delta, seed=1):
        scores.add(block)
    found = scores.finish(outputs)
    assert set(found) == set(names)
    for name, values in found.items():
        expected = definition(name, codes, delta, outputs)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


def test_l2_alone_keeps_no_deltas() -> None:
    codes, _, _ = case()
    assert Accumulator(("l2",), codes, 1000, A).delta is None
    assert Accumulator(("l2", "delta"), codes, 3, A).delta is not None


def test_members_are_averaged_before_the_norm_is_taken() -> None:
    codes, delta, outputs = case()
    streams = [delta, -delta, 2 * delta]
    scores = Accumulator(("l2", "contribution"), codes, T, A, members=3)
    for number, stream in enumerate(streams):
        for block in blocks(stream, seed=number):
            scores.add(block)
    found = scores.finish(outputs)
    mean = torch.stack(streams).sum(0) / 3
    for name in found:
        expected = definition(name, codes, mean, outputs)
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)


def test_mutants_left_out_count_as_unchanged() -> None:
    codes, delta, outputs = case()
    scores = Accumulator(("delta",), codes, T, A)
    index = torch.arange(M * A)  # the first sequence only
    scores.add(Block(index, delta[0].reshape(M * A, T)))
    found = scores.finish(outputs)["delta"]
    expected = definition("delta", codes, delta, outputs)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    assert not found[1].any()
    assert np.isnan(found[2, :, :, 4]).all()


def test_half_precision_storage() -> None:
    codes, delta, outputs = case()
    scores = Accumulator(("delta", "l2"), codes, T, A)
    for block in blocks(delta, seed=0):
        scores.add(block)
    for name, values in scores.finish(outputs, torch.float16).items():
        assert values.dtype == np.float16
        np.testing.assert_allclose(
            values, definition(name, codes, delta, outputs), rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("names", [("l2",), ("delta", "centered")], ids="+".join)
def test_values_too_large_for_half_precision(names: tuple[str, ...]) -> None:
    codes, delta, outputs = case()
    delta[1, 0] = 1e5
    scores = Accumulator(names, codes, T, A)
    for block in blocks(delta, seed=0):
        scores.add(block)
    with pytest.raises(OutputError, match=r"does not fit float16; set score\.dtype to float32"):
        scores.finish(outputs, torch.float16)


def test_every_slice_of_a_large_batch_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yuzu_cli.scores.STEP_BYTES", 1)
    codes, delta, outputs = case()
    scores = Accumulator(("centered",), codes, T, A)
    for block in blocks(delta, seed=0):
        scores.add(block)
    expected = definition("centered", codes, delta, outputs)
    np.testing.assert_allclose(scores.finish(outputs)["centered"], expected, rtol=1e-5, atol=1e-6)
