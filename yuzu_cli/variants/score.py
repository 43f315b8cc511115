"""Effects of alleles from the engine that `run` uses, or from whole forward passes.

A single letter is an edit at one position of its window: the backend computes it as in a run,
from the same windows. Other alleles, and everything when the backend is naive, are two passes: the
window with the reference and the window with the allele. Reads and writes no files.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from yuzu_cli.alphabet import Alphabet
from yuzu_cli.backends.base import Runner, Settings
from yuzu_cli.backends.naive import NaiveRunner
from yuzu_cli.backends.passes import LEAST_ROWS, PassSize
from yuzu_cli.engine.choose import Choice, choose, instead
from yuzu_cli.engine.device import computing, resolve_device
from yuzu_cli.engine.judge import Answers, Plain, Verdict, judge
from yuzu_cli.engine.members import Member, Views
from yuzu_cli.engine.net import describe
from yuzu_cli.engine.scoring import Scorer
from yuzu_cli.engine.setup import load_models, settings_of
from yuzu_cli.engine.verify import InDouble
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
        self.choice = choice
        self._members = self._streams(choice.runners)
        self._size = PassSize(choice.at_once, unit="sequences")

    def _streams(self, runners: Sequence[Runner]) -> list[Member]:
        """Every model's runner on every strand and shift."""
        compute = self._config.compute
        strands = (False, True) if compute.reverse_complement else (False,)
        return [
            Member(runner, reverse, shift)
            for runner in runners
            for reverse in strands
            for shift in compute.shifts
        ]

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
        whole = self._pass(batch, passes, self._members)
        for (i, k), effect in zip(passes, whole, strict=True):
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

    def _pass(
        self, batch: Sequence[Judged], jobs: list[tuple[int, int]], members: Sequence[Member]
    ) -> list[np.ndarray]:
        if not jobs:
            return []
        rows = sorted({i for i, _ in jobs})
        windows = [_wide(batch[i]) for i in rows]
        for i, k in jobs:
            window = batch[i].changed[k]
            assert window is not None
            windows.append(window)
        outputs = self._outputs(np.stack(windows), members)
        place = {row: n for n, row in enumerate(rows)}
        return [outputs[len(rows) + n] - outputs[place[i]] for n, (i, _) in enumerate(jobs)]

    def _outputs(self, wide: np.ndarray, members: Sequence[Member]) -> np.ndarray:
        """Outputs of whole windows, averaged over models, strands and shifts: (B, T)."""
        pieces = self._size.pieces(partial(self._mean, members), torch.as_tensor(wide))
        return torch.cat(list(pieces)).cpu().numpy()

    def _mean(self, members: Sequence[Member], wide: torch.Tensor) -> torch.Tensor:
        wide = wide.to(self._settings.device)
        total: float | torch.Tensor = 0.0
        for member in members:
            outputs = member.runner.reference(self._views.codes(member, wide))
            total = total + outputs / len(members)
        assert isinstance(total, torch.Tensor)
        return total

    def _whole(
        self, batch: Sequence[Judged], jobs: list[tuple[int, int]], runners: Sequence[Runner]
    ) -> Plain:
        """Outputs of the windows and effects of the alleles by whole passes of these runners."""
        members = self._streams(runners)
        outputs = self._outputs(np.stack([_wide(batch[i]) for i, _ in jobs]), members)
        effects = np.stack(self._pass(batch, jobs, members))
        return Plain(torch.as_tensor(outputs), torch.as_tensor(effects))

    def _verified(
        self,
        batch: Sequence[Judged],
        edits: list[tuple[int, int]],
        passes: list[tuple[int, int]],
        position: int,
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Compare some edits with whole passes; naive takes over where they differ."""
        jobs = edits[: self._config.compute.verify]
        if not jobs:
            return edits, passes
        found = self._verdict(batch, jobs, position)
        if self.choice.exact and not found.passed:
            self._use(instead(self.choice.name, found.what, self.models, self._settings, 1))
            return [], sorted(edits + passes)
        self.measured = Measured(found.mutants, found.errors["delta"][0])
        return edits, passes

    def _verdict(
        self, batch: Sequence[Judged], jobs: list[tuple[int, int]], position: int
    ) -> Verdict:
        """Edits held against whole passes of naive, and of float64 where the models run in it."""
        number = torch.arange(len(jobs))
        wide = np.stack([_wide(batch[i]) for i, _ in jobs])
        outputs = torch.as_tensor(self._outputs(wide, self._members))
        edited = torch.as_tensor(np.stack(self._edit(batch, jobs, position)))
        given = torch.ones_like(edited, dtype=torch.bool)
        found = Answers(number, outputs, edited, edited.square().sum(1), given)
        large, small = (
            [NaiveRunner(model, self._settings, rows=rows) for model in self.models]
            for rows in (None, LEAST_ROWS)
        )
        naive, other = self._whole(batch, jobs, large), self._whole(batch, jobs, small)
        truth = None
        try:
            models = [model.in_double() for model in self.models]
            double = replace(self._settings, dtype=torch.float64)
            exact = self._whole(batch, jobs, [InDouble(model, double) for model in models])
            truth = number, exact
        except Exception as error:  # a model may fail in any way in a type it was not made for
            logger.info("no float64: %s", describe(error))
        return judge(found, naive, other, truth, self._config.compute.precision, ("delta",), False)


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
    with computing(config.compute.precision, device):
        settings = replace(settings_of(config, alphabet, length, device), plan=None)
        models = load_models(config, alphabet.size, settings)
        yield Effects(config, alphabet, models, settings)
