"""What windows save on every model of the zoo, counted: the golden numbers of `test_speed`.

python -m tests.programs.speed        write them anew
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TypedDict

import torch

from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.windowed import understand
from yuzu_cli.bench.papers import zoo
from yuzu_cli.engine.choose import choose
from yuzu_cli.model import load_model

GOLDEN = Path(__file__).parents[1] / "backends" / "speed.json"
RENEW = "python -m tests.programs.speed"


class Counted(TypedDict):
    """Multiply-adds for one mutant, and what `auto` takes."""

    backend: str
    multiply_adds: float
    naive_multiply_adds: float


def counted(name: str, folder: Path) -> Counted:
    """One model at its paper's size, random weights."""
    length = zoo.ZOO[name].length
    path = zoo.save(name, folder / f"{name}.pt", length=length)
    model = load_model(path, length=length, alphabet_size=4)
    settings = Settings(length, torch.device("cpu"))
    plan = understand(model, settings).plan
    backend = choose("auto", [model], settings, length).name
    return {
        "backend": backend,
        "multiply_adds": round(plan.macs),
        "naive_multiply_adds": round(plan.naive_macs),
    }


def golden() -> dict[str, Counted]:
    """What was counted last, by model."""
    return json.loads(GOLDEN.read_text())


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {name: counted(name, Path(folder)) for name in zoo.ZOO}
    GOLDEN.write_text(json.dumps(found, indent=2) + "\n")
    print(GOLDEN.read_text())


if __name__ == "__main__":
    main()
