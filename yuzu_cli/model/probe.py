"""Random sequences to find out by how a model behaves. May not: call models."""

from __future__ import annotations

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
