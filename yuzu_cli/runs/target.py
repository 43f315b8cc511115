"""What stands at the path of an output, and whether a file may be put there.

Deletes nothing, and replaces only what it was told that it may.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import h5py

from yuzu_cli.errors import OutputError
from yuzu_cli.files import disk_errors, size_text, sync_folder
from yuzu_cli.results.reader import open_result
from yuzu_cli.results.schema import FORMAT
from yuzu_cli.runs.folder import Manifest, PartFolder, check_folder
from yuzu_cli.runs.run_info import RunInfo, differences, identity, settings_of


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


def finished_by(path: Path, info: RunInfo) -> bool:
    """Whether the file at `path` was finished by this very run: a kill may come just after."""
    names = ("created", "model_sha256", "input_sha256")
    found = recorded(path)
    return found is not None and all(getattr(found, n) == getattr(info, n) for n in names)


def same_run(path: Path, info: RunInfo) -> RunInfo | None:
    """The run that the file at `path` is of, if it is what `info` would compute again."""
    found = recorded(path)
    if found is None or differences(identity(info), identity(found)):
        return None
    return found


def _told_by(config: str, found: RunInfo | None) -> bool:
    """Whether a run can be of these settings, as far as text can tell."""
    return found is not None and not differences(settings_of(config), settings_of(found.config))


def backend_of(path: Path, config: str) -> str | None:
    """The backend of a finished or unfinished run of these settings at `path`, if there is one."""
    manifest = Manifest.load(PartFolder.of(path).path, tolerant=True)
    found = recorded(path) if manifest is None else manifest.info
    return found.backend if found is not None and _told_by(config, found) else None


def check_target(path: Path, force: bool, inputs: Sequence[str | os.PathLike[str]] = ()) -> None:
    """An OutputError when something at `path` must stay, or may only go by `force`."""
    shown = os.fspath(path)
    if not path.exists():
        return
    for other in inputs:
        if os.path.exists(other) and os.path.samefile(path, other):
            raise OutputError(shown, "is an input of this run", "take another output")
    if not path.is_file():
        raise OutputError(shown, "is not a regular file", "take another output")
    if not _is_output(path):
        what = "exists and is not an output of yuzu, so it is not replaced"
        raise OutputError(shown, what, "take another output, or move that file away")
    if not force:
        raise OutputError(shown, "exists", "use --force to replace it")


def _is_output(path: Path) -> bool:
    """Of whatever version, and whether or not what it is linked to is there."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return bool(file.attrs.get("format") == FORMAT and "regions" in file)
    except (OSError, RuntimeError):
        return False


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
    path, force, inputs
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
    found = Manifest.load(PartFolder.of(target).path, tolerant=True)
    if found is not None and finished_by(target, found.info):
        return
    if accept is None or not _told_by(accept, recorded(target)):
        check_target(target, force, inputs)


def check_room(path: Path, needed: int) -> None:
    """An OutputError when the disk has no room for the finished file: better now than later."""
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        what = f"the finished file needs {size_text(needed)} more, {size_text(free)} are free"
        hint = "free some space, then run the same command to continue"
        raise OutputError(os.fspath(path), what, hint)


def shortage(path: str | os.PathLike[str], info: RunInfo) -> str:
    """What to tell a user whose disk may be too small for a run; empty when it is not."""
    target = Path(os.path.realpath(path))
    free, needed = shutil.disk_usage(target.parent).free, info.disk_bytes()
    there = sum(file.stat().st_size for file in PartFolder.of(target).path.glob("*"))
    if needed - there <= free:
        return ""
    return (
        f"{target.parent}: the run needs up to {size_text(needed)} (compression makes it less), "
        f"and {size_text(free)} are free"
    )


def publish(finished: Path, path: Path, force: bool) -> None:
    """Move the finished, synced file to its path; an OutputError if that was taken meanwhile."""
    check_target(path, force)
    with disk_errors(path):
        os.replace(finished, path)
        sync_folder(path.parent)
