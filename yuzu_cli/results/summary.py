"""What a whole result amounts to: how large effects are, where in the window, in which regions.

One pass over the scores in memory that does not grow with the number of regions. Numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from yuzu_cli.alphabet import UNKNOWN
from yuzu_cli.results.derived import ACROSS
from yuzu_cli.results.streaming import Source

#: Edges of the bins of |effect|, eight to a factor of ten; smaller ones count into the first.
EDGES = np.logspace(-12, 6, 18 * 8 + 1)
_BEST = [("row", "i8"), ("position", "i8"), ("letter", "i8"), ("effect", "f8")]


class Strongest(NamedTuple):
    """The largest effect of one substitution in one region.

    `position` is an index into the mutated range, along the window's own strand; `letter` is the
    one mutated to, -1 when only contributions were saved.
    """

    row: int
    target: int
    position: int
    letter: int
    effect: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a result.

    Attributes
    ----------
    kind : str
        What was counted: `delta`, `contribution`, `l2` or `jsd`.
    targets : list of str
    sizes : ndarray, int64, (2, T, bins of EDGES)
        How many substitutions lower, and how many raise the output by how much.
    lowest, highest : ndarray, float64, (T,)
    count : int
        Substitutions of a known letter, for each target.
    profile : ndarray, float64, (T, M)
        Mean size of an effect at each mutated position.
    reference_mean, reference_sd : ndarray, float64, (all targets,)
        Of the outputs for the sequences; NaN for none.
    top : list of list of Strongest
        For each target, one a region, the strongest first; of windows whose strongest base is the
        same, one.
    """

    kind: str
    targets: list[str]
    sizes: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    count: int
    profile: np.ndarray
    reference_mean: np.ndarray
    reference_sd: np.ndarray
    top: list[list[Strongest]]

    @property
    def signed(self) -> bool:
        """Whether effects have a direction, and are those of one target."""
        return self.kind not in ACROSS

    @property
    def order(self) -> list[int]:
        """Targets, that of the largest effect first; none where nothing was counted."""
        size = np.maximum(-self.lowest, self.highest)
        return np.argsort(-size, kind="stable").tolist() if self.count else []

    def quantile(self, target: int, q: float) -> float:
        """Size of effect that a share `q` of substitutions does not exceed, to a few per cent."""
        bins = self.sizes[:, target].sum(axis=0)
        total = np.cumsum(bins)
        rank = q * self.count - (self.count - total[-1])
        if rank <= 0 or not total[-1]:
            return 0.0
        at = int(np.searchsorted(total, rank))
        # Within its bin as if sizes were spread evenly over the logarithm.
        share = (rank - (total[at] - bins[at])) / bins[at]
        return float(EDGES[at] * (EDGES[at + 1] / EDGES[at]) ** share)


def summarise(source: Source, top: int = 5) -> Summary:
    """Go through all rows once; `top` regions are named for each target.

    Raises
    ------
    OutputError
        When the result cannot be read, or holds no scores.
    """
    every, width = range(len(source.targets)), source.mutate_end - source.mutate_start
    targets = [source.kind] if source.kind in ACROSS else source.targets
    sizes = np.zeros((2, len(targets), len(EDGES) - 1), np.int64)
    profile, seen = np.zeros((len(targets), width)), np.zeros(width, np.int64)
    lowest, highest = np.zeros((2, len(targets)))
    # About the first row, so that large outputs that differ little lose no digits.
    about = source.reference(slice(0, 1), every).astype(np.float64).sum(axis=0)
    total, square = np.zeros((2, len(every)))
    best, others = np.zeros((len(targets), 0), _BEST), 1
    for part in source.batches(len(every)):
        codes = source.sequences(part)[:, source.mutate_start : source.mutate_end]
        seen += (codes != UNKNOWN).sum(axis=0)
        effects = source.effects(part, every)
        effects[np.isnan(effects)] = 0  # where the letter is unknown
        others = max(1, effects.shape[2] - 1)
        profile += np.abs(effects).sum(axis=(0, 2), dtype=np.float64)
        lowest = np.minimum(lowest, effects.min(axis=(0, 2, 3), initial=0.0))
        highest = np.maximum(highest, effects.max(axis=(0, 2, 3), initial=0.0))
        sizes += _tally(effects)
        best = np.concatenate([best, _best(effects, part.start)], axis=1)
        order = np.argsort(-np.abs(best["effect"]), axis=1, kind="stable")
        # More than are asked for: some will be of the same base.
        best = np.take_along_axis(best, order[:, : 4 * top], axis=1)
        reference = source.reference(part, every) - about
        total += reference.sum(axis=0)
        square += np.square(reference).sum(axis=0)
    mean, square = (sums / (len(source) or np.nan) for sums in (total, square))
    return Summary(
        kind=source.kind,
        targets=targets,
        sizes=sizes,
        lowest=lowest,
        highest=highest,
        count=int(seen.sum()) * others,
        profile=profile / np.maximum(seen * others, 1),
        reference_mean=about + mean,
        reference_sd=np.sqrt(np.maximum(square - np.square(mean), 0)),
        top=[_distinct(source, t, found, top) for t, found in enumerate(best)],
    )


def _tally(effects: np.ndarray) -> np.ndarray:
    """How many of (B, T, A, M) are below and above 0 by how much, int64 (2, T, bins of EDGES)."""
    tables = np.zeros((2, effects.shape[1], len(EDGES) - 1), np.int64)
    for target in range(effects.shape[1]):  # one by one, for what counting takes in memory
        one = effects[:, target]
        at = np.searchsorted(EDGES[1:-1], np.abs(one), side="right")
        for table, side in zip(tables, (one < 0, one > 0), strict=True):
            table[target] = np.bincount(at[side], minlength=tables.shape[2])
    return tables


def _best(effects: np.ndarray, start: int) -> np.ndarray:
    """The strongest effect of each region on each target, `_BEST` (T, B), from (B, T, A, M)."""
    letters, width = effects.shape[2:]
    flat = effects.reshape(*effects.shape[:2], letters * width)
    at = np.abs(flat).argmax(axis=2)[:, :, None]
    found = np.zeros(effects.shape[:2], _BEST)
    found["row"] = start + np.arange(len(effects))[:, None]
    found["effect"] = np.take_along_axis(flat, at, axis=2)[:, :, 0]
    found["letter"], found["position"] = np.divmod(at[:, :, 0], width)
    if letters == 1:
        found["letter"] = -1
    return found.T


def _distinct(source: Source, target: int, best: np.ndarray, most: int) -> list[Strongest]:
    """The first few that are not at the same base as one before."""
    where = source.regions
    seen: set[tuple[str, int]] = set()
    kept: list[Strongest] = []
    for row, position, letter, effect in best.tolist():
        inside = source.mutate_start + position
        base = where.end[row] - 1 - inside if where.minus[row] else where.start[row] + inside
        place = (where.chrom[row], int(base))
        if len(kept) < most and place not in seen:
            seen.add(place)
            kept.append(Strongest(row, target, position, letter, effect))
    return kept
