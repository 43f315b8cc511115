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
from yuzu_cli.bench.machine import version_of
from yuzu_cli.bench.methods import CannotRun, Method, Passes
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


def plain_network(subject: Subject) -> nn.Module:
    """A copy of the network as plain Python, on the device, with one tensor (N, T) for its output.

    Raises
    ------
    CannotRun
        There is none: the model is a file.
    """
    if subject.module is None:
        raise CannotRun("needs the network as plain Python, and there is a model file")
    module = copy.deepcopy(subject.module).to(subject.device, subject.settings.dtype)
    return Rows(module).eval()


class Peer(Method):
    """What the peers share: the sequences as one-hot, in whole or in part."""

    counts: tuple[int, ...] = (1,)  # of sequences at a time, to be tried
    at_a_time = 1

    def prepare(self, subject: Subject) -> None:
        """Remember the case."""
        super().prepare(subject)
        # No method is run on more than a batch of them.
        x = one_hot(subject.codes[: max(subject.batch, 16)], subject.model, subject.settings)
        self.x: torch.Tensor = x.to(subject.device)

    def network(self) -> nn.Module:
        """The network as its own tool would have it, else as this one loads it."""
        subject = self.subject
        return subject.model if subject.module is None else plain_network(subject)

    def took(self, count: int) -> float:
        """Seconds of so many sequences, all at a time."""
        self.at_a_time = count
        return super().took(count)

    def plan(self, seconds: float) -> float:
        """As many sequences at a time as are quickest, and in all as there is time for."""
        self.at_a_time = self.at_once(self.counts, seconds)
        wanted = int(seconds / self.tried[self.at_a_time])
        self.count = max(self.at_a_time, min(len(self.x), wanted))
        return self.share

    def run(self) -> None:
        """Do it, quietly."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.compute(self.x[: self.count])

    def compute(self, x: torch.Tensor) -> Any:
        """The method itself on one-hot sequences (N, A, L)."""
        raise NotImplementedError


class PeerPasses(Passes, Peer):
    """A peer that runs mutants in passes, on positions that lie side by side."""

    def prepare(self, subject: Subject) -> None:
        """Passes as large as those of naive, until they are swept."""
        super().prepare(subject)
        cost = row_cost(subject.model, subject.settings).bytes
        self.rows, self.most = pass_rows(subject.model, subject.settings, cost), len(self.x)

    def some(self, count: int) -> np.ndarray:
        """So many positions side by side, about the truth's that is nearest to the middle."""
        positions, known = self.subject.positions, self.subject.truth.position
        count = min(len(positions), count)
        middle = known[np.abs(known - positions[len(positions) // 2]).argmin()]
        start = int(np.searchsorted(positions, middle)) - count // 2
        start = max(0, min(len(positions) - count, start))
        return positions[start : start + count]
