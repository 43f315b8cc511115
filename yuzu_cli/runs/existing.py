"""What stands at an output's path already: a result, this very run's, one of the same settings?

Reads and says; deletes and replaces nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

from yuzu_cli.errors import OutputError
from yuzu_cli.results.reader import Result, open_result
from yuzu_cli.results.schema import FORMAT, UNFINISHED
from yuzu_cli.runs.identity import Manifest, differences, flat_config, identity, is_free
from yuzu_cli.runs.run_info import RunInfo

#: Facts of a run that its file states under the same name.
_STATED = (
    "config",
    "model_sha256",
    "input_sha256",
    "alphabet",
    "backend",
    "device",
    "precision",
    "mutate_start",
    "mutate_end",
    "batch_size",
    "n_records",
    "record_start",
    "record_stop",
    "torch_version",
    "yuzu_version",
    "created",
)


def is_output(path: Path) -> bool:
    """Whether a file is a finished output of this tool, of whatever version."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return file.attrs.get("format") == FORMAT and "regions" in file
    except (OSError, RuntimeError):
        return False


def finished_by(path: Path, info: RunInfo) -> bool:
    """Whether the file at `path` was finished by this very run: a kill may come just after."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return (
                file.attrs.get("created") == info.created
                and file.attrs.get("model_sha256") == info.model_sha256
                and file.attrs.get("input_sha256") == info.input_sha256
            )
    except (OSError, RuntimeError):
        return False


def recorded(path: Path) -> RunInfo | None:
    """The run that a finished file is of, as the file states it; None when that is not to be had.

    Merged files of shards with different batches state no batch size, and are None here.
    """
    try:
        with open_result(path) as result:
            return _info(result)
    except (OutputError, OSError, RuntimeError, KeyError, ValueError, TypeError):
        return None


def _info(result: Result) -> RunInfo:
    stated: dict[str, Any] = {name: result.attributes[name] for name in _STATED}
    scores = result.file[f"scores/{result.saved[0]}"]
    config = flat_config(stated["config"])
    return RunInfo(
        **stated,
        length=result.length,
        targets=tuple(result.targets),
        save=result.saved,
        dtype=str(scores.dtype),
        compression=config.get("output.compression", "gzip"),
        shard_index=result.attributes.get("shard_index"),
        shard_count=result.attributes.get("shard_count"),
    )


def same_run(path: Path, info: RunInfo) -> RunInfo | None:
    """The run that the file at `path` is of, if it is what `info` would compute again."""
    found = recorded(path)
    if found is None or differences(identity(info), identity(found)):
        return None
    return found


def may_be_of(path: Path, config: str) -> bool:
    """Whether the file at `path` can be a result of these settings, as far as text can tell."""
    found = recorded(path)
    return found is not None and _same_text(found.config, config)


def backend_of(path: Path, config: str) -> str | None:
    """The backend of a finished or unfinished run of these settings at `path`, if there is one."""
    part = path.with_name(path.name + UNFINISHED)
    try:
        manifest = Manifest.load(part)
    except OutputError:
        return None
    found = recorded(path) if manifest is None else manifest.info
    return found.backend if found is not None and _same_text(found.config, config) else None


def _same_text(theirs: str, ours: str) -> bool:
    """Whether settings are the same, those aside that may change on the way."""
    plain = (
        {k: v for k, v in flat_config(text).items() if not is_free(k)} for text in (ours, theirs)
    )
    return not differences(*plain)
