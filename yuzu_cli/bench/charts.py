"""Pictures of a benchmark: one of each paper, a panel of bars or lines for each of its tables.

Takes the rows of sections; every chart draws into the part of a figure that it is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from yuzu_cli.bench.measure import Row
from yuzu_cli.bench.papers.suites import SUITES
from yuzu_cli.bench.report import Section, of_agreement
from yuzu_cli.bench.words import duration, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE: Any = {
    "font.size": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
}
COLORS = {
    "naive": "#000000",
    "windowed": "#d55e00",
    "yuzu:interleaved": "#0072b2",
    "yuzu:gaussian": "#56b4e9",
    "yuzu-ism": "#009e73",
    "fastism": "#cc79a7",
    "taylor": "#e69f00",
    "tangermeme": "#7f7f7f",
    "tangermeme-fast": "#b5b5b5",
    "naive-compiled": "#4d4d4d",
    "captum": "#8c6d31",
    "gradient-x-input": "#f0e442",
    "integrated-gradients": "#c7b600",
    "deeplift": "#8f8200",
    "yuzu:orthogonal": "#003f5c",
}
"""One colour for each method in every picture, told apart without seeing red or green."""
LINES = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00")


def color(method: str) -> str:
    """Of a method, whatever its settings."""
    return COLORS.get(method.partition("@")[0].rstrip("!"), "#999999")


def pictures(sections: Sequence[Section], folder: Path) -> list[str]:
    """Draw `PAPER.png` of each paper, and `bench.png` of what belongs to none; their names."""
    papers: dict[str, list[Section]] = {}
    for section in sections:
        paper = SUITES[section.name].paper if section.name in SUITES else "bench"
        if _chart(section).height(section):
            papers.setdefault(f"{paper.lower()}.png", []).append(section)
    for name, mine in papers.items():
        _picture(mine, folder / name)
    return list(papers)


def _picture(sections: Sequence[Section], path: Path) -> None:
    heights = [_chart(section).height(section) for section in sections]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.0, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(sections), 1, squeeze=False, height_ratios=heights)[:, 0]
        for section, part in zip(sections, parts, strict=True):
            part.suptitle(section.title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
            _chart(section).draw(part, section)
        figure.savefig(path, dpi=130)


def _chart(section: Section) -> Chart:
    return CHARTS[SUITES[section.name].chart if section.name in SUITES else "bars"]


def _bars_height(section: Section) -> float:
    good = section.good
    return 0.9 + 0.145 * len(good) + 0.3 * len({r.case.key for r in good}) if good else 0.0


def _bars(figure: Any, section: Section) -> None:
    """Seconds of a sequence, a bar a method, grouped by case; on it seconds and times as fast."""
    ax = figure.subplots()
    seconds = [row.per_sequence for row in section.good]
    y = 0.0
    for rows in section.by_case():
        good = [row for row in rows if row in section.good]
        if not good:
            continue
        ax.text(0, y, good[0].case.label, transform=ax.get_yaxis_transform(), va="center",
                fontweight="bold", fontsize=7.5)  # fmt: skip
        for row in good:
            y += 1.0
            low, high = row.seconds_low, row.seconds_high
            span = np.array([[row.seconds - low], [high - row.seconds]]) / row.case.sequences
            error = {"ecolor": "#666666", "elinewidth": 0.7}
            ax.barh(y, row.per_sequence, 0.8, color=color(row.method), xerr=span, error_kw=error)
            fast = "" if row.method == "naive" else f"  {times(row.speedup)}"
            text = f" {row.method}  {duration(row.per_sequence)}{fast}"
            ax.text(high / row.case.sequences, y, text, va="center", fontsize=6.5)
        y += 1.9
    ax.set_xscale("log")
    low, high = min(seconds) / 1.6, max(seconds)
    ax.set_xlim(low, low * (high / low) ** 1.35)  # a quarter of it for what is written on the bars
    ax.set_ylim(y - 1.0, -0.8)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("seconds per sequence (on the bars: times as fast as naive)")


def _log(ax: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis around the values, with labels also where it spans less than a decade."""
    seen = [value for value in values if value > 0 and math.isfinite(value)]
    near = max(seen) / min(seen) < 30
    ax.set_yscale("log")
    ax.set_ylim(min(seen) / 1.4, max(seen) * 1.4)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if near else (1,)))
    ax.yaxis.set_minor_formatter(NullFormatter())
    if near:
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.grid(axis="y", lw=0.3, color="#cccccc")


def _sizes(figure: Any, section: Section) -> None:
    """Times as fast as naive, by filters, width of the kernel and length, the others kept."""
    sized = [(_layer(row), row) for row in section.good if row.method != "naive"]
    usual = sized[0][0]
    panels = figure.subplots(1, 3, sharey=True)
    for i, (ax, label) in enumerate(zip(panels, LAYER, strict=True)):
        rest = [j for j in range(3) if j != i]
        mine = [(s[i], row) for s, row in sized if all(s[j] == usual[j] for j in rest)]
        for method in dict.fromkeys(row.method for _, row in mine):
            points = sorted((size, row.speedup) for size, row in mine if row.method == method)
            ax.plot(*zip(*points, strict=True), "o-", ms=3, color=color(method), label=method)
        _log(ax, [row.speedup for _, row in sized])
        ax.set_xscale("log")
        ticks = sorted({size for size, _ in mine})
        ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        ax.minorticks_off()
        ax.set_xlabel(label)
    panels[0].set_ylabel("times as fast as naive")
    panels[0].legend()


LAYER = ("filters", "width of the kernel", "letters")


def _layer(row: Row) -> tuple[int, int, int]:
    filters, kernel = row.case.model.rpartition("-")[2].split("x")
    return int(filters), int(kernel), row.case.length


def _alpha(figure: Any, section: Section) -> None:
    """Errors against alpha, a line a model; naive's own rounding dotted."""
    rows = [row for row in section.good if row.agreement is not None]
    models = list(dict.fromkeys(row.case.name for row in rows))
    for ax, (label, measure) in zip(figure.subplots(1, 2), ERRORS.items(), strict=True):
        for model, hue in zip(models, LINES * 9, strict=False):
            mine = [row for row in rows if row.case.name == model]
            points = [
                (float(r.method.partition("@")[2]), measure(r)) for r in mine if "@" in r.method
            ]
            if points:
                ax.plot(*zip(*points, strict=True), "o-", ms=3, color=hue, label=model)
            for row in mine:
                if row.method == "naive":
                    ax.axhline(measure(row), color=hue, lw=0.7, ls=":")
        _log(ax, [measure(row) for row in rows])
        ax.set_xlabel("alpha (dotted: naive's own rounding)")
        ax.set_title(label)
    ax.legend(fontsize=6.5)


ERRORS: dict[str, Callable[[Row], float]] = {
    "largest error / largest effect": lambda row: of_agreement(row, "relative"),
    "1 - Pearson correlation": lambda row: max(1e-16, 1 - of_agreement(row, "pearson")),
}


def _estimates(section: Section) -> list[Row]:
    return [row for row in section.good if "pearson_by_sequence" in row.extra]


def _concordance(figure: Any, section: Section) -> None:
    """Estimated against true effects, and correlations by sequence and target, a model a row."""
    rows = _estimates(section)
    grid = figure.subplots(len(rows), 2, squeeze=False)
    for (left, right), row in zip(grid, rows, strict=True):
        truth, said = np.asarray(row.extra["truth"]), np.asarray(row.extra["said"])
        left.scatter(truth, said, s=3, color=color("taylor"), alpha=0.5, lw=0, rasterized=True)
        ends = float(np.abs(np.concatenate([truth, said])).max()) * 1.05 or 1.0
        left.plot([-ends, ends], [-ends, ends], color="#888888", lw=0.6)
        left.set(xlim=(-ends, ends), ylim=(-ends, ends), xlabel="true effect", ylabel="estimate")
        left.set_title(f"{row.case.name}, {row.method}")
        values = np.asarray(row.extra["pearson_by_sequence"], dtype=float)
        values = values[np.isfinite(values)]
        low = min(0.0, float(values.min(initial=0.0)))
        right.hist(values, bins=np.linspace(low, 1, 31), color=color("taylor"))
        if len(values):
            right.axvline(np.median(values), color="black", lw=0.8)
            right.set_title(f"median {np.median(values):.2f}, n = {len(values)}")
        right.set(xlim=(low, 1), xlabel="Pearson correlation", ylabel="sequences x targets")


@dataclass(frozen=True, slots=True)
class Chart:
    """A kind of panel: inches it takes (0: nothing to draw), and what draws it."""

    height: Callable[[Section], float]
    draw: Callable[[Any, Section], None]


def _if_any(rows: Callable[[Section], Sequence[Row]], inches: float) -> Callable[[Section], float]:
    return lambda section: inches if rows(section) else 0.0


CHARTS: dict[str, Chart] = {
    "bars": Chart(_bars_height, _bars),
    "sizes": Chart(_if_any(lambda s: [r for r in s.good if r.method != "naive"], 2.6), _sizes),
    "alpha": Chart(_if_any(lambda s: [r for r in s.good if "@" in r.method], 3.0), _alpha),
    "concordance": Chart(lambda s: 2.2 * len(_estimates(s)), _concordance),
}
