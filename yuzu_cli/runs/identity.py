"""What ties pieces of work to one run.

`Identity` is made in one place, and compared by whoever asks whether two belong together: a run and
its continuation, a run and a finished output, the shards of a merge. No threads and no rows here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

from yuzu_cli.runs.run_info import RunInfo, flat_config

#: Config keys that change neither the numbers nor their layout, so they may change on the way, and
#: those whose outcome is a fact of its own in `Identity`: `auto` may become the name it stood for.
FREE_KEYS = """
run output mutate score.save score.dtype model.path model.alphabet
input.fasta input.bed input.genome input.length
compute.batch_size compute.verify compute.backend compute.device compute.precision
"""


def settings_of(config: str) -> dict[str, Any]:
    """The settings that numbers depend on and that no fact of a run tells by itself."""
    free = tuple(f"{name}." for name in FREE_KEYS.split())
    return {k: v for k, v in flat_config(config).items() if k and not f"{k}.".startswith(free)}


#: What users know facts by, where they have another name here.
_SHOWN = {
    "model_sha256": "model",
    "input_sha256": "input",
    "device": "kind of device",
    "mutated": "mutated positions",
    "save": "score.save",
    "dtype": "score.dtype",
    "compression": "output.compression",
    "n_records": "number of records",
    "shard_count": "number of shards",
    "share": "shard",
    "yuzu_version": "version of yuzu",
    "torch_version": "version of torch",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """What must be equal for two pieces of work to belong together, each by a name users know.

    Files are compared by content (hashes), devices by kind (``cpu`` or ``cuda``). A shard's records
    follow from the batch size that was recorded when it began, so the share is told by its number.
    """

    model_sha256: str
    input_sha256: str
    backend: str
    precision: str
    device: str
    alphabet: str
    length: int
    mutated: str
    targets: tuple[str, ...]
    save: tuple[str, ...]
    dtype: str
    compression: str
    n_records: int
    shard_count: int
    share: str
    yuzu_version: str
    torch_version: str
    settings: dict[str, Any]

    @classmethod
    def of(cls, info: RunInfo) -> Identity:
        """Of a run."""
        whole = (info.record_start, info.record_stop) == (0, info.n_records)
        share = "none" if whole else f"records {info.record_start}:{info.record_stop}"
        if info.shard_count:
            share = f"{info.shard_index}/{info.shard_count}"
        known: dict[str, Any] = {f.name: getattr(info, f.name, None) for f in fields(cls)}
        known |= {
            "device": info.device.replace(":", " ").partition(" ")[0],
            "mutated": f"{info.mutate_start}:{info.mutate_end}",
            "shard_count": info.shard_count or 0,
            "share": share,
            "settings": settings_of(info.config),
        }
        return cls(**known)

    def named(self, aside: Collection[str] = ()) -> dict[str, Any]:
        """Every fact by the name to show, but those `aside`."""
        facts = {
            _SHOWN.get(f.name, f.name): getattr(self, f.name)
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
