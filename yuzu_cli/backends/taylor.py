"""The first-order estimate of every mutant from gradients (TISM): one backward pass per target.

``delta[l, b] = grad[l, b] - grad[l, ref]`` (Sasse et al. 2024, eq. 3). Not exact, so `auto` never
takes it; it serves where the number of mutants is out of reach.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import numpy as np
import torch

from yuzu_cli.backends.base import Block, Settings
from yuzu_cli.backends.passes import is_out_of_memory, one_hot, pass_rows, row_cost
from yuzu_cli.model import Model

BACKWARD_BYTES = 3
"""A forward and a backward pass hold about this many times what a forward pass makes."""


class Taylor:
    """The backend; see `yuzu_cli.backends.base.Backend`."""

    name = "taylor"
    exact = False

    def unsupported(self, model: Model, settings: Settings) -> str | None:
        """The model must be differentiable."""
        try:
            TaylorRunner(model, settings)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            return f"the model cannot be differentiated: {str(error).strip().splitlines()[-1]}"
        return None

    def prepare(self, model: Model, settings: Settings) -> TaylorRunner:
        """Find out by a probe how gradients are best taken."""
        return TaylorRunner(model, settings)

    def cost(self, model: Model, settings: Settings, positions: int) -> float:
        """A forward pass, and a backward pass of twice its work for every target."""
        return row_cost(model, settings)[1] * (1.0 + 2 * model.n_targets)


class TaylorRunner:
    """The gradient backend for one model and length."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self.model, self.settings = model, settings
        bytes_per_row, _ = row_cost(model, settings)
        self.rows = pass_rows(model, settings, BACKWARD_BYTES * bytes_per_row)
        self.kept: tuple[torch.Tensor, torch.Tensor] | None = None
        self.cudnn = True
        self.vectorised = False
        self._probe()

    def _probe(self) -> None:
        """Which of the ways of taking gradients work for this model."""
        rows = max(1, self.model.batch_range[0])
        codes = torch.zeros(rows, self.settings.length, dtype=torch.uint8)
        try:
            self._loop_probe(codes)
        except RuntimeError as error:
            # cuDNN's recurrent layers differentiate in training mode only; torch's own always.
            if self.settings.device.type != "cuda" or is_out_of_memory(error):
                raise
            self.cudnn = False
            self._loop_probe(codes)
        x, y = self._forward(codes)
        group = min(2, y.shape[1])
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # torch warns where it would loop, slower than we do
            try:
                together = self._gradients(x, y, 0, group, vectorised=True)
            except (RuntimeError, Warning):
                return
        self.vectorised = torch.allclose(
            together, self._gradients(x, y, 0, group, vectorised=False), rtol=1e-3, atol=1e-6
        )

    def _loop_probe(self, codes: torch.Tensor) -> None:
        x, y = self._forward(codes)
        if not y.requires_grad:
            raise RuntimeError("its outputs do not depend on its input by differentiable steps")
        self._gradients(x, y, 0, 1, vectorised=False)

    def reference(self, codes: torch.Tensor) -> torch.Tensor:
        """Outputs for the sequences themselves, float32 (B, T)."""
        self.kept = None
        parts = []
        for start in range(0, len(codes), self.rows):
            if len(codes) <= self.rows:
                self.kept = self._forward(codes)
                return self.kept[1].detach()
            parts.append(self._forward(codes[start : start + self.rows])[1].detach())
        return torch.cat(parts)

    def blocks(self, codes: torch.Tensor, positions: np.ndarray) -> Iterator[Block]:
        """Every mutant, some sequences and some targets at a time."""
        where = torch.as_tensor(np.ascontiguousarray(positions), device=codes.device)
        per_sequence = len(positions) * self.model.alphabet_size
        for start in range(0, len(codes), self.rows):
            x, y = self.kept or self._forward(codes[start : start + self.rows])
            count = y.shape[1]
            index = torch.arange(len(x) * per_sequence, device=codes.device)
            index += start * per_sequence
            group = max(1, self.rows // len(x)) if self.vectorised else 1
            for first in range(0, count, group):
                last = min(count, first + group)
                grads = self._gradients(x, y, first, last, self.vectorised)
                base = (grads * x.detach()).sum(2, keepdim=True)
                delta = (grads - base).index_select(3, where)  # (K, b, A, M)
                delta = delta.permute(1, 3, 2, 0).reshape(len(index), last - first)
                yield Block(index, delta.float(), slice(first, last))

    def _forward(self, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = one_hot(codes, self.model, self.settings).requires_grad_()
        with torch.enable_grad(), self._cudnn():
            return x, self.model(x.clone()).float()  # a clone, as some models work in place

    def _gradients(
        self, x: torch.Tensor, y: torch.Tensor, first: int, last: int, vectorised: bool
    ) -> torch.Tensor:
        """Gradients (K, B, A, L) of targets first to last."""
        seeds = torch.zeros(last - first, *y.shape, device=y.device)
        for k in range(last - first):
            seeds[k, :, first + k] = 1
        options = {"retain_graph": True, "materialize_grads": True}
        with self._cudnn():
            if vectorised:
                return torch.autograd.grad(y, x, seeds, is_grads_batched=True, **options)[0]
            return torch.stack([torch.autograd.grad(y, x, seed, **options)[0] for seed in seeds])

    def _cudnn(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.cudnn else torch.backends.cudnn.flags(enabled=False)
