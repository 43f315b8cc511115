"""What is done about a verification: the backend goes on, or naive takes its place.

Naive takes over where a backend is wrong or fails, and under `auto` also where it turns out to be
the faster one here. May not: write.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import torch

from yuzu_cli.backends.base import Runner
from yuzu_cli.backends.naive import NaiveRunner, mutant_index
from yuzu_cli.backends.passes import LEAST_ROWS
from yuzu_cli.engine.choose import Choice, choose, instead
from yuzu_cli.engine.members import Member
from yuzu_cli.engine.net import Net, describe, mendable
from yuzu_cli.engine.setup import Setup, first_codes
from yuzu_cli.engine.timing import compared
from yuzu_cli.engine.verify import SEQUENCES, Check, check
from yuzu_cli.model import Model
from yuzu_cli.model.checks import check_alike
from yuzu_cli.scores import only_l2

FEW = 4
"""Mutants that are computed among few and among many."""

WORTH = 1.0
"""Seconds that the whole run must gain by it."""

logger = logging.getLogger(__name__)


def verify(setup: Setup, choice: Choice, timed: bool | None = None) -> tuple[Choice, Check]:
    """Compare the backend with naive on the first sequences; naive takes over where it fails.

    Parameters
    ----------
    timed : bool, optional
        Whether naive also takes over where it is faster. By default under `auto`, but not in a
        shard, whose siblings must come to the same backend.
    """
    config = setup.config
    wide = first_codes(setup, SEQUENCES if config.compute.verify else 0, flanks=True)
    if not len(wide):
        return choice, Check()
    for model in setup.models:
        _check_batches(setup, model, wide)
    if timed is None:
        timed = config.compute.backend == "auto" and config.shard() is None
    if choice.name == "naive":
        return _timed(setup, choice, wide, WORTH) if timed else choice, Check()
    worst = Check()
    for model, runner in zip(setup.models, choice.runners, strict=True):
        fast = runner.fast if isinstance(runner, Net) else runner
        try:
            found = _check(setup, choice, model, fast, wide)
        except Exception as error:  # torch and the backends raise what they like
            if not choice.exact or not mendable(error):
                raise
            return _naive(setup, choice, f"failed: {describe(error)}"), Check()
        if not found.passed and choice.exact:
            return _naive(setup, choice, found.what), Check()
        if not found.passed or not found.max_rel_error <= worst.max_rel_error:
            worst = found
    if worst.mutants:
        logger.info("%d mutants compared with naive: %s", worst.mutants, worst.describe())
    if timed and choice.exact and config.run.plan is None:
        choice = _timed(setup, choice, wide, WORTH)
    return choice, Check() if choice.name == "naive" else worst


def _naive(setup: Setup, choice: Choice, what: str) -> Choice:
    return instead(choice.name, what, setup.models, setup.settings, len(setup.positions))


def _check(setup: Setup, choice: Choice, model: Model, fast: Runner, wide: np.ndarray) -> Check:
    """Compare one model's runner on the first sequences, taking strands and shifts in turn."""
    config = setup.config
    strands = (False, True) if config.compute.reverse_complement else (False,)
    shifts = config.compute.shifts
    codes, positions = [], []
    every = max(len(wide), min(SEQUENCES, len(strands) * len(shifts)))
    for turn in range(every):
        member = Member(fast, strands[turn % len(strands)], shifts[turn % len(shifts)])
        row = torch.as_tensor(wide[turn % len(wide)][None])
        seen = setup.views.codes(member, row)
        codes.append(seen[0].numpy())
        positions.append(setup.views.view(member, seen, setup.positions).positions)
    members = len(setup.members(choice))
    return check(
        model,
        fast,
        setup.settings,
        np.stack(codes),
        positions,
        config.compute.verify,
        config.compute.precision,
        save=config.score.save,
        alone=members == 1 and only_l2(config.score.save),
        work=choice.cost * setup.stream.n_records * members / len(setup.models),
        at_once=choice.at_once,
    )


def _check_batches(setup: Setup, model: Model, wide: np.ndarray) -> None:
    """Refuse a model that gives other numbers for a mutant in a pass of naive's than among few.

    Raises
    ------
    ModelError
        It looks at other rows of its batch, in a way that its loading did not show.
    """
    flank, length = setup.flank, setup.stream.length
    codes = torch.as_tensor(wide[:1, flank : flank + length]).to(setup.settings.device)
    large, small = (
        NaiveRunner(model, setup.settings),
        NaiveRunner(model, setup.settings, LEAST_ROWS),
    )
    index = mutant_index(codes, setup.positions, setup.alphabet.size)[: large.size.rows]
    if not len(index):
        return
    some = torch.linspace(0, len(index) - 1, min(FEW, len(index))).round().long().to(index.device)
    outputs = large.reference(codes) + large.at(index, setup.positions)[some]
    check_alike(model, outputs, small.reference(codes) + small.at(index[some], setup.positions))


def by_time(setup: Setup, choice: Choice) -> Choice:
    """The choice, or naive where that is measured to be faster on the first sequences."""
    wide = first_codes(setup, SEQUENCES, flanks=True)
    return (
        _timed(setup, choice, wide, 0.0) if len(wide) and setup.config.run.plan is None else choice
    )


def _timed(setup: Setup, choice: Choice, wide: np.ndarray, short: float) -> Choice:
    """The choice with the time it takes; naive where that takes less, which is said.

    A run of less than `short` seconds has nothing to gain from naive, which is not measured then.
    """
    flank, length = setup.flank, setup.stream.length
    codes = torch.as_tensor(wide[: choice.at_once, flank : flank + length])
    codes = codes.to(setup.settings.device)
    fast = naive = 0.0
    norms = only_l2(setup.config.score.save)
    mutants = setup.stream.n_records * len(setup.positions) * (setup.alphabet.size - 1)
    each = mutants * len(setup.members(choice)) / len(setup.models)
    enough = short / max(1.0, each * len(setup.models))
    for model, runner in zip(setup.models, choice.runners, strict=True):
        found = compared(runner, model, setup.settings, codes, setup.positions, norms, enough)
        if math.isnan(found[1]):
            fast, naive = fast + found[0], naive + found[0]
            continue
        fast, naive = fast + found[0], naive + found[1]
        told = "a mutant takes %.2g s by the %s backend and %.2g s by naive"
        logger.info(told, found[0], choice.name, found[1])
    if fast <= naive or (fast - naive) * each < WORTH:
        return replace(choice, seconds=fast * each)
    logger.warning(
        "naive is taken, for it is faster here: %.2g s a mutant, and %.2g s by the %s backend; "
        "--backend %s keeps to that",
        *(naive, fast, choice.name, choice.name),
    )
    found_naive = choose("naive", setup.models, setup.settings, len(setup.positions))
    return replace(found_naive, seconds=naive * each)
