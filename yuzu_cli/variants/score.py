"""Effects of alleles from the engine that `run` uses, or from whole forward passes.

A single letter is an edit at one position of its window: the backend computes it as in a run,
from the same windows. Other alleles, and everything when the backend is naive, are two passes: the
window with the reference and the window with the allele. Reads and writes no files.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from yuzu_cli.alphabet import Alphabet
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.passes import PassSize
from yuzu_cli.engine.choose import Choice, choose
from yuzu_cli.engine.device import DTYPES, computing, resolve_device
from yuzu_cli.engine.limits import working_memory
from yuzu_cli.engine.members import Member, Views
from yuzu_cli.engine.scoring import Scorer
from yuzu_cli.engine.setup import load_models
from yuzu_cli.engine.verify import tolerance
from yuzu_cli.model import Model
from yuzu_cli.variants.alleles import EDIT, PASS, Judged

if TYPE_CHECKING:
    from yuzu_cli.config import RunConfig

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Measured:
    """How far edits were from whole passes on the user's own variants; NaN when none was."""

    alleles: int = 0
    max_abs_error: float = float("nan")


class Effects:
    """The models of a run, ready to score alleles; made by `opened`.

    Attributes
    ----------
    targets : tuple of str
    models : tuple of Model
    choice : Choice
        The backend.
    flank : int
        Letters that windows need on either side.
    measured : Measured
    """

    def __init__(
        self, config: RunConfig, alphabet: Alphabet, models: tuple[Model, ...], settings: Settings
    ) -> None:
        compute = config.compute
        self.models, self.targets = models, tuple(models[0].target_names)
        self.flank = max(abs(shift) for shift in compute.shifts)
        self.measured = Measured()
        self._config, self._settings = config, settings
        self._views = Views(settings.length, self.flank, alphabet.size, alphabet.complement)
        self.choice = choose(compute.backend, models, settings, 1)
        self._use(self.choice)

    def _use(self, choice: Choice) -> None:
        compute = self._config.compute
        strands = (False, True) if compute.reverse_complement else (False,)
        self.choice = choice
        self._members = [
            Member(runner, reverse, shift)
            for runner in choice.runners
            for reverse in strands
            for shift in compute.shifts
        ]
        self._size = PassSize(choice.at_once, unit="sequences")

    def score(self, batch: Sequence[Judged], position: int) -> list[list[np.ndarray | None]]:
        """Alternative minus reference, for each ALT of each record.

        Parameters
        ----------
        batch : sequence of Judged
        position : int
            Where in their windows single letters lie.

        Returns
        -------
        list of list
            float32 (T,), or None where the allele is not scored.
        """
        effects: list[list[np.ndarray | None]] = [[None] * len(one.methods) for one in batch]
        edits = self._jobs(batch, EDIT)
        passes = self._jobs(batch, PASS)
        if self.choice.name == "naive":
            edits, passes = [], sorted(edits + passes)
        elif edits and not self.measured.alleles:
            edits, passes = self._verified(batch, edits, passes, position)
        for (i, k), effect in zip(edits, self._edit(batch, edits, position), strict=True):
            effects[i][k] = effect
        for (i, k), effect in zip(passes, self._pass(batch, passes), strict=True):
            effects[i][k] = effect
        return effects

    def _jobs(self, batch: Sequence[Judged], method: str) -> list[tuple[int, int]]:
        return [
            (i, k) for i, one in enumerate(batch) for k, m in enumerate(one.methods) if m == method
        ]

    def _edit(
        self, batch: Sequence[Judged], jobs: list[tuple[int, int]], position: int
    ) -> list[np.ndarray]:
        if not jobs:
            return []
        rows = sorted({i for i, _ in jobs})
        scorer = Scorer(
            self._members,
            self._views,
            np.array([position]),
            len(self.targets),
            ("delta",),
            self._settings.device,
            at_once=self.choice.at_once,
        )
        delta = scorer.score(np.stack([_wide(batch[i]) for i in rows]))["delta"]
        place = {row: n for n, row in enumerate(rows)}
        return [delta[place[i], :, batch[i].letters[k], 0] for i, k in jobs]

    def _pass(self, batch: Sequence[Judged], jobs: list[tuple[int, int]]) -> list[np.ndarray]:
        if not jobs:
            return []
        rows = sorted({i for i, _ in jobs})
        windows = [_wide(batch[i]) for i in rows]
        for i, k in jobs:
            window = batch[i].changed[k]
            assert window is not None
            windows.append(window)
        outputs = self._outputs(np.stack(windows))
        place = {row: n for n, row in enumerate(rows)}
        return [outputs[len(rows) + n] - outputs[place[i]] for n, (i, _) in enumerate(jobs)]

    def _outputs(self, wide: np.ndarray) -> np.ndarray:
        """Outputs of whole windows, averaged over models, strands and shifts: float32 (B, T)."""
        pieces = self._size.pieces(self._mean, torch.as_tensor(wide))
        return torch.cat(list(pieces)).cpu().numpy()

    def _mean(self, wide: torch.Tensor) -> torch.Tensor:
        wide = wide.to(self._settings.device)
        total = torch.zeros(len(wide), len(self.targets), device=self._settings.device)
        for member in self._members:
            outputs = member.runner.reference(self._views.codes(member, wide))
            total += outputs / len(self._members)
        return total

    def _verified(
        self,
        batch: Sequence[Judged],
        edits: list[tuple[int, int]],
        passes: list[tuple[int, int]],
        position: int,
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Compare some edits with whole passes; naive takes over where they differ."""
        sample = edits[: self._config.compute.verify]
        if not sample:
            return edits, passes
        found = np.stack(self._edit(batch, sample, position))
        expected = np.stack(self._pass(batch, sample))
        outputs = self._outputs(np.stack([_wide(batch[i]) for i, _ in sample]))
        allowed = tolerance(self._config.compute.precision)
        effect = np.abs(expected).max(axis=0)
        scale = np.abs(outputs).max(axis=0) + effect
        error = np.abs(found - expected)
        self.measured = Measured(len(sample), float(error.max()))
        if self.choice.exact and (error > allowed.rtol * effect + allowed.atol * scale).any():
            logger.warning(
                "the %s backend differs from whole passes by %.2g; naive is used instead",
                *(self.choice.name, self.measured.max_abs_error),
            )
            self._use(choose("naive", self.models, self._settings, 1))
            return [], sorted(edits + passes)
        return edits, passes


def _wide(one: Judged) -> np.ndarray:
    assert one.wide is not None
    return one.wide


@contextmanager
def opened(config: RunConfig, alphabet: Alphabet, length: int) -> Iterator[Effects]:
    """Load the models and set the flags of a run; all is put back at the end.

    Raises
    ------
    YuzuError
        Something in the config or a model is at fault.
    """
    device = resolve_device(config.compute.device)
    unknown = 1.0 / alphabet.size if config.input.unknown == "uniform" else 0.0
    with computing(config.compute.precision, device):
        settings = Settings(
            length=length,
            device=device,
            dtype=DTYPES[config.compute.precision],
            unknown=unknown,
            memory=working_memory(device),
            seed=config.compute.seed,
        )
        models = load_models(config, alphabet.size, settings)
        yield Effects(config, alphabet, models, settings)
