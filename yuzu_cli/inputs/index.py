"""What is kept about a genome between runs: its index, and the hash of a large one.

Both are written under another name and renamed into place, beside the genome or in the user's cache
folder, so that processes that start together never see half of one. Nothing here reads sequence.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import tempfile
import time
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from yuzu_cli.errors import InputError
from yuzu_cli.files import cache_folder
from yuzu_cli.inputs.text import hash_descriptor

_HEADER = 1 << 12
_ENDS = b"\r\n"
HASH_CACHE_BYTES = 64 << 20
_SETTLED_SECONDS = 2.0  # a file written to just now may be written to again at the same time stamp


def fresh_index(path: str, packed: bool) -> tuple[Path, Path] | None:
    """An index that is at least as new as the genome, beside it or in the cache; None without."""
    try:
        age = os.stat(path).st_mtime
        for stem in (Path(path).absolute(), cache_folder() / cache_key(path)):
            pair = Path(f"{stem}.fai"), Path(f"{stem}.gzi")
            needed = pair if packed else pair[:1]
            if all(part.exists() and part.stat().st_mtime >= age for part in needed):
                return pair
    except OSError:  # no cache folder, or an index removed meanwhile: make one
        return None
    return None


def build_index(file: str, packed: bool, label: str, folder: Path, stem: str) -> tuple[Path, Path]:
    """Make an index under another name and rename it into place: no process sees half of one.

    Raises
    ------
    OSError
        When the folder cannot be written to.
    InputError
        When the genome cannot be indexed.
    """
    from pyfaidx import Faidx

    folder.mkdir(parents=True, exist_ok=True)
    made = [folder / f"{stem}.fai", folder / f"{stem}.gzi"]
    with tempfile.TemporaryDirectory(prefix=".yuzu-index-", dir=folder) as scratch:
        parts = [Path(scratch) / "fai", Path(scratch) / "gzi"]
        with explained(label, "cannot be indexed", let=(OSError,)):
            Faidx(file, indexname=str(parts[0]), gzi_indexname=str(parts[1])).close()
        times = os.stat(file)
        for part, place in reversed([*zip(parts, made, strict=True)][: 1 + packed]):
            now = max(part.stat().st_mtime_ns, times.st_mtime_ns)  # a genome dated in the future
            os.utime(part, ns=(now, now))
            os.replace(part, place)
    return made[0], made[1]


def fits_index(read: Callable[[int, int], bytes], name: str, entry: Any) -> bool:
    """Whether a sequence lies in the file where its index entry says, under its name.

    Looked at: the header line before it, the first line break in it, and what follows it. A genome
    that was replaced by another of the same size keeps an index that looks fresh.

    Parameters
    ----------
    read : callable
        ``(offset, size)`` to that many unpacked bytes, fewer at the end of the file.
    entry
        Of pyfaidx: `rlen` letters, `lenc` a line, `lenb` bytes a line, from byte `offset`.
    """
    header = _header_before(read, entry.offset)
    if not header.startswith(b">") or header[1:].split(None, 1)[:1] != [name.encode()]:
        return False
    if not entry.rlen or not entry.lenc:
        return True
    full, last = divmod(entry.rlen - 1, entry.lenc)
    end = entry.offset + full * entry.lenb + last
    line = read(entry.offset, min(entry.lenb, entry.rlen))
    rest = read(end, _HEADER)
    wrapped = len(line.rstrip(_ENDS)) == min(entry.lenc, entry.rlen)
    follows = rest[1:].lstrip(_ENDS)[:1]
    return wrapped and rest[:1].strip() != b"" and rest[1:2] in _ENDS and follows in b">"


def _header_before(read: Callable[[int, int], bytes], offset: int) -> bytes:
    """The line that ends just before a byte; empty when no line ends there."""
    size = _HEADER
    while True:
        start = max(0, offset - size)
        before = read(start, offset - start)
        line = before.rstrip(_ENDS).rpartition(b"\n")[2]
        if not start or len(line) < len(before.rstrip(_ENDS)):
            return line.removeprefix(b"\xef\xbb\xbf") if before.endswith(b"\n") else b""
        size *= 8


def unpacked(file: Any, blocks: Sequence[Any], offset: int, size: int) -> bytes:
    """Bytes of a bgzip file by their place in what it unpacks to, through its blocks (.gzi)."""
    from Bio.bgzf import make_virtual_offset

    block = blocks[max(0, bisect_right(blocks, offset, key=lambda b: b.ustart) - 1)]
    file.seek(make_virtual_offset(block.cstart, 0))
    file.read(offset - block.ustart)
    return bytes(file.read(size))


@contextmanager
def explained(
    path: str, what: str, hint: str = "", *, let: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turn what pyfaidx raises into InputError, but for what is `let` through."""
    from pyfaidx import FastaIndexingError, FetchError

    try:
        yield
    except let:
        raise
    except FastaIndexingError as error:
        raise _indexing_error(path, str(error)) from error
    except RuntimeError as error:
        entry = re.search(r"at entry (.*?)Please report", str(error))
        if entry is None:
            raise
        what = f"sequence {entry[1]!r} has blank lines in it or more than one after it"
        raise InputError(path, what, "remove them, e.g. with grep -v '^$'") from error
    except (OSError, ValueError, FetchError, zlib.error, EOFError, struct.error) as error:
        if str(error).startswith("Duplicate key"):
            name = str(error).removeprefix("Duplicate key ").strip('"')
            what, hint = f"two sequences are named {name!r}", "a genome has each name once"
            raise InputError(path, what, hint) from error
        raise InputError(path, f"{what} ({error})", hint) from error


def _indexing_error(path: str, text: str) -> InputError:
    line = re.search(r"at line (\d+)", text.replace(",", ""))
    where = f"{path}:{line[1]}" if line else path
    if "Inconsistent line" in text:
        found = re.search(r"found in >(.*) at line", text)
        name = found[1] if found else ""
        what = f"lines of sequence {name!r} differ in length, so positions cannot be found"
        return InputError(where, what, "wrap its lines evenly, e.g. with seqkit seq -w 60")
    if "Unexpected text" in text or "does not contain a valid sequence" in text:
        return InputError(where, "is not a FASTA", "a FASTA begins with >name")
    return InputError(where, text)


def cache_key(path: str) -> str:
    state = os.stat(path)
    text = f"{os.path.realpath(path)}|{state.st_size}|{state.st_mtime_ns}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def file_sha256(path: str) -> str:
    """SHA-256 of a file; kept in the cache when the file is large and has been left alone."""
    with open(path, "rb") as file:
        state = os.fstat(file.fileno())
        settled = time.time() - state.st_mtime > _SETTLED_SECONDS
        if state.st_size < HASH_CACHE_BYTES or not settled:
            return hash_descriptor(file.fileno())
        kept = cache_folder() / f"{cache_key(path)}.sha256"
        with suppress(OSError):
            text = kept.read_text("ascii", errors="replace").strip()
            if re.fullmatch("[0-9a-f]{64}", text):
                return text
        digest = hash_descriptor(file.fileno())
    with suppress(OSError):  # a cache that cannot be written only costs time
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".yuzu-", dir=kept.parent) as scratch:
            part = Path(scratch) / "sha256"
            part.write_text(digest + "\n", "ascii")
            os.replace(part, kept)
    return digest
