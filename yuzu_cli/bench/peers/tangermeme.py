"""tangermeme's saturation mutagenesis beside this tool."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch

from yuzu_cli.bench.methods import CannotRun, Found
from yuzu_cli.bench.peers.base import PeerPasses, import_peer
from yuzu_cli.bench.subject import Subject


class Tangermeme(PeerPasses):
    """`tangermeme.saturation_mutagenesis`: every mutant through the network, in passes.

    Parameters
    ----------
    fast : bool
        Whether its own windows are used. It tries them for long jobs only, and captures the model
        in each call; here they are asked for at once and what was captured is kept, as in one long
        job.
    """

    def __init__(self, fast: bool = False) -> None:
        self.fast = fast
        self.name = "tangermeme-fast" if fast else "tangermeme"
        self.kept: tuple[tuple[int, int, int], Any] | None = None

    def prepare(self, subject: Subject) -> None:
        """Import it."""
        super().prepare(subject)
        self.tool = import_peer("tangermeme.saturation_mutagenesis", "tangermeme")
        self.model = self.network()

    def compute(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs of the sequences, and of the mutants (N, A, M, T)."""
        start, end = int(self.positions[0]), int(self.positions[-1]) + 1
        options = {"batch_size": self.rows, "device": str(self.subject.device)}
        with self._captured((len(x), start, end)):
            return self.tool.saturation_mutagenesis(
                self.model, x, start=start, end=end, raw_outputs=True, fast=self.fast, **options
            )

    @contextlib.contextmanager
    def _captured(self, job: tuple[int, int, int]) -> Iterator[None]:
        """Within it the windows that were made for this job are taken again."""
        if not self.fast:
            yield
            return
        make = self.tool._fast_path

        def keep(*given: Any) -> tuple[Any, None, int]:
            if self.kept is None or self.kept[0] != job:
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    made = make(*given)[0]
                if made is None:
                    raise CannotRun(" ".join(str(warning.message) for warning in said))
                self.kept = (job, made)
            return self.kept[1], None, 0

        with mock.patch.multiple(self.tool, _FAST_MIN_SECONDS=0.0, _fast_path=keep):
            yield

    def check(self) -> Found:
        """Of as many positions as two passes hold."""
        truth = self.subject.truth
        self.positions = self.some(max(2, 2 * self.rows // self.subject.model.alphabet_size))
        reference, mutants = self.compute(self.x[: len(truth.codes)])
        start = int(self.positions[0])
        seen = (truth.position >= start) & (truth.position <= int(self.positions[-1]))
        place = (truth.sequence[seen], truth.letter[seen], truth.position[seen] - start)
        delta = mutants[place] - reference[truth.sequence[seen]]
        return Found("delta", delta.float().cpu().numpy(), np.asarray(seen))

    def plan(self, seconds: float) -> float:
        """As of every such peer; what it captures for these positions is made now."""
        share = super().plan(seconds)
        if self.fast:
            self.run()
        return share
