"""What ties pieces of work to one run.

`Identity` is made in one place, and compared by whoever asks whether two belong together: a run and
its continuation, a run and a finished output, the shards of a merge. No threads and no rows here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields
from typing import Any

from yuzu_cli.runs.run_info import RunInfo, flat_config

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
