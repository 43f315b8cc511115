"""`OUT.h5.part/`, the folder beside an output: whose it is, what is in it, how it goes.

Deletes only files that this tool named, so that a folder of somebody else's survives a mistake.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from yuzu_cli.errors import OutputError
from yuzu_cli.files import disk_errors, remove, sync_folder, token, write_atomically
from yuzu_cli.results.schema import MANIFEST, UNFINISHED
from yuzu_cli.runs.lock import LOCK, HeldError, Lock
from yuzu_cli.runs.log import DATA, LOG, SEALED
from yuzu_cli.runs.run_info import RunInfo, differences, identity

#: Beside an output, what it is linked to.
SEGMENTS = ".segments"
#: Takes the place of a run's id in the name of a file that will be linked to segments.
LINK = "link"
_ENDINGS = (".tmp", DATA, LOG, SEALED)
#: Seconds between two looks at a run that is waited for.
WAIT = 1.0
#: Of unfinished work; that of version 1 (yuzu 0.1) cannot be continued.
PART_VERSION = 2

_log = logging.getLogger(__name__)


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
    def load(cls, folder: Path, tolerant: bool = False) -> Manifest | None:
        """The manifest in `folder`; None when there is none.

        An OutputError, or None if `tolerant`, when it cannot be read or is of another version.
        """
        data: dict[str, Any] = {}
        try:
            data = json.loads((folder / MANIFEST).read_bytes())
            found = data.get("format_version")
            what = f"is of format {found}, this yuzu continues {PART_VERSION}"
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            what = f"cannot be read ({error})"
        if data.get("format_version") == PART_VERSION:
            known = {
                f.name: data["info"][f.name] for f in fields(RunInfo) if f.name in data["info"]
            }
            return cls(data["run_id"], RunInfo(**known))
        if tolerant:
            return None
        raise OutputError(os.fspath(folder / MANIFEST), what, "use --no-resume to start again")


class PartFolder:
    """The folder; whoever calls a method that changes something holds its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.force = False

    @classmethod
    def of(cls, target: Path) -> PartFolder:
        """That of an output, whether it is there or not."""
        return cls(target.with_name(target.name + UNFINISHED))

    @classmethod
    def make(cls, target: Path) -> PartFolder:
        """That of an output, created if need be; an OutputError if it cannot be, or is foreign."""
        check_folder(target.parent)
        part = cls.of(target)
        names: list[str] = []
        with disk_errors(part.path):
            with suppress(FileExistsError):
                os.mkdir(part.path)
            sync_folder(target.parent)
            with suppress(FileNotFoundError):  # a run that ends just now has removed it
                names = os.listdir(part.path)
        strange = [name for name in names if not _is_ours(name)]
        if strange:
            what = f"holds files that are not yuzu's ({strange[0]})"
            raise OutputError(os.fspath(part.path), what, "move it away")
        return part

    def lock(self, patient: RunInfo | None = None) -> Lock:
        """Its lock; a live run that does just what `patient` says is waited for.

        An OutputError when another one holds it; the folder does not stay behind.
        """
        told = False
        while True:
            try:
                return Lock(self.path)
            except OutputError as error:
                if patient is None or not self._held_by_twin(error, patient):
                    self.remove_if_empty()
                    raise
                if not told:
                    _log.warning("%s: %s; waiting for it to end", error.where, error.what)
                told = True
                time.sleep(WAIT)

    def _held_by_twin(self, error: OutputError, info: RunInfo) -> bool:
        found = Manifest.load(self.path, tolerant=True)
        alike = found is None or not differences(identity(info), identity(found.info))
        return isinstance(error, HeldError) and alike

    def take_over(
        self, found: Manifest | None, info: RunInfo, *, resume: bool, force: bool
    ) -> Manifest:
        """Continue what is here, or begin anew.

        An OutputError when it is of other settings, and neither `force` nor `resume` = False allows
        to drop it.
        """
        self.force = force
        if found is not None and resume:
            changed = differences(identity(info), identity(found.info))
            if not changed:
                return found
            if not force:
                what = f"the unfinished run here had other settings: {'; '.join(changed[:3])}"
                if len(changed) > 3:
                    what += f"; and {len(changed) - 3} more"
                hint = "use the same settings to continue, or --no-resume to start again"
                raise OutputError(os.fspath(self.path), what, hint)
        return self.begin(Manifest(token(), info))

    def begin(self, manifest: Manifest) -> Manifest:
        """Make it that of another run, without rows."""
        # The manifest first: from here on no segment of the old run is anybody's.
        manifest.save(self.path)
        self.sweep()
        return manifest

    def logs(self, run_id: str) -> list[Path]:
        """Logs of the segments that a run has not sealed."""
        return sorted(self.path.glob(f"{run_id}-*{LOG}"))

    def sealed(self, run_id: str) -> list[Path]:
        """Segments that a run has sealed, here and where finished ones are linked to."""
        folders = (self.path, self.segments)
        return sorted(path for folder in folders for path in folder.glob(f"{run_id}-*{SEALED}"))

    @property
    def segments(self) -> Path:
        """The folder of the segments that a finished output is linked to."""
        return self.path.with_suffix(SEGMENTS)

    def move_out(self, sealed: Sequence[Path]) -> list[Path]:
        """Bring segments to where a linked output finds them."""
        with disk_errors(self.segments):
            self.segments.mkdir(exist_ok=True)
            moved = [self.segments / path.name for path in sealed]
            for old, new in zip(sealed, moved, strict=True):
                if old != new:
                    os.replace(old, new)
            sync_folder(self.segments)
            sync_folder(self.segments.parent)
        return moved

    def sweep(self, keep: Collection[Path] = ()) -> None:
        """Delete all but the lock, the manifest and what is to be kept."""
        with suppress(FileNotFoundError):
            for path in self.path.iterdir():
                if path.name.endswith(_ENDINGS) and path not in keep:
                    remove(path)

    def clear(self) -> None:
        """Delete all of it but the lock; the manifest last, so that this can be interrupted."""
        self.sweep()
        remove(self.path / MANIFEST)

    def drop_segments(self, run_id: str) -> None:
        """Delete the segments of outputs that stood here before that of run `run_id`."""
        for path in self.segments.glob(f"*{SEALED}"):
            if not path.name.startswith(f"{run_id}-"):
                remove(path)
        with suppress(OSError):
            self.segments.rmdir()

    def remove_if_empty(self) -> None:
        """Delete the folder if nothing is left in it."""
        with suppress(OSError):
            self.path.rmdir()


def check_folder(folder: Path) -> None:
    """Whether files can be made in a folder; an OutputError when not."""
    if not folder.is_dir():
        what = "there is no such folder"
        raise OutputError(os.fspath(folder), what, "create it, or mend the output's path")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(os.fspath(folder), "may not be written to", "take another output")


def _is_ours(name: str) -> bool:
    # `.nfs…` is what NFS leaves of a file that was deleted while it was open somewhere.
    return name in (MANIFEST, LOCK) or name.endswith(_ENDINGS) or name.startswith(".nfs")
