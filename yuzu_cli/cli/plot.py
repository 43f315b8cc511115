"""`yuzu plot`: logo and heat map of regions of a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from yuzu_cli.cli._options import output_option, verbosity_options


@click.command("plot", short_help="Sequence logo and heat map of regions.")
@click.argument("result", metavar="OUT.h5", type=click.Path(path_type=Path))
@output_option("PATH", "A .png, .pdf or .svg; several regions go into a .pdf or into a folder.")
@click.option(
    "--region",
    "regions",
    multiple=True,
    metavar="NAME_OR_INDEX",
    help="Name, row number, or chrom:start-end (1-based) that a window holds or overlaps; repeat "
    "for several. Default: the strongest.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="COUNT",
    help="Without --region: how many of the strongest.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="TARGET",
    help="Names, patterns or 0-based numbers: CTCF, K562_*, 0,3,7-9. Default: up to four.",
)
@click.option(
    "--range",
    "stretch",
    metavar="RANGE",
    help="START:END in the window (0-based), chrom:first-last (1-based), or all. Default: "
    "100 about the strongest substitution.",
)
@click.option("--same-scale", is_flag=True, help="One scale for all targets of a region.")
@click.option(
    "--map",
    "as_map",
    is_flag=True,
    help="Input position by output position, of a result whose targets are those of a profile.",
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@verbosity_options
def command(
    result: Path, output: Path, verbose: int, quiet: bool, debug: bool, **options: Any
) -> None:
    """Draw the contribution of each letter as a logo over the effects of all substitutions.

    Everything is drawn along the forward strand; positions count from 1.

    \b
    Examples:
      yuzu plot scores.h5 -o strongest.png
      yuzu plot scores.h5 --region peak_17 --target CTCF --range 200:300 -o peak.pdf
      yuzu plot scores.h5 --top 20 -o pictures/
    """
    from yuzu_cli.results.plot import plot

    paths = plot(result, output, **options)
    if not quiet:
        for path in paths:
            click.echo(str(path), err=True)
