"""Which backend computes: the one asked for, or the cheapest exact one that takes the model.

Nothing changes backend in silence: every reason is logged. May not: run sequences.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from yuzu_cli.backends import BACKENDS, get_backend
from yuzu_cli.backends.base import Backend, Runner, Settings
from yuzu_cli.backends.passes import row_cost
from yuzu_cli.engine.net import Net, describe, mendable
from yuzu_cli.errors import ModelError
from yuzu_cli.model import Model

logger = logging.getLogger(__name__)

MAX_SEQUENCES = 1024

LITTLE = 0.05
"""Of naive's work, what a backend must be predicted to save."""


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A backend made ready for the models of a run.

    Attributes
    ----------
    name : str
    exact : bool
        Whether it claims to give naive's numbers.
    runners : tuple of Runner
        One per model.
    cost : float
        Predicted multiply-adds for one sequence with all its mutants, all models together.
    at_once : int
        Sequences that the runners can be given at one time.
    seconds : float
        Of the whole run, as measured; NaN where it was not.
    """

    name: str
    exact: bool
    runners: tuple[Runner, ...]
    cost: float
    at_once: int
    seconds: float = math.nan


def choose(name: str, models: Sequence[Model], settings: Settings, positions: int) -> Choice:
    """The backend of that name, or for `auto` the exact one of least predicted cost.

    Raises
    ------
    ModelError
        The backend asked for cannot take one of the models.
    UsageError
        There is no backend of that name.
    """
    if name == "auto" and settings.plan is not None:
        name = "yuzu"  # the only backend that reads a plan
    if name == "auto":
        return _cheapest(models, settings, positions)
    backend = get_backend(name)
    try:
        for model in models:
            if reason := backend.unsupported(model, settings):
                what = f"the {name} backend cannot take this model: {reason}"
                raise ModelError(model.path, what, "use --backend auto")
        return _prepare(backend, models, settings, positions)
    except Exception as error:  # torch and the backends raise what they like
        if name == "naive" or not backend.exact or not mendable(error):
            raise
        return instead(name, f"failed: {describe(error)}", models, settings, positions)


def instead(
    name: str, what: str, models: Sequence[Model], settings: Settings, positions: int
) -> Choice:
    """Naive in place of the backend `name`, which did `what`; said as a warning."""
    where = models[0].path if len(models) == 1 else f"{len(models)} models"
    logger.warning("%s: the %s backend %s; naive is used instead", where, name, what)
    return choose("naive", models, settings, positions)


def _cheapest(models: Sequence[Model], settings: Settings, positions: int) -> Choice:
    """The exact backend of least predicted cost among those that take all the models."""
    found: list[tuple[float, Backend]] = []
    failed: dict[str, str] = {}
    for candidate in BACKENDS:
        backend = get_backend(candidate)
        if not backend.exact:
            continue
        try:
            reasons = [backend.unsupported(model, settings) for model in models]
            if any(reasons):
                logger.info("backend %s is out: %s", candidate, next(filter(None, reasons)))
                continue
            found.append((_cost(backend, models, settings, positions), backend))
        except Exception as error:  # torch and the backends raise what they like
            if candidate == "naive" or not mendable(error):
                raise
            failed[candidate] = describe(error)
    listed = ", ".join(f"{other.name} {cost:.2g}" for cost, other in found)
    logger.info("multiply-adds a sequence: %s", listed)
    # Where it is not measured later, what is predicted to gain next to nothing gains nothing.
    whole = next((cost for cost, backend in found if backend.name == "naive"), 0.0)
    order = [(c if b.name == "naive" else c + LITTLE * whole, b) for c, b in found]
    for _, backend in sorted(order, key=lambda pair: pair[0]):
        try:
            choice = _prepare(backend, models, settings, positions)
        except Exception as error:  # the same
            if backend.name == "naive" or not mendable(error):
                raise
            failed[backend.name] = describe(error)
            continue
        logger.info("backend %s", choice.name)
        for name, what in failed.items():
            text = "%s: the %s backend failed: %s; %s is used instead"
            logger.warning(text, models[0].path, name, what, choice.name)
        return choice
    raise AssertionError("naive takes any model")


def _prepare(
    backend: Backend, models: Sequence[Model], settings: Settings, positions: int
) -> Choice:
    runners = [backend.prepare(model, settings) for model in models]
    for model, runner in zip(models, runners, strict=True):
        if reason := getattr(runner, "refusal", None):
            raise ModelError(model.path, reason, "see sensing.alpha")
    cost = _cost(backend, models, settings, positions)
    # A runner keeps about one forward pass of every sequence it is given, unless it says otherwise.
    kept = max(row_cost(model, settings).bytes for model in models)
    limits = [getattr(r, "sequences", settings.memory // (4 * max(1, kept))) for r in runners]
    if backend.exact and backend.name != "naive":
        pairs = zip(runners, models, strict=True)
        runners = [Net(backend.name, runner, model, settings) for runner, model in pairs]
    at_once = max(1, min([*limits, MAX_SEQUENCES]))
    return Choice(backend.name, backend.exact, tuple(runners), cost, at_once)


def _cost(backend: Backend, models: Sequence[Model], settings: Settings, positions: int) -> float:
    return sum(backend.cost(model, settings, positions) for model in models)
