"""The charts of a whole result: how large its effects are, and where in the window.

Takes a summary; reads no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from yuzu_cli.results.plot.figure import STYLE, plain
from yuzu_cli.results.plot.region import label
from yuzu_cli.results.summary import EDGES, Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def effects_figure(summary: Summary, start: int, chosen: Sequence[int]) -> Figure:
    """How many substitutions have an effect of which size, and where in the window, a row a target.

    Parameters
    ----------
    summary : Summary
    start : int
        Window position of the first of the mutated range.
    chosen : sequence of int
        Targets.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 1.55 * len(chosen) + 0.5), layout="constrained")
        grid = figure.subplots(len(chosen), 2, squeeze=False, sharex="col")
        positions = start + np.arange(summary.profile.shape[1])
        middle = np.sqrt(EDGES[1:] * EDGES[:-1])
        bins = (summary.loss[list(chosen)] + summary.gain[list(chosen)]).max(axis=0)
        used = np.flatnonzero(bins > 1e-3 * bins.max(initial=0))
        for axes, t in zip(grid, chosen, strict=True):
            signed = summary.kind != "l2"
            tables = [("lower", summary.loss, "#2f5fc0"), ("raise", summary.gain, "#d0312d")]
            for name, table, color in tables if signed else tables[1:]:
                words = name if signed else None
                axes[0].fill_between(middle, table[t], step="mid", color=color, alpha=0.25, lw=0)
                axes[0].step(middle, table[t], where="mid", color=color, lw=1, label=words)
            axes[0].set_xscale("log")
            axes[0].set_ylabel(plain(label(summary.targets[t])))
            axes[1].plot(positions, summary.profile[t], color="#333333", lw=0.8)
            axes[1].set_ylim(bottom=0)
            axes[1].set_xlim(positions[0] - 0.5, positions[-1] + 0.5)
            for ax in axes:
                ax.spines[["top", "right"]].set_visible(False)
        if len(used):
            grid[0, 0].set_xlim(EDGES[max(used[0], used[-1] - 64)], EDGES[used[-1] + 1])
        if summary.kind != "l2":
            grid[0, 0].legend(
                frameon=False, fontsize=7, title="substitutions that", title_fontsize=7
            )
        grid[-1, 0].set_xlabel("size of the effect")
        grid[-1, 1].set_xlabel("position in the window")
    return figure
