"""`yuzu run`: parse, make one call to the engine, say how it went."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from yuzu_cli.cli import _console
from yuzu_cli.cli._json import json_option, print_json
from yuzu_cli.cli._options import config_options, read_config, verbosity_options
from yuzu_cli.cli._shard import shard_from
from yuzu_cli.cli._signals import GracefulStop
from yuzu_cli.ready import check_inputs, check_output

if TYPE_CHECKING:
    from yuzu_cli.config import RunConfig


@click.command("run", short_help="Attributions of every input sequence into one HDF5 file.")
@config_options()
@json_option
@verbosity_options
def command(as_json: bool, **params: Any) -> int:
    """Attributions of every input sequence into one HDF5 file.

    Every option is also a key of the config (see configs/default.yaml); the command line wins.
    A run that was interrupted is continued by the same command.

    \b
    Examples:
      yuzu run -m model.pt -b peaks.bed -g genome.fa -l 500 -o scores.h5
      yuzu run -c run.yaml -f sequences.fa.gz --scores l2 --backend naive
      yuzu run -c run.yaml --shard 2/8 -o scores.2.h5
    """
    config = prepare(params)
    return execute(config, as_json)


def prepare(params: dict[str, Any]) -> RunConfig:
    """The configuration of one run, with nothing left to ask of the environment."""
    config = read_config(params)
    config.require()
    if config.run.shard == "auto":
        run = config.run.model_copy(update={"shard": shard_from(os.environ)})
        config = config.model_copy(update={"run": run})
    if shard := config.shard():
        # srun and torchrun start every process with the same command line, `-o` included.
        path = config.output.path.replace("{shard}", str(shard[0]))
        path = path.replace("{shards}", str(shard[1]))
        output = config.output.model_copy(update={"path": path})
        config = config.model_copy(update={"output": output})
    return config


def execute(config: RunConfig, as_json: bool = False) -> int:
    """Run it under signals, log and progress; the exit code."""
    with GracefulStop() as stop, _console.messages(config.run.verbosity):
        check_inputs(config)
        if not config.run.dry_run:
            check_output(config)
        with _console.loading():
            from yuzu_cli import engine

        with _console.Progress(config.run.progress) as progress:
            summary = engine.run(config, progress=progress, should_stop=stop.requested)
    if as_json:
        facts = {f.name: getattr(summary, f.name) for f in fields(summary)}
        if config.run.dry_run:
            facts.pop("complete")
        print_json("dry-run" if config.run.dry_run else "run", facts)
    elif config.run.dry_run:
        click.echo(summary.describe())
    elif config.run.verbosity >= 0:
        _console.tell(summary.describe())
    return 0 if summary.complete else stop.exit_code
