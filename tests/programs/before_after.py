"""What a change makes of the speed of windows: two checkouts timed in turn, beside naive.

    python -m tests.programs.before_after OLD_CHECKOUT

The models of the table in docs/windowed.md with random weights. Each checkout computes in a process
of its own, one after the other in every round: one sequence, every effect in host memory. By
processor time on one thread and by the clock on two; ratios are medians over the rounds. Naive is
today's, on a stretch of positions, scaled. For an idle machine; about eight minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parents[2]
MODELS = {
    # name: (what the table calls it, length)
    "onelayer": ("OneLayer (L2 score)", 1000),
    "toynet": ("ToyNet (every delta)", 1000),
    "deepsea": ("DeepSEA", 1000),
    "basset": ("Basset", 1000),
    "factorized-basset": ("Factorized Basset", 1000),
    "bpnet4": ("BPNet, 4 dilated layers", 1000),
    "bpnet9": ("BPNet, 9 dilated layers (profile)", 2114),
    "aitac3": ("AI-TAC, 3 convolutions", 251),
    "aitac-residual": ("residual AI-TAC", 251),
    "malinois": ("Malinois", 600),
}
NAIVE_SECONDS = 0.6
"""What naive's stretch of positions is to take on one thread."""


# --- a checkout at work: only what old ones have, too ---------------------------------------------


class Timed:
    """A model in this process's checkout."""

    def __init__(self, path: str, length: int, score: str) -> None:
        from yuzu_cli.backends import get_backend
        from yuzu_cli.backends.base import Settings
        from yuzu_cli.model import load_model

        self.model = load_model(path, length=length, layout="NCL")
        settings = Settings(length, torch.device("cpu"), memory=2 << 30)
        self.runners = {
            name: get_backend(name).prepare(self.model, settings) for name in ("windowed", "naive")
        }
        self.length, self.score, self.drawn = length, score, 0

    def once(self, way: str, positions: int, threads: int) -> float:
        """Seconds for one more sequence: of the processor for one thread, else by the clock."""
        from yuzu_cli.scores import Accumulator

        self.drawn += 1
        draw = np.random.default_rng(self.drawn)
        codes = torch.as_tensor(draw.integers(4, size=(1, self.length), dtype=np.uint8))
        first = (self.length - positions) // 2
        at = np.arange(first, first + positions)
        torch.set_num_threads(threads)
        clock: Callable[[], float] = time.process_time if threads == 1 else time.perf_counter
        runner, began = self.runners[way], clock()
        scores = Accumulator([self.score], codes[:, torch.as_tensor(at)], self.model.n_targets, 4)
        reference = runner.reference(codes)
        for block in runner.blocks(codes, at):
            scores.add(block)
        scores.finish(reference)
        return clock() - began


def child() -> int:
    """Obey the lines of the parent: a model to load, or something to time."""
    import yuzu_cli
    from yuzu_cli.engine.device import computing

    print(json.dumps(str(yuzu_cli.__file__)), flush=True)
    timed: Timed | None = None
    with computing("float32", torch.device("cpu")):
        for line in sys.stdin:
            asked = json.loads(line)
            if "path" in asked:
                timed = None
                timed = Timed(**asked)
                print(json.dumps(0.0), flush=True)
            else:
                assert timed is not None
                print(json.dumps(timed.once(**asked)), flush=True)
    return 0


# --- the parent -----------------------------------------------------------------------------------


class Checkout:
    """A process with the code of one checkout."""

    def __init__(self, folder: Path) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
        environ["PYTHONPATH"] = str(folder)
        argv = [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), "--child"]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ, cwd=folder
        )
        found = Path(str(self._answer()))
        if folder not in found.parents:
            raise SystemExit(f"{folder}: its code is not what runs, but {found}")

    def ask(self, **what: Any) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a checkout failed: exit status {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def save(name: str, folder: Path) -> Path:
    """A model as a file."""
    from tests.support.convolutional import Malinois
    from yuzu_cli.bench.papers import zoo

    path = folder / f"{name}.pt"
    if name != "malinois":
        return zoo.save(name, path, length=MODELS[name][1])
    torch.manual_seed(0)
    module = Malinois(MODELS[name][1], Malinois.PUBLISHED, 1000, 140).eval()
    torch.jit.script(module).save(str(path))
    return path


def row(name: str, path: Path, old: Checkout, new: Checkout, rounds: int) -> str:
    """The line of the table of one model."""
    called, length = MODELS[name]
    for checkout in (old, new):
        score = "l2" if name == "onelayer" else "delta"
        checkout.ask(path=str(path), length=length, score=score)
        checkout.ask(way="windowed", positions=length, threads=1)  # what later batches find made
    few = min(length, 8)
    new.ask(way="naive", positions=few, threads=1)
    each = new.ask(way="naive", positions=few, threads=1) / few
    count = min(length, max(few, int(NAIVE_SECONDS / each)))
    cells = [called, f"{length:,}"]
    for threads in (1, 2):
        found = []
        for _ in range(rounds):
            before = old.ask(way="windowed", positions=length, threads=threads)
            now = new.ask(way="windowed", positions=length, threads=threads)
            naive = new.ask(way="naive", positions=count, threads=threads) * length / count
            found.append((naive, before, now, naive / before, naive / now, before / now))
        middle = [statistics.median(values) for values in zip(*found, strict=True)]
        cells += [f"{s:.3g} s" for s in middle[:3]] + [f"{r:.3g}x" for r in middle[3:]]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.programs.before_after",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old", type=Path, metavar="OLD_CHECKOUT", help="a folder with yuzu_cli")
    parser.add_argument("--models", default=",".join(MODELS), help="some of them")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    checkouts = Checkout(options.old.resolve()), Checkout(HERE)
    heads = ["naive", "before", "now", "naive/before", "naive/now", "before/now"]
    print(f"| model | length | {' | '.join(heads + [f'{h}, two threads' for h in heads])} |")
    print("|---" * (2 + 2 * len(heads)) + "|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models.split(","):
            print(row(name, save(name, Path(folder)), *checkouts, options.rounds), flush=True)
    for checkout in checkouts:
        checkout.close()
    return 0


if __name__ == "__main__":
    sys.exit(child() if sys.argv[1:] == ["--child"] else main())
