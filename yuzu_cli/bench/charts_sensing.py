"""Pictures about sensing: errors against alpha, and one convolution by its sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure

from yuzu_cli.bench.drawing import COLORS, KNOWN, STYLE, good, legend, save
from yuzu_cli.bench.measure import Row
from yuzu_cli.bench.report import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def alpha(section: Section, path: Path) -> bool:
    """Errors against alpha in three measures, a line a model; naive's own rounding as a line."""
    rows = [row for row in good(section) if row.agreement is not None]
    seen = [row for row in rows if "@" in row.method]
    if not seen:
        return False
    colors = dict(zip(dict.fromkeys(r.case.name for r in seen), COLORS[1:] * 9, strict=False))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.2, 3.3), layout="constrained")
        handles: dict[str, Any] = {}
        for ax, (label, measure) in zip(figure.subplots(1, 3), ERRORS.items(), strict=True):
            for model, color in colors.items():
                mine = [row for row in seen if row.case.name == model]
                x = [float(row.method.partition("@")[2]) for row in mine]
                (handles[model],) = ax.plot(x, list(map(measure, mine)), "o-", color=color, ms=3)
                for row in rows:
                    if row.case.name == model and row.method == "naive":
                        ax.axhline(measure(row), color=color, lw=0.7, ls=":")
            ax.set_yscale("log")
            ax.set_xlabel("alpha")
            ax.set_title(label, loc="left")
            ax.grid(axis="y", lw=0.3, color="#cccccc")
        figure.suptitle(
            f"{section.title} (dotted: naive's own rounding)", fontsize=9, x=0.01, ha="left"
        )
        legend(figure, handles)
        return save(figure, path)


FLOOR = 1e-16
"""Nothing smaller can be told from one in double precision."""


def _error(row: Row, name: str) -> float:
    return float(getattr(row.agreement, name))


ERRORS: dict[str, Callable[[Row], float]] = {
    "largest error / largest effect": lambda row: _error(row, "relative"),
    "mean squared error": lambda row: _error(row, "mse"),
    "1 - Pearson correlation": lambda row: max(FLOOR, 1 - _error(row, "pearson")),
}
"""What the panels of `alpha` show."""


def layers(section: Section, path: Path) -> bool:
    """One convolution: speed-ups over naive by its sizes, and the parts of the time of probes."""
    if not section.lines:
        return False
    usual = section.lines[0]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.4, 2.9), layout="constrained")
        panels = figure.subplots(1, 4)
        handles: dict[str, Any] = {}
        for ax, (size, label) in zip(panels, SIZES.items(), strict=False):
            others = [name for name in SIZES if name != size]
            lines = [x for x in section.lines if all(x[name] == usual[name] for name in others)]
            handles |= _speedups(ax, sorted(lines, key=lambda x: x[size]), size)
            ax.set_xlabel(label)
        panels[0].set_ylabel("times as fast as naive")
        _parts(panels[3], [x for x in section.lines if all(x[n] == usual[n] for n in SIZES)])
        legend(figure, handles)
        return save(figure, path)


SIZES = {"filters": "filters", "kernel": "width of the kernel", "length": "letters"}
PARTS = {"build": "#4c72b0", "convolve": "#c44e52", "decode": "#ccb974"}


def _speedups(ax: Axes, lines: Sequence[dict[str, Any]], size: str) -> dict[str, Any]:
    """A line a way; what the legend needs."""
    handles: dict[str, Any] = {}
    for matrix in dict.fromkeys(x["matrix"] for x in lines):
        mine = [x for x in lines if x["matrix"] == matrix]
        ways = {f"probes, {matrix}": ("probes", KNOWN[f"yuzu:{matrix}"])}
        if not handles:
            ways = {"windows": ("windows", KNOWN["windowed"])} | ways
        for name, (way, color) in ways.items():
            y = [x["naive"] / x[way] for x in mine]
            (handles[name],) = ax.plot([x[size] for x in mine], y, "o-", color=color, ms=3)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(sorted({x[size] for x in lines}), sorted({str(x[size]) for x in lines}, key=int))
    ax.minorticks_off()
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    ax.grid(axis="y", lw=0.3, color="#cccccc")
    return handles


def _parts(ax: Axes, lines: Sequence[dict[str, Any]]) -> None:
    """Where the time of probes goes, a bar a matrix."""
    below = np.zeros(len(lines))
    for part, color in PARTS.items():
        height = np.array([x[part] for x in lines]) * 1e3
        ax.bar(range(len(lines)), height, 0.6, bottom=below, color=color, label=part)
        below += height
    ax.set_xticks(range(len(lines)), [x["matrix"] for x in lines])
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel("milliseconds")
    ax.set_ylim(0, below.max() * 1.45)
    ax.legend(loc="upper left", ncols=2)
