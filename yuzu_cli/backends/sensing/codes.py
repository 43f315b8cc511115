"""Code matrices and decoders: how many mutants share a few probes, and come out of them again.

Two mutants *meet* in a layer when one position of its output is changed by both. Mutants that never
meet may share a *slot*: laid side by side they are one sequence, and there are as many slots as
mutants that meet at one position, whatever the length. With one code per slot (`interleaved`: the
unit vectors; `orthogonal`: a random rotation) one small matrix serves the whole sequence. As
published (`gaussian`, `bernoulli`) every mutant has a code of its own, and each position a decoder:
least squares on the mutants that meet there.

Only linear algebra and geometry. Knows no graph and no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from yuzu_cli.backends.sensing.slots import Slots

MATRICES = ("interleaved", "orthogonal", "gaussian", "bernoulli")
PUBLISHED = ("gaussian", "bernoulli")
BLOCK_BYTES = 32 << 20
"""Codes gathered at one time for neighbouring positions."""


@dataclass(frozen=True, slots=True, eq=False)
class Code:
    """How the mutants of one layer are mixed into probes, and how they are told apart again.

    Attributes
    ----------
    kind : str
        One of `MATRICES`.
    slots : Slots
    letters : int
        K, mutants per edited position.
    probes : int
        R, number of probes.
    matrix : Tensor or None
        None when interleaved; (R, slots * K) when orthogonal; (L, K, R), a code per mutant, as
        published.
    decoders : Tensor or None
        (size, slots * K, R) as published; slots that nobody fills have rows of zeros.
    condition : float
        Largest condition number of the systems that decoding solves.
    """

    kind: str
    slots: Slots
    letters: int
    probes: int
    matrix: torch.Tensor | None
    decoders: torch.Tensor | None
    condition: float

    @property
    def bytes(self) -> int:
        """Memory of the matrices."""
        kept = (self.matrix, self.decoders)
        return sum(t.numel() * t.element_size() for t in kept if t is not None)

    def to(self, device: torch.device, dtype: torch.dtype) -> Code:
        """The same for another device or type."""
        matrix, decoders = (
            None if t is None else t.to(device, dtype) for t in (self.matrix, self.decoders)
        )
        return Code(
            self.kind, self.slots, self.letters, self.probes, matrix, decoders, self.condition
        )

    def encode(self, laid: torch.Tensor, used: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
        """Probes from mutants laid into their slots.

        Parameters
        ----------
        laid : Tensor (X, S, K, F)
            Deltas of the S slots in use, zero where nothing lies.
        used : int64 Tensor (S,)
            Which slots these are.
        owner : int64 Tensor (X, S)
            Letter position of the edit that lies in each slot; anything where none does.

        Returns
        -------
        Tensor (X, R, F)
        """
        x, s, k, f = laid.shape
        flat = laid.view(x, s * k, f)
        if self.matrix is None:
            return flat
        if self.kind == "orthogonal":
            codes = self.matrix.view(self.probes, -1, k).index_select(1, used)
            return codes.reshape(self.probes, s * k) @ flat
        out = laid.new_empty((x, self.probes, f))
        for part in self._blocks(x, s):
            codes = self.matrix[owner[part]].view(-1, s * k, self.probes)
            torch.bmm(codes.transpose(1, 2), flat[part], out=out[part])
        return out

    def decode(self, probes: torch.Tensor, used: torch.Tensor, first: int) -> torch.Tensor:
        """Mutants in their slots from probes at positions ``first, first + 1, ...``.

        Parameters
        ----------
        probes : Tensor (X, R, F)
        used : int64 Tensor (S,)

        Returns
        -------
        Tensor (X, S, K, F)
        """
        x, _, f = probes.shape
        s, k = len(used), self.letters
        if self.matrix is None:
            return probes.view(x, s, k, f)
        if self.kind == "orthogonal":
            codes = self.matrix.view(self.probes, -1, k).index_select(1, used)
            return (codes.reshape(self.probes, s * k).t() @ probes).view(x, s, k, f)
        assert self.decoders is not None
        table = self.decoders.view(self.slots.size, -1, k, self.probes)
        out = probes.new_empty((x, s * k, f))
        for part in self._blocks(x, s):
            rows = table[first + part.start : first + part.stop].index_select(1, used)
            torch.bmm(rows.view(-1, s * k, self.probes), probes[part], out=out[part])
        return out.view(x, s, k, f)

    def _blocks(self, positions: int, slots: int) -> list[slice]:
        step = max(1, BLOCK_BYTES // (4 * slots * self.letters * self.probes))
        return [slice(i, min(i + step, positions)) for i in range(0, positions, step)]


def probes_needed(slots: Slots, letters: int, alpha: float) -> int:
    """R: alpha times the mutants that meet at one position, rounded up."""
    return max(1, int(np.ceil(round(alpha * slots.count * letters, 6))))


def make_code(
    kind: str,
    slots: Slots,
    letters: int,
    *,
    alpha: float = 1.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    limit: float = math.inf,
    progress: Callable[[], None] | None = None,
) -> Code:
    """Draw the codes of one layer and build their decoders, in float64.

    Parameters
    ----------
    kind : str
        One of `MATRICES`. Only published kinds heed `alpha`.
    letters : int
        K.
    dtype : torch.dtype
        What probes are computed in; codes are rounded to it before they are inverted.
    limit : float
        Decoders are given up, and missing, once a condition number is above it.
    progress : callable, optional
        Called for every position of the layer's output that has a decoder.
    """
    full = slots.count * letters
    if kind == "interleaved":
        return Code(kind, slots, letters, full, None, None, 1.0)
    draw = torch.Generator().manual_seed(seed)
    if kind == "orthogonal":
        square = torch.randn(full, full, generator=draw, dtype=torch.float64)
        rotation = torch.linalg.qr(square).Q.to(dtype)
        return Code(kind, slots, letters, full, rotation, None, 1.0)
    r = probes_needed(slots, letters, alpha)
    shape = (len(slots.start), letters, r)
    if kind == "gaussian":
        codes = torch.randn(shape, generator=draw, dtype=torch.float64)
    else:
        codes = torch.randint(2, shape, generator=draw).double() * 2 - 1
    codes = (codes / r**0.5).to(dtype)
    decoders, condition = build_decoders(codes.double(), slots, dtype, limit, progress)
    return Code(kind, slots, letters, r, codes, decoders, condition)


def build_decoders(
    codes: torch.Tensor,
    slots: Slots,
    dtype: torch.dtype,
    limit: float = math.inf,
    progress: Callable[[], None] | None = None,
) -> tuple[torch.Tensor | None, float]:
    """Least-squares decoders of every position, and the worst condition number.

    Parameters
    ----------
    codes : Tensor, float64 (L, K, R)

    Returns
    -------
    Tensor (size, slots * K, R) or None, float
        None once a condition number is above `limit`. It is infinite where fewer probes than
        mutants leave a system undetermined.
    """
    _, k, r = codes.shape
    owners = slots.owners()
    table = torch.zeros(slots.size, slots.count, k, r, dtype=dtype)
    worst, before = 1.0, -1
    for x in range(slots.size):
        filled = np.flatnonzero(owners[x] >= 0)
        if before >= 0 and np.array_equal(owners[x], owners[before]):
            table[x] = table[before]  # where the same mutants meet, the decoder is the same
        elif len(filled):
            system = codes[torch.as_tensor(owners[x, filled])].reshape(-1, r).t()  # (R, n)
            solution, condition = solve(system)
            worst = max(worst, condition)
            if worst > limit:
                return None, worst
            table[x, torch.as_tensor(filled)] = solution.view(len(filled), k, r).to(dtype)
            before = x
        if progress is not None:
            progress()
    return table.view(slots.size, -1, r), worst


def solve(system: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The least-squares decoder (n, R) of a system (R, n) in float64, and its condition number.

    By Cholesky of the normal equations, which is accurate while the square of the condition number
    is far below 1e16; where it fails, the decoder is the pseudo-inverse and the condition infinite.
    """
    r, n = system.shape
    if r < n:  # many solutions, of which the smallest is a wrong one
        return torch.linalg.pinv(system), math.inf
    gram = system.t() @ system
    factor, failed = torch.linalg.cholesky_ex(gram)
    if int(failed):
        return torch.linalg.pinv(system), math.inf
    decoder = torch.cholesky_solve(system.t().contiguous(), factor)
    return decoder, _condition(gram, factor)


def _condition(gram: torch.Tensor, factor: torch.Tensor, rounds: int = 24) -> float:
    """Condition number of a system by power iteration on its Gram matrix, and on the inverse."""
    size = len(gram)
    start = torch.randn(size, 4, generator=torch.Generator().manual_seed(0), dtype=gram.dtype)
    large, small = start, start
    for _ in range(rounds):
        large = torch.linalg.qr(gram @ large).Q
        small = torch.linalg.qr(torch.cholesky_solve(small, factor)).Q
    high = torch.linalg.matrix_norm(gram @ large, 2)
    low = torch.linalg.matrix_norm(torch.cholesky_solve(small, factor), 2)
    return float((high * low).sqrt())
