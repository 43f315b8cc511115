"""Joining the shards of a run into the file an unsharded run would have written, or refusing.

Nothing is recomputed and nothing assumed: the shards must be of one run, by hashes and settings,
and answer for every record of the input exactly once. Chunks are copied as they are, one at a time.
"""

from __future__ import annotations

import hashlib
import math
import os
import shlex
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
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
from yuzu_cli.output.schema import TEXT, Dataset, datasets_for, numpy_dtype, row_shape

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
    ordered = check_shards([look(path) for path in shards])
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


@dataclass(frozen=True, slots=True)
class Shard:
    """What is to be known of a shard; the file itself is closed, since there may be thousands.

    Attributes
    ----------
    path : Path
    attributes : dict
        Of the root.
    sizes : dict
        Length of each axis by letter, N too.
    saved : tuple of str
        Scores in it.
    dtype : str
        Of the scores.
    codec : Codec or None
        How it is compressed; None without rows.
    facts : dict
        What all shards of a run have in common, by a name the user knows.
    """

    path: Path
    attributes: dict[str, Any]
    sizes: dict[str, int]
    saved: tuple[str, ...]
    dtype: str
    codec: Codec | None
    facts: dict[str, Any]


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
        data = result.file["sequences"]
        codec = Codec(data.compression or "none", int(data.compression_opts or 0))
        return Shard(
            path=Path(path),
            attributes=result.attributes,
            sizes=result.sizes,
            saved=result.saved,
            dtype=str(result.file[f"scores/{result.saved[0]}"].dtype),
            codec=codec if result.n_regions else None,
            facts=_facts(result),
        )


def _facts(result: Result) -> dict[str, Any]:
    facts = {shown: result.attributes.get(name) for name, shown in _COMMON.items()}
    names = "\0".join(result.targets).encode()
    facts["length"] = result.length
    facts["targets"] = f"{len(result.targets)} ({hashlib.sha256(names).hexdigest()[:8]})"
    facts["score.save"] = list(result.saved)
    facts["score.dtype"] = [str(result.file[f"scores/{name}"].dtype) for name in result.saved]
    config = flat_config(result.attributes["config"])
    return facts | {k: v for k, v in config.items() if not is_free(k)}


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
    key = itemgetter("record_start", "record_stop")
    ordered = sorted(shards, key=lambda shard: key(shard.attributes))
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
    return ordered


def _check_one_run(shards: Sequence[Shard]) -> None:
    """All like most of them: the odd one out is named, wherever it stands in the list."""
    common = Counter(repr(shard.facts) for shard in shards).most_common(1)[0][0]
    most = next(shard for shard in shards if repr(shard.facts) == common)
    for shard in shards:
        changed = differences(shard.facts, most.facts)
        if changed:
            texts = [text.replace(", was ", " here and there ") for text in changed[:3]]
            what = f"is of another run than {most.path}: {'; '.join(texts)}"
            raise OutputError(os.fspath(shard.path), what, "merge the shards of one run only")


def _check_numbers(shards: Sequence[Shard]) -> None:
    count = int(shards[0].attributes["shard_count"])
    seen: dict[int, Shard] = {}
    for shard in shards:
        index = int(shard.attributes["shard_index"])
        if index in seen:
            what = f"is shard {index} of {count}, and so is {seen[index].path}"
            raise OutputError(os.fspath(shard.path), what, "give each shard once")
        seen[index] = shard
    missing = [i for i in range(1, count + 1) if i not in seen]
    if missing:
        names = ", ".join(map(str, missing[:20])) + (", ..." if len(missing) > 20 else "")
        what = f"{'shard' if len(missing) == 1 else 'shards'} {names} of {count} missing"
        raise OutputError("merge", what, "run them, or add them to the command")


# --- the file -----------------------------------------------------------------------------------


def merged_attributes(shards: Sequence[Shard], out: Path, command: str) -> dict[str, Any]:
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
    shards: Sequence[Shard], temporary: Path, target: Path, link: bool, command: str
) -> None:
    first = shards[0]
    n = sum(shard.sizes["N"] for shard in shards)
    per_row = [d for d in datasets_for(first.saved) if d.per_row]
    linked = [d for d in per_row if link and n and not d.path.startswith("regions/")]
    copied = [d for d in per_row if d not in linked]
    if not linked:
        check_room(target, sum(shard.path.stat().st_size for shard in shards))
    codec = next((shard.codec for shard in shards if shard.codec is not None), Codec("none"))
    skip = [d.path for d in linked]
    with Builder(
        temporary, n, first.sizes, first.saved, first.dtype, codec, os.fspath(target), skip
    ) as file:
        file.attributes(merged_attributes(shards, target, command))
        with open_result(first.path) as result:
            file.targets(result.targets)
        row = 0
        for shard in shards:
            if shard.sizes["N"]:
                with open_result(shard.path) as result:
                    for dataset in copied:
                        _copy(result, dataset, row, file)
                row += shard.sizes["N"]
        for dataset in linked:
            _link(shards, dataset, n, target, file.file)


def _copy(shard: Result, dataset: Dataset, row: int, file: Builder) -> None:
    data = shard.file[dataset.path]
    if data.chunks == file.chunk_of(dataset.path) and _same_filters(data, file.codec):
        _copy_chunks(shard, dataset, row, file)
        return
    step = _step(dataset, data)
    for start in range(0, shard.n_regions, step):
        values = shard.read(dataset.path, slice(start, start + step))
        file.rows(dataset.path, list(values) if dataset.dtype == TEXT else values)


def _step(dataset: Dataset, data: h5py.Dataset) -> int:
    """Rows to read at once: whole chunks, about a MiB."""
    if dataset.dtype == TEXT:
        return _ROWS
    row = max(1, data.dtype.itemsize * math.prod(data.shape[1:]))
    chunk = data.chunks[0] if data.chunks else 1
    return chunk * max(1, (1 << 20) // (row * chunk))


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


def _link(shards: Sequence[Shard], dataset: Dataset, n: int, target: Path, file: h5py.File) -> None:
    """A virtual dataset; shards are referred to from the folder of the merged file."""
    dtype, shape = numpy_dtype(dataset, shards[0].dtype), row_shape(dataset, shards[0].sizes)
    layout = h5py.VirtualLayout((n, *shape), dtype)
    row = 0
    for shard in shards:
        count = shard.sizes["N"]
        if count:
            name = os.path.relpath(os.path.realpath(shard.path), target.parent)
            source = h5py.VirtualSource(name, dataset.path, (count, *shape), dtype)
            layout[row : row + count] = source
            row += count
    fill = np.nan if dtype.kind == "f" else 255
    file.create_virtual_dataset(dataset.path, layout, fillvalue=fill)
