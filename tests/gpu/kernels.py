"""The fused kernels on the card: equal to their definition in float64, and how fast beside it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from tests.support.passages import Passage, doubled, passages
from yuzu_cli.kernels import between, fused

Result = dict[str, Any]

MOST = 3e-6
"""Largest error accepted, of the largest delta."""
MODELS = (
    # name, length, sequences, positions
    ("basset", 1000, 4, 1000),
    ("factorized-basset", 1000, 4, 500),
    ("aitac-residual", 251, 16, 251),
    ("bpnet4", 1000, 2, 1000),
)


def found(shrink: int, width: float = 1.0) -> Iterator[Passage]:
    """Every program of some models."""
    for name, length, count, positions in MODELS:
        few = max(2, positions // shrink)
        yield from passages(name, length, max(1, count // shrink), few, width)


def check(device: str, shrink: int = 1, width: float = 1.0) -> Iterator[Result]:
    """Every program against the definition in float64; the output is poisoned before."""
    compute = fused.compute_on(torch.device(device))
    for passage in found(8 * shrink, width):
        out, reads, options = passage.numbers(device)
        exact = doubled(between.compute, out, reads, options)
        compute(out, *reads, **options)
        off = float((out.double() - exact).abs().max() / exact.abs().max())
        good = off <= MOST
        yield {
            "name": f"kernel of {passage.name}",
            "status": "ok" if good else "failed",
            "why": "" if good else f"off by {off:.2g} of the largest",
            "off": off,
            "fused": isinstance(compute, fused.Guarded) and not compute.broken,
        }


def median(call: Callable[[], object], device: str, seconds: float) -> float:
    """Median seconds of a call, after one that warms it up."""
    samples: list[float] = []
    call()
    begin = time.perf_counter()
    while len(samples) < 3 or (time.perf_counter() - begin < seconds and len(samples) < 200):
        _synchronise(device)
        mark = time.perf_counter()
        call()
        _synchronise(device)
        samples.append(time.perf_counter() - mark)
    return statistics.median(samples)


def _synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def rates(
    device: str, seconds: float, shrink: int = 1, compiled: bool = True, width: float = 1.0
) -> Iterator[Result]:
    """Milliseconds of every program by the definition, compiled and fused; bytes and products a
    second.
    """
    ways: dict[str, Callable[..., None]] = {"plain": between.compute}
    if compiled:
        ways["compiled"] = torch.compile(between.compute, dynamic=False)
    ways["fused"] = fused.compute_on(torch.device(device))
    for passage in found(shrink, width):
        out, reads, options = passage.numbers(device)
        calls = {name: partial(way, out, *reads, **options) for name, way in ways.items()}
        times = {name: median(call, device, seconds) for name, call in calls.items()}
        moved = sum(x.numel() * x.element_size() for x in (out, *reads, options["tables"]))
        yield {
            "pass": passage.name, "rows": list(out.shape),
            "ms": {name: t * 1e3 for name, t in times.items()},
            "GB_a_second": moved / times["fused"] / 1e9,
            "Tflop_a_second": passage.operations / times["fused"] / 1e12,
        }  # fmt: skip
