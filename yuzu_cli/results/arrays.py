"""Scores of some sequences in memory, which know their axes: what a notebook is given.

May not: compute; read files.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yuzu_cli.alphabet import Alphabet
from yuzu_cli.errors import UsageError
from yuzu_cli.results.derived import ACROSS, STATISTICS, mutations, source_of
from yuzu_cli.results.schema import REGIONS
from yuzu_cli.results.streaming import Source
from yuzu_cli.selection import choose, some

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from yuzu_cli.results.plot.style import Picture


@dataclass(frozen=True, slots=True, eq=False)
class Attributions:
    """Scores of some sequences of one length, in memory.

    Attributes
    ----------
    names : list of str
        N names: those given, FASTA records, or BED names.
    letters : str
        Of the A axis.
    targets : list of str
    codes : ndarray, uint8, (N, L)
        Index into `letters`; 255 is unknown.
    mutated : tuple of (int, int)
        Positions of the window that the M axis covers, 0-based, half-open.
    reference : ndarray, float32, (N, T)
        The model's outputs for the sequences themselves.
    scores : dict of ndarray
        Those that were asked for: delta (N, T, A, M), l2 and jsd (N, A, M), contribution (N, T, M),
        centered (N, T, A, M), prediction (N, T, A, M). Indexing makes others of them.
    transform, backend : str
    max_abs_error : float
        Largest difference from naive on some of the mutants; NaN when none was compared.
    """

    names: list[str]
    letters: str
    targets: list[str]
    codes: np.ndarray
    mutated: tuple[int, int]
    reference: np.ndarray
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    transform: str = "none"
    backend: str = ""
    max_abs_error: float = float("nan")

    def __getitem__(self, score: str) -> np.ndarray:
        """One score by name, as it was asked for or made of one that was.

        Raises
        ------
        UsageError
            There is no such score, or none that it can be made of.
        """
        if score in self.scores:
            return self.scores[score]
        if score not in STATISTICS or source_of(score, self.scores) is None:
            there = ", ".join(self.scores)
            hint = f"computed: {there}; delta makes all of {', '.join(STATISTICS)}"
            raise UsageError("scores", f"no {score}", hint)
        return _InMemory(self).values(score, slice(None), range(len(self.targets)))

    def __len__(self) -> int:
        return len(self.names)

    def text(self, index: int) -> str:
        """Letters of one sequence."""
        return Alphabet(self.letters).decode(self.codes[index])

    def to_xarray(self) -> xr.Dataset:
        """All scores with labelled axes, those of the result's file: region, targets, letter and
        position (0-based in the sequence); `sequence` holds the letters.

        Raises
        ------
        UsageError
            xarray is not installed.
        """
        xarray = _needed("xarray")
        axes = ("region", "targets", "letter", "position")
        data: dict[str, Any] = {"reference": (axes[:2], self.reference)}
        for name, values in self.scores.items():
            without = {"targets"} if name in ACROSS else {"letter"} if values.ndim == 3 else set()
            data[name] = (tuple(axis for axis in axes if axis not in without), values)
        labels = (self.names, self.targets, list(self.letters), np.arange(*self.mutated))
        coordinates: dict[str, Any] = dict(zip(axes, labels, strict=True))
        coordinates["sequence"] = ("region", [self.text(i) for i in range(len(self))])
        facts = {"backend": self.backend, "max_abs_error": self.max_abs_error}
        found: xr.Dataset = xarray.Dataset(data, coordinates, facts)
        return found

    def to_dataframe(self, score: str = "delta") -> pd.DataFrame:
        """A line per mutation: name, position (0-based), ref, alt, and the score on each target.

        Raises
        ------
        UsageError
            The score is not one of mutations, cannot be made, or pandas is not installed.
        """
        pandas = _needed("pandas")
        values = self[score]
        if score == "contribution":
            hint = "found['contribution'] is an array (N, T, M)"
            raise UsageError("score", "contribution has no mutations", hint)
        values = values[:, None] if score in ACROSS else values
        inside = self.codes[:, slice(*self.mutated)]
        row, place, letter = mutations(inside, len(self.letters))
        columns: dict[str, Any] = {
            "name": np.array(self.names, object)[row],
            "position": place + self.mutated[0],
            "ref": np.array(list(self.letters))[inside[row, place]],
            "alt": np.array(list(self.letters))[letter],
        }
        names = [score] if score in ACROSS else self.targets
        columns |= {name: values[row, t, letter, place] for t, name in enumerate(names)}
        found: pd.DataFrame = pandas.DataFrame(columns)
        return found

    def plot(
        self, sequence: int | str = 0, target: Any = None, stretch: str | None = None
    ) -> Picture:
        """Logo and heat map of one sequence, as `yuzu plot` draws them.

        Parameters
        ----------
        sequence : int or str
            Number or name.
        target : int, str or several, optional
            Numbers, names or patterns; the strongest when none is given.
        stretch : str, optional
            ``"100:200"`` (0-based, half-open) or ``"all"``; about the strongest substitution when
            none is given.

        Raises
        ------
        UsageError
            There is no such sequence, target or stretch, or matplotlib is not installed.
        """
        from yuzu_cli.results.plot.figure import draw
        from yuzu_cli.results.plot.region import view

        index = choose([sequence], self.names, "sequence", "sequence")[0]
        chosen = None if target is None else choose(target, self.targets, "target")
        return draw(view(_InMemory(self), index, chosen, stretch))

    def _repr_html_(self) -> str:
        start, end = self.mutated
        facts = {
            "sequences": f"{len(self)} of {self.codes.shape[1]} letters, {some(self.names, 4)}",
            "targets": f"{len(self.targets)}: {some(self.targets, 4)}",
            "mutated": f"positions {start + 1} to {end}",
            "scores": ", ".join(f"{name} {values.shape}" for name, values in self.scores.items()),
            "computed by": f"{self.backend}, {self.max_abs_error:.2g} from naive at most",
        }
        rows = (
            f"<tr><th>{name}</th><td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in facts.items()
        )
        return f"<table>{''.join(rows)}</table>"


@dataclass(frozen=True, slots=True, eq=False)
class AttributionGroups:
    """Scores of sequences of several lengths: one `Attributions` for each length."""

    parts: dict[int, Attributions]

    def __getitem__(self, length: int) -> Attributions:
        """The sequences of one length."""
        return self.parts[length]

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))

    def to_dataframe(self, score: str = "delta") -> pd.DataFrame:
        """As `Attributions.to_dataframe`, the lengths one after the other."""
        pandas = _needed("pandas")
        found: pd.DataFrame = pandas.concat(
            [part.to_dataframe(score) for part in self.parts.values()], ignore_index=True
        )
        return found

    def _repr_html_(self) -> str:
        return "".join(part._repr_html_() for part in self.parts.values())


class _InMemory(Source):
    """Attributions as a result whose datasets are arrays: what pictures and other scores need."""

    def __init__(self, found: Attributions) -> None:
        self.path, self.alphabet = Path("sequences"), found.letters
        self.targets, self.saved = found.targets, (*found.scores,)
        self.mutate_start, self.mutate_end = found.mutated
        self.n_regions, length = found.codes.shape
        self.config = {"score": {"transform": found.transform}}
        names, zeros = np.array(found.names, object), np.zeros(self.n_regions, np.int64)
        strand = np.full(self.n_regions, b".")
        columns = (names, names, zeros, zeros + length, strand, zeros, zeros)
        arrays = {f"regions/{name}": c for name, c in zip(REGIONS, columns, strict=True)}
        arrays |= {f"scores/{name}": values for name, values in found.scores.items()}
        self.file: Any = arrays | {"sequences": found.codes, "reference": found.reference}


def _needed(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise UsageError(name, "is not installed", f"pip install {name}") from None
