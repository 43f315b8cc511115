"""What stands at the path of an output, and whether a file may be put there.

Deletes nothing, and replaces only what it was told that it may.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py

from yuzu_cli.errors import OutputError
from yuzu_cli.files import disk_errors, size_text, sync_folder
from yuzu_cli.results.reader import open_result
from yuzu_cli.results.schema import FORMAT, UNFINISHED
from yuzu_cli.runs.identity import Identity, differences, settings_of
from yuzu_cli.runs.manifest import Manifest
from yuzu_cli.runs.run_info import RunInfo


def _stated(path: Path) -> dict[str, Any]:
    """What tells an output, of whatever version, from another; nothing of files without regions."""
    names = ("format", "created", "model_sha256", "input_sha256")
    try:
        with h5py.File(path, "r", locking=False) as file:
            return {name: file.attrs.get(name) for name in names if "regions" in file}
    except (OSError, RuntimeError):
        return {}


def finished_by(path: Path, info: RunInfo) -> bool:
    """Whether the file at `path` was finished by this very run: a kill may come just after."""
    stated = _stated(path)
    return [info.created, info.model_sha256, info.input_sha256] == [*stated.values()][1:]


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
    manifest = Manifest.load(path.with_name(path.name + UNFINISHED), tolerant=True)
    found = recorded(path) if manifest is None else manifest.info
    if found is None or differences(settings_of(config), settings_of(found.config)):
        return None
    return found.backend


def check_target(path: Path, force: bool, inputs: Sequence[str | os.PathLike[str]] = ()) -> None:
    """Whether a file may be put at `path`.

    Raises
    ------
    OutputError
        When something is there that must stay, or may only go by `force`.
    """
    shown = os.fspath(path)
    if not path.exists():
        return
    for other in inputs:
        if os.path.exists(other) and os.path.samefile(path, other):
            raise OutputError(shown, "is an input of this run", "take another output")
    if not path.is_file():
        raise OutputError(shown, "is not a regular file", "take another output")
    if _stated(path).get("format") != FORMAT:
        what = "exists and is not an output of yuzu, so it is not replaced"
        raise OutputError(shown, what, "take another output, or move that file away")
    if not force:
        raise OutputError(shown, "exists", "use --force to replace it")


def preflight(
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    inputs: Sequence[str | os.PathLike[str]] = (),
    accept: str | None = None,
) -> None:
    """Whether a run to `path` could begin, asked before long work; `OutputRun.open` asks again.

    Parameters
    ----------
    path : path
    force : bool
    inputs : sequence of paths
        As `OutputRun.open` takes them.
    accept : str, optional
        Settings as YAML. A finished output that may be of these is no obstacle.

    Raises
    ------
    OutputError
        When the folder is missing or may not be written to, or the path is taken.
    """
    target = Path(os.path.realpath(path))
    check_folder(target.parent)
    found = Manifest.load(target.with_name(target.name + UNFINISHED), tolerant=True)
    if found is not None and finished_by(target, found.info):
        return
    if accept is None or not may_be_of(target, accept):
        check_target(target, force, inputs)


def check_folder(folder: Path) -> None:
    """Whether files can be made in a folder.

    Raises
    ------
    OutputError
        When not.
    """
    if not folder.is_dir():
        what = "there is no such folder"
        raise OutputError(os.fspath(folder), what, "create it, or mend the output's path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(os.fspath(folder), "may not be written to", "take another output")


def check_room(path: Path, needed: int) -> None:
    """Whether the disk has room for the finished file: better now than after an hour of copying.

    Raises
    ------
    OutputError
        When it has not.
    """
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        what = f"the finished file needs {size_text(needed)} more, {size_text(free)} are free"
        hint = "free some space, then run the same command to continue"
        raise OutputError(os.fspath(path), what, hint)


def shortage(path: str | os.PathLike[str], info: RunInfo) -> str:
    """What to tell a user whose disk may be too small for a run; empty when it is not."""
    target = Path(os.path.realpath(path))
    free, needed = shutil.disk_usage(target.parent).free, info.disk_bytes()
    part = target.with_name(target.name + UNFINISHED)
    there = sum(p.stat().st_size for p in part.glob("*"))
    if needed - there <= free:
        return ""
    return (
        f"{target.parent}: the run needs up to {size_text(needed)} (compression makes it less), "
        f"and {size_text(free)} are free"
    )


def publish(finished: Path, path: Path, force: bool) -> None:
    """Move the finished, synced file to its path.

    Raises
    ------
    OutputError
        When a file came to be there meanwhile and may not be replaced.
    """
    check_target(path, force)
    with disk_errors(path):
        os.replace(finished, path)
        sync_folder(path.parent)
