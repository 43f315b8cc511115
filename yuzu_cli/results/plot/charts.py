"""The charts of one target over a whole result: how large effects are, and where in the window.

Takes a summary; reads no files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from yuzu_cli.results.plot.style import STYLE
from yuzu_cli.results.summary import EDGES, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = (5.4, 2.3)
_LOWER, _RAISE = "#2166ac", "#b2182b"


def sizes_figure(summary: Summary, target: int, unit: str) -> Figure:
    """How many substitutions have an effect of which size, those that lower and raise apart."""
    with _chart() as (figure, ax):
        middle = np.sqrt(EDGES[1:] * EDGES[:-1])
        signed = summary.signed
        sides = [("lower", summary.loss, _LOWER, "-"), ("raise", summary.gain, _RAISE, "--")]
        for name, table, color, dash in sides if signed else sides[1:]:
            ax.fill_between(middle, table[target], step="mid", color=color, alpha=0.2, lw=0)
            words = f"{name} the output" if signed else None
            ax.step(middle, table[target], where="mid", color=color, ls=dash, lw=1.2, label=words)
        ax.set_xscale("log")
        bins = summary.loss[target] + summary.gain[target]
        used = np.flatnonzero(bins > 1e-3 * bins.max(initial=0))
        if len(used):
            ax.set_xlim(EDGES[max(used[0], used[-1] - 48)], EDGES[used[-1] + 1])
        if signed:
            ax.legend(frameon=False, loc="upper left")
        ax.set_xlabel(f"size of the effect (Δ {unit})" if signed else summary.kind)
        ax.set_ylabel("substitutions")
    return figure


def places_figure(summary: Summary, target: int, start: int) -> Figure:
    """Mean size of an effect at each mutated position; `start` is the first of them, from 0."""
    with _chart() as (figure, ax):
        positions = start + 1 + np.arange(summary.profile.shape[1])
        ax.plot(positions, summary.profile[target], color="#333333", lw=0.8)
        ax.set_xlim(positions[0] - 0.5, positions[-1] + 0.5)
        ax.set_xlabel("position in the window, 5' to 3', counted from 1")
        ax.set_ylabel("mean size of the effect")
    return figure


@contextmanager
def _chart() -> Iterator[tuple[Figure, Axes]]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        ax = figure.subplots()
        yield figure, ax
        ax.set_ylim(bottom=0)
        ax.spines[["top", "right"]].set_visible(False)
