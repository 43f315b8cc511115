"""File operations that either happen wholly or not at all, and say clearly when they cannot.

Nothing here knows the format. Every write of this package to a disk goes through plain system
calls, so that a full disk is an ordinary error: HDF5 may crash the process when its own writes
fail.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from yuzu_cli.errors import OutputError

_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_FULL[errno.EFBIG] = "the file would be larger than this system or its limits allow"


def size_text(size: float) -> str:
    """Bytes as a person reads them, in three digits: ``1.5 GB``, ``796 kB``."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        del units[0]
    digits = ".0f" if units[0] == "bytes" or size >= 999.5 else ".3g"
    return f"{size:{digits}} {units[0]}"


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/yuzu`` or ``~/.cache/yuzu``: what only saves time is kept there.

    For a user without a home directory a path that nothing can be read from or written to, which is
    the same as a cache that cannot be used.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "yuzu"
    try:
        return Path.home() / ".cache" / "yuzu"
    except RuntimeError:
        return Path(os.devnull) / "yuzu"


def token() -> str:
    """A name no other process, on this machine or another, will come up with."""
    return secrets.token_hex(6)


@contextmanager
def disk_errors(path: Path | str, last: str = " to continue") -> Iterator[None]:
    """Turn an OSError into an `OutputError` about `path`; `last` ends the advice on a full disk."""
    try:
        yield
    except OSError as error:
        full = _FULL.get(error.errno or 0)
        hint = f"free some space, then run the same command{last}" if full else ""
        raise OutputError(os.fspath(path), full or error.strerror or str(error), hint) from error


def write_all(fd: int, data: bytes | bytearray | memoryview, at: int = 0) -> int:
    """Write everything at a place; the system may take less than it is given. Where it ends."""
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, at)
        view, at = view[done:], at + done
    return at


def sync_folder(folder: Path) -> None:
    """Make names created or changed in `folder` survive a crash, where the file system can."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network file systems do not sync folders: their servers keep names safe.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(fd)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name to write to; when the block ends well it is synced and replaces `path`, durably.

    Raises
    ------
    OSError
        As writing does.
    """
    temporary = path.with_name(f".{path.name}.{token()}.tmp")
    try:
        yield temporary
        fd = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        remove(temporary)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, durably."""
    with disk_errors(path), whole_file(path) as temporary:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)


def remove(path: Path) -> None:
    """Delete a file; no complaint when it is gone already or cannot go."""
    with suppress(OSError):
        os.unlink(path)


def check_place(path: Path, force: bool) -> None:
    """Refuse a path where no file may be put, before there is any work to lose.

    Raises
    ------
    OutputError
        It stands for standard output, is taken, or its folder may not be written to.
    """
    if path.name == "-":
        raise OutputError("-", "standard output is not written to", "name a file")
    if path.exists() and not path.is_file():  # /dev/null would be gone for all programs
        what = "is a folder" if path.is_dir() else "is not a regular file"
        raise OutputError(str(path), what, "name a file")
    if path.exists() and not force:
        raise OutputError(str(path), "exists already", "--force replaces it")
    if path.parent.exists() and not os.access(path.parent, os.W_OK):
        raise OutputError(str(path.parent), "may not be written to", "name a file elsewhere")


@contextmanager
def replacing(paths: Sequence[Path], force: bool = False) -> Iterator[list[Path]]:
    """Temporary paths to write to; renamed to `paths`, in order, when the block ends well.

    Parameters
    ----------
    paths : sequence of Path
        Where the files shall be. Missing folders are made.
    force : bool
        Whether files that are already there are replaced.

    Raises
    ------
    OutputError
        When a path exists and `force` is off, or nothing can be written there.
    """
    for path in paths:
        check_place(path, force)
    with disk_errors(paths[-1], ""), ExitStack() as ends:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        # What is entered last ends first.
        yield [ends.enter_context(whole_file(path)) for path in reversed(paths)][::-1]


@contextmanager
def open_text(path: Path, name: Path) -> Iterator[TextIO]:
    """A text file to write, UTF-8; packed as bgzip does, for tabix, where `name` ends in .gz."""
    with path.open("wb") as raw, ExitStack() as stack:
        stream: Any = stack.enter_context(_Blocks(raw)) if name.suffix == ".gz" else raw
        yield stack.enter_context(io.TextIOWrapper(stream, encoding="utf-8", newline=""))


class _Blocks(io.BufferedIOBase):
    """Blocks of bgzip: a gzip file in which any place can be found."""

    def __init__(self, raw: BinaryIO) -> None:
        from Bio.bgzf import BgzfWriter

        self._blocks = BgzfWriter(fileobj=raw, compresslevel=4)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._blocks.write(bytes(data))
        return len(data)

    def close(self) -> None:
        """Write what is left, once."""
        if not self.closed:
            super().close()
            self._blocks.close()
