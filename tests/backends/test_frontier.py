"""Estimates that start within the model: TISM at the input, exact at the output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.support.conformance import Subject, case_subject, scores, settings_for
from tests.support.engine_nets import L, codes, export, script, seeded, trace
from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.naive import NaiveRunner
from yuzu_cli.backends.taylor import CutRunner, TaylorRunner
from yuzu_cli.backends.windowed import WindowedRunner, understand
from yuzu_cli.model import Model, load_model
from yuzu_cli.plan.cuts import cut_at

FAMILIES = [
    "like-aitac-residual", "like-aparent2", "like-chrombpnet", "like-conv-gru", "like-danq",
    "like-enformer", "like-legnet", "like-malinois", "like-mamba", "like-sei", "lstm-both-ways",
    "mix-rewrite", "letters-20", "contact-map", "like-explainn", "like-satori", "transformer-layer",
]  # fmt: skip


def cell(found: Tensor, truth: Tensor) -> float:
    """The largest difference, of the largest effect."""
    told = truth.nan_to_num(0.0)
    return float((found.nan_to_num(0.0) - told).abs().max() / told.abs().max())


def everything(subject: Subject, model: Model, settings: Settings, kind: type) -> Tensor:
    # Without the periodic sequence, in whose ties a maximum has several gradients.
    positions = list(range(subject.length))
    return scores(kind(model, settings), subject.sequences()[:2], positions, subject.letters)


@pytest.mark.parametrize("name", FAMILIES)
def test_tism_at_the_input_and_exact_at_the_output(name: str, tmp_path: Path) -> None:
    subject = case_subject(name)
    model = subject.load(subject.save(tmp_path / "m.pt", "scripted"))
    settings = settings_for(model)
    program = understand(model, settings).program
    tism = everything(subject, model, settings, TaylorRunner)
    exact = everything(subject, model, settings, NaiveRunner)
    first = everything(subject, model, replace(settings, start=program.input.name), CutRunner)
    assert cell(first, tism) < 1e-4
    last = everything(subject, model, replace(settings, start=program.output.name), CutRunner)
    assert cell(last, exact) < 1e-4
    estimate = get_backend("taylor").prepare(model, replace(settings, start="frontier"))
    positions = list(range(subject.length))
    found = scores(estimate, subject.sequences()[:2], positions, subject.letters)
    assert found.isfinite().eq(exact.isfinite()).all()
    if isinstance(estimate, WindowedRunner):  # windows never end: nothing is estimated
        assert cell(found, exact) < 1e-4


class Gated(nn.Module):
    """Convolutions, then all positions mixed by a gate: two tensors lie at the frontier."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(4, 6, 5, padding=2), nn.GELU(), nn.Conv1d(6, 6, 3))
        self.gate = nn.Linear(6, 6)
        self.mix = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        return self.rest(h, torch.sigmoid(self.gate(h.mean(2))))

    def rest(self, h: Tensor, gate: Tensor) -> Tensor:
        h = (h * gate.unsqueeze(2)).transpose(1, 2)
        weights = torch.softmax(h @ self.mix(h).transpose(1, 2), dim=2)
        return self.head(torch.tanh(weights @ h).mean(1))


def at_the_frontier(net: Gated, sequence: Tensor) -> Tensor:
    """The estimate (A, L, T) of the gated net, mutant by mutant in float64."""

    def tensors(x: Tensor) -> tuple[Tensor, Tensor]:
        h = net.body(x)
        return h, torch.sigmoid(net.gate(h.mean(2)))

    x = torch.nn.functional.one_hot(sequence.long(), 4).T[None].double()
    reference = [t.detach().requires_grad_() for t in tensors(x)]
    y = net.rest(*reference)[0]
    grads = [torch.autograd.grad(v, reference, retain_graph=True) for v in y]
    found = torch.zeros(4, len(sequence), len(y), dtype=torch.float64)
    for letter in range(4):
        for position in range(len(sequence)):
            mutant = x.clone()
            mutant[0, :, position], mutant[0, letter, position] = 0, 1
            deltas = [a - b for a, b in zip(tensors(mutant), reference, strict=True)]
            for t, grad in enumerate(grads):
                found[letter, position, t] = sum(
                    (g * d).sum() for g, d in zip(grad, deltas, strict=True)
                )
    return found.detach()


@pytest.mark.parametrize("save", [script, trace, export])
def test_against_autograd_in_float64(save: Callable[..., Path], tmp_path: Path) -> None:
    net, sequences = seeded(Gated), codes(3)
    path = tmp_path / ("m.pt2" if save is export else "m.pt")
    model = load_model(save(net, path), length=L)
    settings = replace(settings_for(model), start="frontier")
    runner = CutRunner(model, settings)
    assert len(runner.cut) == 2
    expected = torch.stack([at_the_frontier(net.double(), s) for s in sequences])
    for runner.vectorised in (True, False):
        for runner.rows in (3, 6, 100):
            found = scores(runner, sequences, range(L), 4)
            assert cell(found, expected.permute(0, 3, 1, 2)) < 1e-5


def test_exact_where_what_follows_is_linear(tmp_path: Path) -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.mix = nn.Conv1d(4, 6, 5), nn.Linear((L - 4) * 6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.mix(torch.tanh(self.body(x)).flatten(1))

    model = load_model(script(seeded(Linear), tmp_path / "m.pt"), length=L)
    settings, sequences = settings_for(model), codes(3)
    exact = scores(NaiveRunner(model, settings), sequences, range(L), 4)
    found = scores(CutRunner(model, replace(settings, start="tanh")), sequences, range(L), 4)
    assert cell(found, exact) < 1e-5
    assert cell(scores(TaylorRunner(model, settings), sequences, range(L), 4), exact) > 1e-2


def test_tensors_beside_a_node_are_part_of_the_cut(tmp_path: Path) -> None:
    net = seeded(Gated)
    model = load_model(script(net, tmp_path / "m.pt"), length=L)
    known = understand(model, settings_for(model))
    assert cut_at(known.found, known.plan, "input") == (known.program.input.name,)
    mean = next(n.name for n in known.program.calls() if "mean" in n.name)
    assert len(cut_at(known.found, known.plan, mean)) == 2
    assert cut_at(known.found, known.plan, "nowhere") == ()


def test_what_is_no_node_is_said(tmp_path: Path) -> None:
    model = load_model(script(seeded(Gated), tmp_path / "m.pt"), length=L)
    reason = get_backend("taylor").unsupported(model, replace(settings_for(model), start="here"))
    assert reason is not None
    assert "no node here" in reason
