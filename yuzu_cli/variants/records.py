"""VCF lines, one at a time, as they stand in the file.

Every line is checked once when the file is opened, so that no fault is left for later. Knows
nothing of genomes and models; what an allele means to them is judged in `alleles`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from yuzu_cli.errors import InputError
from yuzu_cli.inputs.text import TextSource

COLUMNS = 8
_HINT = "a VCF line is: CHROM, POS, ID, REF, ALT, QUAL, FILTER, INFO, with tabs between"


@dataclass(frozen=True, slots=True)
class Record:
    """One data line.

    Attributes
    ----------
    line : int
        Number in the file, from 1.
    fields : list of str
        All columns, as they are.
    start : int
        0-based position of the first letter of REF.
    alts : tuple of str
    """

    line: int
    fields: list[str]
    start: int
    alts: tuple[str, ...]

    @property
    def chrom(self) -> str:
        """CHROM."""
        return self.fields[0]

    @property
    def name(self) -> str:
        """ID."""
        return self.fields[2]

    @property
    def ref(self) -> str:
        """REF, in the case it has in the file."""
        return self.fields[3]


class Vcf:
    """A VCF, plain or gzip; a context manager.

    Parameters
    ----------
    path : str
        A file, or ``-`` for standard input.

    Attributes
    ----------
    label : str
        How messages call it.
    header : list of str
        The ``##`` lines and the line of column names, without line ends.
    n_records : int

    Raises
    ------
    InputError
        When it cannot be read, is no VCF, or for the first line at fault.
    """

    def __init__(self, path: str) -> None:
        self._source = TextSource(path)
        self.label = self._source.label
        self.header: list[str] = []
        self.n_records = 0
        try:
            self._read_header()
            for _ in self.records():
                self.n_records += 1
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> None:
        with self._source.reader() as file:
            if file.peek(5)[:5] == b"BCF\x02\x02":
                raise InputError(self.label, "is BCF, which is not read", "bcftools view it first")
            for line in file:
                text = _decode(line, f"{self.label}:{len(self.header) + 1}")
                if not text.startswith("##"):
                    break
                self.header.append(text)
            else:
                text = ""
        if not text.startswith("#CHROM\t"):
            where = f"{self.label}:{len(self.header) + 1}"
            raise InputError(where, "a line of column names (#CHROM) must stand here", _HINT)
        self.header.append(text)

    def records(self) -> Iterator[Record]:
        """The data lines in order; can be called again.

        Raises
        ------
        InputError
            For the first line at fault, or when the file was changed meanwhile.
        """
        self._source.check_unchanged()
        with self._source.reader() as file:
            for number, line in enumerate(file, start=1):
                if number > len(self.header) and line.strip():
                    yield _parse(_decode(line, f"{self.label}:{number}"), self.label, number)
        self._source.check_unchanged()

    def close(self) -> None:
        """Release the file; more than once is harmless."""
        self._source.close()

    def __enter__(self) -> Vcf:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _decode(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(where, "is not text in UTF-8") from error


def _parse(text: str, label: str, number: int) -> Record:
    where, fields = f"{label}:{number}", text.split("\t")
    if len(fields) < COLUMNS:
        raise InputError(where, f"has {len(fields)} columns, not {COLUMNS} or more", _HINT)
    chrom, position, _, ref, alt = fields[:5]
    if not position.isdecimal():
        raise InputError(where, f"POS {position!r} is not a number", _HINT)
    if not (chrom and ref and alt) or not ref.isalpha():
        raise InputError(where, f"CHROM {chrom!r}, REF {ref!r}, ALT {alt!r}: not a variant", _HINT)
    return Record(number, fields, int(position) - 1, tuple(alt.split(",")))
