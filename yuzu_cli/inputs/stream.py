"""What a window is, and what every stream of windows can do.

Letters are placed, padded, turned to their strand and judged for unknown ones here, once, for every
kind of input; where they come from is `yuzu_cli.inputs.windows`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from yuzu_cli.alphabet import UNKNOWN, Alphabet
from yuzu_cli.errors import InputError
from yuzu_cli.inputs.regions import Region
from yuzu_cli.inputs.text import TextSource

HAS_UNKNOWN, PADDED, RESIZED = 1, 2, 4

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The sequence of one record.

    Attributes
    ----------
    region : Region
    codes : ndarray, uint8, (L + 2 * flank,)
        5'→3' of the region's strand; the window is ``codes[flank:flank + L]``.
    status : int
        Sum of 1 (has unknown letters, those of padding included), 2 (padded at a chromosome's edge)
        and 4 (a FASTA record cropped or padded to L). The flanks do not count.
    """

    region: Region
    codes: np.ndarray
    status: int


class WindowStream(ABC):
    """Windows of the input's records, read again from any record; a context manager.

    Attributes
    ----------
    length : int
        Letters of a window, L.
    n_records : int
        Records of the input, those to be dropped included.
    sha256 : str
        Hex hash of what is read. FASTA: of its text, unpacked. BED: of the hash of its text,
        unpacked, and that of the genome.
    """

    length: int
    n_records: int
    sha256: str

    def __init__(self, source: TextSource, alphabet: Alphabet, unknown: str, flank: int) -> None:
        self._source, self._alphabet = source, alphabet
        self._unknown, self._flank = unknown, flank
        self._dropped = 0

    def iterate(self, start: int = 0, stop: int | None = None) -> Iterator[Window]:
        """Windows of the records ``start <= input_index < stop``; dropped ones are left out.

        Raises
        ------
        InputError
            When the input was changed since it was opened, or under ``unknown: error``.
        """
        if self._source.fd < 0:
            raise ValueError("the stream is closed")
        self._check_unchanged()
        yield from self._windows(start, self.n_records if stop is None else stop)
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        self._source.check_unchanged()

    @abstractmethod
    def _windows(self, start: int, stop: int) -> Iterator[Window]: ...

    def _window(
        self, where: str, region: Region, given: np.ndarray, left: int, origin: int, status: int
    ) -> Window | None:
        """Place letters in a window with flanks; None when their unknown letters drop it.

        `given` holds the codes of the input that the window and its flanks cover, and `left` is how
        many letters are missing before them. `origin` is the window's first position in the
        chromosome or record, for messages.
        """
        flank, length = self._flank, self.length
        codes = np.full(length + 2 * flank, UNKNOWN, dtype=np.uint8)
        codes[left : left + given.size] = given
        if (codes[flank : flank + length] == UNKNOWN).any():
            status |= HAS_UNKNOWN
            first, last = max(left, flank), min(left + given.size, flank + length)
            unknown = np.flatnonzero(codes[first:last] == UNKNOWN)
            if unknown.size and self._unknown == "drop":
                return None
            if unknown.size and self._unknown == "error":
                at = int(unknown[0]) + first - flank + origin + 1
                what = f"the letter at {region.chrom}:{at} is unknown to the model"
                raise InputError(where, what, "set input.unknown to zero, uniform or drop")
        if region.strand == "-":
            codes = self._alphabet.reverse_complement(codes)
        return Window(region, codes, status)

    def _finish_opening(self) -> None:
        """What is left of the first pass once records have been counted."""
        label = self._source.label
        if self._dropped:
            log.warning("%s: %d of %d records are dropped", label, self._dropped, self.n_records)
        if self._unknown == "error":  # else a run could end at its last record
            for _ in self.iterate():
                pass

    def close(self) -> None:
        """Release files; more than once is harmless."""
        self._source.close()

    def __enter__(self) -> WindowStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
