"""The file in a folder of unfinished work that says whose it is, and what stands at a path already.

Reads and says; deletes and replaces nothing but the manifest.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import h5py

from yuzu_cli.errors import OutputError
from yuzu_cli.files import write_atomically
from yuzu_cli.results.reader import open_result
from yuzu_cli.results.schema import FORMAT, MANIFEST, UNFINISHED
from yuzu_cli.runs.identity import Identity, differences, settings_of
from yuzu_cli.runs.run_info import RunInfo

#: Of unfinished work; that of version 1 (yuzu 0.1) cannot be continued.
PART_VERSION = 2


@dataclass(frozen=True, slots=True)
class Manifest:
    """The record of work in progress; `run_id` ties segments to it, so others' are never taken."""

    run_id: str
    info: RunInfo

    def save(self, folder: Path) -> None:
        """Write durably; a reader sees the old one or the new one, never a piece."""
        data = {
            "format": "yuzu-part",
            "format_version": PART_VERSION,
            "run_id": self.run_id,
            "info": asdict(self.info),
        }
        write_atomically(folder / MANIFEST, json.dumps(data, indent=1).encode())

    @classmethod
    def load(cls, folder: Path) -> Manifest | None:
        """The manifest in `folder`; None when there is none.

        Raises
        ------
        OutputError
            When it cannot be read, or was written by another version.
        """
        path, hint = folder / MANIFEST, "use --no-resume to start again"
        try:
            data = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise OutputError(os.fspath(path), f"cannot be read ({error})", hint) from error
        if data.get("format_version") != PART_VERSION:
            what = f"is of format {data.get('format_version')}, this yuzu continues {PART_VERSION}"
            raise OutputError(os.fspath(path), what, hint)
        known = {f.name for f in fields(RunInfo)}
        return cls(data["run_id"], RunInfo(**{k: v for k, v in data["info"].items() if k in known}))

    def with_verify(self, max_abs: float, max_rel: float) -> Manifest:
        """The same with the measured errors."""
        info = replace(self.info, verify_max_abs_error=max_abs, verify_max_rel_error=max_rel)
        return replace(self, info=info)


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
            stated = [file.attrs.get(n) for n in ("created", "model_sha256", "input_sha256")]
    except (OSError, RuntimeError):
        return False
    return stated == [info.created, info.model_sha256, info.input_sha256]


def recorded(path: Path) -> RunInfo | None:
    """The run that a finished file is of, as the file states it; None when that is not to be had.

    Merged files of shards with different batches state no batch size, and are None here.
    """
    try:
        with open_result(path) as result:
            info = RunInfo.of(result)
    except (OutputError, OSError, RuntimeError, KeyError, ValueError, TypeError):
        return None
    return info if info.batch_size else None


def same_run(path: Path, info: RunInfo) -> RunInfo | None:
    """The run that the file at `path` is of, if it is what `info` would compute again."""
    found = recorded(path)
    if found is None or Identity.of(info).differences(Identity.of(found)):
        return None
    return found


def may_be_of(path: Path, config: str) -> bool:
    """Whether the file at `path` can be a result of these settings, as far as text can tell."""
    found = recorded(path)
    return found is not None and not differences(settings_of(config), settings_of(found.config))


def backend_of(path: Path, config: str) -> str | None:
    """The backend of a finished or unfinished run of these settings at `path`, if there is one."""
    try:
        manifest = Manifest.load(path.with_name(path.name + UNFINISHED))
    except OutputError:
        return None
    found = recorded(path) if manifest is None else manifest.info
    if found is None or differences(settings_of(config), settings_of(found.config)):
        return None
    return found.backend
