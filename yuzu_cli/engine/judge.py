"""Whether a backend's numbers are as good as naive's: arithmetic on what both answered.

May not: run a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from yuzu_cli.backends.base import Block, Tolerance

EPS = {"float32": 2.0**-23, "tf32": 2.0**-10, "bfloat16": 2.0**-7, "float16": 2.0**-10}

SLACK = 1.5
"""How much larger than naive's own a largest error may be: both are luck of rounding."""

FLOOR = 1e-5
"""Share of the largest effect, or of the largest output, that is allowed in any case."""

NARROW = 10.0
"""Errors up to so many times the limit may be luck, and are looked at again."""

REST = 3.0
"""The same for mutants without a float64 answer, of which naive itself may be off by the limit."""

ANOTHER = 8192
"""Rounding errors that an output may be off for float64 to be the same model."""

LOST = 0.1
"""Share of mutants without a finite number up to which naive mends them one by one."""

FAR, MANY = 0.1, 0.1
"""A backend is wrong where more than so many targets (`MANY`) have errors that are more than such
a share (`FAR`) of their own largest effect, whatever the scale of the other targets."""


def tolerance(precision: str) -> Tolerance:
    """What naive's own rounding, and a backend's, may come to where there is no float64.

    `atol` is of the largest |output|: a delta is the difference of two outputs, and each carries
    the rounding of a long sum. `rtol` is of the largest |delta|.
    """
    return Tolerance(rtol=1e-3, atol=128 * EPS[precision])


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """Naive's answers.

    Attributes
    ----------
    outputs : Tensor (E, T)
        Of the sequence of each mutant.
    delta : Tensor (E, T)
    """

    outputs: torch.Tensor
    delta: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """A backend's answers for some mutants.

    Attributes
    ----------
    index : Tensor, int64 (E,)
        Which they are.
    outputs, delta : Tensor (E, T)
    squares : Tensor (E,)
        Sums of squares of `delta`, as the backend came to them.
    given : Tensor, bool (E, T)
        Whether there was an answer.
    """

    index: torch.Tensor
    outputs: torch.Tensor
    delta: torch.Tensor
    squares: torch.Tensor
    given: torch.Tensor

    @classmethod
    def none_yet(cls, index: torch.Tensor, outputs: torch.Tensor) -> Answers:
        """No answers to ascending flat indices (E,) of sequences with these outputs (E, T)."""
        nothing = torch.full_like(outputs, torch.nan)
        squares = torch.zeros(len(index), device=outputs.device)
        return cls(index, outputs, nothing, squares, torch.zeros_like(outputs, dtype=torch.bool))

    def take(self, flat: torch.Tensor, block: Block) -> None:
        """Keep what a block, whose mutants have these flat indices (K,), has of the mutants."""
        if not len(self.index):
            return
        place = torch.searchsorted(self.index, flat.contiguous()).clamp(max=len(self.index) - 1)
        hit = self.index[place] == flat
        rows = place[hit]
        if len(rows):
            self.squares[rows] += block.squares()[hit]
            self.delta[rows, block.targets] = block.delta[hit]
            self.given[rows, block.targets] = True


def cat(parts: Sequence[Answers]) -> Answers:
    """One after the other."""
    names = ("index", "outputs", "delta", "squares", "given")
    return Answers(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a comparison; see `Check`, and `narrow`: failed by so little as luck can do."""

    mutants: int
    errors: dict[str, tuple[float, float]]
    passed: bool
    what: str = ""
    narrow: bool = False


def judge(
    found: Answers,
    naive: Plain,
    other: Plain,
    truth: tuple[torch.Tensor, Plain] | None,
    precision: str,
    save: Sequence[str],
    alone: bool,
) -> Verdict:
    """Hold a backend's answers against naive's.

    Parameters
    ----------
    naive, other : Plain
        In the type of the run, in passes of different sizes.
    truth : (int64 (K,), Plain) or None
        Some of the mutants, and their answers in float64.
    save, alone
        As in `Task`.
    """
    count = len(found.index)
    if not bool(found.given.all()):
        missing = int((~found.given.all(1)).sum())
        return Verdict(count, {}, False, f"gave no answer for {missing} of {count} mutants")
    known = torch.isfinite(naive.delta).all(1)
    sane = known & torch.isfinite(found.delta).all(1)
    lost = int((known & ~sane).sum())
    if lost > LOST * count:
        return Verdict(count, {}, False, f"gave {lost} of {count} effects that are not finite")
    if truth is not None and not _alike(naive, truth, precision):
        truth = None  # a model that is another one in float64
    pairs = _pairs(found, naive, other, truth, sane, save, alone)
    errors: dict[str, tuple[float, float]] = {}
    passed, what, narrow = True, "", True
    for name, pair in pairs.items():
        error, largest = pair.error(), pair.largest()
        limit = pair.limit(precision)
        if name != "outputs":
            errors[name] = (error, _share(error, largest))
        if not error <= limit or pair.astray(precision):
            passed, narrow = False, narrow and error <= NARROW * limit
            of = "the largest effect" if name != "outputs" else "the largest"
            share = f"{_share(error, largest):.2g} of {of}"
            what = what or f"differs from naive by {error:.2g} in {name} ({share})"
    if truth is not None and "delta" in pairs:  # the mutants that float64 had no time for
        error = _largest((found.delta - naive.delta)[sane])
        if not error <= REST * pairs["delta"].limit(precision):
            passed, narrow, what = (
                False,
                False,
                what or f"differs from naive by {error:.2g} in delta",
            )
    return Verdict(count, errors, passed, what, narrow and not passed)


def _alike(naive: Plain, truth: tuple[torch.Tensor, Plain], precision: str) -> bool:
    """Whether the model gives about the same outputs in float64."""
    which, known = truth
    off = _largest(naive.outputs[which].double() - known.outputs)
    return not off > ANOTHER * EPS[precision] * _largest(known.outputs)


def _share(error: float, largest: float) -> float:
    return error / largest if largest else (0.0 if error == 0 else float("inf"))


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """One quantity as the backend has it (K, T), as it is, and naive's two tries if it is known."""

    found: torch.Tensor
    true: torch.Tensor
    tries: tuple[torch.Tensor, ...]
    outputs: torch.Tensor

    def error(self) -> float:
        return _largest(self.found - self.true)

    def largest(self) -> float:
        return _largest(self.true)

    def limit(self, precision: str) -> float:
        """What the largest error may be."""
        if self.tries:
            own = max(_largest(tried - self.true) for tried in self.tries)
            return max(SLACK * own, FLOOR * self.largest())
        allowed = tolerance(precision)
        scale = _largest(self.outputs) + self.largest()
        return allowed.rtol * self.largest() + allowed.atol * scale

    def astray(self, precision: str) -> bool:
        """Whether many targets are far off by their own measure."""
        if not self.tries or not self.found.numel():
            return False
        error = (self.found - self.true).abs().amax(0)
        own = torch.stack([(tried - self.true).abs().amax(0) for tried in self.tries]).amax(0)
        rounding = 16 * EPS[precision] * self.outputs.abs().amax(0)
        far = error > FAR * self.true.abs().amax(0) + NARROW * own + rounding
        return float(far.double().mean()) > MANY


def _pairs(
    found: Answers,
    naive: Plain,
    other: Plain,
    truth: tuple[torch.Tensor, Plain] | None,
    sane: torch.Tensor,
    save: Sequence[str],
    alone: bool,
) -> dict[str, _Pair]:
    """What to compare, by name, in float64."""
    which, known = (torch.arange(len(sane), device=sane.device), naive) if truth is None else truth
    tries = () if truth is None else (naive, other)
    keep = sane[which] & torch.isfinite(known.delta).all(1)
    which = which[keep]
    true = Plain(known.outputs[keep].double(), known.delta[keep].double())
    outputs, delta = found.outputs[which].double(), found.delta[which].double()
    mine = [Plain(t.outputs[which].double(), t.delta[which].double()) for t in tries]
    pairs = {"outputs": _Pair(outputs, true.outputs, tuple(t.outputs for t in mine), true.outputs)}
    if set(save) - {"l2"}:
        pairs["delta"] = _Pair(delta, true.delta, tuple(t.delta for t in mine), true.outputs)
    if "l2" in save:
        norm = found.squares[which].double().sqrt()[:, None] if alone else _norm(delta)
        own = tuple(_norm(t.delta) for t in mine)
        pairs["l2"] = _Pair(norm, _norm(true.delta), own, _norm(true.outputs))
    return pairs


def _norm(delta: torch.Tensor) -> torch.Tensor:
    return delta.norm(dim=1, keepdim=True)


def _largest(values: torch.Tensor) -> float:
    """Largest absolute value; 0 of nothing."""
    return float(values.abs().max()) if values.numel() else 0.0
