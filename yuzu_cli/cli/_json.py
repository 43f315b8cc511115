"""`--json`: what a command came to, as one object on standard output, for programs.

The table below is all there is to know of the objects; docs/json.md shows it, and a test compares
it with what the commands print. May not: compute anything.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


class Fact(NamedTuple):
    """One field of an object: its name, its type, and what it says."""

    name: str
    type: str
    meaning: str


def _facts(text: str) -> tuple[Fact, ...]:
    """Facts from lines of `name | type | meaning`."""
    rows = (line.split("|") for line in text.strip().splitlines())
    return tuple(Fact(*(cell.strip() for cell in row)) for row in rows)


_COMPUTED = """
backend | text | which backend computed
device | text | where: `cpu`, `cuda:0`
"""
_CHECKED = """
verified | whole number | mutants (or alleles) that were computed both ways
max_abs_error | number or null | the largest difference between the two; null when none was compared
"""

#: Kind of object -> its fields, in order, after `kind` itself.
OBJECTS: dict[str, tuple[Fact, ...]] = {
    "run": _facts(
        f"""
path | text | the output; it is there only when `complete`
complete | true or false | false when the run was stopped; the same command continues it
records | whole number | input records that this run answers for
records_before | whole number | those that an earlier, interrupted run had done
finished_before | true or false | the output was there already, by the same settings
regions | whole number | rows computed now
mutants | whole number | mutants computed now
seconds | number | from start to end
setup_seconds | number | until the first batch
backend_seconds | number | computing
read_seconds | number | waiting for sequences
write_seconds | number | waiting for the writer
{_COMPUTED.strip()}
batch_size | whole number | regions per batch
{_CHECKED.strip()}
max_rel_error | number or null | the same, as a share of the largest effect
errors | text | the differences in words, score by score
mended | whole number | regions of which naive computed some mutants, as the backend failed on them
"""
    ),
    "dry-run": _facts(
        f"""
records | whole number | input records, those that will be dropped included
mutants | whole number | of all of them
passes | whole number | forward passes that naive would make
{_COMPUTED.strip()}
batch_size | whole number | regions per batch
seconds | number | predicted time
probe_mutants | whole number | mutants that the prediction was measured on
device_bytes | whole number | working memory at most: of the GPU, or on a CPU of the host
host_bytes | whole number | memory of the host for results that wait to be written, at most
disk_bytes | whole number | the output before compression
free_bytes | whole number | free space where the output goes
offer | text | for a run of more than an hour, what an estimate would take; else empty
"""
    ),
    "merge": _facts(
        """
path | text | the joined file
shards | whole number | how many were joined
linked | true or false | whether it refers to them instead of holding a copy
"""
    ),
    "export": _facts(
        """
format | text | as in `--to`
paths | list of text | the files that were written
rows | whole number | regions that are in them
notes | list of text | what should be known about them
"""
    ),
    "variants": _facts(
        f"""
path | text | the output
records | whole number | lines of the VCF
methods | object | alleles by method, or by the reason for which they have no effect
first | object | line of the first allele with each
{_COMPUTED.strip()}
{_CHECKED.strip()}
"""
    ),
    "output": _facts(
        """
path | text | the file
bytes | whole number | its size
… | as in format.md | every attribute of the file, under its name; NaN is null
length | whole number | letters per window
targets | list of text | their names
scores | list of text | what was saved
estimate | object or null | `correlation`, `correlation_worst` and `max_error` of `taylor.exact_top`
dropped | whole number | input records without a row
status | object | rows that `has_unknown` letters, were `padded`, were `resized`
datasets | object | path to axes, shape, type, compression, chunk, stored bytes, and whether linked
"""
    ),
    "unfinished": _facts(
        """
path | text | the folder of the work
batches | whole number | of the whole run
batches_done | whole number | that are safe on disk
… | as in format.md | every attribute that the file will have
length | whole number | letters per window
targets | list of text | their names
scores | list of text | what will be saved
"""
    ),
    "plan": _facts(
        """
path | text | the file
bytes | whole number | its size
… | as they are | what the plan was made for and what was found
"""
    ),
}


def json_option(function: Function) -> Function:
    """Decorator: `--json`, as the argument `as_json`."""
    text = "One object on standard output, for programs; docs/json.md has its fields."
    return click.option("--json", "as_json", is_flag=True, help=text)(function)


def print_json(kind: str, facts: Mapping[str, Any]) -> None:
    """Print one object of a kind; paths become text, and what is no number null."""
    click.echo(json.dumps({"kind": kind} | _plain(dict(facts)), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def tables() -> str:
    """The tables of docs/json.md."""
    parts = []
    for kind, facts in OBJECTS.items():
        rows = [f"| `{f.name}` | {f.type} | {f.meaning} |" for f in facts]
        parts += [f"### `{kind}`", "", "| field | type | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join(parts).replace("`…`", "…").replace("format.md", "[format.md](format.md)")
