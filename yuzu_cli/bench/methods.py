"""What is timed: each way of getting scores, as an object with the same few calls.

Backends are taken as they are in `BACKENDS`; what belongs to others is in `peers`. May not: judge.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from yuzu_cli.backends import BACKENDS, get_backend
from yuzu_cli.backends.base import Backend, Runner
from yuzu_cli.backends.naive import NaiveRunner, mutant_index
from yuzu_cli.backends.passes import PassSize
from yuzu_cli.backends.sensing.codes import MATRICES, PUBLISHED
from yuzu_cli.backends.sensing.design import make_design
from yuzu_cli.backends.sensing.probes import YuzuRunner
from yuzu_cli.bench.clock import NAN, Sample, timed
from yuzu_cli.bench.subject import Subject
from yuzu_cli.engine.draw import sample
from yuzu_cli.errors import UsageError
from yuzu_cli.scores import Accumulator

EXACT, ESTIMATE, OTHER = "exact", "estimate", "other"
"""What a method claims: naive's numbers, numbers near them, or another quantity altogether."""

FEW = 8
"""Sequences that tell what many cost."""

LEAST = 0.01
"""Share of the positions that a method is run on at least, however long that takes."""

SWEEP = (0.25, 0.5, 1, 2, 4)
"""Sizes of a pass that are tried, as multiples of what naive would take by itself."""

PATIENCE = 4.0
"""Seconds of a pass after which no larger one is tried."""

ALWAYS = float("inf")


class CannotRun(Exception):  # noqa: N818 - a result, not a fault
    """A method cannot take the model; the text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a method says of the mutants of the truth.

    Attributes
    ----------
    kind : str
        `delta`, `l2`, or `sum` over the targets.
    values : ndarray
        (E, T) or (E,); NaN where the method has none.
    seen : ndarray of bool, (E of the truth,), optional
        Which mutants `values` are of, when not of all.
    """

    kind: str
    values: np.ndarray
    seen: np.ndarray | None = None


class Method:
    """One way of getting the scores of every mutant.

    Attributes
    ----------
    name : str
    claim : str
        EXACT, ESTIMATE or OTHER.
    greedy : bool
        Whether it may take most of a machine's memory, so that no two are to run side by side.
    tried : dict
        What was swept: rows in a pass -> seconds of a mutant, or sequences at a time -> of one.
    """

    name = ""
    claim = EXACT
    greedy = False
    tried: dict[int, float]

    def prepare(self, subject: Subject) -> None:
        """Once per case; raises `CannotRun`."""
        self.subject, self.tried = subject, {}

    def facts(self) -> dict[str, Any]:
        """What it chose when it was made ready, such as `alpha`; plain values for the record."""
        return {}

    def check(self) -> Found | None:
        """Its scores of the mutants of the truth; None for another quantity. Serves as warm-up."""
        return None

    def plan(self, seconds: float) -> float:
        """Decide how much `run` does so that it takes about `seconds`; the share of the case."""
        return 1.0

    def run(self) -> Sample | None:
        """Do the planned share of the work, once; its time, if it was spent in another process."""
        raise NotImplementedError

    def macs(self) -> float:
        """Multiply-adds per mutant that the method does, as counted; NaN where it does not say."""
        return NAN

    def sweep(self, usual: int, one_pass: Callable[[int], int]) -> int:
        """The size of a pass that takes least per mutant; what was tried goes into `tried`.

        No pass is larger than the mutants of the sequences at hand, and after one of more than
        `PATIENCE` seconds no larger one is tried.

        Parameters
        ----------
        usual : int
            What naive takes by itself.
        one_pass : function of (rows) -> mutants done
        """
        low, high = self.subject.model.batch_range
        most = min(high or 1 << 14, 1 << 14, self.subject.mutants * self.subject.batch)
        sizes = {usual}
        if low != high:
            sizes = {min(most, max(low, 1, int(usual * f))) for f in SWEEP}
        for rows in sorted(sizes):
            done: list[int] = []
            call = partial(lambda rows, done: done.append(one_pass(rows)), rows, done)
            spent = timed(call, self.subject.device).wall
            if spent < PATIENCE:
                spent = min(spent, timed(call, self.subject.device).wall)
            self.tried[rows] = spent / done[0]
            if spent > PATIENCE:
                break
        return min(self.tried, key=lambda rows: self.tried[rows])

    def at_once(self, counts: Iterable[int], seconds: float, took: Callable[[int], float]) -> int:
        """How many sequences at a time are quickest; more are not tried once `seconds` are passed.

        Parameters
        ----------
        counts : iterable of int
        seconds : float
        took : function of (count) -> seconds
        """
        most = len(self.subject.codes)
        for count in sorted({min(count, most) for count in counts}):
            spent = took(count)
            self.tried[count] = spent / count
            if spent > seconds:
                break
        return min(self.tried, key=lambda count: self.tried[count])

    def stretch(self, per_position: float, seconds: float) -> np.ndarray:
        """Evenly spread positions that take about `seconds`, `LEAST` of all at least."""
        positions = self.subject.positions
        wanted = max(seconds / max(per_position, 1e-12), LEAST * len(positions), 1.0)
        count = int(min(len(positions), wanted + 1e-6))  # a whole number may be one by rounding
        return positions[np.linspace(0, len(positions) - 1, count).round().astype(np.int64)]


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
        self.sequences = 0

    def prepare(self, subject: Subject) -> None:
        """Make the runner."""
        super().prepare(subject)
        self.settings = dataclasses.replace(subject.settings, **self.changes)
        if reason := self.backend.unsupported(subject.model, self.settings):
            raise CannotRun(reason)
        with _empty_cache():
            self.runner = self._runner(subject)
        most = getattr(self.runner, "sequences", subject.batch)
        self.batch = max(1, min(subject.batch, most))
        self.sequences = len(subject.codes)

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
        count, device = len(self.subject.codes), self.subject.device
        least = self.batch if self.subject.case.batch else min(self.batch, FEW)
        if count <= least:
            return 1.0
        self.sequences = least
        wanted = int(seconds * least / timed(self.run, device).wall)
        if wanted > self.batch:
            wanted = wanted // self.batch * self.batch
        self.sequences = max(least, min(count, wanted))
        return self.sequences / count

    def run(self) -> None:
        """Scores of the planned sequences, as arrays in host memory."""
        self._score(self.subject.codes[: self.sequences], self.subject.positions)

    def _score(self, codes: torch.Tensor, positions: np.ndarray) -> None:
        assert self.runner is not None
        model = self.subject.model
        where = torch.as_tensor(positions, device=codes.device)
        for part in codes.split(self.batch):
            scores = Accumulator(
                [self.subject.score], part[:, where], model.n_targets, model.alphabet_size
            )
            reference = self.runner.reference(part)
            for block in self.runner.blocks(part, positions):
                scores.add(block)
            scores.finish(reference)

    def macs(self) -> float:
        """Of its plan, if it has one."""
        return float(getattr(getattr(self.runner, "plan", None), "macs", NAN))


@contextlib.contextmanager
def _empty_cache() -> Iterator[None]:
    """Plans are made, not found: making them is part of what is measured."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            yield
        finally:
            del os.environ["XDG_CACHE_HOME"]
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


class NaiveMethod(BackendMethod):
    """Naive, at its best pass size, on as many positions as there is time for.

    Every mutant costs it the same, so time is scaled linearly from those.
    """

    def __init__(self, name: str = "naive") -> None:
        super().__init__(name, get_backend("naive"))
        self.positions = np.empty(0, np.int64)

    def check(self) -> Found:
        """Deltas of the mutants of the truth alone: a whole run takes too long."""
        assert isinstance(self.runner, NaiveRunner)
        truth = self.subject.truth
        self.runner.reference(truth.codes)
        delta = self.runner.at(truth.index, self.subject.positions)
        return Found("delta", delta.cpu().numpy())

    def plan(self, seconds: float) -> float:
        """Find the best pass size; evenly spread positions of the first sequences."""
        subject = self.subject
        rows = self._best_rows()
        sequences = min(len(subject.codes), self.batch, 16)
        per_position = (subject.model.alphabet_size - 1) * sequences
        wanted = max(seconds, rows * self.tried[rows])
        count = len(self.stretch(self.tried[rows] * per_position, wanted))
        if per_position * count > rows and count < len(subject.positions):  # whole passes
            passes = -(-per_position * count // rows)  # not fewer than were asked for
            count = min(len(subject.positions), max(1, passes * rows // per_position))
        place = np.linspace(0, len(subject.positions) - 1, count).round().astype(np.int64)
        self.positions, self.sequences = subject.positions[place], sequences
        return count * sequences / (len(subject.positions) * len(subject.codes))

    def run(self) -> None:
        """Scores of the planned positions."""
        self._score(self.subject.codes[: self.sequences], self.positions)

    def _best_rows(self) -> int:
        assert isinstance(self.runner, NaiveRunner)
        runner, subject = self.runner, self.subject
        least = subject.model.batch_range[0]
        codes = subject.codes[: self.batch]
        index = mutant_index(codes, subject.positions, subject.model.alphabet_size)
        runner.reference(codes)

        def one_pass(rows: int) -> int:
            runner.size = PassSize(rows, least=least)
            chosen = sample(index, rows)
            runner.at(chosen, subject.positions)
            return len(chosen)

        best = self.sweep(runner.size.rows, one_pass)
        runner.size = PassSize(best, least=least)
        return best

    def macs(self) -> float:
        """Of a whole forward pass."""
        return float(self.backend.cost(self.subject.model, self.settings, 0))


def backend_method(name: str) -> BackendMethod:
    """The method of a backend: its name, then after a colon its sensing matrix.

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
    matrix, _, alpha = matrix.partition("@")
    slack = ALWAYS if matrix.endswith("!") else None
    matrix = matrix.removesuffix("!")
    if plain != "yuzu":
        raise UsageError("--backends", f"{name}: {plain} has no sensing matrix")
    if matrix not in MATRICES:
        what = f"{name}: no sensing matrix {matrix!r}"
        raise UsageError("--backends", what, "one of " + ", ".join(MATRICES))
    changes = {"matrix": matrix} | ({"alpha": _alpha(name, alpha)} if alpha else {})
    method = BackendMethod(name, backend, changes, slack)
    if alpha:  # taken as it is asked for, accurate or not
        method.claim = ESTIMATE
        method.greedy = True  # as many decoders as there are alphas: 10 GB for a DeepSEA
    return method


def _alpha(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError("--backends", f"{name}: {text!r} is not a number") from None


def every_backend() -> list[str]:
    """All backends; the one that senses, once by each matrix that needs no search for alpha."""
    names = list(BACKENDS)
    at = names.index("yuzu")
    names[at : at + 1] = [f"yuzu:{matrix}" for matrix in MATRICES if matrix not in PUBLISHED]
    return names
