"""One random net through every exact backend, judged by the oracle."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tests.support import oracle, programs
from tests.support.conformance import EXACT, SLACK, Subject, scores, settings_for
from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Backend, Settings
from yuzu_cli.model import Model

Truth = list[tuple[Tensor, float]]


def yardstick(subject: Subject, exact: Tensor, codes: Tensor) -> float:
    """Error of naive float32; never finer than what float32 can tell apart in the outputs."""
    naive = subject.function(torch.float32)
    own = oracle.naive_error(naive, exact, codes, range(subject.length))
    x = oracle.one_hot(codes, 4, torch.float32).unsqueeze(0)
    with torch.no_grad():
        return max(own, 2**-23 * oracle.largest(naive(x)))


def truth_of(subject: Subject) -> Truth:
    """Float64 scores of two sequences, with the yardstick of each."""
    exact_of = subject.function(torch.float64)
    found = []
    for codes in subject.sequences()[:2]:
        exact = oracle.saturation(exact_of, codes, range(subject.length))
        found.append((exact, yardstick(subject, exact, codes)))
    return found


def check(subject: Subject, truth: Truth, how: str, folder: Path) -> list[str]:
    """Judge a net as planned, and again with windows never given up.

    Returns
    -------
    list of str
        Why backends refuse the net; none is the rule.

    Raises
    ------
    AssertionError
        A backend is wrong.
    """
    model = subject.load(subject.save(folder / f"net-{how}.pt", how))
    options, refused = settings_for(model), []
    for name in EXACT:
        method = get_backend(name)
        if reason := method.unsupported(model, options):
            refused.append(f"{name}: {reason}")
            continue
        judge(subject, truth, method, model, options)
        if name == "windowed" and programs.keep_windows(model, options):
            judge(subject, truth, method, model, options)
    return refused


def judge(subject: Subject, truth: Truth, method: Backend, model: Model, options: Settings) -> None:
    runner = method.prepare(model, options)
    found = scores(runner, subject.sequences()[:2], range(subject.length), 4)
    for one, (exact, naive32) in zip(found, truth, strict=True):
        oracle.assert_exact(one, exact, naive32, slack=SLACK)
