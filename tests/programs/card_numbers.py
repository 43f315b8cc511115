"""What windowed would ask of a card for the zoo at full size, counted on a pretended one.

    python -m tests.programs.card_numbers            print the table
    python -m tests.programs.card_numbers --renew    write it where the tests compare it

Nothing is computed but shapes: kernels, bytes, multiply-adds, uploads and waits are counted for a
batch after the first, the time follows from them by the model in `tests/support/card_costs.py`,
and memory is the most that is alive. Predicted, not measured; docs/gpu.md says what is left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from tests.support.card_runs import carried, computing_on_card, counts_of
from tests.support.pretended_card import CUDA
from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Settings
from yuzu_cli.bench import zoo
from yuzu_cli.engine.limits import working_memory
from yuzu_cli.model import load_model

GOLDEN = Path(__file__).parents[1] / "plan" / "card_numbers.tsv"
SEQUENCES = {"bpnet9": 4}
MANY = 16
HEAD = (
    "model\tlength\tsequences\tchunks\tkernels\tGB\tG multiply-adds\tuploads\tMB uploaded\twaits\t"
    "live share\tms a sequence"
)


def row(name: str, folder: Path, top: int = 0) -> str:
    """One line of the table for one model."""
    length = zoo.ZOO[name].length
    path = zoo.save(name, folder / f"{name}.pt")
    model = load_model(path, length=length, layout="NCL")
    count = SEQUENCES.get(name, MANY)
    with computing_on_card(values=False) as card:
        memory = working_memory(CUDA)
        settings = Settings(length, CUDA, memory=memory)
        runner = get_backend("windowed").prepare(carried(model), settings)
        codes, positions = torch.zeros(count, length, dtype=torch.uint8), np.arange(length)
        counts_of(runner, codes, positions, card)
        counts, chunks = counts_of(runner, codes, positions, card)
    if top:
        print(name, counts.summary(top), file=sys.stderr)
    p = counts.plain()
    cells = [name, length, count, chunks, p["kernels"], f"{p['bytes'] / 1e9:.3g}"]
    cells += [f"{p['multiply_adds'] / 1e9:.4g}", p["uploads"], f"{p['uploaded'] / 1e6:.3g}"]
    cells += [p["waits"], f"{card.peak / memory:.2f}", f"{p['milliseconds'] / count:.3g}"]
    return "\t".join(map(str, cells))


def rows(names: Iterable[str], top: int = 0) -> list[str]:
    """The lines of some models."""
    with tempfile.TemporaryDirectory() as folder:
        return [row(name, Path(folder), top) for name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.programs.card_numbers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--renew", action="store_true", help="write the numbers of the tests")
    parser.add_argument("--models", default=",".join(zoo.ZOO))
    parser.add_argument("--top", type=int, default=0, help="places that cost most, of each")
    options = parser.parse_args(arguments)
    lines = [HEAD, *rows(options.models.split(","), options.top)]
    text = "\n".join(lines) + "\n"
    if options.renew:
        GOLDEN.write_text(text)
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
