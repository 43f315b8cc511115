"""The figure of one region: strips of the whole range, then a logo and a heat map for each target.

Draws with matplotlib on a figure of its own, without a display and without pyplot's global state.
Reads no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from yuzu_cli.alphabet import UNKNOWN
from yuzu_cli.results.plot.logo import color_names, draw_bars, draw_letters
from yuzu_cli.results.plot.region import View, head, label, logo_heights
from yuzu_cli.results.plot.style import GREY, STYLE, few_ticks, limits, plain, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Letters narrower than this, in inches, could not be read (4 pixels of a screen): bars instead.
NARROW = 0.04
# Inches: what a figure is made of, the space above each part, and the margins.
_STRIP, _LOGO, _TOP, _BOTTOM, _LEFT, _RIGHT = 0.3, 1.05, 0.46, 0.62, 0.85, 0.85
_NAME, _TICKS = 0.2, 0.22


def draw(
    seen: View,
    *,
    inches: float | None = None,
    same_scale: bool = False,
    hits: Sequence[tuple[int, int, str]] = (),
) -> Figure:
    """The figure of one region, to be saved or shown; not known to pyplot.

    Parameters
    ----------
    seen : View
    inches : float or None
        Width; None gives each letter room, from 6.5 to 16 inches.
    same_scale : bool
        One scale for all targets, of logos, maps and strips each.
    hits : sequence of (first, past the last, name)
        Motifs to mark above the logos, as indices into M.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    width, count = seen.stop - seen.start, len(seen.targets)
    inches = inches or min(16.0, max(6.5, 0.105 * width + _LEFT + _RIGHT))
    heat = 0.0 if seen.effect is None else max(0.62, 0.155 * len(seen.letters))
    strips = count if width < seen.contribution.shape[1] else 0
    rows = _rows(seen, hits)
    above = _NAME + 0.15 * len(rows)
    parts = [(_NAME if count > 1 else 0.06, _STRIP)] * strips
    for target in range(count):
        parts.append((above + (_TICKS if target or strips else 0), _LOGO))
        parts += [(0.04, heat)] if heat else []
    tall = _TOP + sum(gap + height for gap, height in parts) + _BOTTOM
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(inches, tall))
        axes = iter(_stack(figure, parts))
        _title(figure, seen)
        for target in range(strips):
            _draw_strip(next(axes), seen, target, same_scale, target == strips - 1)
        for target in range(count):
            low = logo = next(axes)
            _draw_logo(logo, seen, target, same_scale)
            _draw_name(logo, seen, target, above)
            _draw_hits(logo, rows)
            if seen.effect is not None:
                logo.set_xticks([])
                low = next(axes)
                _draw_map(low, seen, target, same_scale)
            _ticks(low, seen, seen.start, seen.stop)
        low.set_xlabel(plain(f"position in {seen.row.chrom}, counted from 1"))
        _explain(figure, seen)
    return figure


def _stack(figure: Figure, parts: Sequence[tuple[float, float]]) -> list[Axes]:
    """Axes one under the other, each with its space above and its height, in inches."""
    inches, tall = figure.get_size_inches()
    axes, top = [], tall - _TOP
    for gap, height in parts:
        top -= gap + height
        box = (_LEFT, top, inches - _LEFT - _RIGHT, height)
        axes.append(figure.add_axes(tuple(np.array(box) / [inches, tall, inches, tall])))
    return axes


def _title(figure: Figure, seen: View) -> None:
    inches, tall = figure.get_size_inches()
    name, left = head(seen.row), _LEFT / inches
    most = int((inches - _LEFT) / 0.085)
    name = name if len(name) <= most else name[: most - 1] + "…"
    figure.text(left, 1 - 0.17 / tall, plain(name), fontsize=10, fontweight="bold", va="center")
    figure.text(left, 1 - 0.35 / tall, plain(seen.place), fontsize=8, color=GREY, va="center")


def _explain(figure: Figure, seen: View) -> None:
    """What the marks mean, at the bottom."""
    inches, tall = figure.get_size_inches()
    words = []
    codes = seen.codes[seen.start : seen.stop]
    if seen.effect is not None and not _narrow(figure, seen):
        words.append("dots: the letter that is there")
    if seen.effect is not None and (codes == UNKNOWN).any():
        words.append("grey: unknown letter")
    if _narrow(figure, seen):
        words.append("bars: " + color_names(seen.letters))
    text = "; ".join(words)
    figure.text(_LEFT / inches, 0.1 / tall, text, fontsize=7, color=GREY, va="bottom")


def _narrow(figure: Figure, seen: View) -> bool:
    return (figure.get_figwidth() - _LEFT - _RIGHT) / (seen.stop - seen.start) < NARROW


def _draw_name(ax: Axes, seen: View, target: int, above: float) -> None:
    text = label(seen.targets[target])
    if seen.reference is not None:
        text += f"   prediction {seen.reference[target]:.3g}"
    at = 1 + (above - _NAME + 0.04) / _LOGO
    ax.text(0, at, plain(text), transform=ax.transAxes, fontsize=8, va="bottom", ha="left")


def _rows(seen: View, hits: Sequence[tuple[int, int, str]]) -> list[list[tuple[int, int, str]]]:
    """Hits in sight, counted from the start of the stretch, in as few rows as they do not meet."""
    rows: list[list[tuple[int, int, str]]] = []
    for first, last, name in sorted(hits):
        first, last = max(first, seen.start) - seen.start, min(last, seen.stop) - seen.start
        if first < last:
            row = next((row for row in rows if row[-1][1] <= first), None)
            if row is None:
                rows.append(row := [])
            row.append((first, last, name))
    return rows


def _draw_hits(ax: Axes, rows: Sequence[Sequence[tuple[int, int, str]]]) -> None:
    for level, row in enumerate(rows):
        y = 1.03 + 0.15 / _LOGO * level
        for first, last, name in row:
            over: Any = {"transform": ax.get_xaxis_transform(), "clip_on": False}
            ax.plot([first - 0.4, last - 0.6], [y, y], color="#222222", lw=1.2, **over)
            middle = (first + last - 1) / 2
            ax.text(middle, y + 0.01, plain(name), fontsize=6.5, ha="center", va="bottom", **over)


def _draw_strip(ax: Axes, seen: View, target: int, same_scale: bool, last: bool) -> None:
    """Contributions of one target over all that was mutated; the stretch below in grey."""
    values = np.nan_to_num(seen.contribution[target])
    ax.axvspan(seen.start - 0.5, seen.stop - 0.5, color="#e0e0e0", lw=0)
    ax.fill_between(np.arange(len(values)), 0, values, step="mid", color="#333333", lw=0.4)
    ax.set_xlim(-0.5, len(values) - 0.5)
    shown = seen.contribution if same_scale else values
    low, high = limits(shown)
    ax.set_ylim(low, high)
    ends = [end for end in (low, high) if abs(end) > 0.3 * max(high, -low)]
    ax.set_yticks([0, *ends], ["0", *map(short, ends)], fontsize=6.5)
    if len(seen.targets) > 1:
        name = plain(label(seen.targets[target]))
        ax.text(0, 1.04, name, transform=ax.transAxes, fontsize=7, va="bottom", ha="left")
    ax.spines[["right", "top"]].set_visible(False)
    ax.set_xticks([])
    if last:
        _ticks(ax, seen, 0, len(values))


def _draw_logo(ax: Axes, seen: View, target: int, same_scale: bool) -> None:
    heights = logo_heights(seen, target)
    ax.set_xlim(-0.5, seen.stop - seen.start - 0.5)
    shown = seen.contribution[:, seen.start : seen.stop] if same_scale else heights
    ax.set_ylim(*limits(shown))
    if _narrow(ax.figure, seen):  # type: ignore[arg-type]
        draw_bars(ax, heights, seen.letters)
    else:
        draw_letters(ax, heights, seen.letters)
    ax.axhline(0, color=GREY, lw=0.5, zorder=-1)
    ax.set_ylabel("contribution" if seen.signed else f"mean {seen.targets[0]}")
    ax.yaxis.set_major_locator(few_ticks())
    ax.yaxis.set_major_formatter(short)
    ax.tick_params(axis="y", labelsize=7)
    ax.spines[["right", "top", "bottom"]].set_visible(False)


def _draw_map(ax: Axes, seen: View, target: int, same_scale: bool) -> None:
    import matplotlib as mpl

    assert seen.effect is not None
    shown = seen.effect[:, :, seen.start : seen.stop]
    values = shown[target]
    limit = max(float(np.abs(np.nan_to_num(shown if same_scale else values)).max()), 1e-30)
    colors = mpl.colormaps["RdBu_r" if seen.signed else "Reds"].with_extremes(bad="#c8c8c8")
    image = ax.imshow(
        np.ma.masked_invalid(values),
        aspect="auto",
        cmap=colors,
        interpolation="nearest",
        vmin=-limit if seen.signed else 0.0,
        vmax=limit,
    )
    codes = seen.codes[seen.start : seen.stop]
    if not _narrow(ax.figure, seen):  # type: ignore[arg-type]
        known = np.flatnonzero(codes != UNKNOWN)
        size = min(6.0, 250.0 / max(len(codes), 1))
        ax.scatter(known, codes[known], s=size, color="#444444", lw=0, zorder=3)
    ax.set_yticks(range(len(seen.letters)), list(seen.letters))
    ax.tick_params(axis="y", length=0, labelsize=7 if len(seen.letters) <= 6 else 6)
    ax.set_xlim(-0.5, len(codes) - 0.5)
    box, inches = ax.get_position(), ax.figure.get_figwidth()  # type: ignore[union-attr]
    left = (inches - _RIGHT + 0.12) / inches
    side = ax.figure.add_axes((left, box.y0, 0.09 / inches, box.height), label="scale")
    scale = ax.figure.colorbar(image, cax=side)
    scale.outline.set_linewidth(0.4)
    scale.ax.tick_params(length=2, labelsize=6.5)
    scale.locator = few_ticks()
    scale.update_ticks()
    scale.ax.yaxis.set_major_formatter(short)
    words = f"Δ {seen.unit}\nblue lowers" if seen.signed else seen.targets[0]
    scale.set_label(words, fontsize=6.5)


def _ticks(ax: Axes, seen: View, start: int, stop: int) -> None:
    """Ticks at round bases, as many as there is room for."""
    first, last = seen.base(start), seen.base(stop - 1)
    room = ax.get_position().width * ax.figure.get_figwidth()  # type: ignore[union-attr]
    rough = (last - first + 1) * (0.35 + 0.07 * len(f"{last:,}")) / room
    power = 10 ** int(np.floor(np.log10(max(rough, 1))))
    step = next(int(power * k) for k in (1, 2, 5, 10) if power * k >= rough)
    bases = range(-(-first // step) * step, last + 1, step)
    ax.set_xticks([base - first for base in bases], [f"{base:,}" for base in bases])
    ax.tick_params(axis="x", length=2.5, labelsize=7)
