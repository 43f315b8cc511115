"""What a run is: the facts its file states, and those that tie pieces of work to one run.

`Identity` is made in one place, and compared by whoever asks whether two belong together: a run and
its continuation, a run and a finished output, the shards of a merge. No threads and no rows here.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from typing import Any

from yuzu_cli import __version__
from yuzu_cli.results.reader import Result
from yuzu_cli.results.schema import (
    ATTRIBUTES,
    FORMAT,
    FORMAT_VERSION,
    SAVE_NAMES,
    datasets_for,
    row_bytes,
)
from yuzu_cli.runs.compression import Codec
from yuzu_cli.yaml12 import read_yaml

#: Config keys that change neither the numbers nor their layout, so they may change on the way, and
#: those whose outcome is a fact of its own in `Identity`: `auto` may become the name it stood for.
FREE_KEYS = (
    "run",
    "output",
    "model.path",
    "model.alphabet",
    "input.fasta",
    "input.bed",
    "input.genome",
    "input.length",
    "mutate",
    "compute.batch_size",
    "compute.verify",
    "compute.backend",
    "compute.device",
    "compute.precision",
    "score.save",
    "score.dtype",
)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def _utf8(text: str) -> str:
    """Text that can be written: bytes of a command line need not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


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
        Input records per batch; 0 in a merge of shards that differ in it.
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
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        if self.record_stop < 0:
            put("record_stop", self.n_records)
        put("targets", tuple(self.targets))
        put("torch_version", str(self.torch_version))
        put("command", _utf8(self.command))
        put("config", _utf8(self.config))
        if unknown := set(self.save) - set(SAVE_NAMES):
            raise ValueError(f"unknown scores {sorted(unknown)}")
        put("save", tuple(name for name in SAVE_NAMES if name in self.save))
        if self.dtype not in ("float32", "float16"):
            raise ValueError(f"scores cannot be stored as {self.dtype}")
        if self.batch_size < 0 or not 0 <= self.mutate_start < self.mutate_end <= self.length:
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
        """Bytes of the finished file before compression."""
        row = sum(
            row_bytes(d, self.sizes, self.dtype) for d in datasets_for(self.save) if d.per_row
        )
        return row * (self.record_stop - self.record_start) + (1 << 16)

    def attributes(self, n_regions: int, n_mended: int = 0) -> dict[str, str | int | float]:
        """The attributes of the root of the finished file, in the order of the schema."""
        fixed: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "n_regions": n_regions,
            "n_mended": n_mended,
        }
        values = {a.name: fixed.get(a.name, getattr(self, a.name, None)) for a in ATTRIBUTES}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def of(cls, result: Result) -> RunInfo:
        """The run that a finished file is of, as the file states it; raises KeyError if it cannot.

        The compression is what was asked for, when the settings say, else what is found.
        """
        stated = {f.name: result.attributes.get(f.name) for f in fields(cls)}
        known = {name: value for name, value in stated.items() if value is not None}
        scores = result.file[f"scores/{result.saved[0]}"]
        compression = str(flat_config(known["config"]).get("output.compression", "gzip"))
        if (data := result.file["sequences"]).chunks and not data.is_virtual:
            found = data.compression or "none"
            compression = compression if compression.startswith(found) else found
        known |= {"length": result.length, "targets": tuple(result.targets), "save": result.saved}
        return cls(**known, dtype=str(scores.dtype), compression=compression)


def flat_config(text: str) -> dict[str, Any]:
    """A YAML mapping as dotted key -> value; lists stay whole."""

    def walk(value: Any, prefix: str) -> dict[str, Any]:
        if isinstance(value, dict) and value:
            parts = [walk(v, f"{prefix}.{k}" if prefix else str(k)) for k, v in value.items()]
            return {key: v for part in parts for key, v in part.items()}
        return {prefix: value}

    return walk(read_yaml(text) or {}, "")


def settings_of(config: str) -> dict[str, Any]:
    """The settings that numbers depend on and that no fact of a run tells by itself."""

    def free(key: str) -> bool:
        return any(key == name or key.startswith(name + ".") for name in FREE_KEYS)

    return {k: v for k, v in flat_config(config).items() if k and not free(k)}


def device_kind(device: str) -> str:
    """``cpu`` or ``cuda`` of a device's description."""
    return device.replace(":", " ").split()[0] if device.strip() else ""


def _shown(name: str) -> Any:
    return field(metadata={"shown": name})


@dataclass(frozen=True, slots=True)
class Identity:
    """What must be equal for two pieces of work to belong together, each by a name users know.

    Files are compared by content (hashes), devices by kind. A shard's records follow from the batch
    size that was recorded when it began, so the share is told by its number.
    """

    model: str
    input: str
    backend: str
    precision: str
    device: str = _shown("kind of device")
    alphabet: str = _shown("alphabet")
    length: int = _shown("length")
    mutated: str = _shown("mutated positions")
    targets: tuple[str, ...] = _shown("targets")
    save: tuple[str, ...] = _shown("score.save")
    dtype: str = _shown("score.dtype")
    compression: str = _shown("output.compression")
    records: int = _shown("number of records")
    shards: int = _shown("number of shards")
    share: str = _shown("shard")
    yuzu: str = _shown("version of yuzu")
    torch: str = _shown("version of torch")
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, info: RunInfo) -> Identity:
        """Of a run."""
        whole = (info.record_start, info.record_stop) == (0, info.n_records)
        share = "none" if whole else f"records {info.record_start}:{info.record_stop}"
        if info.shard_count:
            share = f"{info.shard_index}/{info.shard_count}"
        return cls(
            model=info.model_sha256,
            input=info.input_sha256,
            backend=info.backend,
            precision=info.precision,
            device=device_kind(info.device),
            alphabet=info.alphabet,
            length=info.length,
            mutated=f"{info.mutate_start}:{info.mutate_end}",
            targets=info.targets,
            save=info.save,
            dtype=info.dtype,
            compression=info.compression,
            records=info.n_records,
            shards=info.shard_count or 0,
            share=share,
            yuzu=info.yuzu_version,
            torch=info.torch_version,
            settings=settings_of(info.config),
        )

    def named(self, aside: Collection[str] = ()) -> dict[str, Any]:
        """Every fact by the name to show, but those `aside`."""
        facts = {
            f.metadata.get("shown", f.name): getattr(self, f.name)
            for f in fields(self)
            if f.name not in ("settings", *aside)
        }
        return facts | self.settings

    def differences(self, other: Identity, aside: Collection[str] = ()) -> list[str]:
        """``key: ours, was theirs`` for every fact that differs; long values are cut."""
        return differences(self.named(aside), other.named(aside))


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """``key is ours, was theirs`` for every key that differs."""

    def show(value: Any) -> str:
        text = str(list(value) if isinstance(value, tuple) else value)
        return text if len(text) <= 40 else f"{text[:37]}..."

    absent = "not set"
    keys = [*ours, *(k for k in theirs if k not in ours)]
    return [
        f"{k} is {show(ours.get(k, absent))}, was {show(theirs.get(k, absent))}"
        for k in keys
        if ours.get(k, absent) != theirs.get(k, absent)
    ]
