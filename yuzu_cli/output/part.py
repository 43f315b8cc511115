"""`OUT.h5.part/`, the folder beside an output: who may use it, what is in it, how it goes.

Also the two questions about the path itself: may a file be put there, and is what stands there
ours. Deletes only files that this tool named, so that a folder of somebody else's survives a
mistake.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import h5py

from yuzu_cli.errors import OutputError
from yuzu_cli.output.files import disk_errors, remove, size_text, sync_folder, token
from yuzu_cli.output.lock import LOCK
from yuzu_cli.output.manifest import MANIFEST, Manifest, differences, identity
from yuzu_cli.output.run_info import RunInfo
from yuzu_cli.output.schema import FORMAT
from yuzu_cli.output.segments import log_files

SUFFIX = ".part"


class PartFolder:
    """The folder; whoever calls a method that changes something holds its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.force = False

    @classmethod
    def make(cls, target: Path) -> PartFolder:
        """The folder for an output, created if need be.

        Raises
        ------
        OutputError
            When it cannot be, or is somebody else's.
        """
        if not target.parent.is_dir():
            what = "there is no such folder"
            raise OutputError(
                os.fspath(target.parent), what, "create it, or mend the output's path"
            )
        part = cls(target.with_name(target.name + SUFFIX))
        with disk_errors(part.path):
            part.path.mkdir(exist_ok=True)
            sync_folder(target.parent)
        strange = [p.name for p in part.path.iterdir() if not _is_ours(p.name)]
        if strange:
            what = f"holds files that are not yuzu's ({strange[0]})"
            raise OutputError(os.fspath(part.path), what, "move it away")
        return part

    def manifest(self, tolerant: bool = False) -> Manifest | None:
        """What is recorded here; None for nothing, or (if tolerant) nothing readable."""
        try:
            return Manifest.load(self.path)
        except OutputError:
            if tolerant:
                return None
            raise

    def take_over(
        self, found: Manifest | None, info: RunInfo, *, resume: bool, force: bool
    ) -> Manifest:
        """Continue what is here, or begin anew.

        Raises
        ------
        OutputError
            When it is of other settings, and neither `force` nor `resume` = False allows to drop
            it.
        """
        self.force = force
        if found is not None and resume:
            changed = differences(identity(info), identity(found.info))
            if not changed:
                self.tidy()
                return found
            if not force:
                what = f"the unfinished run here had other settings: {'; '.join(changed[:3])}"
                if len(changed) > 3:
                    what += f"; and {len(changed) - 3} more"
                hint = "use the same settings to continue, or --no-resume to start again"
                raise OutputError(os.fspath(self.path), what, hint)
        # The manifest first: from here on no log of the old run is anybody's.
        manifest = Manifest(token(), info)
        manifest.save(self.path)
        for path in log_files(self.path):
            remove(path)
        self.tidy()
        return manifest

    def tidy(self) -> None:
        """Delete what an interrupted process was in the middle of making."""
        for path in self.path.glob("*.tmp"):
            remove(path)

    def clear(self) -> None:
        """Delete all of it but the lock; the manifest last, so that this can be interrupted."""
        self.tidy()
        for path in log_files(self.path):
            remove(path)
        remove(self.path / MANIFEST)

    def remove_if_empty(self) -> None:
        """Delete the folder if nothing is left in it."""
        with suppress(OSError):
            self.path.rmdir()


def _is_ours(name: str) -> bool:
    return name in (MANIFEST, LOCK) or name.endswith(".tmp") or name.startswith("batches-")


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
    if not is_output(path):
        what = "exists and is not an output of yuzu, so it is not replaced"
        raise OutputError(shown, what, "take another output, or move that file away")
    if not force:
        raise OutputError(shown, "exists", "use --force to replace it")


def preflight(
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    inputs: Sequence[str | os.PathLike[str]] = (),
) -> None:
    """Whether a run to `path` could begin, asked before long work; `OutputRun.open` asks again.

    Raises
    ------
    OutputError
        When the folder is missing or may not be written to, or the path is taken.
    """
    target = Path(os.path.realpath(path))
    _check_folder(target.parent)
    part = PartFolder(target.with_name(target.name + SUFFIX))
    found = part.manifest(tolerant=True)
    if found is None or not finished_by(target, found.info):
        check_target(target, force, inputs)


def _check_folder(folder: Path) -> None:
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


def publish(temporary: Path, path: Path, force: bool) -> None:
    """Move the finished, synced file to its path.

    Raises
    ------
    OutputError
        When a file came to be there meanwhile and may not be replaced.
    """
    try:
        check_target(path, force)
        with disk_errors(path):
            os.replace(temporary, path)
            sync_folder(path.parent)
    except BaseException:
        remove(temporary)
        raise
