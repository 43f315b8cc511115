"""The backends of this tool as methods, naive among them.

May not: judge, or know other tools.
"""

from __future__ import annotations

import dataclasses
import tempfile
from typing import Any
from unittest import mock

import torch

from yuzu_cli.backends import BACKENDS, get_backend
from yuzu_cli.backends.base import Backend, Runner
from yuzu_cli.backends.naive import NaiveRunner, mutant_index
from yuzu_cli.backends.passes import PassSize
from yuzu_cli.backends.sensing.codes import MATRICES, PUBLISHED
from yuzu_cli.backends.sensing.design import make_design
from yuzu_cli.backends.sensing.probes import YuzuRunner
from yuzu_cli.bench.methods import ESTIMATE, EXACT, CannotRun, Found, Method, Passes
from yuzu_cli.bench.stats import NAN
from yuzu_cli.bench.subject import Subject
from yuzu_cli.engine.draw import sample
from yuzu_cli.errors import UsageError
from yuzu_cli.scores import Accumulator

FEW = 8
"""Sequences that tell what many cost."""

ALWAYS = float("inf")


class BackendMethod(Method):
    """A backend of the tool, with its settings; `slack` of the one that senses, if any is given."""

    def __init__(
        self,
        name: str,
        backend: Backend,
        changes: dict[str, Any] | None = None,
        slack: float | None = None,
    ) -> None:
        self.name, self.backend, self.changes, self.slack = name, backend, changes or {}, slack
        self.claim = EXACT if backend.exact else ESTIMATE
        self.runner: Runner | None = None

    def prepare(self, subject: Subject) -> None:
        """Make the runner; plans are made and not found, as that is part of what is measured."""
        super().prepare(subject)
        self.settings = dataclasses.replace(subject.settings, **self.changes)
        if reason := self.backend.unsupported(subject.model, self.settings):
            raise CannotRun(reason)
        with (
            tempfile.TemporaryDirectory() as empty,
            mock.patch.dict("os.environ", XDG_CACHE_HOME=empty),
        ):
            self.runner = self._runner(subject)
        most = getattr(self.runner, "sequences", subject.batch)
        self.batch = max(1, min(subject.batch, most))

    def _runner(self, subject: Subject) -> Runner:
        if self.slack is None:
            return self.backend.prepare(subject.model, self.settings)
        design = make_design(subject.model, self.settings, slack=self.slack)
        runner = YuzuRunner(subject.model, self.settings, design.codes, self.slack)
        runner.alpha = design.alpha
        return runner

    def facts(self) -> dict[str, Any]:
        """Of codes: alpha where it matters, probes by layer, bytes."""
        if not isinstance(self.runner, YuzuRunner):
            return {}
        facts: dict[str, Any] = {
            "probes": [step.code.probes for step in self.runner.probed.values()],
            "code_bytes": sum(code.bytes for code in set(self.runner.codes.values())),
        }
        if self.settings.matrix in PUBLISHED and self.runner.codes:
            facts["alpha"] = self.runner.alpha
        return facts

    def check(self) -> Found:
        """Deltas of the mutants of the truth, out of a whole run over its sequences."""
        assert self.runner is not None
        subject, truth = self.subject, self.subject.truth
        found = torch.full(truth.delta.shape, torch.nan, device=subject.device)
        per_sequence = len(subject.positions) * subject.model.alphabet_size
        slots = torch.full((len(truth.codes) * per_sequence,), -1, device=subject.device)
        slots[truth.index] = torch.arange(len(truth.index), device=subject.device)
        for start in range(0, len(truth.codes), self.batch):
            codes = truth.codes[start : start + self.batch]
            self.runner.reference(codes)
            for block in self.runner.blocks(codes, subject.positions):
                rows = slots[block.index + start * per_sequence]
                hit = rows >= 0
                found[rows[hit], block.targets] = block.delta[hit].float()
        return Found("delta", found.cpu().numpy())

    def plan(self, seconds: float) -> float:
        """All positions of as many sequences as there is time for, whole batches if they fit."""
        most = len(self.subject.codes)
        least = self.batch if self.subject.case.batch else min(self.batch, FEW)
        if most > least:
            wanted = int(seconds * least / self.took(least))
            if wanted > self.batch:
                wanted -= wanted % self.batch
            self.count = max(least, min(most, wanted))
        return self.share

    def run(self) -> None:
        """Scores of the planned sequences and positions, as arrays in host memory."""
        assert self.runner is not None
        codes, model = self.subject.codes[: self.count], self.subject.model
        where = torch.as_tensor(self.positions, device=codes.device)
        for part in codes.split(self.batch):
            scores = Accumulator(
                [self.subject.score], part[:, where], model.n_targets, model.alphabet_size
            )
            reference = self.runner.reference(part)
            for block in self.runner.blocks(part, self.positions):
                scores.add(block)
            scores.finish(reference)

    def macs(self) -> float:
        """Of its plan, if it has one."""
        return float(getattr(getattr(self.runner, "plan", None), "macs", NAN))


class NaiveMethod(Passes, BackendMethod):
    """Naive, in passes."""

    def __init__(self, name: str = "naive") -> None:
        super().__init__(name, get_backend("naive"))

    @property
    def naive(self) -> NaiveRunner:
        """The runner, as what it is."""
        assert isinstance(self.runner, NaiveRunner)
        return self.runner

    def prepare(self, subject: Subject) -> None:
        """Make the runner."""
        super().prepare(subject)
        self.rows, self.most = self.naive.size.rows, self.batch

    def check(self) -> Found:
        """Deltas of the mutants of the truth alone: a whole run takes too long."""
        truth = self.subject.truth
        self.naive.reference(truth.codes)
        delta = self.naive.at(truth.index, self.subject.positions)
        return Found("delta", delta.cpu().numpy())

    def sweep(self) -> int:
        """Over mutants of a whole batch."""
        codes = self.subject.codes[: self.batch]
        size = self.subject.model.alphabet_size
        self.index = mutant_index(codes, self.subject.positions, size)
        self.naive.reference(codes)
        best = super().sweep()
        self._pass_of(best)
        return best

    def one_pass(self, rows: int) -> int:
        """Mutants of all the sequences at hand, and nothing else."""
        self._pass_of(rows)
        chosen = sample(self.index, rows)
        self.naive.at(chosen, self.subject.positions)
        return len(chosen)

    def _pass_of(self, rows: int) -> None:
        self.naive.size = PassSize(rows, least=self.subject.model.batch_range[0])

    def macs(self) -> float:
        """Of a whole forward pass."""
        return float(self.backend.cost(self.subject.model, self.settings, 0))


def backend_method(name: str) -> BackendMethod:
    """The method of a backend: its name, then after a colon its sensing matrix, or where the
    estimate starts.

    After the matrix, `@1.05` fixes alpha, and `!` puts all convolutions on probes.

    Raises
    ------
    UsageError
        There is no such backend, or it has no sensing matrix.
    """
    if name == "naive":
        return NaiveMethod()
    plain, _, matrix = name.partition(":")
    backend = get_backend(plain)
    if not matrix:
        return BackendMethod(name, backend)
    if plain == "taylor":
        return BackendMethod(name, backend, {"start": matrix})
    matrix, _, alpha = matrix.partition("@")
    slack = ALWAYS if matrix.endswith("!") else None
    matrix = matrix.removesuffix("!")
    if plain != "yuzu":
        raise UsageError("--backends", f"{name}: {plain} has no sensing matrix")
    if matrix not in MATRICES:
        what = f"{name}: no sensing matrix {matrix!r}"
        raise UsageError("--backends", what, "one of " + ", ".join(MATRICES))
    changes: dict[str, Any] = {"matrix": matrix}
    if alpha:
        try:
            changes["alpha"] = float(alpha)
        except ValueError:
            raise UsageError("--backends", f"{name}: {alpha!r} is not a number") from None
    method = BackendMethod(name, backend, changes, slack)
    if alpha:  # taken as it is asked for, accurate or not
        method.claim = ESTIMATE
        method.greedy = True  # as many decoders as there are alphas: 10 GB for a DeepSEA
    return method


def every_backend() -> list[str]:
    """All backends; the one that senses, once by each matrix that needs no search for alpha."""
    names = list(BACKENDS)
    at = names.index("yuzu")
    names[at : at + 1] = [f"yuzu:{matrix}" for matrix in MATRICES if matrix not in PUBLISHED]
    return names
