"""The arithmetic of the benchmark: medians, ranks, errors, speed-ups, verdicts, taking turns."""

from __future__ import annotations

import math
import os
from functools import partial

import numpy as np
import pytest
import torch

from yuzu_cli.bench import clock
from yuzu_cli.bench.clock import Sample, Timing, alternate, timed
from yuzu_cli.bench.measure import Row, as_kind, compare_speed, fill, shares_of_rate, verdict
from yuzu_cli.bench.stats import Agreement, agreement, pearson, quartiles, ranks, spearman
from yuzu_cli.bench.subject import Case

CPU = torch.device("cpu")

QUARTILES = {
    "one": ([3.0], (3.0, 3.0, 3.0)),
    "odd": ([5.0, 1.0, 2.0], (1.5, 2.0, 3.5)),
    "even": ([4.0, 1.0, 2.0, 3.0], (1.75, 2.5, 3.25)),
}


@pytest.mark.parametrize(("values", "expected"), QUARTILES.values(), ids=QUARTILES.keys())
def test_quartiles(values: list[float], expected: tuple[float, ...]) -> None:
    assert quartiles(values) == expected


def test_quartiles_of_nothing_are_not_numbers() -> None:
    assert all(map(math.isnan, quartiles([])))


RANKS = {
    "distinct": ([3.0, 1.0, 2.0], [2.0, 0.0, 1.0]),
    "a tie": ([1.0, 2.0, 2.0, 0.0], [1.0, 2.5, 2.5, 0.0]),
    "all the same": ([7.0, 7.0, 7.0], [1.0, 1.0, 1.0]),
}


@pytest.mark.parametrize(("values", "expected"), RANKS.values(), ids=RANKS.keys())
def test_ranks(values: list[float], expected: list[float]) -> None:
    assert ranks(np.array(values)).tolist() == expected


def test_correlations() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert pearson(x, 2 * x + 1) == pytest.approx(1)
    assert pearson(x, -x) == pytest.approx(-1)
    assert pearson(x, np.array([1.0, 2.0, 3.0, 8.0])) == pytest.approx(11 / math.sqrt(5 * 29))
    assert spearman(x, np.array([1.0, 2.0, 3.0, 8.0])) == pytest.approx(1)
    assert spearman(x, np.array([4.0, 1.0, 2.0, 3.0])) == pytest.approx(-0.2)
    assert math.isnan(pearson(x, np.ones(4)))
    almost = np.array([1e-8, -1e-8, 2.0, -3.0])
    assert spearman(almost, np.array([0.0, 0.0, 2.0, -3.0])) == pytest.approx(1)
    assert math.isnan(pearson(x[:1], x[:1]))


def test_agreement() -> None:
    truth = np.array([[1.0, -4.0], [2.0, 0.0]])
    seen = agreement(np.array([[1.0, -4.0], [2.5, 1.0]]), truth)
    assert (seen.largest, seen.scale, seen.mse) == (1.0, 4.0, (0.25 + 1) / 4)
    assert (seen.relative, seen.count, seen.missing) == (0.25, 4, 0)


def test_missing_values_spoil_an_agreement() -> None:
    seen = agreement(np.array([1.0, np.nan]), np.array([1.0, 2.0]))
    assert seen.missing == 1
    assert math.isnan(seen.largest)
    assert math.isnan(seen.pearson)


@pytest.mark.parametrize("shape", [(2,), (0,)], ids=["another shape", "nothing"])
def test_agreement_refuses(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot compare"):
        agreement(np.zeros(shape), np.zeros((0,)))


def seen_with(largest: float, missing: int = 0) -> Agreement:
    """An agreement with effects up to 2."""
    return Agreement(largest, 2.0, 0.0, 1.0, 1.0, 10, missing)


VERDICTS = {
    "rounding": ("exact", seen_with(1.9e-5), 0.0, "exact"),
    "more than rounding": ("exact", seen_with(2.1e-5), 0.0, "imprecise"),
    "far more than rounding": ("exact", seen_with(1.1e-3), 0.0, "wrong"),
    "no more than naive's own": ("exact", seen_with(1.9e-3), 1e-3, "exact"),
    "more than naive's own": ("exact", seen_with(2.1e-3), 1e-3, "wrong"),
    "mutants missing": ("exact", seen_with(math.nan, 1), 0.0, "wrong"),
    "estimate": ("estimate", seen_with(0.5), 0.0, "estimate"),
    "estimate with mutants missing": ("estimate", seen_with(math.nan, 1), 0.0, "wrong"),
}


@pytest.mark.parametrize(("claim", "seen", "own", "expected"), VERDICTS.values(), ids=VERDICTS)
def test_verdict(claim: str, seen: Agreement, own: float, expected: str) -> None:
    assert verdict(claim, seen, own) == expected


def test_deltas_as_other_scores() -> None:
    delta = np.array([[3.0, 4.0], [-1.0, 1.0]])
    assert as_kind(delta, "delta") is delta
    assert as_kind(delta, "l2").tolist() == [5.0, math.sqrt(2)]
    assert as_kind(delta, "sum").tolist() == [7.0, 0.0]


def a_row(method: str, seconds: list[float], *, claim: str = "exact", share: float = 1.0) -> Row:
    row = Row(Case("onelayer", 10, 2), method, claim, share=share)
    timing = Timing([Sample(wall, 2 * wall) for wall in seconds], host_peak=7.0)
    fill(row, timing, sequences=2, mutants=30)
    return row


def test_times_are_scaled_from_the_share_that_was_run() -> None:
    row = a_row("naive", [0.9, 1.0, 1.3], share=0.25)
    assert (row.seconds, row.seconds_low, row.seconds_high) == pytest.approx((4.0, 3.8, 4.6))
    assert (row.cpu_seconds, row.per_sequence) == (8.0, 2.0)
    assert (row.mutants_per_second, row.host_peak) == (15.0, 7.0)


def test_a_timing_that_failed_fails_the_row() -> None:
    row = Row(Case("onelayer", 10), "naive", "exact")
    fill(row, Timing(error=RuntimeError("no luck")), sequences=2, mutants=30)
    assert (row.status, row.error) == ("failed", "RuntimeError: no luck")


def test_speedups_are_against_naive() -> None:
    rows = [a_row("quick", [0.5]), a_row("naive", [2.0], share=0.5), a_row("slow", [8.0])]
    compare_speed(rows)
    assert [row.speedup for row in rows] == [8.0, 1.0, 0.5]
    assert [row.speedup_cpu for row in rows] == [8.0, 1.0, 0.5]


def test_no_speedups_without_naive() -> None:
    rows = [a_row("quick", [0.5])]
    compare_speed(rows)
    assert math.isnan(rows[0].speedup)


def test_shares_of_the_matrix_rate() -> None:
    """60 mutants in 2 s are 30 a second; the fewest multiply-adds of an exact method are needed."""
    rows = [a_row("naive", [2.0]), a_row("quick", [0.5]), a_row("rough", [0.5], claim="estimate")]
    shares_of_rate(rows, {"naive": 100.0, "quick": 10.0, "rough": 1.0}, 30, rate=6000.0)
    assert [row.useful_share for row in rows[:2]] == pytest.approx([0.05, 0.2])
    assert [row.own_share for row in rows] == pytest.approx([0.5, 0.2, 0.02])
    assert math.isnan(rows[2].useful_share)


def test_methods_take_turns() -> None:
    order: list[str] = []

    def job(name: str) -> Sample:
        order.append(name)
        return Sample(1.0, 1.0)

    jobs = {name: partial(job, name) for name in "abc"}
    timings = alternate(jobs, CPU, rounds=3, seconds=100)
    assert order == list("abc" + "bca" + "cab")
    assert [len(timings[name].samples) for name in "abc"] == [3, 3, 3]


def test_slow_methods_sit_out_the_later_rounds() -> None:
    seconds = {"slowest": 11.0, "slow": 6.0, "quick": 1.0}
    jobs = {name: (lambda s=s: Sample(s, s)) for name, s in seconds.items()}
    timings = alternate(jobs, CPU, rounds=4, seconds=10)
    assert [len(t.samples) for t in timings.values()] == [2, 3, 4]


def test_what_is_not_settled_gets_more_rounds() -> None:
    """Times that differ are taken again, up to twice as often; equal ones are not."""
    walls = {"wild": iter([1.0, 3.0] * 9), "calm": iter([1.0] * 9), "late": iter([9.0] + [1.0] * 9)}
    jobs = {name: (lambda w=w: Sample(next(w), 1.0)) for name, w in walls.items()}
    timings = alternate(jobs, CPU, rounds=3, seconds=100)
    assert {name: len(t.samples) for name, t in timings.items()} == {
        "wild": 6,
        "calm": 3,
        "late": 5,
    }
    assert [t.settled for t in timings.values()] == [False, True, True]


def test_a_method_that_raises_is_not_asked_again() -> None:
    asked = []

    def fail() -> None:
        asked.append(1)
        raise RuntimeError("no luck")

    timings = alternate(
        {"fails": fail, "works": lambda: Sample(1.0, 1.0)}, CPU, rounds=3, seconds=100
    )
    assert (len(asked), str(timings["fails"].error)) == (1, "no luck")
    assert len(timings["works"].samples) == 3


def test_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    walls, cpus = iter([10.0, 12.5]), iter([1.0, 4.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(walls))
    monkeypatch.setattr("time.process_time", lambda: next(cpus))
    assert timed(lambda: None, CPU) == Sample(2.5, 3.0)


def test_the_gauge_sees_memory_that_was_given_back() -> None:
    with clock.Gauge(CPU) as gauge:
        torch.ones(8 << 20)  # 32 MB, freed at once
    if os.access("/proc/self/clear_refs", os.W_OK):
        assert 30e6 < gauge.host < 60e6
    else:  # a system without a high-water mark that could be set back
        assert math.isnan(gauge.host)
    assert math.isnan(gauge.device)
