"""What the tape of a chunk is made of: windows, whole tensors, registers and instructions.

A chunk holds P positions, K = A - 1 letters at each and B sequences: E = P*K*B mutants. A window
tensor is laid out position first, ``(w, P, K, B, C)``, where C is every other axis of the
model's tensor flattened: then a tap of a convolution is one plain matrix product, a reference
row is contiguous, and one gather serves all letters. A window holds deltas (mutant minus
reference; zero outside the tensor), values, or pairs: ``(w, 1, A*A, 1, C)``, a row for every
(letter to, letter from) instead of every mutant, the same at each position, as long as only
linear maps lie between the input and here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import torch

from yuzu_cli.operators.frames import Frame

BATCH = -1
"""Stands for the number of sequences in a shape; -n for n times as many."""
Shape: TypeAlias = tuple[int, ...]


def least(dtype: torch.dtype) -> float:
    """What is below every value of a type."""
    if dtype.is_floating_point:
        return float("-inf")
    return 0 if dtype is torch.bool else torch.iinfo(dtype).min


class Form(Enum):
    """What the rows of a window hold."""

    DELTA = "deltas"
    VALUE = "values"
    PAIRS = "pairs"


@dataclass(frozen=True, slots=True)
class Window:
    """What the chunk's mutants change in one tensor.

    Attributes
    ----------
    name : str
        Node whose reference lies beneath.
    frame : Frame
    at : int
        Register of its rows.
    form : Form
    axis, rest : int, tuple of int
        Position axis of the model's tensor, and its other axes without the batch's.
    """

    name: str
    frame: Frame
    at: int
    form: Form
    axis: int
    rest: tuple[int, ...]

    @property
    def channels(self) -> int:
        return math.prod(self.rest)


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole tensor for every mutant, (E, ...), mutants in the order (P, K, B)."""

    name: str
    at: int
    is_delta: bool


@dataclass(frozen=True, slots=True)
class Other:
    """A number, or several tensors: what a call gave that is neither window nor whole tensor."""

    at: int


Item: TypeAlias = Window | Whole | Other


@dataclass(frozen=True, slots=True)
class Register:
    """A numbered place of the tape.

    Attributes
    ----------
    shape : tuple of int or None
        With `BATCH` in the place of B; None for what its kernel makes anew in every run.
    dtype : torch.dtype or None
    source : tuple or None
        Where an input comes from: see `yuzu_cli.kernels.runner`. None for what a kernel writes.
    bytes : int
        Of what has no shape, for one sequence: a guess from the node's.
    """

    shape: Shape | None
    dtype: torch.dtype | None
    source: tuple[Any, ...] | None = None
    bytes: int = 0

    @property
    def extent(self) -> Shape:
        """The shape, of a register that has one."""
        assert self.shape is not None
        return self.shape

    @property
    def origin(self) -> tuple[Any, ...]:
        """The source, of an input."""
        assert self.source is not None
        return self.source

    def sized(self, batch: int) -> tuple[int, ...]:
        """The shape for so many sequences."""
        return tuple(n if n >= 0 else -n * batch for n in self.extent)

    def bytes_for(self, batch: int) -> int:
        """Bytes for so many sequences."""
        if self.shape is None:
            return self.bytes * batch
        return math.prod(self.sized(batch)) * (1 if self.dtype is None else self.dtype.itemsize)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One kernel of the tape.

    Attributes
    ----------
    kernel : str
        A name of `yuzu_cli.kernels`.
    reads : tuple of int
    write : int
    args : dict
        Numbers, index arrays, weights, functions.
    over : int or None
        A register whose storage the result may take, if nobody reads it later.
    node : str
        What it is done for.
    """

    kernel: str
    reads: tuple[int, ...]
    write: int
    args: dict[str, Any]
    over: int | None
    node: str
