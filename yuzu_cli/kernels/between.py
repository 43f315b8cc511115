"""What lies between two matrix products as one call: the definition, in plain torch.

Where every row of the result follows from a few rows of what is read (gathers, masks, references,
functions of one element, pools), instructions of a tape are put together into one program, a list
of statements over single elements. `compute` says what a program means; `yuzu_cli.kernels.fused`
has it as one kernel of a GPU. Rows are those of windows, ``(w * P)`` of them, each (K, B, C).

A statement is ``(name, operands, numbers)``: operands are earlier statements, the last statement is
the result. A row is what the table says, and a row below 0 is none.

- ``rows`` (read, table): a window's row, 0 where there is none;
- ``letters`` (read, pairs, table): the same of a window of pairs of letters;
- ``reference`` (read, table): a row of the sequences themselves;
- ``constant`` (constant,), ``number`` (value,);
- ``where`` (table,): the first operand where the table has a row, the second elsewhere;
- ``taps`` (read, table, constant, stride, shift, gap): row o of a convolution, o being what the
  table says, from the rows ``o * stride - shift + k * gap`` of a window;
- a name of `FUNCTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from yuzu_cli.kernels.table import kernel
from yuzu_cli.plan.statements import Program

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "relu": torch.relu,
    "gelu": F.gelu,
    "exp": torch.exp,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "elu": F.elu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "divide": torch.div,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
}
"""Functions of one element, or of two, each with torch's own defaults."""
AT_ONCE = 1 << 24
"""Elements that the definition works out at a time: it keeps every statement's."""


def compute(
    out: Tensor, *reads: Tensor, program: Program, tables: Tensor, constants: list[Tensor],
    multiplied: int = 0,
) -> None:  # fmt: skip
    """A program's result for all rows, into `out` (w, P, K, B, C).

    Parameters
    ----------
    reads : Tensor
        Windows (w, P, K, B, C), windows of pairs (w, 1, A*A, 1, C), pairs of letters int64
        (P * K * B,), references (n, B, C) or (w, P, 1, B, C).
    program : Program
    tables : int32 Tensor (T, w * P)
        Rows of what is read; for pairs of letters ``row * P + position``.
    constants : list of Tensor
        Channels (C,), or taps (kernel, I, O).
    multiplied : int
        Rows that taps meet: for who counts products.
    """
    w, p, k, b, c = out.shape
    into, step = out.view(w * p, k, b, c), max(1, AT_ONCE // max(1, k * b * c))
    for begin in range(0, w * p, step):
        part = _Part(out, reads, tables[:, begin : begin + step].long(), constants)
        values: list[Any] = []
        for name, operands, numbers in program:
            given = [values[o] for o in operands]
            values.append(FUNCTIONS[name](*given) if given and name != "where" else
                          getattr(part, name)(*given, *numbers))  # fmt: skip
        into[begin : begin + step].copy_(values[-1])


class _Part:
    """Some rows of a result: what statements without operands, and ``where``, give for them."""

    def __init__(
        self, out: Tensor, reads: tuple[Tensor, ...], tables: Tensor, constants: list[Tensor]
    ) -> None:
        self.reads, self.tables, self.constants = reads, tables, constants
        _, self.positions, *self.mutants, _ = out.shape

    def rows(self, read: int, table: int) -> Tensor:
        x = self.reads[read]
        return self._picked(x.view(-1, *x.shape[2:]), table)

    def reference(self, read: int, table: int) -> Tensor:
        x = self.reads[read]
        return self._picked(x.view(-1, 1, *x.shape[-2:]), table)

    def letters_of(self, at: Tensor, pairs: Tensor) -> Tensor:
        """Of every mutant at some rows its pair of letters, (n, K, B)."""
        return pairs.view(self.positions, *self.mutants)[at % self.positions]

    def letters(self, read: int, pairs: int, table: int) -> Tensor:
        x, at = self.reads[read], self.tables[table]
        row = at.clamp(min=0)
        both = self.letters_of(row, self.reads[pairs])
        picked = x.view(x.shape[0], -1, x.shape[-1])[(row // self.positions)[:, None, None], both]
        return self._there(picked, at)

    def _picked(self, rows: Tensor, table: int) -> Tensor:
        at = self.tables[table]
        return self._there(rows[at.clamp(min=0)], at)

    @staticmethod
    def _there(x: Tensor, at: Tensor) -> Tensor:
        return torch.where((at >= 0)[:, None, None, None], x, 0.0)

    def constant(self, which: int) -> Tensor:
        return self.constants[which]

    def number(self, value: float) -> Tensor:
        return self.tables.new_full((), value, dtype=torch.float32)

    def where(self, x: Tensor, other: Tensor, table: int) -> Tensor:
        return torch.where((self.tables[table] >= 0)[:, None, None, None], x, other)

    def taps(
        self, read: int, table: int, which: int, stride: int, shift: int, gap: int
    ) -> Tensor:  # fmt: skip
        x, taps, row = self.reads[read], self.constants[which], self.tables[table]
        w, p = x.shape[:2]
        total = None
        for k, tap in enumerate(taps):
            at = torch.div(row, p, rounding_mode="floor") * stride - shift + k * gap
            here = torch.where((at >= 0) & (at < w) & (row >= 0), at * p + row % p, -1)
            held = self._there(x.view(-1, *x.shape[2:])[here.clamp(min=0)], here)
            product = (held.reshape(-1, tap.shape[0]) @ tap).view(*held.shape[:-1], -1)
            total = product if total is None else total + product
        assert total is not None
        return total


@kernel("between")
def between(out: Tensor, *reads: Tensor, **options: Any) -> None:
    """A program, by one kernel where the device has a compiler."""
    from yuzu_cli.kernels import fused

    fused.compute_on(out.device)(out, *reads, **options)
