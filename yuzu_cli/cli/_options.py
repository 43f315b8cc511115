"""Options that are also keys of the config: one table, so that no two commands differ in a name.

An option that was not given leaves its key alone; one that was given wins over the config file.
Texts
go to `yuzu_cli.config` as they are: it alone knows which values are right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from yuzu_cli.errors import UsageError

if TYPE_CHECKING:
    from yuzu_cli.config import RunConfig

Function = TypeVar("Function", bound=Callable[..., Any])


def _same(key: str) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {key: value}


def _fasta(value: str) -> dict[str, Any]:
    return {"input.bed": None, "input.genome": None, "input.fasta": value}


def _bed(value: str) -> dict[str, Any]:
    return {"input.fasta": None, "input.bed": value}


def _batch_size(value: str) -> dict[str, Any]:
    return {"compute.batch_size": int(value) if re.fullmatch(r"-?\d+", value) else value}


def _mutate(value: str) -> dict[str, Any]:
    match = re.fullmatch(r"(\d*):(\d*)", value)
    if not match:
        raise UsageError("--mutate", f"{value!r} is not START:END", "0-based, half-open: 100:400")
    start, end = (int(number) if number else None for number in match.groups())
    return {"mutate.start": start, "mutate.end": end, "mutate.center": None}


def _mutate_center(value: int) -> dict[str, Any]:
    return {"mutate.start": None, "mutate.end": None, "mutate.center": value}


def _reduce(value: str) -> dict[str, Any]:
    name, colon, position = value.partition(":")
    if name != "index":
        return {"score.reduce": value, "score.index": None}
    if not colon:  # the position is then the config's
        return {"score.reduce": name}
    if not position.isdecimal():
        raise UsageError("--reduce", f"{value!r} has no position", "write it like index:500")
    return {"score.reduce": name, "score.index": int(position)}


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its names, what click needs to know, and the config keys it sets."""

    names: tuple[str, ...]
    keys: Callable[[Any], dict[str, Any]]
    help: str
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def param(self) -> str:
        """Name of the function argument."""
        return self.names[-1].split("/")[0].removeprefix("--").replace("-", "_")


def _text(metavar: str) -> dict[str, Any]:
    return {"metavar": metavar}


def _number(metavar: str) -> dict[str, Any]:
    return {"metavar": metavar, "type": int}


_FLAG: dict[str, Any] = {"is_flag": True, "default": None}

#: In the order in which `--help` shows them.
OPTIONS: dict[str, Option] = {
    option.param: option
    for option in (
        Option(
            ("-m", "--model"),
            lambda value: {"model.path": list(value)},
            "TorchScript .pt or exported .pt2; several are averaged.",
            {"metavar": "MODEL", "multiple": True},
        ),
        Option(("-f", "--fasta"), _fasta, "Sequences; - is standard input.", _text("FASTA")),
        Option(("-b", "--bed"), _bed, "Regions of the genome: BED or narrowPeak.", _text("BED")),
        Option(
            ("-g", "--genome"),
            _same("input.genome"),
            "Genome FASTA the BED refers to.",
            _text("GENOME"),
        ),
        Option(("-o", "--output"), _same("output.path"), "Result, HDF5 (out.h5).", _text("OUT.h5")),
        Option(("-l", "--length"), _same("input.length"), "Letters per window.", _number("LENGTH")),
        Option(
            ("--backend",),
            _same("compute.backend"),
            "auto, naive, windowed, yuzu or taylor.",
            _text("NAME"),
        ),
        Option(("--device",), _same("compute.device"), "auto, cpu, cuda or cuda:N.", _text("NAME")),
        Option(
            ("--precision",),
            _same("compute.precision"),
            "float32, tf32, bfloat16 or float16.",
            _text("NAME"),
        ),
        Option(
            ("--batch-size",), _batch_size, "Regions per batch: auto or a number.", _text("SIZE")
        ),
        Option(
            ("--targets",), _same("score.targets"), "Model outputs: all, or 0,3,7-9.", _text("LIST")
        ),
        Option(
            ("--reduce",),
            _reduce,
            "Each output over its positions: none, sum, mean, max, center or index:POSITION.",
            _text("HOW"),
        ),
        Option(
            ("--scores",),
            _same("score.save"),
            "What to keep: delta, l2, contribution, centered, prediction.",
            _text("LIST"),
        ),
        Option(("--mutate",), _mutate, "Positions of the window to mutate.", _text("START:END")),
        Option(("--mutate-center",), _mutate_center, "Mutate the central WIDTH.", _number("WIDTH")),
        Option(("--plan",), _same("run.plan"), "What `yuzu precompute` wrote.", _text("PLAN.h5")),
        Option(
            ("--reverse-complement/--no-reverse-complement",),
            _same("compute.reverse_complement"),
            "Average over both strands.",
            {"default": None},
        ),
        Option(
            ("--shifts",),
            _same("compute.shifts"),
            "Average over the window moved by these: 0,1,-1.",
            _text("LIST"),
        ),
        Option(
            ("--shard",),
            _same("run.shard"),
            "Only part I of N, from 1; auto asks SLURM or RANK and WORLD_SIZE.",
            _text("I/N"),
        ),
        Option(
            ("--verify",),
            _same("compute.verify"),
            "Mutants of your sequences compared with naive; 0 for none.",
            _number("COUNT"),
        ),
        Option(
            ("--resume/--no-resume",),
            _same("run.resume"),
            "Continue an unfinished output (the default), or start over.",
            {"default": None},
        ),
        Option(("--force",), _same("run.force"), "Replace an existing output.", _FLAG),
        Option(
            ("--dry-run",),
            _same("run.dry_run"),
            "Regions, mutants, cost, memory and disk; then stop.",
            _FLAG,
        ),
        Option(
            ("--progress/--no-progress",),
            _same("run.progress"),
            "Progress bar (by default only on a terminal).",
            {"default": None},
        ),
    )
}


def config_options(*params: str) -> Callable[[Function], Function]:
    """Decorator: `-c/--config` and the named options of the table, all when none is named.

    The command receives `config` and one argument per option, None (or empty) when not given.
    """
    chosen = [OPTIONS[param] for param in params or OPTIONS]

    def decorate(function: Function) -> Function:
        for option in reversed(chosen):
            # No prompts, no environment variables: a run is its command line and config.
            function = click.option(*option.names, help=option.help, **option.more)(function)
        return click.option("-c", "--config", metavar="CONFIG", help="YAML file of settings.")(
            function
        )

    return decorate


def verbosity_options(function: Function) -> Function:
    """Decorator: `-v`, `-q` and `--debug`."""
    function = click.option("--debug", is_flag=True, help="Tracebacks, and every detail.")(function)
    function = click.option("-q", "--quiet", is_flag=True, help="Only warnings and errors.")(
        function
    )
    return click.option("-v", "--verbose", count=True, help="More detail; -vv for all of it.")(
        function
    )


def read_config(params: Mapping[str, Any]) -> RunConfig:
    """The configuration that a command's arguments ask for.

    Parameters
    ----------
    params : mapping
        The keyword arguments of the command, `config` among them.

    Raises
    ------
    UsageError
        The config file or an option is at fault.
    """
    from yuzu_cli.config import load_config

    if params.get("mutate") is not None and params.get("mutate_center") is not None:
        raise UsageError("--mutate-center", "given beside --mutate", "give one of them")
    overrides: dict[str, Any] = {}
    options: dict[str, str] = {}
    for param, option in OPTIONS.items():
        value = params.get(param)
        if value is None or value == ():
            continue
        for key, setting in option.keys(value).items():
            if setting is None and overrides.get(key) is not None:
                continue  # another option was given that sets this key
            overrides[key] = setting
            options[key] = option.names[-1].split("/")[0]
    if params.get("verbose") or params.get("quiet"):
        overrides["run.verbosity"] = -1 if params.get("quiet") else min(params["verbose"], 2)
    if params.get("debug"):
        overrides["run.debug"] = True
    return load_config(params.get("config"), overrides, options=options)
