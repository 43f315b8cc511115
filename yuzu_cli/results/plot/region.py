"""The numbers behind a picture of one region: which positions, which targets, which scores.

Numpy only: drawing is elsewhere, so that a notebook can take the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yuzu_cli.alphabet import UNKNOWN, Alphabet
from yuzu_cli.errors import UsageError
from yuzu_cli.results.derived import source_of
from yuzu_cli.results.reader import Row
from yuzu_cli.results.streaming import Source

MOST_TARGETS = 4
ZOOM = 100


@dataclass(frozen=True, slots=True)
class View:
    """One region of a result, some targets of it, and the stretch to look at.

    Attributes
    ----------
    row : Row
        Coordinates, sequence and reference outputs.
    letters : str
        Of the A axis.
    targets : tuple of str
        Names of the T targets shown; `l2` when only that was saved.
    reference : ndarray or None, float32, (T,)
        Outputs for the sequence itself.
    contribution : ndarray, float32, (T, M)
        Height of each letter, over the whole mutated range; of l2 its mean over the other letters.
    effect : ndarray or None, float32, (T, A, M)
        What each substitution does; None when it was not saved.
    codes : ndarray, uint8, (M,)
        Letters of the mutated range.
    offset : int
        Window position of the first of the M.
    start, stop : int
        The stretch to look at, as indices into M.
    signed : bool
        Whether effects have a direction; those of l2 have none.
    """

    row: Row
    letters: str
    targets: tuple[str, ...]
    reference: np.ndarray | None
    contribution: np.ndarray
    effect: np.ndarray | None
    codes: np.ndarray
    offset: int
    start: int
    stop: int
    signed: bool = True

    def base(self, index: int) -> int:
        """Base of the genome, 0-based, under an index into M; falls along a `-` window."""
        position = self.offset + index
        if self.row.strand == "-":
            return self.row.end - 1 - position
        return self.row.start + position

    @property
    def text(self) -> str:
        """The letters in the stretch to look at."""
        return Alphabet(self.letters).decode(self.codes[self.start : self.stop])

    @property
    def place(self) -> str:
        """`chrom:start-end (strand)` of the stretch to look at, on the forward strand."""
        first, last = sorted((self.base(self.start), self.base(self.stop - 1)))
        strand = f" ({self.row.strand})" if self.row.strand in "+-" else ""
        return f"{self.row.chrom}:{first:,}-{last + 1:,}{strand}"


def view(
    source: Source, index: int, targets: Sequence[int] | None = None, stretch: str | None = None
) -> View:
    """Gather one region.

    Parameters
    ----------
    source : Source
    index : int
        Row.
    targets : sequence of int or None
        None takes the strongest in this region, `MOST_TARGETS` at most, in their own order.
    stretch : str or None
        `START:END` in the window, `chrom:start-end` on the genome, or `all`; None looks where most
        happens, `ZOOM` positions wide.

    Raises
    ------
    UsageError
        When the stretch is not one, or holds no mutated position.
    """
    row, rows = source.result.row(index), slice(index, index + 1)
    every = list(range(len(source.targets)))
    only_l2 = source_of("contribution", source.saved) is None
    effect: np.ndarray | None
    names: tuple[str, ...]
    if only_l2:
        source.need("l2")
        effect = source.scores("l2", rows, every)
        contribution = effect.sum(axis=1) / (effect.shape[1] - 1)
        names, reference = ("l2",), None
    else:
        contribution = source.scores("contribution", rows, targets or every)[0]
        chosen = list(targets) if targets else _strongest(contribution, every)
        contribution = contribution if targets else contribution[chosen]
        full = source_of("delta", source.saved) is not None
        effect = source.scores("delta", rows, chosen)[0] if full else None
        names = tuple(source.targets[i] for i in chosen)
        reference = row.reference[chosen]
    first, last = source.mutate_start, source.mutate_end
    codes = row.codes[first:last]
    start, stop = _stretch(stretch, row, first, last, contribution)
    return View(
        row=row,
        letters=source.letters,
        targets=names,
        reference=reference,
        contribution=contribution,
        effect=effect,
        codes=codes,
        offset=first,
        start=start,
        stop=stop,
        signed=not only_l2,
    )


def label(target: str) -> str:
    """A target's name to show; models give mere numbers."""
    return f"target {target}" if target.isdecimal() else target


def logo_heights(seen: View, target: int) -> np.ndarray:
    """Heights of all letters at the positions to look at, float32 (W, A): one letter each."""
    inside = slice(seen.start, seen.stop)
    codes, heights = seen.codes[inside], np.nan_to_num(seen.contribution[target, inside])
    table = np.zeros((len(codes), len(seen.letters)), np.float32)
    known = np.flatnonzero(codes != UNKNOWN)
    table[known, codes[known]] = heights[known]
    return table


def _strongest(contribution: np.ndarray, every: list[int]) -> list[int]:
    if len(every) <= MOST_TARGETS:
        return every
    strength = np.nanmax(np.abs(np.nan_to_num(contribution)), axis=1)
    return sorted(np.argsort(-strength, kind="stable")[:MOST_TARGETS].tolist())


def _stretch(
    text: str | None, row: Row, first: int, last: int, contribution: np.ndarray
) -> tuple[int, int]:
    """Where to look, as indices into the mutated range."""
    if text == "all":
        return 0, last - first
    if text is None:
        return busiest(contribution, ZOOM)
    window = re.fullmatch(r"(\d+):(\d+)", text)
    genome = re.fullmatch(r"(.+):([\d,]+)-([\d,]+)", text)
    if window:
        start, stop = int(window[1]), int(window[2])
    elif genome and genome[1] == row.chrom:
        a, b = (int(genome[k].replace(",", "")) for k in (2, 3))
        minus = row.strand == "-"
        start, stop = (row.end - b, row.end - a) if minus else (a - row.start, b - row.start)
    else:
        hint = f"START:END in the window (0-based), or {row.chrom}:start-end, or all"
        raise UsageError("--range", f"{text!r} is not a range of this region", hint)
    start, stop = max(start, first), min(stop, last)
    if start >= stop:
        raise UsageError(
            "--range", f"{text} holds no mutated position", f"{first}:{last} was mutated"
        )
    return start - first, stop - first


def busiest(contribution: np.ndarray, width: int) -> tuple[int, int]:
    """The stretch of `width` positions with most contribution, float32 (T, M), either way.

    Each target counts alike, whatever its scale.
    """
    length = contribution.shape[-1]
    if length <= width + width // 2:
        return 0, length
    size = np.abs(np.nan_to_num(contribution.astype(np.float64)))
    size = (size / np.maximum(size.max(axis=1, keepdims=True), 1e-30)).sum(axis=0)
    # Squared, so that one motif outweighs a wide stretch of noise.
    total = np.concatenate([[0.0], np.cumsum(np.square(size))])
    sums = total[width:] - total[:-width]
    start = int(np.argmax(sums))
    # What stands out may lie at an edge of the best stretch: bring it to the middle.
    weight = np.square(size[start : start + width])
    middle = float((weight * np.arange(width)).sum() / max(weight.sum(), 1e-30))
    start = int(np.clip(round(start + middle - width / 2), 0, length - width))
    return start, start + width
