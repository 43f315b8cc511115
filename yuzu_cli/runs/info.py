"""What a file is, in plain values fit for JSON: an output, a plan, or work in progress.

Looks at facts and sizes, never at scores.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from yuzu_cli.results.estimate import agreement
from yuzu_cli.results.hdf5 import asked_of, attributes_of, open_hdf5
from yuzu_cli.results.reader import Result, open_result
from yuzu_cli.results.schema import FORMAT, MANIFEST, TEXT, datasets_for
from yuzu_cli.runs.folder import Manifest, PartFolder
from yuzu_cli.runs.log import read_log


def info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What is in a file, or the `.part` folder of an unfinished run, as plain values fit for JSON.

    ``kind`` is ``output``, ``plan`` or ``unfinished``; NaN is None.

    Raises
    ------
    OutputError
        When it is none of these.
    """
    path = Path(path)
    part = PartFolder(path) if path.exists() else PartFolder.of(path)
    if (part.path / MANIFEST).exists():
        return _info_unfinished(part)
    with open_hdf5(path) as file:
        kind = file.attrs.get("format")
        if isinstance(kind, str) and kind.startswith(FORMAT) and kind != FORMAT:
            attributes = _without_nan(attributes_of(file))
            size = path.stat().st_size
            return {"kind": "plan", "path": os.fspath(path), "bytes": size} | attributes
    with open_result(path) as result:
        return _info_output(result)


def _info_output(result: Result) -> dict[str, Any]:
    datasets = {}
    for dataset in datasets_for(asked_of(result.file)):
        if dataset.path not in result.file:
            continue  # labels, which yuzu 0.1 did not write
        data = result.file[dataset.path]
        dtype = "utf-8" if dataset.dtype == TEXT else str(data.dtype)
        datasets["/" + dataset.path] = {
            "axes": dataset.axes,
            "shape": list(data.shape),
            "dtype": dtype,
            "compression": data.compression or "none",
            "chunk": list(data.chunks) if data.chunks else None,
            "stored_bytes": data.id.get_storage_size(),
            "linked": bool(data.is_virtual),
        }
    attributes = _without_nan(result.attributes)
    answered = attributes["record_stop"] - attributes["record_start"]
    return {
        "kind": "output",
        "path": os.fspath(result.path),
        "bytes": result.path.stat().st_size,
        **attributes,
        "length": result.length,
        "targets": result.targets,
        "scores": list(result.saved),
        "estimate": agreement(result),
        "dropped": answered - result.n_regions,
        "status": result.status_counts(),
        "datasets": datasets,
    }


def _info_unfinished(part: PartFolder) -> dict[str, Any]:
    manifest = Manifest.load(part.path)
    assert manifest is not None
    run, rows = manifest.info, 0
    done: set[int] = set()
    for log in part.logs(manifest.run_id):
        told: dict[str, Any] = {}
        with suppress(FileNotFoundError):  # it may be sealed meanwhile
            for facts, _ in read_log(log):
                told |= facts
        if "stop" in told:
            done.update(run.batches_of(told["start"], told["stop"]))
            rows += told["rows"]
    for path in part.sealed(manifest.run_id):
        with open_result(path) as result:
            ends = result.attributes["record_start"], result.attributes["record_stop"]
            done.update(run.batches_of(*ends))
            rows += result.n_regions
    return {
        "kind": "unfinished",
        "path": os.fspath(part.path),
        "batches": len(run.batches),
        "batches_done": len(done),
        **_without_nan(run.attributes(rows)),
        "length": run.length,
        "targets": list(run.targets),
        "scores": list(run.save),
    }


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}
