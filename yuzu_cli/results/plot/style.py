"""What all pictures share: fonts and lines, names as text, limits, ticks, and how to save one."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY = "#555555"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.linewidth": 0.6,
    "axes.edgecolor": GREY,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "pdf.fonttype": 42,
    "svg.hashsalt": "yuzu",
}


def png(figure: Figure, dpi: int) -> bytes:
    """A figure as the bytes of a PNG."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def plain(text: str) -> str:
    """A user's name as text: a dollar would start a formula."""
    return text.replace("$", r"\$")


def short(value: float, _: object = None) -> str:
    """A tick without an exponent written elsewhere, where it would cover the name."""
    return f"{value:.2g}"


def few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=3, steps=[1, 2, 5, 10])


def limits(values: np.ndarray) -> tuple[float, float]:
    """Limits of an axis that hold 0 and all values."""
    known = np.nan_to_num(values)
    low, high = min(float(known.min()), 0.0), max(float(known.max()), 0.0)
    span = max(high - low, 1e-30)
    return low - 0.04 * span * (low < 0), high + 0.04 * span * (high > 0 or low == 0)
