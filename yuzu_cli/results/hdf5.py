"""Opening files that somebody else may have cut short, damaged, moved, or taken for something else.

Every way in which a file is not a result becomes one `OutputError`; what is in it is `reader`'s.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from yuzu_cli.errors import OutputError
from yuzu_cli.results.schema import (
    ATTRIBUTES,
    EXACT,
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    SAVE_NAMES,
    UNFINISHED,
)

#: What HDF5 may remember of a file's index, by its own count; it takes about eight times that,
#: and by default up to 32 MiB.
_INDEX_CACHE = 1 << 18


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """Turn HDF5's complaints about a file's content into an `OutputError`."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        what = f"is damaged ({str(error).splitlines()[0]})"
        raise OutputError(os.fspath(path), what, "copy it again, or run again") from error


def open_hdf5(path: Path) -> h5py.File:
    """Open any HDF5 file for reading, without locks: a finished file never changes."""
    shown = os.fspath(path)
    if not path.exists():
        part = path.with_name(path.name + UNFINISHED)
        if (part / MANIFEST).exists():
            what, hint = "is not finished", "run the same command again to continue it"
            raise OutputError(shown, what, f"{hint}; `yuzu info {part}` tells how far it is")
        raise OutputError(shown, "there is no such file")
    if path.is_dir():
        raise OutputError(shown, "is a folder, not an output")
    try:
        # By its own name: what it is linked to is found from the folder that it is really in.
        file = h5py.File(os.path.realpath(path), "r", locking=False)
        limit_cache(file)
        return file
    except (OSError, RuntimeError) as error:
        if "truncated file" in str(error):
            raise OutputError(shown, "is cut short", "copy it again, or run again") from error
        if not os.access(path, os.R_OK):
            raise OutputError(shown, "may not be read") from error
        raise OutputError(shown, "is not an HDF5 file, or a damaged one") from error


def check_format(path: Path, file: h5py.File) -> None:
    """Refuse files of other tools, of other kinds and of newer versions."""
    kind = file.attrs.get("format")
    if kind != FORMAT:
        what = f"is a {kind} file, not an output" if kind else "is not an output of yuzu"
        raise OutputError(os.fspath(path), what, "give a file written by `yuzu run` or `merge`")
    version = file.attrs.get("format_version")
    if version != FORMAT_VERSION:
        what = f"is of format version {version}, this yuzu reads {FORMAT_VERSION}"
        raise OutputError(os.fspath(path), what, "update yuzu")


def source_name(path: Path, folder: Path) -> str:
    """How a linked file in `folder` names another file: `%` is a pattern's beginning to HDF5."""
    return os.path.relpath(os.path.realpath(path), os.path.realpath(folder)).replace("%", "%%")


def sources(path: Path, data: h5py.Dataset) -> list[tuple[Path, Any]]:
    """The files that a linked dataset takes rows from, with how, in the order of the rows."""
    if not data.is_virtual:
        return []
    folder = Path(os.path.realpath(path)).parent
    found = sorted(data.virtual_sources(), key=lambda s: s.vspace.get_select_bounds()[0][0])
    return [(folder / str(source.file_name).replace("%%", "%"), source) for source in found]


def missing_sources(path: Path, data: h5py.Dataset) -> list[str]:
    """Files a linked dataset takes rows from and that are not there: HDF5 would invent the rows."""
    folder = os.path.dirname(os.path.realpath(path))
    names = {name for name, _ in sources(path, data) if not name.exists()}
    return sorted(os.path.relpath(name, folder) for name in names)


def saved_scores(file: h5py.File) -> tuple[str, ...]:
    """Names of the scores in a file."""
    return tuple(name for name in SAVE_NAMES if f"scores/{name}" in file)


def asked_of(file: h5py.File) -> tuple[str, ...]:
    """What was asked for: the scores, and whether a share of them was made exact."""
    return (*saved_scores(file), *([EXACT] if f"scores/{EXACT}" in file else []))


def attributes_of(file: h5py.File) -> dict[str, Any]:
    """Attributes of the root as plain Python values, those of the schema first, in its order."""
    names = [a.name for a in ATTRIBUTES if a.name in file.attrs]
    names += sorted(set(file.attrs) - set(names))
    return {name: _plain(file.attrs[name]) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def limit_cache(file: h5py.File) -> None:
    """Keep what HDF5 remembers of the chunk index small: rows are visited in order, mostly."""
    config = file.id.get_mdc_config()
    config.set_initial_size = True
    config.initial_size = config.min_size = config.max_size = _INDEX_CACHE
    file.id.set_mdc_config(config)


def linked_rows(path: Path, file: h5py.File) -> list[tuple[Path, int, int]]:
    """Where the rows of a linked file are, in order: (file, first row there, one past the last)."""
    scores = file[f"scores/{saved_scores(file)[0]}"]
    found = []
    for name, source in sources(path, scores):
        low, high = source.src_space.get_select_bounds()
        found.append((name, int(low[0]), int(high[0]) + 1))
    return found
