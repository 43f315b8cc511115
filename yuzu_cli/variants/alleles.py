"""What each allele of a record comes to: an edit, a pass, or a reason why it has no effect.

Compares REF with the genome and cuts the windows. Codes only: no model, no scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yuzu_cli.alphabet import UNKNOWN, Alphabet
from yuzu_cli.errors import InputError
from yuzu_cli.inputs.genome import Genome
from yuzu_cli.variants.records import Record

EDIT, PASS = "edit", "pass"

#: Why an allele has no effect, as written in the output; the words are for the end of the run.
REASONS = {
    "unknown_contig": "their chromosome is not in the genome",
    "outside": "they lie past the end of their chromosome",
    "ref_mismatch": "REF is not what the genome has there",
    "unknown_reference": "the genome has an unknown letter there",
    "unknown_allele": "ALT has a letter that the model does not know",
    "no_alternative": "there is no ALT",
    "symbolic": "ALT is symbolic, a breakend or *",
    "too_long": "an allele does not fit half of the window",
    "indel": "insertions and deletions are to be left out",
    "edge": "the window goes past a chromosome's end",
    "unknown_letters": "the window has unknown letters",
}


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A record with its windows.

    Attributes
    ----------
    record : Record
    methods : tuple of str
        For each ALT `EDIT`, `PASS`, or a key of `REASONS`.
    wide : ndarray or None, uint8 (L + 2 * flank,)
        The window with the reference allele, 5'→3' of the strand scored; None when no ALT needs it.
    letters : tuple of int
        For each ALT that is an edit, the code mutated to, on the strand scored; -1 otherwise.
    changed : tuple of (ndarray or None)
        For each ALT of one or more letters that is scored, the window with it.
    """

    record: Record
    methods: tuple[str, ...]
    wide: np.ndarray | None = None
    letters: tuple[int, ...] = ()
    changed: tuple[np.ndarray | None, ...] = ()


class Judge:
    """Looks records up in the genome.

    Parameters
    ----------
    genome : Genome
    alphabet : Alphabet
    length, flank : int
        L, and letters more on either side, for shifted windows.
    label : str
        How messages call the VCF.
    strand : str
        ``+`` or ``-``: the strand that the model reads.
    indels : bool
        Whether insertions and deletions are scored.
    edge, unknown : str
        What to do about windows past a chromosome's end (``error``, ``pad``, ``drop``) and with
        unknown letters (as `input.unknown`).
    """

    def __init__(
        self,
        genome: Genome,
        alphabet: Alphabet,
        *,
        length: int,
        flank: int,
        label: str,
        strand: str = "+",
        indels: bool = True,
        edge: str = "pad",
        unknown: str = "zero",
    ) -> None:
        self._genome, self._alphabet, self._label = genome, alphabet, label
        self._length, self._flank, self.strand = length, flank, strand
        self._indels, self._edge, self._unknown = indels, edge, unknown
        self._before = length // 2

    @property
    def position(self) -> int:
        """Where in the window, on the strand scored, a single letter lies: the same for all."""
        return self._length - 1 - self._before if self.strand == "-" else self._before

    def judge(self, record: Record) -> Judged:
        """What each ALT comes to, and the windows that are needed for it.

        Raises
        ------
        InputError
            Under ``edge: error`` or ``unknown: error``.
        """
        reason = self._of_record(record)
        if reason:
            return Judged(record, (reason,) * len(record.alts))
        methods = tuple(self._of_allele(record, alt) for alt in record.alts)
        if not {EDIT, PASS} & set(methods):
            return Judged(record, methods)
        longest = max(len(record.ref) - len(alt) for alt in record.alts)
        wide = self._cut(record, self._before, max(0, longest))
        size = self._length + 2 * self._flank
        reason = self._of_window(record, wide[self._flank : self._flank + self._length])
        if reason:
            scored = (EDIT, PASS)
            return Judged(record, tuple(reason if m in scored else m for m in methods))
        letters, changed = [], []
        for alt, method in zip(record.alts, methods, strict=True):
            letter, window = -1, None
            if method in (EDIT, PASS):
                codes = self._alphabet.encode(alt)
                letter = int(self._turn(codes)[0]) if method == EDIT else -1
                window = self._turn(self._replace(wide, record, codes)[:size])
            letters.append(letter)
            changed.append(window)
        return Judged(record, methods, self._turn(wide[:size]), tuple(letters), tuple(changed))

    def _of_record(self, record: Record) -> str:
        size = self._genome.sizes.get(record.chrom)
        if size is None:
            return "unknown_contig"
        end = record.start + len(record.ref)
        if record.start < 0 or end > size:
            return "outside"
        there = self._alphabet.encode(self._genome.fetch(record.chrom, record.start, end))
        if (there == UNKNOWN).any():
            return "unknown_reference"
        if (there != self._alphabet.encode(record.ref)).any():
            return "ref_mismatch"
        return ""

    def _of_allele(self, record: Record, alt: str) -> str:
        if alt == ".":
            return "no_alternative"
        if alt == "*" or not alt.isalpha():
            return "symbolic"
        if (self._alphabet.encode(alt) == UNKNOWN).any():
            return "unknown_allele"
        if max(len(record.ref), len(alt)) > self._length - self._before:
            return "too_long"
        if len(record.ref) != len(alt) and not self._indels:
            return "indel"
        return EDIT if len(record.ref) == len(alt) == 1 else PASS

    def _of_window(self, record: Record, codes: np.ndarray) -> str:
        start = record.start - self._before
        end, size = start + self._length, self._genome.sizes[record.chrom]
        where = f"{self._label}:{record.line}"
        if start < 0 or end > size:
            if self._edge == "error":
                what = (
                    f"window {start + 1} to {end} goes past an end of {record.chrom} ({size} bases)"
                )
                raise InputError(where, what, "--edge pad or drop")
            if self._edge == "drop":
                return "edge"
        inside = codes[max(0, -start) : len(codes) - max(0, end - size)]
        if (inside == UNKNOWN).any():
            if self._unknown == "error":
                what = f"the window {record.chrom}:{start + 1}-{end} has unknown letters"
                raise InputError(where, what, "set input.unknown to zero, uniform or drop")
            if self._unknown == "drop":
                return "unknown_letters"
        return ""

    def _cut(self, record: Record, before: int, more: int) -> np.ndarray:
        """Window with flanks, and `more` letters after it, on the forward strand."""
        start = record.start - before - self._flank
        end = start + self._length + 2 * self._flank + more
        codes = np.full(end - start, UNKNOWN, np.uint8)
        first, last = max(start, 0), min(end, self._genome.sizes[record.chrom])
        letters = self._genome.fetch(record.chrom, first, last)
        codes[first - start : last - start] = self._alphabet.encode(letters)
        return codes

    def _replace(self, wide: np.ndarray, record: Record, alt: np.ndarray) -> np.ndarray:
        """The window with another allele: what is left of it stays, what is right of it moves."""
        at = self._flank + self._before
        return np.concatenate([wide[:at], alt, wide[at + len(record.ref) :]])

    def _turn(self, codes: np.ndarray) -> np.ndarray:
        return self._alphabet.reverse_complement(codes) if self.strand == "-" else codes
