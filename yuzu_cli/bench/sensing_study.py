"""What probes cost and lose, in tables: the measurements behind docs/sensing.md.

    python -m yuzu_cli.bench.sensing_study models --models basset bpnet4
    python -m yuzu_cli.bench.sensing_study alpha --models toynet
    python -m yuzu_cli.bench.sensing_study layer --filters 16 64 --kernels 7 21 --lengths 500 1000
    python -m yuzu_cli.bench.sensing_study batch --models toynet --counts 1 4 16

Random weights, random sequences; tab-separated lines on standard output. Methods are timed in
turn; but for `models` the best round counts, as a shared machine only ever adds time.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from yuzu_cli.backends.base import Runner, Settings
from yuzu_cli.backends.naive import NaiveRunner
from yuzu_cli.backends.sensing.codes import MATRICES, PUBLISHED
from yuzu_cli.backends.sensing.design import ALPHAS, deltas, largest_error, make_design
from yuzu_cli.backends.sensing.probes import SLACK, YuzuRunner
from yuzu_cli.backends.windowed import WindowedRunner
from yuzu_cli.bench import zoo
from yuzu_cli.bench.clock import Gauge, alternate
from yuzu_cli.bench.stats import agreement
from yuzu_cli.engine.device import computing
from yuzu_cli.errors import YuzuError
from yuzu_cli.kernels.table import KERNELS
from yuzu_cli.model import Model, load_model

ALWAYS = float("inf")
NAIVE_MUTANTS = 96
UNSEEN = 1000
"""Seed of sequences that no search for alpha has seen."""
Line = dict[str, object]


class OneConvolution(torch.nn.Module):
    """A convolution that letters are turned into channels by, and the one to look at."""

    def __init__(self, filters: int, kernel: int) -> None:
        super().__init__()
        self.first = torch.nn.Conv1d(4, filters, kernel, padding=kernel // 2)
        self.second = torch.nn.Conv1d(filters, filters, kernel, padding=kernel // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x))).sum(2)


def load(module: torch.nn.Module, length: int) -> Model:
    """A module as the tool would read it from a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        zoo.script(module.eval(), length).save(str(path))
        return load_model(path, length=length)


def settings_for(length: int, matrix: str = "interleaved", alpha: float | None = None) -> Settings:
    return Settings(length, torch.device("cpu"), matrix=matrix, alpha=alpha)


def sequences(count: int, length: int, seed: int = 7) -> torch.Tensor:
    """Random codes, other than those a search for alpha sees."""
    draw = np.random.default_rng(seed)
    return torch.as_tensor(draw.integers(4, size=(count, length), dtype=np.uint8))


def best_times(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of the fastest call of each, the calls taken in turn."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - began)
    return best


def whole_run(runner: Runner, codes: torch.Tensor, positions: np.ndarray) -> Callable[[], None]:
    """All mutants, their l2 scores kept."""

    def call() -> None:
        runner.reference(codes)
        for block in runner.blocks(codes, positions):
            block.squares()

    return call


def naive_call(model: Model, settings: Settings, codes: torch.Tensor) -> Callable[[], object]:
    """Some mutants the naive way."""
    runner = NaiveRunner(model, settings)
    runner.reference(codes)
    index = torch.arange(NAIVE_MUTANTS)
    return lambda: runner.at(index, np.arange(settings.length))


def models_table(
    names: Iterable[str], length: int, rounds: int, matrices: Iterable[str] = MATRICES
) -> Iterable[Line]:
    """Every model by every matrix: as the backend runs, and with all convolutions on probes.

    Seconds are of the processor, medians; memory is over what was in use before. Errors are of all
    mutants of sequences that no search has seen, against windows.
    """
    for name in names:
        model = load(zoo.build(name, length), length)
        base = settings_for(length)
        codes, positions = sequences(1, length), np.arange(length)
        calls: dict[str, Callable[[], object]] = {
            "naive": naive_call(model, base, codes),
            "windowed": whole_run(WindowedRunner(model, base), codes, positions),
        }
        lines: dict[str, Line] = {key: {"model": name, "method": key} for key in calls}
        runners: dict[str, YuzuRunner] = {}
        for matrix in matrices:
            settings = dataclasses.replace(base, matrix=matrix)
            for slack in (SLACK, ALWAYS) if matrix not in PUBLISHED else (SLACK,):
                key = f"yuzu:{matrix}" + (" all on probes" if slack == ALWAYS else "")
                lines[key] = {"model": name, "method": key}
                runner = _designed(model, settings, slack, lines[key])
                if runner is not None:
                    runners[key] = runner
                    calls[key] = whole_run(runner, codes, positions)
        for call in calls.values():
            call()
        timings = alternate(calls, torch.device("cpu"), rounds=rounds, seconds=math.inf)
        seconds = {k: float(np.median([s.cpu for s in t.samples])) for k, t in timings.items()}
        seconds["naive"] *= 3 * length / NAIVE_MUTANTS
        for key, timing in timings.items():
            lines[key] |= {"seconds": seconds[key], "times naive": seconds["naive"] / seconds[key]}
            lines[key]["run MB"] = timing.host_peak / 1e6
        for key, runner in runners.items():
            lines[key]["share"] = _share(runner)
        yield from lines.values()


def _designed(model: Model, settings: Settings, slack: float, line: Line) -> YuzuRunner | None:
    """Find the codes; what that took and how good they are goes into `line`."""
    with Gauge(torch.device("cpu")) as gauge:
        began = time.process_time()
        try:
            design = make_design(model, settings, slack=slack)
        except YuzuError as error:
            line["note"] = error.what
            return None
        line["prepared"] = time.process_time() - began
    line["preparing MB"] = gauge.host / 1e6
    runner = YuzuRunner(model, settings, design.codes, slack)
    line["alpha"] = design.alpha
    line["error"] = largest_error(model, settings, design.codes, slack, seed=UNSEEN)
    line["probes"] = " ".join(str(s.code.probes) for s in runner.probed.values()) or "-"
    line["codes MB"] = sum(c.bytes for c in set(design.codes.values())) / 1e6
    return runner


def _share(runner: YuzuRunner) -> str:
    """Chunks in which each convolution went through probes."""
    shares = (s.taken / max(1, s.taken + s.left) for s in runner.probed.values())
    return " ".join(f"{share:.2g}" for share in shares) or "-"


def alpha_table(names: Iterable[str], length: int, matrices: Iterable[str]) -> Iterable[Line]:
    """MSE and correlation with exact deltas by alpha, all layers after the first on probes."""
    for name in names:
        model = load(zoo.build(name, length), length)
        codes, positions = sequences(1, length), np.arange(length)
        expected = deltas(WindowedRunner(model, settings_for(length)), codes, positions, 4).numpy()
        for matrix in matrices:
            for alpha in (0.95, *ALPHAS[:-1]):
                settings = settings_for(length, matrix, alpha)
                design = make_design(model, settings)
                runner = YuzuRunner(model, settings, design.codes)
                found = agreement(deltas(runner, codes, positions, 4).numpy(), expected)
                yield {
                    "model": name,
                    "matrix": matrix,
                    "alpha": alpha,
                    "condition": design.tries[-1].condition if design.tries else 1.0,
                    "accepted": design.tries[-1].accepted if design.tries else True,
                    "mse": found.mse,
                    "pearson": found.pearson,
                    "error": found.relative,
                }


class _Split:
    """Adds up the time of the three parts of a convolution on probes, run by run."""

    PARTS: ClassVar[dict[str, tuple[str, ...]]] = {
        "build": ("slots", "encode"),
        "convolve": ("taps", "strided taps", "mix rows", "frequencies"),
        "decode": ("decode", "gather", "mask"),
    }
    """The kernels of each part, in a model of one convolution on probes."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(self.PARTS, 0.0)
        self.runs: list[dict[str, float]] = []

    def _timed(self, part: str, kernel: Callable[..., object]) -> Callable[..., object]:
        def timed(*reads: object, **arguments: object) -> object:
            began = time.perf_counter()
            result = kernel(*reads, **arguments)
            self.seconds[part] += time.perf_counter() - began
            return result

        return timed

    def whole(self, call: Callable[[], object]) -> Callable[[], None]:
        """One run, its parts noted apart."""

        def run() -> None:
            self.seconds = dict.fromkeys(self.PARTS, 0.0)
            names = {name: part for part, names in self.PARTS.items() for name in names}
            plain = {name: KERNELS[name] for name in names}
            KERNELS.update({name: self._timed(names[name], plain[name]) for name in names})
            try:
                call()
            finally:
                KERNELS.update(plain)
            self.runs.append(self.seconds)

        return run

    def best(self) -> dict[str, float]:
        """The parts of the run in which they took least."""
        return min(self.runs, key=lambda parts: sum(parts.values()))


def layer_table(
    sizes: Iterable[tuple[int, int, int]], rounds: int, matrices: Iterable[str] = MATRICES
) -> Iterable[Line]:
    """One convolution: naive on whole mutants, windows, and probes by matrix, split in parts.

    Parameters
    ----------
    sizes : iterable of (filters, kernel width, length)
    rounds : int
    matrices : iterable of str
    """
    for n, kernel, length in sizes:
        torch.manual_seed(0)
        model = load(OneConvolution(n, kernel), length)
        codes, positions = sequences(1, length), np.arange(length)
        whole = torch.randn(NAIVE_MUTANTS, n, length)
        weight = torch.randn(n, n, kernel)
        naive = functools.partial(torch.conv1d, whole, weight)
        for matrix in matrices:
            settings = settings_for(length, matrix)
            design = make_design(model, settings)
            runner = YuzuRunner(model, settings, design.codes, ALWAYS)
            (step,) = runner.probed.values()
            split = _Split()
            plain = WindowedRunner(model, settings_for(length))
            calls: dict[str, Callable[[], object]] = {
                "naive": naive,
                "windows": whole_run(plain, codes, positions),
                "probes": split.whole(whole_run(runner, codes, positions)),
            }
            times = best_times(calls, rounds)
            times["naive"] *= 3 * length / NAIVE_MUTANTS
            yield {
                "filters": n, "kernel": kernel, "length": length, "matrix": matrix,
                "alpha": design.alpha, "count": step.code.probes, **times, **split.best(),
            }  # fmt: skip


def batch_table(
    names: Iterable[str], length: int, counts: Iterable[int], rounds: int
) -> Iterable[Line]:
    """Seconds per sequence by the number of sequences given at one time."""
    for name in names:
        model = load(zoo.build(name, length), length)
        settings = settings_for(length)
        codes = make_design(model, settings).codes
        for count in counts:
            rows, positions = sequences(count, length), np.arange(length)
            calls = {
                "windowed": whole_run(WindowedRunner(model, settings), rows, positions),
                "yuzu": whole_run(YuzuRunner(model, settings, codes), rows, positions),
            }
            times = best_times(calls, rounds)
            yield {"model": name, "sequences": count} | {k: v / count for k, v in times.items()}


def show(lines: Iterable[Line]) -> None:
    """Lines as they come, with a header whenever the columns change."""
    header: list[str] = []
    for line in lines:
        if not set(line) <= set(header):
            header = [*header, *(key for key in line if key not in header)]
            print("\t".join(header), flush=True)
        cells = (line.get(key, "") for key in header)
        texts = (f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells)
        print("\t".join(texts), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m yuzu_cli.bench.sensing_study``: one of the tables."""
    parser = argparse.ArgumentParser(prog="python -m yuzu_cli.bench.sensing_study")
    parser.add_argument("table", choices=("models", "alpha", "layer", "batch"))
    parser.add_argument("--models", nargs="+", default=["toynet", "basset", "bpnet4"])
    parser.add_argument("--lengths", nargs="+", type=int, default=[1000])
    parser.add_argument("--matrices", nargs="+")
    parser.add_argument("--filters", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--kernels", nargs="+", type=int, default=[7, 21])
    parser.add_argument("--counts", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    length = chosen.lengths[0]
    with computing("float32", torch.device("cpu")):
        if chosen.table == "models":
            matrices = chosen.matrices or MATRICES
            show(models_table(chosen.models, length, chosen.rounds, matrices))
        elif chosen.table == "alpha":
            show(alpha_table(chosen.models, length, chosen.matrices or PUBLISHED))
        elif chosen.table == "layer":
            sizes = itertools.product(chosen.filters, chosen.kernels, chosen.lengths)
            show(layer_table(sizes, chosen.rounds))
        else:
            show(batch_table(chosen.models, length, chosen.counts, chosen.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
