"""One call of the benchmark: suites measured case by case, the report written after each.

A call that was stopped is continued by the same call: what stands in the report is not measured
again. May not: read the command line, or print.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from yuzu_cli.bench.backends import backend_method, every_backend
from yuzu_cli.bench.machine import describe
from yuzu_cli.bench.measure import Note, Row, measure
from yuzu_cli.bench.methods import Method
from yuzu_cli.bench.papers.suites import Suite, cases_of
from yuzu_cli.bench.peers import peer_method
from yuzu_cli.bench.report import Report, Section, load, write
from yuzu_cli.bench.subject import Case
from yuzu_cli.bench.workers import side_by_side
from yuzu_cli.engine.device import resolve_device
from yuzu_cli.errors import InputError

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure; see `yuzu bench --help`."""

    backends: tuple[str, ...] | None = None  # None: what each suite asks for
    peers: tuple[str, ...] | None = None
    full: bool = False
    rounds: int = 5
    seconds: float = 10.0  # for each method on each case, in about
    device: str = "cpu"  # of the suites' cases
    fastism_python: str | None = None  # Python of an environment with fastISM
    jobs: int = 1  # processes that measure cases side by side, each with its share of the threads


@dataclass(frozen=True, slots=True)
class Job:
    """A case of a suite, and what it is measured by."""

    suite: str
    case: Case
    backends: tuple[str, ...]
    peers: tuple[str, ...]
    keep: bool  # the compared values too

    @property
    def key(self) -> str:
        """What tells it from others; the same for a case that several tables have."""
        return f"{self.case.key} {self.keep} {' '.join(self.names)}"

    @property
    def names(self) -> tuple[str, ...]:
        """Of all methods."""
        return (*self.backends, *self.peers)

    def methods(self, options: Options) -> list[Method]:
        """The methods themselves; raises `UsageError` where there is none of a name."""
        others = [peer_method(name, options.fastism_python) for name in self.peers]
        return [*map(backend_method, self.backends), *others]

    def steps(self, options: Options) -> int:
        """How much is told of it: each method made ready, and each round."""
        return len(self.names) * (1 + options.rounds)


def jobs_of(suites: Sequence[Suite], options: Options) -> list[Job]:
    """All that is asked for, in order; a wrong name is told now."""
    device, example, full = str(resolve_device(options.device)), example_files(), options.full
    jobs = []
    for suite in suites:
        backends = tuple(options.backends or suite.backends or every_backend())
        if "naive" not in backends:
            backends = ("naive", *backends)  # all speed-ups are against it
        peers = tuple(suite.peers if options.peers is None else options.peers)
        own = suite.name == "bench"
        cases = suite.cases(full) if own else cases_of(suite, full, device, example)
        jobs += [Job(suite.name, case, backends, peers, suite.keep) for case in cases]
    for job in jobs:
        job.methods(options)
    return jobs


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
    jobs = jobs_of(suites, options)
    threads = max(1, torch.get_num_threads() // options.jobs)
    names = {job.case.device for job in jobs} or {options.device}
    about = describe(tuple(resolve_device(name) for name in sorted(names))) | {"threads": threads}
    plain = json.loads(json.dumps(asdict(options)))
    report = Report(about, command, plain, [Section(suite.name, suite.title) for suite in suites])
    known = _continued(report, folder, jobs)
    spent = report.seconds

    def written() -> None:
        """The rows that are there, in the order of the suites."""
        for section in report.sections:
            mine = [known.get(job.key, []) for job in jobs if job.suite == section.name]
            section.rows = [row for rows in mine for row in rows]
        report.seconds = spent + time.perf_counter() - began
        write(report, folder)

    wanted = {job.key: job for job in jobs}
    left = [job for key, job in wanted.items() if key not in known]
    total = sum(job.steps(options) for job in wanted.values())
    done, told = total - sum(job.steps(options) for job in left), 0

    def tell(job: Job, what: str) -> None:
        nonlocal told
        progress(done + min(told, job.steps(options)), total, what)
        told += 1

    for job, rows in _measured(left, options, threads, tell):
        known[job.key] = rows
        done, told = done + job.steps(options), 0
        progress(done, total, f"{job.case.label} is done")
        written()
    progress(total, total, "drawing")
    draw(report, folder)
    report.complete = True
    report.machine["load_average_at_end"] = round(os.getloadavg()[0], 2)
    written()
    return report


def _measured(
    left: Sequence[Job], options: Options, threads: int, tell: Callable[[Job, str], None]
) -> Iterable[tuple[Job, list[Row]]]:
    """The jobs with their rows, as they come."""
    if options.jobs == 1:
        return (_measure(job, options, partial(tell, job)) for job in left)
    # What is prepared for a model serves its other cases, so these stay in one process; so do all
    # with a method that takes most of the memory, the longest group, which comes first.
    groups: dict[tuple[object, ...], list[Job]] = {(): []}
    for job in left:
        greedy = any(method.greedy for method in job.methods(options))
        group = () if greedy else (job.suite, job.case.model, job.case.length)
        groups.setdefault(group, []).append(job)
    tasks = [group for group in groups.values() if group]
    return side_by_side(partial(_measure, options=options), tasks, options.jobs, threads)


def _measure(job: Job, options: Options, note: Note = lambda what: None) -> tuple[Job, list[Row]]:
    methods, rounds, seconds = job.methods(options), options.rounds, options.seconds
    rows = measure(job.case, methods, rounds=rounds, seconds=seconds, keep=job.keep, note=note)
    return job, rows


def _continued(report: Report, folder: Path, jobs: Sequence[Job]) -> dict[str, list[Row]]:
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
    there = {
        (section.name, rows[0].case.key, tuple(row.method for row in rows)): rows
        for section in earlier.sections
        for rows in section.by_case()
    }
    places = {job.key: (job.suite, job.case.key, job.names) for job in jobs}
    known = {key: there[place] for key, place in places.items() if place in there}
    if known:
        logger.info("%d cases are there from a call that was stopped", len(known))
        report.seconds = earlier.seconds
    return known


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
