"""`yuzu merge`: the shards of a run as one file."""

from __future__ import annotations

import click

from yuzu_cli.cli import _console
from yuzu_cli.cli._json import json_option, print_json


@click.command("merge", short_help="Join the outputs of `run --shard`.")
@click.argument("shards", metavar="SHARD...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="OUT.h5", required=True, help="The joined file.")
@click.option("--link", is_flag=True, help="Refer to the shards' scores instead of copying them.")
@click.option("--force", is_flag=True, help="Replace an existing output.")
@json_option
@click.option("--debug", is_flag=True, help="Tracebacks.")
def command(
    shards: tuple[str, ...], output: str, link: bool, force: bool, as_json: bool, debug: bool
) -> None:
    """Join the outputs of `run --shard`, in any order.

    Refused unless they are all of one run, complete, and each there once.

    \b
    Example:
      yuzu merge scores.1.h5 scores.2.h5 scores.3.h5 -o scores.h5
    """
    from yuzu_cli.runs.merge import merge

    with _console.messages(0):
        path = merge(shards, output, force=force, link=link)
    if as_json:
        print_json("merge", {"path": path, "shards": len(shards), "linked": link})
    else:
        click.echo(f"{path}: {len(shards)} shards joined", err=True)
