"""Clocks and memory gauges: what one call takes, and many calls taken in turn.

Machines are shared and change speed, so methods are timed in turn, round after round, not one after
the other. May not: know what is timed.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from yuzu_cli.bench.stats import NAN, quartiles
from yuzu_cli.heap import Heap

ENOUGH, UNSETTLED = 3, 0.1
"""Fewer times than this, or quartiles farther from the median than this share, are not settled."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed call: seconds on the clock, and of the processors (all threads together)."""

    wall: float
    cpu: float
    elsewhere: bool = False  # another process did the work and measured it; its memory is not known


@dataclass(slots=True)
class Timing:
    """What a method took, round by round.

    Peaks are bytes over what was in use before the call, in the first round; NaN where they cannot
    be known, or there is no device. `error` is what ended it.
    """

    samples: list[Sample] = field(default_factory=list)
    host_peak: float = NAN
    device_peak: float = NAN
    error: Exception | None = None

    @property
    def settled(self) -> bool:
        """Whether it needs no more times."""
        return settled(len(self.samples), *quartiles([sample.wall for sample in self.samples]))


def settled(count: int, low: float, median: float, high: float) -> bool:
    """Whether there are enough times, with quartiles near enough to each other."""
    return count >= ENOUGH and (median <= 0 or (high - low) / 2 / median <= UNSETTLED)


def timed(call: Callable[[], object], device: torch.device) -> Sample:
    """Time one call; the device has finished before either clock is read.

    A call that returns a `Sample` has timed itself.
    """
    _synchronise(device)
    cpu, wall = time.process_time(), time.perf_counter()
    result = call()
    _synchronise(device)
    if isinstance(result, Sample):
        return result
    return Sample(time.perf_counter() - wall, time.process_time() - cpu)


def alternate(
    jobs: Mapping[str, Callable[[], object]],
    device: torch.device,
    *,
    rounds: int,
    seconds: float,
    note: Callable[[str], None] = lambda name: None,
) -> dict[str, Timing]:
    """Time every job once per round, starting each round with another one.

    A job whose times differ by more than `UNSETTLED`, or that has fewer than `ENOUGH` of them, gets
    more rounds, up to as many again, until it has taken twice `seconds`.

    Parameters
    ----------
    jobs : mapping
        Name -> what to call. They should have been run once before, as a warm-up. One that raises
        is not called again, and has the error in its `Timing`.
    device : torch.device
    rounds : int
        Samples of each job.
    seconds : float
        A job that has taken so long is left out of further rounds; each has one sample at least.
    note : function
        Told the name before a job is timed or left out.
    """
    timings = {name: Timing() for name in jobs}
    gc.collect()
    gc.freeze()  # so that a collection before every call looks only at what was made since
    try:
        for turn in range(2 * rounds):
            shift = turn % max(1, len(jobs))
            names = list(jobs)[shift:] + list(jobs)[:shift]
            for name in names:
                timing, extra = timings[name], turn >= rounds
                if extra and (rounds == 1 or timing.settled):
                    continue
                note(name)
                spent = sum(sample.wall for sample in timing.samples)
                if timing.error is None and spent <= seconds * (2 if extra else 1):
                    _take(jobs[name], device, timing)
    finally:
        gc.unfreeze()
    return timings


def _take(call: Callable[[], object], device: torch.device, timing: Timing) -> None:
    gc.collect()
    try:
        if timing.samples:
            timing.samples.append(timed(call, device))
            return
        with Gauge(device) as gauge:
            timing.samples.append(timed(call, device))
    except Exception as error:  # whatever a method raises is its result
        timing.error = error
        return
    if not timing.samples[0].elsewhere:
        timing.host_peak, timing.device_peak = gauge.host, gauge.device


class Gauge:
    """Highest memory in use within it, over what was in use before.

    On Linux the kernel's own high-water mark of the process; elsewhere NaN.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.host = self.device = NAN

    def __enter__(self) -> Gauge:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            self._device_before = torch.cuda.memory_allocated(self._device)
        Heap()  # what was freed must not count as in use already
        self._host_before = NAN
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
            self._host_before = bytes_of("/proc/self/status", "VmRSS")
        return self

    def __exit__(self, *exc: object) -> None:
        self.host = max(bytes_of("/proc/self/status", "VmHWM") - self._host_before, 0.0)
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
            self.device = float(peak - self._device_before)


def said_by(file: str, key: str) -> str:
    """What a file of the system says after `key:`; nothing where there is none."""
    with contextlib.suppress(OSError):
        for line in Path(file).read_text().splitlines():
            if line.partition(":")[0].strip() == key:
                return line.partition(":")[2].strip()
    return ""


def bytes_of(file: str, key: str) -> float:
    """The same where it is a number of kB; NaN where there is none."""
    text = said_by(file, key)
    return float(text.split()[0]) * 1024 if text else NAN


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
