"""The fused kernels compiled for cards that need not be there: what they take of a processor.

    python -m tests.programs.compile_kernels [--capability 90]

Registers a thread, and bytes of stack, where what fits into no register would be spilled.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from yuzu_cli.kernels.between import ACTIVATIONS

POINTERS = {
    **dict.fromkeys(("out", "rows", "reference", "scale", "taps"), "*fp32"),
    **dict.fromkeys(("start", "out_start", "pairs"), "*i64"),
}
SIXTEENS = ("inner", "channels", "total")
"""Numbers that are multiples of 16 for most models."""


def variants() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Module, kernel and constants of what is compiled."""
    pool = {"scaled": False, "paired": False, "block_k": 4, "block_i": 256}
    for name in ACTIVATIONS:
        yield "pooling", "_pool", {**pool, "kernel": 1, "unrolled": True, "name": name}
    more = {**pool, "scaled": True, "paired": True, "name": "relu"}
    yield "pooling", "_pool", {**more, "kernel": 4, "unrolled": True}
    yield "pooling", "_pool", {**more, "kernel": 12, "unrolled": False}
    dilation = importlib.import_module("yuzu_cli.kernels.fused.dilation")
    for channels in (48, 64, 256):
        blocks = dilation.blocks(channels)
        own = {"channels": channels, "kernel": 3, "name": "relu", "residual": True, **blocks}
        for products in ("ieee", "tf32x3", "tf32"):
            yield "dilation", "_dilated", {**own, "precision": products}


def compiled(module: str, kernel: str, constants: dict[str, Any], capability: int) -> Any:
    """One kernel's code for a card of that capability."""
    function = getattr(importlib.import_module(f"yuzu_cli.kernels.fused.{module}"), kernel)
    names = function.arg_names
    types = {n: "constexpr" if n in constants else POINTERS.get(n, "i32") for n in names}
    even = [i for i, n in enumerate(names) if types[n][0] == "*" or n in SIXTEENS]
    marks = {(i,): [["tt.divisibility", 16]] for i in even if types[names[i]] != "constexpr"}
    source = ASTSource(function, types, constexprs=constants, attrs=marks)
    target = GPUTarget("cuda", capability, 32)
    warps = importlib.import_module("yuzu_cli.kernels.fused.dilation").WARPS
    options = {"enable_fp_fusion": False, "num_warps": 4 if kernel == "_pool" else warps}
    return triton.compile(source, target=target, options=options)


def taken(code: Any) -> tuple[int, int]:
    """Registers a thread and bytes of stack."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code.asm["cubin"])
        file.flush()
        asked = [str(tool), "--dump-resource-usage", file.name]
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"REG:(\d+) STACK:(\d+)", said)
    return max(int(r) for r, _ in found), max(int(s) for _, s in found)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.programs.compile_kernels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--capability", type=int, default=90, help="90: H100; 80: A100")
    parser.add_argument("--some", action="store_true", help="a few of them")
    options = parser.parse_args(arguments)
    chosen = list(variants())[:: 4 if options.some else 1]
    spilled = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRITON_CACHE_DIR"] = folder
        for module, kernel, constants in chosen:
            code = compiled(module, kernel, constants, options.capability)
            registers, stack = taken(code)
            spilled += stack > 0
            what = {k: v for k, v in constants.items() if not k.startswith("block")}
            print(f"{registers:4d} registers {stack:5d} stack  {kernel} {what}", flush=True)
    return 1 if spilled else 0


if __name__ == "__main__":
    sys.exit(main())
