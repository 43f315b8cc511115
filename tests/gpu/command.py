"""The whole command on the card: equal to the CPU's file, and two shards at one time, merged."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.gpu.memory import random_codes
from yuzu_cli.bench.papers import zoo

Result = dict[str, Any]

NEEDED = ("pydantic", "click", "yaml", "tqdm")
"""What the command imports beside torch, numpy and h5py."""

MODEL, LENGTH, COUNT = "basset", 400, 24


def missing() -> list[str]:
    """Packages without which the command does not start here."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def _command(arguments: Sequence[str]) -> subprocess.Popen[str]:
    argv = [sys.executable, "-W", "ignore", "-m", "yuzu_cli", *arguments]
    environ = os.environ | {"OMP_NUM_THREADS": "4"}
    return subprocess.Popen(argv, env=environ, stderr=subprocess.PIPE, text=True)


def _finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"status {process.returncode}: {errors.strip()[-300:]}")


def _scores(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: np.asarray(file[f"scores/{name}"]) for name in ("delta", "l2")}


def check(folder: Path, device: str, width: float) -> list[Result]:
    """Files of the card, of the CPU, and of two shards on the card."""
    if lacking := missing():
        return [{"name": "the command", "status": "not run", "why": f"no {', '.join(lacking)}"}]
    model = zoo.save(MODEL, folder / "m.pt", length=LENGTH, width=width)
    fasta = folder / "in.fa"
    with open(fasta, "w") as text:
        for i, codes in enumerate(random_codes(COUNT, LENGTH)):
            text.write(f">r{i}\n{''.join('ACGT'[c] for c in codes)}\n")
    run = ["run", "-m", str(model), "-f", str(fasta), "--scores", "delta,l2", "-q"]
    files = {name: folder / f"{name}.h5" for name in ("gpu", "cpu", "1", "2", "merged")}
    _finish(_command([*run, "--device", "cpu", "-o", str(files["cpu"])]))
    expected, results = _scores(files["cpu"]), []
    for backend in ("naive", "windowed", "yuzu"):
        out = str(files["gpu"])
        _finish(_command([*run, "--device", device, "--backend", backend, "-o", out, "--force"]))
        results.append(_compared(f"the command, {backend}", _scores(files["gpu"]), expected))
    shard = [*run, "--device", device, "--backend", "windowed", "--batch-size", "4", "--shard"]
    both = [_command([*shard, f"{i}/2", "-o", str(files[i])]) for i in ("1", "2")]
    for process in both:
        _finish(process)
    _finish(_command(["merge", str(files["1"]), str(files["2"]), "-o", str(files["merged"])]))
    merged = _scores(files["merged"])
    results.append(_compared("two shards on one card, merged", merged, expected))
    return results


def _compared(name: str, found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> Result:
    off = max(float(np.abs(found[k] - v).max() / np.abs(v).max()) for k, v in expected.items())
    good = off < 1e-4  # either side rounds, and an effect is a difference of large outputs
    why = "" if good else f"off by {off:.2g} of the largest effect"
    return {"name": name, "status": "ok" if good else "failed", "why": why, "off": off}
