"""The facts of one run, as its file states them, and which of them tie pieces of work together."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from typing import Any

from yuzu_cli import __version__
from yuzu_cli.results.hdf5 import asked_of
from yuzu_cli.results.reader import Result
from yuzu_cli.results.schema import (
    ATTRIBUTES,
    EXACT,
    FORMAT,
    FORMAT_VERSION,
    SAVE_NAMES,
    Dataset,
    datasets_for,
    row_bytes,
    row_shape,
)
from yuzu_cli.runs.compression import Codec
from yuzu_cli.yaml12 import read_yaml

#: Config keys that change neither the numbers nor their layout, so they may change on the way, and
#: those whose outcome is a fact of its own in `identity`: `auto` may become the name it stood for.
FREE_KEYS = """
run output mutate score.save score.dtype model.path model.alphabet
input.fasta input.bed input.genome input.length
compute.batch_size compute.verify compute.backend compute.device compute.precision
"""


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def _utf8(text: str) -> str:
    """Text that can be written: bytes of a command line need not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Everything about a run that is known when it starts.

    Fields named like attributes of the format mean what `schema.ATTRIBUTES` says of those; `dtype`
    and `compression` are as in the config, `save` too. A `record_stop` of -1 means to the end, and
    errors are NaN where nothing was verified.
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
        put("command", _utf8(self.command))
        put("config", _utf8(self.config))
        put("save", tuple(name for name in (*SAVE_NAMES, EXACT) if name in self.save))
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
    def row_datasets(self) -> tuple[Dataset, ...]:
        """The datasets that have a row for each region."""
        return tuple(d for d in datasets_for(self.save) if d.per_row)

    def shape_of(self, dataset: Dataset, n: int) -> tuple[int, ...]:
        """Shape, with `n` rows, of a dataset that has rows."""
        return (n, *row_shape(dataset, self.sizes))

    @property
    def batches(self) -> range:
        """Numbers of the batches: k is records [k * batch_size, (k + 1) * batch_size) of the input.

        Counted from the start of the whole input, so that a shard cut at a multiple of the batch
        size has the batches of the unsharded run.
        """
        return self.batches_of(self.record_start, self.record_stop)

    def batches_of(self, start: int, stop: int) -> range:
        """Numbers of the batches that records [start, stop) are in."""
        if start == stop:
            return range(0)
        return range(start // self.batch_size, -(-stop // self.batch_size))

    def batch_records(self, batch: int) -> tuple[int, int]:
        """Input records of a batch, half-open."""
        start = max(self.record_start, batch * self.batch_size)
        return start, min(self.record_stop, (batch + 1) * self.batch_size)

    def disk_bytes(self) -> int:
        """Bytes of the finished file before compression."""
        row = sum(row_bytes(d, self.sizes, self.dtype) for d in self.row_datasets)
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
        compression = str(_flat(known["config"]).get("output.compression", "gzip"))
        if (data := result.file["sequences"]).chunks and not data.is_virtual:
            found = data.compression or "none"
            compression = compression if compression.startswith(found) else found
        known |= {
            "length": result.length,
            "targets": tuple(result.targets),
            "save": asked_of(result.file),
            "dtype": str(result.file[f"scores/{result.saved[0]}"].dtype),
        }
        return cls(**known, compression=compression)


def identity(info: RunInfo) -> dict[str, Any]:
    """What must be equal for two pieces of work to be of one run, each by a name users know.

    Files are compared by content (hashes), devices by kind (``cpu`` or ``cuda``). A shard's records
    follow from the batch size that was recorded when it began, so it is told by its number.
    """
    whole = (info.record_start, info.record_stop) == (0, info.n_records)
    share = "none" if whole else f"records {info.record_start}:{info.record_stop}"
    facts = {
        "model": info.model_sha256,
        "input": info.input_sha256,
        "backend": info.backend,
        "precision": info.precision,
        "kind of device": info.device.replace(":", " ").partition(" ")[0],
        "alphabet": info.alphabet,
        "length": info.length,
        "mutated positions": f"{info.mutate_start}:{info.mutate_end}",
        "targets": list(info.targets),
        "score.save": list(info.save),
        "score.dtype": info.dtype,
        "output.compression": info.compression,
        "number of records": info.n_records,
        "number of shards": info.shard_count or 0,
        "shard": f"{info.shard_index}/{info.shard_count}" if info.shard_count else share,
        "version of yuzu": info.yuzu_version,
        "version of torch": info.torch_version,
    }
    return facts | settings_of(info.config)


def settings_of(config: str) -> dict[str, Any]:
    """The settings that numbers depend on and that no fact of a run tells by itself."""
    free = tuple(f"{name}." for name in FREE_KEYS.split())
    return {k: v for k, v in _flat(config).items() if k and not f"{k}.".startswith(free)}


def _flat(text: str) -> dict[str, Any]:
    """A YAML mapping as dotted key -> value; lists stay whole."""

    def walk(value: Any, prefix: str) -> dict[str, Any]:
        if isinstance(value, dict) and value:
            parts = [walk(v, f"{prefix}.{k}" if prefix else str(k)) for k, v in value.items()]
            return {key: v for part in parts for key, v in part.items()}
        return {prefix: value}

    return walk(read_yaml(text) or {}, "")


def differences(
    ours: dict[str, Any], theirs: dict[str, Any], aside: Collection[str] = ()
) -> list[str]:
    """``key is ours, was theirs`` for every key that differs, but those `aside`; values are cut."""

    def show(facts: dict[str, Any], key: str) -> str:
        text = str(facts.get(key, "not set"))
        return text if len(text) <= 40 else f"{text[:37]}..."

    keys = [key for key in ours | theirs if key not in aside]
    return [
        f"{key} is {show(ours, key)}, was {show(theirs, key)}"
        for key in keys
        if key not in ours or key not in theirs or ours[key] != theirs[key]
    ]
