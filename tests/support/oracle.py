"""The slow way: every mutant through the whole model in float64, and the judgement of exactness.

Imports only torch and the standard library, and shares no code with the package, so that a mistake
of the package cannot hide in what it is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

UNKNOWN = 255
Function = Callable[[Tensor], Tensor]


def one_hot(codes: Tensor, letters: int, dtype: torch.dtype, unknown: float = 0.0) -> Tensor:
    """Codes (L,) -> one-hot (A, L); columns of unknown letters hold `unknown`."""
    x = torch.zeros(letters, len(codes), dtype=dtype)
    for position, code in enumerate(codes.tolist()):
        if code == UNKNOWN:
            x[:, position] = unknown
        else:
            x[code, position] = 1.0
    return x


def saturation(
    function: Function,
    codes: Tensor,
    positions: Sequence[int],
    *,
    letters: int = 4,
    dtype: torch.dtype = torch.float64,
    unknown: float = 0.0,
    per_pass: int = 1,
    apart: bool = False,
) -> Tensor:
    """Mutant minus reference, for every letter at every position.

    Parameters
    ----------
    function : callable
        One-hot (N, A, L) of `dtype` -> outputs (N, ...) flattened to T targets.
    codes : Tensor, integer, (L,)
        Letters; `UNKNOWN` for an unknown one.
    positions : sequence of int
        0-based, M of them.
    per_pass : int
        Positions whose mutants go through the model together.
    apart : bool
        The sequence itself goes through alone, instead of together with its mutants.

    Returns
    -------
    Tensor, float64, (T, A, M)
        0 at the letter that is there, NaN at all letters where it is unknown.
    """
    sequence = one_hot(codes, letters, dtype, unknown)
    columns = []
    for first in range(0, len(positions), per_pass):
        some = positions[first : first + per_pass]
        x = sequence.repeat(1 + len(some) * letters, 1, 1)
        for i, position in enumerate(some):
            for letter in range(letters):
                x[1 + i * letters + letter, :, position] = 0.0
                x[1 + i * letters + letter, letter, position] = 1.0
        with torch.no_grad():
            y = torch.cat([function(x[:1]), function(x[1:])]) if apart else function(x)
        y = y.reshape(len(x), -1)
        # Subtracted in the model's own precision, as the naive method does.
        delta = (y[1:] - y[:1]).double().reshape(len(some), letters, -1)
        for i, position in enumerate(some):
            here = int(codes[position])
            if here == UNKNOWN:
                delta[i] = math.nan
            else:
                delta[i, here] = 0.0
        columns.append(delta)
    return torch.cat(columns).permute(2, 1, 0)


def naive_error(
    function32: Function,
    oracle64: Tensor,
    codes: Tensor,
    positions: Sequence[int],
    *,
    letters: int = 4,
    unknown: float = 0.0,
) -> float:
    """Largest error of the naive method in float32, the yardstick of `assert_exact`.

    Kernels round differently by the size of the batch, so the worst of several counts: one position
    at a time, and batches with the sequence itself outside, as one would do it for speed. What the
    rounding of a sequence and of its mutants has in common cancels only inside one batch.
    """
    errors = []
    for per_pass, apart in ((1, False), (2, True), (32, True)):
        naive = saturation(
            function32,
            codes,
            positions,
            letters=letters,
            dtype=torch.float32,
            unknown=unknown,
            per_pass=per_pass,
            apart=apart,
        )
        errors.append(largest(naive - oracle64))
    return max(errors)


def assert_exact(
    delta: Tensor, oracle64: Tensor, naive32: float, floor: float = 1e-5, slack: float = 1.0
) -> None:
    """Refuse scores that are further from float64 than naive float32 is.

    Parameters
    ----------
    delta : Tensor, (T, A, M)
        Scores to judge.
    oracle64 : Tensor, float64, (T, A, M)
        From `saturation`.
    naive32 : float
        From `naive_error`.
    floor : float
        Share of the largest effect that is allowed in any case.
    slack : float
        Factor on `naive32`. Two naive methods that add in another order differ by some tenths from
        each other in their largest error, so 1 refuses by luck where rounding decides.

    Raises
    ------
    AssertionError
        Another shape, NaN elsewhere, or an error over the limit.
    """
    assert delta.shape == oracle64.shape, f"shape {tuple(delta.shape)}, not {tuple(oracle64.shape)}"
    assert math.isfinite(naive32), f"the yardstick is {naive32}"
    delta = delta.double()
    assert torch.equal(delta.isnan(), oracle64.isnan()), "NaN is not just where letters are unknown"
    limit = max(slack * naive32, floor * largest(oracle64))
    error = (delta - oracle64).abs().nan_to_num(nan=0.0, posinf=math.inf)
    if not error.numel() or float(error.max()) <= limit:
        return
    target, letter, column = (int(i) for i in torch.nonzero(error == error.max())[0])
    raise AssertionError(
        f"error {float(error.max()):.3g} over the limit {limit:.3g} (naive float32 {naive32:.3g}, "
        f"largest effect {largest(oracle64):.3g}) at target {target}, letter {letter}, "
        f"column {column}"
    )


def largest(values: Tensor) -> float:
    """Largest absolute value, NaN aside; 0 of nothing."""
    known = values[~values.isnan()]
    return float(known.abs().max()) if known.numel() else 0.0
