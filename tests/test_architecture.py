"""Imports go one way, and heavy or private names stay in their rooms; see docs/architecture.md."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "yuzu_cli"

#: Room -> rank. A room imports rooms of lower rank, and itself. What every backend offers stands
#: below all that use it, the backends themselves above.
RANKS = {
    "errors": 1,
    "alphabet": 2,
    "files": 2,
    "heap": 2,
    "yaml12": 2,
    "selection": 2,
    "config_text": 3,
    "config_keys": 4,
    "config": 5,
    "config_pages": 6,
    "inputs": 5,
    "results": 6,
    "runs": 7,
    "backends/base": 4,
    "model": 7,
    "scores": 7,
    "ready": 8,
    "graph": 8,
    "operators": 9,
    "plan": 10,
    "kernels": 11,
    "backends": 12,
    "engine": 13,
    "api": 14,
    "variants": 15,
    "bench": 15,
    "__init__": 16,
    "cli": 17,
    "__main__": 18,
}

#: The rooms that a program without the command line needs: torch and numpy are enough for them.
LIGHT = {"torch", "numpy", "yuzu_cli"}

#: Kernels of a compiler that comes with torch's builds for GPUs; their modules are imported on use.
COMPILED = ("kernels/fused/writing.py", "kernels/fused/functions.py")
CORE = {
    "backends/base",
    "alphabet",
    "model",
    "scores",
    "graph",
    "operators",
    "plan",
    "kernels",
    "backends",
    "engine",
}

#: Library -> the only files (or folders) that may import it, at any level.
OWNERS = {
    "click": ("cli/",),
    "tqdm": ("cli/", "api.py"),
    "h5py": ("results/", "runs/", "plan/store.py"),
    "pydantic": ("config.py", "config_keys.py"),
    "pydantic_core": ("config_keys.py", "config_text.py"),
    "triton": ("kernels/fused/",),
    "pyfaidx": ("inputs/",),
    "pybedtools": ("inputs/",),
}

#: Rooms that work without torch, at any level.
TORCHLESS = {
    "ready",
    "yaml12",
    "selection",
    "config_keys",
    "config_pages",
    "errors",
    "config",
    "config_text",
    "alphabet",
    "files",
    "inputs",
    "results",
    "runs",
    "cli",
}


def imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """(dotted name, whether at module level) of every import but those for type checkers."""

    def walk(node: ast.AST, top: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, "relative import"
                yield child.module or "", top
                yield from ((f"{child.module}.{alias.name}", top) for alias in child.names)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, top and not inside)

    yield from walk(tree, True)


def private_torch(tree: ast.AST) -> Iterator[str]:
    """Every use of an underscored name below torch."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            hidden = any(p.startswith("_") and not p.startswith("__") for p in parts[1:])
            if parts[0] == "torch" and hidden:
                yield name


def room_of(name: str) -> str:
    """`errors` of `errors.py`, `inputs` of `inputs/fasta.py`."""
    path = name.removesuffix(".py")
    pair = "/".join(path.split("/")[:2])
    return pair if pair in RANKS else path.split("/")[0]


def violations(name: str, source: str) -> list[str]:
    """What is wrong with one file, given by its path in the package."""
    tree, room, found = ast.parse(source), room_of(name), []
    if room not in RANKS:
        return [f"{name}: no rank for the room {room}"]
    for dotted, top in imports(tree):
        first, *rest = dotted.split(".")
        other = room_of("/".join(rest))
        if first == "yuzu_cli" and RANKS.get(other, 0) >= RANKS[room] and other != room:
            found.append(f"{name}: {room} imports {other}")
        if first in OWNERS and not any(name.startswith(owner) for owner in OWNERS[first]):
            found.append(f"{name}: imports {first}")
        if first == "torch" and room in TORCHLESS:
            found.append(f"{name}: imports torch")
        light = LIGHT | ({"triton"} if name in COMPILED else set())
        if room in CORE and top and first not in {*light, *sys.stdlib_module_names}:
            found.append(f"{name}: the core imports {first} at module level")
    if name != "graph/capture.py":
        found += [f"{name}: uses {hidden}" for hidden in private_torch(tree)]
    return sorted(set(found))


FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("name", FILES)
def test_imports_go_one_way(name: str) -> None:
    assert violations(name, (PACKAGE / name).read_text()) == []


BROKEN = {
    "upwards": ("errors.py", "from yuzu_cli.config import RunConfig", "errors imports config"),
    "package of a higher room": (
        "plan/cost.py",
        "from yuzu_cli import engine",
        "plan imports engine",
    ),
    "in a function": (
        "inputs/fasta.py",
        "def f():\n    import yuzu_cli.backends.naive",
        "inputs imports backends",
    ),
    "same rank": ("bench/timing.py", "import yuzu_cli.variants.vcf", "bench imports variants"),
    "inputs from results": (
        "inputs/fasta.py",
        "import yuzu_cli.results.reader",
        "inputs imports results",
    ),
    "writing from reading": (
        "results/reader.py",
        "from yuzu_cli.runs.writer import OutputRun",
        "results imports runs",
    ),
    "click outside the command line": ("engine.py", "def f():\n    import click", "imports click"),
    "h5py in the core": ("plan/cost.py", "import h5py", "imports h5py"),
    "triton in the core": (
        "kernels/fused/__init__.py",
        "import triton",
        "the core imports triton",
    ),
    "triton elsewhere": ("plan/cost.py", "def f():\n    import triton", "imports triton"),
    "torch in the results": ("results/reader.py", "def f():\n    import torch", "imports torch"),
    "heavy core": ("engine.py", "import scipy.stats", "the core imports scipy"),
    "private torch, imported": ("plan/cost.py", "from torch._inductor import x", "uses torch._ind"),
    "private torch, used": ("plan/cost.py", "import torch\ntorch.fx._lazy.f()", "torch.fx._lazy"),
    "unknown room": ("helpers.py", "", "no rank for the room helpers"),
}


@pytest.mark.parametrize(("name", "source", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_the_check_can_fail(name: str, source: str, message: str) -> None:
    assert any(message in line for line in violations(name, source))


FINE = {
    "for type checkers": (
        "inputs/fasta.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import yuzu_cli.engine",
    ),
    "downwards": ("engine.py", "import torch\nfrom yuzu_cli.plan.plan import Plan"),
    "private torch where it belongs": ("graph/capture.py", "import torch\ntorch._C.f()"),
    "special names": ("model/load.py", "import torch\ntorch.__version__"),
}


@pytest.mark.parametrize(("name", "source"), FINE.values(), ids=FINE.keys())
def test_the_check_lets_pass(name: str, source: str) -> None:
    assert violations(name, source) == []
