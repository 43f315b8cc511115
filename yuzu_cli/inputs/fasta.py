"""FASTA records, one at a time, in the order of the file.

Read here and not through pyfaidx, whose index is keyed by name: records that share a name must each
stay a row, the input may be gzip or a pipe, and a million names need not be held. A genome, which
is read by position, is `yuzu_cli.inputs.genome`. This module knows nothing of windows or codes.
"""

from __future__ import annotations

import logging
import string
from collections.abc import Callable, Iterator
from typing import NamedTuple

from yuzu_cli.errors import InputError
from yuzu_cli.inputs.text import TextSource

MARK_EVERY = 1000
_PIECE = 1 << 16
_SPACE = b" \t\r\n\v\f"
_LETTERS = string.ascii_letters.encode() + b"*-."

log = logging.getLogger(__name__)


class FastaRecord(NamedTuple):
    """One record: the line of its header, its name (up to the first space), its letters."""

    line: int
    name: str
    letters: bytes


class FastaFile:
    """The records of a FASTA, numbered from 0, read again from any of them.

    Parameters
    ----------
    source : TextSource
        Closed by the caller.
    known : str
        Letters of the model, in either case; others are only counted, to warn of a wrong alphabet.
    check : callable
        Called as ``check(line, name, length)`` with each record on the first pass; may raise.

    Attributes
    ----------
    n_records : int

    Raises
    ------
    InputError
        For text that is no FASTA, a record without a name, or a file without records.
    """

    def __init__(
        self, source: TextSource, *, known: str, check: Callable[[int, str, int], None]
    ) -> None:
        self._source = source
        self._marks: list[tuple[int, int]] = []
        self.n_records = 0
        total = unknown = length = 0
        name, header_line = "", 0
        letters_known = (known + known.lower()).encode("ascii")
        for offset, line, header, letters in self._pieces(0, 1):
            if header is None:
                length += len(letters)
                unknown += len(letters.translate(None, letters_known))
                continue
            if self.n_records:
                check(header_line, name, length)
            if self.n_records % MARK_EVERY == 0:
                self._marks.append((offset, line))
            self.n_records += 1
            total, length, name, header_line = total + length, 0, header, line
        if not self.n_records:
            raise InputError(source.label, "has no records", "a FASTA record begins with >name")
        check(header_line, name, length)
        self._warn_of_alphabet(unknown, total + length)

    def records(self, start: int, stop: int) -> Iterator[tuple[int, FastaRecord]]:
        """Records `start` to `stop`, each with its number; one record is held at a time."""
        if start >= min(stop, self.n_records):
            return
        number = start - start % MARK_EVERY - 1
        name, header_line, held = "", 0, bytearray()
        for _, line, header, letters in self._pieces(*self._marks[start // MARK_EVERY]):
            if header is None:
                if number >= start:
                    held += letters
                continue
            if number >= start:
                yield number, FastaRecord(header_line, name, bytes(held))
            number += 1
            if number >= stop:
                return
            name, header_line, held = header, line, bytearray()
        yield number, FastaRecord(header_line, name, bytes(held))

    def _pieces(self, offset: int, line: int) -> Iterator[tuple[int, int, str | None, bytes]]:
        """Offset, line, and the name of a header or else some letters; no line is held whole."""
        reader = self._source.reader(offset)
        begins, is_letters, seen_header = True, False, False
        while raw := reader.readline(_PIECE):
            text = raw.removeprefix(b"\xef\xbb\xbf") if offset == 0 else raw
            if begins:
                is_letters = not text.startswith((b">", b";"))  # ; begins a comment of old
            if begins and text.startswith(b">"):
                seen_header = True
                yield offset, line, self._name(line, text), b""
            elif is_letters:
                letters = text.translate(None, _SPACE)
                if letters and not seen_header:
                    raise self._not_fasta(line, letters)
                if wrong := letters.translate(None, _LETTERS):
                    raise self._not_letters(line, wrong)
                yield offset, line, None, letters
            offset += len(raw)
            begins = raw.endswith(b"\n")
            line += begins

    def _name(self, line: int, header: bytes) -> str:
        if b"\r" in header.rstrip():
            hint = "convert it, e.g. with tr '\\r' '\\n'"
            raise InputError(self._where(line), "lines end in carriage returns alone", hint)
        words = header[1:].split(None, 1)
        if not words or header[1:2] in (b" ", b"\t"):
            raise InputError(self._where(line), "the record has no name", "write >name")
        if b"\0" in words[0]:
            raise InputError(self._where(line), "holds binary data", "a FASTA is a text file")
        return words[0].decode("utf-8", "replace")

    def _not_fasta(self, line: int, letters: bytes) -> InputError:
        what = "text before the first header line, which begins with >"
        fastq = letters.startswith(b"@")
        return InputError(self._where(line), what, "is it a FASTQ?" if fastq else "is it a FASTA?")

    def _not_letters(self, line: int, wrong: bytes) -> InputError:
        character = wrong[:1].decode("ascii", "backslashreplace")
        hint = "unknown letters are written as N or another letter"
        return InputError(self._where(line), f"{character!r} in a sequence is not a letter", hint)

    def _where(self, line: int) -> str:
        return f"{self._source.label}:{line}"

    def _warn_of_alphabet(self, unknown: int, total: int) -> None:
        if 2 * unknown > total:
            text = "%s: %d of %d letters are unknown to the model; is it of the right alphabet?"
            log.warning(text, self._source.label, unknown, total)
