"""Every mutant through the whole model: the definition of the answer, by which all else is judged.

Kept short and obviously right. Mutants are made on the device from the letters' codes, a pass at a
time; there is never a tensor of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from yuzu_cli.backends.base import Block, Settings
from yuzu_cli.backends.passes import LEAST_ROWS, PassSize, one_hot, pass_rows, row_cost
from yuzu_cli.model import Model


class Naive:
    """The backend; see `yuzu_cli.backends.base.Backend`."""

    name = "naive"
    exact = True

    def unsupported(self, model: Model, settings: Settings) -> str | None:
        """Never: any model that runs will do."""
        return None

    def prepare(self, model: Model, settings: Settings) -> NaiveRunner:
        """Decide how many mutants go into one forward pass."""
        return NaiveRunner(model, settings)

    def cost(self, model: Model, settings: Settings, positions: int) -> float:
        """Multiply-adds of a whole forward pass per mutant."""
        return row_cost(model, settings).macs * (1.0 + positions * (model.alphabet_size - 1))


class NaiveRunner:
    """The naive backend for one model and length."""

    def __init__(self, model: Model, settings: Settings, rows: int | None = None) -> None:
        self.model, self.settings = model, settings
        rows = rows or pass_rows(model, settings, row_cost(model, settings).bytes)
        self.size = PassSize(rows, least=model.batch_range[0])
        self.base = torch.empty(0)
        self.outputs = torch.empty(0)

    @torch.no_grad()
    def reference(self, codes: torch.Tensor) -> torch.Tensor:
        """Outputs for the sequences themselves, float32 (B, T)."""
        self.base = one_hot(codes, self.model, self.settings)
        self.outputs = torch.cat(list(self.size.pieces(self._forward, self.base)))
        return self.outputs

    @torch.no_grad()
    def blocks(self, codes: torch.Tensor, positions: np.ndarray) -> Iterator[Block]:
        """Every mutant, sequence by sequence, position by position, letter by letter."""
        index = mutant_index(codes, positions, self.model.alphabet_size)
        where = torch.as_tensor(np.ascontiguousarray(positions), device=codes.device)
        yield from self.size.pieces(partial(self._mutants, where), index)

    @torch.no_grad()
    def at(self, index: torch.Tensor, positions: np.ndarray) -> torch.Tensor:
        """Deltas (E, T) of the mutants at flat indices (E,), after `reference`."""
        where = torch.as_tensor(np.ascontiguousarray(positions), device=index.device)
        blocks = self.size.pieces(partial(self._mutants, where), index)
        return torch.cat([block.delta for block in blocks])

    def _mutants(self, positions: torch.Tensor, index: torch.Tensor) -> Block:
        size = self.model.alphabet_size
        letter = index % size
        sequence = index // (size * len(positions))
        position = positions[index // size % len(positions)]
        x = self.base.index_select(0, sequence)
        row = torch.arange(len(index), device=index.device)
        x[row, :, position] = 0
        x[row, letter, position] = 1
        return Block(index, self._forward(x) - self.outputs[sequence])

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = len(x)
        missing = min(self.size.rows, LEAST_ROWS) - rows
        if missing > 0:
            x = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])])
        return self.model(x)[:rows].float()


def mutant_index(codes: torch.Tensor, positions: np.ndarray, size: int) -> torch.Tensor:
    """Flat index, as in `Block`, of every mutant of known letters that changes the sequence."""
    where = torch.as_tensor(np.ascontiguousarray(positions), device=codes.device)
    letters = codes[:, where].unsqueeze(-1)  # (B, M, 1)
    others = torch.arange(size, device=codes.device, dtype=codes.dtype)
    return ((letters != others) & (letters < size)).flatten().nonzero().squeeze(1)
