"""Runs of a tape's instructions between two products put together into one each, for a GPU.

Where every row of a result follows from a few rows of what is read, nothing between needs a place
in memory. An instruction is computed where its one reader is, as a program of
`yuzu_cli.kernels.between`; what several read, or something else does, is kept. Narrow convolutions,
which would wait for memory, are computed in the same kernel as what follows them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

from yuzu_cli.operators.items import Instruction, Register, Shape
from yuzu_cli.plan.programs import NAMES, Points

MOST_TAPS = 16
"""Rows of pools, one within the other, that are worked out for each row of a result."""
NARROW = 34
"""A product of i by o channels waits for memory below this many i * o / (i + 2 * o)."""
PRODUCTS = {"taps", "strided taps"}
"""Narrow convolutions: one of a program at most, one row of it for each that the program makes."""
POOLS = ("max pool", "average pool", "softmax pool")
LOADS = {"rows", "expand"}
"""What only says where something is read: worked out again wherever it is wanted."""


def fuse(
    registers: list[Register], instructions: list[Instruction], output: int, shape: Shape
) -> list[Instruction]:
    """The instructions with all that lies between two products as one.

    Parameters
    ----------
    output : int
        The register that is wanted.
    shape : tuple of int
        P, K and B of the chunk's mutants.
    """
    writer = {step.write: step for step in instructions}
    roots, inside = groups(registers, instructions, output, shape)
    made: list[Instruction] = []
    for step in instructions:
        if step.write not in roots:
            if step.write not in inside:
                made.append(step)
            continue
        own = {w for w, found in inside.items() if step.write in found} - roots
        if not own and step.kernel not in PRODUCTS and not _many_moves(step):
            made.append(step)
            continue
        made.append(Points(registers, writer, own | {step.write}, shape[0]).program(step))
    return _still_read(made, output)


def _many_moves(step: Instruction) -> bool:
    return len(step.args.get("moves", ())) > 1


def _still_read(instructions: list[Instruction], output: int) -> list[Instruction]:
    """Without what nobody reads any more."""
    wanted, kept = {output}, []
    for step in reversed(instructions):
        if step.write in wanted:
            kept.append(step)
            wanted.update(step.reads)
    return kept[::-1]


def groups(
    registers: list[Register], instructions: list[Instruction], output: int, shape: Shape
) -> tuple[set[int], dict[int, set[int]]]:
    """Instructions (by what they write) that end a program; of the others in them, in whose."""
    readers: dict[int, list[Instruction]] = defaultdict(list)
    roots: set[int] = set()
    inside: dict[int, set[int]] = {}
    taps: dict[int, int] = {}  # rows worked out for each row of the root
    multiplied: set[int] = set()
    for step in reversed(instructions):
        at, mine = step.write, readers[step.write]
        for read in step.reads:
            readers[read].append(step)
        if not fits(step, registers, shape):
            continue
        homes = set().union(*(_homes(r, roots, inside) for r in mine))
        count = max((taps.get(r.write, 1) * _taps_of(r) for r in mine), default=1)
        joins = bool(mine) and at != output and None not in homes and count <= MOST_TAPS
        if step.kernel in PRODUCTS:
            joins = joins and len(homes) == count == 1 and len(mine) == 1 and not homes & multiplied
            multiplied |= homes if joins else {at}
        elif step.kernel not in LOADS:
            joins = joins and len(homes) == 1
        if joins:
            inside[at], taps[at] = homes, count
        else:
            roots.add(at)
    return roots, inside


def _homes(step: Instruction, roots: set[int], inside: dict[int, set[int]]) -> set[Any]:
    """The programs that an instruction is part of; None for what it reads and must be there."""
    if step.kernel in PRODUCTS:
        return {None}
    return {step.write} & roots or inside.get(step.write) or {None}


def _taps_of(step: Instruction) -> int:
    """How many rows of what it reads an instruction takes for each of its own."""
    return int(step.args["size" if step.kernel == "softmax pool" else "kernel_size"]
               if step.kernel in POOLS else 1)  # fmt: skip


# --- what can be worked out row by row ----------------------------------------------------------


def fits(step: Instruction, registers: list[Register], shape: Shape) -> bool:
    """Whether an instruction can be part of a program."""
    check = _FITS.get(step.kernel)
    if check is None:
        return False
    of = [registers[r] for r in (step.write, *step.reads)]
    if any(r.dtype != torch.float32 or r.shape is None for r in of if r.dtype != torch.int64):
        return False
    if step.kernel == "rows":
        return True
    moving = of[:1] if step.kernel == "expand" else of[:2]
    held = [r.shape for r in moving if r.source is None or r.source[0] != "constant"]
    return all(s is not None and s[1:4] == shape for s in held) and check(step, registers)


def _always(step: Instruction, registers: list[Register]) -> bool:
    return True


def _pool_fits(step: Instruction, registers: list[Register]) -> bool:
    number = isinstance(step.args.get("divisor", 1.0), (int, float))
    return number and _taps_of(step) <= MOST_TAPS


def _taps_fit(step: Instruction, registers: list[Register]) -> bool:
    taps = step.args["taps"]
    if taps.dim() != 3:
        return False
    i, o = taps.shape[1:]
    return bool(i * o < NARROW * (i + 2 * o))


def _pointwise_fits(step: Instruction, registers: list[Register]) -> bool:
    function, tails = step.args["function"], step.args["tails"]
    if NAMES.get(function.target) is None or function.kwargs or function.slots is None:
        return False
    if [i for i, _ in function.slots] != list(range(len(function.args))):
        return False
    sources = [registers[r].source for r in step.reads]
    if any(s is not None and s[0] != "constant" for s in sources):
        return False
    moving = [i for i, s in enumerate(sources) if s is None]
    between = registers[step.write].extent[1:4]
    if any(registers[step.reads[i]].extent[1:4] != between for i in moving):
        return False
    return tails is None or all(tuple(tails[i]) == tuple(step.args["rest"]) for i in moving)


def _constants_fit(step: Instruction, registers: list[Register]) -> bool:
    sources = [registers[r].source for r in step.reads[1:]]
    return all(s is not None and s[0] == "constant" for s in sources)


def _moves_fit(step: Instruction, registers: list[Register]) -> bool:
    return step.args.get("rest") == step.args.get("tail")


_FITS: dict[str, Callable[[Instruction, list[Register]], bool]] = {
    **dict.fromkeys(("mask", "gather", "flank", "rows", "expand", "add", "subtract"), _always),
    **dict.fromkeys(("scale", "add bias", "repeat", "lay"), _always),
    **dict.fromkeys(("lay on reference", "lay beside reference"), _always),
    **dict.fromkeys(("multiply", "affine"), _constants_fit),
    **dict.fromkeys(POOLS, _pool_fits),
    **dict.fromkeys(("taps", "strided taps"), _taps_fit),
    "accumulate": _moves_fit,
    "pointwise": _pointwise_fits,
}
