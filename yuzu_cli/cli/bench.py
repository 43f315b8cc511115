"""`yuzu bench`: the methods side by side."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yuzu_cli.cli import _console
from yuzu_cli.cli._options import config_options, read_config, verbosity_options
from yuzu_cli.errors import ModelError, UsageError
from yuzu_cli.ready import check_inputs
from yuzu_cli.selection import split

if TYPE_CHECKING:
    from yuzu_cli.bench.suites import Suite
    from yuzu_cli.config import RunConfig


def _numbers(name: str, texts: tuple[str, ...]) -> list[int]:
    """`100,200` and repeated options to whole numbers above zero."""
    try:
        found = [number for text in texts for number in split(text)]
    except ValueError as error:
        raise UsageError(name, str(error).partition("; ")[0], "like 500 or 500,1000") from None
    for number in found:
        if not isinstance(number, int) or not number:
            raise UsageError(name, f"{number!r} is not a number above zero", "like 500 or 500,1000")
    return [number for number in found if isinstance(number, int)]


def _names(text: str | None) -> tuple[str, ...]:
    """`a,b` to names; nothing for `none`."""
    parts = [part.strip() for part in (text or "").split(",")]
    return tuple(part for part in parts if part not in ("", "none"))


@click.command("bench", short_help="Times and errors of the methods side by side.")
@click.option(
    "-m", "--model", "models", multiple=True, metavar="MODEL", help="A model file; repeatable."
)
@click.option(
    "--arch",
    "archs",
    multiple=True,
    metavar="NAME",
    help="A published architecture with random weights, or several: basset,bpnet9.",
)
@click.option(
    "-l", "--length", "lengths", multiple=True, metavar="LENGTH", help="Letters; 500 or 500,1000."
)
@config_options("fasta", "targets", "reduce", "mutate_center", "model_output")
@click.option(
    "--suite",
    "suites",
    multiple=True,
    metavar="NAME",
    help="Tables and figures of papers: yuzu-fig2, yuzu-fig3, fastism-table1, tism-table1, "
    "tism-table2, tism-fig2, or all.",
)
@click.option("--full", is_flag=True, help="Suites at the size of their papers: hours on a CPU.")
@click.option("--backends", metavar="LIST", help="naive,windowed,yuzu:orthogonal; default: all.")
@click.option(
    "--peers",
    metavar="LIST",
    help="yuzu-ism, tangermeme, captum, fastism, gradient-x-input, integrated-gradients, deeplift, "
    "or none.",
)
@click.option(
    "--fastism-python", metavar="PYTHON", help="Python of an environment that has fastISM."
)
@click.option(
    "--sequences", "counts", multiple=True, metavar="COUNT", help="How many sequences; 1 or 1,8."
)
@click.option(
    "--batch-size", "batches", multiple=True, metavar="SIZE", help="Sequences at a time; 1 or 1,8."
)
@click.option(
    "--precision",
    "precisions",
    metavar="LIST",
    default="float32",
    show_default=True,
    help="float32, tf32, bfloat16, float16.",
)
@click.option(
    "--device",
    "devices",
    metavar="LIST",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda or cuda:N.",
)
@click.option(
    "--score",
    type=click.Choice(["auto", "delta", "l2"]),
    default="auto",
    show_default=True,
    help="What is computed; auto: deltas, or l2 where they would be too large.",
)
@click.option("--width", type=float, default=1.0, metavar="FACTOR", help="Times the channels.")
@click.option("--seed", type=int, default=0, metavar="SEED", help="Of weights and sequences.")
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    metavar="COUNT",
    help="Timed runs of each method, in turn.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.01),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="For each method on each case, in about; naive is cut to fit.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of bench.json, bench.tsv, bench.txt and the pictures.",
)
@click.option(
    "--progress/--no-progress", default=None, help="Progress bar (by default only on a terminal)."
)
@verbosity_options
def command(output: Path, progress: bool | None, **given: Any) -> None:
    """Time every method on a model, and compare its scores with naive mutagenesis.

    Methods take turns in one process; times are medians. Errors are measured on some mutants
    against naive mutagenesis in double precision.

    \b
    Examples:
      yuzu bench -m model.pt -l 500 -o bench_out
      yuzu bench -c run.yaml -f sequences.fa --mutate-center 100 -o bench_out
      yuzu bench --arch basset,bpnet4 -l 500,1000 --peers tangermeme -o bench_out
      yuzu bench --suite all -o bench_out
    """
    from yuzu_cli.bench.report import as_text
    from yuzu_cli.bench.run import Options, run

    devices = _names(given["devices"])
    options = Options(
        backends=_names(given["backends"]) or None,
        peers=_names(given["peers"]) if given["peers"] is not None else None,
        full=given["full"],
        rounds=given["rounds"],
        seconds=given["seconds"],
        device=(devices or ("auto",))[0],
        fastism_python=given["fastism_python"],
    )
    suites = _suites(given)
    line = shlex.join(["yuzu", *sys.argv[1:]])
    bar = _Bar(progress)
    with _console.messages(-1 if given["quiet"] else min(given["verbose"], 2)), bar:
        report = run(suites, options, output, command=line, progress=bar.at)
    click.echo(as_text(report), nl=False)
    rows = [row for section in report.sections for row in section.rows]
    if rows and all(row.status != "ok" for row in rows):
        raise ModelError("yuzu bench", "no method could run", "each one's reason is above")


class _Bar(_console.Progress):
    """A progress bar that also says what is being timed."""

    def __init__(self, show: bool | None) -> None:
        super().__init__(show, unit="timings")

    def at(self, done: int, total: int, what: str) -> None:
        """Note what comes next."""
        self(done, total)
        if _console.Progress.bar is not None:
            _console.Progress.bar.set_postfix_str(what)
        else:
            _console.logger.debug(what)


def yaml_of(config: RunConfig) -> str:
    """What a config says of its models and their positions; empty when nothing."""
    from yuzu_cli.yaml12 import write_yaml

    sections = {"model": {"path"}, "score": {"save", "dtype"}, "mutate": set[str]()}
    found: dict[str, Any] = {}
    for section, others in sections.items():
        part = getattr(config, section)
        default = type(part)().model_dump()
        told = {k: v for k, v in part.model_dump(exclude=others).items() if v != default[k]}
        found |= {section: told} if told else {}
    return write_yaml(found) if found else ""


def _suites(given: dict[str, Any]) -> list[Suite]:
    """What was asked for: cases of one's own first, then suites."""
    from yuzu_cli.bench.suites import SUITES, Grid, custom, get_suite

    archs = _names(",".join(given["archs"]))
    config = read_config(given | {"model": given["models"]})
    models = [*config.model.path, *archs]
    lengths = _numbers("--length", given["lengths"])
    if not lengths and config.input.length and not archs:
        lengths = [config.input.length]
    asked = yaml_of(config)
    if asked and archs and not config.model.path:
        hint = "give them with --model"
        raise UsageError("--arch", "takes no settings of outputs, targets and positions", hint)
    suites: list[Suite] = []
    if models or lengths:
        grid = Grid(
            models=models,
            lengths=lengths,
            counts=_numbers("--sequences", given["counts"]) or [1],
            batches=_numbers("--batch-size", given["batches"]) or [None],
            precisions=_names(given["precisions"]),
            devices=_names(given["devices"]),
            width=given["width"],
            seed=given["seed"],
            score=given["score"],
            fasta=config.input.fasta,
            config=asked,
        )
        suites.append(custom(grid))
    for name in _names(",".join(given["suites"])):
        suites += SUITES.values() if name == "all" else [get_suite(name)]
    if not suites:
        raise UsageError("yuzu bench", "nothing to measure", "give --model, --arch or --suite")
    check_inputs(config)
    return suites
