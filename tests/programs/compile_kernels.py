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

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tests.support.passages import Passage, passages

MODELS = (
    ("basset", 131), ("deepsea", 173), ("bpnet4", 121), ("aitac-residual", 251),
    ("factorized-basset", 131), ("bpnet9", 121),
)  # fmt: skip
"""Models of the zoo with their own channels, and lengths at which all pools leave something."""
SIXTEENS = ("tables", "mutants")
"""Arguments that are multiples of 16 for most runs, pointers aside."""


def variants(some: bool) -> Iterator[Passage]:
    """What is compiled: every program of another kind."""
    seen = set()
    for name, length in MODELS[:3] if some else MODELS:
        for passage in passages(name, length, batch=16, positions=32):
            key = (passage.options["program"], passage.out[-1], passage.taps)
            if key not in seen:
                yield passage
            seen.add(key)


def compiled(passage: Passage, capability: int) -> Any:
    """One kernel's code for a card of that capability."""
    writing = importlib.import_module("yuzu_cli.kernels.fused.writing")
    function, constants, options = writing.prepared(
        passage.out, [shape for shape, _ in passage.reads], passage.options["program"],
        [tuple(x.shape) for x in passage.options["constants"]], "tf32x3",
    )  # fmt: skip
    types = {}
    for name in function.arg_names:
        kind = "*fp32" if name == "out" or (name[0] in "rk" and name[1:].isdigit()) else "i32"
        if name[0] == "r" and name[1:].isdigit():
            wide = passage.reads[int(name[1:])][1] == torch.int64
            kind = "*i64" if wide else kind
        types[name] = "constexpr" if name in constants else "*i32" if name == "tables" else kind
    even = [i for i, n in enumerate(function.arg_names) if types[n][0] == "*" or n in SIXTEENS]
    marks = {(i,): [["tt.divisibility", 16]] for i in even}
    source = ASTSource(function, types, constexprs=constants, attrs=marks)
    target = GPUTarget("cuda", capability, 32)
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
    spilled = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRITON_CACHE_DIR"] = folder
        for passage in variants(options.some):
            registers, stack = taken(compiled(passage, options.capability))
            spilled += stack > 0
            what = f"{passage.name}, {passage.out[-1]} channels, taps {passage.taps}"
            print(f"{registers:4d} registers {stack:5d} stack  {what}", flush=True)
    return 1 if spilled else 0


if __name__ == "__main__":
    sys.exit(main())
