"""One case, all methods: prepared, checked against the truth, timed in turn; rows come out.

What a method cannot do, or raises, is its result and stands in its row. May not: print or write.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from yuzu_cli.bench.clock import Gauge, Sample, Timing, alternate
from yuzu_cli.bench.machine import matrix_rate
from yuzu_cli.bench.methods import ESTIMATE, EXACT, CannotRun, Found, Method
from yuzu_cli.bench.stats import NAN, Agreement, agreement, pearson, quartiles
from yuzu_cli.bench.subject import Case, Subject, ready
from yuzu_cli.errors import YuzuError
from yuzu_cli.heap import Heap

SMALL = 1e-5
"""An error below this share of the largest effect passes for rounding."""

FAR = 2.0
"""How many times naive's own rounding, on the mutants compared, another's may be."""

CLEARLY = 5e-4
"""Share of the largest effect beyond which an error is no matter of rounding."""

Note = Callable[[str], None]


@dataclass(slots=True)
class Row:
    """One method on one case; numbers that could not be had are NaN."""

    case: Case
    method: str
    claim: str
    status: str = "ok"  # or `cannot` (said so itself), or `failed` (raised)
    error: str = ""  # why, in its own words
    samples: list[Sample] = field(default_factory=list)  # as measured, for `share` of the case
    share: float = 1.0  # how much of the case was run; all below is scaled from it
    seconds: float = NAN  # for the whole case, by the clock: median and quartiles
    seconds_low: float = NAN
    seconds_high: float = NAN
    cpu_seconds: float = NAN  # the same by processor time
    cpu_low: float = NAN
    cpu_high: float = NAN
    per_sequence: float = NAN
    mutants_per_second: float = NAN
    speedup: float = NAN  # against naive, by the clock and by processor time
    speedup_cpu: float = NAN
    prepare_seconds: float = NAN  # getting ready, and bytes of the host that it took
    prepare_peak: float = NAN
    host_peak: float = NAN  # bytes over what was in use before
    device_peak: float = NAN
    agreement: Agreement | None = None  # with the truth
    compared: str = ""  # `delta`, `l2` or `sum`
    verdict: str = ""  # see `verdict`; empty where there is none
    useful_share: float = NAN  # needed multiply-adds a second, of the matrix-product rate
    own_share: float = NAN  # the same of those that the method itself does
    extra: dict[str, Any] = field(default_factory=dict)  # facts of the method, and what is drawn


def measure(
    case: Case,
    methods: Sequence[Method],
    *,
    rounds: int = 5,
    seconds: float = 10.0,
    keep: bool = False,
    note: Note = lambda what: None,
) -> list[Row]:
    """Measure every method on a case, a row for each.

    Parameters
    ----------
    rounds : int
        Timed runs of each method, at most; more where the spread is large.
    seconds : float
        Spent on one method, in about; at least one run is timed.
    keep : bool
        Keep the compared values of estimates in the rows, to be drawn.
    note : function
        Told what is being done.
    """
    rows = [Row(case, method.name, method.claim) for method in methods]
    found: dict[str, Found] = {}
    try:
        with ready(case) as subject:
            heap = Heap()
            for method, row in zip(methods, rows, strict=True):
                note(f"{case.label}: preparing and checking {method.name}")
                _prepare(method, row, subject, seconds / rounds, found)
                heap.trim()  # other cases may be measured beside this one
            _time(subject, methods, rows, rounds, seconds, note)
            judge(rows, found, subject)
            if keep:
                _keep(rows, found, subject)
    except YuzuError as error:
        for row in rows:
            row.status, row.error = "cannot", str(error)
    return rows


def _prepare(
    method: Method, row: Row, subject: Subject, seconds: float, found: dict[str, Found]
) -> None:
    """Make a method ready, warm it up, and note what it says of the mutants of the truth."""
    try:
        with Gauge(subject.device) as gauge:
            began = time.perf_counter()
            method.prepare(subject)
            row.prepare_seconds = time.perf_counter() - began
        row.prepare_peak = gauge.host
        row.extra |= method.facts()
        said = method.check()
        if said is not None:
            found[method.name] = said
        row.share = method.plan(seconds)
        if method.tried:
            row.extra["tried"] = method.tried
    except CannotRun as error:
        row.status, row.error = "cannot", _one_line(error)
    except Exception as error:  # whatever a method raises is its result
        row.status, row.error = "failed", _one_line(error)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, (CannotRun, YuzuError)):
        return text
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({frame.name}, line {frame.lineno})" for frame in last)
    return f"{type(error).__name__}: {text[:300]}{where}"


def _time(
    subject: Subject,
    methods: Sequence[Method],
    rows: list[Row],
    rounds: int,
    seconds: float,
    note: Note,
) -> None:
    """Time the methods that are ready, in turn, and put what that says into their rows."""
    able = {m.name: (m, row) for m, row in zip(methods, rows, strict=True) if row.status == "ok"}
    rate = matrix_rate(subject.device, subject.settings.dtype)
    timings = alternate(
        {name: method.run for name, (method, _) in able.items()},
        subject.device,
        rounds=rounds,
        seconds=seconds,
        note=lambda name: note(f"{subject.case.label}: timing {name}"),
    )
    for name, timing in timings.items():
        fill(able[name][1], timing, len(subject.codes), subject.mutants)
    compare_speed(rows)
    macs = {name: method.macs() for name, (method, _) in able.items()}
    shares_of_rate(rows, macs, subject.mutants, rate)


def fill(row: Row, timing: Timing, sequences: int, mutants: int) -> None:
    """Put what was timed into a row, scaled to the whole case: sequences, and mutants of each."""
    if timing.error is not None:
        row.status, row.error = "failed", _one_line(timing.error)
        return
    row.samples = timing.samples
    row.host_peak, row.device_peak = timing.host_peak, timing.device_peak
    wall = quartiles([sample.wall for sample in timing.samples])
    row.seconds_low, row.seconds, row.seconds_high = (value / row.share for value in wall)
    cpu = quartiles([sample.cpu for sample in timing.samples])
    row.cpu_low, row.cpu_seconds, row.cpu_high = (value / row.share for value in cpu)
    row.per_sequence = row.seconds / sequences
    row.mutants_per_second = mutants / row.per_sequence


def compare_speed(rows: Sequence[Row]) -> None:
    """Speed-ups over the row of naive, if there is one."""
    naive = next((row for row in rows if row.method == "naive"), None)
    if naive is None:
        return
    for row in rows:
        row.speedup = naive.seconds / row.seconds
        if row.case.device == "cpu":  # elsewhere the processors only start the work
            row.speedup_cpu = naive.cpu_seconds / row.cpu_seconds


def shares_of_rate(rows: Sequence[Row], macs: dict[str, float], mutants: int, rate: float) -> None:
    """What share of the matrix-product rate is reached, by needed and by own multiply-adds.

    Needed are the fewest that any exact method counts.
    """
    exact = [macs[r.method] for r in rows if r.claim == EXACT and macs.get(r.method, 0) > 0]
    needed = min(exact, default=NAN)
    for row in rows:
        row.extra["matrix_rate"] = rate
        per_second = row.mutants_per_second / rate
        row.own_share = macs.get(row.method, NAN) * per_second
        if row.claim == EXACT:
            row.useful_share = needed * per_second


def judge(rows: Sequence[Row], found: dict[str, Found], subject: Subject) -> None:
    """Compare what the methods say with the truth."""
    naive = found.get("naive")
    for row in rows:
        if row.method not in found or row.status == "failed":
            continue
        said = found[row.method]
        truth = as_kind(subject.truth.delta, said.kind)
        own = 0.0
        if naive is not None:
            own = agreement(as_kind(naive.values, said.kind), truth).largest
        row.compared = said.kind
        row.agreement = agreement(said.values, truth if said.seen is None else truth[said.seen])
        row.extra["double"] = subject.truth.double
        # Against a truth that rounds as much as they do, no method can be found imprecise.
        if subject.truth.double or row.claim == ESTIMATE or row.agreement.missing:
            row.verdict = verdict(row.claim, row.agreement, own)


def as_kind(delta: np.ndarray, kind: str) -> np.ndarray:
    """Deltas (E, T) as what a method returns: themselves, `l2` (E,) or `sum` (E,)."""
    if kind == "delta":
        return delta
    wide = delta.astype(np.float64)
    return np.sqrt(np.sum(wide**2, axis=1)) if kind == "l2" else wide.sum(axis=1)


def verdict(claim: str, seen: Agreement, naive_error: float) -> str:
    """`exact` when the error is that of rounding, `imprecise` when it is more but small, else
    `wrong`; `estimate` for those who say so.
    """
    if claim == ESTIMATE and not seen.missing:
        return ESTIMATE
    allowed = max(SMALL * seen.scale, FAR * naive_error)
    if seen.largest <= allowed:
        return "exact"
    return "imprecise" if seen.largest <= CLEARLY * seen.scale else "wrong"


def _keep(rows: Sequence[Row], found: dict[str, Found], subject: Subject) -> None:
    """True and said effects of estimates, and their correlation per sequence and target."""
    truth = subject.truth
    for row in rows:
        if row.claim != ESTIMATE or row.method not in found or found[row.method].kind != "delta":
            continue
        said = found[row.method].values
        row.extra["pearson_by_sequence"] = [
            pearson(said[truth.sequence == s, t].astype(float), truth.delta[truth.sequence == s, t])
            for s in np.unique(truth.sequence)
            for t in range(min(truth.delta.shape[1], 100))
        ]
        step = -(-said.size // 2000)
        row.extra["truth"] = truth.delta.ravel()[::step].tolist()
        row.extra["said"] = said.ravel()[::step].tolist()
