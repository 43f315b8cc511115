"""What a mutant takes on this machine: a backend and naive side by side, a few passes of each.

Predictions are by counting; what `auto` takes, and what people are told a run takes, is measured.
May not: choose, or write.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Runner, Settings
from yuzu_cli.backends.naive import NaiveRunner, mutant_index
from yuzu_cli.engine.setup import Setup, first_codes
from yuzu_cli.engine.summary import duration
from yuzu_cli.model import Model

ROUNDS = 3
"""The least of so many counts: what else the machine does only adds."""

CLEAR = 1.5
"""Times faster at which one round is enough."""

LONG = 3600.0
"""Seconds of a run from which on an estimate is offered."""


def compared(
    runner: Runner,
    model: Model,
    settings: Settings,
    codes: torch.Tensor,
    positions: np.ndarray,
    norms: bool = False,
    short: float = 0.0,
) -> tuple[float, float]:
    """Seconds a mutant takes by a runner, in its first chunk, and by naive, in a whole pass.

    Parameters
    ----------
    codes : Tensor, uint8 (B, L)
        As many as the runner may be given at one time.
    norms : bool
        Only the norms over the targets are asked for.
    short : float
        Seconds a mutant below which the runner's first calls, slow as they are, say enough: naive
        is not measured, and NaN.
    """
    each = len(positions) * (model.alphabet_size - 1)

    def reference() -> int:
        runner.reference(codes)
        return len(codes) * each

    def chunk() -> int:
        block = next(iter(runner.blocks(codes, positions)))
        if norms:
            block.squares()
        else:
            assert block.delta is not None
        return len(block.index)

    first = _seconds(settings, reference) + _seconds(settings, chunk)  # libraries set themselves up
    if first < short:
        return first, math.nan
    naive = NaiveRunner(model, settings)
    index = mutant_index(codes, positions, model.alphabet_size)[: naive.size.rows]

    def one_pass() -> int:
        naive.at(index, positions)
        return max(1, len(index))

    naive.reference(codes)
    _seconds(settings, one_pass)
    works = (reference, chunk, one_pass)
    best: list[float] = []
    for _ in range(ROUNDS):
        found = [_seconds(settings, work) for work in works]
        best = [min(pair) for pair in zip(best or found, found, strict=True)]
        fast, slow = sorted((best[0] + best[1], best[2]))
        if fast * CLEAR < slow:
            break
    return best[0] + best[1], best[2]


def _seconds(settings: Settings, work: Callable[[], int]) -> float:
    """Seconds of a call, for each of what it says it did."""
    began = time.monotonic()
    done = work()
    if settings.device.type == "cuda":
        torch.cuda.synchronize(settings.device)
    return (time.monotonic() - began) / done


def offer(setup: Setup, seconds: float) -> str:
    """For a run that takes long: what the estimate from the frontier would take instead, measured.

    Empty where that is not worth a word: the run is short, or there is no estimate.
    """
    if setup.config.compute.backend != "auto" or not seconds > LONG:
        return ""
    backend, settings = get_backend("taylor"), replace(setup.settings, start="frontier")
    if any(backend.unsupported(model, settings) for model in setup.models):
        return ""
    runners = [backend.prepare(model, settings) for model in setup.models]
    codes = torch.as_tensor(first_codes(setup, 1)).to(settings.device)
    if not len(codes) or not any(hasattr(runner, "cut") for runner in runners):
        return ""  # windows never end: it would be the same

    began = time.monotonic()
    for runner in runners:
        runner.reference(codes)
        for block in runner.blocks(codes, setup.positions):
            assert block.delta is not None
    compute = setup.config.compute
    views = len(compute.shifts) * (2 if compute.reverse_complement else 1)
    estimate = (time.monotonic() - began) * views * setup.stream.n_records
    if estimate > seconds / 2:
        return ""
    return (
        f"this takes about {duration(seconds)}; an estimate, about {duration(estimate)}: "
        "--backend taylor --taylor-from frontier, and --exact-top 0.02 says how far off it is"
    )
