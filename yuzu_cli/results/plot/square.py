"""A picture of input position by output position: what each letter does to each place of a profile.

Draws with matplotlib on a figure of its own; reads what it needs from a source.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from yuzu_cli.errors import UsageError
from yuzu_cli.results.plot.region import head
from yuzu_cli.results.plot.style import Picture, bases, heat_map, plain, styled
from yuzu_cli.results.reader import Row
from yuzu_cli.results.streaming import Source

MOST_TRACKS = 4


def tracks(
    source: Source, row: Row, targets: Sequence[int] | None = None
) -> list[tuple[str, np.ndarray]]:
    """Targets whose names end in a number are the positions of a track, in that order.

    Returns
    -------
    list of (str, ndarray, float32, (T, M))
        Name of each track, and contribution of every mutated position to each position of it, both
        along the forward strand.

    Raises
    ------
    UsageError
        The targets are no positions.
    """
    chosen = list(range(len(source.targets))) if targets is None else list(targets)
    groups: dict[str, list[tuple[int, int]]] = {}
    for target in chosen:
        if place := re.fullmatch(r"(.*?)(\d+)(\]?)", source.targets[target]):
            name = (place[1].rstrip(", [") + place[3] * ("," in place[1])) or "profile"
            groups.setdefault(name, []).append((int(place[2]), target))
    whole = [(name, sorted(places)) for name, places in groups.items() if len(places) > 1]
    if not whole:
        hint = "run with --reduce none on the output that is the profile"
        raise UsageError("--map", "the targets are not the positions of a profile", hint)
    found, rows = [], slice(row.index, row.index + 1)
    for name, places in whole[:MOST_TRACKS]:
        one = source.values("contribution", rows, [target for _, target in places])
        table = source.forward(one, rows)[0]
        found.append((name, table[::-1] if row.strand == "-" else table))
    return found


@styled
def draw_square(source: Source, row: Row, targets: Sequence[int] | None = None) -> Picture:
    """A map for each track, one under the other, all on one scale."""
    drawn = tracks(source, row, targets)
    first = row.on_genome(source.mutate_start, source.mutate_end)[0] + 1
    figure = Picture(7.2, 0.7 + 3.4 * len(drawn))
    largest = max(float(np.abs(np.nan_to_num(values)).max()) for _, values in drawn) or 1.0
    words = f"contribution to the {source.unit}, blue lowers"
    axes = figure.subplots(len(drawn), 1, squeeze=False)[:, 0]
    for ax, (name, values) in zip(axes, drawn, strict=True):
        heat_map(ax, values, first, largest, words)
        bases(ax, first, first + values.shape[1] - 1, 5.5)
        ax.invert_yaxis()
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_ylabel(plain(f"position in the output {name}, from 0"))
    ax.set_xlabel(plain(f"position in {row.chrom}, counted from 1"))
    title = f"{head(row)}: what each letter does to each position of the output"
    figure.suptitle(plain(title), fontsize=9)
    return figure
