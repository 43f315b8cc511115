"""Joining the shards of a run into the file an unsharded run would have written, or refusing.

Nothing is recomputed and nothing assumed: the shards must be of one run, by hashes and settings,
and answer for every record of the input exactly once. Chunks are copied as they are, one at a time.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from yuzu_cli.errors import OutputError, UsageError
from yuzu_cli.files import token
from yuzu_cli.results.hdf5 import damage
from yuzu_cli.results.reader import Result, open_result
from yuzu_cli.results.schema import TEXT, Dataset, datasets_for, numpy_dtype, row_shape
from yuzu_cli.runs.compression import Codec
from yuzu_cli.runs.folder import PartFolder, check_room, check_target, publish
from yuzu_cli.runs.lock import Lock
from yuzu_cli.runs.new_file import Builder, chunk_starts
from yuzu_cli.runs.shards import Shard, check_shards, look, unlike

_ROWS = 4096

_log = logging.getLogger(__name__)


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
    for sentence in unlike(ordered):
        _log.warning("%s", sentence)
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
    for name in (key for key in every[0] if key.startswith("verify_")):
        known = [a[name] for a in every if not math.isnan(a.get(name, math.nan))]
        values[name] = max(known, default=math.nan)
    values["n_mended"] = sum(a.get("n_mended", 0) for a in every)
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
