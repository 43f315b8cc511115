"""What every hand-over reads from: a finished result, streamed in batches of rows.

Chooses targets by index or name, makes scores that were not saved from those that were, and knows
where each position of a window lies on the forward strand. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from yuzu_cli.alphabet import Alphabet
from yuzu_cli.errors import OutputError, UsageError
from yuzu_cli.results.derived import ACROSS, derive, source_of
from yuzu_cli.results.reader import Result
from yuzu_cli.results.schema import REGIONS
from yuzu_cli.selection import choose, some
from yuzu_cli.yaml12 import read_yaml

_BATCH_BYTES = 1 << 25
_UNITS = {
    "log": "log output",
    "log1p": "log(1 + output)",
    "logit": "logit",
    "softmax": "probability",
}


@dataclass(frozen=True, slots=True)
class Regions:
    """`/regions` of all rows, arrays (N,), small enough to be held whole; `minus` is bool."""

    chrom: np.ndarray
    name: np.ndarray
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray
    minus: np.ndarray
    input_index: np.ndarray
    status: np.ndarray


class Source(Result):
    """A finished result, opened to be handed over; with the same errors as `open_result`."""

    @cached_property
    def regions(self) -> Regions:
        """Coordinates of all rows."""
        columns = {name: self.read(f"regions/{name}") for name in REGIONS}
        columns["strand"] = columns["strand"].astype("U1")
        return Regions(**columns, minus=columns["strand"] == "-")

    @cached_property
    def complement(self) -> np.ndarray:
        """Code of each code's complement, uint8 (256,).

        Raises
        ------
        UsageError
            For an alphabet without complements.
        """
        table = Alphabet(self.alphabet).complement
        if table is None:
            raise UsageError(str(self.path), f"alphabet {self.alphabet} has no complement")
        return table

    @cached_property
    def config(self) -> dict[str, Any]:
        """The run's settings, section by section."""
        return read_yaml(str(self.attributes.get("config", ""))) or {}

    @property
    def unit(self) -> str:
        """What scores are differences of: the output, its logarithm, its logit."""
        transform = (self.config.get("score") or {}).get("transform", "none")
        return _UNITS.get(transform, "output")

    def choose(self, wanted: Sequence[str], *, one: bool = False) -> list[int]:
        """Indices of targets asked for by name or by index; all of them when none is asked for.

        `wanted` are names, patterns, or 0-based indices as text: `CTCF`, `K562_*`, `0,3,7-9`; with
        `one` it must be exactly one target.

        Raises
        ------
        UsageError
            For an unknown target, or when one is needed and it is not clear which.
        """
        chosen = choose(wanted, self.targets, "--target") if wanted else []
        chosen = chosen or list(range(len(self.targets)))
        if one and len(chosen) != 1:
            raise UsageError(
                "--target",
                f"this format holds one target and {len(chosen)} are in question",
                f"choose one of: {some(self.targets)}",
            )
        return chosen

    @property
    def kind(self) -> str:
        """What effects of substitutions are told by: delta, or else contribution, l2 or jsd."""
        if source_of("delta", self.saved):
            return "delta"
        rest = ("contribution", *ACROSS)
        return next((name for name in rest if name in self.saved), None) or self.need("delta")

    def need(self, statistic: str) -> str:
        """Name of the saved score that `statistic` is made from.

        Raises
        ------
        OutputError
            When it can be made from none of them.
        """
        have = source_of(statistic, self.saved)
        if have is None:
            raise OutputError(
                str(self.path),
                f"{statistic} is needed here, and {', '.join(self.saved) or 'no score'} was saved",
                "run again with --scores delta",
            )
        return have

    def sequences(self, rows: slice) -> np.ndarray:
        """Letters of whole windows, uint8 (B, L), in each row's own strand."""
        return self.read("sequences", rows)

    def reference(self, rows: slice, targets: Sequence[int]) -> np.ndarray:
        """Outputs for the sequences themselves, float32 (B, T)."""
        return self.read("reference", rows, targets)

    def values(self, statistic: str, rows: slice, targets: Sequence[int]) -> np.ndarray:
        """One statistic, saved or derived, float32, in each row's own strand.

        Returns
        -------
        ndarray
            (B, T, A, M); (B, T, M) for contribution; (B, A, M) over all targets for l2 and jsd.
        """
        have = self.need(statistic)
        if statistic in ACROSS or have in ACROSS:
            targets = range(len(self.targets))
        values = self.read(f"scores/{have}", rows, targets)
        codes = self.sequences(rows)[:, self.mutate_start : self.mutate_end]
        return derive(statistic, have, values, codes, self.reference(rows, targets))

    def effects(self, rows: slice, targets: Sequence[int]) -> np.ndarray:
        """What each substitution does, by `kind`, float32 (B, T, A, M).

        A is 1 for contributions, T for scores over all targets.
        """
        values = self.values(self.kind, rows, targets)
        return values if values.ndim == 4 else np.expand_dims(values, 1 + (self.kind not in ACROSS))

    def batches(self, n_targets: int = 1) -> Iterator[slice]:
        """Slices over all rows, at least one; the scores of each take some 32 MiB."""
        row = 4 * max(1, n_targets) * len(self.alphabet) * (self.mutate_end - self.mutate_start)
        step = max(1, _BATCH_BYTES // max(1, row))
        for start in range(0, max(1, self.n_regions), step):
            yield slice(start, min(start + step, self.n_regions))

    def first_bases(self, rows: slice) -> np.ndarray:
        """Where the mutated range of each row starts on the forward strand, int64 (B,)."""
        where = self.regions
        start, end, minus = where.start[rows], where.end[rows], where.minus[rows]
        return np.where(minus, end - self.mutate_end, start + self.mutate_start)

    def forward(self, values: np.ndarray, rows: slice, letters: int | None = None) -> np.ndarray:
        """Turn the minus-strand rows of an array round: last axis flipped, letters complemented.

        `values` are (B, ..., M or L) of these rows; `letters` is the axis, if any, that counts
        letters of the alphabet.
        """
        minus = np.flatnonzero(self.regions.minus[rows])
        if not len(minus):
            return values
        turned = values[minus][..., ::-1]
        if letters is not None:
            turned = np.take(turned, self.complement[: len(self.alphabet)], axis=letters)
        values = values.copy()
        values[minus] = turned
        return values
