"""The figure of one region: strips of the whole range, then a logo and a heat map for each target.

Reads no files: what is drawn is in a `View`. Positions along axes are bases, 1-based.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from yuzu_cli.alphabet import UNKNOWN
from yuzu_cli.results.plot.logo import color_names, draw_logo
from yuzu_cli.results.plot.region import View, head, label
from yuzu_cli.results.plot.style import (
    DARK,
    GREY,
    Picture,
    bases,
    few_ticks,
    heat_map,
    limits,
    plain,
    short,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Hit = tuple[int, int, str]

#: Letters narrower than this, in inches, could not be read (4 pixels of a screen): bars instead.
NARROW = 0.04
# Inches: the parts of a figure, names and ticks between them, and what is beside, above and below.
_STRIP, _LOGO, _NAME, _TICKS, _HIT = 0.3, 1.05, 0.22, 0.24, 0.15
_BESIDE, _ABOVE, _BELOW = 1.7, 0.45, 0.22


@styled
def draw(
    seen: View,
    *,
    inches: float | None = None,
    same_scale: bool = False,
    hits: Sequence[Hit] = (),
) -> Picture:
    """The figure of one region, to be saved or shown.

    Parameters
    ----------
    seen : View
    inches : float or None
        Width; None gives each letter room, from 6.5 to 16 inches.
    same_scale : bool
        One scale for all targets, of logos, maps and strips each.
    hits : sequence of (first, past the last, name)
        Motifs to mark above the logos, as bases, 0-based.
    """
    width, count = seen.stop - seen.start, len(seen.targets)
    inches = inches or min(16.0, max(6.5, 0.105 * width + _BESIDE))
    room = inches - _BESIDE
    narrow, rows = room / width < NARROW, _rows(seen, hits)
    strips = count if width < seen.contribution.shape[1] else 0
    heat = 0.0 if seen.effect is None else max(0.62, 0.155 * len(seen.letters))
    parts = [_STRIP] * strips + ([_LOGO, heat] if heat else [_LOGO]) * count
    names = _NAME * (count + (strips if count > 1 else 0)) + _HIT * len(rows) * count
    ticks = _TICKS * (count + (strips > 0)) + 0.15
    tall = _ABOVE + sum(parts) + names + ticks + 0.06 * len(parts) + _BELOW
    figure = Picture(inches, tall, _ABOVE, _BELOW)
    _around(figure, seen, narrow)
    axes = iter(figure.subplots(len(parts), 1, squeeze=False, height_ratios=parts)[:, 0])
    for target in range(strips):
        low = next(axes)
        _draw_strip(low, seen, target, same_scale)
        bases(low, seen.base(0), seen.base(seen.contribution.shape[1] - 1), room)
        low.xaxis.set_visible(target == strips - 1)
    for target in range(count):
        low = logo = next(axes)
        _draw_logo(logo, seen, target, same_scale, narrow)
        _draw_hits(logo, rows)
        text = label(seen.targets[target])
        if seen.reference is not None:
            text += f"   prediction {seen.reference[target]:.3g}"
        logo.set_title(plain(text), pad=4 + 72 * _HIT * len(rows))
        if heat:
            low = next(axes)
            _draw_map(low, seen, target, same_scale, narrow)
        for ax in (logo, low):
            bases(ax, seen.base(seen.start), seen.base(seen.stop - 1), room)
        logo.xaxis.set_visible(not heat)
    low.set_xlabel(plain(f"position in {seen.row.chrom}, counted from 1"))
    return figure


def _around(figure: Picture, seen: View, narrow: bool) -> None:
    """Name and place at the top, what the marks mean at the bottom."""
    inches, tall = figure.get_size_inches()
    name, most = head(seen.row), int(inches / 0.11)
    name = name if len(name) <= most else name[: most - 1] + "…"
    words = []
    if seen.effect is not None and not narrow:
        words.append("dots: the letter that is there")
    if seen.effect is not None and (seen.codes[seen.start : seen.stop] == UNKNOWN).any():
        words.append("grey: unknown letter")
    if narrow:
        words.append("bars: " + color_names(seen.letters))
    left = 0.1 / inches
    grey: Any = {"color": GREY, "va": "center"}
    figure.text(left, 1 - 0.17 / tall, plain(name), fontsize=10, fontweight="bold", va="center")
    figure.text(left, 1 - 0.35 / tall, plain(seen.place), **grey)
    figure.text(left, 0.13 / tall, "; ".join(words), fontsize=7, **grey)


def _rows(seen: View, hits: Sequence[Hit]) -> list[list[Hit]]:
    """Hits in sight, cut to it, in as few rows as they do not meet."""
    rows: list[list[Hit]] = []
    for first, last, name in sorted(hits):
        first, last = max(first, seen.first + seen.start), min(last, seen.first + seen.stop)
        if first < last:
            row = next((row for row in rows if row[-1][1] <= first), None)
            if row is None:
                rows.append(row := [])
            row.append((first, last, name))
    return rows


def _draw_hits(ax: Axes, rows: Sequence[Sequence[Hit]]) -> None:
    for level, row in enumerate(rows):
        y = 1.03 + _HIT / _LOGO * level
        for first, last, name in row:
            over: Any = {"transform": ax.get_xaxis_transform(), "clip_on": False}
            ax.plot([first + 0.6, last + 0.4], [y, y], color="#222222", lw=1.2, **over)
            middle = (first + 1 + last) / 2
            ax.text(middle, y + 0.01, plain(name), fontsize=6.5, ha="center", va="bottom", **over)


def _draw_strip(ax: Axes, seen: View, target: int, same_scale: bool) -> None:
    """Contributions of one target over all that was mutated; the stretch below in grey."""
    values = np.nan_to_num(seen.contribution[target])
    ax.axvspan(seen.base(seen.start) - 0.5, seen.base(seen.stop) - 0.5, color="#e0e0e0", lw=0)
    where = seen.base(0) + np.arange(len(values))
    ax.fill_between(where, 0, values, step="mid", color=DARK, lw=0.4)
    low, high = limits(seen.contribution if same_scale else values)
    ax.set_ylim(low, high)
    ends = [end for end in (low, high) if abs(end) > 0.3 * max(high, -low)]
    ax.set_yticks([0, *ends], ["0", *map(short, ends)], fontsize=6.5)
    if len(seen.targets) > 1:
        ax.set_title(plain(label(seen.targets[target])), fontsize=7, pad=2)


def _draw_logo(ax: Axes, seen: View, target: int, same_scale: bool, narrow: bool) -> None:
    inside = slice(seen.start, seen.stop)
    heights = np.nan_to_num(seen.contribution[target, inside])
    draw_logo(ax, seen.base(seen.start), heights, seen.text, seen.letters, bars=narrow)
    ax.set_ylim(*limits(seen.contribution[:, inside] if same_scale else heights))
    ax.axhline(0, color=GREY, lw=0.5, zorder=-1)
    ax.set_ylabel("contribution" if seen.signed else f"mean {seen.targets[0]}")
    ax.yaxis.set_major_locator(few_ticks())
    ax.yaxis.set_major_formatter(short)
    ax.spines["bottom"].set_visible(False)


def _draw_map(ax: Axes, seen: View, target: int, same_scale: bool, narrow: bool) -> None:
    assert seen.effect is not None
    shown = seen.effect[:, :, seen.start : seen.stop]
    limit = max(float(np.abs(np.nan_to_num(shown if same_scale else shown[target])).max()), 1e-30)
    words = f"Δ {seen.unit}\nblue lowers" if seen.signed else seen.targets[0]
    heat_map(ax, shown[target], seen.base(seen.start), limit, words, seen.signed)
    if not narrow:
        codes = seen.codes[seen.start : seen.stop]
        known = np.flatnonzero(codes != UNKNOWN)
        size = min(6.0, 250.0 / len(codes))
        ax.scatter(seen.base(seen.start) + known, codes[known], s=size, color="#444444", lw=0)
    ax.set_yticks(range(len(seen.letters)), list(seen.letters))
    ax.tick_params(axis="y", length=0, labelsize=7 if len(seen.letters) <= 6 else 6)
