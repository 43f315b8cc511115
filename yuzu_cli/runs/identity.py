"""Which work in progress may be continued, and the file beside it that says whose it is.

`identity` is the part of a run's facts that must be the same for two pieces to belong together: a
run and its continuation, or the shards of a merge. No rows in here and no threads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from yuzu_cli.errors import OutputError
from yuzu_cli.files import write_atomically
from yuzu_cli.results.schema import FORMAT_VERSION, MANIFEST
from yuzu_cli.runs.run_info import RunInfo

#: Config keys that change neither the numbers nor their layout, so they may change on the way.
#: Files are compared by content (hashes), devices by kind, and the batch size that was recorded is
#: kept.
FREE_KEYS = (
    "run",  # how one invocation behaves
    "output.path",
    "model.path",
    "input.fasta",
    "input.bed",
    "input.genome",
    "compute.batch_size",
    "compute.verify",
    # What these come to is compared below, as resolved: `auto` may become the name it stood for.
    "compute.backend",
    "compute.device",
    "compute.precision",
    "model.alphabet",
    "input.length",
    "mutate",
    "output.compression",
    "score.save",
    "score.dtype",
)


def flat_config(text: str) -> dict[str, Any]:
    """A YAML mapping as dotted key -> value; lists stay whole."""
    import yaml

    def walk(value: Any, prefix: str) -> dict[str, Any]:
        if isinstance(value, dict) and value:
            parts = [walk(v, f"{prefix}.{k}" if prefix else str(k)) for k, v in value.items()]
            return {key: v for part in parts for key, v in part.items()}
        return {prefix: value}

    return walk(yaml.safe_load(text) or {}, "")


def is_free(key: str) -> bool:
    """Whether a dotted config key may change between a run and its continuation."""
    return any(key == free or key.startswith(free + ".") for free in FREE_KEYS)


def device_kind(device: str) -> str:
    """``cpu`` or ``cuda`` of a device's description."""
    return device.replace(":", " ").split()[0] if device.strip() else ""


def identity(info: RunInfo) -> dict[str, Any]:
    """What must be equal for two parts to belong to one run, by a name the user knows."""
    config = {k: v for k, v in flat_config(info.config).items() if k and not is_free(k)}
    facts = {
        "model": info.model_sha256,
        "input": info.input_sha256,
        "backend": info.backend,
        "precision": info.precision,
        "kind of device": device_kind(info.device),
        "alphabet": info.alphabet,
        "length": info.length,
        "mutated positions": f"{info.mutate_start}:{info.mutate_end}",
        "targets": list(info.targets),
        "score.save": list(info.save),
        "score.dtype": info.dtype,
        "output.compression": info.compression,
        "records": info.n_records,
        "shard": _share(info),
        "version of yuzu": info.yuzu_version,
        "version of torch": info.torch_version,
    }
    return facts | {k: v for k, v in config.items() if k not in facts}


def _share(info: RunInfo) -> str:
    """The share of the input. A shard's records follow from the batch size, which was recorded."""
    if info.shard_count:
        return f"{info.shard_index}/{info.shard_count}"
    whole = (info.record_start, info.record_stop) == (0, info.n_records)
    return "none" if whole else f"records {info.record_start}:{info.record_stop}"


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """``key: ours, was theirs`` for every key that differs; long values are cut."""

    def show(value: Any) -> str:
        text = str(value)
        return text if len(text) <= 40 else f"{text[:37]}..."

    keys = [*ours, *(k for k in theirs if k not in ours)]
    absent = "not set"
    return [
        f"{k} is {show(ours.get(k, absent))}, was {show(theirs.get(k, absent))}"
        for k in keys
        if ours.get(k, absent) != theirs.get(k, absent)
    ]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The record of work in progress; `run_id` ties batches to it, so others' are never taken."""

    run_id: str
    info: RunInfo

    def save(self, folder: Path) -> None:
        """Write durably; a reader sees the old one or the new one, never a piece."""
        data = {
            "format": "yuzu-part",
            "format_version": FORMAT_VERSION,
            "run_id": self.run_id,
            "info": asdict(self.info),
            "identity": identity(self.info),
        }
        write_atomically(folder / MANIFEST, json.dumps(data, indent=1).encode())

    @classmethod
    def load(cls, folder: Path) -> Manifest | None:
        """The manifest in `folder`; None when there is none.

        Raises
        ------
        OutputError
            When it cannot be read, or was written by a newer version.
        """
        path = folder / MANIFEST
        try:
            data = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            hint = "use --no-resume to start again"
            raise OutputError(os.fspath(path), f"cannot be read ({error})", hint) from error
        if data.get("format_version") != FORMAT_VERSION:
            what = (
                f"is of format {data.get('format_version')}, this yuzu continues {FORMAT_VERSION}"
            )
            raise OutputError(os.fspath(path), what, "use --no-resume to start again")
        known = {f.name for f in fields(RunInfo)}
        return cls(data["run_id"], RunInfo(**{k: v for k, v in data["info"].items() if k in known}))

    def with_verify(self, max_abs: float, max_rel: float) -> Manifest:
        """The same with the measured errors."""
        info = replace(self.info, verify_max_abs_error=max_abs, verify_max_rel_error=max_rel)
        return replace(self, info=info)
