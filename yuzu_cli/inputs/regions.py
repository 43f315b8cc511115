"""BED and narrowPeak lines, one at a time, each checked before pybedtools parses it.

pybedtools reports faults without a line number, and its iterator skips lines without saying so,
so the lines are read and numbered here and handed to its parser one by one. Only the parser is
used: no bedtools binary is needed. This module knows neither the genome nor the window length.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from yuzu_cli.errors import InputError
from yuzu_cli.inputs.text import TextSource

MARK_EVERY = 1000
_LONGEST_LINE = 1 << 20
_LARGEST = 2**32 - 1  # positions are 32 bits wide in pybedtools
_BASE = "BED is 0-based, half-open"
_NARROWPEAK_COLUMNS = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Region:
    """Where a window comes from.

    Attributes
    ----------
    chrom : str
        Chromosome, or FASTA record.
    start, end : int
        The window on the forward strand, 0-based, half-open; outside the chromosome where it was
        padded. FASTA: 0 and L.
    name : str
        BED name (``.`` when there is none), or FASTA record.
    strand : str
        ``+``, ``-`` or ``.``.
    input_index : int
        0-based number of the record in the input.
    """

    chrom: str
    start: int
    end: int
    name: str
    strand: str
    input_index: int


class BedLine(NamedTuple):
    """One data line as it stands in the file; `summit` is a position on the chromosome, or None."""

    line: int
    chrom: str
    start: int
    end: int
    name: str
    strand: str
    summit: int | None

    @property
    def midpoint(self) -> int:
        """``(start + end) // 2``: the right one of the two middle bases of an even width."""
        return (self.start + self.end) // 2


class BedFile:
    """The data lines of a BED, numbered from 0, read again from any of them.

    Every line is checked once when the file is opened, so that no fault is left for later.

    Parameters
    ----------
    source : TextSource
        Closed by the caller.
    summits : bool
        Whether column 10 is needed and read as narrowPeak's summit.
    check : callable
        Called with each `BedLine` on the first pass; may raise.

    Attributes
    ----------
    n_records : int

    Raises
    ------
    InputError
        For the first line at fault, or for a file without data lines.
    """

    def __init__(
        self, source: TextSource, *, summits: bool, check: Callable[[BedLine], None]
    ) -> None:
        self._source, self._summits = source, summits
        from pybedtools.cbedtools import create_interval_from_list

        self._interval = create_interval_from_list
        self._columns = 0
        self._marks: list[tuple[int, int]] = []
        self.n_records = 0
        missing = 0
        for offset, line, raw in self._data_lines(0, 1):
            if self.n_records % MARK_EVERY == 0:
                self._marks.append((offset, line))
            bed = self._parse(line, raw)
            missing += summits and bed.summit is None
            check(bed)
            self.n_records += 1
        if not self.n_records:
            raise InputError(source.label, "has no regions", "a BED line is: chrom, start, end")
        if self._columns == _NARROWPEAK_COLUMNS and not summits:
            log.info("%s: 10 columns; input.center summit would use the last", source.label)
        if missing:
            text = "%s: %d regions have no summit (-1); their midpoint is taken"
            log.warning(text, source.label, missing)

    def lines(self, start: int, stop: int) -> Iterator[tuple[int, BedLine]]:
        """Records `start` to `stop`, each with its number."""
        if start >= min(stop, self.n_records):
            return
        number = start - start % MARK_EVERY
        for _, line, raw in self._data_lines(*self._marks[number // MARK_EVERY]):
            if number >= start:
                yield number, self._parse(line, raw)
            number += 1
            if number >= stop:
                return

    def _data_lines(self, offset: int, line: int) -> Iterator[tuple[int, int, bytes]]:
        """Offset, number and bytes of each line that holds a region, from a byte offset on."""
        reader = self._source.reader(offset)
        while raw := reader.readline(_LONGEST_LINE):
            if len(raw) >= _LONGEST_LINE:
                raise InputError(
                    self._where(line), "over a megabyte without a line end", "is it a BED?"
                )
            text = raw.removeprefix(b"\xef\xbb\xbf") if line == 1 else raw
            if not _is_header(text):
                yield offset, line, text
            offset += len(raw)
            line += 1

    def _parse(self, line: int, raw: bytes) -> BedLine:
        where = self._where(line)
        fields = self._fields(where, raw)
        start, end = _position(where, "start", fields[1]), _position(where, "end", fields[2])
        if end <= start:
            raise InputError(where, f"end {end} is not after start {start}", _BASE)
        if len(fields) > 5 and fields[5] not in ("+", "-", "."):
            what = f"strand {fields[5]!r} is not +, - or ."
            raise InputError(where, what, "the strand is column 6 of a BED")
        summit = _summit(where, fields, start, end) if self._summits else None
        bed = self._interval(fields)
        return BedLine(line, bed.chrom, bed.start, bed.end, bed.name or ".", bed.strand, summit)

    def _fields(self, where: str, raw: bytes) -> list[str]:
        if b"\0" in raw:
            raise InputError(where, "holds binary data", "a BED is a text file")
        text = raw.decode("utf-8", "replace").rstrip("\r\n")
        fields = text.split("\t")
        if len(fields) < 3:
            fields = text.split()
        if len(fields) < 3:
            raise InputError(
                where,
                f"{len(fields)} column{'s' * (len(fields) > 1)}, and a BED has at least 3",
                "chrom, start and end, with tabs between them",
            )
        fields[:3] = [field.strip() for field in fields[:3]]
        self._columns = self._columns or len(fields)
        if len(fields) != self._columns:
            raise InputError(
                where,
                f"{len(fields)} columns, and the lines before have {self._columns}",
                "every line of a BED has the same columns",
            )
        return fields

    def _where(self, line: int) -> str:
        return f"{self._source.label}:{line}"


def _is_header(raw: bytes) -> bool:
    """Whether a line holds no region: blank, a comment, or a browser's own line."""
    if raw.startswith((b"#", b"track", b"browser")):
        return raw.startswith(b"#") or raw.split(None, 1)[0] in (b"track", b"browser")
    return not raw.strip()


def _position(where: str, kind: str, text: str) -> int:
    if text.isascii() and text.isdigit():
        value = int(text) if len(text) < 20 else _LARGEST + 1
        if value <= _LARGEST:
            return value
        raise InputError(where, f"{kind} {text} is beyond any chromosome", f"at most {_LARGEST}")
    if text.startswith("-") and text[1:].isdigit():
        raise InputError(where, f"{kind} {text} is before the chromosome's first base", _BASE)
    hint = "columns 2 and 3 are plain digits; a header line begins with #"
    raise InputError(where, f"{kind} {text!r} is not a whole number", hint)


def _summit(where: str, fields: list[str], start: int, end: int) -> int | None:
    """Position of narrowPeak's summit on the chromosome; None for -1, which means there is none."""
    if len(fields) != _NARROWPEAK_COLUMNS:
        raise InputError(
            where,
            f"no summit: {len(fields)} columns, and a narrowPeak has {_NARROWPEAK_COLUMNS}",
            "set input.center to midpoint",
        )
    text = fields[9].strip()
    if text == "-1":
        return None
    if not (text.isascii() and text.isdigit()):
        hint = "column 10 counts bases from start, -1 for none"
        raise InputError(where, f"summit {text!r} is not a whole number", hint)
    if len(text) > 10 or int(text) >= end - start:
        what = f"summit {text} is outside the region, which is {end - start} bases wide"
        raise InputError(where, what, "column 10 counts bases from start")
    return start + int(text)
