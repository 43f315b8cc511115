"""What is timed: each way of getting scores, as an object with the same few calls.

What is of this tool is in `backends`, what belongs to others in `peers`. May not: judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from yuzu_cli.bench.clock import Sample, timed
from yuzu_cli.bench.stats import NAN
from yuzu_cli.bench.subject import Subject

EXACT, ESTIMATE, OTHER = "exact", "estimate", "other"
"""What a method claims: naive's numbers, numbers near them, or another quantity altogether."""

LEAST = 0.01
"""Share of the positions that a method is run on at least, however long that takes."""

SWEEP = (0.25, 0.5, 1, 2, 4)
"""Sizes of a pass that are tried, as multiples of what naive would take by itself."""

LARGEST = 1 << 14
"""Rows of a pass, at most."""

PATIENCE = 4.0
"""Seconds of a pass after which no larger one is tried."""


class CannotRun(Exception):  # noqa: N818 - a result, not a fault
    """A method cannot take the model; the text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a method says of the mutants of the truth."""

    kind: str  # `delta`, `l2`, or `sum` over the targets
    values: np.ndarray  # (E, T) or (E,); NaN where the method has none
    seen: np.ndarray | None = None  # bool (E of the truth,): which they are, when not all


class Method:
    """One way of getting the scores of every mutant.

    `run` does `count` of the sequences, at `positions`: all, until `plan` says otherwise.
    """

    name = ""
    claim = EXACT
    greedy = False  # it may take most of a machine's memory: no two are to run side by side

    def prepare(self, subject: Subject) -> None:
        """Once per case; raises `CannotRun`."""
        self.subject, self.count, self.positions = subject, len(subject.codes), subject.positions
        # What was swept: rows in a pass -> seconds of a mutant, or sequences at a time -> of one.
        self.tried: dict[int, float] = {}

    def facts(self) -> dict[str, Any]:
        """What it chose when it was made ready, such as `alpha`; plain values for the record."""
        return {}

    def check(self) -> Found | None:
        """Its scores of the mutants of the truth; None for another quantity. Serves as warm-up."""
        return None

    def plan(self, seconds: float) -> float:
        """Decide how much `run` does so that it takes about `seconds`; the share of the case."""
        return self.share

    def run(self) -> Sample | None:
        """Do the planned share of the work, once; its time, if it was spent in another process."""
        raise NotImplementedError

    def macs(self) -> float:
        """Multiply-adds per mutant that the method does, as counted; NaN where it does not say."""
        return NAN

    @property
    def share(self) -> float:
        """How much of the case `run` does."""
        subject = self.subject
        return self.count * len(self.positions) / (len(subject.codes) * len(subject.positions))

    def took(self, count: int) -> float:
        """Seconds of one run over so many sequences."""
        self.count = count
        return timed(self.run, self.subject.device).wall

    def at_once(self, counts: Iterable[int], seconds: float) -> int:
        """How many sequences at a time are quickest; no more than there are."""
        most = len(self.subject.codes)
        sizes = {min(count, most) for count in counts}
        return self.quickest(sizes, lambda count: (self.took(count), count), seconds)

    def quickest(
        self, sizes: Iterable[int], cost: Callable[[int], tuple[float, int]], patience: float
    ) -> int:
        """The size that takes least; what was tried goes into `tried`.

        `cost` says how many seconds a size takes, and how much is done in them; after one of more
        than `patience` seconds no larger one is tried.
        """
        for size in sorted(sizes):
            spent, done = cost(size)
            self.tried[size] = spent / done
            if spent > patience:
                break
        return min(self.tried, key=lambda size: self.tried[size])


class Passes(Method):
    """What runs mutants in passes: at its best pass size, on the positions there is time for.

    Every mutant costs it the same, so time is scaled linearly from those.
    """

    rows: int  # of a pass; at first what naive would take by itself
    most = 1  # sequences that it can be run on
    turns = 1  # passes that a position takes part in
    factors: tuple[float, ...] = SWEEP  # of `rows`, to be tried

    def plan(self, seconds: float) -> float:
        """Whole passes over some positions of one sequence, or all positions of one or more."""
        if not self.tried:
            self.rows = self.sweep()
        everywhere = len(self.subject.positions)
        per_position = self.tried[self.rows] * (self.subject.model.alphabet_size - 1)
        wanted = max(seconds / max(per_position, 1e-12), LEAST * everywhere)
        each = self.in_a_pass(self.rows)
        # A whole number of passes may be a little more by rounding.
        count = max(1, math.ceil(wanted / each - 1e-6)) * each
        self.positions = self.some(count)
        self.count = max(1, min(self.most, count // everywhere))
        return self.share

    def sweep(self) -> int:
        """The number of rows that takes least per mutant.

        No pass is larger than the mutants of the sequences at hand.
        """
        low, high = self.subject.model.batch_range
        most = min(high or LARGEST, LARGEST, self.subject.mutants * self.subject.batch)
        sizes = {self.rows}
        if low != high:
            sizes = {min(most, max(low, 1, int(self.rows * f))) for f in self.factors}

        def cost(rows: int) -> tuple[float, int]:
            done: list[int] = []
            took = [timed(lambda: done.append(self.one_pass(rows)), self.subject.device).wall]
            if took[0] < PATIENCE:
                took.append(timed(lambda: self.one_pass(rows), self.subject.device).wall)
            return min(took), done[0]

        return self.quickest(sizes, cost, PATIENCE)

    def in_a_pass(self, rows: int) -> int:
        """Positions whose mutants fill a pass."""
        return max(1, rows * self.turns // (self.subject.model.alphabet_size - 1))

    def one_pass(self, rows: int) -> int:
        """Run so many rows of one sequence; the mutants that were done."""
        self.rows, self.count = rows, 1
        self.positions = self.some(self.in_a_pass(rows))
        self.run()
        return len(self.positions) * (self.subject.model.alphabet_size - 1)

    def some(self, count: int) -> np.ndarray:
        """So many positions, evenly spread."""
        positions = self.subject.positions
        place = np.linspace(0, len(positions) - 1, min(count, len(positions)))
        return positions[place.round().astype(np.int64)]
