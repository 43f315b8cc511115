"""All checks on a GPU, one line for each that fails, results as JSON.

    python -m tests.gpu [--device cuda:0] [-o results.json]

Exit status: 0 everything held, 1 something did not, 2 the command line is at fault, 77 there is no
GPU and nothing was checked.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.gpu import card, command, conformance, kernels, memory, together

Result = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    card.need_card(options.device)
    card.rehearsal(options.device)
    found: dict[str, Any] = {**card.facts(options.device, options.commit), "parts": {}}
    card.say(f"{found.get('card', 'no card')}, torch {found['torch']}, commit {found['commit']}")
    bad = 0
    for name, part in _parts(options).items():
        if options.part and name not in options.part:
            continue
        begin = time.perf_counter()
        results: list[Result] = []
        for result in part():
            results.append(result)
            if result["status"] != "ok":
                card.say(f"  {result['name']} {result.get('how', '')} "
                         f"{result.get('backend', '')}: {result['why']}")  # fmt: skip
            elif "backend" not in result:
                card.say(f"  {result}")
        counts = Counter(result["status"] for result in results)
        bad += counts["failed"]
        seconds = card.seconds_since(begin)
        card.say(f"{name}: {counts['ok']} held, {counts['failed']} did not, {seconds} s")
        kept = [r for r in results if r["status"] != "ok" or "backend" not in r]
        found["parts"][name] = {"counts": counts, "seconds": seconds, "results": kept}
        card.write(options.output, found)
    return 1 if bad else 0


def _parts(options: argparse.Namespace) -> dict[str, Callable[[], Iterator[Result]]]:
    device, width = options.device, options.width

    def conforming() -> Iterator[Result]:
        for results in conformance.check_all(device, options.processes, options.only):
            yield from results

    def promises() -> Iterator[Result]:
        with tempfile.TemporaryDirectory() as folder:
            for name, length, count in memory.MODELS:
                yield memory.promise(name, length, count, Path(folder), device, width)

    def without() -> Iterator[Result]:
        with tempfile.TemporaryDirectory() as folder:
            yield memory.out_of_memory(Path(folder), device, width)

    def beside() -> Iterator[Result]:
        yield from together.check(device, width)

    def whole() -> Iterator[Result]:
        with tempfile.TemporaryDirectory() as folder:
            yield from command.check(Path(folder), device, width)

    def fused() -> Iterator[Result]:
        yield from kernels.check(device, 1 if device != "cpu" else 1000, width)

    parts = {"kernels": fused, "conformance": conforming, "memory": promises, "oom": without}
    return parts | {"together": beside, "command": whole}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="cuda:0", help="cuda:N; cpu for a rehearsal")
    parser.add_argument("-o", "--output", help="file for the results")
    parser.add_argument("--commit", help="what to call this state of the code")
    parts = ("kernels", "conformance", "memory", "oom", "together", "command")
    parser.add_argument("--part", action="append", choices=parts, help="only this; may be repeated")
    parser.add_argument("--only", default="", help="models whose name holds this")
    parser.add_argument("--processes", type=int, default=max(1, min(12, os.cpu_count() or 1)))
    parser.add_argument("--width", type=float, default=1.0, help="factor on channels; rehearsals")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
