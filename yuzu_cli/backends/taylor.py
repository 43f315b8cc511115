"""The first-order estimate of every mutant from gradients: one backward pass per target.

From the input it is TISM: ``delta[l, b] = grad[l, b] - grad[l, ref]`` (Sasse et al. 2024, eq. 3).
From tensors further on, deltas are exact up to there, by windows, and what follows is a product
with the gradients there. Not exact unless that is the output, so `auto` never takes it; it serves
where the number of mutants is out of reach.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.backends.base import Block, Settings
from yuzu_cli.backends.passes import is_out_of_memory, one_hot, pass_rows, row_cost
from yuzu_cli.backends.windowed import WindowedRunner, understand
from yuzu_cli.graph.program import CaptureError, evaluate, lookup
from yuzu_cli.model import Model
from yuzu_cli.operators.cost import rates_of
from yuzu_cli.plan.cuts import INPUT, after, cut_at, seconds

BACKWARD_BYTES = 3
"""A forward and a backward pass hold about this many times what a forward pass makes."""


class Taylor:
    """The backend; see `yuzu_cli.backends.base.Backend`."""

    name = "taylor"
    exact = False

    def unsupported(self, model: Model, settings: Settings) -> str | None:
        """The model must be differentiable, and captured to start elsewhere than at the input."""
        try:
            self.prepare(model, settings)
        except CaptureError as error:
            return str(error)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            return f"the model cannot be differentiated: {str(error).strip().splitlines()[-1]}"
        return None

    def prepare(self, model: Model, settings: Settings) -> TaylorRunner | WindowedRunner:
        """Find out by a probe how gradients are best taken."""
        if settings.start == INPUT:
            return TaylorRunner(model, settings)
        known = understand(model, settings)
        if cut_at(known.found, known.plan, settings.start) == (known.program.output.name,):
            return WindowedRunner(model, settings)  # nothing is left to estimate
        return CutRunner(model, settings)

    def cost(self, model: Model, settings: Settings, positions: int) -> float:
        """A forward pass, and a backward pass of twice its work for every target behind the cut."""
        work = row_cost(model, settings).macs
        if settings.start == INPUT:
            return work * (1.0 + 2 * model.n_targets)
        known = understand(model, settings)
        found, plan, rates = known.found, known.plan, rates_of(settings.device)
        cut, mutants = cut_at(found, plan, settings.start), positions * (model.alphabet_size - 1)
        whole = seconds(found, plan, cut, rates, model.n_targets, mutants)
        return work * whole / max(plan.naive_seconds, 1e-30)


class TaylorRunner:
    """The gradient backend for one model and length."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self.model, self.settings = model, settings
        made = row_cost(model, settings).bytes
        self.rows = pass_rows(model, settings, BACKWARD_BYTES * made)
        self.kept: tuple[list[torch.Tensor], torch.Tensor] | None = None
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
        alone = self._gradients(x, y, 0, group, vectorised=False)
        self.vectorised = all(
            torch.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in zip(together, alone, strict=True)
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
            leaves, y = self.kept or self._forward(codes[start : start + self.rows])
            x, count = leaves[0], y.shape[1]
            index = torch.arange(len(x) * per_sequence, device=codes.device)
            index += start * per_sequence
            group = max(1, self.rows // len(x)) if self.vectorised else 1
            for first in range(0, count, group):
                last = min(count, first + group)
                grads = self._gradients(leaves, y, first, last, self.vectorised)[0]
                base = (grads * x.detach()).sum(2, keepdim=True)
                delta = (grads - base).index_select(3, where)  # (K, b, A, M)
                delta = delta.permute(1, 3, 2, 0).reshape(len(index), last - first)
                yield Block(index, delta.float(), slice(first, last))

    def _forward(self, codes: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The tensors that gradients are taken of, and the outputs (B, T) computed from them."""
        x = one_hot(codes, self.model, self.settings).requires_grad_()
        with torch.enable_grad(), self._cudnn():
            return [x], self.model(x.clone()).float()  # a clone, as some models work in place

    def _gradients(
        self, leaves: list[torch.Tensor], y: torch.Tensor, first: int, last: int, vectorised: bool
    ) -> list[torch.Tensor]:
        """Gradients (K, B, ...) of targets first to last, of each of the leaves."""
        seeds = torch.zeros(last - first, *y.shape, device=y.device)
        for k in range(last - first):
            seeds[k, :, first + k] = 1
        options = {"retain_graph": True, "materialize_grads": True}
        with self._cudnn():
            if vectorised:
                return list(torch.autograd.grad(y, leaves, seeds, is_grads_batched=True, **options))
            each = [torch.autograd.grad(y, leaves, seed, **options) for seed in seeds]
            return [torch.stack(found) for found in zip(*each, strict=True)]

    def _cudnn(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.cudnn else torch.backends.cudnn.flags(enabled=False)


class CutRunner(TaylorRunner):
    """The estimate from tensors of the model's graph: windows up to there, then gradients.

    Raises
    ------
    CaptureError
        The model is no graph, or there is no gradient at what the settings name.
    """

    def __init__(self, model: Model, settings: Settings) -> None:
        found = understand(model, settings)
        self.program = found.program
        self.cut = cut_at(found.found, found.plan, settings.start)
        if not self.cut:
            what = f"there is no node {settings.start} from which gradients reach the output"
            raise CaptureError(f"{what}; `yuzu explain` lists those that there are")
        self.windows = WindowedRunner(model, settings, self.cut)
        self.windows.references.wanted |= set(self.cut)
        self.behind = after(self.program, self.cut)
        super().__init__(model, settings)
        self.sequences = min(self.windows.sequences, self.rows)

    def reference(self, codes: torch.Tensor) -> torch.Tensor:
        """Outputs for the sequences themselves, float32 (B, T)."""
        self.kept = self._forward(codes)
        return self.kept[1].detach()

    def blocks(self, codes: torch.Tensor, positions: np.ndarray) -> Iterator[Block]:
        """Every mutant, some targets at a time."""
        assert self.kept is not None
        leaves, y = self.kept
        # Windows are computed anew for each group: as many targets as there is memory for.
        group = max(1, self.settings.memory // (16 * sum(leaf.numel() for leaf in leaves)))
        for first in range(0, y.shape[1], group):
            last = min(y.shape[1], first + group)
            grads = self._in_passes(leaves, y, first, last)
            self.windows.references.gradient = Gradients(dict(zip(self.cut, grads, strict=True)))
            for block in self.windows.blocks(codes, positions):
                yield Block(block.index, block.delta, slice(first, last))

    def _in_passes(
        self, leaves: list[torch.Tensor], y: torch.Tensor, first: int, last: int
    ) -> list[torch.Tensor]:
        """`_gradients`, of as many targets at a time as a pass has room for."""
        step = max(1, self.rows // len(y)) if self.vectorised else 1
        passes = [
            self._gradients(leaves, y, at, min(at + step, last), step > 1)
            for at in range(first, last, step)
        ]
        return [torch.cat(found) for found in zip(*passes, strict=True)]

    def _forward(self, codes: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        self.windows.reference(codes)
        known = self.windows.references.values
        values = {name: known[name].detach().requires_grad_() for name in self.cut}
        leaves = list(values.values())
        values[self.program.input.name] = values.get(
            self.program.input.name, one_hot(codes, self.model, self.settings)
        )
        with torch.enable_grad(), self._cudnn():
            for node in self.behind:
                values[node.name] = self._value(node, values)
            return leaves, values[self.program.output.name].float()

    def _value(self, node: Node, values: dict[str, Any]) -> Any:
        if node.target is torch.ops.aten.copy.default:  # which has no derivative
            into, source = (lookup(self.program, values, n) for n in node.all_input_nodes[:2])
            return source.to(into.dtype).expand_as(into)
        return evaluate(node, lambda n: lookup(self.program, values, n))


class Gradients:
    """Gradients of some targets by tensor, in the layouts that tapes read; see `References`."""

    def __init__(self, grads: dict[str, torch.Tensor]) -> None:
        self.grads = grads
        self.laid: dict[tuple[Any, ...], torch.Tensor] = {}

    def __call__(self, source: tuple[Any, ...]) -> torch.Tensor:
        """(B, T, size * C), position first; (B, T, ...) as it is where there is no axis."""
        if source not in self.laid:
            name, axis, flat = source
            value = self.grads[name].transpose(0, 1).float()  # (B, T, ...)
            if flat is not None:
                value = value.reshape(*value.shape[:2], *flat)
            if axis is not None:
                value = value.movedim(axis + 1, 2).flatten(2)
            self.laid[source] = value.contiguous()
        return self.laid[source]
