"""Joining the shards of a run into the file an unsharded run would have written, or refusing.

Nothing is recomputed and nothing assumed: the shards must be of one run, by hashes and settings,
and answer for every record of the input exactly once. Chunks are copied as they are, one at a time.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from yuzu_cli.errors import OutputError, UsageError
from yuzu_cli.output.build import Builder, chunk_starts
from yuzu_cli.output.chunks import Codec
from yuzu_cli.output.files import token
from yuzu_cli.output.lock import Lock
from yuzu_cli.output.manifest import differences, flat_config, is_free
from yuzu_cli.output.part import PartFolder, check_room, check_target, publish
from yuzu_cli.output.reader import Result, damage, open_result
from yuzu_cli.output.schema import TEXT, Dataset, datasets_for

#: Attributes that every shard of a run has in common, with the name to use in messages.
_COMMON = {
    "model_sha256": "model",
    "input_sha256": "input",
    "alphabet": "alphabet",
    "backend": "backend",
    "precision": "precision",
    "mutate_start": "first mutated position",
    "mutate_end": "end of the mutated positions",
    "n_records": "number of records",
    "shard_count": "number of shards",
    "yuzu_version": "version of yuzu",
    "torch_version": "version of torch",
}
_ROWS = 4096


def merge(
    shards: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    force: bool = False,
    link: bool = False,
    command: str | None = None,
) -> Path:
    """Join all shards of one run.

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
    with ExitStack() as stack:
        opened = [stack.enter_context(open_result(path)) for path in shards]
        ordered = check_shards(opened)
        part = PartFolder.make(target)
        lock = Lock(part.path)
        try:
            if part.manifest() is not None:
                what = "an unfinished run is there"
                raise OutputError(os.fspath(part.path), what, "finish it, or take another output")
            check_target(target, force, shards)
            part.tidy()
            command = shlex.join(sys.argv) if command is None else command
            temporary = part.path / f"final-{token()}.tmp"
            _assemble(ordered, temporary, target, link, command)
            publish(temporary, target, force)
        finally:
            if lock.still_ours():
                part.tidy()
            lock.release()
            part.remove_if_empty()
    return target


# --- are they one run, and all of it ------------------------------------------------------------


def check_shards(shards: Sequence[Result]) -> list[Result]:
    """The shards in the order of their records.

    Raises
    ------
    OutputError
        When they are not all of one run, or not complete, naming the file at fault.
    """
    for shard in shards:
        if "shard_index" not in shard.attributes:
            what = "is not a shard: it is a whole run"
            raise OutputError(os.fspath(shard.path), what, "there is nothing to merge")
    _check_one_run(shards)
    _check_numbers(shards)
    ordered = sorted(
        shards, key=lambda s: (s.attributes["record_start"], s.attributes["record_stop"])
    )
    expected = 0
    for shard in ordered:
        if shard.attributes["record_start"] != expected:
            what = f"begins at record {shard.attributes['record_start']}, not at {expected}"
            raise OutputError(os.fspath(shard.path), what, "compute this shard again")
        expected = shard.attributes["record_stop"]
    total = ordered[0].attributes["n_records"]
    if expected != total:
        what = f"the shards end at record {expected} of {total}"
        raise OutputError(os.fspath(ordered[-1].path), what, "compute this shard again")
    for shard in ordered:
        _check_rows(shard)
    return ordered


def _facts(shard: Result) -> dict[str, Any]:
    facts = {shown: shard.attributes.get(name) for name, shown in _COMMON.items()}
    facts["length"] = shard.length
    facts["targets"] = shard.targets
    facts["score.save"] = list(shard.saved)
    facts["score.dtype"] = [str(shard.file[f"scores/{name}"].dtype) for name in shard.saved]
    config = flat_config(shard.attributes["config"])
    return facts | {k: v for k, v in config.items() if not is_free(k)}


def _check_one_run(shards: Sequence[Result]) -> None:
    """All like most of them: the odd one out is named, wherever it stands in the list."""
    facts = [_facts(shard) for shard in shards]
    common = Counter(map(repr, facts)).most_common(1)[0][0]
    most = next(i for i, f in enumerate(facts) if repr(f) == common)
    for shard, own in zip(shards, facts, strict=True):
        changed = differences(own, facts[most])
        if changed:
            changed = [text.replace(", was ", " here and there ") for text in changed[:3]]
            what = f"is of another run than {shards[most].path}: {'; '.join(changed)}"
            raise OutputError(os.fspath(shard.path), what, "merge the shards of one run only")


def _check_numbers(shards: Sequence[Result]) -> None:
    count = int(shards[0].attributes["shard_count"])
    seen: dict[int, Result] = {}
    for shard in shards:
        index = int(shard.attributes["shard_index"])
        if index in seen:
            what = f"is shard {index} of {count}, and so is {seen[index].path}"
            raise OutputError(os.fspath(shard.path), what, "give each shard once")
        seen[index] = shard
    missing = [i for i in range(1, count + 1) if i not in seen]
    if missing:
        names = ", ".join(map(str, missing[:20])) + (", ..." if len(missing) > 20 else "")
        word = "shard" if len(missing) == 1 else "shards"
        what = f"{word} {names} of {count} missing"
        raise OutputError("merge", what, "run them, or add them to the command")


def _check_rows(shard: Result) -> None:
    low, high = shard.attributes["record_start"], shard.attributes["record_stop"]
    last = low - 1
    for start in range(0, shard.n_regions, 1 << 20):
        index = shard.read("regions/input_index", slice(start, start + (1 << 20)))
        if index[0] <= last or index[-1] >= high or not (np.diff(index) > 0).all():
            what = f"has rows that are doubled, out of order or not of records {low} to {high}"
            raise OutputError(os.fspath(shard.path), what, "compute this shard again")
        last = int(index[-1])


# --- the file -----------------------------------------------------------------------------------


def merged_attributes(shards: Sequence[Result], out: Path, command: str) -> dict[str, Any]:
    """The root's attributes, as an unsharded run would have them."""
    every = [shard.attributes for shard in shards]
    values = {k: v for k, v in every[0].items() if k not in ("shard_index", "shard_count")}
    sizes = {a["batch_size"] for a in every}
    values |= {
        "created": min(a["created"] for a in every),
        "command": command,
        "config": _unsharded(every[0]["config"], out),
        "device": ", ".join(sorted({a["device"] for a in every})),
        "n_regions": sum(a["n_regions"] for a in every),
        "record_start": 0,
        "record_stop": every[0]["n_records"],
        "batch_size": sizes.pop() if len(sizes) == 1 else 0,
    }
    for name in ("verify_max_abs_error", "verify_max_rel_error"):
        known = [a[name] for a in every if not math.isnan(a[name])]
        values[name] = max(known, default=math.nan)
    return values


def _unsharded(config: str, out: Path) -> str:
    """The settings without what was particular to one shard."""
    import yaml

    tree = yaml.safe_load(config) or {}
    if isinstance(tree.get("run"), dict) and "shard" in tree["run"]:
        tree["run"]["shard"] = None
    if isinstance(tree.get("output"), dict) and "path" in tree["output"]:
        tree["output"]["path"] = os.fspath(out)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=10_000)


def _assemble(
    shards: Sequence[Result], temporary: Path, target: Path, link: bool, command: str
) -> None:
    first = shards[0]
    n = sum(shard.n_regions for shard in shards)
    dtype = str(first.file[f"scores/{first.saved[0]}"].dtype)
    datasets = [d for d in datasets_for(first.saved) if d.per_row]
    linked = [d for d in datasets if link and n and not d.path.startswith("regions/")]
    if not linked:
        check_room(target, sum(shard.path.stat().st_size for shard in shards))
    skip = frozenset(d.path for d in linked)
    with Builder(
        temporary,
        n,
        first.sizes,
        first.saved,
        dtype,
        _codec(shards),
        os.fspath(target),
        skip,
    ) as file:
        file.attributes(merged_attributes(shards, target, command))
        file.targets(first.targets)
        for dataset in datasets:
            if dataset.path in skip:
                _link(shards, dataset, n, target, file.file)
            else:
                _copy(shards, dataset, file)


def _codec(shards: Sequence[Result]) -> Codec:
    """As the first shard with rows is compressed."""
    for shard in shards:
        if shard.n_regions:
            data = shard.file["sequences"]
            return Codec(data.compression or "none", int(data.compression_opts or 0))
    return Codec("none")


def _copy(shards: Sequence[Result], dataset: Dataset, file: Builder) -> None:
    row = 0
    for shard in shards:
        data = shard.file[dataset.path]
        if shard.n_regions == 0:
            continue
        if data.chunks == file.chunk_of(dataset.path) and _same_filters(data, file.codec):
            _copy_chunks(shard, dataset, row, file)
        else:
            for start in range(0, shard.n_regions, _step(dataset, data)):
                rows = slice(start, start + _step(dataset, data))
                values = shard.read(dataset.path, rows)
                file.rows(dataset.path, list(values) if dataset.dtype == TEXT else values)
        row += shard.n_regions


def _step(dataset: Dataset, data: h5py.Dataset) -> int:
    """Rows to read at once: whole chunks, a few MiB."""
    if dataset.dtype == TEXT:
        return _ROWS
    row = max(1, data.dtype.itemsize * math.prod(data.shape[1:]))
    chunk = data.chunks[0] if data.chunks else 1
    return chunk * max(1, (4 << 20) // (row * chunk))


def _same_filters(data: h5py.Dataset, codec: Codec) -> bool:
    options = codec.create_options()
    return (
        data.compression == options.get("compression")
        and data.shuffle == options.get("shuffle", False)
        and not data.fletcher32
        and data.scaleoffset is None
    )


def _copy_chunks(shard: Result, dataset: Dataset, row: int, file: Builder) -> None:
    data = shard.file[dataset.path]
    for start in chunk_starts(data.shape, data.chunks):
        with damage(shard.path):
            mask, chunk = data.id.read_direct_chunk(start)
        if data.compression == "gzip" and mask == 0:
            _check_chunk(shard, dataset, start[0], chunk)
        file.chunk(dataset.path, (row + start[0], *start[1:]), chunk, mask)


def _check_chunk(shard: Result, dataset: Dataset, row: int, chunk: bytes) -> None:
    """Unpack it, for its checksum: a copy with a hole has the right size and zeros inside."""
    try:
        zlib.decompress(chunk)
    except zlib.error as error:
        what = f"/{dataset.path} is damaged at row {row}"
        raise OutputError(os.fspath(shard.path), what, "compute this shard again") from error


def _link(
    shards: Sequence[Result], dataset: Dataset, n: int, target: Path, file: h5py.File
) -> None:
    """A virtual dataset; shards are referred to from the folder of the merged file."""
    data = shards[0].file[dataset.path]
    layout = h5py.VirtualLayout((n, *data.shape[1:]), data.dtype)
    row = 0
    for shard in shards:
        if shard.n_regions:
            name = os.path.relpath(os.path.realpath(shard.path), target.parent)
            shape = shard.file[dataset.path].shape
            layout[row : row + shape[0]] = h5py.VirtualSource(name, dataset.path, shape, data.dtype)
            row += shape[0]
    fill = np.nan if data.dtype.kind == "f" else 255
    file.create_virtual_dataset(dataset.path, layout, fillvalue=fill)
