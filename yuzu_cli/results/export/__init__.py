"""Hand-over of results to other tools: one table of formats, and the call that writes one of them.

A format is a function that takes an open result, a path and the options, and returns what it wrote.
Modules are imported on use, so that naming the formats costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from yuzu_cli.errors import UsageError

#: Format to the module here that has a function of that name.
FORMATS = {
    "modisco": "arrays",
    "chrombpnet": "arrays",
    "basenji": "arrays",
    "bigwig": "tracks",
    "bedgraph": "tracks",
    "tsv": "tables",
    "npz": "tables",
}


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What a user may choose; each format reads the ones that concern it and refuses none.

    Attributes
    ----------
    targets : tuple of str
        Names or 0-based indices; empty for all, or for the only one there is.
    genome, chrom_sizes : Path or None
        Where chromosome sizes come from (tracks): a FASTA or its .fai, or a two-column table.
    overlap : str
        Bases under several windows (tracks): `mean`, or `nearest` for the window whose centre is
        nearest.
    unknown : str
        Rows with letters outside the alphabet: `keep`, `drop`, or `auto` for what the format's
        readers bear.
    score : str or None
        Which score to write, where a format leaves the choice.
    force : bool
        Replace files that are there.
    """

    targets: tuple[str, ...] = ()
    genome: Path | None = None
    chrom_sizes: Path | None = None
    overlap: str = "mean"
    unknown: str = "auto"
    score: str | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: files, rows of the result in them, and notes for the user, a line each."""

    paths: tuple[Path, ...]
    rows: int
    notes: tuple[str, ...] = ()


def export(
    result: str | Path, to: str, out: str | Path, options: ExportOptions | None = None
) -> Exported:
    """Write a result in the format of another tool, in memory that does not grow with N.

    Parameters
    ----------
    result : path-like
        HDF5 file of a finished run.
    to : str
        A name in `FORMATS`.
    out : path-like
        File, or for `modisco` the folder, to write.
    options : ExportOptions or None

    Raises
    ------
    UsageError
        For an unknown format or target, or options the format cannot do without.
    InputError
        When chromosome sizes cannot be read, or are not those of the run's genome.
    OutputError
        When the result cannot be read or lacks what the format needs, when something is there
        already, or cannot be written.
    """
    from yuzu_cli.results.export.files import check_space
    from yuzu_cli.results.streaming import Source

    if to not in FORMATS:
        raise UsageError("--to", f"unknown format {to!r}", f"one of {', '.join(FORMATS)}")
    if Path(out).resolve() == Path(result).resolve():
        raise UsageError("--output", "is the result itself", "name another file")
    write = getattr(import_module(f"{__name__}.{FORMATS[to]}"), to)
    with Source(result) as source:
        # Every format takes a byte for each mutated position, and most take more.
        check_space(Path(out), source.n_regions * source.sizes["M"])
        done: Exported = write(source, Path(out), options or ExportOptions())
        return done
