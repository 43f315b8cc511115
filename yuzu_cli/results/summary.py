"""What a whole result amounts to: how large effects are, where in the window, in which regions.

One pass over the scores in memory that does not grow with the number of regions. Numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from yuzu_cli.alphabet import UNKNOWN
from yuzu_cli.results.derived import ACROSS, source_of
from yuzu_cli.results.schema import STATUS
from yuzu_cli.results.streaming import Source

#: Edges of the bins of |effect|, eight to a factor of ten; smaller ones count into the first.
EDGES = np.logspace(-12, 6, 18 * 8 + 1)
_TARGETS_AT_ONCE = 64
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


@dataclass(slots=True)
class Summary:
    """Figures of a result.

    Attributes
    ----------
    kind : str
        What was counted: `delta`, `contribution`, `l2` or `jsd`.
    targets : list of str
    loss, gain : ndarray, int64, (T, bins of EDGES)
        How many substitutions lower or raise the output by how much.
    lowest, highest : ndarray, float64, (T,)
    count : ndarray, int64, (T,)
        Substitutions of a known letter.
    profile : ndarray, float64, (T, M)
        Mean size of an effect at each mutated position.
    reference_mean, reference_sd : ndarray, float64, (T,)
    top : list of list of Strongest
        For each target, one a region, the strongest first; of windows whose strongest base is the
        same, one.
    status : dict
        Rows with unknown letters, padded, resized.
    """

    kind: str
    targets: list[str]
    loss: np.ndarray
    gain: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    count: np.ndarray
    profile: np.ndarray
    reference_mean: np.ndarray
    reference_sd: np.ndarray
    top: list[list[Strongest]] = field(default_factory=list)
    status: dict[str, int] = field(default_factory=dict)

    @property
    def signed(self) -> bool:
        """Whether effects have a direction, and are those of one target."""
        return self.kind not in ACROSS

    @property
    def order(self) -> list[int]:
        """Targets, that of the largest effect first."""
        size = np.maximum(-self.lowest, self.highest)
        return np.argsort(-size, kind="stable").tolist()

    def quantile(self, target: int, q: float) -> float:
        """Size of effect that a share `q` of substitutions does not exceed, to a few per cent."""
        bins = self.loss[target] + self.gain[target]
        total = np.cumsum(bins)
        rank = q * self.count[target] - (self.count[target] - total[-1])
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
    out = _nothing(source, _kind(source))
    count = len(out.targets)
    seen = np.zeros(out.profile.shape[1], np.int64)
    best = np.zeros((count, 0), _BEST)
    for part in source.batches(min(_TARGETS_AT_ONCE, count)):
        codes = source.sequences(part)[:, source.mutate_start : source.mutate_end]
        seen += (codes != UNKNOWN).sum(axis=0)
        found = []
        for first in range(0, count, _TARGETS_AT_ONCE):
            block = list(range(first, min(first + _TARGETS_AT_ONCE, count)))
            values = _values(source, out.kind, part, block)
            _count(out, block, values, codes, len(source.alphabet))
            found.append(_best(values, part.start))
        best = np.concatenate([best, np.concatenate(found)], axis=1)
        order = np.argsort(-np.abs(best["effect"]), axis=1, kind="stable")
        # More than are asked for: some will be of the same base.
        best = np.take_along_axis(best, order[:, : 4 * top], axis=1)
    out.top = [_distinct(source, t, found, top) for t, found in enumerate(best)]
    others = 1 if out.kind == "contribution" else len(source.alphabet) - 1
    out.profile /= np.maximum(seen * others, 1)
    return out


def _nothing(source: Source, kind: str) -> Summary:
    """A summary before anything is counted."""
    targets = [kind] if kind in ACROSS else source.targets
    count, width = len(targets), source.mutate_end - source.mutate_start
    mean, sd = _reference(source)
    return Summary(
        kind=kind,
        targets=targets,
        loss=np.zeros((count, len(EDGES) - 1), np.int64),
        gain=np.zeros((count, len(EDGES) - 1), np.int64),
        lowest=np.zeros(count),
        highest=np.zeros(count),
        count=np.zeros(count, np.int64),
        profile=np.zeros((count, width)),
        reference_mean=mean,
        reference_sd=sd,
        status={STATUS[name]: rows for name, rows in source.status_counts().items()},
    )


def _reference(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the outputs for the sequences, float64 (T,); NaN for none."""
    every = range(len(source.targets))
    # About the first row, so that large outputs that differ little lose no digits.
    about = source.reference(slice(0, 1), every).astype(np.float64)
    total, square = np.zeros((2, len(every)))
    for part in source.batches(len(every)):
        reference = source.reference(part, every) - about
        total += reference.sum(axis=0)
        square += np.square(reference).sum(axis=0)
    if not len(source):
        return total * np.nan, square * np.nan
    mean = total / len(source)
    return about[0] + mean, np.sqrt(np.maximum(square / len(source) - np.square(mean), 0))


def _kind(source: Source) -> str:
    if source_of("delta", source.saved):
        return "delta"
    return "contribution" if "contribution" in source.saved else source.across


def _values(source: Source, kind: str, part: slice, block: list[int]) -> np.ndarray:
    """(B, T, A, M), or (B, T, 1, M) for contributions; a copy, NaN where the letter is unknown."""
    values = source.values(kind, part, block)
    if kind in ACROSS:
        return values[:, None]
    return values[:, :, None] if kind == "contribution" else values


def _count(
    out: Summary, block: list[int], values: np.ndarray, codes: np.ndarray, letters: int
) -> None:
    known = (codes != UNKNOWN)[:, None, :]
    if values.shape[2] == letters:
        known = known & (codes[:, None, :] != np.arange(letters)[None, :, None])
    for at, target in enumerate(block):
        effects = values[:, at]
        out.profile[target] += np.where(known, np.abs(effects), 0).sum(axis=(0, 1))
        effects = effects[known]
        out.count[target] += len(effects)
        out.lowest[target] = min(out.lowest[target], effects.min(initial=0.0))
        out.highest[target] = max(out.highest[target], effects.max(initial=0.0))
        for table, part in ((out.loss, -effects[effects < 0]), (out.gain, effects[effects > 0])):
            inside = np.clip(part, EDGES[0], EDGES[-1])
            table[target] += np.histogram(inside, EDGES)[0]


def _best(values: np.ndarray, start: int) -> np.ndarray:
    """The strongest effect of each region on each target, `_BEST` (T, B), from (B, T, A, M)."""
    flat = np.nan_to_num(values.reshape(*values.shape[:2], -1))
    at = np.abs(flat).argmax(axis=2)[:, :, None]
    found = np.zeros(values.shape[:2], _BEST)
    found["row"] = start + np.arange(len(values))[:, None]
    found["effect"] = np.take_along_axis(flat, at, axis=2)[:, :, 0]
    found["letter"], found["position"] = np.divmod(at[:, :, 0], values.shape[3])
    if values.shape[2] == 1:
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
