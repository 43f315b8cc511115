"""`yuzu export`: hand a result over to another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from yuzu_cli.cli._json import json_option, print_json
from yuzu_cli.cli._options import output_option, verbosity_options

_EXISTING = click.Path(path_type=Path)


@click.command("export", short_help="Hand a result over to another tool.")
@click.argument("result", metavar="OUT.h5", type=_EXISTING)
@click.option(
    "--to",
    required=True,
    metavar="FORMAT",
    help="modisco, chrombpnet, basenji, bigwig, bedgraph, tsv or npz.",
)
@output_option(
    "PATH", "File to write; for modisco a folder. A name in .gz is packed by bgzip (tsv, bedgraph)."
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="TARGET",
    help="Names, patterns or 0-based numbers: CTCF, K562_*, 0,3,7-9. Of modisco, chrombpnet and "
    "tracks only one.",
)
@click.option(
    "-g",
    "--genome",
    type=_EXISTING,
    metavar="GENOME",
    help="FASTA or its .fai, for the chromosomes' sizes (tracks). Default: the genome of the run.",
)
@click.option(
    "--chrom-sizes", type=_EXISTING, metavar="TABLE", help="Names and sizes instead of a genome."
)
@click.option(
    "--overlap",
    type=click.Choice(["mean", "nearest"]),
    default="mean",
    show_default=True,
    help="Bases under several windows (tracks): their mean, or the nearest window's value.",
)
@click.option(
    "--unknown",
    type=click.Choice(["auto", "keep", "drop"]),
    default="auto",
    show_default=True,
    help="Rows with N; auto drops them for basenji, whose scripts cannot read them.",
)
@click.option(
    "--score",
    metavar="NAME",
    help="tsv: delta, prediction, centered, l2 or jsd; basenji: centered or delta.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@json_option
@verbosity_options
def command(
    result: Path,
    to: str,
    output: Path,
    as_json: bool,
    verbose: int,
    quiet: bool,
    debug: bool,
    **options: Any,
) -> None:
    """Write a result in the format of another tool.

    \b
    modisco     folder with ohe.npz and attr.npz for `modisco motifs -s -a`
    chrombpnet  h5 with raw, shap and projected_shap, and the BED of its rows
    basenji     scores.h5
    bigwig      contribution of each base of the genome, one target
    bedgraph    the same as text
    tsv         a line per mutation: chrom, position_0based, ref, alt, score per target
    npz         all arrays as they are

    Scores that were not saved are made from those that were, where that is possible.

    \b
    Examples:
      yuzu export scores.h5 --to modisco -o motifs/ --target 0
      yuzu export scores.h5 --to bigwig -o CTCF.bw --target CTCF -g genome.fa
    """
    from yuzu_cli.results.export import ExportOptions, export

    done = export(result, to, output, ExportOptions(**options))
    if as_json:
        facts = {"format": to, "paths": done.paths, "rows": done.rows, "notes": done.notes}
        print_json("export", facts)
    if quiet or as_json:
        return
    for note in done.notes:
        click.echo(f"note: {note}", err=True)
    for path in done.paths:
        click.echo(f"{path}: {done.rows} rows", err=True)
