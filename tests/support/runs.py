"""Synthetic runs for the tests of the output: rows from a seed per record, no model anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from yuzu_cli.results.schema import datasets_for
from yuzu_cli.runs import segments
from yuzu_cli.runs.writer import OutputRun, RunInfo

CONFIG = """\
score: {reduce: none}
compute: {backend: auto, seed: 0}
output: {path: out.h5}
run: {shard: null}
"""

ALL = ("delta", "l2", "contribution", "centered", "prediction")
#: Rows with chunks of their own.
WIDE: dict[str, Any] = {"length": 600, "mutate_end": 600}


def make_info(**changes: Any) -> RunInfo:
    """A small run; `changes` are fields of `RunInfo`, and `n_targets`."""
    n_targets = changes.pop("n_targets", 2)
    facts: dict[str, Any] = {
        "config": CONFIG,
        "model_sha256": "m" * 64,
        "input_sha256": "i" * 64,
        "alphabet": "ACGT",
        "backend": "naive",
        "device": "cpu",
        "precision": "float32",
        "length": 30,
        "mutate_start": 5,
        "mutate_end": 25,
        "targets": tuple(f"target {i}" for i in range(n_targets)),
        "save": ("delta",),
        "batch_size": 8,
        "n_records": 50,
        "torch_version": "2.0",
        "command": "yuzu run",
    }
    return RunInfo(**(facts | changes))


def shard_info(index: int, count: int, **changes: Any) -> RunInfo:
    """Shard `index` of `count`, from 1, cut evenly."""
    n = changes.get("n_records", 50)
    start, stop = n * (index - 1) // count, n * index // count
    config = CONFIG.replace("shard: null", f"shard: {index}/{count}")
    config = config.replace("out.h5", f"shard{index}.h5")
    shard = {"shard_index": index, "shard_count": count, "config": config}
    return make_info(**({"record_start": start, "record_stop": stop} | shard | changes))


def make_rows(info: RunInfo, start: int, stop: int, drop: int = 7) -> dict[str, Any]:
    """Rows of records [start, stop), every `drop`-th left out; the same whatever the batches."""
    records = [i for i in range(start, stop) if i % drop != drop - 1]
    n, sizes = len(records), info.sizes
    index = np.array(records, np.int64)
    rows: dict[str, Any] = {
        "regions/chrom": [f"chr{i % 3}" for i in records],
        "regions/name": [f"peak-{i}-é" for i in records],
        "regions/start": index * 10,
        "regions/end": index * 10 + info.length,
        "regions/strand": np.array([b"+", b"-", b"."])[index % 3],
        "regions/input_index": index,
        "regions/status": (index % 8).astype(np.uint8),
    }
    for dataset in datasets_for(info.save):
        if dataset.per_row and not dataset.label and dataset.path not in rows:
            shape = tuple(sizes[a] for a in dataset.axes.split()[1:])
            values = [_values(dataset.path, i, shape) for i in records]
            rows[dataset.path] = np.array(values).reshape(n, *shape)
    return rows


def _values(path: str, record: int, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng([record, len(path)])
    if path == "sequences":
        return rng.integers(0, 4, shape).astype(np.uint8)
    values = rng.normal(size=shape).astype(np.float32)
    values.flat[record % values.size] = np.nan
    return values


def write_all(run: OutputRun, limit: int | None = None) -> None:
    """Write what is pending; at most `limit` batches."""
    for done, (batch, start, stop) in enumerate(run.pending()):
        if limit is not None and done >= limit:
            return
        run.write(batch, make_rows(run.info, start, stop))


def write_file(path: Path, info: RunInfo, **options: Any) -> Path:
    """A whole run."""
    with OutputRun.open(path, info, **options) as run:
        write_all(run)
        return run.finish()


def write_shards(folder: Path, count: int, **changes: Any) -> list[Path]:
    """All shards of a run."""
    return [
        write_file(folder / f"shard{i}.h5", shard_info(i, count, **changes))
        for i in range(1, count + 1)
    ]


def make_hole(paths: list[Path]) -> list[Path]:
    """The same files, after zeros came into a chunk of the second."""
    with h5py.File(paths[1]) as file:
        place = file["scores/delta"].id.get_chunk_info(3)
    data = bytearray(paths[1].read_bytes())
    data[place.byte_offset + 9 : place.byte_offset + place.size] = bytes(place.size - 9)
    paths[1].write_bytes(data)
    return paths


def small_segments(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Let runs make segments of this size, and none that grows beyond it."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", size)
    monkeypatch.setattr(segments, "FIRST", size)


def data_files(part: Path) -> list[Path]:
    """The growing segments in a folder of unfinished work."""
    return sorted(part.glob("*.data"))


def content(path: Path, skip: tuple[str, ...] = ("created", "command")) -> dict[str, str]:
    """A digest of every dataset (values, type, chunks, filters) and attribute of a file."""
    found: dict[str, str] = {}
    with h5py.File(path, "r") as file:
        for name, value in file.attrs.items():
            if name not in skip:
                found["@" + name] = repr(value)

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                data = item[()]
                raw = repr(list(data)).encode() if data.dtype == object else data.tobytes()
                how = (item.shape, str(item.dtype), item.compression, item.shuffle)
                found[name] = f"{how} {hashlib.sha256(raw).hexdigest()}"

        file.visititems(visit)
    return found


def expect_rows(path: Path, info: RunInfo, rows: Mapping[str, Any] | None = None) -> None:
    """The file holds exactly the synthetic rows of its records."""
    rows = rows or make_rows(info, info.record_start, info.record_stop)
    with h5py.File(path, "r") as file:
        for name, values in rows.items():
            data = file[name]
            if data.dtype == object:
                assert list(data.asstr()[()]) == list(values), name
            else:
                wanted = np.asarray(values).astype(data.dtype)
                assert data.shape == wanted.shape, name
                assert data[()].tobytes() == wanted.tobytes(), name
