"""captum beside this tool: gradient methods, and mutagenesis by its feature ablation."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn

from yuzu_cli.backends.passes import pass_rows, row_cost
from yuzu_cli.bench.methods import EXACT, OTHER, Found
from yuzu_cli.bench.peers.base import Peer, import_peer
from yuzu_cli.bench.subject import Subject


class _Total(nn.Module):
    """Sum of all outputs of a network, (N,): what gradient methods explain here."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x).sum(1)


class Captum(Peer):
    """A method of captum on the sum of the outputs: another quantity, so only its time is shown."""

    claim = OTHER

    def __init__(self, name: str, method: str, options: dict[str, Any] | None = None) -> None:
        self.name, self.method, self.options = name, method, options or {}

    def prepare(self, subject: Subject) -> None:
        """Import it and hand it the network."""
        super().prepare(subject)
        attr = import_peer("captum.attr", "captum")
        model = _Total(self.network())
        if self.method in ("IntegratedGradients", "InputXGradient"):
            self.tool = getattr(attr, self.method)(model.forward)
        else:
            self.tool = getattr(attr, self.method)(model)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Attributions of every letter."""
        with torch.enable_grad():
            return self.tool.attribute(x.clone().requires_grad_(), **self.options)

    def plan(self, seconds: float) -> float:
        """All sequences: gradients are quick."""
        self.run()
        return 1.0


class CaptumAblation(Peer):
    """Mutagenesis as captum has it: `FeatureAblation` by position, once for each other letter.

    Every position is replaced in turn by the letter that comes one, two, three places later.
    """

    name = "captum"
    claim = EXACT

    def prepare(self, subject: Subject) -> None:
        """Import it; as many positions a pass as naive has mutants."""
        super().prepare(subject)
        attr = import_peer("captum.attr", "captum")
        self.tool = attr.FeatureAblation(_Total(self.network()))
        cost, _ = row_cost(subject.model, subject.settings)
        self.rows = pass_rows(subject.model, subject.settings, cost)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Effects on the sum of the outputs, (A - 1, N, L)."""
        mask = torch.arange(x.shape[2], device=x.device).expand(1, x.shape[1], -1)
        turns = [x.roll(turn, dims=1) for turn in range(1, x.shape[1])]
        with torch.no_grad():
            found = [
                self.tool.attribute(
                    x, baselines=turn, feature_mask=mask, perturbations_per_eval=self.rows
                )[:, 0]
                for turn in turns
            ]
        return -torch.stack(found)

    def check(self) -> Found:
        """Effects on the sum of the outputs of one sequence."""
        truth, letters = self.subject.truth, self.subject.model.alphabet_size
        length = self.subject.case.length
        index = truth.index.cpu()
        seen = index < letters * length
        index = index[seen]
        began = time.perf_counter()
        table = self.compute(self.x[:1])[:, 0].cpu()
        self.took = time.perf_counter() - began
        position = index // letters % length
        old = truth.codes[0].cpu().long()[position]
        turn = (index % letters - old) % letters
        return Found("sum", table[turn - 1, position].float().numpy(), seen.numpy())

    def plan(self, seconds: float) -> float:
        """As many sequences as there is time for, by what the first took when checked."""
        self.count = max(1, min(len(self.x), int(seconds / self.took)))
        return self.count / len(self.x)
