"""Windowed beside naive on a GPU: rates, kernels, memory, errors. Results as JSON.

    python -m tests.programs.gpu_bench [--device cuda:0] [--models basset,bpnet9] [-o gpu.json]

Naive is the model alone on batches already on the card, at the pass size that is best for it, in
float32 and tf32, plain and through torch.compile, with cuDNN's own search for the best kernels:
the most that computing every mutant could reach. Windowed is timed with its letters uploaded and
all deltas made on the card; once more with the deltas brought to the host, as the command does.
The fused kernels follow, beside their definition plain and compiled.
Exit status as `python -m tests.gpu`.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.gpu import card, kernels
from tests.gpu.memory import random_codes, scorer_of, zoo_model
from yuzu_cli.backends import get_backend
from yuzu_cli.backends.base import Settings
from yuzu_cli.bench.papers import zoo
from yuzu_cli.engine.device import computing
from yuzu_cli.engine.limits import working_memory

Facts = dict[str, Any]

MODELS = {
    "basset": 1000,
    "factorized-basset": 1000,
    "bpnet4": 1000,
    "bpnet9": 2114,
    "aitac-residual": 251,
    "deepsea": 1000,
}
PASSES = (64, 256, 1024, 4096)
SEQUENCES = (1, 4, 16, 64)
CHECKED = 96
"""Mutants whose deltas are compared with float64."""


class Bench:
    """One model on one device."""

    def __init__(self, name: str, length: int, options: argparse.Namespace, folder: Path) -> None:
        self.name, self.length, self.seconds = name, length, options.seconds
        self.device, self.positions = torch.device(options.device), np.arange(length)
        self.net = zoo.build(name, length, width=options.width).to(self.device)
        self.model = zoo_model(name, length, folder, options.device, options.width)
        memory = working_memory(self.device)
        self.settings = Settings(length, self.device, memory=memory)
        self.mutants = 3 * length

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def median(self, call: Callable[[], object], least: int = 3) -> float:
        """Median seconds of a call that has been made before, within the time there is."""
        samples: list[float] = []
        begin = time.perf_counter()
        while len(samples) < least or time.perf_counter() - begin < self.seconds:
            self.synchronise()
            mark = time.perf_counter()
            call()
            self.synchronise()
            samples.append(time.perf_counter() - mark)
            if len(samples) >= 200 or time.perf_counter() - begin > 10 * self.seconds:
                break
        return statistics.median(samples)

    def one_hot(self, rows: int) -> torch.Tensor:
        codes = torch.as_tensor(random_codes(rows, self.length)).to(self.device)
        letters = torch.nn.functional.one_hot(codes.long(), 4)
        return letters.transpose(1, 2).float().contiguous()

    # --- naive ------------------------------------------------------------------------------------

    def naive(self, precision: str, compiled: bool) -> Facts:
        """Milliseconds a sequence with all its mutants, by rows of a pass."""
        found: Facts = {"plain": {}}
        with torch.no_grad(), computing(precision, self.device):
            for rows in PASSES:
                value = self._pass(self.net, rows)
                if value is None:
                    break
                found["plain"][rows] = value
            best = min(found["plain"], key=found["plain"].get)
            found |= {"rows": best, "best": found["plain"][best]}
            torch.backends.cudnn.benchmark = True  # put back by `computing`
            found["searched"] = self._pass(self.net, best)
            if compiled:
                torch.compiler.reset()
                begin = time.perf_counter()
                found["compiled"] = self._pass(torch.compile(self.net), best)
                found["compile_seconds"] = card.seconds_since(begin)
        return found

    def _pass(self, net: Callable[[torch.Tensor], object], rows: int) -> float | None:
        try:
            x = self.one_hot(rows)
            net(x)
            return self.median(lambda: net(x)) / rows * self.mutants * 1e3
        except torch.OutOfMemoryError:
            gc.collect()
            torch.cuda.empty_cache()
            return None

    # --- windowed ---------------------------------------------------------------------------------

    def windowed(self, count: int, precision: str = "float32") -> Facts:
        """Milliseconds a sequence, chunks and memory, for `count` sequences at one time."""
        with computing(precision, self.device):
            runner = get_backend("windowed").prepare(self.model, self.settings)
            wide = torch.as_tensor(random_codes(count, self.length))
            chunks = 0

            def batch() -> None:
                nonlocal chunks
                chunks = 0
                codes = wide.to(self.device)
                runner.reference(codes)
                for block in runner.blocks(codes, self.positions):
                    _ = block.delta
                    chunks += 1

            begin = time.perf_counter()
            before = self._memory()
            batch()
            self.synchronise()
            first = time.perf_counter() - begin
            peak = self._memory(peak=True) - before
            found: Facts = {"sequences": count, "chunks": chunks, "first_ms": first * 1e3 / count}
            found["ms"] = self.median(batch) * 1e3 / count
            found["peak_bytes"], found["promised_bytes"] = peak, self.settings.memory
            if self.device.type == "cuda":
                found |= profiled(batch, self.device)
                found["kernels_per_chunk"] = round(found["kernels"] / chunks, 1)
        return found

    def _memory(self, peak: bool = False) -> int:
        if self.device.type != "cuda":
            return 0
        if peak:
            return torch.cuda.max_memory_allocated(self.device)
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    def to_host(self, count: int) -> float:
        """Milliseconds a sequence until its deltas are arrays of the host."""
        with computing("float32", self.device):
            scorer = scorer_of(self.model, self.settings, ("delta",))
            wide = random_codes(count, self.length)
            scorer.score(wide)
            return self.median(lambda: scorer.score(wide), least=2) * 1e3 / count

    # --- errors -----------------------------------------------------------------------------------

    def errors(self) -> Facts:
        """Largest error, of the largest effect, on mutants of one sequence spread over it."""
        code = random_codes(1, self.length, seed=5)
        at = np.linspace(0, self.length - 1, CHECKED).astype(int)
        rows = np.repeat(code, CHECKED, 0)
        rows[np.arange(CHECKED), at] = letters = (code[0, at] + 1) % 4
        both = torch.as_tensor(np.concatenate([code, rows]))
        x = torch.nn.functional.one_hot(both.long(), 4).transpose(1, 2).to(self.device)
        exact = self._deltas(x, torch.float64)
        found = {"largest_effect": float(exact.abs().max())}
        for precision in ("float32", "tf32"):
            with computing(precision, self.device):
                naive = self._deltas(x, torch.float32)
                runner = get_backend("windowed").prepare(self.model, self.settings)
                codes = both[:1].to(self.device)
                runner.reference(codes)
                said = torch.full((self.length * 4, exact.shape[1]), torch.nan, device=self.device)
                for block in runner.blocks(codes, self.positions):
                    said[block.index, block.targets] = block.delta
            picked = said[torch.as_tensor(at * 4 + letters).to(self.device)]
            for name, values in (("naive", naive), ("windowed", picked)):
                off = (values.double() - exact).abs().max() / exact.abs().max()
                found[f"{name}_{precision}"] = float(off)
        return found

    @torch.no_grad()
    def _deltas(self, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        y = self.net.to(dtype)(x.to(dtype))
        self.net.to(torch.float32)
        y = (y[0] if isinstance(y, tuple) else y).flatten(1)
        return y[1:] - y[:1]


def profiled(batch: Callable[[], object], device: torch.device) -> Facts:
    """Kernels, copies and the card's busy time of one batch, by torch's profiler."""
    kinds = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        batch()
        torch.cuda.synchronize(device)
    copies: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    busy: Counter[str] = Counter()
    for event in profile.events():
        if event.device_type != torch.autograd.DeviceType.CUDA:
            continue
        if event.name.startswith(("Memcpy", "Memset")):
            copies[event.name.split(" (")[0]] += 1
        else:
            kernels[event.name] += 1
        busy[event.name] += event.device_time_total
    top = [
        {"ms": round(us / 1e3, 3), "kernels": kernels[name], "name": name[:120]}
        for name, us in busy.most_common(14)
    ]
    milliseconds = busy.total() / 1e3
    return {"kernels": kernels.total(), "copies": copies, "busy_ms": milliseconds, "top": top}


def measure(name: str, length: int, options: argparse.Namespace, folder: Path) -> Facts:
    """Everything about one model, said as it comes."""
    begin = time.perf_counter()
    bench = Bench(name, length, options, folder)
    row: Facts = {"model": name, "length": length, "naive": {}, "windowed": []}
    compiled = options.compiled == "all" or name in options.compiled.split(",")
    for precision in ("float32", "tf32"):
        row["naive"][precision] = found = bench.naive(precision, compiled)
        passes = {rows: round(ms, 2) for rows, ms in found["plain"].items()}
        rest = {k: round(found[k], 2) for k in ("searched", "compiled") if found.get(k)}
        card.say(f"{name} naive {precision}: ms a sequence by rows {passes}, {rest}")
    for precision in ("float32", "tf32"):
        for count in SEQUENCES if precision == "float32" else SEQUENCES[2:3]:
            try:
                found = bench.windowed(count, precision)
            except torch.OutOfMemoryError as error:
                found = {"sequences": count, "error": str(error)[:200]}
                torch.cuda.empty_cache()
            row["windowed"].append(found | {"precision": precision})
            short = {k: v if isinstance(v, int) else round(v, 3)
                     for k, v in found.items() if isinstance(v, (int, float))}  # fmt: skip
            card.say(f"{name} windowed {precision}: {short} {found.get('copies', '')}")
    row["to_host_ms"] = bench.to_host(4)
    row["errors"] = bench.errors()
    row["seconds"] = card.seconds_since(begin)
    card.say(f"{name}: deltas to the host {row['to_host_ms']:.2f} ms a sequence; "
             f"errors {row['errors']}; took {row['seconds']} s")  # fmt: skip
    return row


def table(rows: Sequence[Facts]) -> str:
    """The rows as a table of a docs page."""
    lines = ["| model | naive | naive tf32 | naive compiled | windowed | times naive | kernels |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        good = [w for w in row["windowed"] if "ms" in w and w["precision"] == "float32"]
        best = min(good, key=lambda w: w["ms"])
        naive, tf32 = row["naive"]["float32"], row["naive"]["tf32"]
        ways = [n[k] for n in (naive,) for k in ("best", "searched", "compiled") if n.get(k)]
        lines.append(
            f"| {row['model']} {row['length']} | {naive['best']:.1f} ms | {tf32['best']:.1f} ms "
            f"| {naive.get('compiled') or float('nan'):.1f} ms "
            f"| {best['ms']:.2f} ms ({best['sequences']} at once) | {min(ways) / best['ms']:.1f} "
            f"| {best.get('kernels_per_chunk', '')} in each of {best['chunks']} chunks |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.programs.gpu_bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="cuda:0", help="cuda:N; cpu for a rehearsal")
    parser.add_argument("--models", default=",".join(MODELS), help="some of " + ", ".join(MODELS))
    parser.add_argument("--compiled", default="all", help="models that naive is compiled for")
    parser.add_argument("--seconds", type=float, default=0.4, help="for each figure")
    parser.add_argument("--limit", type=float, default=1e9, help="seconds after which none begins")
    parser.add_argument("--no-kernels", dest="kernels", action="store_false", help="models only")
    parser.add_argument("--commit", help="what to call this state of the code")
    parser.add_argument("-o", "--output", help="file for the results")
    parser.add_argument("--width", type=float, default=1.0, help="factor on channels; rehearsals")
    options = parser.parse_args(arguments)
    card.need_card(options.device)
    card.rehearsal(options.device)
    begin = time.perf_counter()
    rows: list[Facts] = []
    found = {**card.facts(options.device, options.commit), "rows": rows, "left_out": []}
    card.say(f"{found.get('card', 'no card')}, torch {found['torch']}, commit {found['commit']}")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models.split(","):
            if card.seconds_since(begin) > options.limit:
                found["left_out"].append(name)
                continue
            rows.append(measure(name, MODELS[name], options, Path(folder)))
            card.write(options.output, found)
    card.say(table(rows))
    if options.kernels:
        found["kernels"] = []
        shrink = 1000 if options.device == "cpu" else 1
        compiled = options.compiled != "none"
        for row in kernels.rates(options.device, options.seconds, shrink, compiled, options.width):
            found["kernels"].append(row)
            card.say(str(row))
        card.write(options.output, found)
    if found["left_out"]:
        card.say(f"no time was left for {', '.join(found['left_out'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
