"""Which backend computes: the one asked for, or the cheapest exact one that takes the model.

Nothing changes backend in silence: every reason is logged. May not: run sequences.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from yuzu_cli.backends import BACKENDS, get_backend
from yuzu_cli.backends.base import Backend, Runner, Settings
from yuzu_cli.backends.passes import row_cost
from yuzu_cli.errors import ModelError
from yuzu_cli.model import Model

logger = logging.getLogger(__name__)

MAX_SEQUENCES = 1024


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
    """

    name: str
    exact: bool
    runners: tuple[Runner, ...]
    cost: float
    at_once: int


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
    if name != "auto":
        backend = get_backend(name)
        for model in models:
            if reason := backend.unsupported(model, settings):
                what = f"the {name} backend cannot take this model: {reason}"
                raise ModelError(model.path, what, "use --backend auto")
        return _prepare(backend, models, settings, positions)
    found: list[tuple[float, Backend]] = []
    for candidate in BACKENDS:
        backend = get_backend(candidate)
        if not backend.exact:
            continue
        reasons = [backend.unsupported(model, settings) for model in models]
        if any(reasons):
            logger.info("backend %s is out: %s", candidate, next(filter(None, reasons)))
            continue
        found.append((_cost(backend, models, settings, positions), backend))
    backend = min(found, key=lambda pair: pair[0])[1]
    listed = ", ".join(f"{other.name} {cost:.2g}" for cost, other in found)
    logger.info("backend %s (multiply-adds a sequence: %s)", backend.name, listed)
    return _prepare(backend, models, settings, positions)


def _prepare(
    backend: Backend, models: Sequence[Model], settings: Settings, positions: int
) -> Choice:
    runners = tuple(backend.prepare(model, settings) for model in models)
    for model, runner in zip(models, runners, strict=True):
        if reason := getattr(runner, "refusal", None):
            raise ModelError(model.path, reason, "see sensing.alpha")
    cost = _cost(backend, models, settings, positions)
    # A runner keeps about one forward pass of every sequence it is given, unless it says otherwise.
    kept = max(row_cost(model, settings)[0] for model in models)
    limits = [getattr(r, "sequences", settings.memory // (4 * max(1, kept))) for r in runners]
    return Choice(backend.name, backend.exact, runners, cost, max(1, min([*limits, MAX_SEQUENCES])))


def _cost(backend: Backend, models: Sequence[Model], settings: Settings, positions: int) -> float:
    return sum(backend.cost(model, settings, positions) for model in models)
