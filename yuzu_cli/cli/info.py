"""`yuzu info`: what a file holds, as text or JSON."""

from __future__ import annotations

from typing import Any

import click

from yuzu_cli.cli._json import json_option, print_json
from yuzu_cli.files import size_text
from yuzu_cli.selection import some

#: Facts shown as they are, in this order, where they are there.
_PLAIN = (
    *("created", "command", "backend", "device", "precision", "alphabet", "length"),
    *("yuzu_version", "torch_version", "model_sha256", "input_sha256"),
)


@click.command("info", short_help="What is in an output or a plan.")
@click.argument("path", metavar="OUT.h5")
@json_option
@click.option("--debug", is_flag=True, help="Tracebacks.")
def command(path: str, as_json: bool, debug: bool) -> None:
    """What is in an output, a plan, or the unfinished work beside an output.

    \b
    Examples:
      yuzu info scores.h5
      yuzu info scores.h5 --json | python -m json.tool
    """
    from yuzu_cli.runs.info import info

    facts = info(path)
    if as_json:
        print_json(facts.pop("kind"), facts)
    else:
        click.echo(describe(facts))


def describe(facts: dict[str, Any]) -> str:
    """The facts that `info` found, as lines of text."""
    lines = [(facts["kind"], f"{facts['path']}{_size(facts)}")]
    if facts["kind"] == "plan":
        known = {"kind", "path", "bytes", "config", "asked", "sha256"}
        lines += [(key, value) for key, value in facts.items() if key not in known]
        return _table(lines)
    where = f"positions {facts['mutate_start'] + 1} to {facts['mutate_end']} of each window"
    targets = facts["targets"]
    lines += [("regions", _regions(facts)), ("targets", f"{len(targets)}: {some(targets)}")]
    lines += [("mutated", where), ("scores", ", ".join(facts["scores"]))]
    lines += [(key, facts[key]) for key in _PLAIN if facts.get(key) not in (None, "")]
    if facts.get("shard_count"):
        lines += [("shard", f"{facts['shard_index']} of {facts['shard_count']}")]
    lines += [("verified", _verified(facts))]
    if facts.get("estimate"):
        from yuzu_cli.results.estimate import sentence

        lines += [("estimate", sentence(facts["estimate"]))]
    for name, data in facts.get("datasets", {}).items():
        shape = " x ".join(str(length) for length in data["shape"])
        axes = data["axes"].replace(" ", " x ")
        lines += [(name, f"{axes} = {shape}, {data['dtype']}, {data['compression']}")]
    return _table(lines)


def _size(facts: dict[str, Any]) -> str:
    return f", {size_text(facts['bytes'])}" if facts.get("bytes") else ""


def _regions(facts: dict[str, Any]) -> str:
    if facts["kind"] == "unfinished":
        done = f"{facts['batches_done']} of {facts['batches']} batches done"
        return f"{facts['n_regions']} so far, {done}; the same command continues"
    notes = [f"{facts['dropped']} dropped"] if facts["dropped"] else []
    notes += [
        f"{count} {name.replace('_', ' ')}" for name, count in facts["status"].items() if count
    ]
    return ", ".join([str(facts["n_regions"]), *notes])


def _verified(facts: dict[str, Any]) -> str:
    largest, relative = facts["verify_max_abs_error"], facts["verify_max_rel_error"]
    if largest is None:
        return "not compared with naive"
    text = f"largest difference from naive {largest:.2g}"
    return text if relative is None else f"{text}, {relative:.2g} of the largest effect"


def _table(lines: list[tuple[str, Any]]) -> str:
    width = max(len(key) for key, _ in lines)
    return "\n".join(f"{key:<{width}}  {value}" for key, value in lines)
