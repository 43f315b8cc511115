"""What windowed would ask of a card for the zoo at full size, counted on a pretended one.

    python -m tests.programs.card_numbers            print the table
    python -m tests.programs.card_numbers --renew    write it for the tests, and into docs/gpu.md
    python -m tests.programs.card_numbers --graphs   what CUDA graphs would gain

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

from tests.support.card_costs import Counts
from tests.support.card_runs import captured, carried, computing_on_card, counts_of
from tests.support.pretended_card import CUDA, Card
from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Settings
from yuzu_cli.bench.papers import zoo
from yuzu_cli.engine.limits import batch_size, working_memory
from yuzu_cli.engine.members import Member, Views
from yuzu_cli.engine.net import Net
from yuzu_cli.engine.scoring import Scorer
from yuzu_cli.model import Model, load_model

GOLDEN = Path(__file__).parents[1] / "plan" / "card_numbers.tsv"
PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"
MARK = "<!-- python -m tests.programs.card_numbers --renew -->"
SEQUENCES = {"bpnet9": 4}
MANY = 16
HEAD = (
    "model\tlength\tsequences\tchunks\tkernels\tGB\tG multiply-adds\tuploads\tMB uploaded\twaits\t"
    "live share\tms a sequence\tnaive ms"
)
ROWS = 1024
"""Mutants in a pass of naive."""


def row(name: str, folder: Path, top: int = 0) -> str:
    """One line of the table for one model."""
    length = zoo.ZOO[name].length
    path = zoo.save(name, folder / f"{name}.pt")
    model = load_model(path, length=length, layout="NCL")
    count = SEQUENCES.get(name, MANY)
    with computing_on_card(values=False) as card:
        memory = working_memory(CUDA)
        settings = Settings(length, CUDA, memory=memory)
        there = carried(model)
        runner = get_backend("windowed").prepare(there, settings)
        codes, positions = torch.zeros(count, length, dtype=torch.uint8), np.arange(length)
        counts_of(runner, codes, positions, card)
        counts, chunks = counts_of(runner, codes, positions, card)
        peak = card.peak
        naive = naive_milliseconds(there, card)
    if top:
        print(name, counts.summary(top), file=sys.stderr)
    p = counts.plain()
    cells = [name, length, count, chunks, p["kernels"], f"{p['bytes'] / 1e9:.3g}"]
    cells += [f"{p['multiply_adds'] / 1e9:.4g}", p["uploads"], f"{p['uploaded'] / 1e6:.3g}"]
    cells += [p["waits"], f"{peak / memory:.2f}", f"{p['milliseconds'] / count:.3g}"]
    cells.append(f"{naive:.3g}")
    return "\t".join(map(str, cells))


# --- CUDA graphs --------------------------------------------------------------------------------

FEW = 10
"""Positions where few are mutated."""
HOST = 8e-6
"""Seconds that Python takes to start a kernel."""
REPLAYED = 1.5e-6
"""Seconds to start a kernel of a graph that is replayed, where `card_costs.START` is of any."""


def graph_row(name: str, folder: Path, few: int) -> str:
    """What replaying tapes as CUDA graphs would gain, in a batch as a run makes it.

    At all positions and at `few`, for every effect. The host and the card work side by side: a
    batch takes as long as the slower one. What is no kernel of a tape is started by Python still.
    """
    length = zoo.ZOO[name].length
    path = zoo.save(name, folder / f"{name}.pt")
    model = load_model(path, length=length, layout="NCL")
    cells: list[object] = [name]
    for count in (length, few):
        first = (length - count) // 2
        with computing_on_card(values=False) as card:
            settings = Settings(length, CUDA, memory=working_memory(CUDA))
            there = carried(model)
            runner = get_backend("windowed").prepare(there, settings)
            size = batch_size(  # by memory: none of these is kept short by time
                asked="auto", host_bytes=16 * count * model.n_targets, device=CUDA, shards=1,
                work=1.0, n_records=1 << 30,
            )  # fmt: skip
            views, at = Views(length, 0, 4, None), np.arange(first, first + count)
            scorer = Scorer(
                [Member(Net("windowed", runner, there, settings))], views, at, model.n_targets,
                ["delta"], CUDA, at_once=getattr(runner, "sequences", size),
            )  # fmt: skip
            codes = np.zeros((size, length), np.uint8)
            scorer.score(codes)
            counts = card.fresh()
            scorer.score(codes)
        cells += [size, counts.kernels.total(), *graph_times(counts)]
    return "\t".join(map(str, cells))


def graph_times(counts: Counts) -> tuple[str, str, str]:
    """Milliseconds of a batch now and with graphs, and what share of the time these save."""
    taped = {key for key in counts.kernels if key.split("  ")[1].startswith("kernels/")}
    replayed = sum(counts.kernels[key] for key in taped)
    saved = counts.saved(REPLAYED, taped)
    card = sum(counts.seconds.values())
    now = max(card, HOST * counts.kernels.total())
    then = max(card - saved, HOST * (counts.kernels.total() - replayed + 1))
    return f"{now * 1e3:.3g}", f"{then * 1e3:.3g}", f"{1 - then / now:.1%}"


def naive_milliseconds(model: Model, card: Card) -> float:
    """Predicted for all mutants of a sequence, through the model's graph as captured."""
    options = {"letters": 4, "length": model.length, "dtype": torch.float32}
    program = captured(model, device=CUDA, **options)
    counts = card.fresh()
    with torch.no_grad():
        program.module(torch.zeros((ROWS, 4, model.length), device=CUDA))
    return counts.milliseconds * 3 * model.length / ROWS


def document(lines: Sequence[str]) -> None:
    """Put the numbers into the docs page."""
    text = PAGE.read_text()
    head, _, rest = text.partition(MARK)
    _, _, tail = rest.partition(MARK)
    made = ["| model | length | naive | windowed | at once | kernels | GB | uploads |"]
    made.append("|---|---|---|---|---|---|---|---|")
    for line in lines[1:]:
        cell = dict(zip(HEAD.split("\t"), line.split("\t"), strict=True))
        share = float(cell["GB"]) / int(cell["sequences"])
        made.append(
            f"| {cell['model']} | {cell['length']} | {cell['naive ms']} ms "
            f"| {cell['ms a sequence']} ms | {cell['sequences']} | {cell['kernels']} "
            f"| {share:.3g} | {cell['uploads']} |"
        )
    PAGE.write_text(head + MARK + "\n" + "\n".join(made) + "\n" + MARK + tail)


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
    parser.add_argument("--graphs", action="store_true", help="what CUDA graphs would gain")
    options = parser.parse_args(arguments)
    if options.graphs:
        each = "sequences\tkernels\tms\tms by graphs\tsaved"
        print(f"model\t{each}\tat {FEW} positions: {each}")
        with tempfile.TemporaryDirectory() as folder:
            for name in options.models.split(","):
                print(graph_row(name, Path(folder), FEW), flush=True)
        return 0
    lines = [HEAD, *rows(options.models.split(","), options.top)]
    text = "\n".join(lines) + "\n"
    if options.renew:
        GOLDEN.write_text(text)
        document(lines)
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
