"""`yuzu explain`: what the tool understood of a model."""

from __future__ import annotations

from typing import Any

import click

from yuzu_cli.cli import _console
from yuzu_cli.cli._options import config_options, read_config, verbosity_options
from yuzu_cli.ready import check_inputs


@click.command("explain", short_help="How a model would be computed, and what that costs.")
@config_options(
    *("model", "fasta", "length", "device", "precision", "targets", "reduce", "mutate"),
    *("mutate_center", "model_output", "layout", "alphabet"),
)
@verbosity_options
def command(**params: Any) -> None:
    """Every operation of a model: its shape, what an edit reaches in it, how that is computed
    exactly. Then where a first-order estimate can start, and, in sentences, what bounds the gain.

    Multiply-adds and bytes are for one mutant, as planned and the naive way. An operation shown as
    "whole tensor" is computed in full for every mutant; that costs time, never correctness.

    \b
    Example:
      yuzu explain -m model.pt -l 1000
      yuzu explain -m bpnet.pt2 -f sequences.fa --model-output all --reduce profile
    """
    config = read_config(params)
    check_inputs(config)
    with _console.messages(config.run.verbosity):
        with _console.loading():
            from yuzu_cli.engine.explain import explain

        text = explain(config)
    click.echo(text)
