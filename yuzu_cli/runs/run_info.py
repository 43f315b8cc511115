"""The facts of one run, as its file states them: settings, sizes, hashes, batches.

No file format, no files and no threads in here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timezone

from yuzu_cli import __version__
from yuzu_cli.results.schema import FORMAT_VERSION, SAVE_NAMES, datasets_for, row_bytes
from yuzu_cli.runs.compression import Codec


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Everything about a run that is known when it starts.

    Attributes
    ----------
    config : str
        The resolved settings as YAML.
    model_sha256, input_sha256 : str
    alphabet : str
        The letters, in model order; A is their number.
    backend, device, precision : str
        As resolved: never ``auto``. Of `device` only what stands before ``:`` or a space must stay
        the same (``cuda:1`` may continue what ``cuda:0`` began).
    length : int
        Letters per window, L.
    mutate_start, mutate_end : int
        Mutated positions, 0-based, half-open, in the window; M is the difference.
    targets : tuple of str
        Names of the T targets.
    save : tuple of str
        Scores to save, as in `score.save`.
    batch_size : int
        Input records per batch.
    n_records : int
        Records of the whole input.
    record_start, record_stop : int
        Those this run answers for; all of them unless it is a shard (stop -1 means to the end).
    shard_index, shard_count : int or None
        From 1.
    dtype : str
        ``float32`` or ``float16``, of the scores.
    compression : str
        As in `output.compression`.
    verify_max_abs_error, verify_max_rel_error : float
        NaN until known; see `OutputRun.record_verify`.
    verify_delta_max_abs_error and the like : float
        The same by what was compared.
    """

    config: str
    model_sha256: str
    input_sha256: str
    alphabet: str
    backend: str
    device: str
    precision: str
    length: int
    mutate_start: int
    mutate_end: int
    targets: tuple[str, ...]
    save: tuple[str, ...]
    batch_size: int
    n_records: int
    record_start: int = 0
    record_stop: int = -1
    shard_index: int | None = None
    shard_count: int | None = None
    dtype: str = "float32"
    compression: str = "gzip"
    verify_max_abs_error: float = math.nan
    verify_max_rel_error: float = math.nan
    verify_delta_max_abs_error: float = math.nan
    verify_delta_max_rel_error: float = math.nan
    verify_l2_max_abs_error: float = math.nan
    verify_l2_max_rel_error: float = math.nan
    command: str = ""
    torch_version: str = ""
    yuzu_version: str = __version__
    created: str = field(default_factory=_now)

    def __post_init__(self) -> None:
        if self.record_stop < 0:
            object.__setattr__(self, "record_stop", self.n_records)
        object.__setattr__(self, "targets", tuple(self.targets))
        ordered = tuple(name for name in SAVE_NAMES if name in self.save)
        if unknown := set(self.save) - set(SAVE_NAMES):
            raise ValueError(f"unknown scores {sorted(unknown)}")
        object.__setattr__(self, "save", ordered)
        object.__setattr__(self, "torch_version", str(self.torch_version))
        if self.dtype not in ("float32", "float16"):
            raise ValueError(f"scores cannot be stored as {self.dtype}")
        if self.batch_size < 1 or not 0 <= self.mutate_start < self.mutate_end <= self.length:
            raise ValueError("an empty batch or an empty range of mutated positions")
        if not 0 <= self.record_start <= self.record_stop <= self.n_records:
            raise ValueError("records out of range")
        Codec.parse(self.compression)

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each axis by its letter, N excepted."""
        m = self.mutate_end - self.mutate_start
        return {"T": len(self.targets), "A": len(self.alphabet), "L": self.length, "M": m}

    @property
    def batches(self) -> range:
        """Numbers of the batches: k is records [k * batch_size, (k + 1) * batch_size) of the input.

        Counted from the start of the whole input, so that a shard cut at a multiple of the batch
        size has the batches of the unsharded run.
        """
        if self.record_stop == self.record_start:
            return range(0)
        return range(self.record_start // self.batch_size, -(-self.record_stop // self.batch_size))

    def batch_records(self, batch: int) -> tuple[int, int]:
        """Input records of a batch, half-open."""
        start = max(self.record_start, batch * self.batch_size)
        return start, min(self.record_stop, (batch + 1) * self.batch_size)

    def disk_bytes(self) -> int:
        """Bytes of the finished file before compression; finishing needs twice this for a while."""
        row = sum(
            row_bytes(d, self.sizes, self.dtype) for d in datasets_for(self.save) if d.per_row
        )
        return row * (self.record_stop - self.record_start) + (1 << 16)

    def attributes(self, n_regions: int, n_mended: int = 0) -> dict[str, str | int | float]:
        """The attributes of the root of the finished file, in the order of the schema."""
        values: dict[str, str | int | float] = {
            "format": "yuzu",
            "format_version": FORMAT_VERSION,
            "yuzu_version": self.yuzu_version,
            "torch_version": self.torch_version,
            "created": self.created,
            "command": self.command,
            "config": self.config,
            "model_sha256": self.model_sha256,
            "input_sha256": self.input_sha256,
            "alphabet": self.alphabet,
            "backend": self.backend,
            "device": self.device,
            "precision": self.precision,
            "mutate_start": self.mutate_start,
            "mutate_end": self.mutate_end,
            "verify_max_abs_error": self.verify_max_abs_error,
            "verify_max_rel_error": self.verify_max_rel_error,
            "verify_delta_max_abs_error": self.verify_delta_max_abs_error,
            "verify_delta_max_rel_error": self.verify_delta_max_rel_error,
            "verify_l2_max_abs_error": self.verify_l2_max_abs_error,
            "verify_l2_max_rel_error": self.verify_l2_max_rel_error,
            "n_regions": n_regions,
            "n_mended": n_mended,
            "n_records": self.n_records,
            "record_start": self.record_start,
            "record_stop": self.record_stop,
            "batch_size": self.batch_size,
        }
        if self.shard_index is not None and self.shard_count is not None:
            values |= {"shard_index": self.shard_index, "shard_count": self.shard_count}
        return values
