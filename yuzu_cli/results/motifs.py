"""Sites of motifs that TF-MoDISco found in an exported result, placed in its windows.

Reads the HDF5 file of `modisco motifs`; computes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from yuzu_cli.errors import InputError
from yuzu_cli.results.hdf5 import damage, open_hdf5
from yuzu_cli.results.reader import Row
from yuzu_cli.results.streaming import Source

_ORDER = "ACGT"
_CHECKED = 200
#: Row, first and one past the last position, and the letters one-hot (width, 4).
_Site = tuple[int, int, int, np.ndarray]


@dataclass(frozen=True, slots=True)
class Pattern:
    """One motif: `pos 0` raises the output, `neg 0` lowers it; its letters, and number of sites."""

    name: str
    letters: str
    sites: int


class Motifs:
    """Patterns, and where in which row their sites are.

    Parameters
    ----------
    path : Path
        What `modisco motifs` wrote, run on an export of the same result.
    source : Source

    Raises
    ------
    InputError
        When the file is no such one, or of another result.
    """

    def __init__(self, path: Path, source: Source) -> None:
        self.patterns: list[Pattern] = []
        self._sites: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
        with open_hdf5(path) as file, damage(path):
            found = {
                f"{kind} {number}": group[f"pattern_{number}"]
                for kind in ("pos", "neg")
                if (group := file.get(f"{kind}_patterns")) is not None
                for number in sorted(
                    int(name.split("_")[1]) for name in group if name.startswith("pattern_")
                )
            }
            if not {"pos_patterns", "neg_patterns"} & set(file):
                hint = "give what `modisco motifs -o` wrote"
                raise InputError(str(path), "has no patterns", hint)
            sites = {name: _sites(pattern["seqlets"]) for name, pattern in found.items()}
            every = [site for some in sites.values() for site in some]
            shift = _shift(path, int(file.attrs.get("window_size", 400)), every, source)
            for name, some in sites.items():
                self.patterns.append(Pattern(name, _consensus(found[name]), len(some)))
                for row, start, end, _ in some:
                    self._sites[row].append((start + shift, end + shift, name))

    def of(self, row: Row) -> list[tuple[int, int, str]]:
        """Sites of one row: first and one past the last base, 0-based, and the pattern."""
        sites = self._sites.get(row.index, [])
        return sorted((*row.on_genome(start, stop), name) for start, stop, name in sites)

    def names(self, row: Row) -> str:
        """The patterns with sites in one row, each once."""
        return ", ".join(dict.fromkeys(name for _, _, name in self.of(row)))


def _sites(seqlets: h5py.Group) -> list[_Site]:
    rows, starts, ends = (seqlets[key][()].tolist() for key in ("example_idx", "start", "end"))
    return list(zip(rows, starts, ends, seqlets["sequence"][()], strict=True))


def _consensus(pattern: h5py.Group) -> str:
    """The letters that contribute, without the weak ends."""
    scores = np.abs(pattern["contrib_scores"][()])
    strong = np.flatnonzero(scores.sum(axis=1) >= 0.3 * scores.sum(axis=1).max(initial=0.0))
    inside = scores[strong[0] : strong[-1] + 1] if len(strong) else scores
    return "".join(_ORDER[k] for k in inside.argmax(axis=1))


def _shift(path: Path, window: int, sites: list[_Site], source: Source) -> int:
    """Window position of what the file counts as 0: it looks at the middle of the windows only."""
    middle = source.length // 2
    widths = (window, 400, source.length)
    for shift in (middle - min(width, source.length) // 2 for width in widths):
        if all(_is_there(source, shift, *site) for site in sites[:: len(sites) // _CHECKED + 1]):
            return shift
    hint = "run modisco on an export of this very result, without rows left out"
    raise InputError(str(path), f"its sites are not those of {source.path}", hint)


def _is_there(source: Source, shift: int, row: int, start: int, end: int, table: Any) -> bool:
    """Whether the window has there the letters of a site, one-hot (width, 4), on either strand."""
    if not 0 <= row < source.n_regions or start + shift < 0 or end + shift > source.length:
        return False
    text = source.text(source.read("sequences", row)[start + shift : end + shift])
    one_hot = np.array([[letter == base for base in _ORDER] for letter in text])
    seen = np.asarray(table) > 0
    return bool((one_hot == seen).all() or (one_hot == seen[::-1, ::-1]).all())
