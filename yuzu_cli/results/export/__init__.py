"""Hand-over of results to other tools: one table of formats, and the call that writes one of them.

A format is a function that takes an open result, a path and the options, and returns what it wrote.
Modules are imported on use, so that naming the formats costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from yuzu_cli.errors import UsageError

if TYPE_CHECKING:
    from yuzu_cli.results.streaming import Source

FORMATS = {
    "modisco": ("yuzu_cli.results.export.arrays:modisco", "folder for `modisco motifs`"),
    "chrombpnet": ("yuzu_cli.results.export.arrays:chrombpnet", "h5 and 10-column BED"),
    "basenji": ("yuzu_cli.results.export.arrays:basenji", "scores.h5"),
    "bigwig": ("yuzu_cli.results.export.tracks:bigwig", "contributions as a browser track"),
    "bedgraph": ("yuzu_cli.results.export.tracks:bedgraph", "the same as text"),
    "tsv": ("yuzu_cli.results.export.tables:tsv", "one line per mutation"),
    "npz": ("yuzu_cli.results.export.tables:npz", "all arrays as they are, for numpy"),
}
OVERLAPS = ("mean", "nearest")
UNKNOWNS = ("auto", "keep", "drop")


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
    """What was written.

    Attributes
    ----------
    paths : tuple of Path
    rows : int
        Rows of the result that are in it.
    notes : tuple of str
        What the user should know, a line each.
    """

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
    from yuzu_cli.results.streaming import Source

    options = options or ExportOptions()
    if to not in FORMATS:
        raise UsageError("--to", f"unknown format {to!r}", f"one of {', '.join(FORMATS)}")
    if Path(out).resolve() == Path(result).resolve():
        raise UsageError("--output", "is the result itself", "name another file")
    module, function = FORMATS[to][0].split(":")
    write: Callable[[Source, Path, ExportOptions], Exported]
    write = getattr(import_module(module), function)
    with Source(result) as source:
        return write(source, Path(out), options)
