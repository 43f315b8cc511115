"""Programs of `yuzu_cli.kernels.between` written as Triton kernels.

A kernel is text made from the statements, one line each; every element is read and written once.
Without products a block is some rows and a stretch of their elements. With the taps of a
convolution it is some mutants' rows, whatever their positions, and output channels: what each tap
reads is gathered straight into the products.
"""

from __future__ import annotations

import contextlib
import linecache
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from yuzu_cli.kernels.fused.functions import apply, larger, smaller
from yuzu_cli.plan.statements import TABLES, Program, Statement

WARPS = 8
"""Of a program with products; with half as many, these spill registers on an A100."""
ELEMENTS = 1024
"""Of a block without products."""
BINARY = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
LARGEST = {"maximum", "minimum"}
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Given:
    """What a kernel is written for, besides its program.

    Attributes
    ----------
    channels : int
        Of the result.
    sizes, alphabet : tuple of int
        Of what is read: channels, and pairs of letters.
    constants : int
        How many.
    taps : tuple of int, optional
        (kernel, I, O).
    exact : str
        How products are made.
    """

    channels: int
    sizes: Shape
    alphabet: Shape
    constants: int
    taps: Shape | None
    exact: str


_number = count()


def compute(
    out: Tensor, *reads: Tensor, program: Program, tables: Tensor, constants: list[Tensor],
    multiplied: int = 0,
) -> None:  # fmt: skip
    """See `yuzu_cli.kernels.between.compute`."""
    width, positions, letters, batch, channels = out.shape
    rows, mutants = width * positions, letters * batch
    shapes = [tuple(x.shape) for x in reads]
    kernel, blocks, options = prepared(
        tuple(out.shape), shapes, program, [tuple(x.shape) for x in constants], exactly(out.device)
    )
    taps = next((s[2] for s in program if s[0] == "taps"), None)
    lines, columns = (rows, mutants * channels) if taps is None else (rows * mutants, channels)
    grid = (triton.cdiv(lines, blocks["block_r"]), triton.cdiv(columns, blocks["block_i"]))
    held = 0 if taps is None else shapes[taps[0]][0]
    with torch.cuda.device(out.device) if out.is_cuda else contextlib.nullcontext():
        kernel[grid](
            out, *reads, *constants, tables, rows, positions, mutants, batch, held, **blocks,
            **options,
        )  # fmt: skip


def prepared(
    out: Shape, reads: Sequence[Shape], program: Program, constants: Sequence[Shape], exact: str
) -> tuple[Any, dict[str, int], dict[str, Any]]:
    """The kernel for tensors of these shapes, the sizes of its blocks, and how it is compiled.

    `exact` says how products are made: see `exactly`.
    """
    given = Given(
        channels=out[-1],
        sizes=tuple(x[-1] if len(x) > 1 else 0 for x in reads),
        alphabet=tuple(x[2] if len(x) == 5 else 0 for x in reads),
        constants=len(constants),
        taps=next((constants[s[2][2]] for s in program if s[0] == "taps"), None),
        exact=exact,
    )
    kernel, options = written(program, given), {"enable_fp_fusion": False}
    if given.taps is None:
        return kernel, elementwise(math.prod(out[2:])), options
    return kernel, products(*given.taps[1:]), options | {"num_warps": WARPS}


@cache
def exactly(device: torch.device) -> str:
    """How float32 is multiplied: by three products of tf32, which round no worse, where there are
    units for these.
    """
    able = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return "tf32x3" if able else "ieee"


def elementwise(inner: int) -> dict[str, int]:
    """Rows, and elements of each, of a block without products."""
    block_i = min(triton.next_power_of_2(inner), ELEMENTS)
    return {"block_r": ELEMENTS // block_i, "block_i": block_i}


def products(inputs: int, outputs: int) -> dict[str, int]:
    """Rows of mutants, output channels, and input channels of a step of the loop."""
    block_i = min(64, max(16, triton.next_power_of_2(outputs)))
    return {"block_r": 64, "block_i": block_i, "block_c": 32 if inputs % 32 == 0 else 16}


@cache
def written(program: Program, given: Given) -> Any:
    """The kernel of a program."""
    name = f"between_{next(_number)}"
    text = source(name, program, given)
    file = f"<yuzu {name}>"
    # Triton asks for the text of what it compiles.
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    space: dict[str, Any] = {"tl": tl, "apply": apply, "smaller": smaller, "larger": larger}
    space |= {"__name__": __name__}
    exec(compile(text, file, "exec"), space)
    return triton.jit(space[name])


def source(name: str, program: Program, given: Given) -> str:
    """The text of a kernel."""
    channels, taps = given.channels, given.taps
    reads = [f"r{i}" for i in range(len(given.sizes))] + [f"k{i}" for i in range(given.constants)]
    more = ", block_c: tl.constexpr" if taps else ""
    lines = [
        f"def {name}(out, {', '.join(reads)}, tables, rows, positions, mutants, batch, held, "
        f"block_r: tl.constexpr, block_i: tl.constexpr{more}):",
        "block = tl.program_id(0).to(tl.int64) * block_r + tl.arange(0, block_r)[:, None]",
        "i = tl.program_id(1) * block_i + tl.arange(0, block_i)[None, :]",
    ]
    if taps:
        lines += ["r = block // mutants", "m = block % mutants", "c = i"]
        lines += [f"good = (r < rows) & (i < {channels})"]
    else:
        lines += ["r = block", f"m = i // {channels}", f"c = i % {channels}"]
        lines += [f"good = (r < rows) & (i < mutants * {channels})"]
    lines += ["b = m % batch"]
    used = sorted({s[2][TABLES[s[0]]] for s in program if s[0] in TABLES})
    lines += [f"t{t} = tl.load(tables + {t} * rows + r, mask=r < rows, other=-1)"
              for t in used]  # fmt: skip
    for i, statement in enumerate(program):
        lines += line(i, statement, given)
    lines += [f"into = out + (r * mutants + m) * {channels} + c"]
    lines += [f"tl.store(into, v{len(program) - 1}, mask=good)"]
    return "\n    ".join(lines) + "\n"


def line(i: int, statement: Statement, given: Given) -> list[str]:
    """A statement in Triton: its value is ``v{i}``."""
    name, operands, numbers = statement
    values = [f"v{o}" for o in operands]
    if name == "number":
        return [f'v{i} = float("{numbers[0]}")']
    if name == "where":
        return [f"v{i} = tl.where(t{numbers[0]} >= 0, {values[0]}, {values[1]})"]
    if name == "constant":
        return [f"v{i} = tl.load(k{numbers[0]} + c, mask=good, other=0.0)"]
    if name in BINARY:
        return [f"v{i} = {values[0]} {BINARY[name]} {values[1]}"]
    if name in LARGEST:
        return [f"v{i} = tl.{name}({', '.join(values)}, propagate_nan=tl.PropagateNan.ALL)"]
    if name == "taps":
        return multiplied(i, numbers, given)
    if values:
        return [f'v{i} = apply({values[0]}, "{name}")']
    read, *_, table = numbers
    size = given.sizes[read]
    if name == "rows":
        place = f"(t{table}.to(tl.int64) * mutants + m) * {size}"
    elif name == "reference":
        place = f"(t{table}.to(tl.int64) * batch + b) * {size}"
    else:
        pair = f"r{numbers[1]} + t{table} % positions * mutants + m"
        held = f"tl.load({pair}, mask=good & (t{table} >= 0), other=0)"
        place = f"(t{table} // positions * {given.alphabet[read]} + {held}) * {size}"
    where = f"mask=good & (t{table} >= 0), other=0.0"
    return [f"v{i} = tl.load(r{read} + {place} + c, {where})"]


def multiplied(i: int, numbers: tuple[Any, ...], given: Given) -> list[str]:
    """The taps of a convolution as one loop; unrolled, it would spill registers.

    C division rounds to zero: where that matters, the tap is cut to what there is.
    """
    read, table, which, stride, shift, gap = numbers
    assert given.taps is not None
    kernel, inputs, outputs = given.taps
    return [
        f"v{i} = tl.full((block_r, block_i), 0.0, tl.float32)",
        f"chunks: tl.constexpr = ({inputs} + block_c - 1) // block_c",
        f"p = t{table} % positions",
        f"first = t{table} // positions * {stride} - {shift}",
        f"some = t{table} >= 0",
        # Taps that meet no row of any mutant of the block are left out.
        f"low = tl.reduce(tl.where(some, (-first + {gap - 1}) // {gap}, {kernel}), None, smaller)",
        f"high = tl.reduce(tl.where(some, (held - first + {gap - 1}) // {gap}, 0), None, larger)",
        f"low, high = tl.maximum(low, 0), tl.minimum(high, {kernel})",
        "for step in tl.range(low * chunks, high * chunks, num_stages=3):",
        f"    here = first + step // chunks * {gap}",
        "    there = some & (here >= 0) & (here < held)",
        f"    place = ((here * positions + p).to(tl.int64) * mutants + m) * {inputs}",
        "    c_in = (step % chunks * block_c + tl.arange(0, block_c)).to(tl.int32)",
        f"    x = tl.load(r{read} + place + c_in[None, :], "
        f"mask=there & (c_in < {inputs})[None, :], other=0.0)",
        f"    y = tl.load(k{which} + (step // chunks * {inputs} + c_in[:, None]) * {outputs} + i, "
        f"mask=(c_in < {inputs})[:, None] & (i < {outputs}), other=0.0)",
        f'    v{i} = tl.dot(x, y, v{i}, input_precision="{given.exact}")',
    ]
