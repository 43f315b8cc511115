"""One call of the benchmark: suites measured case by case, the report written after each.

May not: read the command line, or print.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from yuzu_cli.bench.machine import describe
from yuzu_cli.bench.measure import Row, measure, steps
from yuzu_cli.bench.methods import Method, backend_method, every_backend
from yuzu_cli.bench.peers import peer_method
from yuzu_cli.bench.report import Report, Section, write
from yuzu_cli.bench.subject import Case
from yuzu_cli.bench.suites import Suite, cases_of
from yuzu_cli.engine.device import resolve_device
from yuzu_cli.errors import OutputError

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure; see `yuzu bench --help`.

    Attributes
    ----------
    backends, peers : tuple of str or None
        None for what each suite asks for.
    full : bool
    rounds : int
    seconds : float
        For each method on each case, in about.
    device : str
        Of the suites' cases.
    fastism_python : str or None
        Python of an environment with fastISM.
    """

    backends: tuple[str, ...] | None = None
    peers: tuple[str, ...] | None = None
    full: bool = False
    rounds: int = 5
    seconds: float = 10.0
    device: str = "cpu"
    fastism_python: str | None = None


def example_files() -> tuple[str, str] | None:
    """The trained model of the example and its sequences, from here or beside the package."""
    for root in (Path(), Path(__file__).parent.parent.parent):
        files = (root / "example_data/model.pt", root / "example_data/sequences.fa")
        if all(path.is_file() for path in files):
            return str(files[0]), str(files[1])
    return None


def run(
    suites: Sequence[Suite],
    options: Options,
    folder: Path,
    *,
    command: str = "",
    progress: Progress = lambda done, total, what: None,
) -> Report:
    """Measure the suites and write `bench.txt`, `bench.tsv`, `bench.json` and the charts.

    Parameters
    ----------
    suites : sequence of Suite
    options : Options
    folder : Path
        Made if it is not there.
    command : str
        For the record.
    progress : function of (done, total, what is being done)

    Raises
    ------
    UsageError
        There is no such backend, peer or device.
    OutputError
        The folder cannot be written to.
    """
    began = time.perf_counter()
    device = resolve_device(options.device)
    jobs = [(suite, case) for suite in suites for case in _cases(suite, options)]
    total = sum(steps(len(names_of(suite, options)), options.rounds) for suite, _ in jobs)
    for suite in suites:
        _methods(suite, options)  # so that a wrong name is told now
    devices = {case.device: resolve_device(case.device) for _, case in jobs}
    sections = {suite.name: Section(suite.name, suite.title, suite.about) for suite in suites}
    about = describe(tuple(devices.values()) or (device,))
    report = Report(about, command, _plain(options), list(sections.values()))
    done = 0
    before: dict[tuple[object, ...], list[Row]] = {}
    for suite, case in jobs:
        key = (case, suite.keep, *names_of(suite, options))
        if key not in before:  # tables share cases
            before[key] = _one(suite, case, options, done, total, progress)
        rows = before[key]
        done += steps(len(names_of(suite, options)), options.rounds)
        sections[suite.name].rows += rows
        report.seconds = time.perf_counter() - began
        _write(report, folder)
    for suite in suites:
        if suite.study is not None:
            progress(total, total, f"{suite.name}: one layer")
            sections[suite.name].lines = list(suite.study(options.full))
    progress(total, total, "drawing")
    draw(report, {suite.name: suite for suite in suites}, folder)
    report.seconds = time.perf_counter() - began
    _write(report, folder)
    return report


def _cases(suite: Suite, options: Options) -> list[Case]:
    if suite.name == "bench":
        return suite.cases(options.full)
    device = str(resolve_device(options.device))
    return cases_of(suite, options.full, device, example_files())


def names_of(suite: Suite, options: Options) -> list[str]:
    """Methods of a suite: backends, then peers."""
    backends = options.backends or suite.backends or tuple(every_backend())
    if "naive" not in backends:
        backends = ("naive", *backends)  # all speed-ups are against it
    return [*backends, *(suite.peers if options.peers is None else options.peers)]


def _methods(suite: Suite, options: Options) -> list[Method]:
    backends = set(options.backends or suite.backends or every_backend()) | {"naive"}
    return [
        backend_method(name) if name in backends else peer_method(name, options.fastism_python)
        for name in names_of(suite, options)
    ]


def _one(
    suite: Suite, case: Case, options: Options, done: int, total: int, progress: Progress
) -> list[Row]:
    made = 0

    def note(what: str) -> None:
        nonlocal made
        progress(done + made, total, what)
        made += 1

    return measure(
        case,
        _methods(suite, options),
        rounds=options.rounds,
        seconds=options.seconds,
        naive_seconds=options.seconds / options.rounds,
        keep=suite.keep,
        note=note,
    )


def draw(report: Report, suites: dict[str, Suite], folder: Path) -> None:
    """The charts of every section, if the library for it is installed; else a warning."""
    try:
        from yuzu_cli.bench.charts import CHARTS
    except ModuleNotFoundError as error:
        logger.warning(
            "no pictures: %s is not installed; pip install 'yuzu-cli[plots]'", error.name
        )
        return
    for section in report.sections:
        for name in suites[section.name].charts:
            path = folder / f"{section.name}-{name}.png"
            if CHARTS[name](section, path):
                section.charts.append(path.name)


def _write(report: Report, folder: Path) -> None:
    try:
        write(report, folder)
    except OSError as error:
        raise OutputError(str(folder), error.strerror or str(error)) from error


def _plain(options: Options) -> dict[str, object]:
    return {name: getattr(options, name) for name in options.__slots__}
