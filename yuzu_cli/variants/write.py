"""Effects as a VCF, with what was read and two INFO fields more, or as a table.

A name that ends in .gz is packed with bgzip, so that tabix can index it. Computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np

from yuzu_cli.errors import UsageError
from yuzu_cli.files import open_text
from yuzu_cli.variants.alleles import EDIT, PASS, REASONS, Judged

EFFECT_FIELD, METHOD_FIELD = "YUZU", "YUZU_METHOD"


@contextmanager
def writer(
    path: Path, out: Path, header: Sequence[str], targets: Sequence[str], facts: str
) -> Iterator[_VcfWriter | _Table]:
    """A writer to `path` in the format that the name `out` asks for.

    Parameters
    ----------
    header : sequence of str
        Header lines of the VCF that was read.
    targets : sequence of str
    facts : str
        What the effects were computed with, for the header.
    """
    kind = kind_of(out)
    with open_text(path, out) as file:
        yield _VcfWriter(file, header, targets, facts) if kind == "vcf" else _Table(file, targets)


def kind_of(out: Path) -> str:
    """`vcf` or `tsv`, by the name of a file.

    Raises
    ------
    UsageError
        For another name.
    """
    name = out.name.removesuffix(".gz")
    for kind in ("vcf", "tsv"):
        if name.endswith(f".{kind}"):
            return kind
    raise UsageError("--output", f"{out.name}: neither .vcf nor .tsv", "either may end in .gz")


class _VcfWriter:
    """The records as they were, with the effects in INFO."""

    def __init__(
        self, file: TextIO, header: Sequence[str], targets: Sequence[str], facts: str
    ) -> None:
        self._file = file
        ours = tuple(f"##INFO=<ID={name}," for name in (EFFECT_FIELD, METHOD_FIELD))
        *meta, columns = (line for line in header if not line.startswith((*ours, "##yuzu=")))
        names = "|".join(_name(target, '|,"\\') for target in targets)
        reasons = "; ".join(f"{key}: {words}" for key, words in REASONS.items())
        lines = [
            *meta,
            f"##yuzu={facts}",
            f"{ours[0]}Number=A,Type=String,Description="
            f'"Output of the model with ALT minus that with REF, per target: {names}">',
            f'{ours[1]}Number=A,Type=String,Description="{EDIT}: a single letter; {PASS}: whole '
            f'passes with REF and with ALT; or why there is no effect: {reasons}">',
            columns,
        ]
        self._file.write("".join(f"{line}\n" for line in lines))

    def record(self, one: Judged, effects: Sequence[np.ndarray | None]) -> None:
        """The line that was read, with two more INFO fields."""
        fields = list(one.record.fields)
        values = ",".join("." if e is None else "|".join(_number(v) for v in e) for e in effects)
        old = [
            item
            for item in fields[7].split(";")
            if item.partition("=")[0] not in (".", "", EFFECT_FIELD, METHOD_FIELD)
        ]
        new = [f"{EFFECT_FIELD}={values}", f"{METHOD_FIELD}={','.join(one.methods)}"]
        fields[7] = ";".join(old + new)
        self._file.write("\t".join(fields) + "\n")


class _Table:
    """One line an allele."""

    def __init__(self, file: TextIO, targets: Sequence[str]) -> None:
        self._file, self._none = file, "\tnan" * len(targets)
        names = [_name(target, "\t") for target in targets]
        columns = ["chrom", "pos", "ref", "alt", "id", "method", *names]
        file.write("\t".join(columns) + "\n")

    def record(self, one: Judged, effects: Sequence[np.ndarray | None]) -> None:
        """A line for each ALT; `pos` is that of the VCF, 1-based."""
        record = one.record
        for alt, method, effect in zip(record.alts, one.methods, effects, strict=True):
            numbers = self._none
            if effect is not None:
                numbers = "".join(f"\t{_number(value)}" for value in effect)
            self._file.write(
                f"{record.chrom}\t{record.start + 1}\t{record.ref}\t{alt}\t{record.name}\t{method}"
                f"{numbers}\n"
            )


def _number(value: float) -> str:
    return f"{value:.7g}"


def _name(text: str, forbidden: str) -> str:
    """A target's name without characters that mean something where it is written."""
    return "".join("_" if letter in forbidden else letter for letter in text)
