"""What every backend offers the engine, and what it gets: the protocol, and nothing that computes.

A backend turns a batch of sequences into a stream of `Block`s: for some mutants, the change of
every model output. The engine neither knows nor cares how. Flat mutant indices keep that stream
free of any order: a backend may visit mutants as suits it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from yuzu_cli.model import Model


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Largest accepted |backend - naive|: `atol + rtol * scale`.

    The scale is the largest |output| or |delta|.
    """

    rtol: float
    atol: float


@dataclass(frozen=True, slots=True)
class Settings:
    """What a runner is prepared for; everything that may change its numbers or its memory.

    Attributes
    ----------
    length : int
        Letters per window, L.
    device : torch.device
    dtype : torch.dtype
        Type the model computes in; scores are float32 whatever this is.
    unknown : float
        Value of every channel of the one-hot column of an unknown letter (0, or 1/A).
    memory : int
        Bytes of working memory a runner may take on `device`, weights and results excluded.
    seed : int
        For backends that draw random numbers.
    matrix : str
        Code matrices of the yuzu backend.
    alpha : float or None
        Its probes per mutant that meets others, for the matrices that need more than one; None for
        the least that is accurate.
    plan : str or None
        File of `yuzu precompute` with all that.
    start : str
        Where the taylor backend starts its estimate: input, frontier, or a node of the graph.
    """

    length: int
    device: torch.device
    dtype: torch.dtype = torch.float32
    unknown: float = 0.0
    memory: int = 1 << 30
    seed: int = 0
    matrix: str = "interleaved"
    alpha: float | None = None
    plan: str | None = None
    start: str = "input"


class Block:
    """Changes of the outputs for E mutants of one batch.

    Parameters
    ----------
    index : Tensor, int64, (E,)
        Flat index of each mutant into axes (B sequence, M position in the mutated range,
        A letter): ``(b * M + m) * A + letter``. M counts the `positions` the blocks were asked
        for, in their order. A mutant whose letter is the one already there, or whose sequence has
        an unknown letter there, may be left out or hold anything finite: the engine overwrites
        both.
    delta : Tensor, float32, (E, T'), or callable () -> Tensor
        Output of the mutant minus output of the sequence itself, for the targets in `targets`. A
        backend that has most of it as zeros may give a function, called only by who wants it all.
    targets : slice
        Which of the T targets the last axis of `delta` holds; all of them unless said otherwise.
    squares : callable () -> Tensor, float32, (E,), optional
        The sum of squares of `delta` over its targets, when there is a cheaper way to it.
    """

    __slots__ = ("_delta", "_squares", "index", "targets")

    def __init__(
        self,
        index: torch.Tensor,
        delta: torch.Tensor | Callable[[], torch.Tensor],
        targets: slice | None = None,
        squares: Callable[[], torch.Tensor] | None = None,
    ) -> None:
        self.index, self.targets = index, slice(None) if targets is None else targets
        self._delta, self._squares = delta, squares

    @property
    def delta(self) -> torch.Tensor:
        """The changes themselves, (E, T')."""
        if not isinstance(self._delta, torch.Tensor):
            self._delta = self._delta()
        return self._delta

    def squares(self) -> torch.Tensor:
        """Sum of squares over the block's targets, (E,)."""
        return self.delta.square().sum(1) if self._squares is None else self._squares()


class Runner(Protocol):
    """A backend made ready for one model, one length and one device.

    It may have an attribute ``sequences``, the most sequences it wants at one time; without it the
    engine gives as many as memory allows.
    """

    def reference(self, codes: torch.Tensor) -> torch.Tensor:
        """Outputs for the sequences themselves, float32 (B, T).

        `codes` is uint8 (B, L), on the device.

        A runner may keep what it needs of this pass for `blocks` on the same batch.
        """
        ...

    def blocks(self, codes: torch.Tensor, positions: np.ndarray) -> Iterator[Block]:
        """Every mutant of `codes` at `positions`, in any order.

        `positions` is int64 (M,), 0-based in the window.

        `reference` was called with the same `codes` just before.
        """
        ...


class Backend(Protocol):
    """A method of computing deltas; modules are imported on use, see `BACKENDS`."""

    name: str
    exact: bool

    def unsupported(self, model: Model, settings: Settings) -> str | None:
        """Why this backend cannot take the model, in words for the user; None when it can."""
        ...

    def prepare(self, model: Model, settings: Settings) -> Runner:
        """Everything that depends on the model and the length but not on sequences."""
        ...

    def cost(self, model: Model, settings: Settings, positions: int) -> float:
        """Predicted work for all mutants of one sequence at `positions` positions.

        In multiply-adds of the naive backend: what `auto` compares, and what sizes batches.
        """
        ...
