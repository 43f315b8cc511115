"""`yuzu precompute`: parse, make one call to the engine, say what was found."""

from __future__ import annotations

from typing import Any

import click

from yuzu_cli.cli import _console
from yuzu_cli.cli._options import config_options, read_config, verbosity_options
from yuzu_cli.ready import check_inputs


@click.command("precompute", short_help="The plan of a model and length, for the yuzu backend.")
@config_options(
    *("model", "length", "device", "precision", "model_output", "targets", "reduce", "progress")
)
@click.option("-o", "--output", "plan_path", metavar="PLAN.h5", required=True, help="The plan.")
@click.option("--force", "replace", is_flag=True, help="Replace an existing plan.")
@verbosity_options
def command(plan_path: str, replace: bool, **params: Any) -> None:
    """Everything that depends on the model and the length but not on the sequences.

    What an edit reaches in every layer, code matrices and decoders, the alpha they need, and the
    errors measured with them. `yuzu run --plan` reads it instead of finding it again.

    \b
    Examples:
      yuzu precompute -m model.pt -l 1000 -o plan.h5
      yuzu run -m model.pt -f sequences.fa --plan plan.h5 -o scores.h5
    """
    config = read_config(params)
    check_inputs(config)
    with _console.messages(config.run.verbosity):
        with _console.loading():
            from yuzu_cli.engine.precompute import precompute

        with _console.Progress(config.run.progress, unit="decoders") as progress:
            facts = precompute(config, plan_path, force=replace, progress=progress)
    if config.run.verbosity >= 0:
        _console.tell(
            f"{plan_path}: {facts['matrix']} codes, alpha {facts['alpha']:g}, "
            f"probes {facts['probes']}, largest error {facts['largest_error']:.2g} "
            "of the largest effect"
        )
