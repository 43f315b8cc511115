"""Every backend against float64, for the cases and the zoo, several processes on one card."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import math
import multiprocessing
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tests.support import conformance
from tests.support.cases import CASES
from tests.support.conformance import BY_NAME, REDUCED, case_subject, judge, loaded, settings_for
from yuzu_cli.backends.sensing.design import make_design
from yuzu_cli.backends.sensing.probes import YuzuRunner
from yuzu_cli.bench.papers import zoo
from yuzu_cli.engine.device import computing

WIDTH = 0.08
"""Channels of the zoo's models, as a share of the papers'; their own sizes are `FULL`."""

FULL = ("basset", "bpnet9", "aitac-residual")
"""Models of the zoo that are checked at the papers' sizes too, at some positions."""

Result = dict[str, Any]


def subjects() -> list[str]:
    """What there is to check, the longest first."""
    whole = [f"{name} at full size" for name in FULL]
    return [*whole, *zoo.ZOO, *(case.name for case in CASES)]


def check_all(device: str, processes: int, only: str = "") -> Iterator[list[Result]]:
    """The results of every subject, as they come."""
    context = multiprocessing.get_context("spawn")
    names = [name for name in subjects() if only in name]
    with concurrent.futures.ProcessPoolExecutor(processes, context, _alone) as pool:
        waiting = {pool.submit(check, name, device) for name in names}
        for future in concurrent.futures.as_completed(waiting):
            yield future.result()


def _alone() -> None:
    torch.set_num_threads(1)


def check(name: str, device: str) -> list[Result]:
    """All backends on one subject."""
    results = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with computing("float32", torch.device(device)):
            for how, backend in runs(name):
                result = {"name": name, "how": how, "backend": backend, "status": "ok", "why": ""}
                try:
                    judge_one(name, how, backend, Path(folder), device)
                except Exception as error:  # whatever is raised is the result
                    result |= {"status": "failed", "why": _where(error)}
                results.append(result)
    conformance.LOADED.clear()
    return results


def _where(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:400]
    return f"{type(error).__name__}: {text} ({Path(frame.filename).name}:{frame.lineno})"


def runs(name: str) -> list[tuple[str, str]]:
    """(kind of file, backend) pairs for one subject."""
    if name.endswith("at full size"):
        return [("scripted", "naive"), ("scripted", "windowed")]
    case = BY_NAME.get(name)
    kinds = ["scripted", "traced"]
    if case is not None:
        kinds = [k for k, can in zip(kinds, (case.scripted, case.traced), strict=True) if can]
    captured = case is None or case.captured
    pairs = [(kinds[0], "naive")]
    if captured:
        pairs += [(kind, "windowed") for kind in kinds]
        pairs += [(kinds[0], "yuzu interleaved"), (kinds[0], "yuzu orthogonal")]
    return pairs


def judge_one(name: str, how: str, backend: str, folder: Path, device: str) -> None:
    """One backend on one file, by the criterion of the conformance tests."""
    positions = None
    if name.endswith("at full size"):
        name = name.split()[0]
        length = zoo.ZOO[name].length
        subject = conformance.zoo_subject(name, length, 1.0)
        middle = range(length // 2, length // 2 + 49, 12)
        positions = sorted({0, 1, 9, *middle, length // 3, length - 2, length - 1})
    elif name in BY_NAME:
        subject = case_subject(name)
    else:
        subject = conformance.zoo_subject(name, REDUCED.get(name, 101), WIDTH)
    if not backend.startswith("yuzu"):
        conformance.run(subject, how, backend, folder, device, positions=positions)
        return
    model = loaded(subject, how, folder, device)
    settings = dataclasses.replace(settings_for(model), matrix=backend.split()[1])
    codes = make_design(model, settings, slack=math.inf).codes
    runner = YuzuRunner(model, settings, codes, slack=math.inf)
    judge(subject, runner, positions, device=device)
