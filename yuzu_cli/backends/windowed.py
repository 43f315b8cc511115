"""Exact deltas from windows: in every layer only what an edit reaches is computed.

The captured graph is run once on the sequences themselves; then, for a chunk of mutants at a
time, on windows of deltas as long as that is the cheaper way, and on whole tensors after that.
What the plan has no window for is computed by the node's own call, so any model that can be
captured is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.backends.base import Block, Settings
from yuzu_cli.backends.deltas import whole
from yuzu_cli.backends.deltas.frames import Frame
from yuzu_cli.backends.deltas.prepared import Prepared, State, Step
from yuzu_cli.backends.deltas.states import Chunk, Full, References, Win
from yuzu_cli.backends.deltas.steps import STEPS
from yuzu_cli.backends.passes import one_hot, row_cost
from yuzu_cli.graph.capture import capture
from yuzu_cli.graph.program import CaptureError, Program, run_program
from yuzu_cli.model import Model
from yuzu_cli.plan import strategies as how
from yuzu_cli.plan.plan import Plan, make_plan, reaches_of
from yuzu_cli.reach.domain import AnyReach, Reach

CPU_CHUNK_BYTES = 6 << 20
"""Size of a chunk's largest window tensor on a CPU: a few of them should stay in the last cache."""


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
        """The naive way's multiply-adds, scaled by the planned share of its time."""
        plan = understand(model, settings).plan
        share = plan.seconds / max(plan.naive_seconds, 1e-30)
        mutants = positions * (model.alphabet_size - 1)
        return row_cost(model, settings)[1] * (1.0 + mutants * share)

    def prepare(self, model: Model, settings: Settings) -> WindowedRunner:
        """Capture, analyse, plan, and lay out the weights."""
        return WindowedRunner(model, settings)


@dataclass(frozen=True, slots=True)
class Understood:
    """A model as a graph, what edits reach in it, and the plan."""

    program: Program
    reaches: dict[str, AnyReach]
    plan: Plan


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
            program = capture(
                model,
                letters=model.alphabet_size,
                length=settings.length,
                device=settings.device,
                dtype=settings.dtype,
            )
            reaches = reaches_of(program)
            plan = make_plan(program, reaches, settings.device)
            kept[key] = Understood(program, reaches, plan)
        except CaptureError as error:
            kept[key] = error
    if isinstance(kept[key], CaptureError):
        raise kept[key]
    return kept[key]


class WindowedRunner:
    """The windowed backend for one model and length."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self.model, self.settings = model, settings
        understood = understand(model, settings)
        self.program, self.reaches = understood.program, understood.reaches
        self.plan = understood.plan
        self.strategies = self.plan.strategies
        self.nodes: list[Node] = [
            n for n in self.program.calls() if self.strategies[n.name] != how.CONSTANT
        ]
        self.steps: dict[str, Step] = {
            n.name: STEPS[self.strategies[n.name]](Prepared(n, self.program, self.reaches))
            for n in self.nodes
            if self.strategies[n.name] != how.WHOLE
        }
        self.order = phase_keys(self.program, self.strategies, self.reaches)
        self.references: References | None = None
        self.outputs = torch.empty(0)

    @property
    def _windows(self) -> set[str]:
        return {n for n, s in self.strategies.items() if s not in how.ENDINGS}

    def _kept(self) -> set[str]:
        """Nodes whose reference values the chunks may ask for."""
        names = {self.program.input.name, self.program.output.name}
        for node in self.nodes:
            names.add(node.name)
        return {n for n in names if n in self.program.specs}

    @torch.no_grad()
    def reference(self, codes: torch.Tensor) -> torch.Tensor:
        """Outputs for the sequences themselves, float32 (B, T)."""
        x = one_hot(codes, self.model, self.settings)
        values = run_program(self.program, x, self._kept())
        self.references = References(values, self.reaches)
        self.outputs = values[self.program.output.name]
        return self.outputs.float()

    def blocks(self, codes: torch.Tensor, positions: np.ndarray) -> Iterator[Block]:
        """Every mutant, a chunk of positions at a time."""
        assert self.references is not None
        for part in self._chunks(np.asarray(positions, dtype=np.int64), codes.shape[0]):
            yield self._block(codes, positions, part)

    @torch.no_grad()
    def _block(self, codes: torch.Tensor, positions: np.ndarray, part: np.ndarray) -> Block:
        assert self.references is not None
        size = self.model.alphabet_size
        at = np.asarray(positions, dtype=np.int64)[part]
        letters = codes[:, torch.as_tensor(at, device=codes.device)].t().long()  # (P, B)
        letters = torch.where(letters < size, letters, 0)[:, None, :]
        turn = torch.arange(1, size, device=codes.device)[None, :, None]
        other = (letters + turn) % size
        chunk = Chunk(self.references, at, other * size + letters, size)
        m = torch.as_tensor(part, device=codes.device)[:, None, None]
        b = torch.arange(codes.shape[0], device=codes.device)[None, None, :]
        index = ((b * len(positions) + m) * size + other).reshape(-1)
        state = self._state(chunk)
        if isinstance(state, Full):
            return Block(index, chunk.delta_of(state).reshape(chunk.mutants, -1).float())
        win = chunk.as_delta(state)
        return Block(
            index,
            lambda: chunk.whole(win).reshape(chunk.mutants, -1).float(),
            squares=lambda: squares(chunk, win),
        )

    def _chunks(self, positions: np.ndarray, batch: int) -> Iterator[np.ndarray]:
        """Indices into `positions`, neighbours together, ordered by how pools cut their windows."""
        count = self.positions_per_chunk(batch)
        by_place = np.argsort(positions, kind="stable")
        begin = 0
        while begin < len(positions):
            part = by_place[begin : begin + count]
            # Where windows are wider than most, as around the ends of circular padding, fewer fit.
            widest = np.maximum.accumulate(self._bytes_at[positions[part]])
            fits = np.arange(1, len(part) + 1) * widest <= count * self._bytes_per_mutant()
            part = part[: max(1, int(fits.sum()))]
            begin += len(part)
            keys = [k[positions[part]] for k in reversed(self.order)]
            yield part[np.lexsort(keys)] if keys else part

    def positions_per_chunk(self, batch: int) -> int:
        """How many positions go into one chunk, from the bytes of the widest step."""
        mutants = batch * (self.model.alphabet_size - 1)
        most = max(self._bytes_per_mutant(), 1)
        budget = self.settings.memory // 4
        if self.settings.device.type == "cpu":
            budget = min(budget, CPU_CHUNK_BYTES)
        return max(1, min(int(budget // (most * mutants)), 4096))

    def chunk_bytes(self, batch: int) -> int:
        """Bytes of one chunk's largest window tensor."""
        mutants = self.positions_per_chunk(batch) * batch * (self.model.alphabet_size - 1)
        return mutants * self._bytes_per_mutant()

    def _bytes_per_mutant(self) -> int:
        """Bytes of the widest tensor of one mutant, at nine positions of ten no more."""
        return int(np.quantile(self._bytes_at, 0.9, method="higher"))

    @cached_property
    def _bytes_at(self) -> np.ndarray:
        """Bytes of the widest tensor of one mutant, for an edit at each position, (L,)."""
        most = np.ones(self.settings.length)
        for node in self.nodes:
            spec = self.program.specs.get(node.name)
            if spec is None or spec.batch_axis is None:
                continue
            reach = self.reaches[node.name]
            share: Any = 1.0
            if node.name in self._windows and isinstance(reach, Reach):
                share = (reach.stop - reach.start).clip(1, reach.size) / reach.size
            most = np.maximum(most, spec.numel * spec.dtype.itemsize * share)
        return most

    # --- one chunk --------------------------------------------------------------------------------

    def _state(self, chunk: Chunk) -> State:
        """The output for every mutant of the chunk."""
        states: dict[str, State] = {self.program.input.name: self._letters(chunk)}
        pending = {n.name: len(n.users) for n in [self.program.input, *self.nodes]}
        scope = whole.Scope(self.program, chunk, states)
        for node in self.nodes:
            step = self.steps.get(node.name)
            if step is not None:
                states[node.name] = step(chunk, states)
            else:
                scope.compute(node)
            for used in node.all_input_nodes:
                if used.name in pending:
                    pending[used.name] -= 1
                    if pending[used.name] == 0:
                        scope.forget(used.name)
        return states[self.program.output.name]

    def _letters(self, chunk: Chunk) -> Win:
        """Deltas of the one-hot input for every pair of letters: (1, 1, A*A, 1, A)."""
        size = self.model.alphabet_size
        eye = torch.eye(size, device=chunk.device, dtype=self.settings.dtype)
        pairs = (eye[:, None] - eye[None, :]).view(1, 1, size * size, 1, size)
        frame = Frame(chunk.positions, 1, self.settings.length)
        return Win(self.program.input.name, frame, pairs, True, 2, (size,), pairs=True)


def squares(chunk: Chunk, win: Win) -> torch.Tensor:
    """Sum of squared deltas of every mutant, (E,), from its window alone.

    For letters still in pairs this is a closed form: one sum of squares per pair of letters and
    part of the window that lies in the tensor.
    """
    if not win.pairs:
        return win.rows.float().square().sum((0, -1)).reshape(-1)
    per_row = win.rows.float().square().sum(-1).view(win.frame.width, -1)  # (w, A*A)
    low = (-win.frame.start).clip(0, win.frame.width)
    high = (win.frame.size - win.frame.start).clip(0, win.frame.width)
    parts, which = np.unique(np.stack([low, high]), axis=1, return_inverse=True)
    table = torch.stack([per_row[a:b].sum(0) for a, b in parts.T.tolist()])
    row = chunk.index(which.reshape(-1))[:, None, None].expand(chunk.shape)
    return table[row, chunk.pair_index].reshape(-1)


def phase_keys(
    program: Program, strategies: dict[str, str], reaches: dict[str, AnyReach]
) -> list[np.ndarray]:
    """For every step with a stride, how each position's window lies on its grid.

    Mutants that lie alike are handled together, so a chunk is sorted by these.
    """
    keys: list[np.ndarray] = []
    for node in program.calls():
        reach = reaches[node.name]
        source: Any = node.args[0] if node.args else None
        if strategies[node.name] == how.WHOLE or not isinstance(reach, Reach):
            continue
        before = reaches.get(source.name) if isinstance(source, Node) else None
        if not isinstance(before, Reach) or before.size == reach.size:
            continue
        stride = max(1, round(before.size / reach.size))
        key = before.start - reach.start * stride
        if len(np.unique(key)) > 1:
            keys.append(key)
    return keys
