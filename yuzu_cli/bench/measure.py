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

from yuzu_cli.bench.clock import NAN, Gauge, Sample, Timing, alternate
from yuzu_cli.bench.machine import matrix_rate
from yuzu_cli.bench.methods import ESTIMATE, EXACT, CannotRun, Found, Method
from yuzu_cli.bench.stats import Agreement, agreement, pearson, spread
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
    """One method on one case; numbers that could not be had are NaN.

    Attributes
    ----------
    case : Case
    method, claim : str
    status : str
        `ok`, `cannot` (said so itself) or `failed` (raised).
    error : str
        Why, in its own words.
    samples : list of Sample
        As measured, for `share` of the case.
    share : float
        How much of the case was run; times below are scaled from it.
    seconds, seconds_low, seconds_high : float
        For the whole case, by the clock: median and quartiles.
    cpu_seconds, cpu_low, cpu_high : float
        The same by processor time.
    per_sequence, mutants_per_second : float
    speedup, speedup_cpu : float
        Against naive, by the clock and by processor time.
    prepare_seconds, prepare_peak : float
        Time and bytes of the host that getting ready took.
    host_peak, device_peak : float
        Bytes over what was in use before.
    agreement : Agreement or None
        With the truth.
    compared : str
        What was compared: `delta`, `l2` or `sum`.
    verdict : str
        `exact`, `imprecise` (claims to be exact, and rounds more), `wrong` (claims to be exact,
        and is not), `estimate`, or empty: not compared, or only with naive in the case's own
        precision, where the model does not run in double.
    useful_share : float
        Needed multiply-adds a second, as a share of the matrix-product rate.
    own_share : float
        The same of those that the method itself does.
    extra : dict
        What suites want to draw.
    """

    case: Case
    method: str
    claim: str
    status: str = "ok"
    error: str = ""
    samples: list[Sample] = field(default_factory=list)
    share: float = 1.0
    seconds: float = NAN
    seconds_low: float = NAN
    seconds_high: float = NAN
    cpu_seconds: float = NAN
    cpu_low: float = NAN
    cpu_high: float = NAN
    per_sequence: float = NAN
    mutants_per_second: float = NAN
    speedup: float = NAN
    speedup_cpu: float = NAN
    prepare_seconds: float = NAN
    prepare_peak: float = NAN
    host_peak: float = NAN
    device_peak: float = NAN
    agreement: Agreement | None = None
    compared: str = ""
    verdict: str = ""
    useful_share: float = NAN
    own_share: float = NAN
    extra: dict[str, Any] = field(default_factory=dict)


def steps(methods: int, rounds: int) -> int:
    """How often `note` is called for one case, at most."""
    return methods * (1 + rounds)


def measure(
    case: Case,
    methods: Sequence[Method],
    *,
    rounds: int = 5,
    seconds: float = 10.0,
    keep: bool = False,
    note: Note = lambda what: None,
) -> list[Row]:
    """Measure every method on a case.

    Parameters
    ----------
    case : Case
    methods : sequence of Method
    rounds : int
        Timed runs of each method, at most; more where the spread is large.
    seconds : float
        Spent on one method, in about; at least one run is timed.
    keep : bool
        Keep the compared values of estimates in the rows, to be drawn.
    note : function
        Told what is being done.

    Returns
    -------
    list of Row
        One per method, in order.
    """
    rows = [Row(case, method.name, method.claim) for method in methods]
    try:
        with ready(case) as subject:
            found = _ready_methods(subject, methods, rows, seconds / rounds, note)
            _time(subject, methods, rows, rounds, seconds, note)
            judge(rows, found, subject)
            if keep:
                _keep(rows, found, subject)
    except YuzuError as error:
        for row in rows:
            row.status, row.error = "cannot", str(error)
    return rows


def _ready_methods(
    subject: Subject, methods: Sequence[Method], rows: list[Row], seconds: float, note: Note
) -> dict[str, Found]:
    """Prepare and check every method; what they say of the mutants of the truth."""
    found: dict[str, Found] = {}
    heap = Heap()
    for method, row in zip(methods, rows, strict=True):
        note(f"{subject.case.label}: preparing and checking {method.name}")
        _prepare(method, row, subject, seconds, found)
        heap.trim()  # other cases may be measured beside this one
    return found


def _time(
    subject: Subject,
    methods: Sequence[Method],
    rows: list[Row],
    rounds: int,
    seconds: float,
    note: Note,
) -> None:
    """Time the methods that are ready, in turn, and put what that says into their rows."""
    ready_rows = {row.method: row for row in rows if row.status == "ok"}
    rate = matrix_rate(subject.device, subject.settings.dtype)
    timings = alternate(
        {m.name: m.run for m in methods if m.name in ready_rows},
        subject.device,
        rounds=rounds,
        seconds=seconds,
        note=lambda name: note(f"{subject.case.label}: timing {name}"),
    )
    macs = {m.name: m.macs() for m in methods if m.name in ready_rows}
    for name, timing in timings.items():
        fill(ready_rows[name], timing, subject)
    compare_speed(rows)
    shares_of_rate(rows, macs, subject.mutants, rate)


def _prepare(
    method: Method, row: Row, subject: Subject, seconds: float, found: dict[str, Found]
) -> None:
    """Make a method ready, warm it up, and note what it says."""
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


def fill(row: Row, timing: Timing, subject: Subject) -> None:
    """Put what was timed into a row, scaled to the whole case."""
    if timing.error is not None:
        row.status, row.error = "failed", _one_line(timing.error)
        return
    row.samples = timing.samples
    row.host_peak, row.device_peak = timing.host_peak, timing.device_peak
    wall = spread([sample.wall for sample in timing.samples]).scaled(1 / row.share)
    row.seconds, row.seconds_low, row.seconds_high = wall.median, wall.low, wall.high
    cpu = spread([sample.cpu for sample in timing.samples]).scaled(1 / row.share)
    row.cpu_seconds, row.cpu_low, row.cpu_high = cpu.median, cpu.low, cpu.high
    row.per_sequence = row.seconds / len(subject.codes)
    row.mutants_per_second = subject.mutants / row.per_sequence


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
        own = macs.get(row.method, NAN)
        per_second = row.mutants_per_second / rate
        row.own_share = own * per_second
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
        expected = truth if said.seen is None else truth[said.seen]
        row.agreement = agreement(said.values, expected)
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
