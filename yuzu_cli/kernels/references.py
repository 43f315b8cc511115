"""Values of the sequences themselves, in the layouts that tapes read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from yuzu_cli.graph.program import Program
from yuzu_cli.operators.items import Register


class References:
    """Values of the sequences themselves, in the layouts that tapes read.

    Parameters
    ----------
    program : Program
    compute : callable
        Set of node names -> their values for the sequences in work, {name: Tensor (B, ...)}; and
        what is to be called with the name and value of every node on the way.
    """

    def __init__(self, program: Program, compute: Callable[..., dict[str, torch.Tensor]]) -> None:
        self.program, self.compute = program, compute
        self.gradient: Callable[[tuple[Any, ...]], torch.Tensor] | None = None
        self.values: dict[str, torch.Tensor] = {}
        self.wanted: set[str] = set()
        self.expected: dict[str, list[Register]] = {}
        """By node, the rows that are read: all that is kept of most nodes."""
        self.made: dict[Any, Any] = {}
        self._rows: dict[tuple[Any, ...], torch.Tensor] = {}
        self._filled: set[tuple[Any, ...]] = set()
        self._indices: dict[tuple[int, int], torch.Tensor] = {}
        self.batch = 0
        self.epoch = 0
        """Changes when rows lie elsewhere: places of tapes made before are void then."""

    def start(self, batch: int) -> None:
        """Begin another batch."""
        if batch != self.batch:
            self._rows.clear()
            self.epoch += 1
        self.batch = batch
        self._filled.clear()
        self.made.clear()
        self.values = self.compute(self.wanted, self._take)

    def _take(self, name: str, value: Any) -> None:
        """Lay out a value's rows while it is there."""
        for register in self.expected.get(name, ()):
            self.rows(register, value)
            self._fill(register.origin, value)

    def whole(self, name: str) -> torch.Tensor:
        """The model's tensor, (B, ...)."""
        if name not in self.values:
            self.wanted.add(name)
            self.values |= self.compute({name})
        return self.values[name]

    def rows(self, register: Register, value: torch.Tensor | None = None) -> torch.Tensor:
        """The place of reference rows; `fill` puts them there."""
        source = register.origin
        if source not in self._rows:
            value = self.whole(source[1]) if value is None else value
            shape = register.sized(self.batch)
            self._rows[source] = torch.empty(shape, dtype=value.dtype, device=value.device)
        return self._rows[source]

    def fill(self, source: tuple[Any, ...]) -> None:
        """This batch's rows, once."""
        if source not in self._filled:
            self._fill(source, self.whole(source[1]))

    def _fill(self, source: tuple[Any, ...], value: torch.Tensor) -> None:
        self._filled.add(source)
        _, _, axis, flat, halo = source
        rows = self._rows[source]
        if flat is not None:
            value = value.reshape(value.shape[0], *flat)
        moved = value.movedim(axis, 0)
        if rows.device.type != "cpu":  # one kernel rather than three
            into = rows.view(len(rows), *moved.shape[1:])
            torch.index_select(moved, 0, self._inward(len(rows), halo), out=into)
            return
        size = len(rows) - 2 * halo
        rows[halo : halo + size].view(moved.shape).copy_(moved)
        if halo:
            rows[:halo] = rows[halo]
            rows[halo + size :] = rows[halo + size - 1]

    def _inward(self, count: int, halo: int) -> torch.Tensor:
        """Rows of the tensor for those with a halo: the first and the last one repeated."""
        if (count, halo) not in self._indices:
            device = next(iter(self._rows.values())).device
            index = (torch.arange(count) - halo).clamp(0, count - 2 * halo - 1)
            self._indices[count, halo] = index.to(device)
        return self._indices[count, halo]
