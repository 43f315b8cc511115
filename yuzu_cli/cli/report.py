"""`yuzu report`: one page about a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from yuzu_cli.cli._options import output_option, verbosity_options


@click.command("report", short_help="One HTML page about a result.")
@click.argument("result", metavar="OUT.h5", type=click.Path(path_type=Path))
@output_option("PAGE.html", "The page to write.")
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    metavar="COUNT",
    help="Regions to draw for each target, the strongest ones.",
)
@click.option(
    "--motifs",
    type=click.Path(path_type=Path),
    metavar="MOTIFS.h5",
    help="What TF-MoDISco found in an export of this result; its sites are marked.",
)
@click.option("--force", is_flag=True, help="Replace an existing page.")
@verbosity_options
def command(
    result: Path, output: Path, verbose: int, quiet: bool, debug: bool, **options: Any
) -> None:
    """Write one self-contained page: the run, its measured error, effects, strongest regions.

    \b
    Examples:
      yuzu report scores.h5 -o report.html
      yuzu report scores.h5 --motifs motifs.h5 -o report.html
    """
    from yuzu_cli.results.report import report

    path = report(result, output, **options)
    if not quiet:
        click.echo(str(path), err=True)
