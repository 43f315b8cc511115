"""What became slower since an earlier benchmark: only what lies beyond the spread of both."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from yuzu_cli.bench.against import as_text, compare
from yuzu_cli.bench.clock import Sample
from yuzu_cli.bench.measure import Row
from yuzu_cli.bench.report import Report, Section
from yuzu_cli.bench.subject import Case

MACHINE = {"when": "yesterday", "processor": "Abacus", "threads": 1, "torch": "2"}


def report(*quartiles: float, samples: int = 3, device: str = "cpu") -> Report:
    """One row with these quartiles of processor time; by the clock ten times as long."""
    row = Row(Case("toynet", 30, device=device), "windowed", "exact", per_sequence=1.0)
    row.cpu_low, row.cpu_seconds, row.cpu_high = quartiles
    row.seconds_low, row.seconds, row.seconds_high = (10 * q for q in quartiles)
    row.samples = [Sample(1.0, 1.0)] * samples
    return Report(dict(MACHINE), "", {}, [Section("bench", "A title", [row])])


VERDICTS = {
    "twice as long": ((0.9, 1.0, 1.1), (1.9, 2.0, 2.1), "slower"),
    "half as long": ((1.9, 2.0, 2.1), (0.9, 1.0, 1.1), "faster"),
    "within the spread": ((0.9, 1.0, 1.6), (1.4, 1.5, 1.6), "same"),
    "apart, but by little": ((0.999, 1.0, 1.001), (1.03, 1.04, 1.05), "same"),
    "equal": ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), "same"),
    "not timed": ((float("nan"),) * 3, (1.0, 1.0, 1.0), "unsure"),
}


@pytest.mark.parametrize(("before", "now", "verdict"), VERDICTS.values(), ids=VERDICTS)
def test_verdict(before: tuple[float, ...], now: tuple[float, ...], verdict: str) -> None:
    (change,) = compare(report(*now), report(*before))
    assert change.verdict == verdict


def test_one_time_tells_nothing_of_the_spread() -> None:
    (change,) = compare(report(2, 2, 2, samples=1), report(1, 1, 1))
    assert change.verdict == "unsure"


def test_a_device_is_judged_by_the_clock() -> None:
    now, before = (report(*q, device="cuda") for q in ((3, 3, 3), (1, 1, 1)))
    now.sections[0].rows[0].cpu_low = now.sections[0].rows[0].cpu_seconds = 0.5
    (change,) = compare(now, before)
    assert (change.verdict, change.ratio) == ("slower", 3.0)


def test_only_what_both_measured_is_compared() -> None:
    now, before = report(2, 2, 2), report(1, 1, 1)
    row = before.sections[0].rows[0]
    before.sections[0].rows = [replace(row, case=Case("toynet", 31)), replace(row, method="naive")]
    assert compare(now, before) == []


def test_text() -> None:
    now, before = report(1.9, 2.0, 2.1), report(0.9, 1.0, 1.1)
    before.machine["threads"] = 8
    lines = as_text(compare(now, before), now, before).splitlines()
    assert lines[0] == (
        "Against yesterday, by processor time: 1 slower, 0 faster, 0 same, 0 unsure."
    )
    assert lines[1] == "Not alike: threads; ratios to naive tell more than times."
    told = [part for part in re.split(r" {2,}", lines[3]) if part]
    assert told == [
        *("slower windowed", "1 s (900 ms to 1.1 s)", "2 s (1.9 s to 2.1 s)", "2.00"),
        "toynet, 30 letters, 1 sequence, float32, cpu",
    ]
