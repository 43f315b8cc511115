"""tangermeme's saturation mutagenesis beside this tool."""

from __future__ import annotations

import torch

from yuzu_cli.backends.passes import pass_rows, row_cost
from yuzu_cli.bench.clock import timed
from yuzu_cli.bench.methods import EXACT, Found
from yuzu_cli.bench.peers.base import Peer, import_peer
from yuzu_cli.bench.subject import Subject


class Tangermeme(Peer):
    """`tangermeme.saturation_mutagenesis`: every mutant through the network, in passes.

    Costs the same at every position, so it is run on the first ones only when there is little time.
    """

    name = "tangermeme"
    claim = EXACT

    def prepare(self, subject: Subject) -> None:
        """Import it; passes as large as those of naive."""
        super().prepare(subject)
        self.tool = import_peer("tangermeme.saturation_mutagenesis", "tangermeme")
        self.model = self.network()
        cost, _ = row_cost(subject.model, subject.settings)
        self.rows = pass_rows(subject.model, subject.settings, cost)
        self.end = subject.case.length

    def compute(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs of the sequences, and of the mutants (N, A, M, T)."""
        return self.tool.saturation_mutagenesis(
            self.model,
            x,
            start=0,
            end=self.end,
            batch_size=self.rows,
            raw_outputs=True,
            device=str(self.subject.device),
        )

    def check(self) -> Found:
        """Of as many positions as eight passes hold."""
        truth, letters = self.subject.truth, self.subject.model.alphabet_size
        length = self.subject.case.length
        self.end = min(length, max(2, 8 * self.rows // letters))
        reference, mutants = self.compute(self.x[: len(truth.codes)])
        letter = (truth.index % letters).cpu()
        position = (truth.index // letters % length).cpu()
        sequence = (truth.index // (letters * length)).cpu()
        seen = (position < self.end).numpy()
        if not seen.any():
            seen[0], position[0] = True, 0  # the first mutant is at position 0
        delta = mutants[sequence[seen], letter[seen], position[seen]] - reference[sequence[seen]]
        return Found("delta", delta.float().cpu().numpy(), seen)

    def plan(self, seconds: float) -> float:
        """One sequence and some positions of it, or all of it and others."""
        length = self.subject.case.length
        self.count = 1
        typical = timed(self.run, self.subject.device).wall / self.end
        positions = max(seconds / typical, 2.0)
        if positions < length:
            self.end = int(positions)
            return self.end / (length * len(self.x))
        self.end = length
        self.count = max(1, min(len(self.x), int(positions / length)))
        return self.count / len(self.x)
