"""Options that are also keys of the config: one table, so that no two commands differ in a name.

An option that was not given leaves its key alone; one that was given wins over the config file.
Texts go to `yuzu_cli.config` as they are: it alone knows which values are right.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from yuzu_cli.cli import _console
from yuzu_cli.errors import UsageError

if TYPE_CHECKING:
    from yuzu_cli.config import RunConfig

Function = TypeVar("Function", bound=Callable[..., Any])


def _same(key: str) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {key: value}


def _models(value: tuple[str, ...]) -> dict[str, Any]:
    return {"model.path": list(value)}


def _fasta(value: str) -> dict[str, Any]:
    return {"input.bed": None, "input.genome": None, "input.fasta": value}


def _bed(value: str) -> dict[str, Any]:
    return {"input.fasta": None, "input.bed": value}


def _counted(key: str) -> Callable[[str], dict[str, Any]]:
    """Of a key that takes numbers and words."""
    return lambda value: {key: int(value) if re.fullmatch(r"-?\d+", value) else value}


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


@functools.cache
def descriptions() -> dict[str, str]:
    """What each key of the config is about, from the JSON Schema that ships: the only texts."""
    text = Path(__file__).parent.with_name("config.schema.json").read_text(encoding="utf-8")
    tree = json.loads(text)
    found: dict[str, str] = {}
    for section, reference in tree["properties"].items():
        keys = tree["$defs"][reference["$ref"].rpartition("/")[2]]["properties"]
        found |= {f"{section}.{key}": facts["description"] for key, facts in keys.items()}
    return found


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its names, the keys it is about, what it sets, and what click needs to know."""

    names: tuple[str, ...]
    about: str
    keys: Callable[[Any], dict[str, Any]]
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def param(self) -> str:
        """Name of the function argument."""
        return self.names[-1].split("/")[0].removeprefix("--").replace("-", "_")

    @property
    def help(self) -> str:
        """What the config says of its keys, as a sentence."""
        text = "; ".join(descriptions()[key] for key in self.about.split())
        return f"{text[:1].upper()}{text[1:]}."


def _option(
    names: str, about: str, keys: Callable[[Any], dict[str, Any]] | None = None, **more: Any
) -> Option:
    """An option that sets the one key it is about to what is given, or what `keys` makes of it."""
    return Option(tuple(names.split()), about, keys or _same(about), more)


_FLAG: dict[str, Any] = {"is_flag": True, "default": None}
_PAIR: dict[str, Any] = {"default": None}
_NUMBER: dict[str, Any] = {"type": int}

#: In the order in which `--help` shows them.
OPTIONS: dict[str, Option] = {
    option.param: option
    for option in (
        _option("-m --model", "model.path", _models, metavar="MODEL", multiple=True),
        _option("-f --fasta", "input.fasta", _fasta, metavar="FASTA"),
        _option("-b --bed", "input.bed", _bed, metavar="BED"),
        _option("-g --genome", "input.genome", metavar="GENOME"),
        _option("-o --output", "output.path", metavar="OUT.h5"),
        _option("-l --length", "input.length", metavar="LENGTH", **_NUMBER),
        _option("--backend", "compute.backend", metavar="NAME"),
        _option("--taylor-from", "taylor.start", metavar="WHERE"),
        _option("--exact-top", "taylor.exact_top", metavar="SHARE", type=float),
        _option("--device", "compute.device", metavar="NAME"),
        _option("--precision", "compute.precision", metavar="NAME"),
        _option(
            "--batch-size", "compute.batch_size", _counted("compute.batch_size"), metavar="SIZE"
        ),
        _option("--model-output", "model.output", _counted("model.output"), metavar="OUTPUT"),
        _option("--layout", "model.layout", metavar="AXES"),
        _option("--target-names", "model.target_names", metavar="FILE"),
        _option("--alphabet", "model.alphabet", metavar="LETTERS"),
        _option("--center", "input.center", metavar="WHERE"),
        _option("--edge", "input.edge", metavar="HOW"),
        _option("--targets", "score.targets", metavar="LIST"),
        _option("--reduce", "score.reduce score.index", _reduce, metavar="HOW|index:I"),
        _option("--scores", "score.save", metavar="LIST"),
        _option("--mutate", "mutate.start mutate.end", _mutate, metavar="START:END"),
        _option("--mutate-center", "mutate.center", _mutate_center, metavar="WIDTH", **_NUMBER),
        _option("--plan", "run.plan", metavar="PLAN.h5"),
        _option(
            "--reverse-complement/--no-reverse-complement", "compute.reverse_complement", **_PAIR
        ),
        _option("--shifts", "compute.shifts", metavar="LIST"),
        _option("--shard", "run.shard", metavar="I/N"),
        _option("--verify", "compute.verify", metavar="COUNT", **_NUMBER),
        _option("--resume/--no-resume", "run.resume", **_PAIR),
        _option("--force", "run.force", **_FLAG),
        _option("--dry-run", "run.dry_run", **_FLAG),
        _option("--progress/--no-progress", "run.progress", **_PAIR),
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
        text = "Any key of the config, e.g. --set model.output=counts; repeat it for several."
        function = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help=text)(
            function
        )
        text = "YAML file of settings; options win over it."
        return click.option("-c", "--config", metavar="CONFIG", help=text)(function)

    return decorate


def output_option(metavar: str, text: str, **more: Any) -> Callable[[Function], Function]:
    """Decorator: `-o/--output`, a path that has to be given, as the argument `output`."""
    kind = click.Path(path_type=Path, **more)
    return click.option("-o", "--output", required=True, type=kind, metavar=metavar, help=text)


def verbosity_options(function: Function) -> Function:
    """Decorator: `-v`, `-q` and `--debug`."""
    debug = f"{descriptions()['run.debug'].capitalize()}."
    function = click.option("--debug", is_flag=True, help=debug)(function)
    function = click.option("-q", "--quiet", is_flag=True, help="Only warnings and errors.")(
        function
    )
    more = "More of what happens; twice for all of it."
    return click.option("-v", "--verbose", count=True, help=more)(function)


def _settings(pairs: Sequence[str]) -> dict[str, Any]:
    """What `--set KEY=VALUE` asks for; a value is written as in the config, in YAML."""
    import yaml

    from yuzu_cli.yaml12 import read_yaml

    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not re.fullmatch(r"\w+\.\w+", key):
            hint = "e.g. --set compute.seed=3; docs/config.md has the keys"
            raise UsageError("--set", f"{pair!r} is not SECTION.KEY=VALUE", hint)
        if key in found:
            raise UsageError("--set", f"{key} is given twice")
        try:
            found[key] = read_yaml(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            what = getattr(error, "problem", None) or str(error)
            raise UsageError(f"--set {key}", f"{text!r} is no YAML: {what}") from None
    return found


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
    overrides = _settings(params.get("settings") or ())
    options = {key: f"--set {key}" for key in overrides}
    for param, option in OPTIONS.items():
        value = params.get(param)
        if value is None or value == ():
            continue
        for key, setting in option.keys(value).items():
            if setting is None and overrides.get(key) is not None:
                continue  # another option was given that sets this key
            name = option.names[-1].split("/")[0]
            if options.get(key, "").startswith("--set "):
                raise UsageError(name, f"sets {key}, which --set gives too", "give one of them")
            overrides[key], options[key] = setting, name
    if params.get("verbose") or params.get("quiet"):
        overrides["run.verbosity"] = -1 if params.get("quiet") else min(params["verbose"], 2)
    if params.get("debug"):
        overrides["run.debug"] = True
    beside = params.get("beside", True)
    config = load_config(params.get("config"), overrides, options=options, beside=beside)
    _console.debug = _console.debug or config.run.debug
    return config
