"""What became slower since an earlier benchmark: by processor time, beyond the spread of both.

Takes two reports; measures nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from yuzu_cli.bench.measure import Row
from yuzu_cli.bench.report import Report, aligned, duration, heading

LEAST = 1.05
"""Times as slow (or fast) that are worth telling."""

ENOUGH = 2
"""Fewer times than this tell nothing of their spread."""


@dataclass(frozen=True, slots=True)
class Change:
    """One method on one case, before and now.

    Attributes
    ----------
    before, now : Row
    verdict : str
        `slower` or `faster` where the quartiles are apart and the medians by `LEAST`; `same`;
        `unsure` where one of them was timed but once.
    """

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


def compare(now: Report, earlier: Report) -> list[Change]:
    """Every method on every case that both have times of."""
    known = {
        (row.case.key, row.method): row for section in earlier.sections for row in section.good
    }
    changes: dict[tuple[str, str], Change] = {}
    for section in now.sections:
        for row in section.good:
            key = (row.case.key, row.method)
            if key in known:
                changes[key] = Change(known[key], row, _verdict(known[key], row))
    return list(changes.values())


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
    told = [change for change in changes if change.verdict in ("slower", "faster")]
    told.sort(key=lambda change: -change.ratio)
    count = {name: sum(c.verdict == name for c in changes) for name in VERDICTS}
    lines = [f"Against {earlier.machine['when']}, by processor time: "
             + ", ".join(f"{n} {name}" for name, n in count.items()) + "."]  # fmt: skip
    other = [name for name in SAME if earlier.machine.get(name) != now.machine.get(name)]
    if other:
        lines.append(f"Not alike: {', '.join(other)}; ratios to naive tell more than times.")
    if told:
        table = [["", "before", "now", "times as slow", "case"]]
        table += [
            [f"{c.verdict} {c.now.method}", _time(c.before), _time(c.now), f"{c.ratio:.2f}",
             heading(c.now)]
            for c in told
        ]  # fmt: skip
        lines += aligned(table)
    return "\n".join(lines) + "\n"


VERDICTS = ("slower", "faster", "same", "unsure")
SAME = ("processor", "threads", "torch")


def _time(row: Row) -> str:
    middle, low, high = seconds(row)
    return f"{duration(middle)} ({duration(low)} to {duration(high)})"
