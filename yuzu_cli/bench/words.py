"""Numbers and tables as people read them. May not: know what is measured."""

from __future__ import annotations

import math
from collections.abc import Sequence


def number(value: float) -> str:
    """A number to read; a dash for NaN."""
    if not math.isfinite(value):
        return "-"
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.1e}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Seconds with a unit that fits."""
    if not math.isfinite(seconds):
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            value = seconds / size
            return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"
    return f"{seconds:.1e} s"


def correlation(value: float) -> str:
    """Four digits, cut and not rounded: 1.0000 shall mean no less."""
    if not math.isfinite(value):
        return "-"
    return f"{math.trunc(value * 1e4 + math.copysign(1e-4, value)) / 1e4:.4f}"


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.3g} %" if math.isfinite(value) else "-"


def times(value: float) -> str:
    """How many times as fast; two digits are what a shared machine tells."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.2g}x" if value < 99.5 else f"{value:,.0f}x"


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for line in table:
        first, *rest = zip(line, widths, strict=True)
        text = "  ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in rest)])
        lines.append("  " + text.rstrip())
    return lines
