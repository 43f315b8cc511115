"""`yuzu bench`: the methods side by side."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yuzu_cli.cli import _console
from yuzu_cli.cli._options import config_options, output_option, read_config, verbosity_options
from yuzu_cli.errors import ModelError, UsageError
from yuzu_cli.ready import check_inputs
from yuzu_cli.selection import split

if TYPE_CHECKING:
    from yuzu_cli.bench.papers.suites import Suite
    from yuzu_cli.bench.report import Report
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
@config_options(
    *("fasta", "bed", "genome", "model_output", "targets", "reduce", "mutate", "mutate_center")
)
@click.option(
    "--suite",
    "suites",
    multiple=True,
    metavar="NAME",
    help="Tables and figures of papers: yuzu-fig2, yuzu-fig3a, yuzu-fig3bc, fastism-table1, "
    "tism-table1, tism-table2, tism-fig1a, or all.",
)
@click.option("--full", is_flag=True, help="Suites at the size of their papers: hours on a CPU.")
@click.option("--backends", metavar="LIST", help="naive,windowed,yuzu:orthogonal; default: all.")
@click.option(
    "--peers",
    metavar="LIST",
    help="naive-compiled, yuzu-ism, tangermeme, tangermeme-fast, captum, fastism, "
    "gradient-x-input, integrated-gradients, deeplift, or none.",
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
    help="Timed runs of each method, in turn; up to twice as many where they differ.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.01),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="For each method on each case, in about; slow ones are run on some positions.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="COUNT",
    help="Cases measured side by side, in processes that share the threads.",
)
@click.option(
    "--against",
    metavar="JSON",
    help="An earlier bench.json: say what became slower since; exit 1 if anything did.",
)
@output_option(
    "DIR",
    "Folder of bench.json, bench.tsv, bench.txt and the pictures; continued if unfinished.",
    file_okay=False,
)
@click.option(
    "--progress/--no-progress", default=None, help="Progress bar (by default only on a terminal)."
)
@verbosity_options
def command(output: Path, progress: bool | None, against: str | None, **given: Any) -> int:
    """Time every method on a model, and compare its scores with naive mutagenesis.

    Methods take turns in one process; times are medians. Errors are measured on some mutants
    against naive mutagenesis in double precision. Sequences are random unless they are given.

    \b
    Examples:
      yuzu bench -m model.pt -l 500 -o bench_out
      yuzu bench -c run.yaml -f peaks.fa --targets 3 --mutate-center 100 -o bench_out
      yuzu bench --arch basset,bpnet4 -l 500,1000 --peers tangermeme -o bench_out
      yuzu bench --suite all -o bench_out
      yuzu bench --suite all --against earlier/bench.json -o bench_out
    """
    with _console.loading():
        from yuzu_cli.bench.report import as_text, load
        from yuzu_cli.bench.run import Options, run

    earlier = load(Path(against)) if against else None
    devices = _names(given["devices"])
    options = Options(
        backends=_names(given["backends"]) or None,
        peers=_names(given["peers"]) if given["peers"] is not None else None,
        full=given["full"],
        rounds=given["rounds"],
        seconds=given["seconds"],
        device=(devices or ("auto",))[0],
        fastism_python=given["fastism_python"],
        jobs=given["jobs"],
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
    return _slower(report, earlier) if earlier else 0


def _slower(report: Report, earlier: Report) -> int:
    """Say what changed since an earlier report; 1 when anything became slower."""
    from yuzu_cli.bench.against import as_text, compare

    changes = compare(report, earlier)
    click.echo("\n" + as_text(changes, report, earlier), nl=False)
    return int(any(change.verdict == "slower" for change in changes))


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


def _suites(given: dict[str, Any]) -> list[Suite]:
    """What was asked for: cases of one's own first, then suites."""
    from yuzu_cli.bench.papers.suites import custom, get_suites

    archs = _names(",".join(given["archs"]))
    config = read_config(given | {"model": given["models"]})
    models = [*config.model.path, *archs]
    lengths = _numbers("--length", given["lengths"])
    if not lengths and config.input.length and not archs:
        lengths = [config.input.length]
    suites: list[Suite] = []
    if models or lengths:
        kept = _kept(config)
        if archs and ("model" in kept or "score" in kept):
            raise UsageError("--arch", "takes no settings of outputs", "give them with --model")
        own = custom(
            models,
            lengths,
            sequences=_numbers("--sequences", given["counts"]) or [1],
            batches=_numbers("--batch-size", given["batches"]) or [None],
            precisions=_names(given["precisions"]),
            devices=_names(given["devices"]),
            width=given["width"],
            seed=given["seed"],
            score=given["score"],
            config=kept or None,
        )
        suites.append(own)
    for name in _names(",".join(given["suites"])):
        suites += get_suites(name)
    if not suites:
        raise UsageError("yuzu bench", "nothing to measure", "give --model, --arch or --suite")
    check_inputs(config)
    return suites


def _kept(config: RunConfig) -> dict[str, Any]:
    """What a config says of models, sequences and positions, as plain values; no defaults."""
    others = {"model": {"path"}, "input": {"length"}, "score": {"save", "dtype"}, "mutate": set()}
    plain = config.model_dump(mode="json", include=set(others), exclude_defaults=True)
    kept = {
        section: {key: value for key, value in part.items() if key not in others[section]}
        for section, part in plain.items()
    }
    return {section: part for section, part in kept.items() if part}
