"""Joining the shards of a run into the file an unsharded run would have written, or refusing.

Nothing is recomputed and nothing assumed: the shards must be of one run, by hashes and settings,
and answer for every record of the input exactly once. It is what a run does with its segments, but
that shards stay.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from yuzu_cli.errors import OutputError, UsageError
from yuzu_cli.results.reader import Result, open_result
from yuzu_cli.runs.folder import Manifest, PartFolder
from yuzu_cli.runs.run_info import RunInfo, differences, identity
from yuzu_cli.runs.segments import Sealed, Segments
from yuzu_cli.runs.target import check_target
from yuzu_cli.yaml12 import read_yaml, write_yaml

_MERGE = "merge"

#: What shards of one run may differ in: the first makes them shards, the others are told, or made
#: one.
_ASIDE = ("shard", "kind of device", "output.compression")

_log = logging.getLogger(__name__)


def merge(
    shards: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    force: bool = False,
    link: bool = False,
    command: str | None = None,
) -> Path:
    """Join all shards of one run; what was interrupted is continued by the same call.

    Parameters
    ----------
    shards : sequence of paths
        In any order.
    out : path
    force : bool
        Replace a finished output at `out`.
    link : bool
        Refer to the scores in the shards instead of copying them (an HDF5 virtual dataset): done at
        once and in no space, and of use only while the shards stay where they are.
    command : str or None
        What to record as the command; None for that of this process.

    Returns
    -------
    Path
        Of the merged file, which is there only when it is whole.

    Raises
    ------
    OutputError
        When a shard is missing, doubled, cut short, damaged or of another run, or on a full disk.
    UsageError
        When no shard is given.
    """
    if not shards:
        raise UsageError("merge", "no shards are given")
    target = Path(os.path.realpath(out))
    ordered = _in_order([_look(path) for path in shards])
    _tell_unlike(ordered)
    command = shlex.join(sys.argv) if command is None else command
    manifest = Manifest(_run_id(ordered), _merged_info(ordered, target, command))
    part = PartFolder.make(target)
    lock = part.lock()

    def between() -> None:
        if not lock.still_ours():
            what = "another merge took this output over, thinking this one gone"
            raise OutputError(os.fspath(part.path), what, "let that one finish")

    try:
        check_target(target, force, shards)
        _take_up(part, manifest)
        part.force = force
        every = [Sealed(s.path, s.info.record_start, s.info.record_stop) for s in ordered]
        how = "no" if link else "yes"
        try:
            with closing(Segments(part, manifest, how, shards=every)) as segments:
                segments.finish(target, between)
        except OutputError:
            part.clear()
            raise
        part.clear()
    finally:
        lock.release()
        part.remove_if_empty()
    return target


@dataclass(frozen=True, slots=True)
class _Shard:
    """What is to be known of a shard; the file itself is closed, since there may be thousands."""

    path: Path
    info: RunInfo
    n: int


def _look(path: str | os.PathLike[str]) -> _Shard:
    """Open a shard, check that its rows are those of its records, and close it."""
    with open_result(path) as result:
        if "shard_index" not in result.attributes:
            what = "is not a shard: it is a whole run"
            raise OutputError(os.fspath(path), what, "there is nothing to merge")
        _check_rows(result)
        return _Shard(Path(path), RunInfo.of(result), result.n_regions)


def _check_rows(result: Result) -> None:
    low, high = result.attributes["record_start"], result.attributes["record_stop"]
    last = low - 1
    for start in range(0, result.n_regions, 1 << 20):
        index = result.read("regions/input_index", slice(start, start + (1 << 20)))
        if index[0] <= last or index[-1] >= high or not (np.diff(index) > 0).all():
            what = f"has rows that are doubled, out of order or not of records {low} to {high}"
            raise OutputError(os.fspath(result.path), what, "compute this shard again")
        last = int(index[-1])


def _in_order(shards: Sequence[_Shard]) -> list[_Shard]:
    """The shards by their records; an OutputError unless they are of one run, and all of it."""
    _check_one_run(shards)
    _check_numbers(shards)
    ordered = sorted(shards, key=lambda s: (s.info.record_start, s.info.record_stop))
    end, total = 0, ordered[0].info.n_records
    for shard in ordered:
        if shard.info.record_start != end:
            what = f"begins at record {shard.info.record_start}, not at {end}"
            raise OutputError(os.fspath(shard.path), what, _again(ordered))
        end = shard.info.record_stop
    if end != total:
        what = f"the shards end at record {end} of {total}"
        raise OutputError(os.fspath(ordered[-1].path), what, _again(ordered))
    return ordered


def _again(shards: Sequence[_Shard]) -> str:
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


def _check_one_run(shards: Sequence[_Shard]) -> None:
    """All like most of them: the odd one out is named, wherever it stands in the list."""
    facts = [identity(shard.info) for shard in shards]
    told = [repr([(k, v) for k, v in each.items() if k not in _ASIDE]) for each in facts]
    most = told.index(Counter(told).most_common(1)[0][0])
    for shard, each in zip(shards, facts, strict=True):
        changed = differences(each, facts[most], _ASIDE)
        if changed:
            texts = [text.replace(", was ", " here and there ") for text in changed[:3]]
            what = f"is of another run than {shards[most].path}: {'; '.join(texts)}"
            raise OutputError(os.fspath(shard.path), what, "merge the shards of one run only")


def _check_numbers(shards: Sequence[_Shard]) -> None:
    count = shards[0].info.shard_count or 0
    seen: dict[int, _Shard] = {}
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


def _tell_unlike(shards: Sequence[_Shard]) -> None:
    """Say in what shards of one run differ that may move their numbers within rounding.

    A merge of them is right, but not bit for bit what one machine would have written.
    """
    for name, shown in (("device", "devices"), ("batch_size", "batch sizes")):
        values = {_card(str(getattr(shard.info, name))) for shard in shards}
        if len(values) > 1:
            _log.warning(
                "the shards have different %s (%s): their numbers agree to rounding, not bit for "
                "bit",
                *(shown, ", ".join(sorted(values))),
            )


def _card(device: str) -> str:
    """A device without its number: two cards of a kind compute the same."""
    kind, _, name = device.partition(" ")
    return f"{kind.partition(':')[0]} {name}".strip()


def _run_id(shards: Sequence[_Shard]) -> str:
    """The same for the same merge, so that it is continued; another one's work is not."""
    facts = [(os.path.realpath(s.path), s.info.created, s.n) for s in shards]
    return f"{_MERGE}{hashlib.sha256(repr(facts).encode()).hexdigest()[:12]}"


def _take_up(part: PartFolder, manifest: Manifest) -> None:
    found = Manifest.load(part.path)
    if found is not None and not found.run_id.startswith(_MERGE):
        what = "an unfinished run is there"
        raise OutputError(os.fspath(part.path), what, "finish it, or take another output")
    if found is None or found.run_id != manifest.run_id:
        part.begin(manifest)


def _merged_info(shards: Sequence[_Shard], out: Path, command: str) -> RunInfo:
    """The merged run, as an unsharded one would have been."""
    every = [shard.info for shard in shards]
    sizes = {info.batch_size for info in every}
    errors: dict[str, Any] = {}
    for name in (f.name for f in fields(RunInfo) if f.name.startswith("verify_")):
        known = [getattr(info, name) for info in every]
        errors[name] = max((value for value in known if not math.isnan(value)), default=math.nan)
    return replace(
        next((shard.info for shard in shards if shard.n), every[0]),
        created=min(info.created for info in every),
        command=command,
        config=_unsharded(every[0].config, out),
        device=", ".join(sorted({info.device for info in every})),
        record_start=0,
        record_stop=every[0].n_records,
        batch_size=sizes.pop() if len(sizes) == 1 else 0,
        shard_index=None,
        shard_count=None,
        **errors,
    )


def _unsharded(config: str, out: Path) -> str:
    """The settings without what was particular to one shard."""
    tree: dict[str, Any] = read_yaml(config) or {}
    if isinstance(tree.get("run"), dict) and "shard" in tree["run"]:
        tree["run"]["shard"] = None
    if isinstance(tree.get("output"), dict) and "path" in tree["output"]:
        tree["output"]["path"] = os.fspath(out)
    return write_yaml(tree)
