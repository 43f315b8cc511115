"""What the other tools share here: how they are imported, what they are given, how much of it.

Nothing of them is imported before it is asked for.
"""

from __future__ import annotations

import copy
import warnings
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import nn

from yuzu_cli.backends.passes import one_hot, pass_rows, row_cost
from yuzu_cli.bench.clock import timed
from yuzu_cli.bench.machine import version_of
from yuzu_cli.bench.methods import CannotRun, Method
from yuzu_cli.bench.peers.chain import Rows
from yuzu_cli.bench.subject import Subject


def import_peer(module: str, package: str) -> Any:
    """A peer's module; its own complaints when it is imported are not ours.

    Raises
    ------
    CannotRun
        It is not installed, or will not load.
    """
    if version_of(package) is None:
        raise CannotRun(f"{package} is not installed; pip install 'yuzu-cli[peers]'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(module)
    except Exception as error:  # whatever it raises is its result
        raise CannotRun(f"{package} cannot be imported: {error}") from error


class Peer(Method):
    """What the peers share: the sequences as one-hot, in whole or in part."""

    def prepare(self, subject: Subject) -> None:
        """Remember the case."""
        super().prepare(subject)
        self.count = len(subject.codes)
        # No method is run on more than a batch of them.
        x = one_hot(subject.codes[: max(subject.batch, 16)], subject.model, subject.settings)
        self.x: torch.Tensor = x.to(subject.device)

    def network(self) -> nn.Module:
        """The network as its own tool would have it, else as this one loads it."""
        subject = self.subject
        if subject.module is None:
            return subject.model
        module = copy.deepcopy(subject.module).to(subject.device, subject.settings.dtype)
        return Rows(module).eval()

    def plan(self, seconds: float) -> float:
        """As many sequences as there is time for."""
        self.count = max(1, min(len(self.x), int(seconds / max(self.took(1), 1e-9))))
        return self.count / len(self.subject.codes)

    def run(self) -> None:
        """Do it, quietly."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.compute(self.x[: self.count])

    def took(self, count: int) -> float:
        """Seconds of one run over so many sequences."""
        self.count = count
        return timed(self.run, self.subject.device).wall

    def compute(self, x: torch.Tensor) -> Any:
        """The method itself on one-hot sequences (N, A, L)."""
        raise NotImplementedError


class Passes(Peer):
    """A peer that runs mutants in passes: at its best pass size, on a stretch of positions.

    Every position costs it the same, so its time is scaled linearly from those. `turns` is how many
    passes a position takes part in.
    """

    turns = 1

    def prepare(self, subject: Subject) -> None:
        """Passes as large as those of naive, until they are swept."""
        super().prepare(subject)
        cost = row_cost(subject.model, subject.settings).bytes
        self.rows = pass_rows(subject.model, subject.settings, cost)
        self.positions = subject.positions
        self.swept = False

    def best(self, letters: int) -> None:
        """Sweep the size of a pass, by what `letters` mutants of each position take."""

        def one_pass(rows: int) -> int:
            self.rows, self.count = rows, 1
            self.positions = self.few(-(-rows * self.turns // letters))
            self.run()
            return len(self.positions) * letters

        self.rows = self.sweep(self.rows, one_pass)
        self.swept = True

    def few(self, count: int) -> np.ndarray:
        """So many positions side by side, about the truth's that is nearest to the middle."""
        positions, known = self.subject.positions, self.subject.truth.position
        count = max(1, min(len(positions), count))
        middle = known[np.abs(known - positions[len(positions) // 2]).argmin()]
        start = int(np.searchsorted(positions, middle)) - count // 2
        start = max(0, min(len(positions) - count, start))
        return positions[start : start + count]

    def plan(self, seconds: float) -> float:
        """Some positions of one sequence, or all of them of one or more sequences."""
        letters = self.subject.model.alphabet_size - 1
        if not self.swept:
            self.best(letters)
        per_position = self.tried[self.rows] * letters
        everywhere = len(self.subject.positions)
        self.positions = self.few(len(self.stretch(per_position, seconds)))
        self.count = 1
        if len(self.positions) == everywhere:
            wanted = int(seconds / (per_position * everywhere))
            self.count = max(1, min(len(self.x), wanted))
        return self.count * len(self.positions) / (everywhere * len(self.subject.codes))
