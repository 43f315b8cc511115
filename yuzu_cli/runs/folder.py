"""`OUT.h5.part/`, the folder beside an output: who may use it, what is in it, how it goes.

Deletes only files that this tool named, so that a folder of somebody else's survives a mistake.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from yuzu_cli.errors import OutputError
from yuzu_cli.files import disk_errors, remove, sync_folder, token
from yuzu_cli.results.schema import MANIFEST, UNFINISHED
from yuzu_cli.runs.identity import Identity
from yuzu_cli.runs.lock import LOCK, Lock
from yuzu_cli.runs.log import DATA, LOG, SEALED
from yuzu_cli.runs.manifest import Manifest
from yuzu_cli.runs.run_info import RunInfo
from yuzu_cli.runs.target import check_folder

#: Beside an output, what it is linked to.
SEGMENTS = ".segments"
#: Takes the place of a run's id in the name of a file that will be linked to segments.
LINK = "link"
_ENDINGS = (".tmp", DATA, LOG, SEALED)
#: Seconds between two looks at a run that is waited for.
WAIT = 1.0

_log = logging.getLogger(__name__)


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
        check_folder(target.parent)
        part = cls(target.with_name(target.name + UNFINISHED))
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

    def lock(self, held: Callable[[OutputError], None] | None = None) -> Lock:
        """Its lock, see there; without it the folder does not stay behind."""
        try:
            return Lock(self.path, held=held)
        except OutputError:
            self.remove_if_empty()
            raise

    def patience(self, info: RunInfo) -> Callable[[OutputError], None]:
        """For `Lock`: wait while the run that holds it does just what `info` asks for."""
        told = False

        def held(error: OutputError) -> None:
            nonlocal told
            found = Manifest.load(self.path, tolerant=True)
            if found is not None and Identity.of(info).differences(Identity.of(found.info)):
                raise error
            if not told:
                _log.warning("%s: %s; waiting for it to end", error.where, error.what)
                told = True
            time.sleep(WAIT)

        return held

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
            changed = Identity.of(info).differences(Identity.of(found.info))
            if not changed:
                self.tidy()
                return found
            if not force:
                what = f"the unfinished run here had other settings: {'; '.join(changed[:3])}"
                if len(changed) > 3:
                    what += f"; and {len(changed) - 3} more"
                hint = "use the same settings to continue, or --no-resume to start again"
                raise OutputError(os.fspath(self.path), what, hint)
        # The manifest first: from here on no segment of the old run is anybody's.
        manifest = Manifest(token(), info)
        manifest.save(self.path)
        self.clear_rows()
        return manifest

    def logs(self, run_id: str) -> list[Path]:
        """Logs of the segments that a run has not sealed."""
        return sorted(self.path.glob(f"{run_id}-*{LOG}"))

    def sealed(self, run_id: str) -> list[Path]:
        """Segments that a run has sealed, here and where finished ones are linked to."""
        return sorted(
            path for f in (self.path, self.segments) for path in f.glob(f"{run_id}-*{SEALED}")
        )

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

    def tidy(self) -> None:
        """Delete what an interrupted process was in the middle of making."""
        for pattern in ("*.tmp", f"{LINK}-*"):
            for path in self.path.glob(pattern):
                remove(path)
        for ending, other in ((DATA, LOG), (LOG, DATA)):
            for path in self.path.glob(f"*{ending}"):
                if not path.with_suffix(other).exists():
                    remove(path)

    def clear_rows(self) -> None:
        """Delete segments of whatever run, but not what an output is linked to."""
        for name in os.listdir(self.path):
            if name.endswith(_ENDINGS):
                remove(self.path / name)

    def clear(self) -> None:
        """Delete all of it but the lock; the manifest last, so that this can be interrupted."""
        with suppress(FileNotFoundError):
            self.clear_rows()
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


def _is_ours(name: str) -> bool:
    # `.nfs…` is what NFS leaves of a file that was deleted while it was open somewhere.
    return name in (MANIFEST, LOCK) or name.endswith(_ENDINGS) or name.startswith(".nfs")
