"""Plans on disk: everything that depends on a model and a length but on no sequence, as HDF5.

A tree of arrays and plain values, read without running any code, with a hash of all that is in it:
a file that was cut, changed or made by something else is refused, and so is one for another model,
length or setting. What the arrays mean is known to `backends/sensing/kept.py`; here is no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yuzu_cli import files
from yuzu_cli.errors import InputError

if TYPE_CHECKING:
    import h5py

FORMAT = "yuzu-plan"
FORMAT_VERSION = 1
ASKED = "asked"
HINT = "make it again with `yuzu precompute`"

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """What a plan file holds.

    Attributes
    ----------
    asked : dict
        What it was made for; a run that asks for something else may not use it.
    facts : dict
        What came out, for people.
    arrays : dict of path to ndarray
        Text as arrays of UTF-8 bytes.
    """

    asked: dict[str, Value]
    facts: dict[str, Value] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def sha256(self) -> str:
        """Hash of all of it."""
        digest = hashlib.sha256()
        for part in (self.asked, self.facts):
            digest.update(json.dumps(part, sort_keys=True, allow_nan=True).encode())
        for path in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[path])
            digest.update(f"{path} {array.dtype.str} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()


def save_plan(path: str | os.PathLike[str], plan: StoredPlan) -> None:
    """Write a plan; at `path` there is either all of it or what was there before.

    Raises
    ------
    OSError
        It cannot be written there.
    """
    import h5py

    with files.whole_file(Path(path)) as name, h5py.File(name, "w") as file:
        file.attrs.update(format=FORMAT, format_version=FORMAT_VERSION)
        file.attrs["sha256"] = plan.sha256()
        file.attrs[ASKED] = json.dumps(plan.asked)
        file.attrs.update(plan.facts)
        for place, array in plan.arrays.items():
            packed = array.dtype.kind in "iu" and array.size > 64
            file.create_dataset(place, data=array, compression="gzip" if packed else None)


def load_plan(path: str | os.PathLike[str], asked: Mapping[str, Value] | None = None) -> StoredPlan:
    """Read a plan back.

    Parameters
    ----------
    asked : mapping, optional
        What it must have been made for.

    Raises
    ------
    InputError
        It is missing, damaged, of something else or of another version; or it was made for
        something else, and the message says for what.
    """
    shown = os.fspath(path)
    with _opened(shown) as file:
        version = file.attrs.get("format_version")
        if version != FORMAT_VERSION:
            what = f"is a plan of format version {version}, this yuzu reads {FORMAT_VERSION}"
            raise InputError(shown, what, HINT)
        made_for = json.loads(str(file.attrs[ASKED]))
        if asked is not None:
            _compare(shown, made_for, asked)
        plan = StoredPlan(made_for, _facts(file), dict(_arrays(file)))
        if plan.sha256() != file.attrs.get("sha256"):
            raise InputError(shown, "is a damaged plan: its content was changed", HINT)
    return plan


@contextlib.contextmanager
def _opened(shown: str) -> Iterator[h5py.File]:
    import h5py

    if not os.path.exists(shown):
        raise InputError(shown, "there is no such plan", "make it with `yuzu precompute`")
    try:
        with h5py.File(shown, "r", locking=False) as file:
            if file.attrs.get("format") != FORMAT:
                hint = "give a file written by `yuzu precompute`"
                raise InputError(shown, "is not a plan", hint)
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        what = f"is not a plan, or a damaged one ({str(error).splitlines()[0][:80]})"
        raise InputError(shown, what, HINT) from error


def _facts(file: h5py.File) -> dict[str, Value]:
    own = {"format", "format_version", "sha256", ASKED}
    values = {name: value for name, value in file.attrs.items() if name not in own}
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()}


def _arrays(file: h5py.File) -> Iterator[tuple[str, np.ndarray]]:
    paths: list[str] = []
    file.visit(paths.append)
    for path in paths:
        data = file[path]
        if hasattr(data, "shape"):
            yield path, data[()]


def _compare(shown: str, made_for: Mapping[str, Any], asked: Mapping[str, Value]) -> None:
    """Refuse a plan made for something else, naming the first thing that differs."""
    for key in [*asked, *(k for k in made_for if k not in asked)]:
        theirs, ours = made_for.get(key, "nothing"), asked.get(key, "nothing")
        if theirs != ours:
            what = f"was made for {key} {_short(theirs)}, this run has {_short(ours)}"
            raise InputError(shown, what, HINT)


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] + "…" if len(text) == 64 else text


# --- the cache ----------------------------------------------------------------------------------

CACHE_BYTES = 4 << 30
"""The oldest plans of the cache are removed when it is larger than this."""


def cache_folder() -> Path:
    """Where plans are kept between runs: ``$XDG_CACHE_HOME/yuzu/plans``, or in ``~/.cache``."""
    return files.cache_folder() / "plans"


def cache_path(asked: Mapping[str, Value]) -> Path:
    """The file of the cache for what is asked."""
    key = json.dumps([FORMAT_VERSION, dict(asked)], sort_keys=True)
    return cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.h5"


def prune_cache() -> None:
    """Remove the plans that were used longest ago while all of them take too much room."""
    files = sorted(cache_folder().glob("*.h5"), key=lambda path: path.stat().st_mtime)
    total = sum(path.stat().st_size for path in files)
    for path in files[:-1]:
        if total <= CACHE_BYTES:
            return
        total -= path.stat().st_size
        path.unlink(missing_ok=True)
