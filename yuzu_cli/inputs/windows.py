"""Windows of one length, one after the other, from a FASTA or from a BED and its genome.

The one stream the rest of the package reads. Opening it checks every record once, so that a fault
in the last line is told before anything is computed; after that no more than one record is held.
Codes only: nothing here knows of batches, devices or scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from yuzu_cli.alphabet import Alphabet
from yuzu_cli.errors import InputError
from yuzu_cli.inputs.fasta import FastaFile, FastaRecord
from yuzu_cli.inputs.genome import Genome
from yuzu_cli.inputs.regions import BedFile, BedLine, Region
from yuzu_cli.inputs.stream import PADDED, RESIZED, Window, WindowStream
from yuzu_cli.inputs.text import TextSource

if TYPE_CHECKING:
    from yuzu_cli.config_keys import InputConfig

__all__ = ["BedWindows", "FastaWindows", "Region", "Window", "WindowStream", "open_windows"]


class FastaWindows(WindowStream):
    """One window per FASTA record."""

    def __init__(
        self, source: TextSource, asked: InputConfig, alphabet: Alphabet, flank: int
    ) -> None:
        super().__init__(source, alphabet, asked.unknown, flank)
        self._wrong_length, self._given = asked.wrong_length, asked.length is not None
        self.length = asked.length or 0
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
        asked: InputConfig,
        alphabet: Alphabet,
        flank: int,
    ) -> None:
        super().__init__(source, alphabet, asked.unknown, flank)
        self._genome, self._edge, self.length = genome, asked.edge, asked.length or 0
        self._bed = BedFile(source, summits=asked.center == "summit", check=self._check)
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


def open_windows(asked: InputConfig, alphabet: Alphabet, flank: int = 0) -> WindowStream:
    """Open a FASTA, or a BED with its genome, as one stream of windows.

    Parameters
    ----------
    asked : InputConfig
        Which files, and how windows lie; it has been checked that this goes together. Letters that
        padding put in a window are not unknown ones in the sense of `unknown`.
    alphabet : Alphabet
    flank : int
        Letters more on either side, for shifted windows; unknown where the input has none.

    Raises
    ------
    InputError
        For the first record at fault, with file and line.
    """
    stream: WindowStream
    with ExitStack() as opened:
        source = opened.enter_context(closing(TextSource(asked.fasta or asked.bed or "")))
        if asked.genome is None:
            stream = FastaWindows(source, asked, alphabet, flank)
        else:
            genome = opened.enter_context(Genome(asked.genome))
            stream = BedWindows(source, genome, asked, alphabet, flank)
        opened.pop_all()  # the stream closes them
        return stream
