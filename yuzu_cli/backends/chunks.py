"""How positions are cut into chunks: by what of a chunk lives in memory, neighbours together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from yuzu_cli.backends.base import Settings
from yuzu_cli.operators.reach import AnyReach, Reach
from yuzu_cli.operators.record import WHOLE
from yuzu_cli.plan.memory import storage
from yuzu_cli.plan.plan import ENDINGS
from yuzu_cli.plan.tape import Script, Tape

PROBE = 8
"""Positions of the tape from which the memory of others is reckoned."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Positions cut into chunks.

    Attributes
    ----------
    order : ndarray, int64 (M,)
        Which of the positions come one after the other.
    spans : list of (begin, end)
        The chunks, in that order.
    there : Tensor, int64 (2, M)
        On the device: the positions in that order, and the order.
    """

    order: np.ndarray
    spans: list[tuple[int, int]]
    there: torch.Tensor


class Chunks:
    """The chunks of a plan, for a runner to inherit.

    Parameters
    ----------
    script : Script
    settings : Settings
    budget : int
        Bytes that a chunk may take at its worst step.
    """

    def __init__(self, script: Script, settings: Settings, budget: int) -> None:
        self.script, self.settings, self._budget = script, settings, budget
        self.order = phase_keys(script.nodes, script.ways, script.found.reaches)
        self._cut = lru_cache(256)(self._new_cut)

    def _new_cut(self, positions: bytes, batch: int, budget: int) -> Cut:
        """How int64 positions are cut into chunks; kept until the budget is another."""
        at = np.frombuffer(positions, np.int64)
        count = self.positions_per_chunk(batch)
        parts = list(self._chunks(at, count))
        if self.settings.device.type != "cpu" and len(parts) > 1:
            middle = parts[len(parts) // 2]
            taken = storage(self.script.tape(at[middle]), batch).size / self._budget
            if taken > 1:  # more than the probe's tape let expect
                parts = list(self._chunks(at, max(1, int(len(middle) / taken))))
        order = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        ends = np.cumsum([len(part) for part in parts]).tolist()
        there = torch.as_tensor(np.stack([at[order], order])).to(self.settings.device)
        return Cut(order, list(zip([0, *ends], ends, strict=False)), there)

    def _chunks(self, positions: np.ndarray, count: int) -> Iterator[np.ndarray]:
        """Indices into `positions`, neighbours together, ordered by how pools cut their windows.

        So many at a time, or fewer.
        """
        by_place = np.argsort(positions, kind="stable")
        begin = 0
        while begin < len(positions):
            part = by_place[begin : begin + count]
            # Where windows are wider than most, as around the ends of circular padding, fewer fit.
            widest = np.maximum.accumulate(self._width_at[positions[part]])
            fits = np.arange(1, len(part) + 1) * widest <= count
            part = part[: max(1, int(fits.sum()))]
            begin += len(part)
            keys = [k[positions[part]] for k in reversed(self.order)]
            yield part[np.lexsort(keys)] if keys else part

    def positions_per_chunk(self, batch: int) -> int:
        """How many positions go into one chunk, from what of it lives at the worst step."""
        return max(1, min(self._budget // max(1, self._live(batch)), 4096))

    def chunk_bytes(self, batch: int) -> int:
        """Bytes of a chunk that live at its worst step."""
        return self.positions_per_chunk(batch) * self._live(batch)

    def _live(self, batch: int) -> int:
        """Bytes that live at the worst step of a chunk, for each of its positions."""
        return -(-storage(self._probe, batch).peak // len(self._probe.positions))

    @cached_property
    def _probe(self) -> Tape:
        """The tape of a few positions whose windows are as wide as at nine positions of ten."""
        width = np.quantile(self._width_at, 0.9, method="higher")
        like = np.flatnonzero(self._width_at <= width)
        middle = int(np.abs(like - self.settings.length // 2).argmin())
        first = max(0, min(middle - PROBE // 2, len(like) - PROBE))
        return self.script.tape(like[first : first + PROBE].astype(np.int64))

    @cached_property
    def _width_at(self) -> np.ndarray:
        """Width of the windows of an edit at each position, in those of most of them, (L,)."""
        most = np.ones(self.settings.length)
        for node in self.script.nodes:
            found, name = self.script.found, node.name
            spec, reach = found.program.specs.get(name), found.reaches[name]
            if spec is None or spec.batch_axis is None or not isinstance(reach, Reach):
                continue
            if self.script.ways[name] not in ENDINGS:
                share = (reach.stop - reach.start).clip(1, reach.size) / reach.size
                most = np.maximum(most, spec.numel * spec.dtype.itemsize * share)
        return most / np.quantile(most, 0.9, method="higher")


def phase_keys(
    nodes: Sequence[Node], ways: dict[str, str], reaches: dict[str, AnyReach]
) -> list[np.ndarray]:
    """For every step with a stride, how each position's window lies on its grid.

    Mutants that lie alike are handled together, so a chunk is sorted by these.
    """
    keys: list[np.ndarray] = []
    for node in nodes:
        reach = reaches[node.name]
        source: Any = node.args[0] if node.args else None
        if ways[node.name] == WHOLE or not isinstance(reach, Reach):
            continue
        before = reaches.get(source.name) if isinstance(source, Node) else None
        if not isinstance(before, Reach) or before.size == reach.size:
            continue
        stride = max(1, round(before.size / reach.size))
        key = before.start - reach.start * stride
        if len(np.unique(key)) > 1:
            keys.append(key)
    return keys
