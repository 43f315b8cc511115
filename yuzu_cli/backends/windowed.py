"""Exact deltas from windows: in every layer only what an edit reaches is computed.

The captured graph is run once on the sequences themselves; then, for a chunk of mutants at a
time, on windows of deltas as long as that is the cheaper way, and on whole tensors after that.
What the plan has no window for is computed by the node's own call, so any model that can be
captured is exact.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from yuzu_cli.backends.base import Block, Settings
from yuzu_cli.backends.chunks import Chunks
from yuzu_cli.backends.passes import is_out_of_memory, one_hot, row_cost, row_seconds
from yuzu_cli.graph.build import capture
from yuzu_cli.graph.program import CaptureError, Program, run_program
from yuzu_cli.kernels.fused import can_fuse
from yuzu_cli.kernels.references import References
from yuzu_cli.kernels.runner import Machine
from yuzu_cli.model import Model
from yuzu_cli.operators.cost import rates_of
from yuzu_cli.operators.items import Form, Window
from yuzu_cli.operators.reach import AnyReach
from yuzu_cli.plan.analyse import Analysis, analyse
from yuzu_cli.plan.memory import storage
from yuzu_cli.plan.plan import Plan, make_plan
from yuzu_cli.plan.tape import Script

logger = logging.getLogger(__name__)

CPU_CHUNK_BYTES = 24 << 20
"""What lives of a chunk on a CPU at the worst step: most of it should stay in the last cache."""
REFERENCE_BYTES = 16 << 20
"""References of the sequences in work on a CPU: more at a time would only take memory."""
_FIXED = (
    "it was exported for a batch of {} only; give torch.export.export an example of two sequences "
    "and dynamic_shapes=({{0: torch.export.Dim.DYNAMIC}},)"
)
_TRACED = (
    "it takes a batch of {} only; use torch.jit.script, or trace it with sizes written as x.shape "
    "or -1"
)


class Windowed:
    """The backend; see `yuzu_cli.backends.base.Backend`."""

    name = "windowed"
    exact = True

    def unsupported(self, model: Model, settings: Settings) -> str | None:
        """A model that cannot be captured as one graph."""
        try:
            understand(model, settings)
        except CaptureError as error:
            return str(error)
        return None

    def cost(self, model: Model, settings: Settings, positions: int) -> float:
        """The naive way's multiply-adds, scaled by the predicted share of its time."""
        naive, mutants = row_cost(model, settings), positions * (model.alphabet_size - 1)
        share = predicted(model, settings) / max(row_seconds(model, settings, naive), 1e-30)
        return naive.macs * (1.0 + mutants * share)

    def prepare(self, model: Model, settings: Settings) -> WindowedRunner:
        """Capture, analyse, plan, and lay out the weights."""
        return WindowedRunner(model, settings)


@dataclass(frozen=True, slots=True)
class Understood:
    """A model as a graph, what edits reach in it, and the plan."""

    found: Analysis
    plan: Plan

    @property
    def program(self) -> Program:
        return self.found.program

    @property
    def reaches(self) -> dict[str, AnyReach]:
        return self.found.reaches


def understand(model: Model, settings: Settings) -> Understood:
    """Capture, analyse and plan a model; done once per model, length, device and type.

    Raises
    ------
    CaptureError
        The model cannot be one graph.
    """
    key = (settings.length, str(settings.device), settings.dtype)
    kept = model.__dict__.setdefault("_understood", {})
    if key not in kept:
        try:
            if model.fixed_batch is not None:
                said = _FIXED if model.kind == "exported" else _TRACED
                raise CaptureError(said.format(model.fixed_batch))
            program = capture(
                model,
                letters=model.alphabet_size,
                length=settings.length,
                device=settings.device,
                dtype=settings.dtype,
            )
            found = analyse(program)
            kept[key] = Understood(found, make_plan(found, settings.device))
        except CaptureError as error:
            kept[key] = error
    if isinstance(kept[key], CaptureError):
        raise kept[key]
    return kept[key]


def predicted(model: Model, settings: Settings) -> float:
    """Time of a mutant: as planned, and its share in starting what a chunk does.

    Counted, so that all parts of a run choose alike; done once, as `understand` is.
    """
    kept = model.__dict__.setdefault("_understood", {})
    if settings not in kept:
        kept[settings] = WindowedRunner(model, settings).seconds()
    return float(kept[settings])


class WindowedRunner(Chunks):
    """The windowed backend for one model and length."""

    def __init__(self, model: Model, settings: Settings, cut: tuple[str, ...] = ()) -> None:
        self.model = model
        self.understood = understand(model, settings)
        self.program, self.plan = self.understood.program, self.understood.plan
        gpu = settings.device.type != "cpu"
        rough = gpu and torch.backends.cuda.matmul.allow_tf32
        fused = gpu and can_fuse(settings.device)
        # As much again may go into what kernels make on their way; references take a quarter.
        most = settings.memory * 3 // 8
        budget = most if gpu else min(most, CPU_CHUNK_BYTES)
        script = Script(self.understood.found, self.plan, gpu, rough, fused, cut)
        super().__init__(script, settings, budget)
        self.references = References(self.program, self._compute)
        self.machine = Machine(
            self.references, settings.device, model.alphabet_size, self.script.tape
        )
        self._input = torch.empty(0)
        self.sequences = self._at_once()

    def _at_once(self) -> int:
        """How many sequences are worth having at one time, by what their references take."""
        names = [r.origin[1] for r in self._read] + [self.program.input.name]
        specs = (self.program.specs[n] for n in names if n in self.program.specs)
        each = sum(s.numel * s.dtype.itemsize for s in specs)
        cpu = self.settings.device.type == "cpu"
        budget = REFERENCE_BYTES if cpu else self.settings.memory // 4
        most = min(budget, self.settings.memory // 4) // max(1, each)
        return max(1, min(most, self._budget // max(1, self._live(1))))

    def _compute(self, names: set[str], *take: Any) -> dict[str, torch.Tensor]:
        return run_program(self.program, self._input, names | {self.program.output.name}, *take)

    @torch.no_grad()
    def reference(self, codes: torch.Tensor) -> torch.Tensor:
        """Outputs for the sequences themselves, float32 (B, T)."""
        self._input = one_hot(codes, self.model, self.settings)
        if not self.references.expected:
            for register in self._read:
                kind, name, *_ = register.origin
                if kind == "whole":
                    self.references.wanted.add(name)
                else:
                    self.references.expected.setdefault(name, []).append(register)
        self.references.start(len(codes))
        return self.references.values[self.program.output.name].float()

    @cached_property
    def _read(self) -> list[Any]:
        """The registers of reference values that a chunk reads: rows, or tensors whole."""
        return [r for _, r in self._probe.inputs() if r.origin[0] in ("rows", "whole")]

    def blocks(self, codes: torch.Tensor, positions: np.ndarray) -> Iterator[Block]:
        """Every mutant, a chunk of positions at a time."""
        positions = np.asarray(positions, dtype=np.int64)
        size, batch = self.model.alphabet_size, codes.shape[0]
        cut = self._cut(positions.tobytes(), batch, self._budget)
        order, spans, done = cut.order, cut.spans[::-1], []
        pairs, index = self._mutants(codes, cut.there, size)
        while spans:
            begin, end = spans.pop()
            chunk, middle = slice(begin, end), (begin + end) // 2
            if end - begin > 1 and not self._fits(positions[order[chunk]], batch):
                spans += [(middle, end), (begin, middle)]
                continue
            try:
                block = self._block(positions[order[chunk]], pairs[chunk], index[chunk])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or end - begin == 1:
                    raise
            else:
                done.append((begin, end))
                yield block
                continue
            # Outside the handler, where the traceback no longer holds the tensors of the chunk.
            self._smaller(end - begin)
            spans += [(middle, end), (begin, middle)]
        cut.spans[:] = done

    def _fits(self, at: np.ndarray, batch: int) -> bool:
        """Whether a GPU has room for a chunk's registers: its tape may hold more than the probe's.

        On a CPU the budget is one of speed, far below the memory.
        """
        if self.settings.device.type == "cpu":
            return True
        loaded = self.machine.load(at)
        if batch not in loaded.kept:
            loaded.kept[batch] = storage(loaded.tape, batch).size
        return bool(loaded.kept[batch] <= self._budget)

    def _smaller(self, positions: int) -> None:
        """Half the memory for every chunk from here on, and nothing kept of those before."""
        self._budget //= 2
        self.machine.clear()
        text = "out of memory with %d positions at a time; from here on half as many"
        logger.warning(text, positions)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _mutants(
        self, codes: torch.Tensor, there: torch.Tensor, size: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of every mutant its pair of letters and its index in the batch: (M, K, B) each."""
        device, batch = codes.device, codes.shape[0]
        letters = codes.index_select(1, there[0]).t().long()  # (M, B)
        letters = torch.where(letters < size, letters, 0)[:, None, :]
        turn = torch.arange(1, size, device=device)[None, :, None]
        other = (letters + turn) % size
        b = torch.arange(batch, device=device) * there.shape[1]
        return other * size + letters, (b + there[1, :, None, None]) * size + other

    def seconds(self) -> float:
        """Predicted time of a mutant, where chunks are full."""
        positions = min(self.positions_per_chunk(self.sequences), self.settings.length)
        mutants = positions * self.sequences * (self.model.alphabet_size - 1)
        each = rates_of(self.settings.device).instruction
        return self.plan.seconds + each * len(self._probe.instructions) / mutants

    @torch.no_grad()
    def _block(self, at: np.ndarray, pairs: torch.Tensor, index: torch.Tensor) -> Block:
        loaded, result = self.machine.run(at, pairs)
        output, flat, count = loaded.tape.output, index.reshape(-1), index.numel()
        if not isinstance(output, Window):
            return Block(flat, result.reshape(count, -1).float())
        return Block(
            flat,
            lambda: self.machine.tail(loaded, result, pairs).reshape(count, -1).float(),
            squares=lambda: squares(output, result, pairs, loaded.kept),
        )


def squares(
    win: Window, rows: torch.Tensor, pairs: torch.Tensor, kept: dict[Any, Any]
) -> torch.Tensor:
    """Sum of squared deltas of every mutant, (E,), from its window alone.

    For letters still in pairs this is a closed form: one sum of squares per pair of letters and
    part of the window that lies in the tensor. Which part is whose is kept for the next batch.
    """
    if win.form is not Form.PAIRS:
        return rows.float().square().sum((0, -1)).reshape(-1)
    per_row = rows.float().square().sum(-1).view(win.frame.width, -1)  # (w, A*A)
    if "parts" not in kept:
        low = (-win.frame.start).clip(0, win.frame.width)
        high = (win.frame.size - win.frame.start).clip(0, win.frame.width)
        parts, which = np.unique(np.stack([low, high]), axis=1, return_inverse=True)
        row = torch.as_tensor(which.reshape(-1), device=rows.device)[:, None, None]
        kept["parts"] = parts.T.tolist(), row
    parts, row = kept["parts"]
    table = torch.stack([per_row[a:b].sum(0) for a, b in parts])
    return table[row.expand(pairs.shape), pairs].reshape(-1)
