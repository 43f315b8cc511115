"""Runs tapes: memory for registers, index arrays on the device, and the references of a batch.

Everything that depends on positions or on the number of sequences is made once and kept; a run of a
tape is a loop over kernels. Inputs of a tape come from these sources:

- ``("letters",)``: one-hot differences of every pair of letters; ``("pairs",)``: the pair of every
  mutant; ``("mutants",)``: how many there are;
- ``("rows", node, axis, flat, halo)``: reference rows, position first, with a halo of copies of the
  first and last; ``("view", register, first, step, width, count)``: windows of these as a view;
- ``("gradient", node, axis, flat)``: gradients of targets there, position first;
- ``("whole", node)``: the reference as the model has it; ``("value of", node)``, ``("constant",
  ...)``: constants; ``("once", key)``: what the prelude made of this batch's references.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from yuzu_cli.kernels import (  # noqa: F401 - a kernel is known once its file is imported
    attention,
    between,
    causal,
    gradients,
    laid,
    plain,
    products,
    recurrent,
    reduced,
    slots,
    spectra,
    statistics,
)
from yuzu_cli.kernels.references import References
from yuzu_cli.kernels.table import KERNELS
from yuzu_cli.operators.items import Instruction, Register
from yuzu_cli.plan.memory import storage
from yuzu_cli.plan.tape import Tape

KEPT_BYTES = {"cpu": 64 << 20}
"""Index arrays of tapes that are kept for the next batch, where memory is scarce."""
MOST_KEPT = 2 << 30
"""The same on a GPU: tables made anew for every batch would be uploaded anew."""
_TAPE_BYTES = 200 << 10
"""What a kept tape takes besides: its registers' views."""


@dataclass(slots=True)
class Loaded:
    """A tape with its index arrays on the device, and its places for some numbers of sequences.

    `kept` is for what a reader of its output works out once.
    """

    tape: Tape
    args: list[dict[str, Any]]
    prelude: list[dict[str, Any]]
    tail: list[dict[str, Any]]
    bytes: int
    bound: dict[int, Placed]  # by the number of sequences
    kept: dict[Any, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Placed:
    """A tape with all registers in place for one number of sequences.

    Attributes
    ----------
    registers : list
        Tensors that stay where they are; None for what a run puts in.
    rows : list of source
        Reference rows that must be filled before a run.
    inputs : list of (register, source)
        What changes from batch to batch.
    """

    registers: list[Any]
    rows: list[tuple[Any, ...]]
    inputs: list[tuple[int, tuple[Any, ...]]]
    frees: list[list[int]]
    epoch: int


class Machine:
    """Runs the tapes of one model on one device.

    Parameters
    ----------
    references : References
    device : torch.device
    letters : int
        A.
    make : callable
        Positions (P,) -> their tape.
    """

    def __init__(
        self, references: References, device: torch.device, letters: int,
        make: Callable[[np.ndarray], Tape],
    ) -> None:  # fmt: skip
        self.references, self.device, self.letters, self.make = references, device, letters, make
        self._tapes: OrderedDict[bytes, Loaded] = OrderedDict()
        self._arena = torch.empty(0, dtype=torch.uint8, device=device)
        self._pairs: dict[torch.dtype | None, torch.Tensor] = {}

    def clear(self) -> None:
        """Forget all tapes, and the memory of their registers."""
        self._tapes.clear()
        self._arena = torch.empty(0, dtype=torch.uint8, device=self.device)

    def load(self, positions: np.ndarray) -> Loaded:
        """The tape of some positions, made or kept."""
        key = positions.tobytes()
        if key not in self._tapes:
            tape = self.make(positions)
            parts = (tape.instructions, tape.prelude, tape.tail)
            args, prelude, tail = ([self._on_device(i) for i in part] for part in parts)
            arrays = (v for part in parts for i in part for v in i.args.values())
            count = sum(v.nbytes for v in arrays if isinstance(v, np.ndarray))
            self._tapes[key] = Loaded(tape, args, prelude, tail, count + _TAPE_BYTES, {})
            most = KEPT_BYTES.get(self.device.type, MOST_KEPT)
            while len(self._tapes) > 1 and sum(t.bytes for t in self._tapes.values()) > most:
                self._tapes.popitem(last=False)
        self._tapes.move_to_end(key)
        return self._tapes[key]

    def _on_device(self, instruction: Instruction) -> dict[str, Any]:
        return {
            k: torch.as_tensor(v, device=self.device) if isinstance(v, np.ndarray) else v
            for k, v in instruction.args.items()
        }

    # --- places -----------------------------------------------------------------------------------

    def bind(self, loaded: Loaded, batch: int) -> Placed:
        """Places for all registers."""
        kept = loaded.bound.get(batch)
        if kept is not None and kept.epoch == self.references.epoch:
            return kept
        tape = loaded.tape
        where = storage(tape, batch)
        if where.size > self._arena.numel():
            for other in self._tapes.values():
                other.bound.clear()
            self._arena = torch.empty(0, dtype=torch.uint8, device=self.device)
            self._arena = torch.empty(where.size, dtype=torch.uint8, device=self.device)
        registers: list[Any] = [None] * len(tape.registers)
        rows, inputs = [], []
        for at, begin in where.offsets.items():
            register = tape.registers[at]
            assert register.dtype is not None
            piece = self._arena[begin : begin + register.bytes_for(batch)]
            registers[at] = piece.view(register.dtype).view(register.sized(batch))
        for at, register in tape.inputs():
            registers[at] = self._fixed(register, registers)
            if register.origin[0] == "rows":
                rows.append(register.origin)
            elif registers[at] is None:
                inputs.append((at, register.origin))
        bound = Placed(registers, rows, inputs, frees(tape), self.references.epoch)
        loaded.bound[batch] = bound
        return bound

    def _fixed(self, register: Register, registers: list[Any]) -> torch.Tensor | None:
        """An input that stays where it is; None for one that every batch brings."""
        kind, *rest = register.origin
        if kind == "rows":
            return self.references.rows(register)
        if kind == "view":
            source, first, step, width, count = rest
            rows: torch.Tensor = registers[source]
            b, c = rows.shape[1:]
            shape, row = (width, count, 1, b, c), b * c
            begin = rows.storage_offset() + first * row
            return rows.as_strided(shape, (row, step * row, row, c, 1), begin)
        if kind == "letters":
            return self.letter_pairs(register.dtype)
        if kind == "constant":
            held: torch.Tensor = rest[-1].value
            return held
        if kind == "value of":
            return self.references.program.constants[rest[0]]
        return None

    def letter_pairs(self, dtype: torch.dtype | None) -> torch.Tensor:
        """Deltas of the one-hot input for every pair of letters: (1, 1, A*A, 1, A)."""
        if dtype not in self._pairs:
            eye = torch.eye(self.letters, device=self.device, dtype=dtype)
            self._pairs[dtype] = (eye[:, None] - eye[None, :]).view(1, 1, -1, 1, self.letters)
        return self._pairs[dtype]

    def tail(self, loaded: Loaded, rows: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        """A window that the tape gave, as whole tensors (E, ...)."""
        tape, batch = loaded.tape, pairs.shape[-1]
        found: dict[int, Any] = {tape.output.at: rows}
        for at, register in enumerate(tape.registers):
            if register.source == ("pairs",):
                found[at] = pairs.reshape(-1)
        for step, args in zip(tape.tail, loaded.tail, strict=True):
            out = self._fresh(tape.registers[step.write], batch)
            KERNELS[step.kernel](out, *(found[r] for r in step.reads), **args)
            found[step.write] = out
        return found[tape.tail[-1].write]

    # --- runs -------------------------------------------------------------------------------------

    def run(self, positions: np.ndarray, pairs: torch.Tensor) -> tuple[Loaded, torch.Tensor]:
        """A chunk of the batch in work.

        Parameters
        ----------
        positions : int64 (P,)
        pairs : int64 Tensor (P, K, B)
            ``letter to * A + letter from`` of every mutant.

        Returns
        -------
        Loaded, Tensor
            The tape, and the contents of its output.
        """
        loaded = self.load(positions)
        batch = pairs.shape[-1]
        bound = self.bind(loaded, batch)
        for source in bound.rows:
            self.references.fill(source)
        registers = bound.registers
        for at, source in bound.inputs:
            registers[at] = self._given(source, loaded, registers, pairs)
        tape = loaded.tape
        for i, (step, args) in enumerate(zip(tape.instructions, loaded.args, strict=True)):
            write = step.write
            out = registers[write]
            if out is None and tape.registers[write].shape is not None:
                out = self._fresh(tape.registers[write], batch)
            reads = [registers[r] for r in step.reads]
            result = KERNELS[step.kernel](out, *reads, **args)
            registers[write] = out if result is None else result
            for gone in bound.frees[i]:
                registers[gone] = None
        result = registers[tape.output.at]
        if tape.registers[tape.output.at].source is None:
            registers[tape.output.at] = None
        return loaded, result

    def _fresh(self, register: Register, batch: int) -> torch.Tensor:
        return torch.empty(register.sized(batch), dtype=register.dtype, device=self.device)

    def _given(
        self, source: tuple[Any, ...], loaded: Loaded, registers: list[Any], pairs: torch.Tensor
    ) -> Any:
        kind = source[0]
        if kind == "gradient":
            assert self.references.gradient is not None
            return self.references.gradient(source[1:])
        if kind == "whole":
            return self.references.whole(source[1])
        if kind == "pairs":
            return pairs.reshape(-1)
        if kind == "mutants":
            return pairs.numel()
        made, key = self.references.made, source[1]
        if key not in made:
            at = next(i for i, p in enumerate(loaded.tape.prelude) if _key(loaded.tape, p) == key)
            step = loaded.tape.prelude[at]
            reads = [registers[r] for r in step.reads]
            made[key] = KERNELS[step.kernel](None, *reads, **loaded.prelude[at])
        return made[key]


def _key(tape: Tape, step: Instruction) -> Any:
    return tape.registers[step.write].origin[1]


def frees(tape: Tape) -> list[list[int]]:
    """For every instruction, what a kernel made anew and nobody reads any more."""
    found: list[list[int]] = [[] for _ in tape.instructions]
    for step in tape.instructions:
        if tape.registers[step.write].shape is None and step.write != tape.output.at:
            at = tape.last.get(step.write)
            if at is not None and at < len(found):
                found[at].append(step.write)
    return found
