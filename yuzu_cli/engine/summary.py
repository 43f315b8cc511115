"""What a run came to, and what a run would come to, as figures and as text. May not: compute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yuzu_cli.files import size_text


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run that ended.

    Attributes
    ----------
    path : Path
        The output; it is there only when `complete`.
    complete : bool
        False when the run was asked to stop; the same command continues it.
    records, records_before : int
        Input records this run answers for, and those an earlier run had already done.
    finished_before : bool
        The output was there already, by the same settings.
    regions, mutants : int
        Rows and mutants computed now.
    seconds, setup_seconds : float
        From the first call to the end, and until the first batch.
    backend_seconds, read_seconds, write_seconds : float
        Computing, waiting for windows, and waiting for the writer.
    backend, device : str
    batch_size : int
    verified : int
        Mutants compared with naive.
    max_abs_error, max_rel_error : float
        What that found in the score that is furthest off; NaN when nothing was compared.
    errors : str
        The same in words, score by score.
    mended : int
        Regions of which naive computed some mutants, as the backend failed on them.
    """

    path: Path
    complete: bool
    records: int
    records_before: int = 0
    finished_before: bool = False
    regions: int = 0
    mutants: int = 0
    seconds: float = 0.0
    setup_seconds: float = 0.0
    backend_seconds: float = 0.0
    read_seconds: float = 0.0
    write_seconds: float = 0.0
    backend: str = ""
    device: str = ""
    batch_size: int = 0
    verified: int = 0
    max_abs_error: float = float("nan")
    max_rel_error: float = float("nan")
    errors: str = ""
    mended: int = 0

    def describe(self) -> str:
        """Two lines for the end of a run."""
        if self.finished_before:
            what = f"{self.records} records, finished before by the same settings"
            return f"{self.path}: {what}; --force computes them again"
        if not self.complete and not self.batch_size:
            return f"{self.path}: stopped before the first batch; the same command continues"
        busy = max(self.seconds - self.setup_seconds, 1e-9)
        text = (
            f"{self.path}: {self.regions:,} regions, {self.mutants:,} mutants in "
            f"{duration(self.seconds)}: {duration(self.setup_seconds)} to set up, {duration(busy)} "
            f"to compute ({self.regions / busy:.3g} regions/s, {self.mutants / busy:,.0f} "
            f"mutants/s; {self.backend} on {self.device})"
        )
        if self.records_before:
            text += f"\n{self.records_before} of {self.records} records were done before"
        if dropped := self.complete and self.records - self.records_before - self.regions:
            text += f"\n{dropped} of {self.records} records were dropped"
        if self.verified:
            text += f"\nchecked {self.verified} mutants against naive: {self.errors}"
        if self.mended:
            text += (
                f"\n{self.mended} regions have mutants that naive computed, as the {self.backend} "
                "backend failed on them"
            )
        if not self.complete:
            text += "\nstopped before the end; the same command continues"
        return text


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would do: the answer to a dry run.

    Attributes
    ----------
    records : int
        Input records, those that will be dropped included.
    mutants : int
    passes : int
        Forward passes that naive would make, averages over models, strands and shifts included.
    backend, device : str
    batch_size : int
    seconds : float
        Predicted from `probe_mutants` mutants that were computed to see.
    probe_mutants : int
    device_bytes, host_bytes, disk_bytes : int
        Working memory at most, finished scores waiting to be written, and the output before
        compression.
    free_bytes : int
        Free space where the output goes.
    offer : str
        For a long run, what an estimate would take.
    """

    records: int
    mutants: int
    passes: int
    backend: str
    device: str
    batch_size: int
    seconds: float
    probe_mutants: int
    device_bytes: int
    host_bytes: int
    disk_bytes: int
    free_bytes: int
    offer: str = ""
    complete: bool = True

    def describe(self) -> str:
        """One figure a line."""
        rows = [
            ("regions", f"{self.records}"),
            ("mutants", f"{self.mutants}"),
            ("forward passes of naive", f"{self.passes}"),
            ("backend", f"{self.backend} on {self.device}"),
            ("regions a batch", f"{self.batch_size}"),
            ("time", f"about {duration(self.seconds)} (from {self.probe_mutants} mutants)"),
            ("memory of the device", f"up to {size_text(self.device_bytes)}"),
            ("memory of the host for results", f"up to {size_text(self.host_bytes)}"),
            ("disk", f"up to {size_text(self.disk_bytes)} of {size_text(self.free_bytes)} free"),
        ]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {value}" for name, value in rows]
        return "\n".join([*lines, *([self.offer] if self.offer else [])])


def duration(seconds: float) -> str:
    """`3.2 s`, `4:05` or `2:03:04`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
