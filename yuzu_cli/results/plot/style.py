"""What all pictures share: fonts and lines, names as text, an axis of bases, maps in colors."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY, DARK = "#555555", "#333333"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": DARK,
    "ytick.color": DARK,
    "pdf.fonttype": 42,
    "svg.hashsalt": "yuzu",
}
#: Everything that draws is decorated with it; figures take it along when they are saved.
styled = mpl.rc_context(STYLE)


class Picture(Figure):
    """A figure in the style of all, without a display and not known to pyplot."""

    @styled
    def __init__(self, width: float, height: float, above: float = 0, below: float = 0) -> None:
        """Inches; `above` and `below` are kept free of axes."""
        rect = (0, below / height, 1, 1 - (above + below) / height)
        layout = ConstrainedLayoutEngine(h_pad=0.03, hspace=0, rect=rect)
        super().__init__(figsize=(width, height), layout=layout)

    @styled
    def savefig(self, fname: Any, **options: Any) -> None:
        """As a figure is saved, in its style."""
        super().savefig(fname, **options)

    def png(self, dpi: int) -> bytes:
        """The bytes of a PNG."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=dpi)
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        """For notebooks."""
        return self.png(110)


def plain(text: str) -> str:
    """A user's name as text: a dollar would start a formula."""
    return text.replace("$", r"\$")


def short(value: float, _: object = None) -> str:
    """A tick without an exponent written elsewhere, where it would cover the name."""
    return f"{value:.2g}"


def few_ticks() -> MaxNLocator:
    """Three ticks or so, at round numbers."""
    return MaxNLocator(nbins=3, steps=[1, 2, 5, 10])


def limits(values: np.ndarray) -> tuple[float, float]:
    """Limits of an axis that hold 0 and all values."""
    known = np.nan_to_num(values)
    low, high = min(float(known.min()), 0.0), max(float(known.max()), 0.0)
    span = max(high - low, 1e-30)
    return low - 0.04 * span * (low < 0), high + 0.04 * span * (high > 0 or low == 0)


def bases(ax: Axes, first: int, last: int, inches: float) -> None:
    """An axis from one base to another, 1-based, with as many round ones named as have room."""
    ax.set_xlim(first - 0.5, last + 0.5)
    room = int(inches / (0.35 + 0.07 * len(f"{last:,}")))
    locator = MaxNLocator(max(1, room), steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def heat_map(
    ax: Axes, values: np.ndarray, first: int, limit: float, words: str, signed: bool = True
) -> None:
    """Values (rows, W) in colors, above base `first` and on; what the colors mean is beside it.

    Numbers up to `limit` are red; where they are signed those down to `-limit` are blue.
    """
    rows, width = values.shape
    image = ax.imshow(
        np.ma.masked_invalid(values),
        aspect="auto",
        cmap=mpl.colormaps["RdBu_r" if signed else "Reds"].with_extremes(bad="#c8c8c8"),
        interpolation="nearest",
        extent=(first - 0.5, first + width - 0.5, rows - 0.5, -0.5),
        vmin=-limit if signed else 0.0,
        vmax=limit,
    )
    ax.spines[:].set_visible(True)
    beside = ax.inset_axes((1.012, 0, 0.012, 1), label="scale")
    scale = beside.figure.colorbar(image, cax=beside, ticks=few_ticks(), format=short)
    scale.ax.tick_params(length=2, labelsize=6.5)
    scale.set_label(words, fontsize=6.5)
