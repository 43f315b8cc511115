"""Clocks and memory gauges: what one call takes, and many calls taken in turn.

Machines are shared and change speed, so methods are timed in turn, round after round, not one after
the other. May not: know what is timed.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from yuzu_cli.bench.stats import spread

NAN = float("nan")

ENOUGH, UNSETTLED = 3, 0.1
"""Fewer times than this, or quartiles farther from the median than this share, are not settled."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed call.

    Attributes
    ----------
    wall, cpu : float
        Seconds on the clock, and of the processors (all threads together).
    elsewhere : bool
        Whether another process did the work and measured it; its memory is not known.
    """

    wall: float
    cpu: float
    elsewhere: bool = False


@dataclass(slots=True)
class Timing:
    """What a method took.

    Attributes
    ----------
    samples : list of Sample
        One per round that it took part in.
    host_peak, device_peak : float
        Bytes over what was in use before the call, highest of the first round; NaN where it cannot
        be known, or there is no device.
    error : Exception or None
        What ended it.
    """

    samples: list[Sample] = field(default_factory=list)
    host_peak: float = NAN
    device_peak: float = NAN
    error: Exception | None = None

    @property
    def settled(self) -> bool:
        """Whether there are enough times, and near enough to each other."""
        found = spread([sample.wall for sample in self.samples])
        return found.count >= ENOUGH and found.half <= UNSETTLED


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
        Name -> what to call. They should have been run once before, as a warm-up.
    device : torch.device
    rounds : int
        Samples of each job.
    seconds : float
        A job that has taken so long is left out of further rounds; each has one sample at least.
    note : function
        Told the name before a job is timed or left out.

    Returns
    -------
    dict
        Name -> Timing. A job that raised a `RuntimeError` or the like has that for its error.
    """
    timings = {name: Timing() for name in jobs}
    names = list(jobs)
    for turn in range(2 * rounds):
        extra = turn >= rounds
        shift = turn % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            timing = timings[name]
            if extra and (rounds == 1 or timing.settled):
                continue
            note(name)
            spent = sum(sample.wall for sample in timing.samples)
            if timing.error or spent > seconds * (2 if extra else 1):
                continue
            try:
                _take(jobs[name], device, timing)
            except Exception as error:  # whatever a method raises is its result
                timing.error = error
    return timings


def _take(call: Callable[[], object], device: torch.device, timing: Timing) -> None:
    gc.collect()
    if timing.samples:
        timing.samples.append(timed(call, device))
        return
    with Gauge(device) as gauge:
        timing.samples.append(timed(call, device))
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
        self._host_before = _reset_host_peak()
        return self

    def __exit__(self, *exc: object) -> None:
        self.host = max(0.0, _status("VmHWM") - self._host_before)
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
            self.device = float(peak - self._device_before)


def _reset_host_peak() -> float:
    """Set the high-water mark to what is in use now; that, in bytes, or NaN where it cannot be."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what was freed must not count as in use already
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return NAN
    return _status("VmRSS")


def _status(key: str) -> float:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    return NAN


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
