"""Compares a backend with naive on some mutants of the user's own sequences, before it is trusted.

Where the model runs in float64, that is the truth, and a backend may be no further from it than
naive in the run's own type is. May not: choose what to do about a difference.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from yuzu_cli.backends.base import Runner, Settings
from yuzu_cli.backends.naive import NaiveRunner
from yuzu_cli.backends.passes import LEAST_ROWS, is_out_of_memory, row_cost
from yuzu_cli.engine.draw import draw, rough_effects
from yuzu_cli.engine.judge import Answers, Plain, Verdict, cat, judge
from yuzu_cli.engine.net import describe
from yuzu_cli.model import Model

logger = logging.getLogger(__name__)

SEQUENCES = 4
"""The sample is spread over the first so many sequences."""

FROM_CHUNK = 4
"""Of so many mutants, one is taken from a chunk as the run will cut it."""

DOUBLE_WORK = 2e9
"""Multiply-adds that float64 may take at least: half a second to a second of a core."""

DOUBLE_SHARE = 0.02
"""And of the multiply-adds of the whole run."""

LEAST_DOUBLE = 8
MOST_CELLS = 1 << 25
"""Mutants times targets that are compared at one time."""

MORE = 4
"""A backend that fails narrowly is judged once more by so many times the mutants."""


@dataclass(frozen=True, slots=True)
class Check:
    """Outcome of a comparison with naive.

    Attributes
    ----------
    mutants : int
    errors : mapping of str to (float, float)
        Of each score that was compared (`delta`, `l2`): the largest difference from naive, in
        float64 where the model runs in it, and the same of the largest effect.
    passed : bool
        No difference is more than rounding explains.
    what : str
        What did not pass.
    """

    mutants: int = 0
    errors: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    passed: bool = True
    what: str = ""

    @property
    def worst(self) -> str:
        """The score that is furthest off, by the largest effect; empty where none was compared."""
        return max(self.errors, key=lambda name: _nan_last(self.errors[name][1]), default="")

    def error(self, name: str, relative: bool = False) -> float:
        """Largest difference in a score, or that of the largest effect; NaN if not compared."""
        return self.errors[name][int(relative)] if name in self.errors else float("nan")

    @property
    def max_abs_error(self) -> float:
        """Of the worst score; NaN when nothing was compared."""
        return self.error(self.worst)

    @property
    def max_rel_error(self) -> float:
        """The same, of the largest effect."""
        return self.error(self.worst, relative=True)

    def describe(self) -> str:
        """`largest error 2e-08 in delta (3e-06 of the largest), ...`."""
        parts = [
            f"{a:.2g} in {name} ({r:.2g} of the largest)" for name, (a, r) in self.errors.items()
        ]
        return f"largest error {', '.join(parts)}"


def _nan_last(value: float) -> float:
    return value if value == value else float("inf")


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What is to be compared.

    Attributes
    ----------
    codes : Tensor, uint8 (B, L)
        Sequences as the model sees them.
    positions : tuple of ndarray, int64 (M,)
        Mutated range of each.
    save : tuple of str
        Scores of the run.
    alone : bool
        `l2` comes from the backend's own sums of squares: only it is saved, and nothing averaged.
    work : float
        Multiply-adds of the whole run.
    at_once : int
        Sequences that the runner may be given at one time.
    """

    codes: torch.Tensor
    positions: tuple[np.ndarray, ...]
    save: tuple[str, ...] = ("delta", "l2")
    alone: bool = True
    work: float = 0.0
    at_once: int = SEQUENCES


def check(
    model: Model,
    runner: Runner,
    settings: Settings,
    codes: np.ndarray,
    positions: np.ndarray | Sequence[np.ndarray],
    mutants: int,
    precision: str,
    save: Sequence[str] = ("delta", "l2"),
    alone: bool = True,
    work: float = 0.0,
    at_once: int = SEQUENCES,
) -> Check:
    """Compare `mutants` deltas of `runner` with naive's.

    Parameters
    ----------
    codes : ndarray, uint8 (B, L)
        The user's first sequences, on either strand.
    positions : ndarray, int64 (M,), or one for each sequence
        Mutated range.
    save, alone, work, at_once
        See `Task`.
    """
    each = [positions] * len(codes) if isinstance(positions, np.ndarray) else list(positions)
    rows = torch.as_tensor(codes[:SEQUENCES]).to(settings.device)
    task = Task(rows, tuple(each[:SEQUENCES]), tuple(save), alone, work, at_once)
    estimate = rough_effects(model, settings, rows) if len(rows) else None
    found = _compare(model, runner, settings, task, mutants, precision, estimate, 0)
    if found is not None and not found.passed and found.narrow:
        again = _compare(model, runner, settings, task, MORE * mutants, precision, estimate, 1)
        found = again or found
    if found is None:
        return Check()
    return Check(found.mutants, found.errors, found.passed, found.what)


def _compare(
    model: Model,
    runner: Runner,
    settings: Settings,
    task: Task,
    mutants: int,
    precision: str,
    estimate: torch.Tensor | None,
    turn: int,
) -> Verdict | None:
    size = model.alphabet_size
    mutants = min(mutants, max(LEAST_DOUBLE, MOST_CELLS // max(1, model.n_targets)))
    chunk = from_chunk(runner, task, size, mutants // FROM_CHUNK)
    count = mutants - len(chunk.index)
    index = draw(task.codes, task.positions, size, count, estimate, turn, chunk.index)
    found = cat([*by_itself(runner, task, size, index), chunk])
    if not len(found.index):
        return None
    naive = by_naive(NaiveRunner(model, settings), task.codes, found.index)
    # Passes of another size round otherwise: the worse of two says what naive's own error may be.
    other = by_naive(NaiveRunner(model, settings, rows=LEAST_ROWS), task.codes, found.index)
    truth = in_double(model, settings, task, found.index)
    return judge(found, naive, other, truth, precision, task.save, task.alone)


def by_itself(runner: Runner, task: Task, size: int, index: torch.Tensor) -> list[Answers]:
    """What a runner answers for ascending flat indices (E,) into (B, L, A), sequence by sequence.

    Only the positions of these are asked for; their other letters come with them.
    """
    parts, length = [], task.codes.shape[1]
    for row, codes in enumerate(task.codes.split(1)):
        own = index[index // (size * length) == row]
        if not len(own):
            continue
        where = (own // size % length).unique()
        found = Answers.none_yet(own, runner.reference(codes).expand(len(own), -1))
        for block in runner.blocks(codes, where.cpu().numpy()):
            at = where[block.index // size % len(where)]
            found.take((row * length + at) * size + block.index % size, block)
        parts.append(found)
    return parts


def from_chunk(runner: Runner, task: Task, size: int, count: int) -> Answers:
    """A runner's answers for what it finds strongest in the first chunk of a batch of the run."""
    same = [i for i, p in enumerate(task.positions) if np.array_equal(p, task.positions[0])]
    same = same[: task.at_once]
    codes, where = task.codes[same], torch.as_tensor(task.positions[0], device=task.codes.device)
    outputs = runner.reference(codes)
    block = next(iter(runner.blocks(codes, task.positions[0])), None)
    if block is None:
        return Answers.none_yet(where[:0], outputs[:0])
    at, letter = where[block.index // size % len(where)], block.index % size
    row = block.index // (size * len(where))
    sequence = torch.as_tensor(same, device=codes.device)[row]
    every = (sequence * task.codes.shape[1] + at) * size + letter
    here = codes[row, at].long()
    real = (here != letter) & (here < size)
    strength = block.squares().nan_to_num(0.0, 0.0, 0.0).masked_fill(~real, -1.0)
    best = strength.topk(min(count, int(real.sum()))).indices
    flat = every[best]
    order = flat.argsort()
    found = Answers.none_yet(flat[order], outputs[row[best]][order])
    found.take(every, block)
    return found


def by_naive(naive: NaiveRunner, codes: torch.Tensor, index: torch.Tensor) -> Plain:
    """Naive's outputs (E, T) of the sequences and deltas (E, T) of mutants, flat in (B, L, A)."""
    outputs = naive.reference(codes)
    length = codes.shape[1]
    delta = naive.at(index, np.arange(length))
    return Plain(outputs[index // (naive.model.alphabet_size * length)], delta)


def in_double(
    model: Model, settings: Settings, task: Task, index: torch.Tensor
) -> tuple[torch.Tensor, Plain] | None:
    """The same in float64 for as many of the mutants (which, int64) as the work allows.

    None where the model does not run in it, as one that fixes float32 inside.
    """
    row = max(1, row_cost(model, settings).macs)
    most = int(max(DOUBLE_WORK, DOUBLE_SHARE * task.work) / row)
    count = min(len(index), max(LEAST_DOUBLE, most))
    which = torch.linspace(0, len(index) - 1, count, device=index.device).round().long()
    try:
        naive = InDouble(model.in_double(), replace(settings, dtype=torch.float64))
        return which, by_naive(naive, task.codes, index[which])
    except Exception as error:  # a model may fail in any way in a type it was not made for
        if is_out_of_memory(error):
            return None
        logger.info("%s: does not run in float64 (%s)", model.path, describe(error))
        return None


class InDouble(NaiveRunner):
    """Naive in float64 to the end."""

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        values = self.model(x)
        if values.dtype != torch.float64:
            raise TypeError(f"outputs are {values.dtype}")
        return values
