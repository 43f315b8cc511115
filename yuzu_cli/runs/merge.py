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
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from yuzu_cli.errors import OutputError, UsageError
from yuzu_cli.runs.folder import PartFolder
from yuzu_cli.runs.manifest import Manifest
from yuzu_cli.runs.run_info import RunInfo
from yuzu_cli.runs.segments import Sealed, Segments
from yuzu_cli.runs.shards import Shard, check_shards, look, unlike
from yuzu_cli.runs.target import check_target
from yuzu_cli.yaml12 import read_yaml, write_yaml

_MERGE = "merge"

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
    ordered = check_shards([look(path) for path in shards])
    for sentence in unlike(ordered):
        _log.warning("%s", sentence)
    command = shlex.join(sys.argv) if command is None else command
    manifest = Manifest(_run_id(ordered), merged_info(ordered, target, command))
    part = PartFolder.make(target)
    lock = part.lock()

    def between() -> None:
        if not lock.still_ours():
            what = "another merge took this output over, thinking this one gone"
            raise OutputError(os.fspath(part.path), what, "let that one finish")

    try:
        _take_up(part, manifest)
        check_target(target, force, shards)
        part.tidy()
        part.force = force
        every = [Sealed(s.path, s.info.record_start, s.info.record_stop) for s in ordered]
        segments = Segments(part, manifest, "no" if link else "yes", shards=every)
        try:
            try:
                segments.finish(target, between)
            finally:
                segments.close()
        except OutputError:
            part.clear()
            raise
        part.clear()
    finally:
        lock.release()
        part.remove_if_empty()
    return target


def _run_id(shards: Sequence[Shard]) -> str:
    """The same for the same merge, so that it is continued; another one's work is not."""
    facts = [(os.path.realpath(s.path), s.info.created, s.n) for s in shards]
    return f"{_MERGE}{hashlib.sha256(repr(facts).encode()).hexdigest()[:12]}"


def _take_up(part: PartFolder, manifest: Manifest) -> None:
    found = Manifest.load(part.path)
    if found is not None and not found.run_id.startswith(_MERGE):
        what = "an unfinished run is there"
        raise OutputError(os.fspath(part.path), what, "finish it, or take another output")
    if found is None or found.run_id != manifest.run_id:
        manifest.save(part.path)
        part.clear_rows()


def merged_info(shards: Sequence[Shard], out: Path, command: str) -> RunInfo:
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
