"""Everything a run needs before its first batch: input, models, mutated positions, members.

May not: compute scores or write.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from yuzu_cli.alphabet import Alphabet, parse_alphabet
from yuzu_cli.backends.base import Settings
from yuzu_cli.engine.choose import Choice
from yuzu_cli.engine.device import DTYPES, computing, resolve_device
from yuzu_cli.engine.limits import working_memory
from yuzu_cli.engine.members import Member, Views
from yuzu_cli.errors import ModelError, UsageError
from yuzu_cli.model import Model, load_model
from yuzu_cli.scores import ACROSS

if TYPE_CHECKING:
    import torch

    from yuzu_cli.config import RunConfig
    from yuzu_cli.config_keys import MutateConfig
    from yuzu_cli.inputs.stream import WindowStream

logger = logging.getLogger(__name__)

MANY = 256
"""Targets of an unreduced profile that are likely not meant."""


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """A run made ready.

    Attributes
    ----------
    config : RunConfig
    alphabet : Alphabet
    stream : WindowStream
    flank : int
        Letters on either side of a window, for shifts.
    models : tuple of Model
    settings : Settings
    positions : ndarray, int64 (M,)
        Mutated positions of the window.
    """

    config: RunConfig
    alphabet: Alphabet
    stream: WindowStream
    flank: int
    models: tuple[Model, ...]
    settings: Settings
    positions: np.ndarray

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the T targets."""
        return tuple(self.models[0].target_names)

    @property
    def model_sha256(self) -> str:
        """Hash of the model's file, or of the hashes of all of them in order."""
        hashes = [model.sha256 for model in self.models]
        if len(hashes) == 1:
            return hashes[0]
        return hashlib.sha256("\n".join(hashes).encode("ascii")).hexdigest()

    @property
    def views(self) -> Views:
        """Maker of the views that strands and shifts need."""
        size, complement = self.alphabet.size, self.alphabet.complement
        return Views(self.stream.length, self.flank, size, complement)

    def members(self, choice: Choice) -> list[Member]:
        """Every model on every strand and shift of the config."""
        compute = self.config.compute
        strands = (False, True) if compute.reverse_complement else (False,)
        return [
            Member(runner, reverse, shift)
            for runner in choice.runners
            for reverse in strands
            for shift in compute.shifts
        ]


@contextlib.contextmanager
def prepared(config: RunConfig, given: Sequence[Any] = ()) -> Iterator[Setup]:
    """Open the input, load the models and set the flags of a run; all is put back at the end.

    `given` are models in memory, for those that the paths of the config name.

    Raises
    ------
    YuzuError
        Something in the config, the input or a model is at fault.
    """
    from yuzu_cli.inputs.windows import open_windows

    config.require()
    _check_plan(config)
    _check_taylor(config)
    alphabet = parse_alphabet(config.model.alphabet)
    if config.compute.reverse_complement and alphabet.complement is None:
        what = f"the letters {alphabet.letters} have no complement"
        raise UsageError("compute.reverse_complement", what)
    device = resolve_device(config.compute.device)
    flank = max(abs(shift) for shift in config.compute.shifts)
    with (
        open_windows(config.input, alphabet, flank) as stream,
        computing(config.compute.precision, device),
    ):
        settings = settings_of(config, alphabet, stream.length, device)
        positions = mutated_positions(config.mutate, stream.length)
        models = load_models(config, alphabet.size, settings, given)
        yield Setup(config, alphabet, stream, flank, models, settings, positions)


def settings_of(
    config: RunConfig, alphabet: Alphabet, length: int, device: torch.device
) -> Settings:
    """What runners are prepared for."""
    return Settings(
        length=length,
        device=device,
        dtype=DTYPES[config.compute.precision],
        unknown=1.0 / alphabet.size if config.input.unknown == "uniform" else 0.0,
        memory=working_memory(device),
        seed=config.compute.seed,
        matrix=config.sensing.matrix,
        alpha=None if config.sensing.alpha == "auto" else config.sensing.alpha,
        plan=config.run.plan,
        start=config.taylor.start,
    )


def _check_plan(config: RunConfig) -> None:
    """A plan is read by one backend, and is of one model."""
    if config.run.plan is None:
        return
    if config.compute.backend not in ("auto", "yuzu"):
        what = f"the {config.compute.backend} backend reads no plan"
        raise UsageError("run.plan", what, "use --backend yuzu, or leave the plan out")
    if len(config.model.path) > 1:
        raise UsageError("run.plan", "a plan is of one model, and there are several")


def _check_taylor(config: RunConfig) -> None:
    """What is about the estimate goes with the backend that estimates."""
    if config.compute.backend == "taylor":
        return
    for key, given in (
        ("start", config.taylor.start != "input"), ("exact_top", config.taylor.exact_top > 0),
    ):  # fmt: skip
        if given:
            what = f"the {config.compute.backend} backend makes no estimate"
            raise UsageError(f"taylor.{key}", what, "use --backend taylor, or leave it out")


def mutated_positions(mutate: MutateConfig, length: int) -> np.ndarray:
    """Positions of the window (int64, (M,)) that a config asks for.

    Raises
    ------
    UsageError
        They are not all in the window.
    """
    start, end = mutate.start or 0, length if mutate.end is None else mutate.end
    where = "mutate.end" if mutate.end is not None else "mutate.start"
    if mutate.center is not None:
        where = "mutate.center"
        start = (length - mutate.center) // 2
        end = start + mutate.center
    if not 0 <= start < end <= length:
        what = f"{start}:{end} is not within the window of {length} letters"
        raise UsageError(where, what, "positions are 0-based, half-open")
    return np.arange(start, end, dtype=np.int64)


def model_options(config: RunConfig) -> dict[str, Any]:
    """What `load_model` is told of a model by the config."""
    options = config.model.model_dump(exclude={"path", "alphabet"})
    return options | config.score.model_dump(include={"targets", "reduce", "index", "transform"})


def load_models(
    config: RunConfig, size: int, settings: Settings, given: Sequence[Any] = ()
) -> tuple[Model, ...]:
    """Every model of the config, or those `given` in memory.

    Raises
    ------
    ModelError
        One cannot be used, or they have different numbers of targets.
    """
    models: list[Model] = []
    for path, source in zip(config.model.path, given or config.model.path, strict=True):
        model = load_model(
            source,
            length=settings.length,
            alphabet_size=size,
            **model_options(config),
            device=settings.device,
            dtype=settings.dtype,
        )
        models.append(model)
        if model.n_targets != models[0].n_targets:
            what = f"has {model.n_targets} targets, {models[0].path} has {models[0].n_targets}"
            raise ModelError(path, what, "only models of the same targets can be averaged")
    if set(config.score.save) - set(ACROSS):
        _warn_of_profiles(models[0], settings.length)
    return tuple(models)


def _warn_of_profiles(model: Model, length: int) -> None:
    """Say so when the positions of a profile are taken for targets, each with scores of its own."""
    for i, head in enumerate(model.heads):
        profile = len(head.shape) > 1 or head.shape == (length,) or len(model.outputs) > 1
        if head.reduce == "none" and profile and math.prod(head.shape) <= model.n_targets > MANY:
            logger.warning(
                "%s: output %s is not reduced: %s targets, each with all its scores; give "
                "--reduce profile, mean or sum, or some --targets, or --scores l2 or jsd",
                *(model.path, model.outputs[model.chosen[i]], f"{model.n_targets:,}"),
            )


def first_codes(setup: Setup, count: int, flanks: bool = False) -> np.ndarray:
    """Codes (at most `count`, L) of the first windows of the whole input, whatever the shard.

    With `flanks`, (at most `count`, L + 2 * flank).
    """
    rows: list[np.ndarray] = []
    flank, length = setup.flank, setup.stream.length
    for window in islice(setup.stream.iterate(0, setup.stream.n_records), count):
        rows.append(window.codes if flanks else window.codes[flank : flank + length])
    width = length + 2 * flank * flanks
    return np.stack(rows) if rows else np.empty((0, width), np.uint8)
