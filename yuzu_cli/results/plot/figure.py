"""The figure of one region: where the stretch lies, then a logo and a heat map for each target.

Draws with matplotlib on a figure of its own, without a display and without pyplot's global state.
Reads no files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from yuzu_cli.alphabet import UNKNOWN
from yuzu_cli.results.plot.region import View, label, logo_heights

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GREY = "#666666"
_BASES = {"A": "#2c9f45", "C": "#2f5fc0", "G": "#f0a30a", "T": "#d0312d", "U": "#d0312d"}
_LINES = ("#333333", "#c44e52", "#4c72b0", "#55a868")
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.linewidth": 0.6,
    "axes.edgecolor": _GREY,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "pdf.fonttype": 42,
    "svg.hashsalt": "yuzu",
}
# Heights in inches of what a figure is made of, and its margins.
_OVERVIEW, _LOGO, _GAP, _TOP, _BOTTOM = 0.5, 1.05, 0.44, 0.42, 0.5
_LEFT, _RIGHT = 0.85, 0.85


def draw(seen: View) -> Figure:
    """The figure of one region, to be saved or shown; not known to pyplot."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    width = seen.stop - seen.start
    heat = 0.0 if seen.effect is None else max(0.62, 0.155 * len(seen.letters))
    zoomed = width < seen.contribution.shape[1]
    heights = [_OVERVIEW] if zoomed else []
    for _ in seen.targets:
        heights += [_LOGO, heat] if heat else [_LOGO]
    inches = min(16.0, max(6.5, 0.105 * width + _LEFT + _RIGHT))
    legend = zoomed and len(seen.targets) > 1
    top = _TOP + 0.2 * (legend or not zoomed)
    tall = sum(heights) + top + _BOTTOM + _GAP * (len(seen.targets) - 1 + zoomed)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(inches, tall))
        axes = _stack(figure, heights, top, int(zoomed), bool(heat))
        _title(figure, seen, tall, inches)
        if zoomed:
            _draw_overview(axes.pop(0), seen)
        for target, name in enumerate(seen.targets):
            logo = axes.pop(0)
            _draw_logo(logo, seen, target)
            _draw_name(logo, seen, target, name)
            last = target == len(seen.targets) - 1
            if seen.effect is not None:
                logo.set_xticks([])
                bar = (inches - _RIGHT + 0.12) / inches
                _draw_map(axes[0], seen, target, bar, inches)
                logo = axes.pop(0)
            _coordinates(logo, seen, last)
    return figure


def _stack(
    figure: Figure, heights: list[float], margin: float, first: int, with_map: bool
) -> list[Axes]:
    """Axes one under the other; a map nearly touches the logo above it, the rest is apart.

    `first` is the number of axes above the first logo.
    """
    inches, tall = figure.get_size_inches()
    axes, top = [], tall - margin
    for i, height in enumerate(heights):
        if i:
            is_map = with_map and i > first and (i - first) % 2 == 1
            top -= 0.04 if is_map else _GAP
        box = (
            _LEFT / inches,
            (top - height) / tall,
            (inches - _LEFT - _RIGHT) / inches,
            height / tall,
        )
        axes.append(figure.add_axes(box))
        top -= height
    return axes


def _title(figure: Figure, seen: View, tall: float, inches: float) -> None:
    left, high = _LEFT / inches, 1 - 0.2 / tall
    name = seen.row.name
    head = name if name and name not in (".", seen.row.chrom) else f"row {seen.row.index}"
    figure.text(left, high, plain(head), fontsize=10, fontweight="bold", va="center")
    right = 1 - _RIGHT / inches
    figure.text(right, high, plain(seen.place), fontsize=8, color=_GREY, va="center", ha="right")


def _draw_name(ax: Axes, seen: View, target: int, name: str) -> None:
    text = label(name)
    if seen.reference is not None:
        text += f"   prediction {seen.reference[target]:.3g}"
    ax.text(0, 1.04, plain(text), transform=ax.transAxes, fontsize=8, va="bottom", ha="left")


def _draw_overview(ax: Axes, seen: View) -> None:
    """Contributions over all that was mutated, and the stretch below as a grey box."""
    x = np.arange(seen.contribution.shape[1])
    ax.axvspan(seen.start - 0.5, seen.stop - 0.5, color="#e4e4e4", lw=0)
    ax.axhline(0, color=_GREY, lw=0.4)
    for target, name in enumerate(seen.targets):
        # Each on its own scale: the shape is what matters here.
        values = np.nan_to_num(seen.contribution[target])
        values = values / max(float(np.abs(values).max(initial=0.0)), 1e-30)
        color = _LINES[target % len(_LINES)]
        ax.plot(x, values, lw=0.7, color=color, label=plain(label(name)))
    ax.set_xlim(-0.5, len(x) - 0.5)
    ax.set_yticks([])
    ax.set_ylabel("whole\nrange", rotation=0, ha="right", va="center", color=_GREY, fontsize=7)
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    if len(seen.targets) > 1:
        ax.legend(
            ncols=len(seen.targets),
            loc="lower right",
            bbox_to_anchor=(1, 0.92),
            frameon=False,
            fontsize=7,
            borderaxespad=0,
            handlelength=1.2,
        )
    _ticks(ax, seen, 0, len(x))


def _draw_logo(ax: Axes, seen: View, target: int) -> None:
    import logomaker
    import pandas as pd

    table = pd.DataFrame(logo_heights(seen, target), columns=list(seen.letters))
    scheme: Any = "chemistry"
    if set(seen.letters) <= set("ACGTUN"):
        scheme = {letter: _BASES.get(letter, _GREY) for letter in seen.letters}
    logomaker.Logo(table, ax=ax, color_scheme=scheme, flip_below=False, vpad=0.02, baseline_width=0)
    ax.axhline(0, color=_GREY, lw=0.5, zorder=-1)
    low, high = float(table.min().min()), float(table.max().max())
    span = max(high - low, 1e-30)
    ax.set_ylim(low - 0.04 * span if low < 0 else 0.0, high + 0.04 * span)
    ax.set_xlim(-0.5, seen.stop - seen.start - 0.5)
    ax.set_ylabel("contribution" if seen.signed else "mean l2")
    ax.yaxis.set_major_locator(_few_ticks())
    ax.yaxis.set_major_formatter(_short)
    for side in ("right", "top", "bottom"):
        ax.spines[side].set_visible(False)


def _draw_map(ax: Axes, seen: View, target: int, bar: float, inches: float) -> None:
    assert seen.effect is not None
    values = seen.effect[target][:, seen.start : seen.stop]
    limit = max(float(np.nanmax(np.abs(np.nan_to_num(values)), initial=0.0)), 1e-30)
    import matplotlib as mpl

    colors = mpl.colormaps["RdBu_r" if seen.signed else "Reds"].with_extremes(bad="#dddddd")
    image = ax.imshow(
        np.ma.masked_invalid(values),
        aspect="auto",
        cmap=colors,
        interpolation="nearest",
        vmin=-limit if seen.signed else 0.0,
        vmax=limit,
    )
    codes = seen.codes[seen.start : seen.stop]
    known = np.flatnonzero(codes != UNKNOWN)
    size = min(6.0, 250.0 / max(len(codes), 1))
    ax.scatter(known, codes[known], s=size, color="#555555", lw=0, zorder=3)
    ax.set_yticks(range(len(seen.letters)), list(seen.letters))
    ax.tick_params(axis="y", length=0, labelsize=7 if len(seen.letters) <= 6 else 6)
    ax.set_xlim(-0.5, len(codes) - 0.5)
    box = ax.get_position()
    side = ax.figure.add_axes((bar, box.y0, 0.09 / inches, box.height), label="scale")
    scale = ax.figure.colorbar(image, cax=side)
    scale.outline.set_linewidth(0.4)
    scale.ax.tick_params(length=2, labelsize=6.5)
    scale.locator = _few_ticks()
    scale.update_ticks()
    scale.ax.yaxis.set_major_formatter(_short)
    scale.set_label("effect" if seen.signed else "l2", fontsize=7)


def _short(value: float, _: object = None) -> str:
    """A tick without an exponent written elsewhere, where it would cover the name."""
    return f"{value:.3g}"


def plain(text: str) -> str:
    """A user's name as text: a dollar would start a formula."""
    return text.replace("$", r"\$")


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=3, steps=[1, 2, 5, 10])


def _coordinates(ax: Axes, seen: View, label: bool) -> None:
    _ticks(ax, seen, seen.start, seen.stop)
    if label:
        direction = {"-": ", minus strand: 5'→3' runs right, bases count down"}
        where = "position in " + seen.row.chrom
        ax.set_xlabel(plain(where + direction.get(seen.row.strand, "")))


def _ticks(ax: Axes, seen: View, start: int, stop: int) -> None:
    """Ticks at round bases of the genome, whichever way they run."""
    first, last = sorted((seen.base(start), seen.base(stop - 1)))
    rough = (last - first + 1) / 8
    power = 10 ** int(np.floor(np.log10(max(rough, 1))))
    step = next(int(power * k) for k in (1, 2, 5, 10) if power * k >= rough)
    bases = range(-(-first // step) * step, last + 1, step)
    at = [abs(base - seen.base(start)) for base in bases]
    ax.set_xticks(at, [f"{base:,}" for base in bases])
    ax.tick_params(axis="x", length=2.5, labelsize=7)
