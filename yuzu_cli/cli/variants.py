"""`yuzu variants`: effects of the variants of a VCF."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from yuzu_cli.cli import _console
from yuzu_cli.cli._json import json_option, print_json
from yuzu_cli.cli._options import config_options, read_config, verbosity_options
from yuzu_cli.ready import check_inputs


@click.command("variants", short_help="Effects of the variants of a VCF.")
@click.option("--vcf", required=True, metavar="IN.vcf", help="Plain or gzip; - is standard input.")
@click.option(
    "-o",
    "--output",
    "out",
    required=True,
    metavar="PATH",
    help="A .vcf (with effects in INFO) or a .tsv; .gz after it packs.",
)
@click.option(
    "--strand",
    type=click.Choice(["+", "-"]),
    default="+",
    show_default=True,
    help="Strand of the genome that the model reads.",
)
@click.option(
    "--indels/--no-indels",
    default=True,
    show_default=True,
    help="Score insertions and deletions, or only name them.",
)
@click.option(
    "--edge",
    type=click.Choice(["pad", "drop", "error"]),
    default="pad",
    show_default=True,
    help="Windows past a chromosome's end.",
)
@config_options(
    *("model", "genome", "length", "backend", "device", "precision", "model_output", "targets"),
    *("reduce", "reverse_complement", "shifts", "verify", "force", "progress"),
)
@json_option
@verbosity_options
def command(
    vcf: str, out: str, strand: str, indels: bool, edge: str, as_json: bool, **params: Any
) -> None:
    """Score each variant in the window around it: the model's output with ALT minus with REF.

    Single letters are computed as `yuzu run` computes them, so that the effect is the delta of a
    run at that position. Insertions, deletions and longer replacements take two whole forward
    passes. Each allele says in the output how it was computed, or why it has no effect: REF is
    checked against the genome, case aside.

    \b
    Examples:
      yuzu variants -m model.pt -l 500 --vcf calls.vcf.gz -g genome.fa -o effects.vcf.gz
      yuzu variants -c run.yaml -l 500 --vcf calls.vcf -g genome.fa -o effects.tsv
    """
    config = read_config(params)
    check_inputs(config)
    with (
        _console.messages(config.run.verbosity),
        _console.Progress(config.run.progress, unit="records") as progress,
    ):
        with _console.loading():
            from yuzu_cli.variants import variants

        summary = variants(
            config, vcf, out, strand=strand, indels=indels, edge=edge, progress=progress
        )
    if as_json:
        print_json("variants", {f.name: getattr(summary, f.name) for f in fields(summary)})
    elif config.run.verbosity >= 0:
        _console.tell(summary.describe())
