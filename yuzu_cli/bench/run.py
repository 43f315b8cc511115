"""One call of the benchmark: suites measured case by case, the report written after each.

A call that was stopped is continued by the same call: what stands in the report is not measured
again. May not: read the command line, or print.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from yuzu_cli.bench.machine import describe
from yuzu_cli.bench.measure import Row, measure, steps
from yuzu_cli.bench.methods import Method, backend_method, every_backend
from yuzu_cli.bench.papers.suites import SUITES, Suite, cases_of
from yuzu_cli.bench.peers import peer_method
from yuzu_cli.bench.report import Report, Section, load, write
from yuzu_cli.bench.subject import Case
from yuzu_cli.bench.workers import side_by_side
from yuzu_cli.engine.device import resolve_device
from yuzu_cli.errors import InputError, OutputError

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
Job = tuple[Suite, Case]


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
    jobs : int
        Processes that measure cases side by side, each with its share of the threads.
    """

    backends: tuple[str, ...] | None = None
    peers: tuple[str, ...] | None = None
    full: bool = False
    rounds: int = 5
    seconds: float = 10.0
    device: str = "cpu"
    fastism_python: str | None = None
    jobs: int = 1


def example_files() -> tuple[str, str] | None:
    """The trained model of the example and its sequences: from here, or of the package."""
    package = Path(__file__).parent.parent
    for root in (Path(), package.parent, package / "shipped"):
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
    threads = max(1, torch.get_num_threads() // options.jobs)
    jobs = [(suite, case) for suite in suites for case in _cases(suite, options)]
    for suite in suites:
        _methods(suite, options)  # so that a wrong name is told now
    devices = {case.device: resolve_device(case.device) for _, case in jobs}
    about = describe(tuple(devices.values()) or (device,)) | {"threads": threads}
    plain = json.loads(json.dumps(asdict(options)))
    report = Report(about, command, plain, [Section(suite.name, suite.title) for suite in suites])
    known = _continued(report, folder, {suite.name: suite.keep for suite in suites})
    spent = report.seconds

    def written() -> None:
        """The rows that are there, in the order of the suites."""
        for section in report.sections:
            keys = [
                _key(case, suite, options) for suite, case in jobs if suite.name == section.name
            ]
            section.rows = [row for key in keys for row in known.get(key, [])]
        report.seconds = spent + time.perf_counter() - began
        _write(report, folder)

    wanted = {_key(case, suite, options): (suite, case) for suite, case in jobs}
    total = sum(
        steps(len(names_of(suite, options)), options.rounds) for suite, _ in wanted.values()
    )
    left = {key: job for key, job in wanted.items() if key not in known}
    for key, rows in _measured(left, options, total, progress, threads):
        known[key] = rows
        written()
    progress(total, total, "drawing")
    draw(report, folder)
    report.complete = True
    report.machine["load_average_at_end"] = round(os.getloadavg()[0], 2)
    written()
    return report


def _measured(
    wanted: dict[str, Job], options: Options, total: int, progress: Progress, threads: int
) -> Iterator[tuple[str, list[Row]]]:
    """Key and rows of each case, as they come; `total` are the steps of those known before too."""
    done = total - sum(steps(len(names_of(s, options)), options.rounds) for s, _ in wanted.values())
    if options.jobs == 1:
        for key, (suite, case) in wanted.items():
            yield key, _one(suite, case, options, done, total, progress)
            done += steps(len(names_of(suite, options)), options.rounds)
        return
    # What is prepared for a model serves its other cases, so these stay in one process; so do all
    # with a method that takes most of the memory, the longest group, which comes first.
    groups: dict[tuple[object, ...], list[tuple[str, str, Case]]] = {(): []}
    for key, (suite, case) in wanted.items():
        greedy = any(method.greedy for method in _methods(suite, options))
        group = () if greedy else (suite.name, case.model, case.length)
        groups.setdefault(group, []).append((key, suite.name, case))
    tasks = [group for group in groups.values() if group]
    progress(done, total, f"{len(tasks)} groups of cases")
    for key, rows in side_by_side(partial(_apart, options=options), tasks, options.jobs, threads):
        done += steps(len(rows), options.rounds)
        progress(done, total, f"{rows[0].case.label} is done")
        yield key, rows


def _apart(given: tuple[str, str, Case], options: Options) -> tuple[str, list[Row]]:
    """Measure a case in another process; suites of one's own are all alike."""
    key, name, case = given
    suite = SUITES.get(name) or Suite(name, "", lambda full: [])
    return key, _one(suite, case, options, 0, 0, lambda done, total, what: None)


def _key(case: Case, suite: Suite, options: Options) -> str:
    return _key_of(case, suite.keep, names_of(suite, options))


def _key_of(case: Case, keep: bool, names: Sequence[str]) -> str:
    return f"{case.key} {keep} {' '.join(names)}"


def _continued(report: Report, folder: Path, keep: dict[str, bool]) -> dict[str, list[Row]]:
    """Rows that a call like this one left behind when it was stopped; its time is taken over."""
    try:
        earlier = load(folder / "bench.json")
    except InputError:
        return {}
    same = ("processor", "processors", "threads", "torch", "yuzu", "peers")
    alike = all(earlier.machine.get(name) == report.machine[name] for name in same)
    asked = [{**r.options, "jobs": 1} for r in (earlier, report)]  # which may change on the way
    if earlier.complete or asked[0] != asked[1] or not alike:
        return {}
    known: dict[str, list[Row]] = {}
    for section in earlier.sections:
        for rows in section.by_case():
            kept = keep.get(section.name, False)
            known[_key_of(rows[0].case, kept, [row.method for row in rows])] = rows
    if known:
        logger.info("%d cases are there from a call that was stopped", len(known))
        report.seconds = earlier.seconds
    return known


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
        made = min(made + 1, steps(len(names_of(suite, options)), options.rounds))

    return measure(
        case,
        _methods(suite, options),
        rounds=options.rounds,
        seconds=options.seconds,
        keep=suite.keep,
        note=note,
    )


def draw(report: Report, folder: Path) -> None:
    """The pictures, if the library for it is installed; else a warning."""
    try:
        from yuzu_cli.bench.charts import pictures
    except ModuleNotFoundError as error:
        logger.warning(
            "no pictures: %s is not installed; pip install 'yuzu-cli[plots]'", error.name
        )
        return
    report.pictures = pictures(report.sections, folder)


def _write(report: Report, folder: Path) -> None:
    try:
        write(report, folder)
    except OSError as error:
        raise OutputError(str(folder), error.strerror or str(error)) from error
