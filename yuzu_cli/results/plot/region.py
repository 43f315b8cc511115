"""The numbers behind a picture of one region: which positions, which targets, which scores.

Numpy only: drawing is elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yuzu_cli.alphabet import Alphabet
from yuzu_cli.errors import UsageError
from yuzu_cli.results.derived import ACROSS
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
    unit: str
    signed: bool

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
        the genome (1-based), or `all`; None means `width` positions about the strongest
        substitution.

    Raises
    ------
    UsageError
        When the stretch is not one, or holds no mutated position.
    """
    row, rows, kind = source.row(index), slice(index, index + 1), source.kind
    chosen = list(targets or range(len(source.targets)))
    effects = source.effects(rows, chosen)
    if kind in ACROSS:
        contribution = effects.sum(axis=2) / (effects.shape[2] - 1)
    else:
        contribution = -effects.mean(axis=2) if kind == "delta" else effects[:, :, 0]
    contribution = source.forward(contribution, rows)[0]
    effect = None if kind == "contribution" else source.forward(effects, rows, letters=2)[0]
    if kind not in ACROSS and targets is None:
        shown = _strongest(contribution)
        chosen, contribution = [chosen[t] for t in shown], contribution[shown]
        effect = None if effect is None else effect[shown]
    first, _ = row.on_genome(source.mutate_start, source.mutate_end)
    codes = row.codes[source.mutate_start : source.mutate_end]
    if row.strand == "-":
        codes = source.complement[codes[::-1]]
    if stretch is None:
        sizes = np.nan_to_num(np.abs(contribution if effect is None else effect))
        peak = int(np.unravel_index(int(sizes.argmax()), sizes.shape)[-1])
        start, stop = _about(peak, width, sizes.shape[-1])
    else:
        start, stop = _stretch(stretch, row, source, first)
    across = kind in ACROSS
    return View(
        row=row,
        letters=source.alphabet,
        targets=(kind,) if across else tuple(source.targets[i] for i in chosen),
        reference=None if across else row.reference[chosen],
        contribution=contribution,
        effect=effect,
        codes=codes,
        first=first,
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


def _strongest(contribution: np.ndarray) -> list[int]:
    strength = np.abs(np.nan_to_num(contribution)).max(axis=1)
    return sorted(np.argsort(-strength, kind="stable")[:MOST_TARGETS].tolist())


def _about(peak: int, width: int, length: int) -> tuple[int, int]:
    """A stretch of `width` with a position in its middle, or all where little would be left out."""
    if length <= width + width // 2:
        return 0, length
    start = min(max(peak - width // 2, 0), length - width)
    return start, start + width


def _stretch(text: str, row: Row, source: Source, origin: int) -> tuple[int, int]:
    """Where to look, as indices into the mutated range, whose first base is `origin`."""
    width = source.mutate_end - source.mutate_start
    if text == "all":
        return 0, width
    in_window, on_genome = re.fullmatch(r"(\d+):(\d+)", text), place(text)
    if in_window:
        start, stop = row.on_genome(int(in_window[1]), int(in_window[2]))
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
