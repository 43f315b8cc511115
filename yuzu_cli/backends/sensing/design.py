"""Finds the codes of every convolution of a model, and how many probes they need to be accurate.

The published forms are searched upward from alpha = 1. An alpha is accepted when no decoder is
badly conditioned *and* the whole model's deltas on random sequences are right: a correlation near 1
hides wrong small effects, and a lucky sequence hides a bad decoder.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.sensing.codes import PUBLISHED, Code, make_code
from yuzu_cli.backends.sensing.layers import Layer, layers_of, worth_coding
from yuzu_cli.backends.sensing.probes import SLACK, YuzuRunner
from yuzu_cli.backends.windowed import WindowedRunner, understand
from yuzu_cli.errors import ModelError
from yuzu_cli.model import Model

logger = logging.getLogger(__name__)

ALPHAS = (1.0, 1.02, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0, 3.0)
CONDITION = 1e3
"""Largest condition number of an accepted decoder."""
ERROR = 2e-5
"""Largest error of an accepted alpha, as a share of the largest effect: on other sequences it may
be some times larger."""
SEQUENCES = 3
SAMPLE_BYTES = 64 << 20
"""What the deltas of one random sequence may take when errors are measured."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Try:
    """One alpha of a search.

    Attributes
    ----------
    alpha : float
    condition : float
        Largest condition number of a decoder, or the first that was too large.
    error : float
        Largest error as a share of the largest effect; NaN when it did not come to that.
    accepted : bool
    """

    alpha: float
    condition: float
    error: float
    accepted: bool

    def __str__(self) -> str:
        error = "not measured" if math.isnan(self.error) else f"{self.error:.2g}"
        return f"alpha {self.alpha:g} (condition {self.condition:.3g}, error {error})"


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """The codes of a model.

    Attributes
    ----------
    codes : dict of str to Code
        By convolution; some may share one.
    alpha : float
    tries : tuple of Try
        The search that led to `alpha`, or the measurement of the one asked for.
    left : dict of str to str
        Convolutions without codes, and why.
    """

    codes: dict[str, Code]
    alpha: float
    tries: tuple[Try, ...]
    left: dict[str, str]

    @property
    def error(self) -> float:
        """Measured largest error as a share of the largest effect; NaN when none was."""
        return self.tries[-1].error if self.tries else math.nan

    @property
    def refusal(self) -> str | None:
        """Why the alpha that was asked for should not be used; None when nothing is known."""
        if not self.tries or self.tries[-1].accepted:
            return None
        return f"codes are not accurate at {self.tries[-1]}"


def draw(
    layers: list[Layer],
    settings: Settings,
    letters: int,
    alpha: float,
    limit: float = math.inf,
    progress: Callable[[], None] | None = None,
) -> dict[str, Code]:
    """Codes of the layers; those in which the same edits meet share one.

    Drawing stops at the first code whose decoders are worse conditioned than `limit`.
    """
    codes: dict[str, Code] = {}
    made: dict[tuple[bytes, bytes, int], Code] = {}
    for layer in layers:
        slots = layer.slots
        key = (slots.start.tobytes(), slots.stop.tobytes(), slots.size)
        if key not in made:
            made[key] = make_code(
                settings.matrix,
                slots,
                letters,
                alpha=alpha,
                seed=settings.seed * 1000 + len(made),
                dtype=settings.dtype,
                limit=limit,
                progress=progress,
            )
        codes[layer.node] = made[key]
        if made[key].condition > limit:
            break
    return codes


def make_design(
    model: Model,
    settings: Settings,
    *,
    slack: float = SLACK,
    measure: bool = False,
    progress: Progress | None = None,
) -> Design:
    """Codes for a model, with alpha searched where the kind needs it and none is asked for.

    Parameters
    ----------
    measure : bool
        Measure the error also where nothing depends on it: of the kinds that need no search.
    progress : callable, optional
        Called with the decoders built and all there may be to build.

    Raises
    ------
    ModelError
        No alpha is accurate. One that was asked for is used; see `Design.refusal`.
    """
    understood = understand(model, settings)
    letters = understood.program.letters - 1
    layers, left = worth_coding(layers_of(understood), settings, letters, slack)
    for node, reason in left.items():
        logger.debug("%s: no probes for %s: %s", model.path, node, reason)
    if settings.matrix not in PUBLISHED or not layers:
        design = Design(draw(layers, settings, letters, 1.0), 1.0, (), left)
        if not measure:
            return design
        error = largest_error(model, settings, design.codes, slack)
        worst = max((code.condition for code in design.codes.values()), default=1.0)
        return replace(design, tries=(Try(1.0, worst, error, True),))
    ticks = _Ticks(sum(layer.slots.size for layer in layers), progress)
    if settings.alpha is not None:
        codes = draw(layers, settings, letters, settings.alpha, progress=ticks)
        one = judge(model, settings, codes, settings.alpha, slack, always=True)
        return Design(codes, settings.alpha, (one,), left)
    return _search(model, settings, layers, left, slack, ticks)


def _search(
    model: Model,
    settings: Settings,
    layers: list[Layer],
    left: dict[str, str],
    slack: float,
    ticks: _Ticks,
) -> Design:
    """The first of `ALPHAS` that is accurate."""
    tries: list[Try] = []
    for alpha in ALPHAS:
        ticks.done = 0
        codes = draw(layers, settings, model.alphabet_size - 1, alpha, CONDITION, ticks)
        tries.append(judge(model, settings, codes, alpha, slack))
        verdict = "accepted" if tries[-1].accepted else "not accurate"
        logger.info("%s codes: %s, %s", settings.matrix, tries[-1], verdict)
        if tries[-1].accepted:
            return Design(codes, alpha, tuple(tries), left)
    tried = ", ".join(f"{t.alpha:g}" for t in tries)
    what = f"no {settings.matrix} codes are accurate at alpha {tried}"
    raise ModelError(model.path, what, "take sensing.matrix orthogonal or interleaved")


def judge(
    model: Model,
    settings: Settings,
    codes: dict[str, Code],
    alpha: float,
    slack: float,
    always: bool = False,
) -> Try:
    """Whether codes are accurate: by their condition first, then by the model's own deltas.

    The deltas are computed also where the condition is too bad, if `always`.
    """
    condition = max(code.condition for code in codes.values())
    sound = condition <= CONDITION
    error = largest_error(model, settings, codes, slack) if sound or always else math.nan
    return Try(alpha, condition, error, sound and error <= ERROR)


class _Ticks:
    """Counts decoders for a progress bar."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.done, self.total, self.progress = 0, total, progress

    def __call__(self) -> None:
        self.done += 1
        if self.progress is not None and self.done % 16 == 0:
            self.progress(min(self.done, self.total), self.total)


def largest_error(
    model: Model,
    settings: Settings,
    codes: dict[str, Code],
    slack: float = SLACK,
    seed: int = 1,
    sequences: int = SEQUENCES,
) -> float:
    """Largest difference from the windowed backend on random sequences, of the largest effect."""
    draw = np.random.default_rng([settings.seed, seed])
    size = model.alphabet_size
    bytes_per_position = 4 * size * max(1, model.n_targets)
    count = max(8, min(settings.length, SAMPLE_BYTES // bytes_per_position))
    positions = np.unique(np.linspace(0, settings.length - 1, count).astype(np.int64))
    probes, windows = YuzuRunner(model, settings, codes, slack), WindowedRunner(model, settings)
    worst = 0.0
    for _ in range(sequences):
        row = torch.as_tensor(draw.integers(size, size=(1, settings.length), dtype=np.uint8))
        row = row.to(settings.device)
        expected, found = (deltas(r, row, positions, size) for r in (windows, probes))
        scale = float(expected.abs().max())
        if not bool(torch.isfinite(found).all()):
            return math.inf
        worst = max(worst, float((found - expected).abs().max()) / scale if scale else 0.0)
    return worst


def deltas(
    runner: WindowedRunner, codes: torch.Tensor, positions: np.ndarray, size: int
) -> torch.Tensor:
    """Deltas of every mutant of one sequence, (M * A, T); zero at the letter that is there."""
    reference = runner.reference(codes)
    table = reference.new_zeros((len(positions) * size, reference.shape[1]))
    for block in runner.blocks(codes, positions):
        table[block.index, block.targets] = block.delta
    here = torch.arange(len(positions), device=codes.device) * size
    at = torch.as_tensor(positions, device=codes.device)
    table[here + codes[0, at].long()] = 0
    return table
