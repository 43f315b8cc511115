"""Statements of a program while it is made: each once, with all that it names by number.

What a program means, statement by statement, is defined in `yuzu_cli.kernels.between`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch

from yuzu_cli.operators.reach import Ints

Statement: TypeAlias = tuple[str, tuple[int, ...], tuple[Any, ...]]
Program: TypeAlias = tuple[Statement, ...]

TABLES = {"rows": 1, "reference": 1, "letters": 2, "taps": 1, "where": 0}
"""Which of a statement's numbers is a table."""


class Said:
    """What was said so far: statements, tables of rows, constants, registers that are read."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []
        self.tables: list[Ints] = []
        self.constants: list[torch.Tensor] = []
        self.reads: list[int] = []
        self._numbers: dict[Any, int] = {}

    def used(self) -> tuple[tuple[Statement, ...], list[Ints]]:
        """The statements that the last one needs, and their tables, numbered anew."""
        wanted = {len(self.statements) - 1}
        for i in reversed(range(len(self.statements))):
            if i in wanted:
                wanted.update(self.statements[i][1])
        new: dict[int, int] = {}
        tables: dict[int, int] = {}
        found: list[Statement] = []
        for i in sorted(wanted):
            name, operands, numbers = self.statements[i]
            if name in TABLES:
                j = TABLES[name]
                own = tables.setdefault(numbers[j], len(tables))
                numbers = (*numbers[:j], own, *numbers[j + 1 :])
            new[i] = len(found)
            found.append((name, tuple(new[o] for o in operands), numbers))
        return tuple(found), [self.tables[t] for t in tables]

    def say(self, name: str, *operands: int, numbers: tuple[Any, ...] = ()) -> int:
        """A statement, once."""
        return self._once(self.statements, (name, operands, numbers), (name, operands, numbers))

    def table(self, index: Ints) -> int:
        rows = index.astype(np.int32)
        return self._once(self.tables, ("table", rows.tobytes()), rows)

    def read(self, at: int) -> int:
        return self._once(self.reads, ("read", at), at)

    def constant(self, value: torch.Tensor, key: Any) -> int:
        return self._once(self.constants, ("constant", *key), value)

    def _once(self, held: list[Any], key: Any, value: Any) -> int:
        if key not in self._numbers:
            self._numbers[key] = len(held)
            held.append(value)
        return self._numbers[key]
