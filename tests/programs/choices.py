"""What `auto` takes beside naive: published families at sizes that people run, and the zoo.

``python -m tests.programs.choices [NAME...]``

A line for each model: how many times less than naive windows were predicted to take, and were
measured to; what `auto` takes by prediction alone (as shards do) and by its own timing, and how
many times naive that is. Processor times of one thread; the two take turns, and the median counts.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from tests.support import convolutional, sequential, spliced, stranded
from tests.support.convolutional import Malinois
from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Settings
from yuzu_cli.backends.naive import NaiveRunner, mutant_index
from yuzu_cli.bench.papers import zoo
from yuzu_cli.engine.choose import choose
from yuzu_cli.engine.timing import compared
from yuzu_cli.model import Model, load_model

LEAST = 0.95
"""Of naive's speed, what `auto` may not fall below."""
TURNS, SECONDS = 3, 1.0
"""How often the two are timed, and naive for how long at least."""


class Family(NamedTuple):
    """A published kind of model: its net by length, the length, and the axes it wants."""

    net: Callable[[int], nn.Module]
    length: int
    layout: str = "NCL"


FAMILIES: dict[str, Family] = {
    "explainn": Family(lambda n: convolutional.ExplaiNN(n, 100, 19, 100), 200),
    "enformer": Family(lambda n: convolutional.Enformer(n, 12), 1024),
    "aitac-residual": Family(lambda n: convolutional.AITAC(n, 40), 251),
    "puffin": Family(lambda n: convolutional.Puffin(n, 2), 1000),
    "legnet": Family(lambda n: convolutional.LegNet(n, 24), 150),
    "danq": Family(lambda n: sequential.DanQ(n, 50), 1000),
    "dream-rnn": Family(lambda n: sequential.DreamRNN(50), 150),
    "satori": Family(lambda n: sequential.Satori(n, 24), 600),
    "mamba": Family(lambda n: sequential.Mamba(width=16), 200),
    "conv-gru": Family(lambda n: sequential.ConvGRU(20), 1000),
    "basenji2": Family(lambda n: convolutional.Basenji(n, 16), 2048),
    "spliceai": Family(lambda n: spliced.Splice(1, 6), 1000),
    "pangolin": Family(lambda n: spliced.Splice(3, 6), 1000),
    "aparent2": Family(lambda n: spliced.Aparent(n, 6), 205, "N1LC"),
    "malinois": Family(lambda n: Malinois(n, Malinois.PUBLISHED, 1000, 140), 600),
    "sei": Family(lambda n: spliced.Sei(n, 16), 1024),
    "chrombpnet": Family(lambda n: stranded.ChromBPNet(10), 1000),
    "dnabert": Family(lambda n: sequential.Tokens(n, 3, 16), 200),
    "hyenadna": Family(lambda n: sequential.Hyena(n, 20), 512),
}


class Line(NamedTuple):
    """What was found of one model: times naive is slower than windows, and what `auto` takes."""

    predicted: float
    measured: float
    blind: str
    timed: str

    @property
    def ratio(self) -> float:
        """Of what `auto` takes in a run."""
        return self.measured if self.timed != "naive" else 1.0

    @property
    def ratio_blind(self) -> float:
        """Of what it takes by prediction alone."""
        return self.measured if self.blind != "naive" else 1.0


def models(names: list[str], folder: Path) -> Iterator[tuple[str, Model]]:
    """The models of some names, all of them where there are none, random weights."""
    for name in names or [*FAMILIES, *zoo.ZOO]:
        torch.manual_seed(0)
        path = folder / f"{name}.pt"
        if name in FAMILIES:
            net, length, layout = FAMILIES[name]
            torch.jit.script(net(length).eval()).save(path)
        else:
            length, layout = zoo.ZOO[name].length, "NCL"
            zoo.save(name, path, length=length)
        yield name, load_model(path, length=length, alphabet_size=4, layout=layout)


def judged(model: Model) -> Line:
    """One model, its whole sequence mutated."""
    settings = Settings(model.length, torch.device("cpu"))
    draw = torch.Generator().manual_seed(1)
    codes = torch.randint(4, (1, model.length), generator=draw).to(torch.uint8)
    positions = np.arange(model.length)
    costs = [get_backend(b).cost(model, settings, model.length) for b in ("naive", "windowed")]
    blind = choose("auto", [model], settings, model.length).name
    if get_backend("windowed").unsupported(model, settings):
        return Line(1.0, 1.0, blind, blind)
    runner = get_backend("windowed").prepare(model, settings)
    timed = blind
    if blind != "naive":
        fast, slow = compared(runner, model, settings, codes, positions)
        timed = blind if fast <= slow else "naive"
    naive = NaiveRunner(model, settings)
    naive.reference(codes)
    index = mutant_index(codes, positions, 4)
    ratios = []
    for turn in range(TURNS + 1):
        began = time.process_time()
        runner.reference(codes)
        done = 0
        for block in runner.blocks(codes, positions):
            assert block.delta is not None
            done += len(block.index)
            if turn and time.process_time() - began > 4 * SECONDS:
                break
        between = time.process_time()
        rows = 0
        while rows == 0 or (rows < len(index) and time.process_time() - between < SECONDS):
            naive.at(index[rows : rows + naive.size.rows], positions)
            rows = min(len(index), rows + naive.size.rows)
        slow, fast = (time.process_time() - between) / rows, (between - began) / done
        ratios.append(slow / fast)
    return Line(costs[0] / costs[1], statistics.median(ratios[1:]), blind, timed)


def main() -> int:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("model            predicted  measured  by prediction        by timing", flush=True)
    below = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, model in models(sys.argv[1:], Path(folder)):
            found = judged(model)
            blind, timed = (
                f"{found.blind:10s}{found.ratio_blind:6.2f}x",
                f"{found.timed:10s}{found.ratio:6.2f}x",
            )
            low = found.ratio < LEAST
            below += low
            numbers = f"{found.predicted:9.2f} {found.measured:9.2f}"
            print(f"{name:16s}{numbers}   {blind}   {timed}{'  below' * low}", flush=True)
    return int(below > 0)


if __name__ == "__main__":
    sys.exit(main())
