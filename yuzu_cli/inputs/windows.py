"""Windows of one length, one after the other, from a FASTA or from a BED and its genome.

The one stream the rest of the package reads. Opening it checks every record once, so that a fault
in the last line is told before anything is computed; after that no more than one record is held.
Codes only: nothing here knows of batches, devices or scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from yuzu_cli.alphabet import Alphabet
from yuzu_cli.errors import InputError, UsageError
from yuzu_cli.inputs.fasta import FastaFile, FastaRecord
from yuzu_cli.inputs.genome import Genome
from yuzu_cli.inputs.regions import BedFile, BedLine, Region
from yuzu_cli.inputs.stream import PADDED, RESIZED, Window, WindowStream
from yuzu_cli.inputs.text import TextSource

__all__ = ["BedWindows", "FastaWindows", "Region", "Window", "WindowStream", "open_windows"]

_CHOICES = {
    "center": ("midpoint", "summit"),
    "edge": ("error", "pad", "drop"),
    "wrong_length": ("error", "crop", "pad", "drop"),
    "unknown": ("zero", "uniform", "drop", "error"),
}


class FastaWindows(WindowStream):
    """One window per FASTA record."""

    def __init__(
        self,
        source: TextSource,
        *,
        alphabet: Alphabet,
        length: int | None,
        wrong_length: str,
        unknown: str,
        flank: int,
    ) -> None:
        super().__init__(source, alphabet, unknown, flank)
        self._wrong_length, self._given = wrong_length, length is not None
        self.length = length or 0
        known = alphabet.letters + ("TU" if alphabet.complement is not None else "")
        self._fasta = FastaFile(source, known=known, check=self._check)
        self.n_records, self.sha256 = self._fasta.n_records, source.sha256
        if not self.length:
            raise InputError(source.label, "has no record with letters")
        self._finish_opening()

    def _check(self, line: int, name: str, letters: int) -> None:
        where, drop = f"{self._source.label}:{line}", self._wrong_length == "drop"
        if not letters:
            if not drop:
                raise InputError(where, f"record {name!r} has no letters")
            self._dropped += 1
            return
        self.length = self.length or letters
        if letters == self.length:
            return
        if not self._given:
            what = f"record {name!r} has {letters} letters, those before have {self.length}"
            raise InputError(where, what, "set input.length and input.wrong_length")
        if drop:
            self._dropped += 1
        elif self._wrong_length != ("crop" if letters > self.length else "pad"):
            ways = "crop or drop" if letters > self.length else "pad or drop"
            what = f"record {name!r} has {letters} letters, not {self.length}"
            raise InputError(where, what, f"set input.wrong_length to {ways}")

    def _windows(self, start: int, stop: int) -> Iterator[Window]:
        for index, record in self._fasta.records(start, stop):
            if len(record.letters) != self.length and self._wrong_length == "drop":
                continue
            window = self._place(index, record)
            if window is not None:
                yield window

    def _place(self, index: int, record: FastaRecord) -> Window | None:
        """Centre the record; of an odd difference, the end is cut or padded by one more."""
        extra = len(record.letters) - self.length
        skip = extra // 2 if extra >= 0 else -(-extra // 2)
        first = max(skip - self._flank, 0)
        letters = record.letters[first : max(skip + self.length + self._flank, 0)]
        region = Region(record.name, 0, self.length, record.name, ".", index)
        return self._window(
            f"{self._source.label}:{record.line}",
            region,
            self._alphabet.encode(letters),
            first - skip + self._flank,
            skip,
            RESIZED if extra else 0,
        )


class BedWindows(WindowStream):
    """One window per BED line, cut out of the genome."""

    def __init__(
        self,
        source: TextSource,
        genome: Genome,
        *,
        alphabet: Alphabet,
        length: int,
        center: str,
        edge: str,
        unknown: str,
        flank: int,
    ) -> None:
        super().__init__(source, alphabet, unknown, flank)
        self._genome, self._edge, self.length = genome, edge, length
        self._bed = BedFile(source, summits=center == "summit", check=self._check)
        self.n_records = self._bed.n_records
        both = f"bed {source.sha256}\ngenome {genome.sha256}\n"
        self.sha256 = hashlib.sha256(both.encode("ascii")).hexdigest()
        self._finish_opening()

    def _span(self, bed: BedLine) -> tuple[int, int]:
        """The window on the forward strand: ``centre - L // 2`` and L letters on."""
        centre = bed.midpoint if bed.summit is None else bed.summit
        start = centre - self.length // 2
        return start, start + self.length

    def _check(self, bed: BedLine) -> None:
        where = f"{self._source.label}:{bed.line}"
        size = self._genome.sizes.get(bed.chrom)
        if size is None:
            what = f"no sequence {bed.chrom!r} in {self._genome.path}"
            raise InputError(where, what, self._genome.other_name(bed.chrom))
        if bed.strand == "-" and self._alphabet.complement is None:
            what = f"strand -, and the letters {self._alphabet.letters} have no complement"
            raise InputError(where, what, "the model's alphabet must be of A, C, G and T or U")
        start, end = self._span(bed)
        if start >= 0 and max(end, bed.end) <= size:
            return
        if self._edge == "drop":
            self._dropped += 1
        elif bed.start >= size or start >= size:
            place = f"{bed.chrom}:{bed.start + 1}-{bed.end}"
            what = f"{place} lies past the end of {bed.chrom} ({size} bases)"
            raise InputError(where, what, "is it of this genome?")
        elif self._edge == "error" and bed.end > size:
            what = f"end {bed.end} is past the end of {bed.chrom} ({size} bases)"
            raise InputError(
                where, what, "is it of this genome? if so, set input.edge to pad or drop"
            )
        elif self._edge == "error":
            side = "start" if start < 0 else "end"
            what = f"window {start + 1} to {end} goes past the {side} of {bed.chrom} ({size} bases)"
            raise InputError(where, what, "set input.edge to pad or drop")

    def _windows(self, start: int, stop: int) -> Iterator[Window]:
        for index, bed in self._bed.lines(start, stop):
            window = self._cut(index, bed)
            if window is not None:
                yield window

    def _cut(self, index: int, bed: BedLine) -> Window | None:
        size, flank = self._genome.sizes[bed.chrom], self._flank
        start, end = self._span(bed)
        outside = start < 0 or end > size
        if self._edge == "drop" and (outside or bed.end > size):
            return None
        first, last = max(start - flank, 0), min(end + flank, size)
        return self._window(
            f"{self._source.label}:{bed.line}",
            Region(bed.chrom, start, end, bed.name, bed.strand, index),
            self._alphabet.encode(self._genome.fetch(bed.chrom, first, last)),
            first - (start - flank),
            start,
            PADDED if outside else 0,
        )

    def _check_unchanged(self) -> None:
        super()._check_unchanged()
        self._genome.check_unchanged()

    def close(self) -> None:
        """Release files; more than once is harmless."""
        super().close()
        self._genome.close()


def open_windows(
    *,
    alphabet: Alphabet,
    fasta: str | None = None,
    bed: str | None = None,
    genome: str | None = None,
    length: int | None = None,
    center: str = "midpoint",
    edge: str = "error",
    wrong_length: str = "error",
    unknown: str = "zero",
    flank: int = 0,
) -> WindowStream:
    """Open a FASTA, or a BED with its genome, as one stream of windows.

    Parameters
    ----------
    alphabet : Alphabet
    fasta, bed : str
        One of them: a path, or ``-`` for standard input; plain or gzip.
    genome : str
        FASTA that the BED's positions are of; plain, bgzip or gzip.
    length : int
        Letters of a window, L; needed with a BED, else the records' own length.
    center : str
        What a BED window is centred on: ``midpoint``, or ``summit`` (column 10 of a narrowPeak).
    edge : str
        A window past a chromosome's end: ``error``, ``pad`` with unknown letters, or ``drop``.
    wrong_length : str
        A FASTA record of another length: ``error``, ``crop`` the longer, ``pad`` the shorter, or
        ``drop``; cropping and padding keep the centre.
    unknown : str
        A window with unknown letters: ``zero`` and ``uniform`` keep it, ``drop``, ``error``.
        Letters that padding put there do not count.
    flank : int
        Letters more on either side, for shifted windows; unknown where the input has none.

    Raises
    ------
    UsageError
        For a combination of arguments that means nothing.
    InputError
        For the first record at fault, with file and line.
    """
    given = {"center": center, "edge": edge, "wrong_length": wrong_length, "unknown": unknown}
    _check_arguments(given, fasta, bed, genome, length, flank)
    source = TextSource(fasta or bed or "")
    opened: Genome | None = None
    try:
        if genome is None:
            return FastaWindows(
                source,
                alphabet=alphabet,
                length=length,
                wrong_length=wrong_length,
                unknown=unknown,
                flank=flank,
            )
        assert length is not None
        opened = Genome(genome)
        return BedWindows(
            source,
            opened,
            alphabet=alphabet,
            length=length,
            center=center,
            edge=edge,
            unknown=unknown,
            flank=flank,
        )
    except BaseException:
        source.close()
        if opened is not None:
            opened.close()
        raise


def _check_arguments(
    given: dict[str, str],
    fasta: str | None,
    bed: str | None,
    genome: str | None,
    length: int | None,
    flank: int,
) -> None:
    for key, value in given.items():
        if value not in _CHOICES[key]:
            raise UsageError(f"input.{key}", f"{value!r} is not one of {', '.join(_CHOICES[key])}")
    if (fasta is None) == (bed is None):
        raise UsageError(
            "input", "needs a FASTA or a BED, one of them", "--fasta, or --bed and --genome"
        )
    if bed is not None and genome is None:
        raise UsageError("input.genome", "a BED needs the genome its positions are of", "--genome")
    if fasta is not None and genome is not None:
        raise UsageError("input.genome", "a genome goes with a BED, and a FASTA was given")
    if genome == "-":
        raise UsageError(
            "input.genome",
            "a genome cannot be read from standard input: its windows are read in any order",
        )
    if bed is not None and length is None:
        raise UsageError("input.length", "a BED needs the length of its windows", "--length")
    if length is not None and length < 1:
        raise UsageError("input.length", f"{length} is not a length", "at least 1")
    if flank < 0:
        raise UsageError("input", f"flank {flank} is negative")
