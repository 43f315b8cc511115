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
from yuzu_cli.selection import place

MOST_TARGETS = 4
ZOOM = 100


@dataclass(frozen=True, slots=True)
class View:
    """One region of a result, some targets of it, and the stretch to look at.

    All of it runs along the forward strand, whichever strand the window is on.

    Attributes
    ----------
    row : Row
        Coordinates, sequence and reference outputs.
    letters : str
        Of the A axis.
    targets : tuple of str
        Names of the T targets shown; `l2` or `jsd` where only that was saved.
    reference : ndarray or None, float32, (T,)
        Outputs for the sequence itself.
    contribution : ndarray, float32, (T, M)
        Height of each letter, over the whole mutated range; of scores over all targets the mean
        over the other letters.
    effect : ndarray or None, float32, (T, A, M)
        What each substitution does; None when it was not saved.
    codes : ndarray, uint8, (M,)
        Letters of the mutated range.
    first : int
        Base of the first of the M, 0-based.
    start, stop : int
        The stretch to look at, as indices into M.
    unit : str
        What an effect is a difference of: `output`, `logit`, `log output`.
    signed : bool
        Whether effects have a direction; those of `l2` and `jsd` have none.
    """

    row: Row
    letters: str
    targets: tuple[str, ...]
    reference: np.ndarray | None
    contribution: np.ndarray
    effect: np.ndarray | None
    codes: np.ndarray
    first: int
    start: int
    stop: int
    unit: str = "output"
    signed: bool = True

    def base(self, index: int) -> int:
        """Base of the genome under an index into M, 1-based."""
        return self.first + index + 1

    @property
    def text(self) -> str:
        """The letters in the stretch to look at."""
        return Alphabet(self.letters).decode(self.codes[self.start : self.stop])

    @property
    def place(self) -> str:
        """`chrom:first-last` of the stretch to look at, 1-based, with the strands it has."""
        where = f"{self.row.chrom}:{self.base(self.start):,}-{self.base(self.stop - 1):,}"
        strands = {"+": ", + strand", "-": ", + strand (the window is on the - strand)"}
        return where + strands.get(self.row.strand, "")


def view(
    source: Source,
    index: int,
    targets: Sequence[int] | None = None,
    stretch: str | None = None,
    *,
    width: int = ZOOM,
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
        `START:END` in the window (0-based, half-open, along its own strand), `chrom:first-last` on
        the genome (1-based), or `all`; None looks where most happens, `width` positions about the
        strongest substitution.

    Raises
    ------
    UsageError
        When the stretch is not one, or holds no mutated position.
    """
    row, rows = source.row(index), slice(index, index + 1)
    every = list(range(len(source.targets)))
    across = source_of("contribution", source.saved) is None
    effect: np.ndarray | None
    names: tuple[str, ...]
    if across:
        name = source.across
        effect = source.forward(source.values(name, rows, every), rows, letters=1)
        contribution = effect.sum(axis=1) / (effect.shape[1] - 1)
        names, reference = (name,), None
    else:
        contribution = source.forward(source.values("contribution", rows, targets or every), rows)
        contribution = contribution[0]
        chosen = list(targets) if targets else _strongest(contribution, every)
        contribution = contribution if targets else contribution[chosen]
        effect = None
        if source_of("delta", source.saved) is not None:
            effect = source.forward(source.values("delta", rows, chosen), rows, letters=2)[0]
        names = tuple(source.targets[i] for i in chosen)
        reference = row.reference[chosen]
    first, codes = source.covered(rows)[0][0], row.codes[source.mutate_start : source.mutate_end]
    if row.strand == "-":
        codes = source.complement[codes[::-1]]
    if stretch is None:
        start, stop = busiest(contribution, width, _peak(contribution, effect))
    else:
        start, stop = _stretch(stretch, row, source, int(first))
    return View(
        row=row,
        letters=source.alphabet,
        targets=names,
        reference=reference,
        contribution=contribution,
        effect=effect,
        codes=codes,
        first=int(first),
        start=start,
        stop=stop,
        unit=source.unit,
        signed=not across,
    )


def head(row: Row) -> str:
    """What a region is called: its name, that of its FASTA record, or where it lies."""
    if row.name not in ("", "."):
        return row.name
    return row.chrom if row.strand == "." and not row.start else window(row)


def window(row: Row) -> str:
    """`chrom:first-last (strand)` of a window, 1-based."""
    strand = f" ({row.strand})" if row.strand in "+-" else ""
    return f"{row.chrom}:{row.start + 1:,}-{row.end:,}{strand}"


def label(target: str) -> str:
    """A target's name to show; models give mere numbers, as `3`, or `1[0]` of their output 1."""
    if target.isdecimal():
        return f"target {target}"
    return f"output {target}" if re.fullmatch(r"\d+\[[\d, ]+\]", target) else target


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


def _peak(contribution: np.ndarray, effect: np.ndarray | None) -> int:
    """Where the largest effect of one substitution is, as an index into M."""
    sizes = np.nan_to_num(np.abs(contribution if effect is None else effect))
    return int(np.unravel_index(int(sizes.argmax()), sizes.shape)[-1])


def _stretch(text: str, row: Row, source: Source, origin: int) -> tuple[int, int]:
    """Where to look, as indices into the mutated range, whose first base is `origin`."""
    width = source.mutate_end - source.mutate_start
    if text == "all":
        return 0, width
    in_window, on_genome = re.fullmatch(r"(\d+):(\d+)", text), place(text)
    if in_window:
        a, b = int(in_window[1]), int(in_window[2])
        minus = row.strand == "-"
        start, stop = (row.end - b, row.end - a) if minus else (row.start + a, row.start + b)
    elif on_genome and on_genome[0] == row.chrom:
        _, start, stop = on_genome
    else:
        hint = f"START:END in the window (0-based), or {row.chrom}:first-last (1-based), or all"
        raise UsageError("--range", f"{text!r} is not a range of this region", hint)
    start, stop = max(start - origin, 0), min(stop - origin, width)
    if start >= stop:
        mutated = f"{row.chrom}:{origin + 1:,}-{origin + width:,}"
        hint = f"{mutated}, {source.mutate_start}:{source.mutate_end} of the window, was mutated"
        raise UsageError("--range", f"{text} holds no mutated position", hint)
    return start, stop


def busiest(contribution: np.ndarray, width: int, about: int | None = None) -> tuple[int, int]:
    """The stretch of `width` positions with most contribution, float32 (T, M), either way.

    Each target counts alike, whatever its scale. The stretch holds `about`, where that is given.
    """
    length = contribution.shape[-1]
    if length <= width + width // 2:
        return 0, length
    size = np.abs(np.nan_to_num(contribution.astype(np.float64)))
    size = (size / np.maximum(size.max(axis=1, keepdims=True), 1e-30)).sum(axis=0)
    # Squared, so that one motif outweighs a wide stretch of noise.
    total = np.concatenate([[0.0], np.cumsum(np.square(size))])
    sums = total[width:] - total[:-width]
    low, high = 0, length - width
    if about is not None:
        low, high = max(low, about - width + 1), min(high, about)
    start = low + int(np.argmax(sums[low : high + 1]))
    # What stands out may lie at an edge of the best stretch: bring it to the middle.
    weight = np.square(size[start : start + width])
    middle = float((weight * np.arange(width)).sum() / max(weight.sum(), 1e-30))
    start = int(np.clip(round(start + middle - width / 2), low, high))
    return start, start + width
