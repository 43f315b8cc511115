"""Looks into a zip file without trusting it: what is in it, and that all readers see the same.

A model file is a zip that is read twice: here, to see that it is safe, and by torch. Both must see
the same members, so a file with two readings (a name twice, bytes before the zip or after it) is
refused, as is one that grows while it is read. May not: know what the members mean, or unpickle.
"""

from __future__ import annotations

import stat
import zipfile

from yuzu_cli.errors import ModelError

LARGEST_TEXT = 1 << 28
"""Bytes of a member that is read whole to be checked."""
_LARGEST_UNPACKED = 1 << 30
_END = 22  # bytes of the record that ends a zip without a comment
_AGAIN = "save the model again"


def check_members(where: str, archive: zipfile.ZipFile, packed: bool = False) -> None:
    """Refuse a zip file that two readers may read differently, or that unpacks to far more.

    Parameters
    ----------
    packed : bool
        Whether members may be compressed, as the code of TorchScript is.

    Raises
    ------
    ModelError
        A name stands twice (letter case aside, as torch's reader sees it) or leads elsewhere, a
        member is a link, encrypted, compressed or beyond the end, or the zip is not the whole file.
    """
    members = archive.infolist()
    seen: set[str] = set()
    for member in members:
        fault = _fault(member, packed)
        if member.filename.lower() in seen:
            fault = "stands there twice"
        if fault:
            raise ModelError(where, f"member {member.filename[:80]!r} {fault}", _AGAIN)
        seen.add(member.filename.lower())
    if sum(m.file_size for m in members if m.compress_type) > _LARGEST_UNPACKED:
        raise ModelError(where, "unpacks to more than 1 GiB of compressed members", _AGAIN)
    _check_extent(where, archive, members)


def _fault(member: zipfile.ZipInfo, packed: bool) -> str:
    name, mode = member.filename, member.external_attr >> 16
    if any(part in ("", ".", "..") for part in name.split("/")) or not name.isprintable():
        return "has a name that is no plain path"
    if "\\" in name or member.orig_filename != name:
        return "has a name that is no plain path"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "is a link or another special file"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type == zipfile.ZIP_STORED:
        return "" if member.file_size == member.compress_size else "has two sizes"
    return "" if packed and member.compress_type == zipfile.ZIP_DEFLATED else "is compressed"


def _check_extent(where: str, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> None:
    """The zip begins with the file and ends with it, and its members follow one another."""
    handle = archive.fp
    assert handle is not None
    handle.seek(0, 2)
    size = handle.tell()
    handle.seek(max(0, size - _END))
    end = handle.read(_END)
    ends = len(end) == _END and end[:4] == b"PK\x05\x06" and end[-2:] == b"\0\0"
    ordered = sorted(members, key=lambda m: m.header_offset)
    starts = [m.header_offset for m in ordered]
    stops = [start + 30 + m.compress_size for start, m in zip(starts, ordered, strict=True)]
    apart = all(stop <= start for stop, start in zip(stops, [*starts[1:], size], strict=True))
    if not ends or not members or starts[0] != 0 or not apart:
        raise ModelError(where, "is a zip file with other bytes before, between or after", _AGAIN)


def read_member(
    where: str, archive: zipfile.ZipFile, name: str, limit: int = LARGEST_TEXT
) -> bytes:
    """A member's bytes.

    Raises
    ------
    ModelError
        It has more than `limit` bytes, or is damaged.
    """
    try:
        with archive.open(name) as handle:
            data = handle.read(limit + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ModelError(where, f"member {name!r} is damaged: {error}") from None
    if len(data) > limit:
        raise ModelError(where, f"member {name!r} is larger than {limit:,} bytes", _AGAIN)
    return data


def read_head(archive: zipfile.ZipFile, name: str, size: int = 1 << 20) -> bytes:
    """The first bytes of a member, as many as a description needs."""
    try:
        with archive.open(name) as handle:
            return handle.read(size)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError):
        return b""
