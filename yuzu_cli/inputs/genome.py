"""A genome FASTA, read by position through pyfaidx.

What pyfaidx leaves to its caller is done here: plain gzip, a stale or foreign index, bounds, and a
handle per process after a fork. Unknown to this module: windows, strands, codes.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from yuzu_cli.errors import InputError
from yuzu_cli.files import cache_folder
from yuzu_cli.inputs.index import (
    build_index,
    cache_key,
    explained,
    file_sha256,
    fits_index,
    fresh_index,
    unpacked,
)
from yuzu_cli.inputs.text import TextSource, changed, is_plain

if TYPE_CHECKING:
    from pyfaidx import Faidx

_PACKED_NAMES = (".gz", ".bgz", ".bz2", ".zip")  # pyfaidx goes by the name

log = logging.getLogger(__name__)


class Genome:
    """Sequences of a genome by name and position.

    Parameters
    ----------
    path : str
        FASTA, plain, bgzip, or gzip (which is unpacked into a temporary file first).

    Attributes
    ----------
    path : str
    sizes : dict
        Bases of each sequence, by name.

    Raises
    ------
    InputError
        When it cannot be read or indexed, or an index beside it belongs to another file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._source: TextSource | None = None
        self._handle: Faidx | None = None
        self._scratch: str | None = None
        self._checked: set[str] = set()
        try:
            self._locate()
            handle = self._handle = self._open()
            self.sizes = {name: entry.rlen for name, entry in handle.index.items()}
            self._state = self._fingerprint()
            if not self._packed:
                self._check_index(max((part.bend for part in handle.index.values()), default=0))
        except BaseException:
            self.close()
            raise

    def _locate(self) -> None:
        """Find or make what pyfaidx can open: a file, and its index (.fai, and .gzi if packed)."""
        self._packed = _is_block_gzip(self.path)
        if self._packed or (is_plain(self.path) and not self.path.lower().endswith(_PACKED_NAMES)):
            self._file = self.path
            self._index = fresh_index(self.path, self._packed) or self._build()
            return
        text = "%s: unpacked into %s for this run; bgzip or gunzip it once to save that"
        log.warning(text, self.path, tempfile.gettempdir())
        self._source = TextSource(self.path)
        self._file = f"/dev/fd/{self._source.fd}"
        self._index = self._build()

    def _build(self) -> tuple[Path, Path]:
        """Index the genome in the first folder that can be written to."""
        key, beside = cache_key(self.path), Path(self.path).absolute()
        places = [(beside.parent, beside.name), (cache_folder(), key)]
        for folder, stem in [] if self._source else places:
            with suppress(OSError):
                return build_index(self._file, self._packed, self.path, folder, stem)
        self._scratch = tempfile.mkdtemp(prefix="yuzu-")
        try:
            return build_index(self._file, self._packed, self.path, Path(self._scratch), key)
        except OSError as error:
            raise InputError(self.path, f"cannot be indexed ({error})") from error

    def _open(self) -> Faidx:
        from pyfaidx import Faidx

        fai, gzi = self._index
        self._pid = os.getpid()
        with explained(self.path, f"the index {fai.name} cannot be read", self._again()):
            return Faidx(
                self._file,
                indexname=str(fai),
                gzi_indexname=str(gzi),
                as_raw=True,
                rebuild=False,
                build_index=False,
            )

    def _check_index(self, last: int) -> None:
        """Refuse an index of another file: nothing but line ends may follow its last record."""
        size = os.stat(self._file).st_size
        with open(self._file, "rb") as file:
            file.seek(min(last, size))
            rest = file.read(64)
        if not self.sizes or last > size + 2 or rest.strip():
            what = f"the index {self._index[0].name} is of another file, or of a part of this one"
            raise InputError(self.path, what, self._again())

    def fetch(self, chrom: str, start: int, end: int) -> str:
        """Letters of ``[start, end)``, 0-based, within the sequence; case is kept."""
        if self._pid != os.getpid():  # a handle shared over a fork moves under its owner
            self._release()
        handle = self._handle = self._handle or self._open()
        if chrom not in self._checked:
            self._check_record(handle, chrom)
        with explained(self.path, f"{chrom}:{start + 1}-{end} cannot be read"):
            letters = handle.fetch(chrom, start + 1, end) if end > start else ""
        if len(letters) != end - start or ">" in letters:
            found = "a header line" if ">" in letters else f"{len(letters)} letters"
            what = f"{chrom}:{start + 1}-{end} has {found} in it"
            raise InputError(self.path, what, self._again())
        return letters

    def _check_record(self, handle: Faidx, chrom: str) -> None:
        """Before the first letters of a sequence: it stands where the index says, so wrapped."""
        entry = handle.index[chrom]
        with explained(self.path, f"{chrom} cannot be read", self._again()):
            fits = fits_index(lambda offset, size: self._bytes(handle, offset, size), chrom, entry)
        if not fits:
            what = f"the index {self._index[0].name} does not fit at {chrom}: it is of another file"
            raise InputError(self.path, what, self._again())
        self._checked.add(chrom)

    def _bytes(self, handle: Faidx, offset: int, size: int) -> bytes:
        """Some of the (unpacked) bytes of the file, fewer at its end."""
        if not self._packed:
            with open(self._file, "rb") as file:
                return os.pread(file.fileno(), size, offset)
        return unpacked(handle.file, handle.gzi_index, offset, size)

    def _again(self) -> str:
        return f"delete {self._index[0]}, it is made again"

    def check_unchanged(self) -> None:
        """Raise InputError when the file was written to since it was opened."""
        if self._fingerprint() != self._state:
            raise changed(self.path)

    def _fingerprint(self) -> tuple[int, int]:
        with explained(self.path, "cannot be read"):
            state = os.stat(self._file)
        return state.st_size, state.st_mtime_ns

    def other_name(self, chrom: str) -> str:
        """For a name that the genome lacks: what it may be called there, in words."""
        bare = chrom.removeprefix("chr")
        guesses = {bare, f"chr{bare}"}
        if bare in ("M", "MT"):
            guesses |= {"M", "MT", "chrM", "chrMT"}
        folded = {guess.lower() for guess in guesses}
        for name in self.sizes:
            if name in guesses or name.lower() in folded:
                return f"the genome calls it {name!r}"
        some = ", ".join(list(self.sizes)[:5])
        return f"the genome has {some}" + (" and others" if len(self.sizes) > 5 else "")

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the file as it lies (of its unpacked bytes when it is plain gzip).

        That of a large file is kept in the user's cache folder, under its path, size and time.
        """
        return self._source.sha256 if self._source else file_sha256(self.path)

    def _release(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def __enter__(self) -> Genome:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the files; more than once is harmless."""
        self._release()
        if self._source is not None:
            self._source.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


def _is_block_gzip(path: str) -> bool:
    """Whether pyfaidx reads the file as bgzip; it goes by the name, so both must agree."""
    if not path.lower().endswith(_PACKED_NAMES[:2]) or not os.path.isfile(path):
        return False
    with explained(path, "cannot be read"), open(path, "rb") as file:
        head = file.read(18)
    return head[:4] == b"\x1f\x8b\x08\x04" and head[12:14] == b"BC"
