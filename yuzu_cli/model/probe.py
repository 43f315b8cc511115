"""Random sequences to find out by how a model behaves. May not: call models."""

from __future__ import annotations

from collections.abc import Iterator

import torch

PROBE_ROWS = 3  # not 1, 2 or 4: a batch taken for channels, or squeezed away, must not go unnoticed
RUN_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
"""What a model may raise that is called in a way it does not take."""


class Probe:
    """Random one-hot sequences, always the same."""

    def __init__(
        self, where: str, size: int, length: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.where, self.size, self.length = where, size, length
        self.device, self.dtype = device, dtype

    def rows(self, count: int, length: int | None = None) -> torch.Tensor:
        """(count, A, length), row i the same whatever the count."""
        draw = torch.Generator().manual_seed(20240229)
        shape = (count, length or self.length)
        codes = torch.randint(self.size, shape, generator=draw)
        table = torch.eye(self.size, dtype=self.dtype)
        return table[codes].transpose(1, 2).contiguous().to(self.device)

    def companies(self, row: torch.Tensor) -> Iterator[torch.Tensor]:
        """Batches (n, A, L) that begin with a row (1, A, L), in company as runs may have it.

        Rows that differ from it by an edit, and rows of one letter only: what a model reckons over
        its batch is then close by, or far away to every side.
        """
        edited = row.repeat(PROBE_ROWS, 1, 1)
        for i, position in enumerate((0, self.length // 2, self.length - 1)):
            edited[i, :, position] = row[0, :, position].roll(1)
        yield torch.cat([row, edited])
        for letter in sorted({i * self.size // 4 for i in range(4)}):
            plain = torch.zeros_like(row)
            plain[:, letter] = 1
            yield torch.cat([row, plain, plain])
