"""What must hold of every operator in a captured program, judged on one small model.

A change of one letter moves nothing outside the reach; what lies outside the need moves nothing of
the output; and the effects that windows give are those of whole passes.
"""

from __future__ import annotations

import contextlib
import math
import warnings

import numpy as np
import torch
from torch import Tensor

from tests.support import programs
from tests.support.families.base import Recipe, Small
from tests.support.programs import Captured, Span

SLACK = 1.5
"""As in `tests.support.conformance`."""


def prepared(recipe: Recipe) -> bool:
    """Whether the options of a recipe fit together, as torch says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(RuntimeError, ValueError, IndexError):
            made = Small(recipe)
            y = made(one_hot(codes_of(recipe, 3)))
            return bool(y.numel()) and bool(torch.isfinite(y).all())
    return False


def codes_of(recipe: Recipe, seed: int, rows: int = 2) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(4, (rows, recipe["length"]), generator=draw)


def one_hot(codes: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """(B, L) -> (B, 4, L)."""
    return torch.nn.functional.one_hot(codes, 4).transpose(1, 2).to(dtype).contiguous()


def mutants(codes: Tensor) -> Tensor:
    """Every letter at every position of each sequence: (B * 4 * L, 4, L), sequence by sequence."""
    length = codes.shape[1]
    x = one_hot(codes)[:, None, None].repeat(1, 4, length, 1, 1)
    at = torch.arange(length)
    x[:, :, at, :, at] = 0.0
    for letter in range(4):
        x[:, letter, at, letter, at] = 1.0
    return x.reshape(-1, 4, length)


def judge(recipe: Recipe, small: bool = False) -> Captured:
    """All three properties; `small`: few mutants at a time, and in float32.

    Raises
    ------
    AssertionError
        One of them does not hold; says of which node, with the program.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = Small(recipe)
        seen = programs.captured(module, recipe["length"])
        try:
            check_reach(seen, recipe)
            check_need(seen, recipe)
            check_windows(recipe, module, seen, 1 << 30)
            if small:
                single = Small(recipe, torch.float32)
                other = programs.captured(single, recipe["length"], torch.float32)
                check_windows(recipe, single, other, 1 << 10)
        except Exception as error:
            error.add_note(programs.described(seen)) if hasattr(error, "add_note") else None
            raise
    return seen


def changed(value: Tensor, reference: Tensor, span: Span) -> np.ndarray:
    """Which positions of a value (N, ...) differ from the reference's: bool (N, size)."""
    a = value.double().reshape(len(value), *span.shape[1:])
    b = reference.double().reshape(-1, *span.shape[1:])[:1]
    unlike = ~torch.isclose(a, b, rtol=1e-9, atol=1e-11, equal_nan=True)
    return unlike.movedim(span.axis, 1).reshape(len(a), a.shape[span.axis], -1).any(2).numpy()


def check_reach(seen: Captured, recipe: Recipe) -> None:
    """(a) What one letter changes lies within the reach, for every value, position and letter."""
    codes = codes_of(recipe, 5, 1)
    length = codes.shape[1]
    reference = programs.values(seen, one_hot(codes).repeat(2, 1, 1))  # of one, axes could vanish
    found = programs.values(seen, mutants(codes))
    edited = np.tile(np.arange(length), 4)
    for name, reach in seen.reach.items():
        if reach == "anything":
            continue
        where = f"{name} ({seen.operators[name]})"
        if isinstance(reach, Span):
            beyond = changed(found[name], reference[name], reach) & ~reach.may[edited]
            assert not beyond.any(), (
                f"{where}: an edit at {edited[beyond.any(1).argmax()]} changes what its reach lacks"
            )
        else:
            value = found[name]
            still = torch.allclose(value.double(), reference[name][:1].double(), equal_nan=True)
            assert still, f"{where}: an edit changes what is said to be untouched"


def check_need(seen: Captured, recipe: Recipe) -> None:
    """(b) What a value holds outside its need does not matter to the output."""
    x, other = (one_hot(codes_of(recipe, seed)) for seed in (6, 7))
    mine, theirs = programs.values(seen, x), programs.values(seen, other)
    for name, reach in seen.reach.items():
        if not isinstance(reach, Span) or reach.need.all():
            continue
        shape = mine[name].shape
        a, b = (v[name].reshape(len(x), *reach.shape[1:]) for v in (mine, theirs))
        view = [-1 if i == reach.axis else 1 for i in range(a.dim())]
        spoiled = b + 1 if b.is_floating_point() else b
        mixed = torch.where(torch.from_numpy(reach.need).view(view), a, spoiled)
        again = programs.values(seen, x, {name: mixed.reshape(shape)})
        same = torch.allclose(again["output"], mine["output"], rtol=1e-9, atol=1e-11)
        assert same, f"{name} ({seen.operators[name]}): the output reads more than its need"


@torch.no_grad()
def effects(module: Small, codes: Tensor, dtype: torch.dtype) -> Tensor:
    """Every mutant through the whole model in one precision: (B, T, 4, L), float64."""
    batch, length = codes.shape
    y = module(mutants(codes).to(dtype)).reshape(batch, 4, length, -1)
    reference = module(one_hot(codes, dtype)).reshape(batch, 1, 1, -1)
    return (y - reference).double().permute(0, 3, 1, 2)


def check_windows(recipe: Recipe, module: Small, seen: Captured, memory: int) -> None:
    """(c) The effects that windows give are those of whole passes in float64."""
    codes = codes_of(recipe, 8)
    exact = effects(Small(recipe), codes, torch.float64)
    naive = effects(module, codes, module.dtype)
    found = programs.windowed(seen, codes.to(torch.uint8), memory)
    largest = float(exact.abs().max())
    floor = 1e-5 if module.dtype == torch.float32 else 1e-6
    outputs = float(module(one_hot(codes, module.dtype)).abs().max())
    limit = max(SLACK * float((naive - exact).abs().max()), floor * largest)
    limit += torch.finfo(module.dtype).eps * 4 * outputs
    error = (found - exact).abs().nan_to_num(nan=math.inf)
    assert float(error.max()) <= limit, (
        f"windows are off by {float(error.max()):.3g} of {largest:.3g}, limit {limit:.3g}"
    )
