"""`yuzu init-model`: what a model wants, written beside it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from yuzu_cli.cli import _console
from yuzu_cli.cli._options import config_options, read_config, verbosity_options
from yuzu_cli.errors import UsageError
from yuzu_cli.files import check_place, replacing
from yuzu_cli.ready import check_inputs


@click.command("init-model", short_help="Write what a model wants into MODEL.json beside it.")
@config_options("model", "length", "alphabet", "layout", "model_output", "target_names")
@click.option("--force", is_flag=True, help="Replace a MODEL.json that is there.")
@verbosity_options
def command(force: bool, **params: Any) -> None:
    """Find out and write down how a model is to be called: its length, letters, axes, output and
    target names. Every command reads it from then on; options and configs win over it.

    What no option says is found by trying, or asked for on a terminal.

    \b
    Examples:
      yuzu init-model -m model.pt2
      yuzu init-model -m bpnet.pt2 -l 2114 --model-output profile
    """
    config = read_config(params | {"beside": False})
    paths = config.model.path
    if len(paths) != 1:
        raise UsageError("--model", f"{len(paths)} models", "give one with -m")
    file = Path(f"{paths[0]}.json")
    check_place(file, force)
    check_inputs(config)
    with _console.messages(config.run.verbosity):
        text = _written(config, params.get("model_output") is None and sys.stdin.isatty())
    with replacing([file], force) as (path,):
        path.write_text(text, encoding="utf-8")
    click.echo(text, nl=False)


def _written(config: Any, ask: bool) -> str:
    """The text of the file; with `ask`, which of several outputs is a question."""
    with _console.loading():
        from yuzu_cli.alphabet import parse_alphabet
        from yuzu_cli.model.heads import named
        from yuzu_cli.model.look import look

    given = config.model
    letters = parse_alphabet(given.alphabet).letters
    way = (len(letters), given.layout)
    model = look(given.path[0], config.input.length, *way, given.output)
    output = given.output
    if ask and len(model.outputs) > 1:
        said = click.prompt(f"it returns {', '.join(model.outputs)}; which one", default=output)
        output = int(said) if str(said).isdecimal() else said
        model = look(given.path[0], model.length, *way, output)
    facts: dict[str, Any] = {
        "length": model.length,
        "alphabet": letters,
        "layout": model.layout,
        "output": output,
    }
    if given.target_names:
        facts["target_names"] = named(given.target_names, model.target_names)
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
