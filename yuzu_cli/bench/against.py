"""What became slower since an earlier benchmark: by processor time, beyond the spread of both.

Takes two reports; measures nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from yuzu_cli.bench.measure import Row
from yuzu_cli.bench.report import Report, heading
from yuzu_cli.bench.words import aligned, duration

LEAST = 1.05
"""Times as slow (or fast) that are worth telling."""

ENOUGH = 2
"""Fewer times than this tell nothing of their spread."""

VERDICTS = ("slower", "faster", "same", "unsure")
"""`slower` or `faster` where the quartiles are apart and the medians by `LEAST`; `unsure` where one
of both was timed but once.
"""

SAME = ("processor", "threads", "torch")


@dataclass(frozen=True, slots=True)
class Change:
    """One method on one case, before and now."""

    before: Row
    now: Row
    verdict: str

    @property
    def ratio(self) -> float:
        """Times as slow as before."""
        return seconds(self.now)[0] / seconds(self.before)[0]


def seconds(row: Row) -> tuple[float, float, float]:
    """Median and quartiles: of the processor, or by the clock where a device does the work."""
    if row.case.device == "cpu":
        return row.cpu_seconds, row.cpu_low, row.cpu_high
    return row.seconds, row.seconds_low, row.seconds_high


def _by_case(report: Report) -> dict[tuple[str, str], Row]:
    return {(row.case.key, row.method): row for part in report.sections for row in part.good}


def compare(now: Report, earlier: Report) -> list[Change]:
    """Every method on every case that both have times of."""
    known = _by_case(earlier)
    pairs = [(known[key], row) for key, row in _by_case(now).items() if key in known]
    return [Change(before, row, _verdict(before, row)) for before, row in pairs]


def _verdict(before: Row, now: Row) -> str:
    if min(len(before.samples), len(now.samples)) < ENOUGH:
        return "unsure"
    (old, old_low, old_high), (new, new_low, new_high) = seconds(before), seconds(now)
    if not all(map(math.isfinite, (old, new))) or min(old, new) <= 0:
        return "unsure"
    if new_low > old_high and new > LEAST * old:
        return "slower"
    if new_high < old_low and old > LEAST * new:
        return "faster"
    return "same"


def as_text(changes: list[Change], now: Report, earlier: Report) -> str:
    """A table of what changed, and a line about the rest."""
    counts = [f"{sum(c.verdict == name for c in changes)} {name}" for name in VERDICTS]
    lines = [f"Against {earlier.machine['when']}, by processor time: {', '.join(counts)}."]
    other = [name for name in SAME if earlier.machine.get(name) != now.machine.get(name)]
    if other:
        lines.append(f"Not alike: {', '.join(other)}; ratios to naive tell more than times.")
    told = [change for change in changes if change.verdict in ("slower", "faster")]
    if told:
        table = [["", "before", "now", "times as slow", "case"]]
        for c in sorted(told, key=lambda change: -change.ratio):
            both = [_time(c.before), _time(c.now), f"{c.ratio:.2f}"]
            table.append([f"{c.verdict} {c.now.method}", *both, heading(c.now)])
        lines += aligned(table)
    return "\n".join(lines) + "\n"


def _time(row: Row) -> str:
    middle, low, high = seconds(row)
    return f"{duration(middle)} ({duration(low)} to {duration(high)})"
