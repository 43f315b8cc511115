"""What the other tools share here: how they are imported, what they are given, how much of it.

Nothing of them is imported before it is asked for.
"""

from __future__ import annotations

import copy
import warnings
from importlib import import_module
from typing import Any

import torch
from torch import nn

from yuzu_cli.backends.passes import one_hot
from yuzu_cli.bench.clock import NAN, timed
from yuzu_cli.bench.machine import version_of
from yuzu_cli.bench.methods import EXACT, CannotRun, Found
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


class Peer:
    """What the peers share: the sequences as one-hot, and no counted work."""

    name = ""
    claim = EXACT

    def prepare(self, subject: Subject) -> None:
        """Remember the case."""
        self.subject = subject
        self.count = len(subject.codes)
        x = one_hot(subject.codes, subject.model, subject.settings)
        self.x: torch.Tensor = x.to(subject.device)

    def network(self) -> nn.Module:
        """The network as its own tool would have it, else as this one loads it."""
        subject = self.subject
        if subject.module is None:
            return subject.model
        module = copy.deepcopy(subject.module).to(subject.device, subject.settings.dtype)
        return Rows(module).eval()

    def facts(self) -> dict[str, Any]:
        """Nothing to tell."""
        return {}

    def check(self) -> Found | None:
        """Nothing to compare."""
        return None

    def plan(self, seconds: float) -> float:
        """As many sequences as there is time for."""
        self.count = 1
        typical = timed(self.run, self.subject.device).wall
        self.count = max(1, min(len(self.x), int(seconds / max(typical, 1e-9))))
        return self.count / len(self.x)

    def run(self) -> None:
        """Do it, quietly."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.compute(self.x[: self.count])

    def compute(self, x: torch.Tensor) -> Any:
        """The method itself on one-hot sequences (N, A, L)."""
        raise NotImplementedError

    def macs(self) -> float:
        """Unknown."""
        return NAN
