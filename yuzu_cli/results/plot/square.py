"""A picture of input position by output position: what each letter does to each place of a profile.

Draws with matplotlib on a figure of its own; reads what it needs from a source.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from yuzu_cli.errors import UsageError
from yuzu_cli.results.plot.region import head
from yuzu_cli.results.plot.style import Picture, bases, heat_map, plain, styled
from yuzu_cli.results.reader import Row
from yuzu_cli.results.streaming import Source

MOST_TRACKS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Square:
    """One region of a result whose targets are the positions of a profile.

    Attributes
    ----------
    row : Row
    first : int
        First mutated base, 0-based, on the forward strand.
    tracks : list of (str, ndarray, float32, (T, M))
        Name of each track, and contribution of every mutated position to each position of it, both
        along the forward strand.
    unit : str
    """

    row: Row
    first: int
    tracks: list[tuple[str, np.ndarray]]
    unit: str


def square(source: Source, index: int, targets: Sequence[int] | None = None) -> Square:
    """Gather one region; targets whose names end in a number belong to a track, in that order.

    Raises
    ------
    UsageError
        The targets are no positions.
    """
    chosen = list(range(len(source.targets))) if targets is None else list(targets)
    groups: dict[str, list[tuple[int, int]]] = {}
    for target in chosen:
        found = re.fullmatch(r"(.*?)(\d+)(\]?)", source.targets[target])
        if found:
            name = (found[1].rstrip(", [") + found[3] * ("," in found[1])) or "profile"
            groups.setdefault(name, []).append((int(found[2]), target))
    tracks = [(name, sorted(places)) for name, places in groups.items() if len(places) > 1]
    if not tracks:
        hint = "run with --reduce none on the output that is the profile"
        raise UsageError("--map", "the targets are not the positions of a profile", hint)
    row, rows = source.row(index), slice(index, index + 1)
    values = []
    for name, places in tracks[:MOST_TRACKS]:
        one = source.values("contribution", rows, [target for _, target in places])
        table = source.forward(one, rows)[0]
        values.append((name, table[::-1] if row.strand == "-" else table))
    first, _ = row.on_genome(source.mutate_start, source.mutate_end)
    return Square(row, first, values, source.unit)


@styled
def draw_square(seen: Square) -> Picture:
    """The figure: a map for each track, one under the other, all on one scale."""
    count = len(seen.tracks)
    figure = Picture(7.2, 0.7 + 3.4 * count)
    largest = max(float(np.abs(np.nan_to_num(values)).max()) for _, values in seen.tracks) or 1.0
    words = f"contribution to the {seen.unit}, blue lowers"
    for ax, (name, values) in zip(
        figure.subplots(count, 1, squeeze=False)[:, 0], seen.tracks, strict=True
    ):
        heat_map(ax, values, seen.first + 1, largest, words)
        bases(ax, seen.first + 1, seen.first + values.shape[1], 5.5)
        ax.invert_yaxis()
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_ylabel(plain(f"position in the output {name}, from 0"))
    ax.set_xlabel(plain(f"position in {seen.row.chrom}, counted from 1"))
    title = f"{head(seen.row)}: what each letter does to each position of the output"
    figure.suptitle(plain(title), fontsize=9)
    return figure
