"""Two runs on one card at one time: each gives bit for bit what it gives alone."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.gpu.memory import random_codes, scorer_of, zoo_model
from yuzu_cli.backends.base import Settings
from yuzu_cli.engine.device import computing

Result = dict[str, Any]

RUNS = (("basset", 1000, 8), ("bpnet4", 1000, 8))
ROUNDS = 6


def scores_of(
    run: tuple[str, int, int], device: str, width: float, memory: int, rounds: int
) -> tuple[float, float, list[dict[str, np.ndarray]]]:
    """When it began and ended, and the scores of every round."""
    name, length, count = run
    found = []
    with tempfile.TemporaryDirectory() as folder:
        model = zoo_model(name, length, Path(folder), device, width)
        settings = Settings(length, torch.device(device), memory=memory)
        with computing("float32", settings.device):
            scorer = scorer_of(model, settings)
            begin = time.time()
            for i in range(rounds):
                found.append(scorer.score(random_codes(count, length, seed=i)))
    return begin, time.time(), found


def check(device: str, width: float, memory: int = 8 << 30) -> list[Result]:
    """Every run beside the other, against itself alone."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        waiting = [pool.submit(scores_of, r, device, width, memory, ROUNDS) for r in RUNS]
        beside = [future.result() for future in waiting]
    common = min(end for _, end, _ in beside) - max(begin for begin, _, _ in beside)
    results = []
    for run, (begin, end, found) in zip(RUNS, beside, strict=True):
        alone_begin, alone_end, alone = scores_of(run, device, width, memory, ROUNDS)
        same = all(
            np.array_equal(one[key], other[key], equal_nan=True)
            for one, other in zip(found, alone, strict=True)
            for key in one
        )
        results.append(
            {
                "name": f"{run[0]} beside another run on the card",
                "status": "ok" if same else "failed",
                "why": "" if same else "other numbers than alone",
                "seconds_beside": round(end - begin, 2),
                "seconds_alone": round(alone_end - alone_begin, 2),
                "seconds_together": round(common, 2),
            }
        )
    return results
