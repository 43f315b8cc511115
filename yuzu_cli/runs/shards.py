"""Are these files the shards of one run, and all of it? Each fault names the file it is in.

Opens files one at a time and writes nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yuzu_cli.errors import OutputError
from yuzu_cli.results.reader import Result, open_result
from yuzu_cli.runs.identity import Identity
from yuzu_cli.runs.run_info import RunInfo

#: What shards of one run may differ in: the first makes them shards, the others are told, or made
#: one.
_ASIDE = ("share", "device", "compression")


@dataclass(frozen=True, slots=True)
class Shard:
    """What is to be known of a shard; the file itself is closed, since there may be thousands."""

    path: Path
    info: RunInfo
    n: int

    @property
    def identity(self) -> Identity:
        """What ties it to its run."""
        return Identity.of(self.info)


def look(path: str | os.PathLike[str]) -> Shard:
    """Open a shard, check that its rows are those of its records, and close it.

    Raises
    ------
    OutputError
        When it cannot be read, is no shard, or has rows that it should not have.
    """
    with open_result(path) as result:
        if "shard_index" not in result.attributes:
            what = "is not a shard: it is a whole run"
            raise OutputError(os.fspath(path), what, "there is nothing to merge")
        _check_rows(result)
        return Shard(Path(path), RunInfo.of(result), result.n_regions)


def _check_rows(result: Result) -> None:
    low, high = result.attributes["record_start"], result.attributes["record_stop"]
    last = low - 1
    for start in range(0, result.n_regions, 1 << 20):
        index = result.read("regions/input_index", slice(start, start + (1 << 20)))
        if index[0] <= last or index[-1] >= high or not (np.diff(index) > 0).all():
            what = f"has rows that are doubled, out of order or not of records {low} to {high}"
            raise OutputError(os.fspath(result.path), what, "compute this shard again")
        last = int(index[-1])


def check_shards(shards: Sequence[Shard]) -> list[Shard]:
    """The shards in the order of their records.

    Raises
    ------
    OutputError
        When they are not all of one run, or not complete, naming the file at fault.
    """
    _check_one_run(shards)
    _check_numbers(shards)
    ordered = sorted(shards, key=lambda s: (s.info.record_start, s.info.record_stop))
    expected = 0
    for shard in ordered:
        if shard.info.record_start != expected:
            what = f"begins at record {shard.info.record_start}, not at {expected}"
            raise OutputError(os.fspath(shard.path), what, _again(ordered))
        expected = shard.info.record_stop
    total = ordered[0].info.n_records
    if expected != total:
        what = f"the shards end at record {expected} of {total}"
        raise OutputError(os.fspath(ordered[-1].path), what, _again(ordered))
    return ordered


def _again(shards: Sequence[Shard]) -> str:
    """What to do about a shard that does not fit: shards are cut at whole batches."""
    sizes = Counter(shard.info.batch_size for shard in shards)
    if len(sizes) == 1:
        return "compute this shard again"
    found = ", ".join(map(str, sorted(sizes)))
    usual = sizes.most_common(1)[0][0]
    return (
        f"the shards' batch sizes are {found}, and shards are cut at whole batches: compute those "
        f"again that do not have --batch-size {usual}"
    )


def unlike(shards: Sequence[Shard]) -> list[str]:
    """In what shards of one run differ that may move their numbers within rounding; as sentences.

    A merge of them is right, but not bit for bit what one machine would have written.
    """
    found = []
    for name, shown in (("device", "devices"), ("batch_size", "batch sizes")):
        values = {_card(str(getattr(shard.info, name))) for shard in shards}
        if len(values) > 1:
            found.append(
                f"the shards have different {shown} ({', '.join(sorted(values))}): their numbers "
                "agree to rounding, not bit for bit"
            )
    return found


def _card(device: str) -> str:
    """A device without its number: two cards of a kind compute the same."""
    kind, _, name = device.partition(" ")
    return f"{kind.partition(':')[0]} {name}".strip()


def _check_one_run(shards: Sequence[Shard]) -> None:
    """All like most of them: the odd one out is named, wherever it stands in the list."""
    facts = [repr(shard.identity.named(_ASIDE)) for shard in shards]
    most = shards[facts.index(Counter(facts).most_common(1)[0][0])]
    for shard in shards:
        changed = shard.identity.differences(most.identity, _ASIDE)
        if changed:
            texts = [text.replace(", was ", " here and there ") for text in changed[:3]]
            what = f"is of another run than {most.path}: {'; '.join(texts)}"
            raise OutputError(os.fspath(shard.path), what, "merge the shards of one run only")


def _check_numbers(shards: Sequence[Shard]) -> None:
    count = shards[0].info.shard_count or 0
    seen: dict[int, Shard] = {}
    for shard in shards:
        index = shard.info.shard_index or 0
        if index in seen:
            what = f"is shard {index} of {count}, and so is {seen[index].path}"
            raise OutputError(os.fspath(shard.path), what, "give each shard once")
        seen[index] = shard
    missing = [i for i in range(1, count + 1) if i not in seen]
    if missing:
        names = ", ".join(map(str, missing[:20])) + (", ..." if len(missing) > 20 else "")
        what = f"{'shard' if len(missing) == 1 else 'shards'} {names} of {count} missing"
        raise OutputError("merge", what, "run them, or add them to the command")
