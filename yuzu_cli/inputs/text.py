"""An input file as re-readable text: plain, gzip or standard input, all alike afterwards.

Whatever cannot be read twice from any byte (gzip, a pipe, standard input) is unpacked once into a
temporary file that has no name, so that not even SIGKILL leaves it behind. Reads go through
`os.pread`: no shared file position, so threads and forked processes may read one input at once.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import os
import stat
import sys
import tempfile
import zlib
from typing import BinaryIO

from yuzu_cli.errors import InputError

CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_REFUSED = {
    b"BZh": ("is bzip2, which is not read", "unpack it, or compress it with gzip"),
    b"\xfd7zXZ": ("is xz, which is not read", "unpack it, or compress it with gzip"),
    b"\x28\xb5\x2f\xfd": ("is zstd, which is not read", "unpack it, or compress it with gzip"),
    b"PK\x03\x04": ("is a zip archive, which is not read", "unpack it, or compress it with gzip"),
    b"\x43\x27\x41\x1a": ("is a 2bit genome, which is not read", "convert it with twoBitToFa"),
    b"\x1a\x41\x27\x43": ("is a 2bit genome, which is not read", "convert it with twoBitToFa"),
}


class TextSource:
    """One input, decoded.

    Parameters
    ----------
    path : str
        A file, or ``-`` for standard input.

    Attributes
    ----------
    label : str
        How messages call it.
    fd : int
        Descriptor of the decoded bytes.

    Raises
    ------
    InputError
        When it cannot be opened, is compressed in another way, or its gzip data are damaged.
    """

    def __init__(self, path: str) -> None:
        self.label = "standard input" if path == "-" else path
        self._sha256: str | None = None
        self._spool: BinaryIO | None = None
        self.fd = -1
        try:
            if path == "-":
                if sys.stdin is None:
                    raise InputError(self.label, "is closed")
                self._unpack(sys.stdin.buffer)
            else:
                self._open(path)
        except (OSError, EOFError, zlib.error) as error:
            self.close()
            raise self._read_error(error) from error
        except BaseException:
            self.close()
            raise
        self._state = self._fingerprint()

    def _open(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        mode = os.fstat(self.fd).st_mode
        if stat.S_ISDIR(mode):
            raise InputError(path, "is a directory, not a file")
        if stat.S_ISREG(mode):
            head = os.pread(self.fd, 8, 0)
            _refuse_other_formats(self.label, head)
            if not head.startswith(_GZIP):
                return
        with open(self.fd, "rb") as packed:
            self.fd = -1
            self._unpack(packed)

    def _unpack(self, packed: BinaryIO) -> None:
        stream = packed if hasattr(packed, "peek") else io.BufferedReader(io.BytesIO(packed.read()))
        head = stream.peek(8)[:8]
        _refuse_other_formats(self.label, head)
        plain = gzip.GzipFile(fileobj=stream) if head.startswith(_GZIP) else stream
        digest = hashlib.sha256()
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        while chunk := plain.read(CHUNK):
            digest.update(chunk)
            self._write(chunk)
        self._sha256 = digest.hexdigest()
        self.fd = self._spool.fileno()

    def _write(self, chunk: bytes) -> None:
        assert self._spool is not None
        try:
            self._spool.write(chunk)
            self._spool.flush()
        except OSError as error:
            raise InputError(
                self.label,
                f"cannot be unpacked into {tempfile.gettempdir()}: {error.strerror}",
                "point TMPDIR at a disk with room, or unpack the file yourself",
            ) from error

    def _read_error(self, error: OSError | EOFError | zlib.error) -> InputError:
        if isinstance(error, EOFError):
            return InputError(self.label, "the gzip data end too early", "was it copied whole?")
        if isinstance(error, (zlib.error, gzip.BadGzipFile)):
            return InputError(self.label, f"damaged gzip data ({error})", "fetch the file again")
        return _open_error(self.label, error)

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the decoded bytes: the same whether the file is compressed or not."""
        if self._sha256 is None:
            self._sha256 = hash_descriptor(self.fd)
        return self._sha256

    def reader(self, offset: int = 0) -> io.BufferedReader:
        """A buffered reader of its own from byte `offset` of the decoded bytes."""
        return io.BufferedReader(_At(self, offset), CHUNK)

    def check_unchanged(self) -> None:
        """Raise InputError when the file was written to since it was opened."""
        if self._fingerprint() != self._state:
            raise changed(self.label)

    def _fingerprint(self) -> tuple[int, int]:
        state = os.fstat(self.fd)
        return state.st_size, state.st_mtime_ns

    def close(self) -> None:
        """Release the descriptor and the temporary file; more than once is harmless."""
        if self._spool is not None:
            with contextlib.suppress(OSError):  # a full disk fails again when the rest is flushed
                self._spool.close()
            self._spool = None
        elif self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


class _At(io.RawIOBase):
    """Bytes of a descriptor from an offset on, without moving the descriptor's own position."""

    def __init__(self, source: TextSource, offset: int) -> None:
        self._source, self._offset = source, offset

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        if self._source.fd < 0:
            raise ValueError("the input is closed")
        try:
            data = os.pread(self._source.fd, len(buffer), self._offset)
        except OSError as error:
            raise _open_error(self._source.label, error) from error
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)


def changed(label: str) -> InputError:
    """The error for a file that was written to after it was opened."""
    return InputError(label, "was changed while it was being read", "start the run again")


def hash_descriptor(fd: int) -> str:
    """Hex SHA-256 of all bytes of a descriptor."""
    digest, offset = hashlib.sha256(), 0
    while chunk := os.pread(fd, CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def _refuse_other_formats(label: str, head: bytes) -> None:
    for magic, (what, hint) in _REFUSED.items():
        if head.startswith(magic):
            raise InputError(label, what, hint)


def is_plain(path: str) -> bool:
    """Whether a path is a regular file and not gzip; nothing is taken from a pipe to find out.

    Raises
    ------
    InputError
        When there is no such file, or it is compressed in a way that is not read.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise InputError(path, "is a directory, not a file")
        if not stat.S_ISREG(mode):
            return False
        with open(path, "rb") as file:
            head = file.read(8)
    except OSError as error:
        raise _open_error(path, error) from error
    _refuse_other_formats(path, head)
    return not head.startswith(_GZIP)


def _open_error(label: str, error: OSError) -> InputError:
    if error.errno == errno.ENOENT:
        return InputError(label, "no such file")
    return InputError(label, error.strerror or str(error))
