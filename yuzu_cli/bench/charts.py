"""Pictures of a benchmark, in the manner of the papers: times, speed-ups, errors, concordance.

Takes the rows of a section; each chart is a function that writes a PNG, or says that there is
nothing to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from yuzu_cli.bench.charts_sensing import alpha, layers
from yuzu_cli.bench.drawing import COLORS, GREY, STYLE, decades, good, legend, palette, save
from yuzu_cli.bench.measure import Row
from yuzu_cli.bench.report import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _setting(row: Row) -> list[str]:
    """What of the case is not as usual."""
    case = row.case
    parts = [] if case.precision == "float32" else [case.precision]
    parts += [] if case.device == "cpu" else [case.device]
    return parts + ([f"{case.batch} at a time"] if case.batch else [])


def _case_name(row: Row) -> str:
    name = f"{row.case.name}\n{row.case.length}"
    if row.case.sequences != 1:
        name += f" x {row.case.sequences}"
    return "\n".join([name, *_setting(row)])


def _panel_name(row: Row, rows: Sequence[Row], axis: str) -> str:
    """What one panel of lines against `axis` has in common."""
    parts = [row.case.name, *_setting(row)]
    if axis != "length" and len({other.case.length for other in rows}) > 1:
        parts.append(f"{row.case.length} letters")
    if axis != "sequences" and len({other.case.sequences for other in rows}) > 1:
        parts.append(f"{row.case.sequences} sequences")
    return ", ".join(parts)


def speed(section: Section, path: Path) -> bool:
    """Time of a sequence, a bar a method, cases side by side; speed-up written on the bars."""
    rows = good(section)
    if not rows:
        return False
    colors, places = palette(rows), list(dict.fromkeys(map(_case_name, rows)))
    per_line = max(1, min(len(places), round(36 / len(colors))))
    per_line = -(-len(places) // -(-len(places) // per_line))  # lines alike
    lines = [places[i : i + per_line] for i in range(0, len(places), per_line)]
    with mpl.rc_context(STYLE):
        wide = max(5.0, 0.9 + per_line * (0.2 + 0.22 * len(colors)))
        figure = Figure(figsize=(wide, 2.2 * len(lines) + 1.0), layout="constrained")
        handles: dict[str, Any] = {}
        grid = figure.subplots(len(lines), 1, squeeze=False, sharey=True)
        for ax, line in zip(grid[:, 0], lines, strict=True):
            handles |= _bars(ax, [r for r in rows if _case_name(r) in line], line, colors)
            _gaps(ax, [r for r in section.rows if _case_name(r) in line], line, colors)
            ax.set_xlim(-0.55, per_line - 0.45)
        decades(ax, [row.per_sequence for row in rows], more=2.5)
        figure.supylabel("seconds per sequence", fontsize=8)
        title = f"{section.title}\n(on the bars: times as fast as naive)"
        grid[0, 0].set_title(title, loc="left")
        legend(figure, {name: handles[name] for name in colors})
        return save(figure, path)


def _bars(
    ax: Axes, rows: Sequence[Row], places: Sequence[str], colors: dict[str, str]
) -> dict[str, Any]:
    """The bars of some cases; what the legend needs."""
    handles: dict[str, Any] = {}
    step = 0.84 / len(colors)
    for i, (method, color) in enumerate(colors.items()):
        mine = [row for row in rows if row.method == method]
        at = np.array([places.index(_case_name(row)) for row in mine]) - 0.42 + (i + 0.5) * step
        height = np.array([row.per_sequence for row in mine])
        low = [(row.seconds - row.seconds_low) / row.case.sequences for row in mine]
        high = [(row.seconds_high - row.seconds) / row.case.sequences for row in mine]
        errors = np.nan_to_num(np.array([low, high]))
        style = {"ecolor": "black", "elinewidth": 0.6, "capsize": 1.5, "capthick": 0.6}
        handles[method] = ax.bar(
            at, height, step * 0.92, color=color, yerr=errors if len(mine) else None, error_kw=style
        )
        for x, row, top in zip(at, mine, height + errors[1], strict=True):
            if np.isfinite(row.speedup) and method != "naive":
                text = _brief(row.speedup)
                ax.text(x, top * 1.2, text, fontsize=6, rotation=90, va="bottom", ha="center")
    ax.set_xticks(range(len(places)), places)
    ax.tick_params(axis="x", length=0)
    return handles


def _gaps(
    ax: Axes, rows: Sequence[Row], places: Sequence[str], colors: dict[str, str], text: str = "none"
) -> None:
    """Say so where a method of the legend has no bar."""
    step = 0.84 / len(colors)
    for i, method in enumerate(colors):
        for row in rows:
            if row.method == method and row.status != "ok":
                at = places.index(_case_name(row)) - 0.42 + (i + 0.5) * step
                ax.annotate(
                    text,
                    (at, 0.02),
                    xycoords=ax.get_xaxis_transform(),
                    fontsize=6,
                    rotation=90,
                    color=GREY,
                    ha="center",
                    va="bottom",
                )


def _brief(value: float) -> str:
    return f"{value:.0f}x" if value >= 10 else f"{value:.2g}x"


def _lines(section: Section, path: Path, axis: str, label: str) -> bool:
    """Time of a sequence against a number of the case, a panel a model, a line a method."""
    rows = good(section)
    panels: dict[str, list[Row]] = {}
    for row in rows:
        panels.setdefault(_panel_name(row, rows, axis), []).append(row)
    if len({getattr(row.case, axis) for row in rows}) < 2:
        return False
    colors = palette(rows)
    columns = 2 if len(panels) in (2, 4) else min(3, len(panels))
    lines = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.7 * columns + 0.4, 2.3 * lines + 0.6), layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False, sharex=True)
        handles: dict[str, Any] = {}
        for ax, (name, shown) in zip(grid.flat, panels.items(), strict=False):
            handles |= _panel(ax, shown, colors, axis)
            _log_panel(ax, name)
        for ax in grid.flat[len(panels) :]:
            ax.set_visible(False)
        values = sorted({getattr(row.case, axis) for row in rows})
        grid[0, 0].set_xticks(values, [str(v) for v in values])
        for ax in grid.flat[max(0, len(panels) - columns) : len(panels)]:
            ax.set_xlabel(label)
            ax.tick_params(labelbottom=True)
        figure.supylabel("seconds per sequence", fontsize=8)
        legend(figure, {name: handles[name] for name in colors})
        return save(figure, path)


def _panel(ax: Axes, rows: Sequence[Row], colors: dict[str, str], axis: str) -> dict[str, Any]:
    """The lines of one panel; what the legend needs."""
    handles: dict[str, Any] = {}
    for method, color in colors.items():
        mine = [row for row in rows if row.method == method]
        mine.sort(key=lambda row: getattr(row.case, axis))
        if mine:
            x = [getattr(row.case, axis) for row in mine]
            y = [row.per_sequence for row in mine]
            (handles[method],) = ax.plot(x, y, "o-", color=color, ms=3, lw=1.1)
    decades(ax, [row.per_sequence for row in rows])
    return handles


def _log_panel(ax: Axes, title: str) -> None:
    ax.set_xscale("log")
    ax.set_title(title, loc="left")
    ax.grid(axis="y", lw=0.3, color="#cccccc")
    ax.minorticks_off()


def counts(section: Section, path: Path) -> bool:
    """Against the number of sequences."""
    return _lines(section, path, "sequences", "number of sequences")


def lengths(section: Section, path: Path) -> bool:
    """Against the length."""
    return _lines(section, path, "length", "letters per sequence")


def concordance(section: Section, path: Path) -> bool:
    """Estimated against true effects, and correlations by sequence and target, a model a row."""
    rows = [row for row in good(section) if "pearson_by_sequence" in row.extra]
    if not rows:
        return False
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.6, 2.3 * len(rows) + 0.2), layout="constrained")
        grid = figure.subplots(len(rows), 2, squeeze=False)
        for (left, right), row in zip(grid, rows, strict=True):
            truth, said = np.asarray(row.extra["truth"]), np.asarray(row.extra["said"])
            left.scatter(truth, said, s=3, color=COLORS[2], alpha=0.35, lw=0, rasterized=True)
            ends = float(np.abs(np.concatenate([truth, said])).max()) * 1.05 or 1.0
            left.plot([-ends, ends], [-ends, ends], color=GREY, lw=0.6)
            left.set_xlim(-ends, ends)
            left.set_ylim(-ends, ends)
            left.set_aspect("equal")
            left.set_title(f"{row.case.name}, {row.method}", loc="left")
            left.set_xlabel("true effect")
            left.set_ylabel("estimate")
            values = np.asarray(row.extra["pearson_by_sequence"], dtype=float)
            values = values[np.isfinite(values)]
            right.hist(values, bins=np.linspace(-1, 1, 41), color=COLORS[2])
            if len(values):
                right.axvline(np.median(values), color="black", lw=0.8)
                right.set_title(f"median {np.median(values):.2f}, n = {len(values)}", loc="left")
            right.set_xlim(-1, 1)
            right.set_xticks([-1, -0.5, 0, 0.5, 1])
            right.set_xlabel("Pearson correlation")
            right.set_ylabel("sequences x targets")
        return save(figure, path)


CHARTS: dict[str, Callable[[Section, Path], bool]] = {
    "speed": speed,
    "counts": counts,
    "lengths": lengths,
    "alpha": alpha,
    "layers": layers,
    "concordance": concordance,
}
"""Name -> function of (section, file) that says whether there was anything to draw."""
