"""What the pictures of a benchmark have in common: style, colors, legend, axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from yuzu_cli.bench.measure import Row
from yuzu_cli.bench.report import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.axisbelow": True,
}
COLORS = (
    *("#4d4d4d", "#c44e52", "#4c72b0", "#55a868", "#8172b2", "#ccb974", "#64b5cd", "#e08214"),
    *("#8c564b", "#e377c2", "#a6cee3", "#b2df8a", "#999999"),
)
KNOWN = dict(
    zip(
        (
            *("naive", "windowed", "yuzu:interleaved", "yuzu:orthogonal", "yuzu:gaussian"),
            *("taylor", "yuzu-ism", "tangermeme", "fastism"),
        ),
        COLORS,
        strict=False,
    )
)
"""The same color in every picture."""
GREY = "#888888"


def good(section: Section) -> list[Row]:
    return [row for row in section.rows if row.status == "ok" and np.isfinite(row.per_sequence)]


def palette(rows: Sequence[Row]) -> dict[str, str]:
    names = list(dict.fromkeys(row.method for row in rows))
    free = [color for color in COLORS if color not in [KNOWN.get(name) for name in names]]
    others = iter(free * len(names))
    return {name: KNOWN.get(name) or next(others) for name in names}


def save(figure: Figure, path: Path) -> bool:
    figure.savefig(path, dpi=160)
    return True


def legend(figure: Figure, handles: dict[str, Any]) -> None:
    """Below everything, in as many columns as there is room for."""
    longest = max(len(name) for name in handles)
    columns = int((figure.get_figwidth() - 0.3) / (0.55 + 0.058 * longest))
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=max(1, min(columns, len(handles))),
    )


def decades(ax: Axes, values: Sequence[float], more: float = 1.0) -> None:
    """A logarithmic axis from a whole power of ten to another, the upper one times `more`."""
    seen = [value for value in values if value > 0 and np.isfinite(value)]
    low, high = np.floor(np.log10(min(seen)) - 0.05), np.ceil(np.log10(max(seen) * more) + 0.02)
    ax.set_yscale("log")
    ax.set_ylim(10.0**low, 10.0 ** max(high, low + 1))
