"""captum beside this tool: gradient methods, and mutagenesis by its feature ablation."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import torch
from torch import nn

from yuzu_cli.backends.passes import row_cost
from yuzu_cli.bench.methods import OTHER, Found
from yuzu_cli.bench.peers.base import Peer, PeerPasses, import_peer
from yuzu_cli.bench.subject import Subject

SHUFFLES = 10
"""Shuffled sequences that DeepLIFT compares each with, as in fastISM's paper."""

ROWS = {"DeepLiftShap": 16 * SHUFFLES, "IntegratedGradients": 50}
"""Rows of a pass that a method makes of one sequence, where these are more than one. DeepLIFT's are
two for each shuffle, of which it keeps so much that they count as eight times as many.
"""


class _Total(nn.Module):
    """Sum of all outputs of a network, (N,): ablation explains one number."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x).sum(1)


class Captum(Peer):
    """A gradient method of captum, for every output: another quantity, so only its time is shown.

    Each output is a backward pass of its own; where there are many, some are run, and their time
    scaled.
    """

    claim = OTHER

    def __init__(self, name: str, method: str, options: dict[str, Any] | None = None) -> None:
        self.name, self.method, self.options = name, method, options or {}

    def prepare(self, subject: Subject) -> None:
        """Import it and hand it the network."""
        super().prepare(subject)
        attr = import_peer("captum.attr", "captum")
        model = self.network()
        whole = self.method in ("IntegratedGradients", "InputXGradient")
        self.tool = getattr(attr, self.method)(model.forward if whole else model)
        self.targets = 1
        self.took(1)  # a first call, as a warm-up

    def compute(self, x: torch.Tensor) -> None:
        """Attributions of every letter to the first of the outputs."""
        if self.method == "DeepLiftShap":
            draw = torch.Generator().manual_seed(0)
            order = torch.randperm(x.shape[2], generator=draw).to(x.device)
            self.options["baselines"] = torch.stack(
                [x[0][:, order.roll(turn)] for turn in range(SHUFFLES)]
            )
        with torch.enable_grad():
            for target in range(self.targets):
                given = x.detach().clone().requires_grad_()
                self.tool.attribute(given, target=target, **self.options)
                gc.collect(1)  # DeepLIFT's activations hold each other, 10 GB after some calls

    def plan(self, seconds: float) -> float:
        """As many sequences at a time as are quickest, and outputs as there is time for."""
        one = row_cost(self.subject.model, self.subject.settings).bytes
        most = max(1, self.subject.settings.memory // (one * ROWS.get(self.method, 1)))
        count = self.at_once((min(count, most, len(self.x)) for count in (1, 8, 64)), seconds)
        wanted = int(seconds / (self.tried[count] * count))
        self.count, self.targets = count, max(1, min(self.subject.model.n_targets, wanted))
        return self.share

    @property
    def share(self) -> float:
        """How much of the case `run` does, outputs included."""
        return super().share * self.targets / self.subject.model.n_targets

    def facts(self) -> dict[str, Any]:
        """How many outputs it explains one by one."""
        return {"outputs": self.subject.model.n_targets}


class CaptumAblation(PeerPasses):
    """Mutagenesis as captum has it: `FeatureAblation` by position, once for each other letter.

    Every position is replaced in turn by the letter that comes one, two, three places later.
    """

    name = "captum"

    def prepare(self, subject: Subject) -> None:
        """Import it."""
        super().prepare(subject)
        attr = import_peer("captum.attr", "captum")
        self.tool = attr.FeatureAblation(_Total(self.network()))
        self.turns = subject.model.alphabet_size - 1

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Effects on the sum of the outputs, (A - 1, N, L); what is left out is one feature."""
        mask = torch.full((x.shape[2],), len(self.positions), device=x.device)
        where = torch.as_tensor(self.positions, device=x.device)
        mask[where] = torch.arange(len(self.positions), device=x.device)
        options = {
            "feature_mask": mask.expand(1, x.shape[1], -1),
            "perturbations_per_eval": self.rows,
        }
        with torch.no_grad():
            found = [
                self.tool.attribute(x, baselines=x.roll(turn, dims=1), **options)[:, 0]
                for turn in range(1, x.shape[1])
            ]
        return -torch.stack(found)

    def check(self) -> Found:
        """Effects on the sum of the outputs of one sequence, where the truth has some of them."""
        truth, letters = self.subject.truth, self.subject.model.alphabet_size
        self.positions = np.unique(truth.position[truth.sequence == 0])[:64]
        table = self.compute(self.x[:1])[:, 0].cpu()
        seen = (truth.sequence == 0) & np.isin(truth.position, self.positions)
        position = truth.position[seen]
        old = truth.codes[0].cpu().numpy().astype(np.int64)[position]
        turn = (truth.letter[seen] - old) % letters
        return Found("sum", table[turn - 1, position].float().numpy(), seen)
