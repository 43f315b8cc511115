"""The charts of one target over a whole result: how large effects are, and where in the window.

Takes a summary; reads no files.
"""

from __future__ import annotations

import numpy as np

from yuzu_cli.results.plot.style import DARK, Picture, styled
from yuzu_cli.results.summary import EDGES, Summary

_SIZE = (5.4, 2.3)
_SIDES = (("lower", "#2166ac", "-"), ("raise", "#b2182b", "--"))


@styled
def sizes_figure(summary: Summary, target: int, unit: str) -> Picture:
    """How many substitutions have an effect of which size, those that lower and raise apart."""
    figure = Picture(*_SIZE)
    ax = figure.subplots()
    tables, middle = summary.sizes[:, target], np.sqrt(EDGES[1:] * EDGES[:-1])
    for (name, color, dash), table in zip(_SIDES, tables, strict=True):
        if summary.signed or name == "raise":
            ax.fill_between(middle, table, step="mid", color=color, alpha=0.2, lw=0)
            words = f"{name} the output" if summary.signed else None
            ax.step(middle, table, where="mid", color=color, ls=dash, lw=1.2, label=words)
    ax.set_xscale("log")
    bins = tables.sum(axis=0)
    used = np.flatnonzero(bins > 1e-3 * bins.max(initial=0))
    if len(used):
        ax.set_xlim(EDGES[max(used[0], used[-1] - 48)], EDGES[used[-1] + 1])
    if summary.signed:
        ax.legend(frameon=False, loc="upper left")
    ax.set_xlabel(f"size of the effect (Δ {unit})" if summary.signed else summary.kind)
    ax.set_ylabel("substitutions")
    ax.set_ylim(bottom=0)
    return figure


@styled
def places_figure(summary: Summary, target: int, start: int) -> Picture:
    """Mean size of an effect at each mutated position; `start` is the first of them, from 0."""
    figure = Picture(*_SIZE)
    ax = figure.subplots()
    positions = start + 1 + np.arange(summary.profile.shape[1])
    ax.plot(positions, summary.profile[target], color=DARK, lw=0.8)
    ax.set_xlim(positions[0] - 0.5, positions[-1] + 0.5)
    ax.set_xlabel("position in the window, 5' to 3', counted from 1")
    ax.set_ylabel("mean size of the effect")
    ax.set_ylim(bottom=0)
    return figure
