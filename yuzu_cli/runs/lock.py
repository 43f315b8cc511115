"""One run per output: a lock file with a heartbeat, without trusting file locks of the file system.

The lock spares users two runs doing the same work; it is not what keeps results right (see
`segment`: even two runs at once do no harm). A lock whose owner is gone is taken over: at once if
it was on this machine, and else when its heartbeat has stood still. Clocks of machines are never
compared.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from yuzu_cli.errors import OutputError
from yuzu_cli.files import disk_errors, remove, token, write_all

LOCK = "lock"
#: Seconds between heartbeats, and without one until an owner on another machine counts as gone.
HEARTBEAT = 10.0
TIMEOUT = 60.0
#: The same for a lock that says nothing yet: its owner was stopped just as it came.
BEGUN = 5.0

_log = logging.getLogger(__name__)


def _read_text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _machine() -> str:
    """This boot of this machine, and the set of process numbers seen (containers have theirs)."""
    boot = _read_text("/proc/sys/kernel/random/boot_id").strip()
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{boot} {space}"


def _started(pid: int) -> str | None:
    """When a process of this machine was started, as a token; None when it is gone."""
    stat = _read_text(f"/proc/{pid}/stat")
    if stat:
        rest = stat.rpartition(")")[2].split()
        return None if rest[0] in "ZX" else rest[19]
    if os.path.exists("/proc/self/stat"):
        return None
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
    return ""


def this_process() -> dict[str, Any]:
    """Who we are, for `is_gone`."""
    pid = os.getpid()
    who = {"host": socket.gethostname(), "machine": _machine()}
    return {**who, "pid": pid, "started": _started(pid)}


def is_gone(process: dict[str, Any]) -> bool:
    """Whether a process is known to have ended; of one on another machine that is never known."""
    here = process["machine"] == _machine()
    return here and _started(process["pid"]) != process["started"]


class HeldError(OutputError):
    """A live run holds the lock."""


class Lock:
    """The lock of a folder, held from construction until `release`; a HeldError if that cannot be.

    `lost` tells whether another run has taken over, thinking this one gone, as of the last
    heartbeat.
    """

    def __init__(
        self, folder: Path, heartbeat: float = HEARTBEAT, timeout: float = TIMEOUT
    ) -> None:
        self._token, self.lost = token(), False
        self._path = folder / LOCK
        self._heartbeat, self._timeout = heartbeat, timeout
        self._stop = threading.Event()
        with disk_errors(self._path):
            while not self._create():
                self._wait_until_stale()
                # The run before may have removed the folder with its lock, or be just about to.
                with suppress(FileExistsError):
                    os.mkdir(folder)
        self._thread = threading.Thread(target=self._beat, name="yuzu-lock", daemon=True)
        self._thread.start()

    def still_ours(self) -> bool:
        """Whether the lock is ours at this moment."""
        self.lost = self.lost or not self._ours()
        return not self.lost

    def release(self) -> None:
        """Stop the heartbeat and remove the lock, if it is still ours."""
        self._stop.set()
        self._thread.join()
        ours = self._ours()
        # Closed first: of a file that is open, NFS keeps a `.nfs…` in its place.
        os.close(self._fd)
        if ours:
            remove(self._path)

    def _create(self) -> bool:
        """Put our lock there, unless there is one."""
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except (FileExistsError, FileNotFoundError):
            return False
        try:
            owner = this_process() | {"token": self._token}
            write_all(self._fd, _counter(0) + json.dumps(owner).encode())
            os.fsync(self._fd)
        except BaseException:
            os.close(self._fd)
            remove(self._path)
            raise
        return True

    def _wait_until_stale(self) -> None:
        """Return when it is time to ask for the lock again."""
        first = self._read()
        if first is None:
            return
        owner = _owner(first)
        patience = self._timeout if owner["token"] else min(BEGUN, self._timeout)
        deadline = time.monotonic() + patience
        if owner.get("machine") == _machine():
            if not is_gone(owner):
                raise self._held_by(owner)
            return self._break(first)
        _log.info("%s: waiting to see whether the run on %s is alive", self._path, owner["host"])
        while time.monotonic() < deadline:
            time.sleep(min(1.0, self._heartbeat / 4))
            now = self._read()
            if now is None:
                return
            if now != first:
                raise self._held_by(_owner(now))
        self._break(first)

    def _held_by(self, owner: dict[str, Any]) -> HeldError:
        what = f"another run writes here (process {owner['pid']} on {owner['host']})"
        hint = "wait for it, stop it, or take another output"
        return HeldError(os.fspath(self._path.parent), what, hint)

    def _break(self, judged: bytes | None) -> None:
        """Remove the lock that was judged stale, and not one that came in its place meanwhile."""
        if self._read() == judged:
            remove(self._path)

    def _read(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def _ours(self) -> bool:
        with suppress(OSError):
            return _owner(self._read())["token"] == self._token
        return True

    def _beat(self) -> None:
        count = 0
        while not self._stop.wait(self._heartbeat):
            count += 1
            # Through our own handle: after a take-over this goes to a file without a name.
            with suppress(OSError):
                os.pwrite(self._fd, _counter(count), 0)
                os.fsync(self._fd)
            if not self.still_ours():
                return


def _counter(count: int) -> bytes:
    return b"%020d\n" % count


def _owner(content: bytes | None) -> dict[str, Any]:
    """What a lock file says; an unreadable one has an unknown owner, to be waited for."""
    unknown = {"host": "an unknown machine", "pid": 0, "machine": "", "started": "", "token": ""}
    try:
        return unknown | json.loads((content or b"").partition(b"\n")[2])
    except ValueError:
        return unknown
