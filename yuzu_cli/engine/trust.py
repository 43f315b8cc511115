"""What is done about a verification: the backend goes on, or naive takes its place.

Naive takes over where a backend is wrong or fails, and under `auto` also where it turns out to be
the faster one here. May not: write.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import numpy as np
import torch

from yuzu_cli.backends.base import Runner
from yuzu_cli.backends.naive import NaiveRunner, mutant_index
from yuzu_cli.backends.passes import LEAST_ROWS
from yuzu_cli.engine.choose import Choice, choose, instead
from yuzu_cli.engine.members import Member
from yuzu_cli.engine.net import Net, describe, mendable
from yuzu_cli.engine.setup import Setup, first_codes
from yuzu_cli.engine.verify import SEQUENCES, Check, check
from yuzu_cli.model import Model
from yuzu_cli.model.checks import check_alike
from yuzu_cli.scores import only_l2

FEW = 4
"""Mutants that are computed among few and among many."""

WORTH = 1.0
"""Seconds that the whole run must gain by it."""

logger = logging.getLogger(__name__)

SLOWER = 1.25
"""How much slower than naive a backend must be, as measured, to be given up for it."""


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
    if choice.name == "naive":
        return choice, Check()
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
    if timed is None:
        timed = config.compute.backend == "auto" and config.shard() is None
    if timed and choice.exact and config.run.plan is None and _naive_is_faster(setup, choice, wide):
        return choose("naive", setup.models, setup.settings, len(setup.positions)), Check()
    return choice, worst


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


def _naive_is_faster(setup: Setup, choice: Choice, wide: np.ndarray) -> bool:
    """Whether naive takes less time for a mutant, by a clear margin; said when it does."""
    flank, length = setup.flank, setup.stream.length
    codes = torch.as_tensor(wide[: choice.at_once, flank : flank + length])
    codes = codes.to(setup.settings.device)
    fast = naive = 0.0
    for model, runner in zip(setup.models, choice.runners, strict=True):
        fast += seconds_fast(setup, runner, codes)
        naive += seconds_naive(setup, model, codes)
    logger.info("%.2g s a mutant by %s, %.2g s by naive", fast, choice.name, naive)
    mutants = setup.stream.n_records * len(setup.positions) * (setup.alphabet.size - 1)
    gain = (fast - naive) * mutants * len(setup.members(choice)) / len(setup.models)
    if fast <= SLOWER * naive or gain < WORTH:
        return False
    logger.warning(
        "naive is taken, for it is faster here: %.2g s a mutant, and %.2g s by the %s backend; "
        "--backend %s keeps to that",
        *(naive, fast, choice.name, choice.name),
    )
    return True


def seconds_fast(setup: Setup, runner: Runner, codes: torch.Tensor) -> float:
    """Seconds a mutant takes in a batch as the run makes it, by its first chunk."""
    whole = not only_l2(setup.config.score.save)

    def reference() -> int:
        runner.reference(codes)
        return len(codes) * len(setup.positions) * (setup.alphabet.size - 1)

    def chunk() -> int:
        block = next(iter(runner.blocks(codes, setup.positions)))
        if whole:
            assert block.delta is not None
        else:
            block.squares()
        return len(block.index)

    return _seconds(setup, reference) + _seconds(setup, chunk)


def seconds_naive(setup: Setup, model: Model, codes: torch.Tensor) -> float:
    """Seconds a mutant takes in a whole pass."""
    naive = NaiveRunner(model, setup.settings)
    naive.reference(codes)
    index = mutant_index(codes, setup.positions, setup.alphabet.size)[: naive.size.rows]

    def one_pass() -> int:
        naive.at(index, setup.positions)
        return max(1, len(index))

    return _seconds(setup, one_pass)


def _seconds(setup: Setup, work: Callable[[], int]) -> float:
    """Seconds of a second call, for each of what it says it did; the first one warms up."""
    done = 0
    for _ in range(2):
        began = time.monotonic()
        done = work()
        if setup.settings.device.type == "cuda":
            torch.cuda.synchronize(setup.settings.device)
    return (time.monotonic() - began) / done
