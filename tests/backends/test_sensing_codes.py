"""Slots, code matrices and decoders, without any model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yuzu_cli.backends.sensing.codes import MATRICES, PUBLISHED, make_code, probes_needed, solve
from yuzu_cli.backends.sensing.slots import Slots, assign_slots


def even(length: int = 30, width: int = 5) -> Slots:
    """What a stride-1 convolution does."""
    start = np.arange(length) - width // 2
    return assign_slots(start, start + width, length)


def test_slots_repeat_with_the_reach() -> None:
    slots = even()
    assert slots.count == 5
    assert slots.slot.tolist() == [p % 5 for p in range(30)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 40), st.integers(-1, 9)), min_size=1, max_size=40))
def test_slots_are_disjoint_and_as_few_as_can_be(intervals: list[tuple[int, int]]) -> None:
    start = np.array([a for a, _ in intervals])
    stop = np.array([a + w for a, w in intervals])
    slots = assign_slots(start, stop, 40)
    filled = np.zeros((60, slots.count), int)
    for p in range(len(start)):
        filled[start[p] + 5 : max(start[p], stop[p]) + 5, slots.slot[p]] += 1
    assert filled.max(initial=0) <= 1
    assert slots.count == max(1, filled.sum(axis=1).max())


def test_owners_are_the_edits_that_reach() -> None:
    owners = even(8, 3).owners()
    assert sorted(owners[0]) == [-1, 0, 1]
    assert sorted(owners[4]) == [3, 4, 5]
    assert all(owner % 3 == slot for row in owners for slot, owner in enumerate(row) if owner >= 0)


@pytest.mark.parametrize(("alpha", "probes"), [(1.0, 15), (1.05, 16), (1.1, 17), (0.5, 8), (2, 30)])
def test_probes_follow_alpha(alpha: float, probes: int) -> None:
    assert probes_needed(even(), 3, alpha) == probes


def roundtrip(kind: str, alpha: float, part: slice = slice(None)) -> tuple[float, float]:
    """Largest error of decoded deltas for edits of `part`, and the condition number."""
    slots = even()
    code = make_code(kind, slots, 3, alpha=alpha, seed=1)
    draw = torch.Generator().manual_seed(0)
    used = torch.arange(slots.count)
    inside = np.zeros(30, bool)
    inside[part] = True
    owner = torch.as_tensor(slots.owners())
    there = (owner >= 0) & torch.as_tensor(inside)[owner.clamp(min=0)]
    laid = torch.randn(30, slots.count, 3, 2, generator=draw) * there[..., None, None]
    probes = code.encode(laid, used, owner.clamp(min=0))
    assert probes.shape == (30, code.probes, 2)
    told = code.decode(probes, used, 0) * there[..., None, None]
    return float((told - laid).abs().max()), code.condition


@pytest.mark.parametrize("part", [slice(None), slice(7, 19)], ids=["all", "some"])
@pytest.mark.parametrize("kind", MATRICES)
def test_deltas_come_out_of_probes(kind: str, part: slice) -> None:
    error, condition = roundtrip(kind, 1.3, part)
    assert error == 0 if kind == "interleaved" else error < 2e-5
    assert condition < 200


@pytest.mark.parametrize("kind", PUBLISHED)
def test_alpha_below_one_fails(kind: str) -> None:
    """The check above can fail: fewer probes than unknowns."""
    error, condition = roundtrip(kind, 0.9)
    assert error > 0.05
    assert condition == math.inf


def test_the_condition_number_is_that_of_the_system() -> None:
    draw = torch.Generator().manual_seed(3)
    for rows, columns in ((6, 3), (40, 39), (63, 60)):
        system = torch.randn(rows, columns, generator=draw, dtype=torch.float64)
        decoder, condition = solve(system)
        assert condition == pytest.approx(float(torch.linalg.cond(system)), rel=0.02)
        assert torch.allclose(decoder @ system, torch.eye(columns, dtype=torch.float64), atol=1e-9)


def test_a_singular_system_is_told() -> None:
    system = torch.ones(5, 2, dtype=torch.float64)
    assert solve(system)[1] == math.inf


def test_drawing_stops_at_the_limit() -> None:
    calls: list[None] = []
    code = make_code(
        "gaussian", even(), 3, alpha=1.0, limit=2.0, progress=lambda: calls.append(None)
    )
    assert code.decoders is None
    assert code.condition > 2.0
    assert len(calls) < 30


def test_same_seed_same_codes() -> None:
    codes = [make_code("bernoulli", even(), 3, alpha=1.2, seed=seed) for seed in (5, 5, 6)]
    one, two, other = [code.matrix for code in codes if code.matrix is not None]
    first, second, _ = [code.decoders for code in codes if code.decoders is not None]
    assert torch.equal(one, two)
    assert torch.equal(first, second)
    assert not torch.equal(one, other)
